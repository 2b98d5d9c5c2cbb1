/* SPDX-License-Identifier: Apache-2.0 */

/*
 * When a sandbox process is killed its agent dies with it, and with the agent, PID 1 of the
 * partition, everything that ran there. What stays are cgroups and files. Cgroups are found as
 * the agent made them: the same path below every hierarchy that is mounted.
 */

#include "shim/remains.h"

#include "oci/cgroup_path.h"
#include "oci/file.h"
#include "shim/hierarchy.h"
#include "shim/sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>

#define DEATH_LIMIT 1000        /* milliseconds that a killed process may take to leave */
#define LEAVE_TRIES 100         /* milliseconds for version 1, when it has left version 2 */

static void close_directory(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}

/* Directories only: the files of a cgroup are the kernel's. Children first. */
static int remove_below(int parent_fd, const char *name)
{
	cleanup_close int fd =
		openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	cleanup(close_directory) DIR *directory = fdopendir(fd);
	if (!directory)
		return -errno;
	take_fd(&fd);
	struct dirent *entry;
	while ((entry = readdir(directory))) {
		if (entry->d_type != DT_DIR || !strcmp(entry->d_name, ".") ||
		    !strcmp(entry->d_name, ".."))
			continue;
		int error = remove_below(dirfd(directory), entry->d_name);
		if (error < 0)
			return error;
	}
	return unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

static void write_file(const char *directory, const char *name, const char *text)
{
	char path[6300];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	(void)file_write_text(AT_FDCWD, path, text);
}

/* Of two files a hierarchy has one at most. In version 1 what is frozen does not even die. */
static int end_processes(const char *path, void *unused)
{
	(void)unused;
	write_file(path, "cgroup.kill", "1");
	write_file(path, "freezer.state", "THAWED");
	return 0;
}

/*
 * What was killed is still there for a moment. Only version 2 tells when it has left, and then it
 * has left the hierarchies of version 1 as well.
 */
static int await_empty(const char *path, void *unused)
{
	(void)unused;
	char file[6300], text[256];
	ssize_t n;
	snprintf(file, sizeof(file), "%s/cgroup.events", path);
	cleanup_close int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct pollfd wait = { .fd = fd, .events = POLLPRI };
	while (fd >= 0 && (n = pread(fd, text, sizeof(text) - 1, 0)) > 0) {
		text[n] = '\0';
		if (strstr(text, "populated 0") || poll(&wait, 1, DEATH_LIMIT) <= 0)
			break;
	}
	return 0;
}

/* A virtual CPU may be stopped between the two. */
static int remove_hierarchy(const char *path, void *unused)
{
	(void)unused;
	static const struct timespec step = { .tv_nsec = 1000000 };
	int error = remove_below(AT_FDCWD, path);
	for (int tries = LEAVE_TRIES; error == -EBUSY && tries; tries--) {
		nanosleep(&step, NULL);
		error = remove_below(AT_FDCWD, path);
	}
	return error;
}

static int remove_cgroups(const char *name)
{
	int error = hierarchy_each(name, await_empty, NULL);
	return error < 0 ? error : hierarchy_each(name, remove_hierarchy, NULL);
}

/* NULL: it has none here. */
static int find_cgroup(const struct container_record *record, char **ret)
{
	struct fault ignored;
	*ret = NULL;
	return record->vm ? 0
	                  : cgroup_path_resolve(record->cgroups_path, record->id, ret, &ignored);
}

int remains_remove_cgroups(const struct container_record *record)
{
	cleanup_free char *name = NULL;
	int error = find_cgroup(record, &name);
	if (error < 0)
		return error;
	error = hierarchy_each(name, end_processes, NULL);
	return error < 0 ? error : remove_cgroups(name);
}

/* A pid that somebody else has by now is not waited for. */
static bool ends(uint32_t pid, uint64_t start_time)
{
	cleanup_close int pidfd = pid ? pidfd_open((pid_t)pid, 0) : -1;
	if (pidfd < 0 || !start_time || process_start_time((pid_t)pid, NULL) != start_time)
		return true;
	struct pollfd wait = { .fd = pidfd, .events = POLLIN };
	return poll(&wait, 1, DEATH_LIMIT) > 0;
}

/*
 * The agent is killed by the death of the sandbox process, and all processes of the partition are
 * gone when the agent is.
 */
static int end_partition(const struct partition_record *partition, const char *cgroup)
{
	if (!ends(partition->pid, partition->start_time))
		return -EBUSY;
	int error = hierarchy_each(cgroup, end_processes, NULL);
	if (error < 0)
		return error;
	return ends(partition->agent_pid, partition->agent_start_time) ? 0 : -EBUSY;
}

static int remove_all(struct state *state, const char *partition, const char *cgroup)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct partition_record record = { 0 };
	struct fault ignored;
	/* Without a record there never was a container. */
	(void)state_partition_load(state, partition, &arena, &record, &ignored);
	int error = end_partition(&record, cgroup);
	arena_free(&arena);
	if (!error)
		error = remove_cgroups(cgroup);
	if (!error)
		error = remains_remove_partition(state, partition);
	return error == -ENOENT ? 0 : error;
}

int remains_remove(struct state *state, const struct container_record *record)
{
	cleanup_free char *cgroup = NULL;
	/* No container was made with a path that is none. */
	int error = find_cgroup(record, &cgroup);
	if (error == -ENOMEM)
		return error;
	error = remove_all(state, record->partition, cgroup);
	/* A partition whose starter was killed ends when it finds out, but now it has a record. */
	return error == -EBUSY ? remove_all(state, record->partition, cgroup) : error;
}

int remains_remove_partition(struct state *state, const char *id)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct partition_record record = { 0 };
	struct fault ignored;
	cleanup_close int held = -1;
	int error = state_partition_hold(state, id, &held);
	if (error < 0)
		return error;
	error = state_partition_load(state, id, &arena, &record, &ignored);
	bool zombie = false;
	bool alive = !error && record.pid && record.start_time &&
	             process_start_time((pid_t)record.pid, &zombie) == record.start_time && !zombie;
	arena_free(&arena);
	if (alive)
		return -EBUSY;
	/* One whose starter was killed has no record yet, but its socket may answer. */
	cleanup_close int fd = sandbox_connect(state, id);
	return fd >= 0 ? -EBUSY : state_partition_remove(state, id);
}
