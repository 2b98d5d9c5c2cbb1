/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The directories of a cgroup, made and removed level by level.
 *
 * Paths start at the mount point of each hierarchy, not at our own cgroup: whoever reads
 * cgroupsPath later (a monitor, a user) looks there, and our own limits are not the container's.
 *
 * Others make and remove cgroups beside us. A parent may vanish between our mkdir of it and that of
 * its child, when another agent's last container goes: then the walk starts again at the top. The
 * removal of a parent needs no agreement, because rmdir only takes what is empty.
 */

#include "agent/cgroup_private.h"

#include "oci/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PARENT_RETRIES 32
#define WALK_DEPTH 64           /* of cgroups that a container made below its own */

/* Has a v2 directory hand controllers down. A refusal (a parent with processes of its own may not)
 * shows when a limit finds no file. */
static void hand_down(int fd, uint32_t controllers)
{
	cleanup_free char *have = NULL;
	if (!controllers || cgroup_file_read(fd, "cgroup.subtree_control", &have) < 0)
		return;
	controllers &= ~cgroup_controller_mask(have);
	char all[16 * CGROUP_CONTROLLERS] = "";
	size_t length = 0;
	for (int c = 0; c < CGROUP_CONTROLLERS; c++)
		if (controllers & CGROUP_BIT(c))
			length += snprintf(all + length, sizeof(all) - length, "%s+%s",
			                   length ? " " : "", cgroup_controller_names[c]);
	if (length == 0 || file_write_text(fd, "cgroup.subtree_control", all) == 0)
		return;
	/* One that cannot be had must not keep the others away. */
	char *rest = all, *word;
	while ((word = strsep(&rest, " ")))
		file_write_text(fd, "cgroup.subtree_control", word);
}

/* A new cpuset of v1 is empty, and no process may enter an empty one. */
static void inherit_cpuset(int parent, int fd)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	for (size_t i = 0; i < array_size(files); i++) {
		cleanup_free char *own = NULL, *theirs = NULL;
		if (cgroup_file_read(fd, files[i], &own) < 0 || strcspn(own, "\n") > 0)
			continue;
		if (cgroup_file_read(parent, files[i], &theirs) == 0)
			file_write_text(fd, files[i], theirs);
	}
}

