/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Directory trees of the agent's own: made and removed by path. */

#include <sys/types.h>

/* mkdir -p. 1 = the last one was made here, 0 = it existed, or a negative errno. */
int make_directories(const char *path, mode_t mode);
/*
 * Removes a tree without following links or crossing into other file systems. -ENOENT is success.
 */
int remove_tree(const char *path);
