/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The sequence. First "/" stops passing our mounts on, and the mount that holds the root file
 * system becomes private, which pivot_root(2) insists on and which keeps the container's mounts out
 * of everybody else's sight. Then the root is bound on itself, because only a mount can be pivoted
 * to; its fd is what every later step starts from.
 *
 * A mount namespace that was joined belongs to others: nothing of theirs is changed, not even how
 * their mounts are propagated. The root is bound on itself there too, so that all that is mounted
 * for the container lies below one mount, which goes as a whole when the container is deleted. That
 * cannot be done with the root of the namespace: what is mounted over that is where everybody
 * arrives who joins the namespace later.
 */

#include "agent/rootfs.h"

#include "agent/device.h"
#include "agent/mount.h"
#include "oci/mountapi.h"
#include "oci/path.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool joins(const struct oci_spec *spec)
{
	const struct oci_namespace *namespace = oci_namespace_find(spec, OCI_NS_MOUNT);
	return namespace && namespace->path;
}

/* Whoever lives there may have made links to lead us on. */
static int open_joined(const struct oci_spec *spec, const char *bundle, int top_fd)
{
	char path[PATH_MAX];
	bool relative = spec->root.path[0] != '/';
	int n = snprintf(path, sizeof(path), "%s%s%s", relative ? bundle : "", relative ? "/" : "",
	                 spec->root.path);
	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	return path_open(top_fd, path, O_PATH | O_DIRECTORY, 0);
}

