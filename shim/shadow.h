/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A proxy as the shadow of its container: in the namespaces and the cgroup where callers look for
 * the container behind the pid that they know.
 */

#include "hvsocket/base.h"

#include <sys/types.h>

struct shadow {
	int pidfd;              /* of the process to follow; -1 = none that the host can see */
	int cgroup_fd;          /* to be born into (version 2), or -1 */
	int tasks_fd;           /* to be entered (version 1), or -1 */
	bool alone;             /* its file system is another than the host's: */
	int root_fd;            /* this tree, or -1 = an empty one */
};

/*
 * root: of a container that the host cannot see but for the files of its root; NULL = of another,
 * "" = not even those. cgroup: its path below each hierarchy's mount point; NULL = stay in the caller's. What is not
 * there is done without.
 */
void shadow_open(struct shadow *ret, pid_t host_pid, const char *cgroup, const char *root);
/* fork(2). */
pid_t shadow_fork(const struct shadow *shadow);
/* In the child. */
int shadow_enter(const struct shadow *shadow);
void shadow_close(struct shadow *shadow);
