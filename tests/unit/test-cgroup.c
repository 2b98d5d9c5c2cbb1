/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Real cgroups of this machine, below /hvrun-test-<pid>: birth, death, limits that bite, the
 * device filter. Skipped without root or without a cgroup2 file system that can be written.
 */

#include "agent/cgroup_private.h"

#include "oci/file.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>

#define MIB (1u << 20)
#define WAIT_MS 10000
#define SET(value_) { .set = true, .value = (value_) }
#define ONE(type, ...) { .count = 1, .item = (type[]) { __VA_ARGS__ } }

static struct cgroup_mounts *mounts;
static char parent[64];
static char *handed_down;       /* what the root of v2 handed down before us */

static int setup(void **state)
{
	(void)state;
	snprintf(parent, sizeof(parent), "/hvrun-test-%d", getpid());
	if (geteuid() != 0 || cgroup_mounts_probe(&mounts, NULL) < 0)
		return 0;
	cgroup_file_read(mounts->fd[CGROUP_V2], "cgroup.subtree_control", &handed_down);
	if (mkdirat(mounts->fd[CGROUP_V2], parent + 1, 0755) < 0) {
		cgroup_mounts_free(mounts);
		mounts = NULL;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; mounts && i < mounts->count; i++) {
		struct cgroup_dir dir = { .tasks_fd = -1, .made = CGROUP_NOT_MADE };
		dir.fd = openat(mounts->fd[i], parent + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		file_write_text(dir.fd, "cgroup.kill", "1");
		cgroup_dir_remove(mounts, (int)i, parent, &dir);
		cgroup_dir_close(&dir);
	}
	if (mounts && handed_down && !strcspn(handed_down, "\n"))
		for (int c = 0; c < CGROUP_CORE; c++) {
			char text[32];
			snprintf(text, sizeof(text), "-%s", cgroup_controller_names[c]);
			file_write_text(mounts->fd[CGROUP_V2], "cgroup.subtree_control", text);
		}
	cgroup_mounts_free(mounts);
	free(handed_down);
	return 0;
}

static struct cgroup *create(const char *name, const struct oci_resources *resources,
                             int want, struct fault *fault)
{
	struct cgroup *cgroup = NULL;
	struct oci_resources copy = *resources;
	char path[128];
	if (!mounts)
		skip();
	snprintf(path, sizeof(path), "%s/%s", parent, name);
	const struct oci_spec spec = { .linux_ = { .cgroups_path = path, .resources = &copy } };
	struct fault own = FAULT_NULL;
	int r = cgroup_create(mounts, name, &spec, &cgroup, fault ? fault : &own);
	if (r != want)
		print_message("%s: %s\n", path, fault ? fault->text : own.text);
	assert_int_equal(r, want);
	return cgroup;
}

static const struct oci_resources nothing;

static struct cgroup *create_plain(const char *name)
{
	return create(name, &nothing, 0, NULL);
}

/*
 * A child that is put into the cgroup, joins its v1 directories and exits with what run returns.
 * (Not born there, because valgrind knows no clone3; test-child.c is about birth.)
 */
static pid_t spawn(const struct cgroup *cgroup, int (*run)(void))
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(60);
		raise(SIGSTOP);
		_exit(cgroup_join(cgroup) < 0 ? 99 : run());
	}
	char number[16];
	int status;
	snprintf(number, sizeof(number), "%d", pid);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_int_equal(file_write_text(cgroup_fd(cgroup), "cgroup.procs", number), 0);
	assert_int_equal(kill(pid, SIGCONT), 0);
	return pid;
}

static int run_for_ever(void)
{
	while (pause() < 0)
		;
	return 0;
}

