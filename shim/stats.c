/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Figures of a container: as a table for people, whole as JSON, and in runc's layout as events,
 * with nanoseconds and swap counted together with memory, as cgroups of version 1 had it.
 */

#include "shim/stats.h"

#include "shim/print.h"
#include "shim/verbs.h"
#include "shim/view.h"

#include <stdio.h>
#include <string.h>

/* The members of the table of statistics and those of the sandbox process, in one document. */
struct stats_document {
	const char *id;
	struct statistics_v2 *statistics;
	struct control_figures sandbox;
};
static const struct json_field sandbox_fields[] = {
	JSON_FIELD(struct control_figures, rss, "rss", u64, JSON_ALWAYS),
	JSON_FIELD(struct control_figures, fds, "fds", u64, JSON_ALWAYS),
	JSON_FIELD(struct control_figures, frames_in, "frames_in", u64, JSON_ALWAYS),
	JSON_FIELD(struct control_figures, frames_out, "frames_out", u64, JSON_ALWAYS),
	JSON_FIELD(struct control_figures, bytes_in, "bytes_in", u64, JSON_ALWAYS),
	JSON_FIELD(struct control_figures, bytes_out, "bytes_out", u64, JSON_ALWAYS),
	{ NULL },
};
static const struct json_type sandbox_type = JSON_TYPE(struct control_figures, sandbox_fields);
static const struct json_field document_fields[] = {
	JSON_FIELD(struct stats_document, id, "id", str, JSON_ALWAYS),
	JSON_FIELD(struct stats_document, statistics, "statistics", pointer, 0,
	           &statistics_v2_type),
	JSON_FIELD(struct stats_document, sandbox, "sandbox", object, JSON_ALWAYS, &sandbox_type),
	{ NULL },
};
static const struct json_type document_type = JSON_TYPE(struct stats_document, document_fields);
/* The same of a VM. */
static const struct json_field vm_document_fields[] = {
	JSON_FIELD(struct stats_document, id, "id", str, JSON_ALWAYS),
	JSON_FIELD(struct stats_document, statistics, "statistics", pointer, 0,
	           &statistics_vm_type),
	JSON_FIELD(struct stats_document, sandbox, "sandbox", object, JSON_ALWAYS, &sandbox_type),
	{ NULL },
};
static const struct json_type vm_document_type =
	JSON_TYPE(struct stats_document, vm_document_fields);

/* "no limit" is written in several ways. */
static bool is_limit(uint64_t limit)
{
	return limit && limit < INT64_MAX - 65536;
}

static void add_limit(struct table *table, uint64_t limit)
{
	char text[QUANTITY_TEXT];
	table_add(table, "%s", is_limit(limit) ? format_bytes(limit, text) : "none");
}

static void add_bytes(struct table *table, uint64_t bytes)
{
	char text[QUANTITY_TEXT];
	table_add(table, "%s", format_bytes(bytes, text));
}

static void add_container(struct table *table, const struct statistics_v2 *statistics)
{
	char text[QUANTITY_TEXT];
	uint64_t read = 0, written = 0;
	for (size_t i = 0; i < statistics->io.count; i++) {
		read += statistics->io.item[i].rbytes;
		written += statistics->io.item[i].wbytes;
	}
	table_add(table, "container");
	add_bytes(table, statistics->memory.usage);
	add_limit(table, statistics->memory.usage_limit);
	table_add(table, "%s", format_microseconds(statistics->cpu.usage_usec, text));
	if (is_limit(statistics->pids.limit))
		table_add(table, "%llu of %llu", (unsigned long long)statistics->pids.current,
		          (unsigned long long)statistics->pids.limit);
	else
		table_add(table, "%llu", (unsigned long long)statistics->pids.current);
	add_bytes(table, read);
	add_bytes(table, written);
	table_add(table, "%llu", (unsigned long long)statistics->memory_events.oom_kill);
}

/* For agent and sandbox process, reading and writing is that of the bridge. */
static void add_half(struct table *table, const char *name, uint64_t rss, uint64_t in, uint64_t out)
{
	static const char *const nothing[] = { "-", "-", "-", NULL };
	table_add(table, "%s", name);
	add_bytes(table, rss);
	table_add_words(table, nothing);
	add_bytes(table, in);
	add_bytes(table, out);
	table_add(table, "-");
}

/* Not of agents that do not tell. */
static void add_guest(struct table *table, const struct statistics_v2 *statistics)
{
	static const char *const nothing[] = { "-", "-", "-", NULL };
	uint64_t total = statistics->guest.memory_total;
	if (!total)
		return;
	table_add(table, "guest");
	add_bytes(table, total - min_size(total, statistics->guest.memory_available));
	add_bytes(table, total);
	table_add(table, "-");
	table_add(table, "%llu", (unsigned long long)statistics->guest.processes);
	table_add_words(table, nothing);
}

