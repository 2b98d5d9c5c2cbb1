/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a container sees at /sys/fs/cgroup.
 *
 * Where version 2 is alone, that is the one hierarchy. Where version 1 is about, it is what
 * machines of that kind have: a tmpfs with a directory for each hierarchy (named after its
 * controllers, "cpu,cpuacct", with a link for each of several), and the v2 hierarchy as
 * "unified". A hierarchy in which the container has no cgroup of its own is left out: there it
 * would see and could write the agent's. In a cgroup namespace each is mounted afresh, because
 * the kernel then shows its own subtree; without one it is the container's own cgroup, bound, so
 * that nobody else's can be seen.
 */

#include "agent/mount.h"

#include "agent/cgroup.h"
#include "agent/mountinfo.h"
#include "oci/log.h"
#include "oci/mountapi.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define HIERARCHIES_MAX 32

/* A line of /proc/self/cgroup: "4:cpu,cpuacct:/a/b". */
struct hierarchy {
	const char *controllers;        /* "" for v2 */
	const char *path;
};

static int read_hierarchies(struct mount_job *job, struct hierarchy list[static HIERARCHIES_MAX],
                            size_t *ret_count)
{
	FILE *file = proc_self_open(job->rootfs->proc_fd, "cgroup");
	if (!file)
		return -errno;
	cleanup_free char *line = NULL;
	size_t size = 0, count = 0;
	int r = 0;
	while (r >= 0 && count < HIERARCHIES_MAX && getline(&line, &size, file) > 0) {
		char *text = arena_copy(&job->arena, line, strcspn(line, "\n"));
		if (!text) {
			r = -ENOMEM;
			break;
		}
		strsep(&text, ":");
		const char *controllers = strsep(&text, ":");
		if (text)
			list[count++] = (struct hierarchy){ controllers, text };
	}
	fclose(file);
	*ret_count = count;
	return r;
}

static const struct mountinfo *find_mount(const struct mountinfo *mounts,
                                          const struct hierarchy *hierarchy)
{
	char first[NAME_MAX + 1];
	snprintf(first, sizeof(first), "%.*s", (int)strcspn(hierarchy->controllers, ","),
	         hierarchy->controllers);
	while (mounts && (strcmp(mounts->type, *first ? "cgroup" : "cgroup2") != 0 ||
	                  (*first && !mountinfo_has_option(mounts, first))))
		mounts = mounts->next;
	return mounts;
}

/* A copy of the container's own cgroup, as far as it can be seen from here. */
static int clone_own(const struct mountinfo *mounts, const struct hierarchy *hierarchy)
{
	const struct mountinfo *mount = find_mount(mounts, hierarchy);
	if (!mount)
		return -ENOENT;
	const char *below = hierarchy->path;
	size_t length = strcmp(mount->root, "/") != 0 ? strlen(mount->root) : 0;
	if (strncmp(below, mount->root, length) != 0 || (below[length] && below[length] != '/') ||
	    strstr(below, "/.."))
		return -ENOENT;
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s%s", mount->point, below + length);
	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	cleanup_close int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : mount_clone(fd, false);
}

/*
 * Made in the first cgroup namespace, a new mount of cgroup2 sets the options of all of them, and
 * none of nsdelegate and memory_recursiveprot would be left. So where a container has no cgroup
 * namespace, the mount is made in one that is there for nothing else; the root that it shows is the
 * container's own cgroup.
 */
static int create(struct mount_job *job, const struct mount_new *new)
{
	int proc_fd = job->rootfs->proc_fd;
	if (oci_namespace_find(job->rootfs->spec, OCI_NS_CGROUP))
		return mount_create(new, job->note);
	cleanup_close int ours = openat(proc_fd, proc_fd < 0 ? "/proc/self/ns/cgroup" : "ns/cgroup",
	                                O_RDONLY | O_CLOEXEC);
	if (ours < 0 || unshare(CLONE_NEWCGROUP) < 0)
		return -errno;
	cleanup_close int fd = mount_create(new, job->note);
	return setns(ours, CLONE_NEWCGROUP) < 0 ? -errno : take_fd(&fd);
}

