/* SPDX-License-Identifier: Apache-2.0 */

/*
 * logs: reads the log files themselves, so that it works on a container that is no more than its
 * log, and costs the sandbox process nothing. Following waits for the directory to change, and for
 * the end of the container: the sandbox process answers Wait when everything is in the log.
 */

#include "shim/cli.h"
#include "shim/logview.h"
#include "shim/sandbox.h"
#include "shim/timetext.h"
#include "shim/view.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>

#define AGENT_LOG "agent.log"
#define AGENT_LOG_FILES 2       /* with agent.log.1 */
#define OUT_SIZE 65536

struct logs_options {
	const char *since, *stream;
	struct opt_i64 tail;
	bool follow, timestamps, vm;
};
#define AT(member) offsetof(struct logs_options, member)
static const struct option_row logs_rows[] = {
	{ "follow", 'f', OPTION_FLAG, AT(follow), NULL, "go on until the container has ended" },
	{ "tail", 'n', OPTION_NUMBER, AT(tail), "N", "only the last N lines; -1: all" },
	{ "since", 0, OPTION_STRING, AT(since), "TIME",
	  "only what is newer: 10m, 2026-11-22T03:04:05Z, or seconds since 1970" },
	{ "timestamps", 't', OPTION_FLAG, AT(timestamps), NULL, "put the time before each line" },
	{ "stream", 0, OPTION_STRING, AT(stream), "NAME", "only stdout or only stderr" },
	{ "vm", 0, OPTION_FLAG, AT(vm), NULL,
	  "the log of a VM, or a partition: its kernel and its agent" },
	{ "partition", 0, OPTION_FLAG, AT(vm), NULL, "the same" },
	{ NULL },
};

/* Where a log is, and what to wait for. */
struct logs {
	const struct logs_options *options;
	const char *id;
	struct view container;
	int directory;
	struct log_source source;
	struct log_view view;
	struct log_reader reader;
	int inotify_fd;
};

static int parse_options(const struct logs_options *options, struct log_view *view,
                         struct fault *fault)
{
	struct timespec now, since;
	*view = (struct log_view){
		.raw = options->vm,
		.timestamps = options->timestamps,
		.stream = -1,
		.out = { stdout, stderr },
	};
	if (options->vm && (options->since || options->stream || options->timestamps))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "logs: --vm goes with --follow and --tail only");
	if (options->stream) {
		if (!strcmp(options->stream, "stdout"))
			view->stream = LOGFILE_STDOUT;
		else if (!strcmp(options->stream, "stderr"))
			view->stream = LOGFILE_STDERR;
		else
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "logs: --stream \"%s\" is neither stdout nor stderr",
			                 options->stream);
	}
	if (!options->since)
		return 0;
	clock_gettime(CLOCK_REALTIME, &now);
	if (since_parse(options->since, &now, &since) < 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "logs: --since \"%s\" is neither a time (2026-11-22T03:04:05Z) "
		                 "nor a duration (10m)",
		                 options->since);
	if (since.tv_sec > 0)
		time_format(&since, view->since);
	return 0;
}

/* The directory and the name of a path. */
static int open_path(struct logs *logs, const char *path, struct fault *fault)
{
	const char *slash = strrchr(path, '/');
	if (!slash)
		return fault_errno(fault, -EINVAL, "log \"%s\"", path);
	const char *folder = arena_copy(&logs->container.client.arena, path,
	                                slash == path ? 1 : (size_t)(slash - path));
	if (!folder)
		return fault_errno(fault, -ENOMEM, "log");
	logs->directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	logs->source.name = slash + 1;
	return logs->directory < 0 ? fault_errno(fault, -errno, "log \"%s\"", path) : 0;
}

/* Also of one whose sandbox process is gone. */
static int find_vm_log(struct logs *logs, struct cli *cli, struct fault *fault)
{
	struct client *client = &logs->container.client;
	const char *partition;
	int error = client_find_vm(&cli->state, logs->id, &client->arena, &partition, fault);
	if (!error)
		error = state_partition_open(&cli->state, partition, &logs->directory, fault);
	if (error < 0)
		return error;
	int fd = sandbox_connect(&cli->state, partition);
	client->fd = fd < 0 ? -1 : fd;
	logs->source = (struct log_source){
		.directory = logs->directory,
		.name = AGENT_LOG,
		.files = AGENT_LOG_FILES,
	};
	return 0;
}

static int find_log(struct logs *logs, struct cli *cli, struct fault *fault)
{
	const struct container_record *record = &logs->container.record;
	if (logs->options->vm)
		return find_vm_log(logs, cli, fault);
	int error = view_connect(&logs->container, &cli->state, logs->id, fault);
	if (error < 0)
		return error;
	if (!record->log_path) {
		return fault_set(fault, -ENODATA, HRESULT_FAIL,
		                 "container \"%s\" has no log: its output went to its creator",
		                 logs->id);
	} else {
		logs->source.files = record->log_files;
		error = open_path(logs, record->log_path, fault);
	}
	logs->source.directory = logs->directory;
	return error;
}