static void print_load(const struct statistics_v2 *statistics)
{
	const uint64_t load[] = {
		statistics->guest.load_1m, statistics->guest.load_5m, statistics->guest.load_15m,
	};
	if (!statistics->guest.memory_total)
		return;
	printf("guest: up %llu s, %llu CPUs, load",
	       (unsigned long long)statistics->guest.uptime_usec / 1000000,
	       (unsigned long long)statistics->guest.cpus);
	for (size_t i = 0; i < array_size(load); i++)
		printf(" %llu.%02llu", (unsigned long long)load[i] / 100,
		       (unsigned long long)load[i] % 100);
	putchar('\n');
}

static int print_stats(const struct control_reply *reply, bool vm, struct fault *fault)
{
	static const char *const headings[] = {
		"OF", "MEMORY", "LIMIT", "CPU TIME", "PIDS", "READ", "WRITTEN", "OOM KILLS", NULL,
	};
	const struct statistics_v2 *statistics = reply->statistics;
	struct table table = TABLE(array_size(headings) - 1);
	table_add_words(&table, headings);
	if (!vm)
		add_container(&table, statistics);
	add_guest(&table, statistics);
	add_half(&table, "agent", statistics->agent.rss, statistics->agent.bytes_in,
	         statistics->agent.bytes_out);
	add_half(&table, "sandbox", reply->sandbox.rss, reply->sandbox.bytes_in,
	         reply->sandbox.bytes_out);
	int error = table_print(&table, fault);
	if (!error)
		print_load(statistics);
	return error;
}

int stats_ask(struct client *client, const char *id, bool vm, struct control_reply *ret,
              struct fault *fault)
{
	const struct control_request request = { .id = id, .vm = vm };
	*ret = (struct control_reply){ 0 };
	int error = client_call(client, CONTROL_STATISTICS, &request, NULL, 0, ret, fault);
	if (!error && !ret->statistics)
		return fault_set(fault, -ENODATA, HRESULT_FAIL,
		                 "%s \"%s\": there are no figures", vm ? "partition" : "container",
		                 id);
	return error;
}

int verb_stats(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)argc;
	const struct stats_options *asked = options;
	const char *id = argv[0];
	struct container_record record = { 0 };
	struct control_reply reply;
	struct client client = CLIENT_NULL;
	bool json;
	int error = format_parse(asked->format, &json, fault);
	if (!error)
		error = asked->vm ? client_connect_vm(&client, &cli->state, argv[0], &id, fault)
		                  : client_connect_container(&client, &cli->state, id, &record,
		                                             fault);
	if (!error) {
		client_limit(&client, ANSWER_LIMIT);
		error = stats_ask(&client, id, asked->vm, &reply, fault);
	}
	if (!error && json) {
		const struct stats_document document = { id, reply.statistics, reply.sandbox };
		error = print_json(asked->vm ? &vm_document_type : &document_type, &document, "  ",
		                   fault);
	} else if (!error) {
		error = print_stats(&reply, asked->vm, fault);
	}
	client_close(&client);
	return error;
}

/* runc's layout, written piece by piece, so that it can be read here as it comes out. */

static int put_entry(struct buf *out, const char *name, uint64_t limit, uint64_t usage,
                     uint64_t max)
{
	return buf_printf(out,
	                  "\"%s\":{\"limit\":%llu,\"usage\":%llu,\"max\":%llu,\"failcnt\":0}",
	                  name, (unsigned long long)limit, (unsigned long long)usage,
	                  (unsigned long long)max);
}

static unsigned long long nanoseconds(uint64_t usec)
{
	return product_u64(usec, 1000);
}

static int put_cpu(struct buf *out, const struct statistics_v2 *statistics)
{
	return buf_printf(out,
	                  "\"cpu\":{\"usage\":{\"total\":%llu,\"kernel\":%llu,\"user\":%llu},"
	                  "\"throttling\":{\"periods\":%llu,\"throttledPeriods\":%llu,"
	                  "\"throttledTime\":%llu}}",
	                  nanoseconds(statistics->cpu.usage_usec),
	                  nanoseconds(statistics->cpu.system_usec),
	                  nanoseconds(statistics->cpu.user_usec),
	                  (unsigned long long)statistics->cpu.nr_periods,
	                  (unsigned long long)statistics->cpu.nr_throttled,
	                  nanoseconds(statistics->cpu.throttled_usec));
}

