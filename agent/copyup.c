/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The copy goes through fds only, entry by entry: openat(O_NOFOLLOW) on the one side, O_EXCL and
 * mknodat(2) on the other. The depth is bounded, since an image can hold more levels than we have
 * fds or stack.
 */

#include "agent/copyup.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define COPY_DEPTH_MAX 128
#define COPY_CHUNK (1u << 20)
#define XATTR_MAX 65536

static int copy_directory(int from_fd, int to_fd, unsigned depth);

static int copy_bytes(int from_fd, int to_fd)
{
	ssize_t n;
	while ((n = sendfile(to_fd, from_fd, NULL, COPY_CHUNK)) != 0)
		if (n < 0 && errno != EINTR)
			return -errno;
	return 0;
}

/* What this tmpfs does not know (ENOTSUP) or we may not set (EPERM) stays behind. */
static int copy_xattrs(int from_fd, int to_fd)
{
	cleanup_free char *names = NULL, *value = NULL;
	ssize_t size = flistxattr(from_fd, NULL, 0);
	if (size <= 0)
		return size < 0 && errno != ENOTSUP ? -errno : 0;
	names = malloc((size_t)size);
	value = malloc(XATTR_MAX);
	if (!names || !value)
		return -ENOMEM;
	size = flistxattr(from_fd, names, (size_t)size);
	for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t n = fgetxattr(from_fd, names + at, value, XATTR_MAX);
		if (n >= 0 && fsetxattr(to_fd, names + at, value, (size_t)n, 0) < 0 &&
		    errno != ENOTSUP && errno != EPERM)
			return -errno;
	}
	return 0;
}

/* What was mounted has the mode that was asked for. Owner before mode, because chown(2) clears set-user-id bits and capabilities; times last. */
static int copy_attributes(int from_fd, int to_fd, bool keep_mode)
{
	struct stat stat, own;
	if (fstat(from_fd, &stat) < 0 || fstat(to_fd, &own) < 0 ||
	    fchown(to_fd, stat.st_uid, stat.st_gid) < 0 ||
	    fchmod(to_fd, (keep_mode ? own.st_mode : stat.st_mode) & 07777) < 0)
		return -errno;
	int r = copy_xattrs(from_fd, to_fd);
	struct timespec times[2] = { stat.st_atim, stat.st_mtim };
	if (r >= 0 && futimens(to_fd, times) < 0)
		r = -errno;
	return r;
}

static int copy_file(int from_dir, int to_dir, const char *name)
{
	cleanup_close int from_fd = openat(from_dir, name,
	                                   O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (from_fd < 0)
		return -errno;
	cleanup_close int to_fd = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
	                                 0600);
	if (to_fd < 0)
		return -errno;
	int r = copy_bytes(from_fd, to_fd);
	return r < 0 ? r : copy_attributes(from_fd, to_fd, false);
}

static int copy_link(int from_dir, int to_dir, const char *name)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from_dir, name, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	return symlinkat(target, to_dir, name) < 0 ? -errno : 0;
}

static int copy_below(int from_dir, int to_dir, const char *name, unsigned depth)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	if (depth >= COPY_DEPTH_MAX)
		return -ELOOP;
	if (mkdirat(to_dir, name, 0700) < 0)
		return -errno;
	cleanup_close int from_fd = openat(from_dir, name, flags);
	if (from_fd < 0)
		return -errno;
	cleanup_close int to_fd = openat(to_dir, name, flags);
	if (to_fd < 0)
		return -errno;
	return copy_directory(from_fd, to_fd, depth + 1);
}

static int copy_entry(int from_dir, int to_dir, const char *name, unsigned depth)
{
	struct stat stat;
	if (fstatat(from_dir, name, &stat, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISDIR(stat.st_mode))
		return copy_below(from_dir, to_dir, name, depth);
	if (S_ISREG(stat.st_mode))
		return copy_file(from_dir, to_dir, name);
	int r = 0;
	if (S_ISLNK(stat.st_mode))
		r = copy_link(from_dir, to_dir, name);
	else if (mknodat(to_dir, name, stat.st_mode, stat.st_rdev) < 0)
		r = -errno;
	struct timespec times[2] = { stat.st_atim, stat.st_mtim };
	if (r >= 0 && (fchownat(to_dir, name, stat.st_uid, stat.st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	               utimensat(to_dir, name, times, AT_SYMLINK_NOFOLLOW) < 0))
		r = -errno;
	return r;
}

static int copy_directory(int from_fd, int to_fd, unsigned depth)
{
	int list_fd = openat(from_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (list_fd < 0)
		return -errno;
	DIR *list = fdopendir(list_fd);
	if (!list) {
		int r = -errno;
		close(list_fd);
		return r;
	}
	int r = 0;
	struct dirent *entry;
	while (r >= 0 && (errno = 0, entry = readdir(list)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = copy_entry(from_fd, to_fd, entry->d_name, depth);
	if (r >= 0 && errno)
		r = -errno;
	closedir(list);
	return r < 0 ? r : copy_attributes(from_fd, to_fd, depth == 0);
}

int copy_up(int from_fd, int to_fd)
{
	cleanup_close int from = openat(from_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (from < 0)
		return -errno;
	cleanup_close int to = openat(to_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (to < 0)
		return -errno;
	return copy_directory(from, to, 0);
}
