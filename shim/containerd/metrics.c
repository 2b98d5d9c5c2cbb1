/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Numbers are moved by tables, one per message; what is left to do by hand are lists, pressure (in
 * percent there) and what version 1 counts otherwise: nanoseconds, swap together with memory, and
 * "no limit" as the greatest number of whole pages.
 *
 * A guest may claim any number. Sums and products stop at the greatest there is.
 */

#include "shim/containerd/metrics.h"

#include "shim/containerd/proto/metrics_v1.pb-c.h"
#include "shim/containerd/proto/metrics_v2.pb-c.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#define METRICS_ARENA (4u << 20)
#define DEVICES_MAX 4096        /* more would be no answer but a flood */
#define PAGE_SIZES_MAX 64
#define V1_UNLIMITED (INT64_MAX & ~(uint64_t)0xfff)

/* A number of a message, and where in struct statistics_v2 it comes from. */
struct row {
	size_t to, from;
};
#define ROW(type, member, figure) \
	{ offsetof(type, member), offsetof(struct statistics_v2, figure) }

static void fill(void *message, const struct row *rows, size_t count,
                 const struct statistics_v2 *statistics)
{
	for (size_t i = 0; i < count; i++)
		memcpy((char *)message + rows[i].to, (const char *)statistics + rows[i].from,
		       sizeof(uint64_t));
}
#define FILL(message, rows, statistics) fill(message, rows, array_size(rows), statistics)

/* n messages of one size behind each other, and a list of pointers to them. */
static void **make_list(struct arena *arena, size_t n, size_t size)
{
	void **list = arena_array(arena, n + 1, sizeof(*list));
	char *items = arena_array(arena, n + 1, size);
	for (size_t i = 0; list && items && i < n; i++)
		list[i] = items + i * size;
	return items ? list : NULL;
}

/* Version 2 */

typedef Io__Containerd__Cgroups__V2__Metrics v2_metrics;
typedef Io__Containerd__Cgroups__V2__PidsStat v2_pids;
typedef Io__Containerd__Cgroups__V2__CPUStat v2_cpu;
typedef Io__Containerd__Cgroups__V2__MemoryStat v2_memory;
typedef Io__Containerd__Cgroups__V2__MemoryEvents v2_events;
typedef Io__Containerd__Cgroups__V2__IOStat v2_io;
typedef Io__Containerd__Cgroups__V2__IOEntry v2_io_entry;
typedef Io__Containerd__Cgroups__V2__HugeTlbStat v2_hugetlb;
typedef Io__Containerd__Cgroups__V2__PSIStats v2_psi;
typedef Io__Containerd__Cgroups__V2__PSIData v2_psi_line;

static const struct row v2_pids_rows[] = {
	ROW(v2_pids, current, pids.current),
	ROW(v2_pids, limit, pids.limit),
};

#define CPU(member) ROW(v2_cpu, member, cpu.member)
static const struct row v2_cpu_rows[] = {
	CPU(usage_usec), CPU(user_usec), CPU(system_usec), CPU(nr_periods), CPU(nr_throttled),
	CPU(throttled_usec), CPU(nr_bursts), CPU(burst_usec),
};

#define MEMORY(member) ROW(v2_memory, member, memory.member)
static const struct row v2_memory_rows[] = {
	MEMORY(anon), MEMORY(file), MEMORY(kernel_stack), MEMORY(slab), MEMORY(sock),
	MEMORY(shmem), MEMORY(file_mapped), MEMORY(file_dirty), MEMORY(file_writeback),
	MEMORY(anon_thp), MEMORY(inactive_anon), MEMORY(active_anon), MEMORY(inactive_file),
	MEMORY(active_file), MEMORY(unevictable), MEMORY(slab_reclaimable),
	MEMORY(slab_unreclaimable), MEMORY(pgfault), MEMORY(pgmajfault),
	MEMORY(workingset_refault), MEMORY(workingset_activate), MEMORY(workingset_nodereclaim),
	MEMORY(pgrefill), MEMORY(pgscan), MEMORY(pgsteal), MEMORY(pgactivate),
	MEMORY(pgdeactivate), MEMORY(pglazyfree), MEMORY(pglazyfreed), MEMORY(thp_fault_alloc),
	MEMORY(thp_collapse_alloc), MEMORY(usage), MEMORY(usage_limit), MEMORY(swap_usage),
	MEMORY(swap_limit), MEMORY(max_usage), MEMORY(swap_max_usage),
};

#define EVENT(member) ROW(v2_events, member, memory_events.member)
static const struct row v2_event_rows[] = {
	EVENT(low), EVENT(high), EVENT(max), EVENT(oom), EVENT(oom_kill), EVENT(oom_group_kill),
};

