/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is open in a child: its three standard streams, and what it still needs itself. All else is
 * closed at once and not only marked close-on-exec, so that no hook and no mount of the container's
 * can reach an fd of the agent's (CVE-2024-21626), and nobody waits for the end of a pipe that we
 * hold.
 */

#include "agent/child_private.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

/* An fd that must not be overwritten by what becomes 0, 1 and 2. */
static int above_stdio(int *fd)
{
	if (*fd >= 0 && *fd <= 2)
		*fd = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
	return *fd;
}

/* The device itself: an image may put anything in its place, and have what is written for
 * nobody. */
static int open_null(void)
{
	struct stat st;
	cleanup_close int fd = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (above_stdio(&fd) < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3) ? take_fd(&fd) : -ENODEV;
}

int descriptors_close_others(int *keep, size_t count)
{
	unsigned from = 3;
	for (size_t i = 1; i < count; i++) {
		for (size_t j = i; j > 0 && keep[j - 1] > keep[j]; j--) {
			int swapped = keep[j];
			keep[j] = keep[j - 1];
			keep[j - 1] = swapped;
		}
	}
	for (size_t i = 0; i < count; i++) {
		if (keep[i] < 0)
			continue;
		unsigned fd = (unsigned)keep[i];
		if (fd > from && syscall(SYS_close_range, from, fd - 1, 0) < 0)
			return -errno;
		from = fd + 1;
	}
	return syscall(SYS_close_range, from, ~0U, 0) < 0 ? -errno : 0;
}

/* A container that shares our mount namespace has ours, and perhaps no /dev to look for one. */
static bool has_null(const struct child_run *run)
{
	return oci_namespace_find(run->plan->spec, OCI_NS_MOUNT);
}

int descriptors_set(struct child_run *run)
{
	int stdio[3], null = -1;
	bool joins = run->plan->exec && run->plan->spec;
	/* An exec has nothing to run before it opens the container's. */
	bool later = joins && has_null(run);
	int keep[] = { run->report_fd, joins ? run->plan->init_pidfd : -1,
		       joins ? run->plan->root_fd : -1, run->cgroup_ns_fd, run->mount_ns_fd,
		       run->sources_fd };

	for (size_t i = 0; i < array_size(keep); i++) {
		if (keep[i] >= 0 && keep[i] <= 2)
			return fault_errno(&run->fault, -EBADF,
					   "the agent runs without standard streams");
	}
	for (int i = 0; i < 3; i++) {
		stdio[i] = run->process->terminal ? -1 : run->plan->stdio[i];
		run->is_null[i] = stdio[i] < 0;
		if (run->is_null[i]) {
			if (!later && null < 0 && (null = open_null()) < 0)
				return fault_errno(&run->fault, null, "/dev/null");
			stdio[i] = later ? i : null;
		}
		if (stdio[i] != i)
			above_stdio(&stdio[i]);
	}
	for (int i = 0; i < 3; i++) {
		bool is_later = later && run->is_null[i];
		int r = stdio[i] != i ? dup2(stdio[i], i) : is_later ? 0 : fcntl(i, F_SETFD, 0);
		if (r < 0)
			return fault_errno(&run->fault, -errno, "standard stream %d", i);
	}
	int r = descriptors_close_others(keep, array_size(keep));
	return r < 0 ? fault_errno(&run->fault, r, "close_range") : 0;
}

/* Ours is of a mount that the container does not have: it would be called "/null" there. */
int descriptors_reopen_null(struct child_run *run)
{
	cleanup_close int null = -1;
	for (int i = 0; i < 3; i++) {
		if (!run->is_null[i] || run->process->terminal || !has_null(run))
			continue;
		if (null < 0 && (null = open_null()) < 0)
			return fault_errno(&run->fault, null, "the container's /dev/null");
		if (dup2(null, i) < 0)
			return fault_errno(&run->fault, -errno, "standard stream %d", i);
	}
	return 0;
}
