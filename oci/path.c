/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The images that containers run from are hostile: any name in them may be a link to anywhere, and
 * a volume that two containers share may change between two system calls. So a path is never
 * checked first and used later: it is opened, below the root, by the kernel, and what follows works
 * on the fd.
 *
 * Making what is missing walks the path one component further each time and asks the kernel
 * for the whole prefix anew, because only a lookup that starts at the root can tell where an
 * absolute link leads. New names are made with mkdirat(2) and mknodat(2), which follow no link.
 */

#include "oci/path.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define PATH_RETRIES 128
#define PATH_LINKS_MAX 40

int path_open(int root_fd, const char *path, int flags, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve,
	};
	/* The kernel gives up with EAGAIN when something was renamed while it went through "..". */
	for (int i = 0; i < PATH_RETRIES; i++) {
		long r = syscall(SYS_openat2, root_fd, *path ? path : ".", &how, sizeof(how));
		if (r >= 0)
			return (int)r;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

struct walk {
	int root_fd;
	mode_t type;            /* of the last component */
	size_t done;            /* bytes of text that exist and are open in parent_fd */
	int parent_fd;
	unsigned links;
	char text[PATH_MAX];
};

/* The next component: its start and its end; false at the end of the path. */
static bool walk_next(const struct walk *walk, size_t *ret_start, size_t *ret_end)
{
	size_t start = walk->done + strspn(walk->text + walk->done, "/");
	*ret_start = start;
	*ret_end = start + strcspn(walk->text + start, "/");
	return *ret_end > start;
}

static int walk_restart(struct walk *walk)
{
	close_fd(&walk->parent_fd);
	walk->done = 0;
	walk->parent_fd = path_open(walk->root_fd, "/", O_PATH | O_DIRECTORY, 0);
	return walk->parent_fd < 0 ? walk->parent_fd : 0;
}

/* Puts what a dangling link names in the place of its own component, and begins again. */
static int walk_link(struct walk *walk, const char *name, size_t start, size_t end)
{
	char target[PATH_MAX], text[PATH_MAX];
	ssize_t n = readlinkat(walk->parent_fd, name, target, sizeof(target) - 1);
	if (n < 0)
		/* No link: somebody made it in between, so the path is looked up once more. */
		return errno == EINVAL && ++walk->links <= PATH_LINKS_MAX ?
			walk_restart(walk) : -errno;
	target[n] = '\0';
	if (++walk->links > PATH_LINKS_MAX)
		return -ELOOP;
	int before = target[0] == '/' ? 0 : (int)start;
	int length = snprintf(text, sizeof(text), "%.*s%s%s", before, walk->text, target,
	                      walk->text + end);
	if (length < 0 || (size_t)length >= sizeof(text))
		return -ENAMETOOLONG;
	memcpy(walk->text, text, (size_t)length + 1);
	return walk_restart(walk);
}

/* Makes text[start…end) in parent_fd, and opens it without following anything. */
static int walk_make(struct walk *walk, size_t start, size_t end, int *ret_fd)
{
	char name[NAME_MAX + 1];
	if (end - start > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, walk->text + start, end - start);
	name[end - start] = '\0';
	bool last = walk->text[end + strspn(walk->text + end, "/")] == '\0';
	bool file = last && walk->type == S_IFREG;
	int r = file ? mknodat(walk->parent_fd, name, S_IFREG | 0644, 0) :
		mkdirat(walk->parent_fd, name, 0755);
	if (r < 0 && errno == EEXIST)
		return walk_link(walk, name, start, end);
	if (r < 0)
		return -errno;
	int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC | (file ? 0 : O_DIRECTORY);
	*ret_fd = openat(walk->parent_fd, name, flags);
	return *ret_fd < 0 ? -errno : 0;
}

static int walk_step(struct walk *walk, size_t start, size_t end)
{
	cleanup_close int fd = -1;
	char kept = walk->text[end];
	walk->text[end] = '\0';
	fd = path_open(walk->root_fd, walk->text, O_PATH, 0);
	walk->text[end] = kept;
	if (fd == -ENOENT) {
		fd = -1;
		int r = walk_make(walk, start, end, &fd);
		if (r < 0 || fd < 0)
			return r; /* failed, or begins again */
	}
	if (fd < 0)
		return fd;
	close_fd(&walk->parent_fd);
	walk->parent_fd = take_fd(&fd);
	walk->done = end;
	return 0;
}

int path_make(int root_fd, const char *path, mode_t type)
{
	int fd = path_open(root_fd, path, O_PATH, 0);
	if (fd != -ENOENT)
		return fd;
	struct walk walk = { .root_fd = root_fd, .type = type, .parent_fd = -1 };
	size_t length = strlen(path), start, end;
	if (length >= sizeof(walk.text))
		return -ENAMETOOLONG;
	memcpy(walk.text, path, length + 1);
	int r = walk_restart(&walk);
	while (r >= 0 && walk_next(&walk, &start, &end))
		r = walk_step(&walk, start, end);
	if (r < 0)
		close_fd(&walk.parent_fd);
	return r < 0 ? r : walk.parent_fd;
}

int path_make_parent(int root_fd, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	size_t length = slash ? (size_t)(slash - path) : 0;
	char parent[PATH_MAX];
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	if (length >= sizeof(parent))
		return -ENAMETOOLONG;
	memcpy(parent, path, length);
	parent[length] = '\0';
	*ret_name = name;
	return path_make(root_fd, parent, S_IFDIR);
}

int path_clean(const char *path, char *ret, size_t size)
{
	size_t used = 0;
	for (;;) {
		path += strspn(path, "/");
		size_t n = strcspn(path, "/");
		if (n == 0)
			break;
		if (n == 2 && !strncmp(path, "..", 2)) {
			while (used > 0 && ret[--used] != '/')
				;
		} else if (n != 1 || *path != '.') {
			if (used + 1 + n >= size)
				return -ENAMETOOLONG;
			ret[used++] = '/';
			memcpy(ret + used, path, n);
			used += n;
		}
		path += n;
	}
	if (used == 0)
		ret[used++] = '/';
	ret[used] = '\0';
	return 0;
}

bool path_equal(const char *path, const char *clean)
{
	char text[PATH_MAX];
	return path_clean(path, text, sizeof(text)) == 0 && !strcmp(text, clean);
}

bool path_same(int a, int b)
{
	struct statx x, y;
	unsigned mask = STATX_INO | STATX_MNT_ID;
	if (statx(a, "", AT_EMPTY_PATH, mask, &x) < 0 || statx(b, "", AT_EMPTY_PATH, mask, &y) < 0)
		return false;
	return x.stx_ino == y.stx_ino && x.stx_dev_major == y.stx_dev_major &&
		x.stx_dev_minor == y.stx_dev_minor && x.stx_mnt_id == y.stx_mnt_id;
}
