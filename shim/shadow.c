/* SPDX-License-Identifier: Apache-2.0 */

/*
 * podman cp works in the mount namespace of the pid that it knows. podman stats, docker stats and
 * whoever waits for the container to run out of memory (conmon, containerd's shim) read in
 * /proc/PID/cgroup where to look.
 *
 * The proxy counts as one more process there, and is frozen along with the container. In version 1
 * only the memory controller's hierarchy is entered: in the others a proxy would use up what
 * belongs to the container, and nobody looks there first. The agent waits in version 2 until a
 * cgroup is empty, so the proxy is in that in any case.
 *
 * The namespaces of a container in a VM are not to be entered. But its proxy must not be found in
 * the host's mount namespace, or podman cp would write to the host's own files: it gets one with
 * nothing in it but the container's root.
 */

#include "shim/shadow.h"

#include "oci/mountapi.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <mntent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>

#define PATH_ROOM 6300

static int open_below(const char *mount, const char *cgroup, const char *file, int flags)
{
	char path[PATH_ROOM];
	int n = snprintf(path, sizeof(path), "%s%s%s", mount, cgroup, file);
	return n < 0 || (size_t)n >= sizeof(path) ? -1 : open(path, flags | O_CLOEXEC);
}

static void find_cgroup(struct shadow *shadow, const char *cgroup)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	if (!mounts)
		return;
	for (struct mntent *mount; (mount = getmntent(mounts));) {
		if (!strcmp(mount->mnt_type, "cgroup2") && shadow->cgroup_fd < 0)
			shadow->cgroup_fd = open_below(mount->mnt_dir, cgroup, "",
			                               O_PATH | O_DIRECTORY);
		else if (!strcmp(mount->mnt_type, "cgroup") && hasmntopt(mount, "memory") &&
		         shadow->tasks_fd < 0)
			shadow->tasks_fd = open_below(mount->mnt_dir, cgroup, "/tasks", O_WRONLY);
	}
	endmntent(mounts);
}

/* What is unmounted on the host goes here too. */
static int clone_root(const char *root)
{
	const struct mount_attr slave = { .propagation = MS_SLAVE };
	cleanup_close int place_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int fd = place_fd < 0 ? -1 : sys_open_tree(place_fd, OPEN_TREE_CLONE |
	                                                                   AT_RECURSIVE);
	return fd < 0 || sys_mount_setattr(fd, AT_RECURSIVE, &slave) < 0 ? -1 : take_fd(&fd);
}

void shadow_open(struct shadow *ret, pid_t host_pid, const char *cgroup, const char *root)
{
	*ret = (struct shadow){ .pidfd = -1, .cgroup_fd = -1, .tasks_fd = -1, .alone = root,
	                        .root_fd = root && *root ? clone_root(root) : -1 };
	if (host_pid)
		ret->pidfd = pidfd_open(host_pid, 0);
	if (cgroup)
		find_cgroup(ret, cgroup);
}

/* To move there later would take the kernel some 10 ms. */
pid_t shadow_fork(const struct shadow *shadow)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)shadow->cgroup_fd,
	};
	pid_t pid = -1;
	if (shadow->cgroup_fd >= 0)
		pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	return pid < 0 ? fork() : pid;
}

/* On top of a directory that there is everywhere. */
#define PLACE "/proc"

static int mount_root(const struct shadow *shadow)
{
	if (shadow->root_fd < 0)
		return sys_mount("none", PLACE, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		                 "size=4k,mode=0555");
	cleanup_close int place_fd = open(PLACE, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return place_fd < 0 ? -errno : sys_move_mount(shadow->root_fd, place_fd);
}

static int leave_host(const struct shadow *shadow)
{
	/* For whom that is forbidden, there is nothing to be feared for either. */
	/* Who puts devices into the network of a container finds it by our pid. */
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0)
		return errno == EPERM ? 0 : -errno;
	int r = sys_mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
	if (r >= 0)
		r = mount_root(shadow);
	if (r >= 0 && (chdir(PLACE) < 0 || syscall(SYS_pivot_root, ".", ".") < 0))
		r = -errno;
	if (r >= 0)
		r = sys_umount(".", MNT_DETACH);
	return r < 0 ? r : chdir("/") < 0 ? -errno : 0;
}

int shadow_enter(const struct shadow *shadow)
{
	static const int namespaces = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	if (shadow->tasks_fd >= 0)
		(void)!write(shadow->tasks_fd, "0", 1);
	if (shadow->pidfd >= 0 && setns(shadow->pidfd, namespaces) == 0)
		(void)!chdir("/");
	return shadow->alone ? leave_host(shadow) : 0;
}

void shadow_close(struct shadow *shadow)
{
	close_fd(&shadow->pidfd);
	close_fd(&shadow->cgroup_fd);
	close_fd(&shadow->tasks_fd);
	close_fd(&shadow->root_fd);
}
