/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One entry of `mounts`, from its words to its place in the root. */

#include "agent/mountfd.h"
#include "agent/rootfs.h"
#include "oci/arena.h"

struct mount_job {
	struct rootfs *rootfs;
	const struct oci_mount *mount;
	struct mount_options options;
	struct arena arena;
	char note[MOUNT_NOTE];  /* why, where an errno says too little; "" = nothing to add */
};

/* Does all of it. fault: `mount "<source>" on "<destination>": <reason>`. */
int mount_do(struct rootfs *rootfs, size_t index, struct fault *fault);
/* The source of a bind mount as a detached mount with its id map; -1 if mount `index` is none. */
int mount_open_source(struct rootfs *rootfs, size_t index, int *ret_fd, struct fault *fault);

/* For the kinds of mount that have files of their own: */

/* The destination (O_PATH), made as S_IFDIR or S_IFREG where missing; checked to be no place that
 * must not be mounted on. source_fd: of a bind mount, else -1. */
int mount_open_target(struct mount_job *job, mode_t type, int source_fd);

/* type "cgroup" (cgroupfs.c). */
int mount_cgroup(struct mount_job *job);
