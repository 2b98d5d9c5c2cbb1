/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Bundles and scratch directories hold what containers wrote, so removal trusts nothing in them:
 * every step is relative to an open directory, links are unlinked and never followed, and a mount
 * that is still there is left alone. Device numbers would not tell a bind mount, so the kernel is
 * asked not to cross any (RESOLVE_NO_XDEV).
 */

#include "agent/tree.h"

#include "hvsocket/base.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define TREE_DEPTH 512

static int make_one(const char *path, mode_t mode)
{
	struct stat st;
	if (mkdir(path, mode) == 0)
		return 1;
	if (errno != EEXIST)
		return -errno;
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int make_from(char *path, mode_t mode)
{
	int r = make_one(path, mode);
	char *slash = r == -ENOENT ? strrchr(path, '/') : NULL;
	if (!slash || slash == path)
		return r;
	*slash = '\0';
	int above = make_from(path, mode);
	*slash = '/';
	if (above < 0)
		return above;
	r = make_one(path, mode);
	return r < 0 ? r : above + r;
}

/* Without slashes at its end. */
static int plain_path(const char *path, char ret[static PATH_MAX])
{
	size_t length = strlen(path);
	while (length > 1 && path[length - 1] == '/')
		length--;
	if (length >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(ret, path, length);
	ret[length] = '\0';
	return 0;
}

int make_directories(const char *path, mode_t mode)
{
	char plain[PATH_MAX];
	int r = plain_path(path, plain);
	return r < 0 ? r : make_from(plain, mode);
}

static int open_directory(int parent_fd, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
	};
	int fd = (int)syscall(SYS_openat2, parent_fd, name, &how, sizeof(how));
	return fd < 0 ? -errno : fd;
}

static void close_directory(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}

static int remove_directory(int parent_fd, const char *name, unsigned depth, size_t *left);

static int remove_entry(int parent_fd, const char *name, unsigned depth, size_t *left)
{
	if (!*left)
		return -EAGAIN;
	(*left)--;
	return unlinkat(parent_fd, name, 0) == 0 ? 0
	                                         : remove_directory(parent_fd, name, depth, left);
}

static int remove_directory(int parent_fd, const char *name, unsigned depth, size_t *left)
{
	if (depth > TREE_DEPTH)
		return -ELOOP;
	cleanup_close int fd = open_directory(parent_fd, name);
	if (fd < 0)
		return fd;
	cleanup(close_directory) DIR *directory = fdopendir(fd);
	if (!directory)
		return -errno;
	take_fd(&fd);
	struct dirent *entry;
	int result = 0;
	while (result != -EAGAIN && (entry = readdir(directory))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		int r = remove_entry(dirfd(directory), entry->d_name, depth + 1, left);
		if (r < 0)
			result = r;
	}
	if (!result && unlinkat(parent_fd, name, AT_REMOVEDIR) < 0)
		result = -errno;
	return result;
}

int remove_tree(const char *path, size_t most)
{
	char plain[PATH_MAX];
	int r = plain_path(path, plain);
	char *slash = r < 0 ? NULL : strrchr(plain, '/');
	if (!slash || !slash[1])
		return r < 0 ? r : -EINVAL;
	/* The way there may lead over mounts, but the directory itself may not be one. */
	*slash = '\0';
	cleanup_close int parent_fd = open(slash == plain ? "/" : plain,
	                                   O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = parent_fd < 0 ? -errno : remove_directory(parent_fd, slash + 1, 0, &most);
	return r == -ENOENT ? 0 : r;
}
