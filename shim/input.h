/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Files that the caller names: config.json of a bundle, --process. */

#include "oci/arena.h"

/*
 * Reads all of a file into the arena, with a NUL behind it. pipes: it may be a pipe ("<(…)",
 * /dev/stdin) and is read to its end; else anything but a regular file is -EINVAL, so that nobody
 * waits for a writer. -EFBIG over limit.
 */
int input_read(const char *path, bool pipes, struct arena *arena, size_t limit,
               const char **ret_text, size_t *ret_size);
