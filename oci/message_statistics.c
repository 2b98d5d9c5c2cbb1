/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One struct of figures, two documents. In session mode they travel as containerd's cgroup v2
 * metrics; plain hosts expect the cgroup v1 form under "LCOWMetrics", into which Microsoft's guest
 * converts as well: other names, another nesting, nanoseconds.
 *
 * The inner objects of both are not structs of their own: their tables have offsets into the whole,
 * their rows offset 0. So neither form dictates how the struct looks.
 */

#include "oci/message.h"

#define FIGURE(member, name) JSON_FIELD(struct statistics_v2, member, name, u64, JSON_ALWAYS)
/* What an older agent does not tell, or few ask for: left out when it is 0. */
#define DETAIL(member, name) JSON_FIELD(struct statistics_v2, member, name, u64)
#define PRESSURE(member) JSON_FIELD(struct statistics_v2, member, "psi", object, 0, &psi_type)
#define INNER(name, type) { name, &json_object, 0, JSON_ALWAYS, &(type) }
#define VIEW(fields) JSON_TYPE(struct statistics_v2, fields)

/* Version 2 */

static const struct json_field psi_line_fields[] = {
	JSON_FIELD(struct psi_line, avg10, "avg10", u64),
	JSON_FIELD(struct psi_line, avg60, "avg60", u64),
	JSON_FIELD(struct psi_line, avg300, "avg300", u64),
	JSON_FIELD(struct psi_line, total, "total", u64),
	{ NULL },
};
static const struct json_type psi_line_type = JSON_TYPE(struct psi_line, psi_line_fields);

static const struct json_field psi_fields[] = {
	JSON_FIELD(struct psi, some, "some", object, 0, &psi_line_type),
	JSON_FIELD(struct psi, full, "full", object, 0, &psi_line_type),
	{ NULL },
};
static const struct json_type psi_type = JSON_TYPE(struct psi, psi_fields);

static const struct json_field pids_fields[] = {
	FIGURE(pids.current, "current"),
	FIGURE(pids.limit, "limit"),
	{ NULL },
};
static const struct json_type pids_view = VIEW(pids_fields);

static const struct json_field cpu_fields[] = {
	FIGURE(cpu.usage_usec, "usage_usec"),
	FIGURE(cpu.user_usec, "user_usec"),
	FIGURE(cpu.system_usec, "system_usec"),
	FIGURE(cpu.nr_periods, "nr_periods"),
	FIGURE(cpu.nr_throttled, "nr_throttled"),
	FIGURE(cpu.throttled_usec, "throttled_usec"),
	DETAIL(cpu.nr_bursts, "nr_bursts"),
	DETAIL(cpu.burst_usec, "burst_usec"),
	PRESSURE(cpu.psi),
	{ NULL },
};
static const struct json_type cpu_view = VIEW(cpu_fields);

