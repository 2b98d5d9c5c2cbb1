/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Bundles and scratch directories hold what containers wrote, so removal trusts nothing in them:
 * every step is relative to an open directory, links are unlinked and never followed, and a mount
 * that is still there is left alone.
 */

#include "agent/tree.h"

#include "hvsocket/base.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define TREE_DEPTH 512

int make_directories(const char *path, mode_t mode)
{
	struct stat st;
	if (mkdir(path, mode) == 0)
		return 1;
	if (errno == EEXIST)
		return stat(path, &st) < 0 ? -errno : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
	if (errno != ENOENT)
		return -errno;
	cleanup_free char *parent = strdup(path);
	if (!parent)
		return -ENOMEM;
	char *slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return -ENOENT;
	*slash = '\0';
	int error = make_directories(parent, mode);
	if (error < 0)
		return error;
	return mkdir(path, mode) < 0 ? (errno == EEXIST ? 0 : -errno) : 1;
}

static void close_directory(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}

static int empty_directory(int parent_fd, const char *name, dev_t device, unsigned depth)
{
	cleanup_close int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (depth && st.st_dev != device)
		return -EXDEV;
	if (depth > TREE_DEPTH)
		return -ELOOP;
	cleanup(close_directory) DIR *directory = fdopendir(fd);
	if (!directory)
		return -errno;
	take_fd(&fd);
	struct dirent *entry;
	int result = 0;
	while ((entry = readdir(directory))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (unlinkat(dirfd(directory), entry->d_name, 0) == 0)
			continue;
		int error = empty_directory(dirfd(directory), entry->d_name, st.st_dev, depth + 1);
		if (!error && unlinkat(dirfd(directory), entry->d_name, AT_REMOVEDIR) < 0)
			error = -errno;
		if (error < 0)
			result = error;
	}
	return result;
}

int remove_tree(const char *path)
{
	int error = empty_directory(AT_FDCWD, path, 0, 0);
	if (!error && rmdir(path) < 0)
		error = -errno;
	return error == -ENOENT ? 0 : error;
}