struct pressure {
	v2_psi both;
	v2_psi_line some, full;
};

static void fill_psi_line(v2_psi_line *ret, const struct psi_line *line)
{
	*ret = (v2_psi_line)IO__CONTAINERD__CGROUPS__V2__PSIDATA__INIT;
	ret->avg10 = (double)line->avg10 / 100;
	ret->avg60 = (double)line->avg60 / 100;
	ret->avg300 = (double)line->avg300 / 100;
	ret->total = line->total;
}

/* NULL where nothing has been waited for, or nobody counts. */
static v2_psi *fill_psi(struct pressure *ret, const struct psi *psi)
{
	ret->both = (v2_psi)IO__CONTAINERD__CGROUPS__V2__PSISTATS__INIT;
	ret->both.some = &ret->some;
	ret->both.full = &ret->full;
	fill_psi_line(&ret->some, &psi->some);
	fill_psi_line(&ret->full, &psi->full);
	return psi->some.total || psi->full.total ? &ret->both : NULL;
}

static int fill_v2_io(v2_io *ret, const struct statistics_v2 *statistics, struct arena *arena)
{
	ret->n_usage = min_size(statistics->io.count, DEVICES_MAX);
	ret->usage = (v2_io_entry **)make_list(arena, ret->n_usage, sizeof(v2_io_entry));
	if (!ret->usage)
		return -ENOMEM;
	for (size_t i = 0; i < ret->n_usage; i++) {
		const struct io_entry *from = &statistics->io.item[i];
		v2_io_entry *to = ret->usage[i];
		*to = (v2_io_entry)IO__CONTAINERD__CGROUPS__V2__IOENTRY__INIT;
		to->major = from->major;
		to->minor = from->minor;
		to->rbytes = from->rbytes;
		to->wbytes = from->wbytes;
		to->rios = from->rios;
		to->wios = from->wios;
	}
	return 0;
}

static int fill_v2_hugetlb(v2_metrics *ret, const struct statistics_v2 *statistics,
                           struct arena *arena)
{
	ret->n_hugetlb = min_size(statistics->hugetlb.count, PAGE_SIZES_MAX);
	ret->hugetlb = (v2_hugetlb **)make_list(arena, ret->n_hugetlb, sizeof(v2_hugetlb));
	if (!ret->hugetlb)
		return -ENOMEM;
	for (size_t i = 0; i < ret->n_hugetlb; i++) {
		const struct hugetlb_entry *from = &statistics->hugetlb.item[i];
		v2_hugetlb *to = ret->hugetlb[i];
		*to = (v2_hugetlb)IO__CONTAINERD__CGROUPS__V2__HUGE_TLB_STAT__INIT;
		to->current = from->current;
		to->max = from->max;
		to->failcnt = from->failcnt;
		if (from->pagesize)
			to->pagesize = (char *)from->pagesize;
	}
	return 0;
}

static int pack_v2(const struct statistics_v2 *statistics, struct arena *arena,
                   Google__Protobuf__Any *ret)
{
	v2_metrics metrics = IO__CONTAINERD__CGROUPS__V2__METRICS__INIT;
	v2_pids pids = IO__CONTAINERD__CGROUPS__V2__PIDS_STAT__INIT;
	v2_cpu cpu = IO__CONTAINERD__CGROUPS__V2__CPUSTAT__INIT;
	v2_memory memory = IO__CONTAINERD__CGROUPS__V2__MEMORY_STAT__INIT;
	v2_events events = IO__CONTAINERD__CGROUPS__V2__MEMORY_EVENTS__INIT;
	v2_io io = IO__CONTAINERD__CGROUPS__V2__IOSTAT__INIT;
	struct pressure cpu_psi, memory_psi, io_psi;

	FILL(&pids, v2_pids_rows, statistics);
	FILL(&cpu, v2_cpu_rows, statistics);
	FILL(&memory, v2_memory_rows, statistics);
	FILL(&events, v2_event_rows, statistics);
	cpu.psi = fill_psi(&cpu_psi, &statistics->cpu.psi);
	memory.psi = fill_psi(&memory_psi, &statistics->memory.psi);
	io.psi = fill_psi(&io_psi, &statistics->io_psi);
	metrics.pids = &pids;
	metrics.cpu = &cpu;
	metrics.memory = &memory;
	metrics.memory_events = &events;
	metrics.io = &io;
	int r = fill_v2_io(&io, statistics, arena);
	if (r >= 0)
		r = fill_v2_hugetlb(&metrics, statistics, arena);
	return r < 0 ? r : any_pack(ret, &metrics.base);
}