static int reap(pid_t pid)
{
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool has_path(const struct cgroup *cgroup, pid_t pid, const char *controller)
{
	char name[64];
	cleanup_free char *text = NULL;
	snprintf(name, sizeof(name), "/proc/%d/cgroup", pid);
	if (cgroup_file_read(AT_FDCWD, name, &text) < 0)
		return false;
	char *rest = text, *line;
	while ((line = cgroup_line(&rest))) {
		strsep(&line, ":");
		if (!strcmp(strsep(&line, ":"), controller))
			return !strcmp(line, cgroup_path(cgroup));
	}
	return false;
}

static bool exists(const struct cgroup *cgroup)
{
	for (size_t i = 0; i < mounts->count; i++)
		if (faccessat(mounts->fd[i], cgroup_path(cgroup) + 1, F_OK, 0) == 0)
			return true;
	return false;
}

static void wait_until(const struct cgroup *cgroup, bool want_populated, bool want_frozen)
{
	for (;;) {
		bool populated, frozen;
		assert_int_equal(cgroup_events(cgroup, &populated, &frozen), 0);
		if (populated == want_populated && frozen == want_frozen)
			return;
		struct pollfd wait = { .fd = cgroup_events_fd(cgroup), .events = POLLPRI };
		assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
	}
}

static void end(struct cgroup *cgroup)
{
	assert_int_equal(cgroup_kill(cgroup), 0);
	while (waitpid(-1, NULL, 0) > 0)
		;
	wait_until(cgroup, false, false);
	assert_int_equal(cgroup_remove(cgroup), 0);
	assert_false(exists(cgroup));
	assert_int_equal(cgroup_remove(cgroup), 0);
	cgroup_free(cgroup);
}

static void test_life(void **state)
{
	(void)state;
	struct cgroup *cgroup = create_plain("a/life");
	struct fault fault = FAULT_NULL;
	wait_until(cgroup, false, false);
	pid_t pid = spawn(cgroup, run_for_ever);
	wait_until(cgroup, true, false);
	assert_true(has_path(cgroup, pid, ""));
	create("a/life", &nothing, -EBUSY, &fault);
	assert_non_null(strstr(fault.text, "already holds processes"));
	assert_int_equal(cgroup_remove(cgroup), -EBUSY);

	cleanup_free pid_t *pids = NULL;
	size_t count;
	assert_int_equal(cgroup_pids(cgroup, &pids, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(pids[0], pid);

	assert_int_equal(cgroup_freeze(cgroup, true), 0);
	wait_until(cgroup, true, true);
	assert_int_equal(cgroup_freeze(cgroup, false), 0);
	wait_until(cgroup, true, false);
	assert_int_equal(cgroup_signal(cgroup, SIGTERM), 0);
	assert_int_equal(reap(pid), 128 + SIGTERM);
	wait_until(cgroup, false, false);

	pid = spawn(cgroup, run_for_ever);
	assert_int_equal(cgroup_freeze(cgroup, true), 0);
	assert_int_equal(cgroup_kill(cgroup), 0);
	assert_int_equal(reap(pid), 128 + SIGKILL);
	assert_int_equal(cgroup_freeze(cgroup, false), 0);
	end(cgroup);
	/* "a" went with it: it was ours */
	assert_int_equal(faccessat(mounts->fd[CGROUP_V2], parent + 1, F_OK, 0), 0);
	strcat(parent, "/a");
	assert_int_equal(faccessat(mounts->fd[CGROUP_V2], parent + 1, F_OK, 0), -1);
	*strrchr(parent, '/') = '\0';
}

/* One that is there and empty is used, its frozen state forgotten; a failure leaves it alone. */
static void test_existing(void **state)
{
	(void)state;
	struct cgroup *cgroup = create_plain("existing");
	struct fault fault = FAULT_NULL;
	assert_int_equal(cgroup_freeze(cgroup, true), 0);
	struct cgroup *again = create_plain("existing");
	pid_t pid = spawn(again, run_for_ever);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(reap(pid), 128 + SIGKILL);
	const struct oci_resources bad = {
		.unified = ONE(struct str_pair, { "memory.magic", "1" }),
	};
	create("existing", &bad, -ENOTSUP, &fault);
	assert_true(exists(again));
	cgroup_free(again);
	end(cgroup);
}

static void make_below(int fd, unsigned depth)
{
	for (unsigned i = 0; i < 3; i++) {
		char name[8];
		snprintf(name, sizeof(name), "%u", i);
		assert_int_equal(mkdirat(fd, name, 0755), 0);
		cleanup_close int child = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (i == 0 && depth > 0)
			make_below(child, depth - 1);
	}
}

/* What a container made below its cgroup is counted, killed and removed with it. */
static void test_nested(void **state)
{
	(void)state;
	struct cgroup *cgroup = create_plain("nested");
	for (size_t i = 0; i < mounts->count; i++)
		if (cgroup->dirs[i].fd >= 0)
			make_below(cgroup->dirs[i].fd, 100);
	pid_t pid = spawn(cgroup, run_for_ever);
	char number[16];
	snprintf(number, sizeof(number), "%d", pid);
	assert_int_equal(file_write_text(cgroup_fd(cgroup), "0/0/0/1/cgroup.procs", number), 0);
	cleanup_free pid_t *pids = NULL;
	size_t count;
	assert_int_equal(cgroup_pids(cgroup, &pids, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(cgroup_remove(cgroup), -EBUSY);
	end(cgroup);
}

/* Two creators beside each other take their common parents away from one another. */
static void test_parents(void **state)
{
	(void)state;
	if (!mounts)
		skip();
	pid_t pids[2];
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] > 0)
			continue;
		for (int round = 0; round < 200; round++) {
			char path[128];
			struct cgroup *cgroup;
			snprintf(path, sizeof(path), "%s/x/y/z/%d", parent, i);
			const struct oci_spec spec = { .linux_.cgroups_path = path };
			if (cgroup_create(mounts, "x", &spec, &cgroup, NULL) < 0 ||
			    cgroup_remove(cgroup) < 0)
				_exit(1);
			cgroup_free(cgroup);
		}
		_exit(0);
	}
	assert_int_equal(reap(pids[0]), 0);
	assert_int_equal(reap(pids[1]), 0);
}

/* Where nobody chose a path, all of it is ours. */
static void test_default_path(void **state)
{
	(void)state;
	if (!mounts)
		skip();
	static const struct oci_spec spec;
	struct cgroup *cgroup = NULL;
	char want[96];
	snprintf(want, sizeof(want), "/hvrun/%s", parent + 1);
	assert_int_equal(cgroup_create(mounts, parent + 1, &spec, &cgroup, NULL), 0);
	assert_string_equal(cgroup_path(cgroup), want);
	end(cgroup);
}

static int allocate(void)
{
	const size_t size = 64 * MIB;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; memory != MAP_FAILED && i < size; i += 4096)
		memory[i] = 1;
	return 0;
}

static void test_oom(void **state)
{
	(void)state;
	if (!mounts || mounts->home[CGROUP_MEMORY] == CGROUP_NOWHERE)
		skip();
	const struct oci_resources resources = {
		.memory = { .limit = SET(16 * MIB), .swap = SET(16 * MIB) },
	};
	struct cgroup *cgroup = create("oom", &resources, 0, NULL);
	uint32_t want;
	int fd = cgroup_oom_fd(cgroup, &want);
	assert_true(fd >= 0);
	assert_int_equal(cgroup_oom_count(cgroup), 0);
	pid_t pid = spawn(cgroup, allocate);
	uint64_t count = 0;
	while (count == 0) {
		struct pollfd wait = { .fd = fd, .events = want == EPOLLPRI ? POLLPRI : POLLIN };
		assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
		count = cgroup_oom_count(cgroup);
	}
	assert_int_equal(count, 1);
	assert_int_equal(reap(pid), 128 + SIGKILL);
	/* told once: the fd is quiet again */
	assert_int_equal(cgroup_oom_count(cgroup), 1);
	struct pollfd quiet = { .fd = fd, .events = want == EPOLLPRI ? POLLPRI : POLLIN };
	assert_int_equal(poll(&quiet, 1, 0), 0);

	struct arena arena = ARENA(65536);
	struct statistics_v2 statistics;
	assert_int_equal(cgroup_statistics(cgroup, &arena, &statistics), 0);
	assert_int_equal(statistics.memory_events.oom_kill, 1);
	assert_int_equal(statistics.memory.usage_limit, 16 * MIB);
	assert_int_equal(statistics.memory.swap_limit, 0);
	arena_free(&arena);
	end(cgroup);
}

static int fork_too_often(void)
{
	for (int i = 0; i < 8; i++) {
		pid_t pid = fork();
		if (pid < 0)
			return errno == EAGAIN ? i : 50;
		if (pid == 0)
			run_for_ever();
	}
	return 8;
}

static void test_pids(void **state)
{
	(void)state;
	if (!mounts || mounts->home[CGROUP_PIDS] == CGROUP_NOWHERE)
		skip();
	const struct oci_resources resources = { .pids.limit = SET(4) };
	struct cgroup *cgroup = create("pids", &resources, 0, NULL);
	assert_int_equal(reap(spawn(cgroup, fork_too_often)), 3);
	struct arena arena = ARENA(65536);
	struct statistics_v2 statistics;
	assert_int_equal(cgroup_statistics(cgroup, &arena, &statistics), 0);
	assert_int_equal(statistics.pids.limit, 4);
	assert_int_equal(statistics.pids.current, 3);
	arena_free(&arena);
	end(cgroup);
}

static uint64_t value_of(const struct cgroup *cgroup, enum cgroup_controller controller,
                         const char *v1_file, const char *v2_file)
{
	uint64_t value = 0;
	bool v1 = mounts->home[controller] > CGROUP_V2;
	assert_int_equal(cgroup_file_u64(cgroup_controller_fd(cgroup, controller),
	                                 v1 ? v1_file : v2_file, &value), 0);
	return value;
}

/* Controllers that come with an update find the processes that run already. */
static void test_update(void **state)
{
	(void)state;
	if (!mounts || mounts->home[CGROUP_PIDS] <= CGROUP_V2)
		skip();
	struct cgroup *cgroup = create_plain("update");
	pid_t pid = spawn(cgroup, run_for_ever);
	assert_false(has_path(cgroup, pid, "pids"));
	const struct oci_resources limits = {
		.pids.limit = SET(9),
		.cpu = {
			.shares = SET(512), .quota = SET(20000), .period = SET(40000), .cpus = "0",
		},
	};
	assert_int_equal(cgroup_update(cgroup, &limits, NULL), 0);
	assert_true(has_path(cgroup, pid, "pids"));
	assert_true(has_path(cgroup, pid, "cpuset"));
	assert_int_equal(value_of(cgroup, CGROUP_PIDS, "pids.max", "pids.max"), 9);
	assert_int_equal(value_of(cgroup, CGROUP_CPU, "cpu.cfs_quota_us", "cpu.max"), 20000);
	pid_t later = spawn(cgroup, run_for_ever);
	struct timespec moment = { .tv_nsec = 1000000 };
	while (!has_path(cgroup, later, "pids"))
		nanosleep(&moment, NULL);
	end(cgroup);
}

/* Up and down past each other: whichever of the two must go first. */
static void test_order(void **state)
{
	(void)state;
	if (!mounts || mounts->home[CGROUP_MEMORY] <= CGROUP_V2 ||
	    mounts->home[CGROUP_CPU] == CGROUP_NOWHERE)
		skip();
	static const int64_t sizes[] = { 64, 32, 256, 16 };
	struct cgroup *cgroup = create_plain("order");
	for (size_t i = 0; i < array_size(sizes); i++) {
		const struct oci_resources limits = {
			.memory = { .limit = SET(sizes[i] * MIB), .swap = SET(2 * sizes[i] * MIB) },
			.cpu = { .quota = SET(sizes[i] * 1000),
			         .burst = SET((uint64_t)sizes[i] * 1000) },
		};
		struct fault fault = FAULT_NULL;
		cgroup_update(cgroup, &limits, &fault);
		assert_string_equal(fault.text, "");
		assert_int_equal(value_of(cgroup, CGROUP_MEMORY, "memory.memsw.limit_in_bytes", ""),
		                 2 * sizes[i] * MIB);
	}
	const struct oci_resources wrong = { .cpu.cpus = "4000" };
	struct fault fault = FAULT_NULL;
	assert_true(cgroup_update(cgroup, &wrong, &fault) < 0);
	assert_non_null(strstr(fault.text,
	                       "linux.resources.cpu.cpus: writing \"4000\" to cpuset.cpus: "));
	end(cgroup);
}

static void test_refused(void **state)
{
	(void)state;
	if (!mounts || mounts->home[CGROUP_RDMA] != CGROUP_NOWHERE)
		skip();
	const struct oci_resources resources = {
		.rdma = ONE(struct oci_rdma_entry, { "mlx5_1", { SET(3) } }),
	};
	struct fault fault = FAULT_NULL;
	create("refused", &resources, -ENOTSUP, &fault);
	assert_string_equal(fault.text,
	                    "linux.resources.rdma: this machine has no rdma controller");
	char path[96];
	snprintf(path, sizeof(path), "%s/refused", parent);
	for (size_t i = 0; i < mounts->count; i++)
		assert_int_equal(faccessat(mounts->fd[i], path + 1, F_OK, 0), -1);
}

static void test_hugetlb(void **state)
{
	(void)state;
	if (!mounts || mounts->home[CGROUP_HUGETLB] == CGROUP_NOWHERE)
		skip();
	const struct oci_resources resources = {
		.hugepage_limits = ONE(struct oci_hugepage_limit, { "2MB", 4 * MIB }),
	};
	struct cgroup *cgroup = create("hugetlb", &resources, 0, NULL);
	struct arena arena = ARENA(65536);
	struct statistics_v2 statistics;
	assert_int_equal(cgroup_statistics(cgroup, &arena, &statistics), 0);
	bool seen = false;
	for (size_t i = 0; i < statistics.hugetlb.count; i++)
		if (!strcmp(statistics.hugetlb.item[i].pagesize, "2MB"))
			seen = statistics.hugetlb.item[i].max == 4 * MIB;
	assert_true(seen);
	arena_free(&arena);
	end(cgroup);
}

static int use_and_stay(void)
{
	const size_t size = 32 * MIB;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int round = 0; round < 20; round++)
		for (size_t i = 0; i < size; i += 4096)
			memory[i]++;
	raise(SIGSTOP);
	return 0;
}

