/* SPDX-License-Identifier: Apache-2.0 */

/*
 * CombinedLayers: the root of a container out of read-only layers and a scratch on top.
 *
 * Overlayfs takes its directories as one string in which ':', ',' and '\' mean something, of at
 * most a page, with at most 255 bytes when the mount is made by file descriptor. Here it is told
 * the numbers of open descriptors, relative to /proc/self/fd: whatever a path holds and however
 * many there are, "lowerdir=5:6:7" is all that it is told, and nothing is looked up twice.
 *
 * A scratch on a tmpfs has no place of its own: it is mounted where the root will be, overlayfs
 * takes hold of its directories, and it is unmounted again. It goes when the root goes.
 *
 * Microsoft's hosts expect the bundle directory, which is the one above the root, on the scratch
 * disk, unless the scratch lies in the bundle. It is bound there, and stays until the container is
 * deleted.
 */

#include "agent/storage_private.h"

#include "agent/modules.h"
#include "agent/mountfd.h"
#include "agent/mountpoint.h"
#include "oci/mountapi.h"
#include "oci/path.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LAYERS_MAX 500          /* of overlayfs */
#define OVERLAY_OPTIONS 4096    /* a page */

static bool has_scratch(const struct combined_layers *layers)
{
	return layers->scratch_path && *layers->scratch_path;
}

static bool has_tmpfs(const struct combined_layers *layers)
{
	return layers->scratch_type && *layers->scratch_type;
}

int layers_bundle_path(const struct combined_layers *layers, char ret[static PATH_MAX])
{
	const char *root = layers->container_root_path;
	size_t length = (size_t)(strrchr(root, '/') - root);
	if (length >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(ret, root, length);
	ret[length] = '\0';
	return 0;
}

bool layers_bind_bundle(const struct combined_layers *layers)
{
	char bundle[PATH_MAX];
	return has_scratch(layers) && layers_bundle_path(layers, bundle) == 0 &&
	       !mountpoint_is_below(layers->scratch_path, bundle);
}

static int check_scratch(const struct storage *storage, const struct combined_layers *layers,
                         struct fault *fault)
{
	char bundle[PATH_MAX];
	if (has_tmpfs(layers) && strcmp(layers->scratch_type, "tmpfs"))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "Request.Settings.ScratchType: \"%s\" is not known",
		                 layers->scratch_type);
	if (has_tmpfs(layers) && has_scratch(layers))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "Request.Settings.ScratchPath: a tmpfs has none");
	if (!has_scratch(layers))
		return 0;
	int r = mountpoint_check(storage->below, "ScratchPath", layers->scratch_path, fault);
	/* The bundle that is bound on such a path would have to be a folder of ours. */
	if (!r && layers_bind_bundle(layers) && layers_bundle_path(layers, bundle) == 0)
		r = mountpoint_check(storage->below, "ContainerRootPath", bundle, fault);
	return r;
}

static int layers_check(const struct storage *storage, const void *settings, bool remove,
                        struct fault *fault)
{
	const struct combined_layers *layers = settings;
	int r = mountpoint_check(storage->below, "ContainerRootPath",
	                         layers->container_root_path, fault);
	if (r < 0 || remove)
		return r;
	if (!layers->layers.count || layers->layers.count > LAYERS_MAX)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "Request.Settings.Layers: has %zu items, not 1 … %d",
		                 layers->layers.count, LAYERS_MAX);
	for (size_t i = 0; i < layers->layers.count; i++) {
		const char *path = layers->layers.item[i].path;
		if (!path || *path != '/')
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "Request.Settings.Layers[%zu].Path: \"%s\" is not an "
			                 "absolute path", i, path ? path : "");
	}
	return check_scratch(storage, layers, fault);
}

static const char *layers_path(const void *settings, size_t i)
{
	const struct combined_layers *layers = settings;
	if (i == 0)
		return layers->container_root_path;
	if (i <= layers->layers.count)
		return layers->layers.item[i - 1].path;
	return i == layers->layers.count + 1 && has_scratch(layers) ? layers->scratch_path : NULL;
}

/* What add has done so far. */
struct root {
	const struct combined_layers *layers;
	char bundle_path[PATH_MAX], inner_path[PATH_MAX];
	struct mountpoint bundle, place;
	bool bundle_bound, staged;
	int upper_fd, work_fd;          /* -1 = read-only */
	int stage_fd;                   /* an empty directory; what is mounted there goes again */
	struct stat top;                /* of the uppermost layer */
	int *lower;
	char options[OVERLAY_OPTIONS];
};

