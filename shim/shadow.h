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
};

/*
 * cgroup: its path below each hierarchy's mount point; NULL = stay in the caller's. What is not
 * there is done without.
 */
void shadow_open(struct shadow *ret, pid_t host_pid, const char *cgroup);
/* fork(2). */
pid_t shadow_fork(const struct shadow *shadow);
/* In the child. */
void shadow_enter(const struct shadow *shadow);
void shadow_close(struct shadow *shadow);
