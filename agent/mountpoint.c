/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The host may name any place below /run, where containers' files are in reach too: a volume, a
 * scratch directory, a share. So the way is walked one name at a time, and a link in it is an error
 * whoever has put it there. umount(2) knows no file descriptors; it is given the last name only,
 * in the directory that was opened.
 */

#include "agent/mountpoint.h"

#include "agent/mountfd.h"
#include "oci/mountapi.h"
#include "oci/path.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#ifndef UMOUNT_NOFOLLOW
#define UMOUNT_NOFOLLOW 8
#endif

bool mountpoint_is_below(const char *path, const char *folder)
{
	size_t length = strlen(folder);
	return !strncmp(path, folder, length) &&
	       (path[length] == '/' || !path[length] || folder[length - 1] == '/');
}

int mountpoint_check(const char *below, const char *member, const char *path,
                     struct fault *fault)
{
	char clean[PATH_MAX];
	if (!path || !*path)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_JSON,
		                 "Request.Settings.%s: is required", member);
	const char *why = NULL;
	if (*path != '/')
		why = "is not an absolute path";
	else if (path_clean(path, clean, sizeof(clean)) < 0)
		why = "is too long";
	else if (strcmp(path, clean))
		why = "has a \".\", a \"..\" or a superfluous \"/\" in it";
	else if (!mountpoint_is_below(path, below) || !strcmp(path, below))
		why = "does not lie below";
	if (!why)
		return 0;
	bool lies = !strncmp(why, "does", 4);
	return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
	                 "Request.Settings.%s: \"%s\" %s%s%s", member, path, why, lies ? " " : "",
	                 lies ? below : "");
}

static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

#define TRIES 8

struct step {
	char name[NAME_MAX + 1];
	bool last;
};

/* Cuts the next name off *path; false at the end. */
static int next_step(const char **path, struct step *step)
{
	const char *at = *path + strspn(*path, "/");
	size_t length = strcspn(at, "/");
	if (!length)
		return 0;
	if (length > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(step->name, at, length);
	step->name[length] = '\0';
	*path = at + length;
	step->last = !at[length + strspn(at + length, "/")];
	return 1;
}

static int open_step(int fd, const char *name)
{
	struct stat st;
	int next = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (next >= 0)
		return next;
	int error = -errno;
	if (error == -ENOTDIR && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISLNK(st.st_mode))
		return -ELOOP;
	return error;
}

static int make_step(int fd, const char *name, mode_t mode, unsigned *made)
{
	int next = open_step(fd, name);
	if (next != -ENOENT || !mode)
		return next;
	if (mkdirat(fd, name, mode) == 0)
		(*made)++;
	else if (errno != EEXIST)
		return -errno;
	return open_step(fd, name);
}

/* To the directory above the last name, or to the end. mode 0 makes nothing. */
static int walk(const char *path, mode_t mode, bool to_end, unsigned *made)
{
	struct step step;
	int r;
	cleanup_close int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while ((r = next_step(&path, &step)) > 0 && (to_end || !step.last)) {
		int next = make_step(fd, step.name, mode, made);
		if (next < 0)
			return next;
		close_fd(&fd);
		fd = next;
	}
	return r < 0 ? r : take_fd(&fd);
}

int mountpoint_open(const char *path)
{
	return walk(path, 0, true, NULL);
}

static int make_once(struct mountpoint *point, mode_t mode)
{
	close_fd(&point->parent_fd);
	point->parent_fd = walk(point->path, 0755, false, &point->made);
	if (point->parent_fd < 0)
		return point->parent_fd;
	point->fd = make_step(point->parent_fd, point->name, mode, &point->made);
	return point->fd < 0 ? point->fd : 0;
}

int mountpoint_make(struct mountpoint *point, const char *path, mode_t mode)
{
	int r = -ENOENT;
	*point = (struct mountpoint){
		.path = path, .name = last_name(path), .parent_fd = -1, .fd = -1
	};
	/* Another may be removing an empty directory on the way. */
	for (int i = 0; i < TRIES && r == -ENOENT; i++)
		r = make_once(point, mode);
	if (r < 0)
		mountpoint_undo(point, false);
	return r;
}

bool mountpoint_taken(const struct mountpoint *point)
{
	return mount_is_root(point->fd);
}

static int unmount(int parent_fd, const char *name)
{
	if (fchdir(parent_fd) < 0)
		return -errno;
	int r = sys_umount(name, UMOUNT_NOFOLLOW);
	return chdir("/") < 0 ? -errno : r;
}

void mountpoint_undo(struct mountpoint *point, bool mounted)
{
	char path[PATH_MAX];
	size_t length = strlen(point->path);
	close_fd(&point->fd);
	if (mounted)
		(void)unmount(point->parent_fd, point->name);
	close_fd(&point->parent_fd);
	if (length >= sizeof(path))
		return;
	memcpy(path, point->path, length + 1);
	/* The last ones of the path may not have come into being. */
	while (point->made && length > 1) {
		cleanup_close int fd = walk(path, 0, false, NULL);
		if (fd >= 0 && unlinkat(fd, last_name(path), AT_REMOVEDIR) == 0)
			point->made--;
		length = (size_t)(last_name(path) - path) - 1;
		path[length] = '\0';
	}
}

void mountpoint_deinit(struct mountpoint *point)
{
	close_fd(&point->fd);
	close_fd(&point->parent_fd);
}

int mountpoint_remove(const char *path)
{
	cleanup_close int parent_fd = walk(path, 0, false, NULL);
	if (parent_fd < 0)
		return parent_fd == -ENOENT ? 0 : parent_fd;
	int r = unmount(parent_fd, last_name(path));
	bool unmounted = r >= 0;
	/* EINVAL: nothing is mounted there, which was the aim. */
	if (r < 0 && r != -EINVAL)
		return r == -ENOENT ? 0 : r;
	if (unlinkat(parent_fd, last_name(path), AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	/* What a mount has covered, or lies on a read-only disk, was there before it. */
	return unmounted ? 0 : -errno;
}

int mountpoint_link(const char *path, const char *target)
{
	unsigned made = 0;
	cleanup_close int parent_fd = walk(path, 0755, false, &made);
	if (parent_fd < 0)
		return parent_fd;
	return symlinkat(target, parent_fd, last_name(path)) < 0 ? -errno : 0;
}

int mountpoint_unlink(const char *path)
{
	char target[PATH_MAX];
	cleanup_close int parent_fd = walk(path, 0, false, NULL);
	if (parent_fd < 0)
		return parent_fd == -ENOENT ? 0 : parent_fd;
	if (readlinkat(parent_fd, last_name(path), target, sizeof(target)) < 0 ||
	    unlinkat(parent_fd, last_name(path), 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	return 0;
}
