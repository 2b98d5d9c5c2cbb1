/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order in which it is looked at decides: as long as the lock is held the daemon lives and the
 * pid is its own, so the pidfd is opened first and the lock is tried afterwards.
 */

#include "shim/containerd/pidfile.h"

#include "oci/file.h"
#include "shim/state.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/pidfd.h>

int pidfile_make(int bundle_fd, int *ret_fd, struct fault *fault)
{
	cleanup_close int fd =
		openat(bundle_fd, PIDFILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return fault_errno(fault, -errno, PIDFILE);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return fault_errno(fault, -errno, PIDFILE);
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
		                 "another shim serves this bundle already");
	}
	if (ftruncate(fd, 0) < 0)
		return fault_errno(fault, -errno, PIDFILE);
	*ret_fd = take_fd(&fd);
	return 0;
}

int pidfile_write(int fd, pid_t pid)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", (int)pid);
	ssize_t written = pwrite(fd, text, (size_t)n, 0);

	if (written < 0)
		return -errno;
	return written == n ? 0 : -EIO;
}

int pidfile_find(int bundle_fd)
{
	char text[16] = "";
	cleanup_close int fd =
		openat(bundle_fd, PIDFILE, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	ssize_t n = file_read_at(fd, text, sizeof(text) - 1, 0);
	long pid = n > 0 ? strtol(text, NULL, 10) : 0;
	cleanup_close int pidfd = pid > 1 ? pidfd_open((pid_t)pid, 0) : -1;
	if (pidfd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0)
		return -ESRCH;
	return take_fd(&pidfd);
}

void pidfile_remove(int bundle_fd)
{
	cleanup_close int fd =
		openat(bundle_fd, PIDFILE, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		(void)unlinkat(bundle_fd, PIDFILE, 0);
}

int init_pidfile_write(int bundle_fd, uint32_t pid)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", pid);

	return state_write_file(bundle_fd, INIT_PIDFILE, text, (size_t)n);
}

uint32_t init_pidfile_read(int bundle_fd)
{
	char text[16];

	if (file_read_line(bundle_fd, INIT_PIDFILE, text, sizeof(text)) < 0)
		return 0;
	unsigned long pid = strtoul(text, NULL, 10);
	return pid <= INT32_MAX ? (uint32_t)pid : 0;
}
