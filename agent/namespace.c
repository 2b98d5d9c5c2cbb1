/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A process cannot change its own pid namespace, and a new time namespace takes its offsets only
 * while nobody is in it; both concern the children of who asks. So the agent, which has one thread,
 * goes there itself for the moment of the clone, and comes back. The same way it enters network,
 * ipc and uts namespaces that are given by path: a child in a new user namespace would not be
 * allowed to. Mount namespaces it never enters, since coming back would lose its root and working
 * directory: the child does, and whoever has a new user namespace may not.
 */

#include "agent/child_private.h"

#include "oci/file.h"
#include "oci/log.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static int own_pid_ns = -1;

static int own_namespace(enum oci_namespace_type type)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/self/ns/%s", oci_namespace_file(type));
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int namespaces_init(struct fault *fault)
{
	if (own_pid_ns < 0)
		own_pid_ns = own_namespace(OCI_NS_PID);
	return own_pid_ns < 0 ? fault_errno(fault, own_pid_ns, "/proc/self/ns/pid") : 0;
}

static int leave(struct namespaces *namespaces, enum oci_namespace_type type)
{
	int fd = type == OCI_NS_PID ? own_pid_ns : own_namespace(type);
	if (fd < 0)
		return fd;
	namespaces->back[type] = fd;
	return 0;
}

static int enter(struct namespaces *namespaces, enum oci_namespace_type type, int fd)
{
	int r = leave(namespaces, type);
	if (r == 0 && setns(fd, oci_namespace_flag(type)) < 0)
		r = -errno;
	return r;
}

/* Only a namespace of the right kind: the path comes from outside. */
static int open_namespace(const struct oci_namespace *namespace, struct fault *fault)
{
	const char *name = oci_namespace_name(namespace->type);
	struct statfs fs;
	cleanup_close int fd = open(namespace->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return fault_errno(fault, -errno, "%s namespace %s", name, namespace->path);
	if (fs.f_type != NSFS_MAGIC ||
	    ioctl(fd, NS_GET_NSTYPE) != oci_namespace_flag(namespace->type))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
				 "%s namespace %s: is not a %s namespace", name, namespace->path,
				 name);
	return take_fd(&fd);
}

static int write_offsets(const struct oci_time_offsets *offsets)
{
	char text[128];
	int length = 0;
	if (offsets && offsets->monotonic)
		length +=
			snprintf(text, sizeof(text), "monotonic %lld %u\n",
				 (long long)offsets->monotonic->secs, offsets->monotonic->nanosecs);
	if (offsets && offsets->boottime)
		length +=
			snprintf(text + length, sizeof(text) - (size_t)length, "boottime %lld %u\n",
				 (long long)offsets->boottime->secs, offsets->boottime->nanosecs);
	if (length == 0)
		return 0;
	return file_write_text(AT_FDCWD, "/proc/self/timens_offsets", text);
}

static int new_time(struct namespaces *namespaces, const struct oci_time_offsets *offsets,
                    struct fault *fault)
{
	int r = leave(namespaces, OCI_NS_TIME);
	if (r == 0 && unshare(CLONE_NEWTIME) < 0)
		r = -errno;
	if (r < 0)
		return fault_errno(fault, r, "time namespace");
	r = write_offsets(offsets);
	return r < 0 ? fault_errno(fault, r, "linux.timeOffsets") : 0;
}

static int take_new(struct namespaces *namespaces, const struct oci_spec *spec, int type,
                    struct fault *fault)
{
	if (type == OCI_NS_TIME)
		return new_time(namespaces, spec->linux_.time_offsets, fault);
	/* The child makes its cgroup namespace when it is in all its cgroups. */
	if (type != OCI_NS_CGROUP)
		namespaces->clone_flags |= (unsigned)oci_namespace_flag(type);
	return 0;
}

static bool is_own(enum oci_namespace_type type, int fd)
{
	struct stat own, other;
	cleanup_close int own_fd = own_namespace(type);
	return own_fd >= 0 && fstat(own_fd, &own) == 0 && fstat(fd, &other) == 0 &&
		own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

static int take_mount(struct namespaces *namespaces, const struct oci_spec *spec,
                      const struct oci_namespace *namespace, int *fd, struct fault *fault)
{
	const struct oci_namespace *user = oci_namespace_find(spec, OCI_NS_USER);
	const char *reason = NULL;
	if (is_own(OCI_NS_MOUNT, *fd))
		reason = "is the agent's, which is shared by naming none";
	else if (user && !user->path)
		reason = "does not belong to a new user namespace, which could mount nothing there";
	if (reason)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "mount namespace %s: %s",
		                 namespace->path, reason);
	namespaces->mount_fd = take_fd(fd);
	return 0;
}

static int take_path(struct namespaces *namespaces, const struct oci_spec *spec,
                     const struct oci_namespace *namespace, struct fault *fault)
{
	cleanup_close int fd = open_namespace(namespace, fault);
	if (fd < 0)
		return fd;
	if (namespace->type == OCI_NS_USER) {
		namespaces->user_fd = take_fd(&fd);
		return 0;
	}
	if (namespace->type == OCI_NS_MOUNT)
		return take_mount(namespaces, spec, namespace, &fd, fault);
	if (namespace->type == OCI_NS_CGROUP) {
		namespaces->cgroup_fd = take_fd(&fd);
		return 0;
	}
	int r = enter(namespaces, (enum oci_namespace_type)namespace->type, fd);
	return r < 0 ? fault_errno(fault, r, "%s namespace %s", oci_namespace_name(namespace->type),
	                           namespace->path) : 0;
}

int namespaces_enter(const struct child_plan *plan, struct namespaces *ret, struct fault *fault)
{
	if (!plan->spec)
		return 0;
	if (plan->exec) {
		if (!oci_namespace_find(plan->spec, OCI_NS_PID))
			return 0;
		int r = enter(ret, OCI_NS_PID, plan->init_pidfd);
		return r < 0 ? fault_errno(fault, r, "pid namespace of container \"%s\"", plan->id)
			     : 0;
	}
	for (size_t i = 0; i < plan->spec->linux_.namespaces.count; i++) {
		const struct oci_namespace *namespace = &plan->spec->linux_.namespaces.item[i];
		int r = namespace->path ? take_path(ret, plan->spec, namespace, fault) :
		                          take_new(ret, plan->spec, namespace->type, fault);
		if (r < 0)
			return r;
	}
	return 0;
}

int namespaces_return(struct namespaces *namespaces, struct fault *fault)
{
	int result = 0;
	for (int type = OCI_NS_NONE + 1; type < OCI_NS_COUNT; type++) {
		if (namespaces->back[type] < 0)
			continue;
		if (setns(namespaces->back[type], oci_namespace_flag(type)) < 0) {
			result = fault_errno(fault, -errno, "back to the agent's %s namespace",
			                     oci_namespace_name(type));
			log_error("cannot return to our own %s namespace",
				  oci_namespace_name(type));
		}
		if (type == OCI_NS_PID)
			namespaces->back[type] = -1;
		else
			close_fd(&namespaces->back[type]);
	}
	return result;
}

void namespaces_deinit(struct namespaces *namespaces)
{
	close_fd(&namespaces->user_fd);
	close_fd(&namespaces->cgroup_fd);
	close_fd(&namespaces->mount_fd);
}

int namespaces_join_flags(const struct oci_spec *spec)
{
	int flags = 0;
	for (size_t i = 0; i < spec->linux_.namespaces.count; i++)
		flags |= oci_namespace_flag(spec->linux_.namespaces.item[i].type);
	return flags & ~CLONE_NEWPID;
}
