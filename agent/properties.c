/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A Properties document is a JSON object inside a string, with one member per property asked for.
 * Each property's table writes an object of its own; here their members are strung together.
 */

#include "agent/properties.h"

#include "agent/agent.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

/* What an inflated list may take before it is cut: a pid is about 20 bytes. */
#define PROPERTIES_MAX (FRAME_SESSION_MAX / 4)

struct property {
	const char *name;
	bool of_vm;             /* also of the VM itself */
	int (*write)(struct agent *agent, struct container *container, struct arena *arena,
	             struct buf *out);
};

/* Resident bytes of this process. */
/* The number behind a name, or behind the first word. scanf(3) would be a tenth of the agent. */
static uint64_t number_in(const char *path, const char *name)
{
	char line[128];
	uint64_t value = 0;
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		size_t length = name ? strlen(name) : strcspn(line, " ");
		if (name && strncmp(line, name, length) != 0)
			continue;
		value = strtoull(line + length, NULL, 10);
		break;
	}
	if (file)
		fclose(file);
	return value;
}

static uint64_t own_rss(void)
{
	return number_in("/proc/self/statm", NULL) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int write_processes(struct agent *agent, struct container *container, struct arena *arena,
                           struct buf *out)
{
	cleanup_free pid_t *pids = NULL;
	size_t count = 0;
	int error = cgroup_pids(container->cgroup, &pids, &count);
	if (error < 0)
		return error;
	/* Without a session a frame is small; the list is cut rather than the bridge. */
	size_t most = (agent->bridge.channel.max_out - 1024) / 48;
	struct process_list list = { 0 };
	list.process_list.count = min_size(count, most);
	list.process_list.item = arena_array(arena, count + 1, sizeof(*list.process_list.item));
	if (!list.process_list.item)
		return -ENOMEM;
	for (size_t i = 0; i < list.process_list.count; i++)
		list.process_list.item[i].process_id = (uint32_t)pids[i];
	return json_encode(&process_list_type, &list, out, true);
}

/* What can be had without reclaiming from anybody; the system call does not tell. */
static uint64_t available_memory(void)
{
	return number_in("/proc/meminfo", "MemAvailable:") * 1024;
}

static void collect_guest(struct statistics_v2 *ret)
{
	struct sysinfo info;
	if (sysinfo(&info) < 0)
		return;
	ret->guest.memory_total = (uint64_t)info.totalram * info.mem_unit;
	ret->guest.memory_available = available_memory();
	ret->guest.swap_total = (uint64_t)info.totalswap * info.mem_unit;
	ret->guest.swap_free = (uint64_t)info.freeswap * info.mem_unit;
	ret->guest.uptime_usec = (uint64_t)info.uptime * 1000000;
	ret->guest.load_1m = info.loads[0] * 100 >> SI_LOAD_SHIFT;
	ret->guest.load_5m = info.loads[1] * 100 >> SI_LOAD_SHIFT;
	ret->guest.load_15m = info.loads[2] * 100 >> SI_LOAD_SHIFT;
	ret->guest.processes = info.procs;
	ret->guest.cpus = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
}

static int collect(struct agent *agent, struct container *container, struct arena *arena,
                   struct statistics_v2 *ret)
{
	const struct channel *channel = &agent->bridge.channel;
	int error = container ? cgroup_statistics(container->cgroup, arena, ret) : 0;
	collect_guest(ret);
	ret->agent.rss = own_rss();
	ret->agent.frames_in = channel->frames_in;
	ret->agent.frames_out = channel->frames_out;
	ret->agent.bytes_in = channel->bytes_in;
	ret->agent.bytes_out = channel->bytes_out;
	return error;
}

static int write_statistics(struct agent *agent, struct container *container,
                            struct arena *arena, struct buf *out)
{
	struct statistics_v2 statistics = { 0 };
	int error = collect(agent, container, arena, &statistics);
	return error < 0 ? error : json_encode(&statistics_v1_type, &statistics, out, true);
}

static int write_statistics_v2(struct agent *agent, struct container *container,
                               struct arena *arena, struct buf *out)
{
	struct statistics_v2 statistics = { 0 };
	int error = collect(agent, container, arena, &statistics);
	if (!error)
		error = buf_printf(out, "{\"StatisticsV2\":");
	if (!error)
		error = json_encode(container ? &statistics_v2_type : &statistics_vm_type,
		                    &statistics, out, true);
	return error < 0 ? error : buf_printf(out, "}");
}

static const struct property properties[] = {
	{ "ProcessList", false, write_processes },
	{ "Statistics", false, write_statistics },
	{ "StatisticsV2", true, write_statistics_v2 },
};

static const struct property *property_find(const char *name)
{
	for (size_t i = 0; i < array_size(properties); i++) {
		if (!strcmp(properties[i].name, name))
			return &properties[i];
	}
	return NULL;
}

/* Appends the members of one object to those of another that is still open. */
static int append_members(struct buf *out, const struct buf *object)
{
	size_t length = buf_length(object);
	if (length <= 2)
		return 0;
	int error = buf_length(out) > 1 ? buf_append(out, ",", 1) : 0;
	return error < 0 ? error : buf_append(out, buf_head(object) + 1, length - 2);
}

int properties_answer(struct agent *agent, struct container *container,
                      const struct property_query *query, struct arena *arena,
                      const char **ret, struct fault *fault)
{
	struct buf document = BUF(PROPERTIES_MAX), object = BUF(PROPERTIES_MAX);
	int error = buf_append(&document, "{", 1);
	for (size_t i = 0; !error && query && i < query->property_types.count; i++) {
		const struct property *property = property_find(query->property_types.item[i]);
		if (!property || (!container && !property->of_vm))
			continue;
		buf_consume(&object, buf_length(&object));
		error = property->write(agent, container, arena, &object);
		if (!error)
			error = append_members(&document, &object);
	}
	if (!error)
		error = buf_append(&document, "}", 1);
	if (!error) {
		*ret = arena_copy(arena, buf_head(&document), buf_length(&document));
		error = *ret ? 0 : -ENOMEM;
	}
	buf_deinit(&document);
	buf_deinit(&object);
	return error < 0 ? fault_errno(fault, error, "properties of %s\"%s\"",
	                               container ? "container " : "",
	                               container ? container->id : "the VM")
	                 : 0;
}