/* raw: the members of the statistics' own document. */
static int put_memory(struct buf *out, const struct statistics_v2 *statistics,
                      const struct json *raw)
{
	const uint64_t usage = statistics->memory.usage, limit = statistics->memory.usage_limit;
	int r = buf_printf(out, ",\"memory\":{\"cache\":%llu,",
	                   (unsigned long long)statistics->memory.file);
	if (r >= 0)
		r = put_entry(out, "usage", limit, usage, statistics->memory.max_usage);
	if (r >= 0)
		r = buf_append(out, ",", 1);
	if (r >= 0)
		r = put_entry(out, "swap", sum_u64(limit, statistics->memory.swap_limit),
		              sum_u64(usage, statistics->memory.swap_usage), 0);
	if (r >= 0)
		r = buf_printf(out, ",\"raw\":");
	if (r >= 0)
		r = json_write(out, raw, false);
	return r < 0 ? r : buf_append(out, "}", 1);
}

/* One list of block I/O, with two of the four numbers of each device. */
static int put_io_list(struct buf *out, const struct statistics_v2 *statistics, const char *name,
                       size_t read_at, size_t write_at)
{
	int r = buf_printf(out, "\"%s\":[", name);
	for (size_t i = 0; r >= 0 && i < statistics->io.count; i++) {
		const struct io_entry *entry = &statistics->io.item[i];
		const size_t offsets[] = { read_at, write_at };
		for (size_t op = 0; r >= 0 && op < array_size(offsets); op++) {
			uint64_t value;
			memcpy(&value, (const char *)entry + offsets[op], sizeof(value));
			r = buf_printf(out,
			               "%s{\"major\":%llu,\"minor\":%llu,\"op\":\"%s\","
			               "\"value\":%llu}",
			               i || op ? "," : "", (unsigned long long)entry->major,
			               (unsigned long long)entry->minor, op ? "Write" : "Read",
			               (unsigned long long)value);
		}
	}
	return r < 0 ? r : buf_append(out, "]", 1);
}

static int put_rest(struct buf *out, const struct statistics_v2 *statistics)
{
	int r = buf_printf(out, ",\"pids\":{\"current\":%llu",
	                   (unsigned long long)statistics->pids.current);
	if (r >= 0 && is_limit(statistics->pids.limit))
		r = buf_printf(out, ",\"limit\":%llu", (unsigned long long)statistics->pids.limit);
	if (r >= 0)
		r = buf_printf(out, "},\"blkio\":{");
	if (r >= 0)
		r = put_io_list(out, statistics, "ioServiceBytesRecursive",
		                offsetof(struct io_entry, rbytes),
		                offsetof(struct io_entry, wbytes));
	if (r >= 0)
		r = buf_append(out, ",", 1);
	if (r >= 0)
		r = put_io_list(out, statistics, "ioServicedRecursive",
		                offsetof(struct io_entry, rios), offsetof(struct io_entry, wios));
	if (r >= 0)
		r = buf_printf(out, "},\"hugetlb\":{");
	for (size_t i = 0; r >= 0 && i < statistics->hugetlb.count; i++) {
		const struct hugetlb_entry *entry = &statistics->hugetlb.item[i];
		r = buf_printf(out, "%s\"%s\":{\"usage\":%llu,\"failcnt\":0}", i ? "," : "",
		               entry->pagesize ? entry->pagesize : "",
		               (unsigned long long)entry->current);
	}
	return r < 0 ? r : buf_printf(out, "},\"intel_rdt\":{},\"network_interfaces\":null");
}

/* memory.stat and the like: what the document of statistics has under "memory". */
static int raw_memory(struct arena *arena, const struct statistics_v2 *statistics,
                      struct json *ret)
{
	struct buf text = BUF(JSON_TEXT_MAX);
	struct json tree;
	int r = json_encode(&statistics_v2_type, statistics, &text, false);
	if (r >= 0)
		r = json_parse(arena, buf_head(&text), buf_length(&text), &tree, NULL);
	buf_deinit(&text);
	const struct json *memory = r < 0 ? NULL : json_get(&tree, "memory");
	if (memory)
		*ret = *memory;
	return r < 0 ? r : memory ? 0 : -ENODATA;
}

int stats_write_runc(struct buf *out, struct arena *arena, const struct statistics_v2 *statistics)
{
	struct json raw;
	int r = raw_memory(arena, statistics, &raw);
	if (r >= 0)
		r = buf_append(out, "{", 1);
	if (r >= 0)
		r = put_cpu(out, statistics);
	if (r >= 0)
		r = put_memory(out, statistics, &raw);
	if (r >= 0)
		r = put_rest(out, statistics);
	return r < 0 ? r : buf_append(out, "}", 1);
}