static int open_layers(struct root *root, struct fault *fault)
{
	const struct combined_layers *layers = root->layers;
	root->lower = calloc(layers->layers.count, sizeof(*root->lower));
	if (!root->lower)
		return fault_errno(fault, -ENOMEM, "layers");
	for (size_t i = 0; i < layers->layers.count; i++) {
		root->lower[i] = mountpoint_open(layers->layers.item[i].path);
		if (root->lower[i] < 0)
			return fault_errno(fault, root->lower[i], "layer \"%s\"",
			                   layers->layers.item[i].path);
	}
	return fstat(root->lower[0], &root->top) < 0 ? fault_errno(fault, -errno, "layers") : 0;
}

/* Binds <scratch>/bundle on the bundle directory; one that has been bound before is left alone. */
static int bind_bundle(struct root *root, struct fault *fault)
{
	cleanup(mountpoint_deinit) struct mountpoint inner = MOUNTPOINT_NULL;
	int n = snprintf(root->inner_path, sizeof(root->inner_path), "%s/bundle",
	                 root->layers->scratch_path);
	int r = n < 0 || (size_t)n >= sizeof(root->inner_path) ? -ENAMETOOLONG : 0;
	if (!r)
		r = mountpoint_make(&root->bundle, root->bundle_path, 0700);
	if (!r && mountpoint_taken(&root->bundle))
		return 0;
	if (!r)
		r = mountpoint_make(&inner, root->inner_path, 0700);
	cleanup_close int fd = r < 0 ? -1 : mount_clone(inner.fd, false);
	if (!r)
		r = fd < 0 ? fd : mount_attach(fd, root->bundle.fd);
	root->bundle_bound = r >= 0;
	return r < 0 ? fault_errno(fault, r, "bundle \"%s\"", root->bundle_path) : 0;
}

/*
 * The upper directory becomes the container's "/": a new one is like that of the layers, whose own
 * is hidden by it.
 */
static int make_upper(struct root *root, int scratch_fd)
{
	bool new = mkdirat(scratch_fd, "upper", 0755) == 0;
	if ((!new && errno != EEXIST) || (mkdirat(scratch_fd, "work", 0755) < 0 && errno != EEXIST))
		return -errno;
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	root->upper_fd = openat(scratch_fd, "upper", flags);
	root->work_fd = openat(scratch_fd, "work", flags);
	if (root->upper_fd < 0 || root->work_fd < 0)
		return -errno;
	if (new && (fchown(root->upper_fd, root->top.st_uid, root->top.st_gid) < 0 ||
	            fchmod(root->upper_fd, root->top.st_mode & 07777) < 0))
		return -errno;
	return 0;
}

static int use_scratch(struct root *root, struct fault *fault)
{
	cleanup(mountpoint_deinit) struct mountpoint scratch = MOUNTPOINT_NULL;
	int r = mountpoint_make(&scratch, root->layers->scratch_path, 0755);
	if (!r)
		r = make_upper(root, scratch.fd);
	return r < 0 ? fault_errno(fault, r, "scratch \"%s\"", root->layers->scratch_path) : 0;
}

