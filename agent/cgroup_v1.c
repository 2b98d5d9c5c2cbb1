/* SPDX-License-Identifier: Apache-2.0 */

/*
 * linux.resources in the files of cgroup v1, whose language the specification speaks: most of it is
 * copied. -1 is "unlimited" in v1 as in the specification. Where the files of both versions are the
 * same (cpuset, pids, rdma), cgroup_v2.c serves both.
 */

#include "agent/cgroup_private.h"

#include <inttypes.h>
#include <string.h>

/* One number, one file. base: what a cgroup is born with, so that asking for it needs no cgroup. */
struct number {
	size_t offset;          /* in struct oci_resources: opt_i64 or opt_u64, which look alike */
	const char *name, *file;
	int64_t base;
	bool zero;              /* 0 is a value; else 0 is "not asked" */
};
_Static_assert(sizeof(struct opt_i64) == sizeof(struct opt_u64) &&
               offsetof(struct opt_i64, value) == offsetof(struct opt_u64, value),
               "signed and unsigned options differ");

static void plan_numbers(struct cgroup_plan *plan, const struct oci_resources *resources,
                         const struct number *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct number *number = &numbers[i];
		const char *at = (const char *)resources + number->offset;
		const struct opt_i64 *option = (const void *)at;
		int64_t value = option->value;
		if (!option->set || (value == 0 && !number->zero))
			continue;
		if (value == number->base)
			cgroup_plan_relax(plan, number->name, number->file, "%" PRId64, value);
		else
			cgroup_plan_add(plan, number->name, number->file, "%" PRId64, value);
	}
}

#define OPTION(member) offsetof(struct oci_resources, member)

static const struct number cpu_numbers[] = {
	{ OPTION(cpu.shares), "cpu.shares", "cpu.shares", 1024 },
	{ OPTION(cpu.period), "cpu.period", "cpu.cfs_period_us", 100000 },
	{ OPTION(cpu.quota), "cpu.quota", "cpu.cfs_quota_us", -1 },
	{ OPTION(cpu.burst), "cpu.burst", "cpu.cfs_burst_us", 0, .zero = true },
	{ OPTION(cpu.idle), "cpu.idle", "cpu.idle", 0, .zero = true },
	{ OPTION(cpu.realtime_period), "cpu.realtimePeriod", "cpu.rt_period_us", 1000000 },
	{ OPTION(cpu.realtime_runtime), "cpu.realtimeRuntime", "cpu.rt_runtime_us", 0 },
};

static const struct number memory_numbers[] = {
	{ OPTION(memory.limit), "memory.limit", "memory.limit_in_bytes", -1 },
	{ OPTION(memory.swap), "memory.swap", "memory.memsw.limit_in_bytes", -1 },
	{ OPTION(memory.reservation), "memory.reservation", "memory.soft_limit_in_bytes", -1 },
	{ OPTION(memory.kernel), "memory.kernel", "memory.kmem.limit_in_bytes", -1 },
	{ OPTION(memory.kernel_tcp), "memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", -1 },
	{ OPTION(memory.swappiness), "memory.swappiness", "memory.swappiness", -1, .zero = true },
};

static const struct number blkio_numbers[] = {
	{ OPTION(block_io.weight), "blockIO.weight", "blkio.weight", 0 },
	{ OPTION(block_io.leaf_weight), "blockIO.leafWeight", "blkio.leaf_weight", 0 },
};

static const struct number net_cls_numbers[] = {
	{ OPTION(network.class_id), "network.classID", "net_cls.classid", 0 },
};

static void plan_cpu(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	plan_numbers(plan, resources, cpu_numbers, array_size(cpu_numbers));
}

