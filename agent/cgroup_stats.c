/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The figures of a cgroup in the form of v2, from whichever files this machine has. What is in no
 * file is 0, and UINT64_MAX where it is a limit. CPU time comes from v2 in any case: cpu.stat
 * counts it without a controller.
 */

#include "agent/cgroup_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define PAGE_SIZES_MAX 16
#define NAME_SIZE 64
#define V1_UNLIMITED (INT64_MAX & ~(uint64_t)0xffff) /* LONG_MAX in whole pages of any size */

/* A line "key number" of a file, and where in struct statistics_v2 the number is added. */
struct figure {
	const char *key;
	size_t offset;
};
#define FIGURE(key, member) { key, offsetof(struct statistics_v2, member) }

static const struct figure cpu_figures[] = {
	FIGURE("usage_usec", cpu.usage_usec),
	FIGURE("user_usec", cpu.user_usec),
	FIGURE("system_usec", cpu.system_usec),
	FIGURE("nr_periods", cpu.nr_periods),
	FIGURE("nr_throttled", cpu.nr_throttled),
	FIGURE("throttled_usec", cpu.throttled_usec),
	FIGURE("nr_bursts", cpu.nr_bursts),
	FIGURE("burst_usec", cpu.burst_usec),
};

static const struct figure v1_cpu_figures[] = {
	FIGURE("nr_periods", cpu.nr_periods),
	FIGURE("nr_throttled", cpu.nr_throttled),
	FIGURE("throttled_time", cpu.throttled_usec), /* in ns */
};

static const struct figure memory_figures[] = {
	FIGURE("anon", memory.anon),
	FIGURE("file", memory.file),
	FIGURE("kernel_stack", memory.kernel_stack),
	FIGURE("slab", memory.slab),
	FIGURE("sock", memory.sock),
	FIGURE("shmem", memory.shmem),
	FIGURE("file_mapped", memory.file_mapped),
	FIGURE("file_dirty", memory.file_dirty),
	FIGURE("file_writeback", memory.file_writeback),
	FIGURE("inactive_anon", memory.inactive_anon),
	FIGURE("active_anon", memory.active_anon),
	FIGURE("inactive_file", memory.inactive_file),
	FIGURE("active_file", memory.active_file),
	FIGURE("unevictable", memory.unevictable),
	FIGURE("pgfault", memory.pgfault),
	FIGURE("pgmajfault", memory.pgmajfault),
	FIGURE("anon_thp", memory.anon_thp),
	FIGURE("slab_reclaimable", memory.slab_reclaimable),
	FIGURE("slab_unreclaimable", memory.slab_unreclaimable),
	FIGURE("workingset_refault", memory.workingset_refault), /* before Linux 5.9 */
	FIGURE("workingset_refault_anon", memory.workingset_refault),
	FIGURE("workingset_refault_file", memory.workingset_refault),
	FIGURE("workingset_activate", memory.workingset_activate),
	FIGURE("workingset_activate_anon", memory.workingset_activate),
	FIGURE("workingset_activate_file", memory.workingset_activate),
	FIGURE("workingset_nodereclaim", memory.workingset_nodereclaim),
	FIGURE("pgrefill", memory.pgrefill),
	FIGURE("pgscan", memory.pgscan),
	FIGURE("pgsteal", memory.pgsteal),
	FIGURE("pgactivate", memory.pgactivate),
	FIGURE("pgdeactivate", memory.pgdeactivate),
	FIGURE("pglazyfree", memory.pglazyfree),
	FIGURE("pglazyfreed", memory.pglazyfreed),
	FIGURE("thp_fault_alloc", memory.thp_fault_alloc),
	FIGURE("thp_collapse_alloc", memory.thp_collapse_alloc),
};

static const struct figure v1_memory_figures[] = {
	FIGURE("total_rss", memory.anon),
	FIGURE("total_rss_huge", memory.anon_thp),
	FIGURE("total_cache", memory.file),
	FIGURE("total_shmem", memory.shmem),
	FIGURE("total_mapped_file", memory.file_mapped),
	FIGURE("total_dirty", memory.file_dirty),
	FIGURE("total_writeback", memory.file_writeback),
	FIGURE("total_inactive_anon", memory.inactive_anon),
	FIGURE("total_active_anon", memory.active_anon),
	FIGURE("total_inactive_file", memory.inactive_file),
	FIGURE("total_active_file", memory.active_file),
	FIGURE("total_unevictable", memory.unevictable),
	FIGURE("total_pgfault", memory.pgfault),
	FIGURE("total_pgmajfault", memory.pgmajfault),
	FIGURE("total_swap", memory.swap_usage),
};

