/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What there is and how it is: state, list and dump here, ps, stats and events in files of their
 * own. JSON has the names, and tables the columns, of runc, since scripts know those.
 */

#include "shim/print.h"
#include "shim/verbs.h"
#include "shim/view.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* The state of the runtime specification, and the members that runc adds. */
struct container_state {
	const char *oci_version, *id, *status, *bundle, *rootfs, *created, *owner;
	uint32_t pid;
	struct str_map annotations;
};
static const struct json_field state_fields[] = {
	JSON_FIELD(struct container_state, oci_version, "ociVersion", str, JSON_ALWAYS),
	JSON_FIELD(struct container_state, id, "id", str, JSON_ALWAYS),
	JSON_FIELD(struct container_state, pid, "pid", u32, JSON_ALWAYS),
	JSON_FIELD(struct container_state, status, "status", str, JSON_ALWAYS),
	JSON_FIELD(struct container_state, bundle, "bundle", str, JSON_ALWAYS),
	JSON_FIELD(struct container_state, rootfs, "rootfs", str, JSON_ALWAYS),
	JSON_FIELD(struct container_state, created, "created", str, JSON_ALWAYS),
	JSON_FIELD(struct container_state, annotations, "annotations", str_map),
	JSON_FIELD(struct container_state, owner, "owner", str, JSON_ALWAYS),
	{ NULL },
};
static const struct json_type state_type = JSON_TYPE(struct container_state, state_fields);

static struct container_state state_of(const struct view *view)
{
	const struct container_record *record = &view->record;
	return (struct container_state){
		.oci_version = record->oci_version,
		.id = record->id,
		.pid = view->container.pid,
		.status = view->container.status,
		.bundle = record->bundle,
		.rootfs = record->rootfs,
		.created = record->created,
		.owner = record->owner,
		.annotations = record->annotations,
	};
}

static int verb_state(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)options;
	(void)argc;
	struct view view;
	int error = view_open(&view, &cli->state, argv[0], ANSWER_LIMIT, fault);
	if (!error) {
		const struct container_state state = state_of(&view);
		error = print_json(&state_type, &state, "  ", fault);
	}
	view_close(&view);
	return error;
}

/* Whose the container is. Numbers but for root: who reads user databases links half of libc. */
static const char *owner_of(struct cli *cli, const char *id, struct arena *arena)
{
	struct stat st;
	cleanup_close int fd = -1;
	if (state_container_open(&cli->state, id, &fd, NULL) < 0 || fstat(fd, &st) < 0)
		return "";
	return st.st_uid ? arena_printf(arena, "#%u", (unsigned)st.st_uid) : "root";
}

static void add_row(struct table *table, const struct container_state *state)
{
	table_add(table, "%s", state->id);
	table_add(table, "%u", state->pid);
	table_add(table, "%s", state->status);
	table_add(table, "%s", state->bundle ? state->bundle : "");
	table_add(table, "%s", state->created ? state->created : "");
	table_add(table, "%s", state->owner ? state->owner : "");
}

#define FIRST_LIMIT 2000        /* milliseconds for a partition to answer */
#define NEXT_LIMIT 200          /* when another one has not answered: all may be stopped */

struct listing {
	struct table *table;            /* NULL: JSON */
	size_t shown;
	unsigned limit;
};

/* One container of many. A bad one is told of: it must not hide the others. */
static int list_one(struct cli *cli, const char *id, struct listing *listing, struct fault *fault)
{
	struct view view;
	struct fault why = FAULT_NULL;
	int error = view_open(&view, &cli->state, id, listing->limit, &why);
	/* Deleted meanwhile, or not quite there. */
	if (error < 0 && error != -ENOENT)
		fprintf(stderr, "hvrun: %s\n", why.text);
	if (error == -ETIMEDOUT) {
		listing->limit = NEXT_LIMIT;
		view.container.status = "unknown";
	} else if (error < 0) {
		view_close(&view);
		return 0;
	}
	struct container_state state = state_of(&view);
	if (!state.owner)
		state.owner = owner_of(cli, id, &view.client.arena);
	error = 0;
	if (listing->table) {
		add_row(listing->table, &state);
	} else {
		struct buf text = BUF(JSON_TEXT_MAX);
		error = json_encode(&state_type, &state, &text, false);
		if (!error)
			printf("%s%.*s", listing->shown ? "," : "", (int)buf_length(&text),
			       buf_head(&text));
		buf_deinit(&text);
	}
	listing->shown++;
	view_close(&view);
	return error < 0 ? fault_errno(fault, error, "container \"%s\"", id) : 0;
}