static void plan_memory(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	const struct oci_memory *memory = &resources->memory;
	int64_t limit = memory->limit.set ? memory->limit.value : 0;
	cgroup_plan_check_usage(plan, memory, "memory.usage_in_bytes");
	/* memory+swap must not stay below a memory limit that is lifted */
	if (limit == -1 && !(memory->swap.set && memory->swap.value != 0))
		cgroup_plan_relax(plan, "memory.limit", "memory.memsw.limit_in_bytes", "-1");
	plan_numbers(plan, resources, memory_numbers, array_size(memory_numbers));
	if (memory->disable_oom_killer.value)
		cgroup_plan_add(plan, "memory.disableOOMKiller", "memory.oom_control", "1");
	else if (memory->disable_oom_killer.set)
		cgroup_plan_relax(plan, "memory.disableOOMKiller", "memory.oom_control", "0");
	if (memory->use_hierarchy.set && !memory->use_hierarchy.value)
		cgroup_plan_add(plan, "memory.useHierarchy", "memory.use_hierarchy", "0");
}

static void plan_blkio(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	const struct oci_block_io *io = &resources->block_io;
	plan_numbers(plan, resources, blkio_numbers, array_size(blkio_numbers));
	for (size_t i = 0; i < io->weight_device.count; i++) {
		const struct oci_weight_device *device = &io->weight_device.item[i];
		if (device->weight.set && device->weight.value > 0)
			cgroup_plan_add(plan, "blockIO.weightDevice", "blkio.weight_device",
			                "%" PRId64 ":%" PRId64 " %" PRIu64, device->major,
			                device->minor, device->weight.value);
		if (device->leaf_weight.set && device->leaf_weight.value > 0)
			cgroup_plan_add(plan, "blockIO.weightDevice.leafWeight",
			                "blkio.leaf_weight_device",
			                "%" PRId64 ":%" PRId64 " %" PRIu64, device->major,
			                device->minor, device->leaf_weight.value);
	}
	for (size_t i = 0; i < CGROUP_THROTTLES; i++) {
		const struct cgroup_throttle *throttle = &cgroup_throttles[i];
		const oci_throttle_list *list = (const void *)((const char *)io + throttle->offset);
		for (size_t k = 0; k < list->count; k++)
			cgroup_plan_add(plan, throttle->name, throttle->v1_file,
			                "%" PRId64 ":%" PRId64 " %" PRIu64, list->item[k].major,
			                list->item[k].minor, list->item[k].rate);
	}
}

static void plan_hugetlb(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	for (size_t i = 0; i < resources->hugepage_limits.count; i++) {
		const char *size = resources->hugepage_limits.item[i].page_size;
		uint64_t limit = resources->hugepage_limits.item[i].limit;
		cgroup_plan_add(plan, "hugepageLimits",
		                arena_printf(&plan->arena, "hugetlb.%s.limit_in_bytes", size),
		                "%" PRIu64, limit);
		cgroup_plan_relax(plan, "hugepageLimits",
		                  arena_printf(&plan->arena, "hugetlb.%s.rsvd.limit_in_bytes",
		                               size), "%" PRIu64, limit);
	}
}

static void plan_net_cls(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	plan_numbers(plan, resources, net_cls_numbers, array_size(net_cls_numbers));
}

static void plan_net_prio(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	for (size_t i = 0; i < resources->network.priorities.count; i++)
		cgroup_plan_add(plan, "network.priorities", "net_prio.ifpriomap", "%s %" PRIu32,
		                resources->network.priorities.item[i].name,
		                resources->network.priorities.item[i].priority);
}

cgroup_planner *const cgroup_v1_planners[CGROUP_CONTROLLERS] = {
	[CGROUP_CPU] = plan_cpu,
	[CGROUP_IO] = plan_blkio,
	[CGROUP_MEMORY] = plan_memory,
	[CGROUP_HUGETLB] = plan_hugetlb,
	[CGROUP_NET_CLS] = plan_net_cls,
	[CGROUP_NET_PRIO] = plan_net_prio,
};

const char *cgroup_v1_unified(const char *key)
{
	static const struct {
		const char *key, *file;
	} files[] = {
		{ "cpu.idle", "cpu.idle" },
		{ "cpu.max.burst", "cpu.cfs_burst_us" },
		{ "cpuset.cpus", "cpuset.cpus" },
		{ "cpuset.mems", "cpuset.mems" },
		{ "memory.max", "memory.limit_in_bytes" },
		{ "pids.max", "pids.max" },
	};
	for (size_t i = 0; i < array_size(files); i++)
		if (!strcmp(files[i].key, key))
			return files[i].file;
	return NULL;
}
