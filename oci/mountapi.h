/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The kernel's mount calls, as functions that return -errno. <sys/mount.h> cannot stand beside
 * <linux/mount.h> in every libc, and the newer calls have no wrapper in some: hence this header is
 * used instead of it. Linux 5.10 has all of them but mount_setattr(2), which is of 5.12.
 */

#include "hvsocket/base.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif

static inline int sys_mount(const char *source, const char *target, const char *type,
                            unsigned long flags, const char *data)
{
	return syscall(SYS_mount, source, target, type, flags, data) < 0 ? -errno : 0;
}

static inline int sys_umount(const char *target, int flags)
{
	return syscall(SYS_umount2, target, flags) < 0 ? -errno : 0;
}

/* Of the mount that fd stands in; flags: OPEN_TREE_CLONE and AT_RECURSIVE. */
static inline int sys_open_tree(int fd, unsigned flags)
{
	long r = syscall(SYS_open_tree, fd, "", flags | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	return r < 0 ? -errno : (int)r;
}

static inline int sys_move_mount(int mount_fd, int target_fd)
{
	return syscall(SYS_move_mount, mount_fd, "", target_fd, "",
	               MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 ? -errno : 0;
}

static inline int sys_mount_setattr(int fd, unsigned flags, const struct mount_attr *attr)
{
	return syscall(SYS_mount_setattr, fd, "", flags | AT_EMPTY_PATH, attr, sizeof(*attr)) < 0 ?
		-errno : 0;
}

static inline int sys_fsopen(const char *type)
{
	long r = syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
	return r < 0 ? -errno : (int)r;
}

static inline int sys_fsconfig(int fd, unsigned command, const char *key, const char *value)
{
	return syscall(SYS_fsconfig, fd, command, key, value, 0) < 0 ? -errno : 0;
}

static inline int sys_fsmount(int fd, uint64_t attributes)
{
	long r = syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, (unsigned)attributes);
	return r < 0 ? -errno : (int)r;
}
