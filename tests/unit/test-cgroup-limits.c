/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is written for which member of linux.resources, on a folder of plain files in place of
 * cgroupfs, so that every controller of both versions can be tested on any machine; paths; and what
 * the kernel's absence of a file leads to.
 */

#include "agent/cgroup_private.h"

#include "agent/mountinfo.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#define ID "box"

static char folder[] = "/tmp/hvrun-test-cgroup-XXXXXX";

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *at)
{
	(void)status;
	(void)type;
	(void)at;
	return remove(path);
}

static void put(const char *where, const char *name, const char *text)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s/%s", folder, where, name);
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void get(const char *where, const char *name, char *text, size_t size)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s/" ID "/%s", folder, where, name);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	ssize_t n = read(fd, text, size - 1);
	assert_true(n >= 0);
	text[n] = '\0';
}

static void make(const char *name)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

static const char *const v2_files[] = {
	"cgroup.events", "cgroup.freeze", "cgroup.procs", "cpu.weight", "cpu.max", "cpu.max.burst",
	"cpu.idle", "cpuset.cpus", "cpuset.mems", "io.max", "io.weight", "memory.max", "memory.low",
	"memory.high", "memory.swap.max", "pids.max", "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max",
	"hugetlb.1GB.max", "cgroup.max.depth", "cgroup.threads",
};
static const char *const v1_memory_files[] = {
	"tasks", "cgroup.procs", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes",
	"memory.soft_limit_in_bytes", "memory.swappiness", "memory.kmem.limit_in_bytes",
	"memory.kmem.tcp.limit_in_bytes", "memory.oom_control", "memory.use_hierarchy",
};
static const char *const v1_other_files[] = {
	"tasks", "cgroup.procs", "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us",
	"cpu.cfs_burst_us", "cpu.idle", "cpu.rt_runtime_us", "cpu.rt_period_us", "blkio.weight",
	"blkio.weight_device", "blkio.throttle.read_bps_device", "blkio.throttle.write_iops_device",
	"pids.max", "net_cls.classid", "net_prio.ifpriomap", "hugetlb.2MB.limit_in_bytes",
	"rdma.max", "cpuset.cpus", "cpuset.mems",
};

static void make_files(const char *where, const char *const *files, size_t count)
{
	char path[64];
	make(where);
	snprintf(path, sizeof(path), "%s/" ID, where);
	make(path);
	for (size_t i = 0; i < count; i++)
		put(path, files[i], "");
}

static struct mountinfo mount_of(const char *type, const char *name, const char *options,
                                 char *point, size_t size)
{
	snprintf(point, size, "%s/%s", folder, name);
	return (struct mountinfo) { .root = "/", .point = point, .type = type, .options = options };
}

/* A machine whose controllers are all v2, or all v1. */
static struct cgroup_mounts *machine(bool v1)
{
	char points[3][256];
	struct mountinfo mounts[3] = {
		mount_of("cgroup2", "v2", "rw", points[0], sizeof(points[0])),
		mount_of("cgroup", "memory", "rw,memory", points[1], sizeof(points[1])),
		mount_of("cgroup", "other", "rw,cpu,cpuacct,cpuset,blkio,pids,net_cls,net_prio,"
		         "hugetlb,rdma", points[2], sizeof(points[2])),
	};
	mounts[0].next = v1 ? &mounts[1] : NULL;
	mounts[1].next = &mounts[2];

	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	assert_non_null(mkdtemp(folder));
	for (size_t i = 0; i < 3; i++)
		memcpy(points[i], folder, strlen(folder));
	make_files("v2", v2_files, array_size(v2_files));
	make_files("memory", v1_memory_files, array_size(v1_memory_files));
	make_files("other", v1_other_files, array_size(v1_other_files));
	put("v2", "cgroup.controllers", v1 ? "\n" : "cpuset cpu io memory hugetlb pids\n");
	put("v2", "cgroup.subtree_control", "");
	put("v2/" ID, "cgroup.events", "populated 0\nfrozen 0\n");

	struct cgroup_mounts *ret = NULL;
	assert_int_equal(cgroup_mounts_find(mounts, &ret, NULL), 0);
	return ret;
}

