/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * process.user: numbers are numbers; a username ("name", "uid", "name:group", "uid:gid") is looked
 * up in the container's own /etc/passwd and /etc/group, read with bounds, never through NSS.
 */

#include "oci/fault.h"
#include "oci/spec.h"

#define USER_GROUPS_MAX 65536

struct user {
	uid_t uid;
	gid_t gid;
	gid_t *groups;          /* owned */
	size_t group_count;
};
#define USER_NULL { .uid = 0 }
/* root_fd: the container's root directory. -EINVAL/-ENOENT: `user "nobody": not in the
 * container's /etc/passwd`. */
int user_resolve(int root_fd, const struct oci_user *asked, struct user *ret, struct fault *fault);
void user_deinit(struct user *user);
/* The home directory of the passwd entry of uid, "/" without one; malloc'd, NULL = out of
 * memory. */
char *user_home(int root_fd, uid_t uid);
