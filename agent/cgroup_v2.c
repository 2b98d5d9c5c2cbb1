/* SPDX-License-Identifier: Apache-2.0 */

/*
 * linux.resources in the files of cgroup v2. The specification speaks the language of v1; what v2
 * measures otherwise is converted as runc and crun do, so that a spec means the same under each.
 * What v2 cannot keep is refused. 0 stands for "not asked", as callers written in Go send it.
 */

#include "agent/cgroup_private.h"

#include <inttypes.h>
#include <unistd.h>

#define SHARES_MIN 2
#define SHARES_DEFAULT 1024
#define SHARES_MAX 262144
#define WEIGHT_MAX 10000

static double log2_of(double x)
{
	double whole = 0, result = 0;
	for (; x >= 2; x /= 2)
		whole++;
	for (double bit = 0.5; bit > 1e-12; bit /= 2) {
		x *= x;
		if (x >= 2) {
			x /= 2;
			result += bit;
		}
	}
	return whole + result;
}

/*
 * cpu.shares 2 to 262144 become cpu.weight 1 to 10000, so that the defaults 1024 and 100 meet: the
 * smallest weight with log10(weight) >= (l * l + 125 * l) / 612 - 7 / 34, where l = log2(shares).
 * Kubernetes, runc 1.3.2 and crun 1.23 settled on this curve.
 */
