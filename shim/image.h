/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A root file system that is one file (ext4, erofs, squashfs, …): plugged into the VM as a disk,
 * mounted there, and with a layer on top that takes what the container writes, and what a read-only
 * root needs to be mounted on. The file itself is never written. The layer is in memory of the VM,
 * or on a second disk, the scratch.
 */

#include "shim/bridge.h"
#include "shim/partition.h"

#define IMAGE_GUEST "/run/hvrun/image"
/* Where the container's root is in the guest. */
#define IMAGE_ROOT IMAGE_GUEST "/%s"

struct image;
/* fault NULL: the root is there. Called from the loop, once. */
typedef void image_answer_fn(void *context, const struct fault *fault);

/*
 * name: of one container, never used again. The fds are borrowed; scratch_fd -1: there is none. On
 * failure no answer will come.
 */
int image_new(struct partition *partition, struct bridge *bridge, const char *name, int fd,
              int scratch_fd, image_answer_fn *answer, void *context, struct image **ret,
              struct fault *fault);
/* The root is there, and goes: gone is called, once, when nothing of it is left in the guest. */
typedef void image_gone_fn(void *context);
void image_end(struct image *image, image_gone_fn *gone, void *context);
/*
 * Nobody needs it any more: it is taken away in the guest, and goes when that is done; if the
 * answer was not given yet, it is a failure then. Nobody is told that it is gone. NULL is nothing.
 */
void image_free(struct image *image);
