/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a container may not see or change although it is there. This comes last, from within the
 * root: a masked file gets the null device over it, a masked directory an empty tmpfs, a read-only
 * path itself once more, read-only.
 *
 * All of it hangs on two things being what they seem. /dev/null is looked at before use, because a
 * container that shares its /dev, or an image that brings one, may have put something else there,
 * which would then be mounted over /proc/kcore, readable. And /proc must be procfs where the spec
 * mounts one.
 */

#include "agent/mountfd.h"
#include "agent/rootfs.h"
#include "oci/mountapi.h"
#include "oci/path.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

static int check_proc(int root_fd, const struct oci_spec *spec, struct fault *fault)
{
	bool wanted = false;
	for (size_t i = 0; i < spec->mounts.count; i++)
		wanted |= path_equal(spec->mounts.item[i].destination, "/proc");
	if (!wanted)
		return 0;
	struct statfs fs;
	cleanup_close int fd = path_open(root_fd, "/proc", O_PATH | O_DIRECTORY,
	                                 RESOLVE_NO_SYMLINKS);
	if (fd < 0)
		return fault_errno(fault, fd, "open \"/proc\"");
	if (fstatfs(fd, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC)
		return fault_set(fault, -ENODEV, HRESULT_FAIL, "\"/proc\": not a proc file system");
	return 0;
}

/* The null device itself as an O_PATH fd, whatever the name /dev/null has come to mean. */
static int open_null(int root_fd)
{
	struct stat stat;
	cleanup_close int fd = path_open(root_fd, "/dev/null", O_PATH | O_NOFOLLOW,
	                                 RESOLVE_NO_SYMLINKS);
	if (fd < 0)
		return fd;
	if (fstat(fd, &stat) < 0)
		return -errno;
	return S_ISCHR(stat.st_mode) && stat.st_rdev == makedev(1, 3) ? take_fd(&fd) : -ENODEV;
}

static int mask_file(int root_fd, int target_fd, struct fault *fault)
{
	cleanup_close int null_fd = open_null(root_fd);
	if (null_fd < 0)
		return fault_errno(fault, null_fd, "null device \"/dev/null\"");
	cleanup_close int fd = mount_clone(null_fd, false);
	return fd < 0 ? fd : mount_attach(fd, target_fd);
}

static int mask_directory(int target_fd, const char *label)
{
	const struct mount_new empty = {
		.type = "tmpfs",
		.source = "tmpfs",
		.flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		.data = "mode=755,nr_inodes=1,nr_blocks=1",
		.label = label,
	};
	char note[MOUNT_NOTE];
	cleanup_close int fd = mount_create(&empty, note);
	return fd < 0 ? fd : mount_attach(fd, target_fd);
}

/* 1: there is nothing there. */
static int open_sealed(int root_fd, const char *path, int *ret_fd)
{
	*ret_fd = path_open(root_fd, path, O_PATH, 0);
	return *ret_fd == -ENOENT || *ret_fd == -ENOTDIR ? 1 : *ret_fd < 0 ? *ret_fd : 0;
}

static int mask_path(int root_fd, const char *path, const char *label, struct fault *fault)
{
	struct fault detail = FAULT_NULL;
	struct stat stat;
	cleanup_close int fd = -1;
	int r = open_sealed(root_fd, path, &fd);
	if (r > 0)
		return 0;
	if (r >= 0 && fstat(fd, &stat) < 0)
		r = -errno;
	if (r >= 0)
		r = S_ISDIR(stat.st_mode) ? mask_directory(fd, label) :
			mask_file(root_fd, fd, &detail);
	if (r < 0 && detail.hresult != HRESULT_OK)
		return fault_set(fault, r, HRESULT_FAIL, "masked path \"%s\": %s", path,
		                 detail.text);
	return r < 0 ? fault_errno(fault, r, "masked path \"%s\"", path) : 0;
}

static int read_only_path(int root_fd, const char *path, struct fault *fault)
{
	cleanup_close int target_fd = -1, fd = -1;
	int r = open_sealed(root_fd, path, &target_fd);
	if (r > 0)
		return 0;
	if (r >= 0)
		r = fd = mount_clone(target_fd, true);
	if (r >= 0)
		r = mount_attach(fd, target_fd);
	if (r >= 0)
		r = mount_seal(fd);
	return r < 0 ? fault_errno(fault, r, "read-only path \"%s\"", path) : 0;
}

int rootfs_seal(const struct oci_spec *spec, struct fault *fault)
{
	const struct oci_linux *linux_ = &spec->linux_;
	if (!oci_namespace_find(spec, OCI_NS_MOUNT))
		return 0;
	cleanup_close int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return fault_errno(fault, -errno, "open \"/\"");
	int r = check_proc(root_fd, spec, fault);
	if (r < 0)
		return r;
	r = mount_propagate(root_fd, mount_propagation_parse(linux_->rootfs_propagation));
	if (r < 0)
		return fault_errno(fault, r, "rootfs propagation \"%s\"",
		                   linux_->rootfs_propagation);
	for (size_t i = 0; i < linux_->readonly_paths.count && r >= 0; i++)
		r = read_only_path(root_fd, linux_->readonly_paths.item[i], fault);
	for (size_t i = 0; i < linux_->masked_paths.count && r >= 0; i++)
		r = mask_path(root_fd, linux_->masked_paths.item[i], linux_->mount_label, fault);
	if (r < 0 || !spec->root.readonly)
		return r;
	r = mount_change(root_fd, MOUNT_ATTR_RDONLY, 0, false);
	return r < 0 ? fault_errno(fault, r, "read-only root") : 0;
}