static const struct json_field memory_fields[] = {
	FIGURE(memory.anon, "anon"),
	FIGURE(memory.file, "file"),
	FIGURE(memory.kernel_stack, "kernel_stack"),
	FIGURE(memory.slab, "slab"),
	FIGURE(memory.sock, "sock"),
	FIGURE(memory.shmem, "shmem"),
	FIGURE(memory.file_mapped, "file_mapped"),
	FIGURE(memory.file_dirty, "file_dirty"),
	FIGURE(memory.file_writeback, "file_writeback"),
	FIGURE(memory.inactive_anon, "inactive_anon"),
	FIGURE(memory.active_anon, "active_anon"),
	FIGURE(memory.inactive_file, "inactive_file"),
	FIGURE(memory.active_file, "active_file"),
	FIGURE(memory.unevictable, "unevictable"),
	FIGURE(memory.pgfault, "pgfault"),
	FIGURE(memory.pgmajfault, "pgmajfault"),
	FIGURE(memory.usage, "usage"),
	FIGURE(memory.usage_limit, "usage_limit"),
	FIGURE(memory.swap_usage, "swap_usage"),
	FIGURE(memory.swap_limit, "swap_limit"),
	FIGURE(memory.max_usage, "max_usage"),
	DETAIL(memory.anon_thp, "anon_thp"),
	DETAIL(memory.slab_reclaimable, "slab_reclaimable"),
	DETAIL(memory.slab_unreclaimable, "slab_unreclaimable"),
	DETAIL(memory.workingset_refault, "workingset_refault"),
	DETAIL(memory.workingset_activate, "workingset_activate"),
	DETAIL(memory.workingset_nodereclaim, "workingset_nodereclaim"),
	DETAIL(memory.pgrefill, "pgrefill"),
	DETAIL(memory.pgscan, "pgscan"),
	DETAIL(memory.pgsteal, "pgsteal"),
	DETAIL(memory.pgactivate, "pgactivate"),
	DETAIL(memory.pgdeactivate, "pgdeactivate"),
	DETAIL(memory.pglazyfree, "pglazyfree"),
	DETAIL(memory.pglazyfreed, "pglazyfreed"),
	DETAIL(memory.thp_fault_alloc, "thp_fault_alloc"),
	DETAIL(memory.thp_collapse_alloc, "thp_collapse_alloc"),
	DETAIL(memory.swap_max_usage, "swap_max_usage"),
	PRESSURE(memory.psi),
	{ NULL },
};
static const struct json_type memory_view = VIEW(memory_fields);

static const struct json_field memory_events_fields[] = {
	FIGURE(memory_events.low, "low"),
	FIGURE(memory_events.high, "high"),
	FIGURE(memory_events.max, "max"),
	FIGURE(memory_events.oom, "oom"),
	FIGURE(memory_events.oom_kill, "oom_kill"),
	DETAIL(memory_events.oom_group_kill, "oom_group_kill"),
	{ NULL },
};
static const struct json_type memory_events_view = VIEW(memory_events_fields);

static const struct json_field io_entry_fields[] = {
	JSON_FIELD(struct io_entry, major, "major", u64, JSON_ALWAYS),
	JSON_FIELD(struct io_entry, minor, "minor", u64, JSON_ALWAYS),
	JSON_FIELD(struct io_entry, rbytes, "rbytes", u64),
	JSON_FIELD(struct io_entry, wbytes, "wbytes", u64),
	JSON_FIELD(struct io_entry, rios, "rios", u64),
	JSON_FIELD(struct io_entry, wios, "wios", u64),
	{ NULL },
};
static const struct json_type io_entry_type = JSON_TYPE(struct io_entry, io_entry_fields);

static const struct json_field io_fields[] = {
	JSON_FIELD(struct statistics_v2, io, "usage", list, 0, &io_entry_type),
	PRESSURE(io_psi),
	{ NULL },
};
static const struct json_type io_view = VIEW(io_fields);

static const struct json_field hugetlb_entry_fields[] = {
	JSON_FIELD(struct hugetlb_entry, current, "current", u64, JSON_ALWAYS),
	JSON_FIELD(struct hugetlb_entry, max, "max", u64, JSON_ALWAYS),
	JSON_FIELD(struct hugetlb_entry, failcnt, "failcnt", u64),
	JSON_FIELD(struct hugetlb_entry, pagesize, "pagesize", str, JSON_ALWAYS),
	{ NULL },
};
static const struct json_type hugetlb_entry_type =
	JSON_TYPE(struct hugetlb_entry, hugetlb_entry_fields);

static const struct json_field agent_fields[] = {
	FIGURE(agent.rss, "rss"),
	FIGURE(agent.frames_in, "frames_in"),
	FIGURE(agent.frames_out, "frames_out"),
	FIGURE(agent.bytes_in, "bytes_in"),
	FIGURE(agent.bytes_out, "bytes_out"),
	{ NULL },
};
static const struct json_type agent_view = VIEW(agent_fields);