static unsigned weight_of_shares(uint64_t shares)
{
	if (shares <= SHARES_MIN)
		return 1;
	if (shares >= SHARES_MAX)
		return WEIGHT_MAX;
	double l = log2_of((double)shares);
	double wanted = ((l * l + 125 * l) / 612 - 7.0 / 34) * log2_of(10) - 1e-9;
	unsigned low = 1, high = WEIGHT_MAX;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		if (log2_of(middle) < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void plan_cpu_max(struct cgroup_plan *plan, const struct oci_cpu *cpu)
{
	int64_t quota = cpu->quota.set ? cpu->quota.value : 0;
	uint64_t period = cpu->period.set ? cpu->period.value : 0;
	if (quota == 0 && period == 0)
		return;
	if (quota > 0 && period > 0) {
		cgroup_plan_add(plan, "cpu.quota", "cpu.max", "%" PRId64 " %" PRIu64, quota,
		                period);
	} else if (quota > 0) {
		cgroup_plan_add(plan, "cpu.quota", "cpu.max", "%" PRId64, quota);
	} else if (quota < 0 && period > 0) {
		cgroup_plan_relax(plan, "cpu.period", "cpu.max", "max %" PRIu64, period);
	} else if (quota < 0) {
		cgroup_plan_relax(plan, "cpu.quota", "cpu.max", "max");
	} else {
		/* The period alone: beside the quota in force. */
		uint64_t now = UINT64_MAX;
		cgroup_file_u64(cgroup_controller_fd(plan->cgroup, CGROUP_CPU), "cpu.max", &now);
		if (now == UINT64_MAX)
			cgroup_plan_relax(plan, "cpu.period", "cpu.max", "max %" PRIu64, period);
		else
			cgroup_plan_add(plan, "cpu.period", "cpu.max", "%" PRIu64 " %" PRIu64, now,
			                period);
	}
}

static void plan_cpu(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	const struct oci_cpu *cpu = &resources->cpu;
	uint64_t shares = cpu->shares.set ? cpu->shares.value : 0;
	if (shares == SHARES_DEFAULT)
		cgroup_plan_relax(plan, "cpu.shares", "cpu.weight", "%u", weight_of_shares(shares));
	else if (shares > 0)
		cgroup_plan_add(plan, "cpu.shares", "cpu.weight", "%u", weight_of_shares(shares));
	plan_cpu_max(plan, cpu);
	if (cpu->burst.set && cpu->burst.value > 0)
		cgroup_plan_add(plan, "cpu.burst", "cpu.max.burst", "%" PRIu64, cpu->burst.value);
	else if (cpu->burst.set)
		cgroup_plan_relax(plan, "cpu.burst", "cpu.max.burst", "0");
	if (cpu->idle.set && cpu->idle.value != 0)
		cgroup_plan_add(plan, "cpu.idle", "cpu.idle", "%" PRId64, cpu->idle.value);
	else if (cpu->idle.set)
		cgroup_plan_relax(plan, "cpu.idle", "cpu.idle", "0");
	if ((cpu->realtime_runtime.set && cpu->realtime_runtime.value != 0) ||
	    (cpu->realtime_period.set && cpu->realtime_period.value != 0))
		cgroup_plan_refuse(plan, -ENOTSUP, "cpu.realtimeRuntime",
		                   "cgroup v2 has no real-time scheduling limits");
}

static void plan_cpuset(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	if (resources->cpu.cpus && *resources->cpu.cpus)
		cgroup_plan_add(plan, "cpu.cpus", "cpuset.cpus", "%s", resources->cpu.cpus);
	if (resources->cpu.mems && *resources->cpu.mems)
		cgroup_plan_add(plan, "cpu.mems", "cpuset.mems", "%s", resources->cpu.mems);
}

static void plan_bytes(struct cgroup_plan *plan, const char *name, const char *file, int64_t bytes)
{
	if (bytes > 0)
		cgroup_plan_add(plan, name, file, "%" PRId64, bytes);
	else if (bytes == -1)
		cgroup_plan_relax(plan, name, file, "max");
	else if (bytes != 0)
		cgroup_plan_refuse(plan, -EINVAL, name, "%" PRId64 " is not a number of bytes",
		                   bytes);
}

/*
 * The specification limits memory and swap together, v2 limits swap. On an update of one of the two
 * the other is what is in force, so that the sum stays what it was.
 */
static void plan_swap(struct cgroup_plan *plan, const struct oci_memory *memory)
{
	static const char name[] = "memory.swap", file[] = "memory.swap.max";
	int64_t limit = memory->limit.set ? memory->limit.value : 0;
	int64_t total = memory->swap.set ? memory->swap.value : 0;
	int fd = cgroup_controller_fd(plan->cgroup, CGROUP_MEMORY);
	uint64_t limit_now = UINT64_MAX, swap_now = UINT64_MAX;
	if (total < 0 || (limit == 0 && total == 0)) {
		plan_bytes(plan, name, file, total);
		return;
	}
	cgroup_file_u64(fd, "memory.max", &limit_now);
	cgroup_file_u64(fd, file, &swap_now);
	if (total == 0) {
		if (limit < 0 || limit_now == UINT64_MAX || swap_now == UINT64_MAX)
			return;
		total = (int64_t)(limit_now + swap_now);
	}
	if (limit == 0 && limit_now != UINT64_MAX)
		limit = (int64_t)limit_now;
	if (limit <= 0)
		cgroup_plan_refuse(plan, -EINVAL, name,
		                   "it includes the memory limit, and there is none");
	else if (total < limit)
		cgroup_plan_refuse(plan, -EINVAL, name, "%" PRId64 " is below the memory limit of %"
		                   PRId64, total, limit);
	else if (total == limit) /* without swap in the kernel there is nothing to forbid */
		cgroup_plan_relax(plan, name, file, "0");
	else
		cgroup_plan_add(plan, name, file, "%" PRId64, total - limit);
}

static void plan_memory(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	const struct oci_memory *memory = &resources->memory;
	int64_t limit = memory->limit.set ? memory->limit.value : 0;
	cgroup_plan_check_usage(plan, memory, "memory.current");
	plan_bytes(plan, "memory.limit", "memory.max", limit);
	plan_swap(plan, memory);
	int64_t reservation = memory->reservation.set ? memory->reservation.value : 0;
	if (reservation == -1) /* nothing guaranteed, where "max" would be everything */
		cgroup_plan_relax(plan, "memory.reservation", "memory.low", "0");
	else
		plan_bytes(plan, "memory.reservation", "memory.low", reservation);

	const struct {
		bool asked;
		const char *name;
	} v1_only[] = {
		{ memory->kernel.set && memory->kernel.value > 0, "memory.kernel" },
		{ memory->kernel_tcp.set && memory->kernel_tcp.value > 0, "memory.kernelTCP" },
		{ memory->swappiness.set, "memory.swappiness" },
		{ memory->disable_oom_killer.value, "memory.disableOOMKiller" },
		{ memory->use_hierarchy.set && !memory->use_hierarchy.value,
		  "memory.useHierarchy" },
	};
	for (size_t i = 0; i < array_size(v1_only); i++)
		if (v1_only[i].asked)
			cgroup_plan_refuse(plan, -ENOTSUP, v1_only[i].name,
			                   "cgroup v2 has no such setting");
}

const struct cgroup_throttle cgroup_throttles[CGROUP_THROTTLES] = {
	{ offsetof(struct oci_block_io, read_bps), "blockIO.throttleReadBpsDevice",
	  "blkio.throttle.read_bps_device", "rbps" },
	{ offsetof(struct oci_block_io, write_bps), "blockIO.throttleWriteBpsDevice",
	  "blkio.throttle.write_bps_device", "wbps" },
	{ offsetof(struct oci_block_io, read_iops), "blockIO.throttleReadIOPSDevice",
	  "blkio.throttle.read_iops_device", "riops" },
	{ offsetof(struct oci_block_io, write_iops), "blockIO.throttleWriteIOPSDevice",
	  "blkio.throttle.write_iops_device", "wiops" },
};

/* blkio.weight 10…1000 to io.weight 1…10000. */
static uint64_t io_weight_of(uint64_t weight)
{
	return weight <= 10 ? 1 : weight >= 1000 ? WEIGHT_MAX : 1 + (weight - 10) * 9999 / 990;
}

/* The BFQ scheduler has a file of its own, with v1's range and no word in front of the default. */
static void plan_io_weights(struct cgroup_plan *plan, const struct oci_block_io *io)
{
	int fd = cgroup_controller_fd(plan->cgroup, CGROUP_IO);
	bool bfq = fd >= 0 && faccessat(fd, "io.bfq.weight", F_OK, 0) == 0;
	const char *file = bfq ? "io.bfq.weight" : "io.weight";
	if (io->weight.set && io->weight.value > 0)
		cgroup_plan_add(plan, "blockIO.weight", file, "%s%" PRIu64, bfq ? "" : "default ",
		                bfq ? io->weight.value : io_weight_of(io->weight.value));
	if (io->leaf_weight.set && io->leaf_weight.value > 0)
		cgroup_plan_refuse(plan, -ENOTSUP, "blockIO.leafWeight",
		                   "cgroup v2 has no such setting");
	for (size_t i = 0; i < io->weight_device.count; i++) {
		const struct oci_weight_device *device = &io->weight_device.item[i];
		if (device->leaf_weight.set && device->leaf_weight.value > 0)
			cgroup_plan_refuse(plan, -ENOTSUP, "blockIO.weightDevice.leafWeight",
			                   "cgroup v2 has no such setting");
		if (device->weight.set && device->weight.value > 0)
			cgroup_plan_add(plan, "blockIO.weightDevice", file,
			                "%" PRId64 ":%" PRId64 " %" PRIu64, device->major,
			                device->minor, bfq ? device->weight.value :
			                io_weight_of(device->weight.value));
	}
}

static void plan_io(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	plan_io_weights(plan, &resources->block_io);
	for (size_t i = 0; i < CGROUP_THROTTLES; i++) {
		const struct cgroup_throttle *throttle = &cgroup_throttles[i];
		const oci_throttle_list *list = (const void *)((const char *)&resources->block_io +
		                                               throttle->offset);
		for (size_t k = 0; k < list->count; k++) {
			const struct oci_throttle_device *device = &list->item[k];
			if (device->rate > 0)
				cgroup_plan_add(plan, throttle->name, "io.max",
				                "%" PRId64 ":%" PRId64 " %s=%" PRIu64,
				                device->major, device->minor,
				                throttle->v2_key, device->rate);
			else
				cgroup_plan_relax(plan, throttle->name, "io.max",
				                  "%" PRId64 ":%" PRId64 " %s=max", device->major,
				                  device->minor, throttle->v2_key);
		}
	}
}

static void plan_pids(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	const struct opt_i64 *limit = &resources->pids.limit;
	if (limit->set && limit->value > 0)
		cgroup_plan_add(plan, "pids.limit", "pids.max", "%" PRId64, limit->value);
	else if (limit->set)
		cgroup_plan_relax(plan, "pids.limit", "pids.max", "max");
}

/* The reservation is limited too: a page that is reserved is taken. Kernels before 5.7 cannot. */
static void plan_hugetlb(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	for (size_t i = 0; i < resources->hugepage_limits.count; i++) {
		const char *size = resources->hugepage_limits.item[i].page_size;
		uint64_t limit = resources->hugepage_limits.item[i].limit;
		cgroup_plan_add(plan, "hugepageLimits",
		                arena_printf(&plan->arena, "hugetlb.%s.max", size), "%" PRIu64,
		                limit);
		cgroup_plan_relax(plan, "hugepageLimits",
		                  arena_printf(&plan->arena, "hugetlb.%s.rsvd.max", size),
		                  "%" PRIu64, limit);
	}
}

static void plan_rdma(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	for (size_t i = 0; i < resources->rdma.count; i++) {
		const struct oci_rdma_entry *entry = &resources->rdma.item[i];
		const struct opt_u64 *handles = &entry->limits.hca_handles;
		const struct opt_u64 *objects = &entry->limits.hca_objects;
		if (handles->set)
			cgroup_plan_add(plan, "rdma", "rdma.max", "%s hca_handle=%" PRIu64,
			                entry->device, handles->value);
		if (objects->set)
			cgroup_plan_add(plan, "rdma", "rdma.max", "%s hca_object=%" PRIu64,
			                entry->device, objects->value);
	}
}

cgroup_planner *const cgroup_v2_planners[CGROUP_CONTROLLERS] = {
	[CGROUP_CPU] = plan_cpu,
	[CGROUP_CPUSET] = plan_cpuset,
	[CGROUP_IO] = plan_io,
	[CGROUP_MEMORY] = plan_memory,
	[CGROUP_PIDS] = plan_pids,
	[CGROUP_HUGETLB] = plan_hugetlb,
	[CGROUP_RDMA] = plan_rdma,
};