static int make_level(int parent, const char *name, bool *ret_made)
{
	*ret_made = mkdirat(parent, name, 0755) == 0;
	if (!*ret_made && errno != EEXIST)
		return -errno;
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int make_levels(const struct cgroup_mounts *mounts, int hierarchy, const char *path,
                       uint32_t enable, int *ret_fd, unsigned *first_made)
{
	bool v1_cpuset = hierarchy != CGROUP_V2 && mounts->home[CGROUP_CPUSET] == hierarchy;
	int parent = mounts->fd[hierarchy];
	cleanup_close int fd = -1;
	for (unsigned level = 0; *path; level++) {
		path += *path == '/';
		size_t length = strcspn(path, "/");
		char name[NAME_MAX + 1];
		memcpy(name, path, length);
		name[length] = '\0';
		path += length;
		if (hierarchy == CGROUP_V2)
			hand_down(parent, enable);
		bool made;
		int next = make_level(parent, name, &made);
		if (next < 0)
			return next;
		if (made && level < *first_made)
			*first_made = level;
		if (v1_cpuset)
			inherit_cpuset(parent, next);
		close_fd(&fd);
		parent = fd = next;
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

int cgroup_dir_make(const struct cgroup_mounts *mounts, int hierarchy, const char *path,
                    uint32_t enable, struct cgroup_dir *ret, struct fault *fault)
{
	int r = -EAGAIN;
	ret->made = CGROUP_NOT_MADE;
	enable &= mounts->controllers[hierarchy];
	for (int i = 0; i < PARENT_RETRIES; i++) {
		r = make_levels(mounts, hierarchy, path, enable, &ret->fd, &ret->made);
		if (r != -ENOENT && r != -ENODEV)
			break;
	}
	if (r == 0 && hierarchy != CGROUP_V2) {
		ret->tasks_fd = openat(ret->fd, "tasks", O_WRONLY | O_CLOEXEC);
		if (ret->tasks_fd < 0)
			r = -errno;
	}
	if (r < 0) {
		if (ret->made != CGROUP_NOT_MADE)
			cgroup_dir_remove(mounts, hierarchy, path, ret);
		cgroup_dir_close(ret);
		return fault_errno(fault, r, "making cgroup %s", path);
	}
	return 0;
}

/* One pass over the cgroups right below: removes what it can, *ret_name is one that it cannot. */
static int remove_children(int fd, char *ret_name, size_t size, unsigned *ret_removed)
{
	*ret_name = '\0';
	*ret_removed = 0;
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	if (!list) {
		int r = -errno;
		close_fd(&copy);
		return r;
	}
	struct dirent *entry;
	while ((entry = readdir(list))) {
		if (entry->d_type != DT_DIR || !strcmp(entry->d_name, ".") ||
		    !strcmp(entry->d_name, ".."))
			continue;
		if (unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0)
			(*ret_removed)++;
		else
			snprintf(ret_name, size, "%s", entry->d_name);
	}
	closedir(list);
	return 0;
}

/*
 * Removes all below fd, however deep a container nested it: without recursion, always one fd.
 * Coming up from a cgroup that was emptied, the next pass must be able to remove it; else it
 * holds a process.
 */
static int remove_below(int fd)
{
	cleanup_close int current = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned depth = 0;
	bool ascended = false;
	while (current >= 0) {
		char name[NAME_MAX + 1];
		unsigned removed;
		int r = remove_children(current, name, sizeof(name), &removed);
		if (r < 0)
			return r;
		if (ascended && removed == 0)
			return -EBUSY;
		if (!*name && depth == 0)
			return 0;
		ascended = !*name;
		depth += ascended ? -1 : 1;
		int next = openat(current, ascended ? ".." : name,
		                  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		int error = errno;
		close_fd(&current);
		errno = error;
		current = next;
	}
	return -errno;
}

static int remove_one(int mount, const char *path)
{
	if (unlinkat(mount, path, AT_REMOVEDIR) == 0 || errno == ENOENT || errno == ENODEV)
		return 0;
	return errno == ENOTEMPTY ? -EBUSY : -errno;
}

int cgroup_dir_remove(const struct cgroup_mounts *mounts, int hierarchy, const char *path,
                      const struct cgroup_dir *dir)
{
	int mount = mounts->fd[hierarchy];
	cleanup_free char *parent = strdup(path + 1);
	if (!parent)
		return -ENOMEM;
	int r = remove_one(mount, parent);
	if (r == -EBUSY && dir->fd >= 0) {
		r = remove_below(dir->fd);
		if (r == 0)
			r = remove_one(mount, parent);
	}
	if (r < 0)
		return r;
	unsigned level = 0;
	for (const char *at = parent; (at = strchr(at, '/')); at++)
		level++;
	for (; level > dir->made; level--) {
		*strrchr(parent, '/') = '\0';
		if (remove_one(mount, parent) < 0)
			break;
	}
	return 0;
}

void cgroup_dir_close(struct cgroup_dir *dir)
{
	close_fd(&dir->fd);
	close_fd(&dir->tasks_fd);
}

struct pid_list {
	const char *file;
	pid_t *item;
	size_t count, size;
};

static int collect_own(int fd, struct pid_list *list)
{
	cleanup_free char *text = NULL;
	int r = cgroup_file_read(fd, list->file, &text);
	if (r < 0)
		return r == -ENOMEM ? r : 0; /* threaded or gone: no processes of its own */
	char *rest = text, *line;
	while ((line = cgroup_line(&rest))) {
		long pid = strtol(line, NULL, 10);
		if (pid <= 0 || pid > INT_MAX)
			continue; /* 0 stands for a process outside our pid namespace */
		if (list->count == list->size) {
			list->size = list->size ? 2 * list->size : 16;
			pid_t *more = reallocarray(list->item, list->size, sizeof(*more));
			if (!more)
				return -ENOMEM;
			list->item = more;
		}
		list->item[list->count++] = (pid_t)pid;
	}
	return 0;
}

static int collect(int fd, unsigned depth, struct pid_list *pids)
{
	int r = collect_own(fd, pids);
	if (r < 0 || depth == 0)
		return r;
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	if (!list) {
		close_fd(&copy);
		return 0;
	}
	struct dirent *entry;
	while (r == 0 && (entry = readdir(list))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		cleanup_close int child = openat(fd, entry->d_name,
		                                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (child >= 0)
			r = collect(child, depth - 1, pids);
	}
	closedir(list);
	return r;
}

int cgroup_tree_pids(int dir, const char *file, pid_t **ret, size_t *ret_count)
{
	struct pid_list list = { .file = file };
	int r = collect(dir, WALK_DEPTH, &list);
	if (r < 0) {
		free(list.item);
		return r;
	}
	*ret = list.item;
	*ret_count = list.count;
	return 0;
}
