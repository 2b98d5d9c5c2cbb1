/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The kernel takes an id map in the shape of a user namespace and in no other. A user namespace
 * needs a process to be born in: a helper that does nothing but wait until its namespace has been
 * opened, and then goes.
 *
 * The maps are written through /proc/PID, and PID is a number of the pid namespace that /proc was
 * mounted in, which need not be ours: a child that has just got a pid namespace still sees the
 * /proc of its creator. The kernel tells the right number in the fdinfo of the helper's pidfd.
 */

#include "agent/idmap.h"

#include "agent/mountinfo.h"
#include "oci/file.h"
#include "oci/mountapi.h"

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define MAP_TEXT 4096   /* what the kernel takes in one write is less than a page */

static int write_map(int proc_fd, const char *name, const oci_id_mappings *mappings)
{
	char text[MAP_TEXT];
	size_t used = 0;
	for (size_t i = 0; i < mappings->count; i++) {
		const struct oci_id_mapping *m = &mappings->item[i];
		int n = snprintf(text + used, sizeof(text) - used, "%u %u %u\n", m->container_id,
		                 m->host_id, m->size);
		if (n < 0 || (size_t)n >= sizeof(text) - used)
			return -E2BIG;
		used += (size_t)n;
	}
	return file_write_text(proc_fd, name, text);
}

/* /proc/PID of the process behind a pidfd, as an fd. */
static int open_proc(int pidfd, int proc_fd)
{
	char path[64], line[128];
	long pid = 0;
	snprintf(path, sizeof(path), "fdinfo/%d", pidfd);
	FILE *file = proc_self_open(proc_fd, path);
	if (!file)
		return -errno;
	while (pid <= 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, "Pid:", 4))
			pid = strtol(line + 4, NULL, 10);
	fclose(file);
	if (pid <= 0)
		return -ESRCH;
	snprintf(path, sizeof(path), "%s/%ld", proc_fd < 0 ? "/proc" : "..", pid);
	int fd = openat(proc_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int open_mapped(int pidfd, const oci_id_mappings *uids, const oci_id_mappings *gids,
                       int proc_fd)
{
	cleanup_close int helper_fd = open_proc(pidfd, proc_fd);
	if (helper_fd < 0)
		return helper_fd;
	int r = write_map(helper_fd, "uid_map", uids);
	if (r >= 0)
		r = write_map(helper_fd, "gid_map", gids);
	if (r < 0)
		return r;
	int fd = openat(helper_fd, "ns/user", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int idmap_open(const oci_id_mappings *uids, const oci_id_mappings *gids, int proc_fd)
{
	int pidfd_value = -1;
	struct clone_args args = {
		.flags = CLONE_NEWUSER | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&pidfd_value,
	};
	/* No exit signal: whoever waits for children at large does not see this one. */
	long pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		for (;;)
			pause();
	}
	cleanup_close int pidfd = pidfd_value;
	int r = open_mapped(pidfd, uids, gids, proc_fd);
	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	while (waitpid((pid_t)pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	return r;
}

int idmap_mount(int mount_fd, int userns_fd, bool recursive)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_IDMAP,
		.userns_fd = (uint64_t)userns_fd,
	};
	int r = sys_mount_setattr(mount_fd, recursive ? AT_RECURSIVE : 0, &attr);
	return r == -ENOSYS ? -ENOTSUP : r;
}
