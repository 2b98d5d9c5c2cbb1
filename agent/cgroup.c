/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The life of a container's cgroup.
 *
 * Processes are born in it (CLONE_INTO_CGROUP), which is what makes v2 cheap: moving a process
 * there with cgroup.procs makes the kernel wait for an RCU grace period, measured at 12 ms,
 * longer than all the rest of starting a container takes. v1 hierarchies cannot be born into, but
 * a process with one thread that writes "0" to a `tasks` file moves itself without that wait (70
 * µs): so children join by cgroup_join(), and only an update that brings a new controller moves
 * processes by number.
 *
 * Each v1 directory still costs about 200 µs over its life (mkdir, open, join, rmdir). memory is
 * always made, since out-of-memory events and the figures that users ask for come from nowhere
 * else. Any other v1 controller gets a directory when a limit of it is asked for; without one,
 * CPU time comes from v2's cpu.stat, which needs no controller, and tasks are counted.
 *
 * Freezing is asked for and then reported by cgroup.events; nothing here waits for it.
 */

#include "agent/cgroup_private.h"

#include "agent/device_filter.h"
#include "oci/file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ENABLE_ALWAYS \
	(CGROUP_BIT(CGROUP_CPU) | CGROUP_BIT(CGROUP_IO) | CGROUP_BIT(CGROUP_MEMORY) | \
	 CGROUP_BIT(CGROUP_PIDS))
#define CATCH_ROUNDS 16         /* passes over a cgroup whose processes fork as we look */
#define LEAVE_TRIES 100         /* milliseconds that a process may be in v1 when it has left v2 */

int cgroup_controller_fd(const struct cgroup *cgroup, enum cgroup_controller controller)
{
	int home = cgroup->mounts->home[controller];
	return home == CGROUP_NOWHERE ? -1 : cgroup->dirs[home].fd;
}

static bool holds_processes(const struct cgroup_dir *dir, int hierarchy)
{
	cleanup_free char *text = NULL;
	if (hierarchy == CGROUP_V2) {
		uint64_t populated = 0;
		return cgroup_file_read(dir->fd, "cgroup.events", &text) == 0 &&
		       cgroup_text_u64(text, "populated", &populated) && populated;
	}
	return cgroup_file_read(dir->fd, "cgroup.procs", &text) == 0 && *text;
}

static int dir_make(struct cgroup *cgroup, int hierarchy, uint32_t enable, struct fault *fault)
{
	struct cgroup_dir *dir = &cgroup->dirs[hierarchy];
	int r = cgroup_dir_make(cgroup->mounts, hierarchy, cgroup->path, enable, dir, fault);
	if (r < 0)
		return r;
	if (dir->made == CGROUP_NOT_MADE && holds_processes(dir, hierarchy)) {
		cgroup_dir_close(dir);
		return fault_set(fault, -EBUSY, HRESULT_FAIL, "cgroup %s already holds processes",
		                 cgroup->path);
	}
	return 0;
}

static int compare_pids(const void *a, const void *b)
{
	pid_t left = *(const pid_t *)a, right = *(const pid_t *)b;
	return (left > right) - (left < right);
}

/* Moves the processes that are not there yet; *ret_moved: how many that were. */
static int catch_up(const struct cgroup *cgroup, int fd, size_t *ret_moved)
{
	cleanup_free pid_t *all = NULL, *there = NULL;
	size_t all_count, there_count;
	int r = cgroup_tree_pids(cgroup->dirs[CGROUP_V2].fd, "cgroup.procs", &all, &all_count);
	if (r == 0)
		r = cgroup_tree_pids(fd, "cgroup.procs", &there, &there_count);
	*ret_moved = 0;
	if (r < 0 || all_count == 0)
		return r;
	if (there_count > 0)
		qsort(there, there_count, sizeof(*there), compare_pids);
	for (size_t i = 0; i < all_count; i++) {
		if (there_count > 0 &&
		    bsearch(&all[i], there, there_count, sizeof(*there), compare_pids))
			continue;
		char number[16];
		snprintf(number, sizeof(number), "%d", all[i]);
		r = file_write_text(fd, "cgroup.procs", number);
		if (r < 0 && r != -ESRCH)
			return r;
		(*ret_moved)++;
	}
	return 0;
}

int cgroup_dir_add(struct cgroup *cgroup, int hierarchy, struct fault *fault)
{
	int r = dir_make(cgroup, hierarchy, 0, fault);
	if (r < 0)
		return r;
	struct cgroup_dir *dir = &cgroup->dirs[hierarchy];
	size_t moved = 1;
	for (int round = 0; r == 0 && moved > 0 && round < CATCH_ROUNDS; round++)
		r = catch_up(cgroup, dir->fd, &moved);
	if (r < 0)
		return fault_errno(fault, r, "moving processes to cgroup %s", cgroup->path);
	return 0;
}