static const struct figure memory_event_figures[] = {
	FIGURE("low", memory_events.low),
	FIGURE("high", memory_events.high),
	FIGURE("max", memory_events.max),
	FIGURE("oom", memory_events.oom),
	FIGURE("oom_kill", memory_events.oom_kill),
	FIGURE("oom_group_kill", memory_events.oom_group_kill),
};

static const struct figure v1_oom_figures[] = {
	FIGURE("oom_kill", memory_events.oom_kill),
};

static void read_figures(int dir, const char *file, const struct figure *figures, size_t count,
                         struct statistics_v2 *statistics)
{
	cleanup_free char *text = NULL;
	if (cgroup_file_read(dir, file, &text) < 0)
		return;
	for (size_t i = 0; i < count; i++) {
		uint64_t *to = (void *)((char *)statistics + figures[i].offset), value;
		if (cgroup_text_u64(text, figures[i].key, &value))
			*to += value;
	}
}

/* v1 writes "unlimited" as the greatest number of whole pages. */
static void read_v1_limit(int dir, const char *file, uint64_t *ret)
{
	if (cgroup_file_u64(dir, file, ret) == 0 && *ret >= V1_UNLIMITED)
		*ret = UINT64_MAX;
}

static void read_cpu(const struct cgroup *cgroup, struct statistics_v2 *ret)
{
	read_figures(cgroup->dirs[CGROUP_V2].fd, "cpu.stat", cpu_figures, array_size(cpu_figures),
	             ret);
	if (cgroup->mounts->home[CGROUP_CPU] > CGROUP_V2) {
		read_figures(cgroup_controller_fd(cgroup, CGROUP_CPU), "cpu.stat", v1_cpu_figures,
		             array_size(v1_cpu_figures), ret);
		ret->cpu.throttled_usec /= 1000;
	}
	cgroup_pressure_read(cgroup, "cpu.pressure", &ret->cpu.psi);
}

/* pids.current counts tasks, and so do we where there is no such file. */
static int read_pids(const struct cgroup *cgroup, struct statistics_v2 *ret)
{
	int dir = cgroup_controller_fd(cgroup, CGROUP_PIDS);
	ret->pids.limit = UINT64_MAX;
	cgroup_file_u64(dir, "pids.max", &ret->pids.limit);
	if (cgroup_file_u64(dir, "pids.current", &ret->pids.current) == 0)
		return 0;
	cleanup_free pid_t *tasks = NULL;
	size_t count;
	int r = cgroup_tree_pids(cgroup->dirs[CGROUP_V2].fd, "cgroup.threads", &tasks, &count);
	if (r == 0)
		ret->pids.current = count;
	return r;
}

static void read_v1_memory(int dir, struct statistics_v2 *ret)
{
	uint64_t both = UINT64_MAX;
	read_figures(dir, "memory.stat", v1_memory_figures, array_size(v1_memory_figures), ret);
	read_figures(dir, "memory.oom_control", v1_oom_figures, array_size(v1_oom_figures), ret);
	cgroup_file_u64(dir, "memory.usage_in_bytes", &ret->memory.usage);
	cgroup_file_u64(dir, "memory.max_usage_in_bytes", &ret->memory.max_usage);
	cgroup_file_u64(dir, "memory.failcnt", &ret->memory_events.max);
	cgroup_file_u64(dir, "memory.kmem.tcp.usage_in_bytes", &ret->memory.sock);
	read_v1_limit(dir, "memory.limit_in_bytes", &ret->memory.usage_limit);
	read_v1_limit(dir, "memory.memsw.limit_in_bytes", &both);
	if (both != UINT64_MAX && both >= ret->memory.usage_limit)
		ret->memory.swap_limit = both - ret->memory.usage_limit;
}

