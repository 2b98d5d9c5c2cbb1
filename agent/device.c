/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What stands in /dev. A node is made with mknodat(2), which follows no link; what has the name
 * already must be that very device, or the container is refused (as the specification has it): an
 * image could hold a link there to be followed, or a file that passes for /dev/null.
 *
 * A user namespace may not make nodes: there the node of the same path outside is bound on an empty
 * file, once it has been seen to be the device that was asked for.
 */

#include "agent/device.h"

#include "agent/mountfd.h"
#include "oci/path.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const struct oci_device default_devices[] = {
	{ .type = 'c', .path = "/dev/null", .major = 1, .minor = 3 },
	{ .type = 'c', .path = "/dev/zero", .major = 1, .minor = 5 },
	{ .type = 'c', .path = "/dev/full", .major = 1, .minor = 7 },
	{ .type = 'c', .path = "/dev/random", .major = 1, .minor = 8 },
	{ .type = 'c', .path = "/dev/urandom", .major = 1, .minor = 9 },
	{ .type = 'c', .path = "/dev/tty", .major = 5, .minor = 0 },
};

static const struct {
	const char *path, *target;
	const char *needs;      /* a file outside without which the link is of no use; or NULL */
	bool replaces;          /* takes the place of what the image has there */
} device_links[] = {
	{ "/dev/fd", "/proc/self/fd" },
	{ "/dev/stdin", "/proc/self/fd/0" },
	{ "/dev/stdout", "/proc/self/fd/1" },
	{ "/dev/stderr", "/proc/self/fd/2" },
	{ "/dev/core", "/proc/kcore", .needs = "/proc/kcore" },
	{ "/dev/ptmx", "pts/ptmx", .replaces = true },
};

static mode_t node_type(const struct oci_device *device)
{
	return device->type == 'b' ? S_IFBLK : device->type == 'p' ? S_IFIFO : S_IFCHR;
}

static dev_t node_number(const struct oci_device *device)
{
	return device->type == 'p' ? 0 : makedev((unsigned)device->major, (unsigned)device->minor);
}

static bool is_device(const struct stat *stat, const struct oci_device *device)
{
	return (stat->st_mode & S_IFMT) == node_type(device) &&
		(device->type == 'p' || stat->st_rdev == node_number(device));
}

/* What has the name already: 0 if it is the device. */
static int check_node(int parent_fd, const char *name, const struct oci_device *device)
{
	struct stat stat;
	if (fstatat(parent_fd, name, &stat, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return is_device(&stat, device) ? 0 : -EEXIST;
}

static int bind_node(int parent_fd, const char *name, const struct oci_device *device)
{
	struct stat stat;
	cleanup_close int source_fd = open(device->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (source_fd < 0)
		return -errno;
	if (fstat(source_fd, &stat) < 0)
		return -errno;
	if (!is_device(&stat, device))
		return -ENODEV;
	if (mknodat(parent_fd, name, S_IFREG | 0666, 0) < 0 && errno != EEXIST)
		return -errno;
	cleanup_close int target_fd = openat(parent_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (target_fd < 0)
		return -errno;
	if (fstat(target_fd, &stat) < 0)
		return -errno;
	if (!S_ISREG(stat.st_mode))
		return -EEXIST;
	cleanup_close int mount_fd = mount_clone(source_fd, false);
	return mount_fd < 0 ? mount_fd : mount_attach(mount_fd, target_fd);
}

static int make_node(int parent_fd, const char *name, const struct oci_device *device)
{
	mode_t mode = device->file_mode.set ? (mode_t)device->file_mode.value & 07777 : 0666;
	if (mknodat(parent_fd, name, node_type(device) | mode, node_number(device)) < 0) {
		if (errno == EEXIST)
			return check_node(parent_fd, name, device);
		if (errno == EPERM && device->type != 'p')
			return bind_node(parent_fd, name, device);
		return -errno;
	}
	return fchownat(parent_fd, name, device->uid, device->gid, AT_SYMLINK_NOFOLLOW) < 0 ?
		-errno : 0;
}

static int make_device(int root_fd, const struct oci_device *device, struct fault *fault)
{
	const char *name;
	cleanup_close int parent_fd = path_make_parent(root_fd, device->path, &name);
	int r = parent_fd < 0 ? parent_fd : make_node(parent_fd, name, device);
	if (r == -EEXIST)
		return fault_set(fault, r, HRESULT_FAIL,
		                 "device \"%s\": the image has something else there", device->path);
	return r < 0 ? fault_errno(fault, r, "device \"%s\"", device->path) : 0;
}

static bool is_listed(const struct oci_spec *spec, const char *path)
{
	for (size_t i = 0; i < spec->linux_.devices.count; i++)
		if (path_equal(spec->linux_.devices.item[i].path, path))
			return true;
	return false;
}

static int make_link(int root_fd, size_t i, struct fault *fault)
{
	const char *path = device_links[i].path, *needs = device_links[i].needs, *name;
	if (needs && access(needs, F_OK) < 0)
		return 0;
	cleanup_close int parent_fd = path_make_parent(root_fd, path, &name);
	int r = parent_fd < 0 ? parent_fd : 0;
	if (r >= 0 && device_links[i].replaces && unlinkat(parent_fd, name, 0) < 0 &&
	    errno != ENOENT)
		r = -errno;
	if (r >= 0 && symlinkat(device_links[i].target, parent_fd, name) < 0 && errno != EEXIST)
		r = -errno;
	return r < 0 ? fault_errno(fault, r, "link \"%s\"", path) : 0;
}

int device_make_all(const struct rootfs *rootfs, struct fault *fault)
{
	const struct oci_spec *spec = rootfs->spec;
	int r = 0;
	for (size_t i = 0; i < array_size(default_devices) && r >= 0; i++)
		if (!is_listed(spec, default_devices[i].path))
			r = make_device(rootfs->fd, &default_devices[i], fault);
	for (size_t i = 0; i < spec->linux_.devices.count && r >= 0; i++)
		r = make_device(rootfs->fd, &spec->linux_.devices.item[i], fault);
	for (size_t i = 0; i < array_size(device_links) && r >= 0; i++)
		r = make_link(rootfs->fd, i, fault);
	return r;
}

int device_make_console(int root_fd, struct fault *fault)
{
	const char *name;
	cleanup_close int parent_fd = path_make_parent(root_fd, "/dev/console", &name);
	int r = parent_fd < 0 ? parent_fd : 0;
	if (r >= 0 && mknodat(parent_fd, name, S_IFREG | 0666, 0) < 0 && errno != EEXIST)
		r = -errno;
	return r < 0 ? fault_errno(fault, r, "file \"/dev/console\"") : 0;
}