static const struct json_field guest_fields[] = {
	FIGURE(guest.memory_total, "memory_total"),
	FIGURE(guest.memory_available, "memory_available"),
	FIGURE(guest.swap_total, "swap_total"),
	FIGURE(guest.swap_free, "swap_free"),
	FIGURE(guest.uptime_usec, "uptime_usec"),
	FIGURE(guest.load_1m, "load_1m"),
	FIGURE(guest.load_5m, "load_5m"),
	FIGURE(guest.load_15m, "load_15m"),
	FIGURE(guest.processes, "processes"),
	FIGURE(guest.cpus, "cpus"),
	{ NULL },
};
static const struct json_type guest_view = VIEW(guest_fields);

static const struct json_field statistics_vm_fields[] = {
	INNER("agent", agent_view),
	INNER("guest", guest_view),
	{ NULL },
};
const struct json_type statistics_vm_type = VIEW(statistics_vm_fields);

static const struct json_field statistics_v2_fields[] = {
	INNER("pids", pids_view),
	INNER("cpu", cpu_view),
	INNER("memory", memory_view),
	INNER("memory_events", memory_events_view),
	INNER("io", io_view),
	JSON_FIELD(struct statistics_v2, hugetlb, "hugetlb", list, 0, &hugetlb_entry_type),
	INNER("agent", agent_view),
	INNER("guest", guest_view),
	{ NULL },
};
const struct json_type statistics_v2_type = VIEW(statistics_v2_fields);

/* Version 1 */

static bool usec_absent(const struct json_field *field, const void *from)
{
	return json_u64.absent(field, from);
}

static int usec_get(struct json_reader *reader, const struct json *value,
                    const struct json_field *field, void *to)
{
	uint64_t *usec = to;
	int r = json_u64.get(reader, value, field, usec);

	*usec /= 1000;
	return r;
}

static int usec_put(struct json_writer *writer, const struct json_field *field, const void *from)
{
	const uint64_t *usec = from, nsec = product_u64(*usec, 1000);

	return json_u64.put(writer, field, &nsec);
}

/* Microseconds here, nanoseconds in the document. */
static const struct json_codec usec = { usec_absent, usec_get, usec_put };
#define NANOSECONDS(member, name) \
	JSON_FIELD_WITH(struct statistics_v2, member, name, usec, JSON_ALWAYS)

static const struct json_field v1_cpu_usage_fields[] = {
	NANOSECONDS(cpu.usage_usec, "total"),
	NANOSECONDS(cpu.system_usec, "kernel"),
	NANOSECONDS(cpu.user_usec, "user"),
	{ NULL },
};
static const struct json_type v1_cpu_usage_view = VIEW(v1_cpu_usage_fields);

static const struct json_field v1_throttling_fields[] = {
	FIGURE(cpu.nr_periods, "periods"),
	FIGURE(cpu.nr_throttled, "throttled_periods"),
	NANOSECONDS(cpu.throttled_usec, "throttled_time"),
	{ NULL },
};
static const struct json_type v1_throttling_view = VIEW(v1_throttling_fields);

static const struct json_field v1_cpu_fields[] = {
	INNER("usage", v1_cpu_usage_view),
	INNER("throttling", v1_throttling_view),
	{ NULL },
};
static const struct json_type v1_cpu_view = VIEW(v1_cpu_fields);

static const struct json_field v1_usage_fields[] = {
	FIGURE(memory.usage_limit, "limit"),
	FIGURE(memory.usage, "usage"),
	FIGURE(memory.max_usage, "max"),
	{ NULL },
};
static const struct json_type v1_usage_view = VIEW(v1_usage_fields);

static const struct json_field v1_swap_fields[] = {
	FIGURE(memory.swap_limit, "limit"),
	FIGURE(memory.swap_usage, "usage"),
	{ NULL },
};
static const struct json_type v1_swap_view = VIEW(v1_swap_fields);

