/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A mount is made detached, complete with its flags, then its destination is opened (and made
 * where it is missing), then the one is attached to the other. Nothing names a path of the
 * container twice, and nothing of the container is ever read as a path of ours.
 *
 * Destinations that would undo what other parts rely on are refused: the root itself, and places
 * inside of /proc other than the few that lxcfs is known to replace. What is mounted at /proc has
 * to be procfs, because masked paths, sysctls and LSM labels are written through it in good faith.
 */

#include "agent/mount.h"

#include "agent/copyup.h"
#include "agent/idmap.h"
#include "oci/log.h"
#include "oci/mountapi.h"
#include "oci/path.h"

#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define MOUNT_ARENA (1u << 20)

/*
 * What may be mounted inside of /proc: statistics that lxcfs fakes, and switches that tools
 * fake.
 */
static const char *const proc_exceptions[] = {
	"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/net/dev",
	"/proc/slabinfo", "/proc/stat", "/proc/swaps", "/proc/sys/crypto/fips_enabled",
	"/proc/sys/kernel/ns_last_pid", "/proc/uptime",
};

static bool is_proc(int fd)
{
	struct statfs fs;
	return fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

static int refuse(struct mount_job *job, int error, const char *note)
{
	snprintf(job->note, sizeof(job->note), "%s", note);
	return error;
}

static int check_target(struct mount_job *job, int target_fd, int source_fd)
{
	const char *destination = job->mount->destination;
	if (path_same(target_fd, job->rootfs->fd))
		return refuse(job, -EINVAL, "it is the root of the container");
	bool inside = is_proc(target_fd);
	if (path_equal(destination, "/proc") || (inside && mount_is_root(target_fd)))
		return is_proc(source_fd) ? 0 : refuse(job, -EPERM, "not a proc file system");
	if (!inside)
		return 0;
	for (size_t i = 0; i < array_size(proc_exceptions); i++)
		if (path_equal(destination, proc_exceptions[i]))
			return 0;
	return refuse(job, -EPERM, "inside of /proc");
}

int mount_open_target(struct mount_job *job, mode_t type, int source_fd)
{
	cleanup_close int fd = path_make(job->rootfs->fd, job->mount->destination, type);
	if (fd < 0)
		return fd;
	struct stat stat;
	if (fstat(fd, &stat) < 0)
		return -errno;
	if (S_ISDIR(stat.st_mode) != (type == S_IFDIR))
		return type == S_IFDIR ? -ENOTDIR : -EISDIR;
	int r = check_target(job, fd, source_fd);
	return r < 0 ? r : take_fd(&fd);
}

/* Attaches a mount, and applies the recursive attributes and the propagation. */
static int place(struct mount_job *job, int mount_fd, int target_fd)
{
	int r = mount_attach(mount_fd, target_fd);
	if (r >= 0)
		r = mount_change(mount_fd, job->options.attr_set, job->options.attr_clear, true);
	if (r >= 0)
		r = mount_propagate(mount_fd, job->options.propagation);
	return r;
}

static int keep_for_late(struct rootfs *rootfs, int *fd)
{
	int *item = realloc(rootfs->late.item, (rootfs->late.count + 1) * sizeof(*item));
	if (!item)
		return -ENOMEM;
	rootfs->late.item = item;
	rootfs->late.item[rootfs->late.count++] = take_fd(fd);
	return 0;
}

/* By mount(2), for what fsconfig(2) cannot take. The mount is then found again by its path. */
static int mount_oversized(struct mount_job *job, const struct mount_new *new, int target_fd)
{
	int r = mount_classic(target_fd, new);
	if (r < 0)
		return r;
	cleanup_close int fd = path_open(job->rootfs->fd, job->mount->destination, O_PATH, 0);
	if (fd < 0)
		return fd;
	if (!mount_is_root(fd))
		return -ESTALE;
	r = mount_change(fd, job->options.attr_set, job->options.attr_clear, true);
	return r < 0 ? r : mount_propagate(fd, job->options.propagation);
}

/*
 * A file system of its own on target_fd. Places that we make more things in later (a tmpfs, /dev)
 * become read-only only when all is there.
 */
static int mount_fs(struct mount_job *job, struct mount_new *new, int target_fd)
{
	if (!mount_data_fits(new->data))
		return mount_oversized(job, new, target_fd);
	bool late = new->flags & MS_RDONLY && (!strcmp(new->type, "tmpfs") ||
	                                       path_equal(job->mount->destination, "/dev"));
	new->writable = late;
	cleanup_close int fd = mount_create(new, job->note);
	if (fd < 0)
		return fd;
	int r = 0;
	if (job->options.copy_up)
		r = copy_up(target_fd, fd);
	if (r >= 0)
		r = place(job, fd, target_fd);
	if (r >= 0 && late)
		r = keep_for_late(job->rootfs, &fd);
	return r;
}

static struct mount_new describe(const struct mount_job *job)
{
	return (struct mount_new){
		.type = job->mount->type,
		.source = job->mount->source,
		.flags = job->options.flags,
		.data = job->options.data,
		.label = job->rootfs->spec->linux_.mount_label,
	};
}

static int mount_other(struct mount_job *job)
{
	struct mount_new new = describe(job);
	cleanup_close int target_fd = mount_open_target(job, S_IFDIR, -1);
	return target_fd < 0 ? target_fd : mount_fs(job, &new, target_fd);
}

static int mount_unlabelled(struct mount_job *job)
{
	struct mount_new new = describe(job);
	new.label = NULL;
	cleanup_close int target_fd = mount_open_target(job, S_IFDIR, -1);
	return target_fd < 0 ? target_fd : mount_fs(job, &new, target_fd);
}

/* A tmpfs on a directory that exists takes over its mode, as /tmp would want. */
static int mount_tmpfs(struct mount_job *job)
{
	struct mount_new new = describe(job);
	const char *data = new.data ? new.data : "", *mode = strstr(data, "mode=");
	cleanup_close int target_fd = path_open(job->rootfs->fd, job->mount->destination,
	                                        O_PATH | O_DIRECTORY, 0);
	struct stat stat;
	if (target_fd >= 0 && fstat(target_fd, &stat) == 0 &&
	    !(mode && (mode == data || mode[-1] == ','))) {
		new.data = arena_printf(&job->arena, "%s%smode=%o", data, *data ? "," : "",
		                        stat.st_mode & 07777);
		if (!new.data)
			return -ENOMEM;
	}
	/* One that is only made now has nothing to copy, and its mode nothing to say. */
	job->options.copy_up &= target_fd >= 0;
	close_fd(&target_fd);
	target_fd = mount_open_target(job, S_IFDIR, -1);
	return target_fd < 0 ? target_fd : mount_fs(job, &new, target_fd);
}

/*
 * The two file systems that paths outside of the container's reach are known by. They are mounted
 * on ordinary directories only: a /proc that is a link would leave /proc/kcore somewhere else,
 * unmasked.
 */
static int open_system_target(struct mount_job *job)
{
	const char *destination = job->mount->destination;
	int fd = path_open(job->rootfs->fd, destination, O_PATH | O_DIRECTORY,
	                   RESOLVE_NO_SYMLINKS);
	if (fd == -ENOENT) {
		cleanup_close int made_fd = path_make(job->rootfs->fd, destination, S_IFDIR);
		if (made_fd < 0)
			return made_fd;
		fd = path_open(job->rootfs->fd, destination, O_PATH | O_DIRECTORY,
		               RESOLVE_NO_SYMLINKS);
	}
	if (fd == -ELOOP || fd == -ENOTDIR)
		return refuse(job, fd, "not an ordinary directory");
	return fd;
}

static int mount_proc(struct mount_job *job)
{
	struct mount_new new = describe(job);
	new.label = NULL;
	cleanup_close int target_fd = open_system_target(job);
	if (target_fd < 0)
		return target_fd;
	if (path_same(target_fd, job->rootfs->fd))
		return refuse(job, -EINVAL, "it is the root of the container");
	if (is_proc(target_fd) && !mount_is_root(target_fd))
		return refuse(job, -EPERM, "inside of /proc");
	return mount_fs(job, &new, target_fd);
}

/*
 * A user namespace may mount sysfs only for a network namespace that it owns: else ours,
 * read-only.
 */
static int mount_sysfs(struct mount_job *job)
{
	struct mount_new new = describe(job);
	new.label = NULL;
	cleanup_close int target_fd = open_system_target(job);
	if (target_fd < 0)
		return target_fd;
	int r = check_target(job, target_fd, -1);
	if (r >= 0)
		r = mount_fs(job, &new, target_fd);
	if (r != -EPERM)
		return r;
	log_debug("mount \"sysfs\" on \"%s\": not permitted, binding /sys instead",
	          job->mount->destination);
	cleanup_close int sys_fd = open("/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (sys_fd < 0)
		return -errno;
	cleanup_close int fd = mount_clone(sys_fd, true);
	r = fd < 0 ? fd : mount_attach(fd, target_fd);
	if (r >= 0)
		r = mount_change_options(fd, &job->options);
	if (r >= 0)
		r = mount_seal(fd);
	return r < 0 ? r : mount_propagate(fd, job->options.propagation);
}

/* Changes a mount that is there already: itself (bind), or its file system. */
static int mount_again(struct mount_job *job)
{
	cleanup_close int fd = path_open(job->rootfs->fd, job->mount->destination, O_PATH, 0);
	if (fd < 0)
		return fd;
	if (!mount_is_root(fd) || path_same(fd, job->rootfs->fd))
		return refuse(job, -EINVAL, "not a mount of the container");
	struct mount_new new = describe(job);
	int r = job->options.bind ? mount_change_options(fd, &job->options) :
		mount_classic(fd, &new);
	if (r >= 0 && !job->options.bind)
		r = mount_change(fd, job->options.attr_set, job->options.attr_clear, true);
	return r < 0 ? r : mount_propagate(fd, job->options.propagation);
}

static bool wants_bind(const struct mount_job *job)
{
	return !(job->options.flags & MS_REMOUNT) &&
		(job->options.bind || (job->mount->type && !strcmp(job->mount->type, "bind")));
}

static int map_ids(struct mount_job *job, int mount_fd)
{
	const oci_id_mappings *uids = &job->mount->uid_mappings, *gids = &job->mount->gid_mappings;
	if (!job->options.idmap && !uids->count && !gids->count)
		return 0;
	if (!uids->count && !gids->count) {
		uids = &job->rootfs->spec->linux_.uid_mappings;
		gids = &job->rootfs->spec->linux_.gid_mappings;
	}
	if (!uids->count || !gids->count)
		return refuse(job, -EINVAL, "an id map needs uidMappings and gidMappings");
	cleanup_close int userns_fd = idmap_open(uids, gids, job->rootfs->proc_fd);
	int r = userns_fd < 0 ? userns_fd :
		idmap_mount(mount_fd, userns_fd, job->options.recursive_idmap);
	return r < 0 ? refuse(job, r, "id map") : 0;
}

static int open_source(struct mount_job *job)
{
	const char *source = job->mount->source;
	if (!source || !*source)
		return refuse(job, -EINVAL, "a bind mount needs a source");
	cleanup_close int bundle_fd = -1;
	if (*source != '/') {
		bundle_fd = open(job->rootfs->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (bundle_fd < 0)
			return -errno;
	}
	cleanup_close int source_fd = openat(bundle_fd, source, O_PATH | O_CLOEXEC);
	if (source_fd < 0)
		return -errno;
	cleanup_close int fd = mount_clone(source_fd, job->options.recursive_bind);
	int r = fd < 0 ? fd : map_ids(job, fd);
	return r < 0 ? r : take_fd(&fd);
}

static int mount_bind(struct mount_job *job, size_t index)
{
	struct rootfs *rootfs = job->rootfs;
	cleanup_close int fd = -1, target_fd = -1;
	fd = rootfs->sources && rootfs->sources[index] >= 0 ? take_fd(&rootfs->sources[index]) :
		open_source(job);
	if (fd < 0)
		return fd;
	struct stat stat;
	if (fstat(fd, &stat) < 0)
		return -errno;
	target_fd = mount_open_target(job, S_ISDIR(stat.st_mode) ? S_IFDIR : S_IFREG, fd);
	if (target_fd < 0)
		return target_fd;
	int r = mount_attach(fd, target_fd);
	if (r >= 0)
		r = mount_change_options(fd, &job->options);
	return r < 0 ? r : mount_propagate(fd, job->options.propagation);
}

static const struct {
	const char *type;
	int (*mount)(struct mount_job *job);
} mount_kinds[] = {
	{ "cgroup", mount_cgroup },
	{ "cgroup2", mount_unlabelled },
	{ "mqueue", mount_unlabelled },
	{ "proc", mount_proc },
	{ "sysfs", mount_sysfs },
	{ "tmpfs", mount_tmpfs },
};

static int job_run(struct mount_job *job, size_t index)
{
	const char *type = job->mount->type;
	if (job->options.flags & MS_REMOUNT)
		return mount_again(job);
	if (wants_bind(job))
		return job->options.copy_up ? refuse(job, -EINVAL, "tmpcopyup is for a tmpfs") :
			mount_bind(job, index);
	if (!type || !*type)
		return refuse(job, -EINVAL, "neither a type nor a bind mount");
	if (job->options.idmap || job->mount->uid_mappings.count || job->mount->gid_mappings.count)
		return refuse(job, -EINVAL, "id maps are for bind mounts");
	if (job->options.copy_up && strcmp(type, "tmpfs") != 0)
		return refuse(job, -EINVAL, "tmpcopyup is for a tmpfs");
	for (size_t i = 0; i < array_size(mount_kinds); i++)
		if (!strcmp(mount_kinds[i].type, type))
			return mount_kinds[i].mount(job);
	return mount_other(job);
}

static int job_init(struct mount_job *job, struct rootfs *rootfs, size_t index)
{
	*job = (struct mount_job){
		.rootfs = rootfs,
		.mount = &rootfs->spec->mounts.item[index],
		.arena = ARENA(MOUNT_ARENA),
	};
	int r = mount_options_parse(&job->arena, &job->mount->options, &job->options);
	return r == -EINVAL ? refuse(job, r, "options that contradict one another") : r;
}

static int job_end(struct mount_job *job, int r, struct fault *fault)
{
	const struct oci_mount *mount = job->mount;
	const char *source = mount->source && *mount->source ? mount->source :
		mount->type && *mount->type ? mount->type : "none";
	arena_free(&job->arena);
	if (r < 0 && *job->note)
		return fault_set(fault, r, HRESULT_FAIL, "mount \"%s\" on \"%s\": %s (%s)", source,
		                 mount->destination, errno_text(r), job->note);
	if (r < 0)
		return fault_errno(fault, r, "mount \"%s\" on \"%s\"", source, mount->destination);
	return r;
}

int mount_do(struct rootfs *rootfs, size_t index, struct fault *fault)
{
	struct mount_job job;
	int r = job_init(&job, rootfs, index);
	if (r >= 0)
		r = job_run(&job, index);
	return job_end(&job, r, fault);
}

int mount_open_source(struct rootfs *rootfs, size_t index, int *ret_fd, struct fault *fault)
{
	struct mount_job job;
	int r = job_init(&job, rootfs, index);
	*ret_fd = -1;
	if (r >= 0 && wants_bind(&job)) {
		r = open_source(&job);
		if (r >= 0) {
			*ret_fd = r;
			r = 0;
		}
	}
	return job_end(&job, r, fault);
}