static int watch_directory(struct logs *logs, struct fault *fault)
{
	char path[40];
	/* By the fd: the path may be another directory's by now. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", logs->directory);
	logs->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (logs->inotify_fd < 0 ||
	    inotify_add_watch(logs->inotify_fd, path,
	                      IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
		return fault_errno(fault, -errno, "following the log of \"%s\"", logs->id);
	return 0;
}

/* Asks to be told of the end. Without a sandbox process there is nothing to wait for. */
static int ask_for_end(struct logs *logs, struct fault *fault)
{
	const struct control_request request = { .id = logs->id };
	struct client *client = &logs->container.client;
	/* The partition ends when the connection does. */
	if (client->fd < 0 || logs->options->vm)
		return 0;
	int error = client_send(client, CONTROL_WAIT, &request, NULL, 0, fault);
	if (error < 0)
		close_fd(&client->fd);
	return 0;
}

/* That something has changed is all we want to know; the files say what. */
static void forget_changes(const struct logs *logs)
{
	char events[16 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
	while (read(logs->inotify_fd, events, sizeof(events)) > 0)
		;
}

static int show(struct logs *logs, bool last, struct fault *fault)
{
	int error = last ? log_reader_finish(&logs->reader, &logs->view)
	                 : log_reader_drain(&logs->reader, &logs->view);
	if (error < 0)
		fault_errno(fault, error, "reading the log of \"%s\"", logs->id);
	int flushed = log_view_flush(&logs->view);
	/* A reader that has read enough is no failure. */
	if (flushed == -EPIPE)
		return 1;
	if (!error && flushed < 0)
		error = fault_errno(fault, flushed, "printing");
	return error;
}

/* Until the end of what writes; 1: nobody reads any more. */
static int follow(struct logs *logs, struct fault *fault)
{
	struct pollfd fds[] = {
		{ .fd = logs->container.client.fd, .events = POLLIN },
		{ .fd = logs->inotify_fd, .events = POLLIN },
		{ .fd = STDOUT_FILENO },
	};
	int error = 0;
	while (!error && fds[0].fd >= 0) {
		error = show(logs, false, fault);
		if (error || poll(fds, array_size(fds), -1) < 0) {
			if (!error && errno != EINTR)
				error = fault_errno(fault, -errno, "poll");
			continue;
		}
		if (fds[1].revents)
			forget_changes(logs);
		if (fds[0].revents)
			fds[0].fd = -1;
		if (fds[2].revents & (POLLERR | POLLHUP))
			error = 1;
	}
	return error;
}

static int print_log(struct logs *logs, struct fault *fault)
{
	const struct logs_options *options = logs->options;
	bool all = !options->tail.set || options->tail.value < 0;
	uint64_t tail = all ? UINT64_MAX : (uint64_t)options->tail.value;
	int error = 0;
	if (options->follow) {
		error = watch_directory(logs, fault);
		if (!error)
			error = ask_for_end(logs, fault);
	}
	if (!error &&
	    (error = log_reader_start(&logs->reader, &logs->source, &logs->view, tail)) < 0)
		error = fault_errno(fault, error, "reading the log of \"%s\"", logs->id);
	if (!error && options->follow)
		error = follow(logs, fault);
	if (!error)
		error = show(logs, true, fault);
	return error < 0 ? error : 0;
}

static int verb_logs(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)argc;
	struct logs logs = {
		.options = options,
		.id = argv[0],
		.container.client = CLIENT_NULL,
		.directory = -1,
		.reader = LOG_READER_NULL,
		.inotify_fd = -1,
	};
	static char out[LOGFILE_STREAMS][OUT_SIZE];
	int error = parse_options(options, &logs.view, fault);
	if (!error)
		error = find_log(&logs, cli, fault);
	if (!error) {
		setvbuf(stdout, out[LOGFILE_STDOUT], _IOFBF, OUT_SIZE);
		setvbuf(stderr, out[LOGFILE_STDERR], _IOFBF, OUT_SIZE);
		error = print_log(&logs, fault);
	}
	log_reader_close(&logs.reader);
	close_fd(&logs.inotify_fd);
	close_fd(&logs.directory);
	view_close(&logs.container);
	return error;
}

const struct verb verbs_logs[] = {
	{
		.name = "logs",
		.operands = "ID",
		.summary = "print the output of a container that was run with -d",
		.text = "What it wrote to its standard output goes to ours, and likewise its\n"
		        "standard error. With --vm, ID may also be a partition.",
		.options = logs_rows,
		.options_size = sizeof(struct logs_options),
		.least = 1, .most = 1,
		.run = verb_logs,
	},
	{ NULL },
};