static void test_statistics(void **state)
{
	(void)state;
	struct cgroup *cgroup = create_plain("statistics");
	pid_t pid = spawn(cgroup, use_and_stay);
	int status;
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	struct arena arena = ARENA(65536);
	struct statistics_v2 statistics;
	assert_int_equal(cgroup_statistics(cgroup, &arena, &statistics), 0);
	assert_int_equal(statistics.pids.current, 1);
	assert_in_range(statistics.cpu.usage_usec, 100, 60000000);
	if (mounts->home[CGROUP_MEMORY] != CGROUP_NOWHERE) {
		assert_in_range(statistics.memory.anon, 32 * MIB, 48 * MIB);
		assert_in_range(statistics.memory.usage, 32 * MIB, 64 * MIB);
		assert_in_range(statistics.memory.max_usage, 32 * MIB, 64 * MIB);
		assert_int_equal(statistics.memory.usage_limit, UINT64_MAX);
		assert_true(statistics.memory.pgfault > 1000);
	}
	arena_free(&arena);
	end(cgroup);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_existing),
		cmocka_unit_test(test_nested),
		cmocka_unit_test(test_parents),
		cmocka_unit_test(test_default_path),
		cmocka_unit_test(test_oom),
		cmocka_unit_test(test_pids),
		cmocka_unit_test(test_update),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_hugetlb),
		cmocka_unit_test(test_statistics),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