static const struct option_row list_rows[] = {
	FORMAT_ROW,
	{ "quiet", 'q', OPTION_FLAG, offsetof(struct format_options, quiet), NULL, "ids only" },
	{ NULL },
};

static int verb_list(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	static const char *const headings[] = {
		"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER", NULL,
	};
	(void)argc;
	(void)argv;
	const struct format_options *asked = options;
	struct table table = TABLE(array_size(headings) - 1);
	struct arena arena = ARENA(JSON_ARENA);
	struct str_list names = { 0 };
	struct listing listing = { .limit = FIRST_LIMIT };
	bool json;
	int error = format_parse(asked->format, &json, fault);
	if (!error && (error = state_names(&cli->state, "containers", &arena, &names)) < 0)
		error = fault_errno(fault, error, "reading the state directory");
	if (!error && asked->quiet) {
		for (size_t i = 0; i < names.count; i++)
			puts(names.item[i]);
	} else if (!error) {
		table_add_words(&table, headings);
		listing.table = json ? NULL : &table;
		fputs(json ? "[" : "", stdout);
		for (size_t i = 0; !error && i < names.count; i++)
			error = list_one(cli, names.item[i], &listing, fault);
		if (json)
			puts("]");
		else if (!error)
			error = table_print(&table, fault);
	}
	table_deinit(&table);
	arena_free(&arena);
	return error;
}

static int verb_dump(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)options;
	(void)argc;
	const struct control_request request = { .id = argv[0] };
	struct control_reply reply = { 0 };
	struct client client;
	int error = running_call(&cli->state, &client, argv[0], CONTROL_DUMP, &request, &reply,
	                         fault);
	if (!error)
		fputs(reply.dump ? reply.dump : "", stdout);
	client_close(&client);
	return error;
}

static const struct option_row format_rows[] = { FORMAT_ROW, { NULL } };
static const struct option_row stats_rows[] = {
	{ "vm", 0, OPTION_FLAG, offsetof(struct stats_options, vm), NULL,
	  "of a container's VM, or of a partition" },
	{ "format", 'f', OPTION_STRING, offsetof(struct stats_options, format), "FORMAT",
	  "table (default) or json" },
	{ NULL },
};
static const struct option_row events_rows[] = {
	{ "stats", 0, OPTION_FLAG, offsetof(struct events_options, stats), NULL,
	  "print the figures once and end" },
	{ "interval", 0, OPTION_STRING, offsetof(struct events_options, interval), "TIME",
	  "between two figures, such as 500ms or 1m (default 5s)" },
	{ NULL },
};

const struct verb verbs_list[] = {
	{
		.name = "state",
		.operands = "ID",
		.summary = "print the state of a container as JSON",
		.least = 1, .most = 1,
		.run = verb_state,
	},
	{
		.name = "list",
		.operands = "",
		.summary = "list the containers",
		.options = list_rows,
		.options_size = sizeof(struct format_options),
		.run = verb_list,
	},
	{
		.name = "ps",
		.operands = "ID [PS OPTIONS…]",
		.summary = "list the processes of a container",
		.text = "Runs ps -ef on the host, or ps with the options given, and shows the\n"
		        "lines of the container's processes. The options must leave a column PID.\n"
		        "json prints their pids.",
		.options = format_rows,
		.options_size = sizeof(struct format_options),
		.least = 1, .most = -1,
		.run = verb_ps,
	},
	{
		.name = "stats",
		.operands = "ID",
		.summary = "show what a container uses, and what running it costs",
		.text = "Besides the container, figures of its guest, of the agent in it and of the\n"
		        "sandbox process on the host.",
		.options = stats_rows,
		.options_size = sizeof(struct stats_options),
		.least = 1, .most = 1,
		.run = verb_stats,
	},
	{
		.name = "events",
		.operands = "ID",
		.summary = "print events and figures of a container as lines of JSON",
		.text = "Types: stats, oom, create, start, exec, exit, pause, resume, delete.\n"
		        "Ends when the container has stopped.",
		.options = events_rows,
		.options_size = sizeof(struct events_options),
		.least = 1, .most = 1,
		.run = verb_events,
	},
	{
		.name = "dump",
		.operands = "ID",
		.summary = "print what the sandbox process and the agent of a container know",
		.text = "For people who look for a fault; the form changes with the version.",
		.least = 1, .most = 1,
		.run = verb_dump,
	},
	{ NULL },
};
