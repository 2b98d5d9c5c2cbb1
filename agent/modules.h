/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Kernel modules of the guest image. The image has lists: /usr/lib/modules/lists/NAME names the
 * files that make up NAME, paths relative to /usr/lib/modules, one per line, in the order in which
 * they must be loaded; blank lines and lines with # are passed over. contrib/guest-image makes
 * them, so nothing has to be worked out in the VM.
 */

#include "oci/fault.h"

/*
 * Loads what the list says and is not loaded yet. Also 0 where there is no such list: a kernel that
 * has it built in needs none, and if it has it neither, the next step fails and tells. Blocks for a
 * few milliseconds.
 */
int modules_load(const char *name, struct fault *fault);

/* They will not be needed in this VM: gives back the memory that their files take. */
void modules_forget(const char *name);

/* The next path of a list, cut out of *text; NULL at its end. */
char *modules_next(char **text);
/* How the kernel calls the module of a file: "a/virtio-rng.ko" or "a/virtio-rng.ko.lz4" is
 * "virtio_rng". -EINVAL for a path that is not relative, leads upwards or names no module. */
#define MODULE_NAME 56
int modules_name(const char *path, char ret[static MODULE_NAME]);
