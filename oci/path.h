/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Paths inside a root directory that nobody vouches for. Every step is openat2(RESOLVE_IN_ROOT):
 * "..", absolute symbolic links and races with a running container end inside the root; the links
 * of /proc that jump elsewhere are never followed.
 */

#include "hvsocket/base.h"

#include <linux/openat2.h>
#include <sys/types.h>

/*
 * flags as for open(2), O_CLOEXEC is added; resolve: more of RESOLVE_*, such as
 * RESOLVE_NO_SYMLINKS.
 */
int path_open(int root_fd, const char *path, int flags, uint64_t resolve);
/*
 * O_PATH fd of the path; what is missing is made: directories 0755 and, where type is S_IFREG, an
 * empty file 0644 at the end, where it is S_IFDIR, a directory. A symbolic link into nothing is
 * followed as if what it names were to be made. What exists already is opened as it is.
 */
int path_make(int root_fd, const char *path, mode_t type);
/* Makes the directories above the last component and opens the last of them (O_PATH). *ret_name
 * points into path. -EINVAL where the path ends in nothing that could be a name. */
int path_make_parent(int root_fd, const char *path, const char **ret_name);
/*
 * By the text alone: absolute, without ".", "..", doubled and trailing slashes. -ENAMETOOLONG.
 * size >= 2.
 */
int path_clean(const char *path, char *ret, size_t size);
/* Is this path, once cleaned, that clean one? */
bool path_equal(const char *path, const char *clean);
/* Are these two fds the same place of the same mount? */
bool path_same(int a, int b);