static uint32_t controllers_of(const struct oci_resources *resources)
{
	uint32_t controllers = ENABLE_ALWAYS;
	if (resources->cpu.cpus || resources->cpu.mems)
		controllers |= CGROUP_BIT(CGROUP_CPUSET);
	if (resources->hugepage_limits.count > 0)
		controllers |= CGROUP_BIT(CGROUP_HUGETLB);
	if (resources->rdma.count > 0)
		controllers |= CGROUP_BIT(CGROUP_RDMA);
	for (size_t i = 0; i < resources->unified.count; i++)
		controllers |= cgroup_controller_of_file(resources->unified.item[i].name);
	return controllers;
}

static void cgroup_abandon(struct cgroup **cgroup)
{
	if (!*cgroup)
		return;
	for (size_t i = 0; i < (*cgroup)->mounts->count; i++) {
		const struct cgroup_dir *dir = &(*cgroup)->dirs[i];
		if (dir->fd >= 0 && dir->made != CGROUP_NOT_MADE)
			cgroup_dir_remove((*cgroup)->mounts, (int)i, (*cgroup)->path, dir);
	}
	cgroup_free(*cgroup);
}

static struct cgroup *cgroup_new(const struct cgroup_mounts *mounts)
{
	struct cgroup *cgroup = calloc(1, sizeof(*cgroup));
	if (!cgroup)
		return NULL;
	cgroup->mounts = mounts;
	for (size_t i = 0; i < CGROUP_HIERARCHIES; i++)
		cgroup->dirs[i] = (struct cgroup_dir) { .fd = -1, .tasks_fd = -1 };
	cgroup->events_fd = cgroup->filter_fd = cgroup->oom_fd = cgroup->oom_control_fd = -1;
	return cgroup;
}

int cgroup_create(struct cgroup_mounts *mounts, const char *id, const struct oci_spec *spec,
                  struct cgroup **ret, struct fault *fault)
{
	static const struct oci_resources none;
	const struct oci_linux *linux_ = &spec->linux_;
	const struct oci_resources *resources = linux_->resources ? linux_->resources : &none;
	cleanup(cgroup_abandon) struct cgroup *cgroup = cgroup_new(mounts);
	if (!cgroup)
		return fault_errno(fault, -ENOMEM, "cgroup");
	cgroup->default_path = !linux_->cgroups_path || !*linux_->cgroups_path;
	int r = cgroup_path_resolve(linux_->cgroups_path, id, &cgroup->path, fault);
	if (r == 0)
		r = dir_make(cgroup, CGROUP_V2, controllers_of(resources), fault);
	if (r == 0 && mounts->home[CGROUP_MEMORY] > CGROUP_V2)
		r = dir_make(cgroup, mounts->home[CGROUP_MEMORY], 0, fault);
	if (r < 0)
		return r;
	int v2 = cgroup->dirs[CGROUP_V2].fd;
	if (cgroup->dirs[CGROUP_V2].made == CGROUP_NOT_MADE)
		cgroup_freeze(cgroup, false);
	cgroup->events_fd = openat(v2, "cgroup.events", O_RDONLY | O_CLOEXEC);
	if (cgroup->events_fd < 0)
		return fault_errno(fault, -errno, "opening cgroup.events of %s", cgroup->path);
	r = cgroup_limits_apply(cgroup, resources, fault);
	if (r == 0)
		r = device_filter_set(v2, resources->devices.item, resources->devices.count,
		                      linux_->devices.item, linux_->devices.count,
		                      &cgroup->filter_fd, fault);
	if (r < 0)
		return r;
	*ret = take_pointer(cgroup);
	return 0;
}

int cgroup_update(struct cgroup *cgroup, const struct oci_resources *resources,
                  struct fault *fault)
{
	int r = 0;
	uint32_t controllers = controllers_of(resources);
	if (controllers & ~ENABLE_ALWAYS & cgroup->mounts->controllers[CGROUP_V2]) {
		struct cgroup_dir again = { .fd = -1, .tasks_fd = -1 };
		r = cgroup_dir_make(cgroup->mounts, CGROUP_V2, cgroup->path, controllers, &again,
		                    fault);
		cgroup_dir_close(&again);
	}
	if (r == 0)
		r = cgroup_limits_apply(cgroup, resources, fault);
	if (r == 0 && resources->devices.count > 0)
		r = device_filter_set(cgroup->dirs[CGROUP_V2].fd, resources->devices.item,
		                      resources->devices.count, NULL, 0, &cgroup->filter_fd, fault);
	return r;
}

int cgroup_fd(const struct cgroup *cgroup)
{
	return cgroup->dirs[CGROUP_V2].fd;
}

const char *cgroup_path(const struct cgroup *cgroup)
{
	return cgroup->path;
}

int cgroup_join(const struct cgroup *cgroup)
{
	for (size_t i = 0; i < cgroup->mounts->count; i++) {
		int fd = cgroup->dirs[i].tasks_fd;
		if (fd >= 0 && write(fd, "0", 1) < 0)
			return -errno;
	}
	return 0;
}