static void read_memory(const struct cgroup *cgroup, struct statistics_v2 *ret)
{
	int dir = cgroup_controller_fd(cgroup, CGROUP_MEMORY);
	ret->memory.usage_limit = ret->memory.swap_limit = UINT64_MAX;
	cgroup_pressure_read(cgroup, "memory.pressure", &ret->memory.psi);
	if (cgroup->mounts->home[CGROUP_MEMORY] > CGROUP_V2) {
		read_v1_memory(dir, ret);
		return;
	}
	read_figures(dir, "memory.stat", memory_figures, array_size(memory_figures), ret);
	read_figures(dir, "memory.events", memory_event_figures, array_size(memory_event_figures),
	             ret);
	cgroup_file_u64(dir, "memory.current", &ret->memory.usage);
	cgroup_file_u64(dir, "memory.peak", &ret->memory.max_usage);
	cgroup_file_u64(dir, "memory.max", &ret->memory.usage_limit);
	cgroup_file_u64(dir, "memory.swap.current", &ret->memory.swap_usage);
	cgroup_file_u64(dir, "memory.swap.max", &ret->memory.swap_limit);
	cgroup_file_u64(dir, "memory.swap.peak", &ret->memory.swap_max_usage);
}

/* The entry of a device, a new one behind the others when it has none. */
static struct io_entry *io_entry(struct statistics_v2 *statistics, uint64_t major, uint64_t minor)
{
	for (size_t i = 0; i < statistics->io.count; i++)
		if (statistics->io.item[i].major == major && statistics->io.item[i].minor == minor)
			return &statistics->io.item[i];
	struct io_entry *entry = &statistics->io.item[statistics->io.count++];
	entry->major = major;
	entry->minor = minor;
	return entry;
}

static size_t count_lines(const char *text)
{
	size_t count = 0;
	for (; *text; text++)
		count += *text == '\n';
	return count;
}

/* A number and the character that must follow it; *at is moved behind both. scanf(3) would be a
 * tenth of the agent. */
static bool take_u64(char **at, char after, uint64_t *ret)
{
	char *end;
	*ret = strtoull(*at, &end, 10);
	if (end == *at || *end != after)
		return false;
	*at = end + (after != '\0');
	return true;
}

static void set_figure(struct io_entry *entry, size_t offset, uint64_t value)
{
	memcpy((char *)entry + offset, &value, sizeof(value));
}