static int open_root(const struct oci_spec *spec, const char *bundle)
{
	cleanup_close int bundle_fd = -1;
	if (spec->root.path[0] != '/') {
		bundle_fd = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (bundle_fd < 0)
			return -errno;
	}
	int fd = openat(bundle_fd, spec->root.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/*
 * Makes the mount that fd stands in private. mount_propagate() wants the root of a mount: it is
 * up from here.
 */
static int make_parent_private(int fd)
{
	cleanup_close int at = openat(fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	while (at >= 0 && !mount_is_root(at)) {
		int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up >= 0 && path_same(at, up)) {
			close_fd(&up);
			return 0; /* our root is no mount: nothing can be told */
		}
		close_fd(&at);
		at = up;
	}
	return at < 0 ? -errno : mount_propagate(at, MS_PRIVATE);
}

/* "/" in a mount namespace of our own. */
static int propagate_all(const struct oci_spec *spec, struct fault *fault)
{
	unsigned long propagation = mount_propagation_parse(spec->linux_.rootfs_propagation);
	if (!propagation)
		propagation = MS_SLAVE | MS_REC;
	else if (propagation & MS_UNBINDABLE)
		propagation = MS_PRIVATE | MS_REC; /* until all that is to be bound is bound */
	int r = sys_mount(NULL, "/", NULL, propagation, NULL);
	return r < 0 ? fault_errno(fault, r, "propagation of \"/\"") : 0;
}

static int clone_root(struct rootfs *rootfs, int *place_fd, struct fault *fault)
{
	bool joined = joins(rootfs->spec);
	int r = joined ? 0 : make_parent_private(*place_fd);
	cleanup_close int fd = r < 0 ? r : mount_clone(*place_fd, true);
	r = fd < 0 ? fd : 0;
	/* Or our mounts would appear at the same place in what it is a copy of. */
	if (r >= 0 && joined)
		r = mount_propagate(fd, MS_SLAVE | MS_REC);
	if (r < 0)
		return fault_errno(fault, r, "root \"%s\": bind on itself",
		                   rootfs->spec->root.path);
	rootfs->fd = take_fd(&fd);
	rootfs->place_fd = take_fd(place_fd);
	return 0;
}

static int attach_root(struct rootfs *rootfs, struct fault *fault)
{
	int r = mount_attach(rootfs->fd, rootfs->place_fd);
	/* It has become shared where the mount below it is. */
	if (r >= 0 && joins(rootfs->spec))
		r = mount_propagate(rootfs->fd, MS_SLAVE | MS_REC);
	close_fd(&rootfs->place_fd);
	return r < 0 ? fault_errno(fault, r, "root \"%s\": bind on itself",
	                           rootfs->spec->root.path) : 0;
}

/* A /dev that is bound from outside is somebody else's: nothing is made in it. */
static bool owns_dev(const struct oci_spec *spec)
{
	for (size_t i = 0; i < spec->mounts.count; i++) {
		const struct oci_mount *mount = &spec->mounts.item[i];
		bool bind = mount->type && !strcmp(mount->type, "bind");
		for (size_t k = 0; k < mount->options.count; k++)
			bind |= !strcmp(mount->options.item[k], "bind") ||
				!strcmp(mount->options.item[k], "rbind");
		if (bind && path_equal(mount->destination, "/dev"))
			return false;
	}
	return true;
}

static int fill_root(struct rootfs *rootfs, struct fault *fault)
{
	const struct oci_spec *spec = rootfs->spec;
	int r = 0;
	for (size_t i = 0; i < spec->mounts.count && r >= 0; i++)
		r = mount_do(rootfs, i, fault);
	if (r < 0 || !owns_dev(spec))
		return r;
	r = device_make_all(rootfs, fault);
	if (r >= 0 && spec->process && spec->process->terminal)
		r = device_make_console(rootfs->fd, fault);
	return r;
}

/* The root of a container that stays in our mount namespace, or that has the root of another. */
static int share_mounts(struct rootfs *rootfs, int *place_fd, struct fault *fault)
{
	const struct oci_spec *spec = rootfs->spec;
	const struct oci_linux *linux_ = &spec->linux_;
	if (spec->mounts.count || linux_->devices.count || linux_->masked_paths.count ||
	    linux_->readonly_paths.count || linux_->rootfs_propagation || spec->root.readonly)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "mounts, devices, masked and read-only paths: need a %s",
		                 joins(spec) ? "root that is not the joined mount namespace's own" :
		                               "mount namespace");
	rootfs->shared = true;
	rootfs->fd = take_fd(place_fd);
	return 0;
}

int rootfs_open_sources(struct rootfs *rootfs, const struct oci_spec *spec, const char *bundle,
                        struct fault *fault)
{
	rootfs->spec = spec;
	rootfs->bundle = bundle;
	rootfs->sources = calloc(spec->mounts.count + 1, sizeof(*rootfs->sources));
	if (!rootfs->sources)
		return fault_errno(fault, -ENOMEM, "mounts");
	int r = 0;
	for (size_t i = 0; i < spec->mounts.count; i++)
		rootfs->sources[i] = -1;
	for (size_t i = 0; i < spec->mounts.count && r >= 0; i++)
		r = mount_open_source(rootfs, i, &rootfs->sources[i], fault);
	return r;
}

int rootfs_open(struct rootfs *ret, const struct oci_spec *spec, const char *bundle,
                struct fault *fault)
{
	ret->spec = spec;
	ret->bundle = bundle;
	if (!spec->has_root)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "root: is required");
	bool none = !oci_namespace_find(spec, OCI_NS_MOUNT), joined = joins(spec);
	int r = none || joined ? 0 : propagate_all(spec, fault);
	if (r < 0)
		return r;
	cleanup_close int place_fd = -1, top_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (top_fd < 0)
		return fault_errno(fault, -errno, "open \"/\"");
	place_fd = joined ? open_joined(spec, bundle, top_fd) : open_root(spec, bundle);
	if (place_fd < 0)
		return fault_errno(fault, place_fd, "root \"%s\"", spec->root.path);
	if (none || (joined && path_same(place_fd, top_fd)))
		return share_mounts(ret, &place_fd, fault);
	return clone_root(ret, &place_fd, fault);
}

int rootfs_mount(struct rootfs *rootfs, struct fault *fault)
{
	if (rootfs->shared)
		return 0;
	/* Modes are those that were asked for. */
	mode_t mask = umask(0);
	int r = attach_root(rootfs, fault);
	if (r >= 0)
		r = fill_root(rootfs, fault);
	umask(mask);
	return r;
}

void rootfs_deinit(struct rootfs *rootfs)
{
	for (size_t i = 0; i < rootfs->late.count; i++)
		close_fd(&rootfs->late.item[i]);
	free(rootfs->late.item);
	for (size_t i = 0; rootfs->sources && i < rootfs->spec->mounts.count; i++)
		close_fd(&rootfs->sources[i]);
	free(rootfs->sources);
	close_fd(&rootfs->fd);
	close_fd(&rootfs->place_fd);
	close_fd(&rootfs->proc_fd);
	*rootfs = (struct rootfs)ROOTFS_NULL;
}