int cgroup_freeze(struct cgroup *cgroup, bool frozen)
{
	return file_write_text(cgroup->dirs[CGROUP_V2].fd, "cgroup.freeze", frozen ? "1" : "0");
}

int cgroup_pids(struct cgroup *cgroup, pid_t **ret, size_t *ret_count)
{
	return cgroup_tree_pids(cgroup->dirs[CGROUP_V2].fd, "cgroup.procs", ret, ret_count);
}

int cgroup_signal(struct cgroup *cgroup, int signal)
{
	cleanup_free pid_t *pids = NULL;
	size_t count;
	int r = cgroup_pids(cgroup, &pids, &count);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++)
		if (kill(pids[i], signal) < 0 && errno != ESRCH && r == 0)
			r = -errno;
	return r;
}

/* In a local partition: the proxy of the container on the host's side, see shim/shadow.c. */
static bool has_outsiders(const struct cgroup *cgroup)
{
	cleanup_free char *text = NULL;
	int r = cgroup_file_read(cgroup->dirs[CGROUP_V2].fd, "cgroup.procs", &text);
	return r == 0 && (!strncmp(text, "0\n", 2) || strstr(text, "\n0\n"));
}

/*
 * Kernels before 5.14 have no cgroup.kill, and it kills those outside our pid namespace too, who
 * are to end by themselves. Freezing stops what is forked while we look: a process that is born
 * into a frozen cgroup does not run, and a frozen one dies of SIGKILL all the same.
 */
int cgroup_kill(struct cgroup *cgroup)
{
	int r = has_outsiders(cgroup) ? -ENOENT :
		file_write_text(cgroup->dirs[CGROUP_V2].fd, "cgroup.kill", "1");
	if (r != -ENOENT)
		return r;
	cgroup_freeze(cgroup, true);
	r = 0;
	for (int round = 0; r == 0 && round < CATCH_ROUNDS; round++)
		r = cgroup_signal(cgroup, SIGKILL);
	cgroup_freeze(cgroup, false);
	return r;
}

int cgroup_events_fd(const struct cgroup *cgroup)
{
	return cgroup->events_fd;
}

int cgroup_events(const struct cgroup *cgroup, bool *ret_populated, bool *ret_frozen)
{
	char text[256];
	ssize_t n = pread(cgroup->events_fd, text, sizeof(text) - 1, 0);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	uint64_t populated = 0, frozen = 0;
	cgroup_text_u64(text, "populated", &populated);
	cgroup_text_u64(text, "frozen", &frozen);
	*ret_populated = populated;
	*ret_frozen = frozen;
	return 0;
}

/*
 * Who dies leaves one hierarchy after the other. v2 comes first and is the only one that tells, so
 * in v1 there may be a moment to wait: far less than a microsecond, but on a virtual CPU that is
 * stopped just then.
 */
static int dir_remove(const struct cgroup *cgroup, int hierarchy)
{
	static const struct timespec step = { .tv_nsec = 1000000 };
	const struct cgroup_dir *dir = &cgroup->dirs[hierarchy];
	int r = cgroup_dir_remove(cgroup->mounts, hierarchy, cgroup->path, dir);
	for (int tries = LEAVE_TRIES; r == -EBUSY && hierarchy != CGROUP_V2 && tries; tries--) {
		nanosleep(&step, NULL);
		r = cgroup_dir_remove(cgroup->mounts, hierarchy, cgroup->path, dir);
	}
	return r;
}

int cgroup_remove(struct cgroup *cgroup)
{
	if (!cgroup)
		return 0;
	int result = 0;
	for (size_t i = 0; i < cgroup->mounts->count; i++) {
		struct cgroup_dir *dir = &cgroup->dirs[i];
		if (dir->fd < 0)
			continue;
		if (cgroup->default_path)
			dir->made = 0;
		int r = dir_remove(cgroup, (int)i);
		if (r == 0)
			cgroup_dir_close(dir);
		else if (i == CGROUP_V2) /* it lives: the v1 directories belong to it */
			return r;
		else if (result == 0)
			result = r;
	}
	return result;
}

void cgroup_free(struct cgroup *cgroup)
{
	if (!cgroup)
		return;
	for (size_t i = 0; i < CGROUP_HIERARCHIES; i++)
		cgroup_dir_close(&cgroup->dirs[i]);
	close_fd(&cgroup->events_fd);
	close_fd(&cgroup->filter_fd);
	cgroup_oom_close(cgroup);
	free(cgroup->path);
	free(cgroup);
}

bool cgroup_has(const struct cgroup *cgroup, const char *controllers)
{
	uint32_t mask = cgroup_controller_mask(controllers);
	for (size_t i = 0; i < cgroup->mounts->count; i++) {
		if (i != CGROUP_V2 && (cgroup->mounts->controllers[i] & mask))
			return cgroup->dirs[i].fd >= 0;
	}
	return false;
}