/* "rbytes=1" */
static void read_io_word(char *word, struct io_entry *entry)
{
	static const struct {
		const char *name;
		size_t offset;
	} figures[] = {
		{ "rbytes", offsetof(struct io_entry, rbytes) },
		{ "wbytes", offsetof(struct io_entry, wbytes) },
		{ "rios", offsetof(struct io_entry, rios) },
		{ "wios", offsetof(struct io_entry, wios) },
	};
	uint64_t value;
	char *name = strsep(&word, "=");
	for (size_t i = 0; word && i < array_size(figures); i++) {
		if (!strcmp(figures[i].name, name) && take_u64(&word, '\0', &value)) {
			set_figure(entry, figures[i].offset, value);
			return;
		}
	}
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0" */
static int read_io(int dir, struct arena *arena, struct statistics_v2 *ret)
{
	cleanup_free char *text = NULL;
	if (cgroup_file_read(dir, "io.stat", &text) < 0)
		return 0;
	ret->io.item = arena_array(arena, count_lines(text) + 1, sizeof(*ret->io.item));
	if (!ret->io.item)
		return -ENOMEM;
	char *rest = text, *line, *word;
	while ((line = cgroup_line(&rest))) {
		uint64_t major, minor;
		if (!take_u64(&line, ':', &major) || !take_u64(&line, ' ', &minor))
			continue;
		struct io_entry *entry = io_entry(ret, major, minor);
		while ((word = strsep(&line, " ")))
			read_io_word(word, entry);
	}
	return 0;
}

/* "8:0 Read 4096"; the last line is a sum without a device. read, write: members of io_entry. */
static void read_v1_io_line(char *line, size_t read, size_t write, struct statistics_v2 *ret)
{
	uint64_t major, minor, value;
	if (!take_u64(&line, ':', &major) || !take_u64(&line, ' ', &minor))
		return;
	char *what = strsep(&line, " ");
	bool is_read = !strcmp(what, "Read");
	if ((is_read || !strcmp(what, "Write")) && line && take_u64(&line, '\0', &value))
		set_figure(io_entry(ret, major, minor), is_read ? read : write, value);
}

static int read_v1_io(int dir, struct arena *arena, struct statistics_v2 *ret)
{
	cleanup_free char *bytes = NULL, *ios = NULL;
	if (cgroup_file_read(dir, "blkio.throttle.io_service_bytes_recursive", &bytes) < 0 ||
	    cgroup_file_read(dir, "blkio.throttle.io_serviced_recursive", &ios) < 0)
		return 0;
	ret->io.item = arena_array(arena, count_lines(bytes) + count_lines(ios) + 1,
	                           sizeof(*ret->io.item));
	if (!ret->io.item)
		return -ENOMEM;
	const struct {
		char *text;
		size_t read, write;
	} files[] = {
		{ bytes, offsetof(struct io_entry, rbytes), offsetof(struct io_entry, wbytes) },
		{ ios, offsetof(struct io_entry, rios), offsetof(struct io_entry, wios) },
	};
	for (size_t i = 0; i < array_size(files); i++) {
		char *rest = files[i].text, *line;
		while ((line = cgroup_line(&rest)))
			read_v1_io_line(line, files[i].read, files[i].write, ret);
	}
	return 0;
}

static void page_size_file(char ret[static NAME_SIZE], const struct hugetlb_entry *entry,
                           const char *suffix)
{
	snprintf(ret, NAME_SIZE, "hugetlb.%s.%s", entry->pagesize, suffix);
}

static void read_page_size(int dir, bool v1, struct hugetlb_entry *entry)
{
	char name[NAME_SIZE];
	page_size_file(name, entry, v1 ? "usage_in_bytes" : "current");
	cgroup_file_u64(dir, name, &entry->current);
	page_size_file(name, entry, v1 ? "limit_in_bytes" : "max");
	cgroup_file_u64(dir, name, &entry->max);
	/* Some kernels write it so in v2 too. */
	if (entry->max >= V1_UNLIMITED)
		entry->max = UINT64_MAX;
	page_size_file(name, entry, v1 ? "failcnt" : "events");
	cleanup_free char *events = NULL;
	if (v1)
		cgroup_file_u64(dir, name, &entry->failcnt);
	else if (cgroup_file_read(dir, name, &events) == 0)
		cgroup_text_u64(events, "max", &entry->failcnt);
}

/* One entry per "hugetlb.<page size><suffix>". */
static int read_hugetlb(const struct cgroup *cgroup, struct arena *arena, struct statistics_v2 *ret)
{
	bool v1 = cgroup->mounts->home[CGROUP_HUGETLB] > CGROUP_V2;
	int dir = cgroup_controller_fd(cgroup, CGROUP_HUGETLB);
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	if (!list) {
		close_fd(&copy);
		return 0;
	}
	int r = 0;
	ret->hugetlb.item = arena_array(arena, PAGE_SIZES_MAX, sizeof(*ret->hugetlb.item));
	struct dirent *file;
	while (ret->hugetlb.item && ret->hugetlb.count < PAGE_SIZES_MAX && (file = readdir(list))) {
		static const char prefix[] = "hugetlb.";
		const char *suffix = v1 ? ".limit_in_bytes" : ".max";
		const char *size = file->d_name + strlen(prefix), *dot = strchr(file->d_name, '.');
		dot = dot ? strchr(dot + 1, '.') : NULL;
		if (!dot || strncmp(file->d_name, prefix, strlen(prefix)) || strcmp(dot, suffix))
			continue;
		struct hugetlb_entry *entry = &ret->hugetlb.item[ret->hugetlb.count++];
		entry->pagesize = arena_copy(arena, size, dot - size);
		if (!entry->pagesize)
			r = -ENOMEM;
		else
			read_page_size(dir, v1, entry);
	}
	closedir(list);
	return ret->hugetlb.item ? r : -ENOMEM;
}

int cgroup_statistics(struct cgroup *cgroup, struct arena *arena, struct statistics_v2 *ret)
{
	int io = cgroup_controller_fd(cgroup, CGROUP_IO);
	memset(ret, 0, sizeof(*ret));
	read_cpu(cgroup, ret);
	read_memory(cgroup, ret);
	cgroup_pressure_read(cgroup, "io.pressure", &ret->io_psi);
	int r = read_pids(cgroup, ret);
	if (r == 0)
		r = cgroup->mounts->home[CGROUP_IO] > CGROUP_V2 ? read_v1_io(io, arena, ret)
		                                                : read_io(io, arena, ret);
	if (r == 0)
		r = read_hugetlb(cgroup, arena, ret);
	return r;
}
