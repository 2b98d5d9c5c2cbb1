/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The file system that a container sees. Everything here runs in the child, in the container's
 * mount namespace, which is a new one, somebody else's that the child has joined, or none but its
 * creator's; every path inside the rootfs is resolved with openat2(RESOLVE_IN_ROOT) and mounted on
 * by fd, so that a rootfs full of hostile symbolic links leads nowhere.
 */

#include "oci/fault.h"
#include "oci/spec.h"

struct cgroup;

struct rootfs {
	const struct cgroup *cgroup; /* what of the v1 hierarchies it may see; NULL = all */
	int proc_fd;    /* for proc_self_open(), where /proc may be another's; or -1 */
	int fd;         /* the mounted root, O_PATH; still its "/" once it is entered */
	int place_fd;   /* what it is to be mounted on; -1 = nothing */
	bool shared;    /* it is the root of others too: nothing is mounted in it */
	const struct oci_spec *spec;
	const char *bundle;
	int *sources;   /* of rootfs_open_sources(): one per mount, -1 = none; or NULL */
	LIST(int) late; /* mounts that become read-only when the root is entered */
};
#define ROOTFS_NULL { .proc_fd = -1, .fd = -1, .place_fd = -1 }

/*
 * Optional, before rootfs_open() and before entering a user namespace (or before cloning into
 * one): opens the sources of the bind mounts as detached mounts with their id maps, which cannot be
 * done from inside of a user namespace, where the source may be out of reach besides.
 */
int rootfs_open_sources(struct rootfs *rootfs, const struct oci_spec *spec, const char *bundle,
                        struct fault *fault);
/*
 * Sets the propagation of "/" in a new mount namespace, and opens what will be the root: a copy of
 * root.path that is not mounted yet. *ret is ROOTFS_NULL or what rootfs_open_sources() left. A
 * container that shares the mount namespace of its creator, or whose root is that of a joined one,
 * gets no mounts at all: it is refused if the spec has any.
 */
int rootfs_open(struct rootfs *ret, const struct oci_spec *spec, const char *bundle,
                struct fault *fault);
/*
 * Mounts the root on root.path, does the mounts of the spec, makes the devices and the default
 * nodes and links of /dev.
 */
int rootfs_mount(struct rootfs *rootfs, struct fault *fault);
/*
 * pivot_root(2) into it; where "/" is the initramfs, which cannot be pivoted from, MS_MOVE and
 * chroot. In a mount namespace that is not the container's own only chroot(2).
 */
int rootfs_enter(struct rootfs *rootfs, struct fault *fault);
/* After entering: binds the pty slave (an open fd) on /dev/console. */
int rootfs_console(int slave_fd, struct fault *fault);
/* After entering: rootfs propagation, masked and read-only paths, read-only root. */
int rootfs_seal(const struct oci_spec *spec, struct fault *fault);
/* linux.sysctl, written through /proc/sys inside the container before it is masked. */
int rootfs_sysctl(const struct oci_spec *spec, struct fault *fault);
/* Opens a new pty of the container's /dev/pts (checked to be devpts): master and slave. */
int rootfs_open_pty(int *ret_master, int *ret_slave, struct fault *fault);
void rootfs_deinit(struct rootfs *rootfs); /* closes; unmounts nothing */