static int mount_hierarchy(struct mount_job *job, const struct mountinfo *mounts,
                           const struct hierarchy *hierarchy)
{
	const struct mount_new fresh = {
		.type = *hierarchy->controllers ? "cgroup" : "cgroup2",
		.source = "cgroup",
		.flags = job->options.flags,
		.data = *hierarchy->controllers ? hierarchy->controllers : NULL,
		.writable = true, /* the file system is everybody's; the mount becomes read-only */
	};
	if (oci_namespace_find(job->rootfs->spec, OCI_NS_CGROUP))
		return create(job, &fresh);
	int fd = clone_own(mounts, hierarchy);
	return fd == -ENOENT ? create(job, &fresh) : fd;
}

static int open_directory(int parent_fd, const char *name)
{
	if (mkdirat(parent_fd, name, 0755) < 0)
		return -errno;
	int fd = openat(parent_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int make_links(int parent_fd, const char *name)
{
	for (const char *at = name; *at && strchr(name, ',');) {
		char link[NAME_MAX + 1];
		size_t n = strcspn(at, ",");
		snprintf(link, sizeof(link), "%.*s", (int)n, at);
		if (symlinkat(name, parent_fd, link) < 0)
			return -errno;
		at += n + (at[n] == ',');
	}
	return 0;
}

static int place_hierarchy(struct mount_job *job, int parent_fd, const struct mountinfo *mounts,
                           const struct hierarchy *hierarchy)
{
	const char *name = !*hierarchy->controllers ? "unified" : hierarchy->controllers;
	if (!strncmp(name, "name=", 5))
		name += 5;
	const struct cgroup *cgroup = job->rootfs->cgroup;
	if (*hierarchy->controllers && cgroup && !cgroup_has(cgroup, hierarchy->controllers))
		return 0;
	cleanup_close int fd = mount_hierarchy(job, mounts, hierarchy);
	if (fd == -ENOENT) {
		log_debug("cgroup hierarchy \"%s\": not mounted here", name);
		return 0;
	}
	if (fd < 0)
		return fd;
	cleanup_close int target_fd = open_directory(parent_fd, name);
	int r = target_fd < 0 ? target_fd : mount_attach(fd, target_fd);
	if (r >= 0)
		r = mount_change_options(fd, &job->options);
	return r < 0 ? r : make_links(parent_fd, name);
}

static int mount_all(struct mount_job *job, const struct hierarchy *list, size_t count)
{
	const struct mountinfo *mounts;
	const struct mount_new base = {
		.type = "tmpfs",
		.source = "cgroup",
		.flags = job->options.flags,
		.data = "mode=755",
		.label = job->rootfs->spec->linux_.mount_label,
		.writable = true,
	};
	int r = mountinfo_read(&job->arena, job->rootfs->proc_fd, &mounts);
	if (r < 0)
		return r;
	cleanup_close int target_fd = mount_open_target(job, S_IFDIR, -1);
	if (target_fd < 0)
		return target_fd;
	cleanup_close int fd = mount_create(&base, job->note);
	r = fd < 0 ? fd : mount_attach(fd, target_fd);
	for (size_t i = 0; i < count && r >= 0; i++)
		r = place_hierarchy(job, fd, mounts, &list[i]);
	if (r >= 0)
		r = mount_change_options(fd, &job->options);
	return r < 0 ? r : mount_propagate(fd, job->options.propagation);
}

/* The one hierarchy; where a user namespace may not mount it, ours is shown. */
static int mount_unified(struct mount_job *job)
{
	const struct mount_new unified = {
		.type = "cgroup2",
		.source = "cgroup",
		.flags = job->options.flags,
		.data = job->options.data,
		.writable = true,
	};
	cleanup_close int target_fd = mount_open_target(job, S_IFDIR, -1);
	if (target_fd < 0)
		return target_fd;
	cleanup_close int fd = create(job, &unified);
	if (fd == -EPERM || fd == -EBUSY) {
		const struct mountinfo *mounts;
		const struct hierarchy own = { "", "/" };
		int r = mountinfo_read(&job->arena, job->rootfs->proc_fd, &mounts);
		fd = r < 0 ? r : clone_own(mounts, &own);
	}
	int r = fd < 0 ? fd : mount_attach(fd, target_fd);
	if (r >= 0)
		r = mount_change_options(fd, &job->options);
	return r < 0 ? r : mount_propagate(fd, job->options.propagation);
}

int mount_cgroup(struct mount_job *job)
{
	struct hierarchy list[HIERARCHIES_MAX];
	size_t count = 0, v1 = 0;
	int r = read_hierarchies(job, list, &count);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++)
		v1 += *list[i].controllers != '\0';
	return v1 ? mount_all(job, list, count) : mount_unified(job);
}