static int use_tmpfs(struct root *root, struct fault *fault)
{
	char data[64] = "mode=0755", note[MOUNT_NOTE];
	if (root->layers->scratch_size)
		snprintf(data, sizeof(data), "mode=0755,size=%llu",
		         (unsigned long long)root->layers->scratch_size);
	const struct mount_new new = { .type = "tmpfs", .source = "scratch", .data = data };
	cleanup_close int fd = mount_create(&new, note);
	int r = fd < 0 ? fd : mount_attach(fd, root->place.fd);
	root->staged = r >= 0;
	if (!r)
		r = make_upper(root, fd);
	if (!r && mkdirat(fd, "stage", 0700) < 0)
		r = -errno;
	if (!r)
		root->stage_fd = openat(fd, "stage", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return r < 0 ? fault_errno(fault, r, "scratch on a tmpfs") : 0;
}

/* True when all of it fits. */
static bool describe(struct root *root)
{
	char *to = root->options;
	size_t room = sizeof(root->options);
	for (size_t i = 0; i < root->layers->layers.count; i++) {
		int n = snprintf(to, room, "%s%d", i ? ":" : "lowerdir=", root->lower[i]);
		if (n < 0 || (size_t)n >= room)
			return false;
		to += n;
		room -= (size_t)n;
	}
	if (root->upper_fd < 0)
		return true;
	int n = snprintf(to, room, ",upperdir=%d,workdir=%d", root->upper_fd, root->work_fd);
	return n >= 0 && (size_t)n < room;
}

/*
 * A detached overlay. With more layers than fit in one value it has to be mounted for a moment, on
 * the stage.
 */
static int make_overlay(struct root *root, char note[static MOUNT_NOTE])
{
	const struct mount_new new = { .type = "overlay", .source = "overlay",
	                               .flags = root->upper_fd < 0 ? MS_RDONLY : 0,
	                               .data = root->options };
	*note = '\0';
	if (!describe(root))
		return -E2BIG;
	if (chdir("/proc/self/fd") < 0)
		return -errno;
	if (mount_data_fits(root->options))
		return mount_create(&new, note);
	int r = mount_classic(root->stage_fd, &new);
	if (r < 0)
		return r;
	/* What is mounted on a directory is only found on the way to it. */
	cleanup_close int above_fd = openat(root->stage_fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *name = root->staged ? "stage" : root->place.name;
	cleanup_close int fd = above_fd < 0 ? -1 : openat(above_fd, name, O_PATH | O_DIRECTORY |
	                                                  O_NOFOLLOW | O_CLOEXEC);
	int made = fd < 0 ? -errno : mount_clone(fd, false);
	if (fchdir(above_fd) == 0)
		sys_umount(name, MNT_DETACH);
	return made;
}

/* One layer that nothing is written to needs no overlay, and overlayfs refuses it. */
static int make_root(struct root *root, struct fault *fault)
{
	const struct combined_layers *layers = root->layers;
	char note[MOUNT_NOTE] = "";
	if (root->upper_fd < 0 && layers->layers.count == 1) {
		int fd = mount_clone(root->lower[0], true);
		int r = fd < 0 ? fd : mount_seal(fd);
		if (r < 0)
			close_fd(&fd);
		return r < 0 ? fault_errno(fault, r, "layer \"%s\"",
		                           layers->layers.item[0].path) : fd;
	}
	int r = modules_load("overlay", fault);
	if (r < 0)
		return r;
	r = make_overlay(root, note);
	return r < 0 ? fault_errno(fault, r, "overlay%s%s", *note ? ": " : "", note) : r;
}

static void unstage(struct root *root)
{
	if (root->staged && fchdir(root->place.parent_fd) == 0)
		sys_umount(root->place.name, MNT_DETACH);
	root->staged = false;
}

static int build(struct root *root, struct fault *fault)
{
	const struct combined_layers *layers = root->layers;
	int r = open_layers(root, fault);
	if (r < 0)
		return r;
	worker_begin();
	if (layers_bind_bundle(layers))
		r = bind_bundle(root, fault);
	if (r < 0)
		return r;
	r = mountpoint_make(&root->place, layers->container_root_path, 0755);
	if (r < 0)
		return fault_errno(fault, r, "making it");
	root->stage_fd = dup(root->place.fd);
	if (has_tmpfs(layers))
		r = use_tmpfs(root, fault);
	else if (has_scratch(layers))
		r = use_scratch(root, fault);
	if (r < 0)
		return r;
	cleanup_close int fd = make_root(root, fault);
	if (fd < 0)
		return fd;
	unstage(root);
	r = mount_attach(fd, root->place.fd);
	return r < 0 ? fault_errno(fault, r, "mounting") : 0;
}

static void undo(struct root *root)
{
	unstage(root);
	if (root->place.path)
		mountpoint_undo(&root->place, false);
	if (root->bundle.path)
		mountpoint_undo(&root->bundle, root->bundle_bound);
}

/* Refused before anything is begun, so that nobody undoes it. */
static int check_free(const struct combined_layers *layers, struct fault *fault)
{
	cleanup_close int fd = mountpoint_open(layers->container_root_path);
	if (fd < 0 || !mount_is_root(fd))
		return 0;
	return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
	                 "something is mounted there already");
}

static int layers_add(const struct storage_job *job, struct fault *fault)
{
	struct root root = {
		.layers = job->settings,
		.bundle = MOUNTPOINT_NULL,
		.place = MOUNTPOINT_NULL,
		.upper_fd = -1,
		.work_fd = -1,
		.stage_fd = -1,
	};
	int r = layers_bundle_path(root.layers, root.bundle_path);
	if (!r)
		r = check_free(root.layers, fault);
	if (!r)
		r = build(&root, fault);
	if (r >= 0)
		return 0;
	const struct fault inner = *fault;
	undo(&root);
	return fault_set(fault, r, inner.hresult, "root \"%s\": %s",
	                 root.layers->container_root_path, inner.text);
}

static int layers_remove(const struct storage_job *job, struct fault *fault)
{
	const struct combined_layers *layers = job->settings;
	char bundle[PATH_MAX];
	int r = mountpoint_remove(layers->container_root_path);
	if (!r && !job->keep_bundle)
		r = layers_bundle_path(layers, bundle);
	if (!r && !job->keep_bundle)
		r = mountpoint_remove(bundle);
	return r < 0 ? fault_errno(fault, r, "root \"%s\": unmounting",
	                           layers->container_root_path) : 0;
}

const struct storage_resource storage_layers = {
	.name = "CombinedLayers",
	.type = &combined_layers_type,
	.check = layers_check,
	.path = layers_path,
	.add = layers_add,
	.remove = layers_remove,
};
