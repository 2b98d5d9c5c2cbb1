/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The command line of QEMU, and that of the guest's kernel in it. */

#include "shim/config.h"

struct qemu_plan {
	const struct qemu_config *config;
	const char *program;            /* absolute */
	const char *name;               /* for people who look at ps(1) */
	bool kvm;
	bool debug;                     /* the agent is to log more */
	bool probe;                     /* a machine without devices, to see how it boots */
	/* Open descriptors that QEMU inherits; -1 = none. */
	int kernel_fd, image_fd, monitor_fd;
	int share_fd;                   /* connected to virtiofsd */
	int vsock_fd;                   /* connected to vhost-device-vsock */
	int vhost_fd;                   /* /dev/vhost-vsock, which holds the CID */
	uint32_t cid, port;             /* port: of the bridge */
};

/* In the arena, ended by NULL. NULL when there is no memory. */
const char **qemu_args(struct arena *arena, const struct qemu_plan *plan);
/* The descriptors of the plan that are open, ended by -1. */
#define QEMU_FDS 7
void qemu_fds(const struct qemu_plan *plan, int fds[static QEMU_FDS]);
