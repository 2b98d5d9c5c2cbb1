/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The file system that a container sees. Everything here runs in the child, in its own mount
 * namespace; every path inside the rootfs is resolved with openat2(RESOLVE_IN_ROOT) and mounted on by
 * fd, so that a rootfs full of hostile symbolic links leads nowhere.
 */

#include "oci/fault.h"
#include "oci/spec.h"

struct rootfs {
	int fd;         /* the mounted root, O_PATH */
	const struct oci_spec *spec;
	const char *bundle;
};

/* Sets the propagation of "/", bind-mounts root.path on itself, does the mounts of the spec, makes the
 * devices and the default nodes and links of /dev. */
int rootfs_mount(struct rootfs *ret, const struct oci_spec *spec, const char *bundle,
                 struct fault *fault);
/* pivot_root(2) into it; where "/" is the initramfs, which cannot be pivoted from, MS_MOVE and chroot. */
int rootfs_enter(struct rootfs *rootfs, struct fault *fault);
/* After entering: binds the pty slave (an open fd) on /dev/console. */
int rootfs_console(int slave_fd, struct fault *fault);
/* After entering: rootfs propagation, sysctls' read-only view, masked and read-only paths, read-only root. */
int rootfs_seal(const struct oci_spec *spec, struct fault *fault);
/* linux.sysctl, written through /proc/sys inside the container before it is masked. */
int rootfs_sysctl(const struct oci_spec *spec, struct fault *fault);
/* Opens a new pty of the container's /dev/pts (checked to be devpts): master and slave. */
int rootfs_open_pty(int *ret_master, int *ret_slave, struct fault *fault);