/* Version 1 */

typedef Io__Containerd__Cgroups__V1__Metrics v1_metrics;
typedef Io__Containerd__Cgroups__V1__CPUStat v1_cpu;
typedef Io__Containerd__Cgroups__V1__CPUUsage v1_cpu_usage;
typedef Io__Containerd__Cgroups__V1__Throttle v1_throttle;
typedef Io__Containerd__Cgroups__V1__MemoryStat v1_memory;
typedef Io__Containerd__Cgroups__V1__MemoryEntry v1_memory_entry;
typedef Io__Containerd__Cgroups__V1__BlkIOStat v1_blkio;
typedef Io__Containerd__Cgroups__V1__BlkIOEntry v1_blkio_entry;
typedef Io__Containerd__Cgroups__V1__HugetlbStat v1_hugetlb;

/* The figures of a cgroup of version 2 are those of all below it: total_… */
#define BOTH(member, figure) \
	ROW(v1_memory, member, memory.figure), ROW(v1_memory, total_##member, memory.figure)
static const struct row v1_memory_rows[] = {
	BOTH(cache, file), BOTH(rss, anon), BOTH(rss_huge, anon_thp),
	BOTH(mapped_file, file_mapped), BOTH(dirty, file_dirty), BOTH(writeback, file_writeback),
	BOTH(pg_fault, pgfault), BOTH(pg_maj_fault, pgmajfault),
	BOTH(inactive_anon, inactive_anon), BOTH(active_anon, active_anon),
	BOTH(inactive_file, inactive_file), BOTH(active_file, active_file),
	BOTH(unevictable, unevictable),
};

static uint64_t nanoseconds(uint64_t usec)
{
	return product_u64(usec, 1000);
}

static uint64_t v1_limit(uint64_t limit)
{
	return limit < V1_UNLIMITED ? limit : V1_UNLIMITED;
}

struct v1_cpus {
	v1_cpu cpu;
	v1_cpu_usage usage;
	v1_throttle throttle;
};

static v1_cpu *fill_v1_cpu(struct v1_cpus *ret, const struct statistics_v2 *statistics)
{
	ret->cpu = (v1_cpu)IO__CONTAINERD__CGROUPS__V1__CPUSTAT__INIT;
	ret->usage = (v1_cpu_usage)IO__CONTAINERD__CGROUPS__V1__CPUUSAGE__INIT;
	ret->throttle = (v1_throttle)IO__CONTAINERD__CGROUPS__V1__THROTTLE__INIT;
	ret->cpu.usage = &ret->usage;
	ret->cpu.throttling = &ret->throttle;
	ret->usage.total = nanoseconds(statistics->cpu.usage_usec);
	ret->usage.kernel = nanoseconds(statistics->cpu.system_usec);
	ret->usage.user = nanoseconds(statistics->cpu.user_usec);
	ret->throttle.periods = statistics->cpu.nr_periods;
	ret->throttle.throttled_periods = statistics->cpu.nr_throttled;
	ret->throttle.throttled_time = nanoseconds(statistics->cpu.throttled_usec);
	return &ret->cpu;
}

struct v1_memories {
	v1_memory memory;
	v1_memory_entry usage, swap, kernel, tcp;
};

static v1_memory *fill_v1_memory(struct v1_memories *ret, const struct statistics_v2 *statistics)
{
	const v1_memory_entry entry = IO__CONTAINERD__CGROUPS__V1__MEMORY_ENTRY__INIT;
	uint64_t usage = statistics->memory.usage, limit = statistics->memory.usage_limit;

	*ret = (struct v1_memories){
		IO__CONTAINERD__CGROUPS__V1__MEMORY_STAT__INIT, entry, entry, entry, entry,
	};
	FILL(&ret->memory, v1_memory_rows, statistics);
	ret->usage.usage = usage;
	ret->usage.limit = v1_limit(limit);
	ret->usage.max = statistics->memory.max_usage;
	ret->usage.failcnt = statistics->memory_events.max;
	ret->swap.usage = sum_u64(usage, statistics->memory.swap_usage);
	ret->swap.limit = v1_limit(sum_u64(limit, statistics->memory.swap_limit));
	ret->kernel.usage = sum_u64(statistics->memory.kernel_stack, statistics->memory.slab);
	ret->kernel.limit = ret->tcp.limit = V1_UNLIMITED;
	ret->tcp.usage = statistics->memory.sock;
	ret->memory.hierarchical_memory_limit = ret->usage.limit;
	ret->memory.hierarchical_swap_limit = ret->swap.limit;
	ret->memory.usage = &ret->usage;
	ret->memory.swap = &ret->swap;
	ret->memory.kernel = &ret->kernel;
	ret->memory.kernel_tcp = &ret->tcp;
	return &ret->memory;
}

static v1_blkio_entry **make_v1_io(const struct statistics_v2 *statistics, size_t devices,
                                   size_t read_at, size_t write_at, struct arena *arena)
{
	v1_blkio_entry **list =
		(v1_blkio_entry **)make_list(arena, 2 * devices, sizeof(v1_blkio_entry));
	for (size_t i = 0; list && i < 2 * devices; i++) {
		const struct io_entry *from = &statistics->io.item[i / 2];
		v1_blkio_entry *to = list[i];
		*to = (v1_blkio_entry)IO__CONTAINERD__CGROUPS__V1__BLK_IOENTRY__INIT;
		to->op = (char *)(i % 2 ? "Write" : "Read");
		to->major = from->major;
		to->minor = from->minor;
		memcpy(&to->value, (const char *)from + (i % 2 ? write_at : read_at),
		       sizeof(to->value));
	}
	return list;
}

static int fill_v1_io(v1_blkio *ret, const struct statistics_v2 *statistics, struct arena *arena)
{
	size_t devices = min_size(statistics->io.count, DEVICES_MAX);

	ret->n_io_service_bytes_recursive = ret->n_io_serviced_recursive = 2 * devices;
	ret->io_service_bytes_recursive =
		make_v1_io(statistics, devices, offsetof(struct io_entry, rbytes),
		           offsetof(struct io_entry, wbytes), arena);
	ret->io_serviced_recursive =
		make_v1_io(statistics, devices, offsetof(struct io_entry, rios),
		           offsetof(struct io_entry, wios), arena);
	return ret->io_service_bytes_recursive && ret->io_serviced_recursive ? 0 : -ENOMEM;
}

static int fill_v1_hugetlb(v1_metrics *ret, const struct statistics_v2 *statistics,
                           struct arena *arena)
{
	ret->n_hugetlb = min_size(statistics->hugetlb.count, PAGE_SIZES_MAX);
	ret->hugetlb = (v1_hugetlb **)make_list(arena, ret->n_hugetlb, sizeof(v1_hugetlb));
	if (!ret->hugetlb)
		return -ENOMEM;
	for (size_t i = 0; i < ret->n_hugetlb; i++) {
		const struct hugetlb_entry *from = &statistics->hugetlb.item[i];
		v1_hugetlb *to = ret->hugetlb[i];
		*to = (v1_hugetlb)IO__CONTAINERD__CGROUPS__V1__HUGETLB_STAT__INIT;
		to->usage = from->current;      /* "max" there is the most that was used */
		to->failcnt = from->failcnt;
		if (from->pagesize)
			to->pagesize = (char *)from->pagesize;
	}
	return 0;
}

static int pack_v1(const struct statistics_v2 *statistics, struct arena *arena,
                   Google__Protobuf__Any *ret)
{
	v1_metrics metrics = IO__CONTAINERD__CGROUPS__V1__METRICS__INIT;
	Io__Containerd__Cgroups__V1__PidsStat pids = IO__CONTAINERD__CGROUPS__V1__PIDS_STAT__INIT;
	Io__Containerd__Cgroups__V1__MemoryOomControl oom =
		IO__CONTAINERD__CGROUPS__V1__MEMORY_OOM_CONTROL__INIT;
	v1_blkio blkio = IO__CONTAINERD__CGROUPS__V1__BLK_IOSTAT__INIT;
	struct v1_cpus cpus;
	struct v1_memories memories;

	pids.current = statistics->pids.current;
	/* 0 is none. */
	pids.limit = statistics->pids.limit == UINT64_MAX ? 0 : statistics->pids.limit;
	oom.oom_kill = statistics->memory_events.oom_kill;
	metrics.pids = &pids;
	metrics.cpu = fill_v1_cpu(&cpus, statistics);
	metrics.memory = fill_v1_memory(&memories, statistics);
	metrics.memory_oom_control = &oom;
	metrics.blkio = &blkio;
	int r = fill_v1_io(&blkio, statistics, arena);
	if (r >= 0)
		r = fill_v1_hugetlb(&metrics, statistics, arena);
	return r < 0 ? r : any_pack(ret, &metrics.base);
}

int metrics_pack(const struct statistics_v2 *statistics, bool v2, Google__Protobuf__Any *ret)
{
	cleanup(arena_free) struct arena arena = ARENA(METRICS_ARENA);
	return (v2 ? pack_v2 : pack_v1)(statistics, &arena, ret);
}

bool metrics_host_v2(void)
{
	struct statfs fs;
	return statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}