static void machine_end(struct cgroup_mounts *mounts)
{
	cgroup_mounts_free(mounts);
	assert_int_equal(nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* A list of rules that needs no filter, which plain folders cannot have. */
static struct oci_device_rule allow_all = { .allow = true, .type = 'a' };

static int create(struct cgroup_mounts *mounts, struct oci_resources *resources,
                  struct cgroup **ret, struct fault *fault)
{
	resources->devices.count = 1;
	resources->devices.item = &allow_all;
	const struct oci_spec spec = { .linux_ = {
		.cgroups_path = "/" ID,
		.resources = resources,
	} };
	return cgroup_create(mounts, ID, &spec, ret, fault);
}

#define SET(value_) { .set = true, .value = (value_) }
#define LIMIT_OF(type, ...) { .count = 1, .item = (type[]) { __VA_ARGS__ } }

struct row {
	struct oci_resources resources;
	const char *where, *file, *text;        /* text: what the file holds then, */
	const char *fault;                      /* or what is said instead */
};

static const struct row v2_rows[] = {
	{ { .cpu.shares = SET(1024) }, "v2", "cpu.weight", "100" },
	{ { .cpu.shares = SET(1) }, "v2", "cpu.weight", "1" },
	{ { .cpu.shares = SET(2) }, "v2", "cpu.weight", "1" },
	{ { .cpu.shares = SET(2000) }, "v2", "cpu.weight", "170" },
	{ { .cpu.shares = SET(262144) }, "v2", "cpu.weight", "10000" },
	{ { .cpu.shares = SET(UINT64_MAX) }, "v2", "cpu.weight", "10000" },
	{ { .cpu.shares = SET(0) }, "v2", "cpu.weight", "" },
	{ { .cpu = { .quota = SET(50000), .period = SET(100000) } },
	  "v2", "cpu.max", "50000 100000" },
	{ { .cpu.quota = SET(50000) }, "v2", "cpu.max", "50000" },
	{ { .cpu.quota = SET(-1) }, "v2", "cpu.max", "max" },
	{ { .cpu = { .quota = SET(-1), .period = SET(2000) } }, "v2", "cpu.max", "max 2000" },
	{ { .cpu.period = SET(2000) }, "v2", "cpu.max", "max 2000" },
	{ { .cpu.burst = SET(7) }, "v2", "cpu.max.burst", "7" },
	{ { .cpu.idle = SET(1) }, "v2", "cpu.idle", "1" },
	{ { .cpu.idle = SET(0) }, "v2", "cpu.idle", "0" },
	{ { .cpu.cpus = "0-3,7" }, "v2", "cpuset.cpus", "0-3,7" },
	{ { .cpu.mems = "0" }, "v2", "cpuset.mems", "0" },
	{ { .cpu.realtime_runtime = SET(5) }, .fault = "linux.resources.cpu.realtimeRuntime: "
	  "cgroup v2 has no real-time scheduling limits" },
	{ { .memory.limit = SET(4096) }, "v2", "memory.max", "4096" },
	{ { .memory.limit = SET(-1) }, "v2", "memory.max", "max" },
	{ { .memory.limit = SET(-2) },
	  .fault = "linux.resources.memory.limit: -2 is not a number of bytes" },
	{ { .memory = { .limit = SET(100), .swap = SET(150) } }, "v2", "memory.swap.max", "50" },
	{ { .memory = { .limit = SET(100), .swap = SET(100) } }, "v2", "memory.swap.max", "0" },
	{ { .memory = { .limit = SET(100), .swap = SET(-1) } }, "v2", "memory.swap.max", "max" },
	{ { .memory = { .limit = SET(100), .swap = SET(0) } }, "v2", "memory.swap.max", "" },
	{ { .memory = { .limit = SET(100), .swap = SET(99) } },
	  .fault = "linux.resources.memory.swap: 99 is below the memory limit of 100" },
	{ { .memory.swap = SET(99) }, .fault = "linux.resources.memory.swap: it includes the "
	  "memory limit, and there is none" },
	{ { .memory.reservation = SET(77) }, "v2", "memory.low", "77" },
	{ { .memory.reservation = SET(-1) }, "v2", "memory.low", "0" },
	{ { .memory.kernel = SET(5) },
	  .fault = "linux.resources.memory.kernel: cgroup v2 has no such setting" },
	{ { .memory.kernel = SET(-1) }, "v2", "memory.max", "" },
	{ { .memory.swappiness = SET(60) },
	  .fault = "linux.resources.memory.swappiness: cgroup v2 has no such setting" },
	{ { .memory.disable_oom_killer = SET(true) },
	  .fault = "linux.resources.memory.disableOOMKiller: cgroup v2 has no such setting" },
	{ { .memory.disable_oom_killer = SET(false) }, "v2", "memory.max", "" },
	{ { .pids.limit = SET(5) }, "v2", "pids.max", "5" },
	{ { .pids.limit = SET(0) }, "v2", "pids.max", "max" },
	{ { .pids.limit = SET(-1) }, "v2", "pids.max", "max" },
	{ { .block_io.weight = SET(500) }, "v2", "io.weight", "default 4950" },
	{ { .block_io.weight = SET(10) }, "v2", "io.weight", "default 1" },
	{ { .block_io.weight = SET(1000) }, "v2", "io.weight", "default 10000" },
	{ { .block_io.weight = SET(0) }, "v2", "io.weight", "" },
	{ { .block_io.leaf_weight = SET(9) },
	  .fault = "linux.resources.blockIO.leafWeight: cgroup v2 has no such setting" },
	{ { .block_io.weight_device = LIMIT_OF(struct oci_weight_device, { 8, 0, SET(10) }) },
	  "v2", "io.weight", "8:0 1" },
	{ { .block_io.read_bps = LIMIT_OF(struct oci_throttle_device, { 8, 16, 1000 }) },
	  "v2", "io.max", "8:16 rbps=1000" },
	{ { .block_io.write_bps = LIMIT_OF(struct oci_throttle_device, { 8, 16, 1000 }) },
	  "v2", "io.max", "8:16 wbps=1000" },
	{ { .block_io.read_iops = LIMIT_OF(struct oci_throttle_device, { 8, 16, 10 }) },
	  "v2", "io.max", "8:16 riops=10" },
	{ { .block_io.write_iops = LIMIT_OF(struct oci_throttle_device, { 8, 16, 0 }) },
	  "v2", "io.max", "8:16 wiops=max" },
	{ { .hugepage_limits = LIMIT_OF(struct oci_hugepage_limit, { "2MB", 4194304 }) },
	  "v2", "hugetlb.2MB.rsvd.max", "4194304" },
	{ { .hugepage_limits = LIMIT_OF(struct oci_hugepage_limit, { "1GB", 0 }) },
	  "v2", "hugetlb.1GB.max", "0" },
	{ { .hugepage_limits = LIMIT_OF(struct oci_hugepage_limit, { "64KB", 0 }) },
	  .fault = "linux.resources.hugepageLimits: cgroup /box has no hugetlb.64KB.max" },
	{ { .rdma = LIMIT_OF(struct oci_rdma_entry, { "mlx5_1", { SET(3) } }) },
	  .fault = "linux.resources.rdma: this machine has no rdma controller" },
	{ { .network.class_id = SET(3) },
	  .fault = "linux.resources.network.classID: this machine has no net_cls controller" },
	{ { .network.priorities = LIMIT_OF(struct oci_interface_priority, { "eth0", 3 }) },
	  .fault = "linux.resources.network.priorities: this machine has no net_prio controller" },
	{ { .unified = LIMIT_OF(struct str_pair, { "memory.high", "12345" }) },
	  "v2", "memory.high", "12345" },
	{ { .unified = LIMIT_OF(struct str_pair, { "io.max", "8:0 rbps=1\n8:16 rbps=2\n" }) },
	  "v2", "io.max", "8:16 rbps=2" },
	{ { .unified = LIMIT_OF(struct str_pair, { "cgroup.max.depth", "3" }) },
	  "v2", "cgroup.max.depth", "3" },
	{ { .unified = LIMIT_OF(struct str_pair, { "cgroup.procs", "0" }) },
	  .fault = "linux.resources.unified.cgroup.procs: there is no such limit" },
	{ { .unified = LIMIT_OF(struct str_pair, { "magic.max", "0" }) },
	  .fault = "linux.resources.unified.magic.max: there is no such limit" },
	{ { .unified = LIMIT_OF(struct str_pair, { "memory.magic", "0" }) },
	  .fault = "linux.resources.unified.memory.magic: cgroup /box has no memory.magic" },
	{ { .unified = LIMIT_OF(struct str_pair, { "misc.max", "sev 0" }) },
	  .fault = "linux.resources.unified.misc.max: this machine has no misc controller" },
};

static const struct row v1_rows[] = {
	{ { .cpu.shares = SET(512) }, "other", "cpu.shares", "512" },
	{ { .cpu.quota = SET(50000) }, "other", "cpu.cfs_quota_us", "50000" },
	{ { .cpu.period = SET(50000) }, "other", "cpu.cfs_period_us", "50000" },
	{ { .cpu.burst = SET(5) }, "other", "cpu.cfs_burst_us", "5" },
	{ { .cpu.realtime_runtime = SET(5) }, "other", "cpu.rt_runtime_us", "5" },
	{ { .cpu.cpus = "1" }, "other", "cpuset.cpus", "1" },
	{ { .memory.limit = SET(4096) }, "memory", "memory.limit_in_bytes", "4096" },
	{ { .memory.limit = SET(-1) }, "memory", "memory.memsw.limit_in_bytes", "-1" },
	{ { .memory = { .limit = SET(100), .swap = SET(150) } },
	  "memory", "memory.memsw.limit_in_bytes", "150" },
	{ { .memory.reservation = SET(77) }, "memory", "memory.soft_limit_in_bytes", "77" },
	{ { .memory.swappiness = SET(0) }, "memory", "memory.swappiness", "0" },
	{ { .memory.kernel_tcp = SET(9) }, "memory", "memory.kmem.tcp.limit_in_bytes", "9" },
	{ { .memory.disable_oom_killer = SET(true) }, "memory", "memory.oom_control", "1" },
	{ { .pids.limit = SET(5) }, "other", "pids.max", "5" },
	{ { .block_io.weight = SET(500) }, "other", "blkio.weight", "500" },
	{ { .block_io.weight_device = LIMIT_OF(struct oci_weight_device, { 8, 0, SET(10) }) },
	  "other", "blkio.weight_device", "8:0 10" },
	{ { .block_io.read_bps = LIMIT_OF(struct oci_throttle_device, { 8, 16, 1000 }) },
	  "other", "blkio.throttle.read_bps_device", "8:16 1000" },
	{ { .block_io.write_iops = LIMIT_OF(struct oci_throttle_device, { 8, 16, 0 }) },
	  "other", "blkio.throttle.write_iops_device", "8:16 0" },
	{ { .block_io.leaf_weight = SET(9) },
	  .fault = "linux.resources.blockIO.leafWeight: cgroup /box has no blkio.leaf_weight" },
	{ { .hugepage_limits = LIMIT_OF(struct oci_hugepage_limit, { "2MB", 4194304 }) },
	  "other", "hugetlb.2MB.limit_in_bytes", "4194304" },
	{ { .rdma = LIMIT_OF(struct oci_rdma_entry, { "mlx5_1", { SET(3) } }) },
	  "other", "rdma.max", "mlx5_1 hca_handle=3" },
	{ { .network.class_id = SET(1048577) }, "other", "net_cls.classid", "1048577" },
	{ { .network.priorities = LIMIT_OF(struct oci_interface_priority, { "eth0", 3 }) },
	  "other", "net_prio.ifpriomap", "eth0 3" },
	{ { .unified = LIMIT_OF(struct str_pair, { "memory.max", "max" }) },
	  "memory", "memory.limit_in_bytes", "-1" },
	{ { .unified = LIMIT_OF(struct str_pair, { "pids.max", "max" }) },
	  "other", "pids.max", "max" },
	{ { .unified = LIMIT_OF(struct str_pair, { "memory.high", "1" }) },
	  .fault = "linux.resources.unified.memory.high: the memory controller of this machine is "
	  "cgroup v1" },
};

static void run_rows(const struct row *rows, size_t count, bool v1)
{
	for (size_t i = 0; i < count; i++) {
		struct cgroup_mounts *mounts = machine(v1);
		struct cgroup *cgroup = NULL;
		struct fault fault = FAULT_NULL;
		struct oci_resources resources = rows[i].resources;
		int r = create(mounts, &resources, &cgroup, &fault);
		if (rows[i].fault) {
			assert_true(r < 0);
			assert_string_equal(fault.text, rows[i].fault);
		} else {
			char text[128];
			assert_string_equal(fault.text, "");
			assert_int_equal(r, 0);
			get(rows[i].where, rows[i].file, text, sizeof(text));
			assert_string_equal(text, rows[i].text);
		}
		cgroup_free(cgroup);
		machine_end(mounts);
	}
}

static void test_v2(void **state)
{
	(void)state;
	run_rows(v2_rows, array_size(v2_rows), false);
}

static void test_v1(void **state)
{
	(void)state;
	run_rows(v1_rows, array_size(v1_rows), true);
}

/* BFQ's file is preferred where the kernel has it. */
static void test_bfq(void **state)
{
	(void)state;
	struct cgroup_mounts *mounts = machine(false);
	struct oci_resources resources = { .block_io.weight = SET(500) };
	struct cgroup *cgroup = NULL;
	char text[64];
	put("v2/" ID, "io.bfq.weight", "");
	assert_int_equal(create(mounts, &resources, &cgroup, NULL), 0);
	get("v2", "io.bfq.weight", text, sizeof(text));
	assert_string_equal(text, "500");
	get("v2", "io.weight", text, sizeof(text));
	assert_string_equal(text, "");
	cgroup_free(cgroup);
	machine_end(mounts);
}

/* Without swap accounting only what would forbid or limit nothing may be asked for. */
static void test_no_swap_file(void **state)
{
	(void)state;
	static const struct {
		int64_t swap;
		int result;
	} rows[] = { { -1, 0 }, { 100, 0 }, { 0, 0 }, { 150, -ENOTSUP } };
	for (size_t i = 0; i < array_size(rows); i++) {
		struct cgroup_mounts *mounts = machine(false);
		struct oci_resources resources = {
			.memory = { .limit = SET(100), .swap = SET(rows[i].swap) },
		};
		struct cgroup *cgroup = NULL;
		char path[256];
		snprintf(path, sizeof(path), "%s/v2/" ID "/memory.swap.max", folder);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(create(mounts, &resources, &cgroup, NULL), rows[i].result);
		cgroup_free(cgroup);
		machine_end(mounts);
	}
}

/* An update speaks of one value, what is in force of the other. */
static void test_update(void **state)
{
	(void)state;
	struct cgroup_mounts *mounts = machine(false);
	struct cgroup *cgroup = NULL;
	struct fault fault = FAULT_NULL;
	char text[128];
	struct oci_resources first = { .memory = { .limit = SET(100), .swap = SET(150) } };
	assert_int_equal(create(mounts, &first, &cgroup, NULL), 0);

	const struct oci_resources more_memory = { .memory.limit = SET(120) };
	assert_int_equal(cgroup_update(cgroup, &more_memory, NULL), 0);
	get("v2", "memory.swap.max", text, sizeof(text));
	assert_string_equal(text, "30");
	const struct oci_resources swap = { .memory.swap = SET(200) };
	assert_int_equal(cgroup_update(cgroup, &swap, NULL), 0);
	get("v2", "memory.swap.max", text, sizeof(text));
	assert_string_equal(text, "80");
	const struct oci_resources too_much = { .memory.limit = SET(201) };
	assert_int_equal(cgroup_update(cgroup, &too_much, &fault), -EINVAL);
	assert_string_equal(fault.text,
	                    "linux.resources.memory.swap: 200 is below the memory limit of 201");

	put("v2/" ID, "memory.current", "110\n");
	const struct oci_resources check = {
		.memory = { .limit = SET(90), .check_before_update = SET(true) },
	};
	assert_int_equal(cgroup_update(cgroup, &check, &fault), -EBUSY);
	assert_string_equal(fault.text, "linux.resources.memory.limit: 110 bytes are in use");

	put("v2/" ID, "cpu.max", "5000 100000\n");
	const struct oci_resources period = { .cpu.period = SET(200000) };
	assert_int_equal(cgroup_update(cgroup, &period, NULL), 0);
	get("v2", "cpu.max", text, sizeof(text));
	assert_string_equal(text, "5000 200000");
	cgroup_free(cgroup);
	machine_end(mounts);
}

/* Controllers are handed down by the parents: the usual ones always, others when asked for. */
static void test_enable(void **state)
{
	(void)state;
	struct cgroup_mounts *mounts = machine(false);
	struct cgroup *cgroup = NULL;
	struct oci_resources none = { .pids.limit = SET(0) };
	cleanup_free char *text = NULL;
	int root = mounts->fd[CGROUP_V2];
	assert_int_equal(create(mounts, &none, &cgroup, NULL), 0);
	assert_int_equal(cgroup_file_read(root, "cgroup.subtree_control", &text), 0);
	assert_string_equal(text, "+cpu +io +memory +pids");
	free_pointer(&text);

	const struct oci_resources cpus = { .cpu.cpus = "0" };
	assert_int_equal(cgroup_update(cgroup, &cpus, NULL), 0);
	assert_int_equal(cgroup_file_read(root, "cgroup.subtree_control", &text), 0);
	assert_non_null(strstr(text, "+cpuset"));
	cgroup_free(cgroup);
	machine_end(mounts);
}

/* Only memory has a v1 directory that nobody asked for. */
static void test_v1_directories(void **state)
{
	(void)state;
	struct cgroup_mounts *mounts = machine(true);
	struct cgroup *cgroup = NULL;
	struct oci_resources nothing = {
		.cpu = { .shares = SET(1024), .quota = SET(-1), .idle = SET(0) },
		.memory.limit = SET(-1),
		.pids.limit = SET(-1),
	};
	assert_int_equal(create(mounts, &nothing, &cgroup, NULL), 0);
	assert_true(cgroup_controller_fd(cgroup, CGROUP_MEMORY) >= 0);
	assert_int_equal(cgroup_controller_fd(cgroup, CGROUP_CPU), -1);
	assert_int_equal(cgroup_controller_fd(cgroup, CGROUP_PIDS), -1);
	const struct oci_resources pids = { .pids.limit = SET(9) };
	assert_int_equal(cgroup_update(cgroup, &pids, NULL), 0);
	assert_true(cgroup_controller_fd(cgroup, CGROUP_PIDS) >= 0);
	cgroup_free(cgroup);
	machine_end(mounts);
}

/* Where there is no cgroup.kill, every process is killed by its number; 0 is nobody. */
static void test_old_kill(void **state)
{
	(void)state;
	struct cgroup_mounts *mounts = machine(false);
	struct cgroup *cgroup = NULL;
	struct oci_resources none = { .pids.limit = SET(0) };
	char text[64];
	assert_int_equal(create(mounts, &none, &cgroup, NULL), 0);
	pid_t pid = fork();
	if (pid == 0) {
		alarm(30);
		pause();
		_exit(0);
	}
	snprintf(text, sizeof(text), "0\n%d\n", pid);
	put("v2/" ID, "cgroup.procs", text);
	assert_int_equal(cgroup_kill(cgroup), 0);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	get("v2", "cgroup.freeze", text, sizeof(text));
	assert_string_equal(text, "0");
	cgroup_free(cgroup);
	machine_end(mounts);
}

/* The figures of v2, and those of a v1 machine. */
static void test_statistics(void **state)
{
	(void)state;
	struct arena arena = ARENA(65536);
	struct statistics_v2 got;
	struct oci_resources none = { .pids.limit = SET(0) };
	struct cgroup *cgroup = NULL;
	struct cgroup_mounts *mounts = machine(false);
	assert_int_equal(create(mounts, &none, &cgroup, NULL), 0);
	put("v2/" ID, "cpu.stat", "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 3\n"
	    "nr_throttled 2\nthrottled_usec 1\nnr_bursts 5\nburst_usec 6\n");
	put("v2/" ID, "cpu.pressure", "some avg10=1.50 avg60=0.07 avg300=100.00 total=4711\n"
	    "full avg10=0.00 avg60=0.00 avg300=0.00 total=3\n");
	put("v2/" ID, "memory.pressure", "some total=18446744073709551615 avg10=1.5 x=\nfull\n");
	put("v2/" ID, "io.pressure", "\n");
	put("v2/" ID, "memory.stat", "anon 1\nfile 2\nkernel_stack 3\nanon_thp 99\npgmajfault 4\n"
	    "workingset_refault_anon 10\nworkingset_refault_file 20\n"
	    "workingset_activate_anon 1\nworkingset_activate_file 2\npgscan 7\n");
	put("v2/" ID, "memory.swap.peak", "77\n");
	put("v2/" ID, "memory.current", "1000\n");
	put("v2/" ID, "memory.max", "2000\n");
	put("v2/" ID, "memory.swap.max", "max\n");
	put("v2/" ID, "memory.events", "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\n"
	    "oom_group_kill 5\n");
	put("v2/" ID, "pids.current", "7\n");
	put("v2/" ID, "pids.max", "max\n");
	put("v2/" ID, "io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:1 \n"
	    "253:5 rbytes=10\n");
	put("v2/" ID, "hugetlb.2MB.current", "2097152\n");
	put("v2/" ID, "hugetlb.2MB.max", "max\n");
	put("v2/" ID, "hugetlb.2MB.events", "max 8\n");
	put("v2/" ID, "hugetlb.1GB.max", "5\n");
	assert_int_equal(cgroup_statistics(cgroup, &arena, &got), 0);
	assert_int_equal(got.cpu.usage_usec, 30);
	assert_int_equal(got.cpu.throttled_usec, 1);
	assert_int_equal(got.cpu.burst_usec, 6);
	assert_int_equal(got.cpu.psi.some.avg10, 150);
	assert_int_equal(got.cpu.psi.some.avg60, 7);
	assert_int_equal(got.cpu.psi.some.avg300, 10000);
	assert_int_equal(got.cpu.psi.some.total, 4711);
	assert_int_equal(got.cpu.psi.full.total, 3);
	assert_true(got.memory.psi.some.total == UINT64_MAX);
	assert_int_equal(got.memory.psi.full.total, 0);
	assert_int_equal(got.memory.anon, 1);
	assert_int_equal(got.memory.anon_thp, 99);
	assert_int_equal(got.memory.pgmajfault, 4);
	assert_int_equal(got.memory.workingset_refault, 30);
	assert_int_equal(got.memory.workingset_activate, 3);
	assert_int_equal(got.memory.pgscan, 7);
	assert_int_equal(got.memory.swap_max_usage, 77);
	assert_int_equal(got.memory.usage, 1000);
	assert_int_equal(got.memory.usage_limit, 2000);
	assert_int_equal(got.memory.swap_limit, UINT64_MAX);
	assert_int_equal(got.memory_events.oom_kill, 4);
	assert_int_equal(got.memory_events.oom_group_kill, 5);
	assert_int_equal(got.pids.current, 7);
	assert_int_equal(got.pids.limit, UINT64_MAX);
	assert_int_equal(got.io.count, 3);
	assert_int_equal(got.io.item[0].wios, 4);
	assert_int_equal(got.io.item[2].major, 253);
	assert_int_equal(got.io.item[2].rbytes, 10);
	assert_int_equal(got.hugetlb.count, 2);
	for (size_t i = 0; i < got.hugetlb.count; i++) {
		bool small = !strcmp(got.hugetlb.item[i].pagesize, "2MB");
		assert_true(small || !strcmp(got.hugetlb.item[i].pagesize, "1GB"));
		assert_int_equal(got.hugetlb.item[i].max, small ? UINT64_MAX : 5);
		assert_int_equal(got.hugetlb.item[i].current, small ? 2097152 : 0);
		assert_int_equal(got.hugetlb.item[i].failcnt, small ? 8 : 0);
	}
	cgroup_free(cgroup);
	machine_end(mounts);
	arena_free(&arena);
}

static void test_v1_statistics(void **state)
{
	(void)state;
	struct arena arena = ARENA(65536);
	struct statistics_v2 got;
	struct oci_resources all = {
		.pids.limit = SET(5),
		.cpu.shares = SET(5),
		.block_io.weight = SET(100),
	};
	struct cgroup *cgroup = NULL;
	struct cgroup_mounts *mounts = machine(true);
	assert_int_equal(create(mounts, &all, &cgroup, NULL), 0);
	put("v2/" ID, "cpu.stat", "usage_usec 30\nuser_usec 20\nsystem_usec 10\n");
	put("other/" ID, "cpu.stat", "nr_periods 3\nnr_throttled 2\nthrottled_time 5000\n");
	put("other/" ID, "pids.current", "7\n");
	put("other/" ID, "blkio.throttle.io_service_bytes_recursive",
	    "8:0 Read 4096\n8:0 Write 1\n8:0 Sync 3\nTotal 4097\n");
	put("other/" ID, "blkio.throttle.io_serviced_recursive", "8:0 Read 2\n8:16 Write 9\n");
	put("memory/" ID, "memory.stat", "rss 1\ntotal_rss 5\ntotal_cache 6\ntotal_swap 7\n");
	put("memory/" ID, "memory.limit_in_bytes", "9223372036854771712\n");
	put("memory/" ID, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
	assert_int_equal(cgroup_statistics(cgroup, &arena, &got), 0);
	assert_int_equal(got.cpu.usage_usec, 30);
	assert_int_equal(got.cpu.nr_throttled, 2);
	assert_int_equal(got.cpu.throttled_usec, 5);
	assert_int_equal(got.pids.current, 7);
	assert_int_equal(got.pids.limit, 5);
	assert_int_equal(got.memory.anon, 5);
	assert_int_equal(got.memory.file, 6);
	assert_int_equal(got.memory.swap_usage, 7);
	assert_int_equal(got.memory.usage_limit, UINT64_MAX);
	assert_int_equal(got.memory_events.oom_kill, 2);
	assert_int_equal(got.io.count, 2);
	assert_int_equal(got.io.item[0].rbytes, 4096);
	assert_int_equal(got.io.item[0].rios, 2);
	assert_int_equal(got.io.item[1].minor, 16);
	assert_int_equal(got.io.item[1].wios, 9);
	/* Not made, so not counted there: the tasks of the v2 cgroup are. */
	put("v2/" ID, "cgroup.threads", "1\n2\n3\n");
	cgroup_dir_close(&cgroup->dirs[mounts->home[CGROUP_PIDS]]);
	assert_int_equal(cgroup_statistics(cgroup, &arena, &got), 0);
	assert_int_equal(got.pids.current, 3);
	cgroup_free(cgroup);
	machine_end(mounts);
	arena_free(&arena);
}

static void test_paths(void **state)
{
	(void)state;
	char longest[400];
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	const struct {
		const char *cgroups_path, *result;
	} rows[] = {
		{ NULL, "/hvrun/" ID },
		{ "", "/hvrun/" ID },
		{ "/docker/abc", "/docker/abc" },
		{ "relative/abc", "/relative/abc" },
		{ "//a/./b//", "/a/b" },
		{ "/a:b/c:d", "/a:b/c:d" },
		{ "a:b", "/a:b" },
		{ "machine.slice:libpod:abc", "/machine.slice/libpod-abc.scope" },
		{ "a-b-c.slice:cri:x", "/a.slice/a-b.slice/a-b-c.slice/cri-x.scope" },
		{ ":docker:x", "/system.slice/docker-x.scope" },
		{ "-.slice:docker:x", "/docker-x.scope" },
		{ "a.slice::x", "/a.slice/x.scope" },
		{ "a.slice:p:a-b.slice", "/a.slice/a-b.slice" },
		{ "/", NULL },
		{ "/a/../b", NULL },
		{ "..", NULL },
		{ "a.slice:b:", NULL },
		{ "a:b:c", NULL },
		{ ".slice:b:c", NULL },
		{ "a--b.slice:b:c", NULL },
		{ "-a.slice:b:c", NULL },
		{ "a-.slice:b:c", NULL },
		{ longest, NULL },
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		cleanup_free char *path = NULL;
		struct fault fault = FAULT_NULL;
		int r = cgroup_path_resolve(rows[i].cgroups_path, ID, &path, &fault);
		assert_int_equal(r == 0, rows[i].result != NULL);
		if (rows[i].result)
			assert_string_equal(path, rows[i].result);
		else
			assert_non_null(strstr(fault.text, "linux.cgroupsPath"));
	}
}

static void test_no_cgroup2(void **state)
{
	(void)state;
	struct cgroup_mounts *mounts = NULL;
	struct fault fault = FAULT_NULL;
	const struct mountinfo gone = {
		.root = "/", .point = "/nonexistent", .type = "cgroup2", .options = "rw",
	};
	assert_int_equal(cgroup_mounts_find(&gone, &mounts, &fault), -ENOTSUP);
	assert_string_equal(fault.text, "cgroups: no cgroup2 file system is mounted");
	assert_null(mounts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v2),
		cmocka_unit_test(test_v1),
		cmocka_unit_test(test_bfq),
		cmocka_unit_test(test_no_swap_file),
		cmocka_unit_test(test_update),
		cmocka_unit_test(test_enable),
		cmocka_unit_test(test_v1_directories),
		cmocka_unit_test(test_old_kill),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_v1_statistics),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_no_cgroup2),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
