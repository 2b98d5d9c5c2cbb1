/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Directory trees of the agent's own: made and removed by path. */

#include <stddef.h>
#include <sys/types.h>

/* mkdir -p. How many were made here, 0 = it existed, or a negative errno. */
int make_directories(const char *path, mode_t mode);
/*
 * Removes a tree without following links or crossing into other mounts, what can be removed in any
 * case. -ENOENT is success; -EAGAIN: there were more than `most` entries, and some are left.
 */
int remove_tree(const char *path, size_t most);
