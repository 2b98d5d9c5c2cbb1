/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The terminal of a container belongs to its own /dev/pts, so that its name inside is true. The
 * slave is opened through the master (TIOCGPTPEER), not by its path, and /dev/console is bound on
 * only where a file or a device stands by that name, not a link.
 */

#include "agent/mountfd.h"
#include "agent/rootfs.h"
#include "oci/path.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static int open_pty(int root_fd, int *ret_master, int *ret_slave)
{
	struct statfs fs;
	int locked = 0;
	cleanup_close int master = path_open(root_fd, "/dev/pts/ptmx", O_RDWR | O_NOCTTY,
	                                     RESOLVE_NO_SYMLINKS);
	if (master < 0)
		return master;
	if (fstatfs(master, &fs) < 0)
		return -errno;
	if (fs.f_type != DEVPTS_SUPER_MAGIC)
		return -ENODEV;
	if (ioctl(master, TIOCSPTLCK, &locked) < 0)
		return -errno;
	*ret_slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*ret_slave < 0)
		return -errno;
	*ret_master = take_fd(&master);
	return 0;
}

int rootfs_open_pty(int *ret_master, int *ret_slave, struct fault *fault)
{
	cleanup_close int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = root_fd < 0 ? -errno : open_pty(root_fd, ret_master, ret_slave);
	if (r == -ENOENT)
		return fault_set(fault, r, HRESULT_FAIL,
		                 "terminal: the container has no /dev/pts to take one from");
	return r < 0 ? fault_errno(fault, r, "terminal of \"/dev/pts/ptmx\"") : 0;
}

static int bind_console(int root_fd, int slave_fd)
{
	const char *name;
	struct stat stat;
	cleanup_close int parent_fd = path_make_parent(root_fd, "/dev/console", &name);
	if (parent_fd < 0)
		return parent_fd;
	if (fstatat(parent_fd, name, &stat, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT &&
	    mknodat(parent_fd, name, S_IFREG | 0600, 0) < 0)
		return -errno;
	cleanup_close int target_fd = openat(parent_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (target_fd < 0 || fstat(target_fd, &stat) < 0)
		return -errno;
	if (!S_ISREG(stat.st_mode) && !S_ISCHR(stat.st_mode))
		return -EEXIST;
	cleanup_close int mount_fd = mount_clone(slave_fd, false);
	return mount_fd < 0 ? mount_fd : mount_attach(mount_fd, target_fd);
}

int rootfs_console(int slave_fd, struct fault *fault)
{
	cleanup_close int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = root_fd < 0 ? -errno : bind_console(root_fd, slave_fd);
	return r < 0 ? fault_errno(fault, r, "bind the terminal on \"/dev/console\"") : 0;
}