static const struct json_field v1_kernel_fields[] = {
	FIGURE(memory.kernel_stack, "usage"),
	{ NULL },
};
static const struct json_type v1_kernel_view = VIEW(v1_kernel_fields);

static const struct json_field v1_kernel_tcp_fields[] = {
	FIGURE(memory.sock, "usage"),
	{ NULL },
};
static const struct json_type v1_kernel_tcp_view = VIEW(v1_kernel_tcp_fields);

/* Each figure twice: a version 2 cgroup only has the total_… ones, with its descendants, but some
 * readers know just the others. Where a peer's differ the totals win, being the later rows. */
static const struct json_field v1_memory_fields[] = {
	FIGURE(memory.file, "cache"),
	FIGURE(memory.anon, "rss"),
	FIGURE(memory.file_mapped, "mapped_file"),
	FIGURE(memory.file_dirty, "dirty"),
	FIGURE(memory.file_writeback, "writeback"),
	FIGURE(memory.pgfault, "pg_fault"),
	FIGURE(memory.pgmajfault, "pg_maj_fault"),
	FIGURE(memory.inactive_anon, "inactive_anon"),
	FIGURE(memory.active_anon, "active_anon"),
	FIGURE(memory.inactive_file, "inactive_file"),
	FIGURE(memory.active_file, "active_file"),
	FIGURE(memory.unevictable, "unevictable"),
	FIGURE(memory.usage_limit, "hierarchical_memory_limit"),
	FIGURE(memory.swap_limit, "hierarchical_swap_limit"),
	FIGURE(memory.file, "total_cache"),
	FIGURE(memory.anon, "total_rss"),
	FIGURE(memory.file_mapped, "total_mapped_file"),
	FIGURE(memory.file_dirty, "total_dirty"),
	FIGURE(memory.file_writeback, "total_writeback"),
	FIGURE(memory.pgfault, "total_pg_fault"),
	FIGURE(memory.pgmajfault, "total_pg_maj_fault"),
	FIGURE(memory.inactive_anon, "total_inactive_anon"),
	FIGURE(memory.active_anon, "total_active_anon"),
	FIGURE(memory.inactive_file, "total_inactive_file"),
	FIGURE(memory.active_file, "total_active_file"),
	FIGURE(memory.unevictable, "total_unevictable"),
	INNER("usage", v1_usage_view),
	INNER("swap", v1_swap_view),
	INNER("kernel", v1_kernel_view),
	INNER("kernel_tcp", v1_kernel_tcp_view),
	{ NULL },
};
static const struct json_type v1_memory_view = VIEW(v1_memory_fields);

/* Version 1 has the most that was used as "max", which we do not count. */
static const struct json_field v1_hugetlb_fields[] = {
	JSON_FIELD(struct hugetlb_entry, current, "usage", u64, JSON_ALWAYS),
	JSON_FIELD(struct hugetlb_entry, pagesize, "pagesize", str, JSON_ALWAYS),
	{ NULL },
};
static const struct json_type v1_hugetlb_type = JSON_TYPE(struct hugetlb_entry, v1_hugetlb_fields);

static const struct json_field v1_oom_fields[] = {
	FIGURE(memory_events.oom_kill, "oom_kill"),
	{ NULL },
};
static const struct json_type v1_oom_view = VIEW(v1_oom_fields);

static const struct json_field v1_metrics_fields[] = {
	JSON_FIELD(struct statistics_v2, hugetlb, "hugetlb", list, 0, &v1_hugetlb_type),
	INNER("pids", pids_view),
	INNER("cpu", v1_cpu_view),
	INNER("memory", v1_memory_view),
	INNER("memory_oom_control", v1_oom_view),
	{ NULL },
};
static const struct json_type v1_metrics_view = VIEW(v1_metrics_fields);

static const struct json_field statistics_v1_fields[] = {
	INNER("LCOWMetrics", v1_metrics_view),
	{ NULL },
};
const struct json_type statistics_v1_type = VIEW(statistics_v1_fields);
