/* SPDX-License-Identifier: Apache-2.0 */

/*
 * linux.sysctl. The one place where we write into /proc for a container, so the file is opened
 * below a /proc/sys that is seen to be procfs, through no link and no further mount.
 */

#include "agent/rootfs.h"
#include "oci/path.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

/*
 * "net.ipv4.conf.eth0/1.forwarding" → "net/ipv4/conf/eth0.1/forwarding". As with sysctl(8), a name
 * whose first separator is a slash is a path already.
 */
static int name_to_path(const char *name, char *path, size_t size)
{
	size_t length = strlen(name), first = strcspn(name, "./");
	if (length == 0 || length >= size)
		return -ENAMETOOLONG;
	memcpy(path, name, length + 1);
	for (char *c = path; name[first] == '.' && *c; c++)
		*c = *c == '.' ? '/' : *c == '/' ? '.' : *c;
	return 0;
}

static int write_sysctl(int sys_fd, const struct str_pair *pair)
{
	char path[PATH_MAX];
	int r = name_to_path(pair->name, path, sizeof(path));
	if (r < 0)
		return r;
	cleanup_close int fd = path_open(sys_fd, path, O_WRONLY,
	                                 RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
	if (fd < 0)
		return fd;
	ssize_t n = write(fd, pair->value, strlen(pair->value));
	return n < 0 ? -errno : 0;
}

static int open_proc_sys(void)
{
	struct statfs fs;
	cleanup_close int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return -errno;
	cleanup_close int fd = path_open(root_fd, "/proc/sys", O_PATH | O_DIRECTORY,
	                                 RESOLVE_NO_SYMLINKS);
	if (fd < 0)
		return fd;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	return fs.f_type == PROC_SUPER_MAGIC ? take_fd(&fd) : -ENODEV;
}

int rootfs_sysctl(const struct oci_spec *spec, struct fault *fault)
{
	const struct str_map *sysctl = &spec->linux_.sysctl;
	if (!sysctl->count)
		return 0;
	cleanup_close int sys_fd = open_proc_sys();
	if (sys_fd < 0)
		return fault_errno(fault, sys_fd, "linux.sysctl: open \"/proc/sys\"");
	for (size_t i = 0; i < sysctl->count; i++) {
		int r = write_sysctl(sys_fd, &sysctl->item[i]);
		if (r < 0)
			return fault_errno(fault, r, "linux.sysctl[\"%s\"]", sysctl->item[i].name);
	}
	return 0;
}
