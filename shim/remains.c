/* SPDX-License-Identifier: Apache-2.0 */

/*
 * When a sandbox process is killed its agent dies with it, and with the agent, PID 1 of the
 * partition, everything that ran there. What stays are cgroups and files. Cgroups are found as
 * the agent made them: the same path below every hierarchy that is mounted.
 */

#include "shim/remains.h"

#include "oci/cgroup_path.h"
#include "shim/sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DEATH_LIMIT 1000        /* milliseconds that a killed process may take to leave */

static void close_directory(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}

static void close_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

/* Directories only: the files of a cgroup are the kernel's. Children first. */
static int remove_below(int parent_fd, const char *name)
{
	cleanup_close int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	cleanup(close_directory) DIR *directory = fdopendir(fd);
	if (!directory)
		return -errno;
	take_fd(&fd);
	struct dirent *entry;
	while ((entry = readdir(directory))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		int error = remove_below(dirfd(directory), entry->d_name);
		if (error < 0)
			return error;
	}
	return unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

static void kill_all(const char *path)
{
	char file[6300];
	snprintf(file, sizeof(file), "%s/cgroup.kill", path);
	cleanup_close int fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!write(fd, "1", 1);
}

/* What was killed is still there for a moment; cgroup.events tells when it has left. */
static int remove_populated(const char *path)
{
	char file[6300];
	int error = remove_below(AT_FDCWD, path);
	snprintf(file, sizeof(file), "%s/cgroup.events", path);
	cleanup_close int fd = error == -EBUSY ? open(file, O_RDONLY | O_CLOEXEC) : -1;
	while (error == -EBUSY && fd >= 0) {
		char text[256];
		struct pollfd wait = { .fd = fd, .events = POLLPRI };
		(void)!pread(fd, text, sizeof(text), 0);
		error = remove_below(AT_FDCWD, path);
		if (error == -EBUSY && poll(&wait, 1, DEATH_LIMIT) <= 0)
			break;
	}
	return error;
}

int remains_remove_cgroups(const char *id, const char *path)
{
	char line[8192];
	struct fault ignored;
	cleanup_free char *name = NULL;
	int resolved = cgroup_path_resolve(path, id, &name, &ignored);
	if (resolved < 0)
		return resolved;
	cleanup(close_file) FILE *mounts = fopen("/proc/self/mounts", "re");
	if (!mounts)
		return -errno;
	int result = 0;
	while (fgets(line, sizeof(line), mounts)) {
		char mount[2048], type[64], full[6200];
		if (sscanf(line, "%*s %2047s %63s", mount, type) != 2 || strncmp(type, "cgroup", 6) != 0)
			continue;
		snprintf(full, sizeof(full), "%s%s", mount, name);
		if (!strcmp(type, "cgroup2"))
			kill_all(full);
		int error = remove_populated(full);
		if (error < 0 && error != -ENOENT)
			result = error;
	}
	return result;
}

int remains_remove_partition(struct state *state, const char *id)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct partition_record record = { 0 };
	struct fault ignored;
	int error = state_partition_load(state, id, &arena, &record, &ignored);
	bool zombie = false;
	bool alive = !error && record.pid && record.start_time &&
	             process_start_time((pid_t)record.pid, &zombie) == record.start_time && !zombie;
	arena_free(&arena);
	if (alive)
		return -EBUSY;
	/* One that is only just starting has no record yet, but its socket answers. */
	cleanup_close int fd = sandbox_connect(state, id);
	return fd >= 0 ? -EBUSY : state_partition_remove(state, id);
}
