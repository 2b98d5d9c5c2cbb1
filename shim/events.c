/* SPDX-License-Identifier: Apache-2.0 */

/*
 * events ID: two connections, one on which the sandbox process tells what happens and one that is
 * asked for figures, so that an answer never has to be looked for among events. They end with the
 * container's first process; the sandbox process says so, or is gone itself.
 */

#include "shim/print.h"
#include "shim/stats.h"
#include "shim/timetext.h"
#include "shim/verbs.h"
#include "shim/view.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>

#define LINE_MAX_BYTES (1u << 20)
#define SECOND 1000000000u

struct watch {
	const char *id;
	struct view view;               /* whose connection asks */
	struct client events;           /* is told */
	int timer_fd;
	bool ended;
};

static void forget(struct client *client)
{
	arena_free(&client->arena);
}

static int put_line(struct buf *line, const char *type, const char *id)
{
	int r = buf_printf(line, "{\"type\":\"%s\",\"id\":", type);
	return r < 0 ? r : json_write_string(line, id, strlen(id), false);
}

static int print_line(struct buf *line, int error, struct fault *fault)
{
	if (error >= 0)
		error = buf_append(line, "}\n", 2);
	if (error >= 0) {
		size_t size = buf_length(line);
		if (fwrite(buf_head(line), 1, size, stdout) < size || fflush(stdout) == EOF)
			error = -errno;
	}
	buf_deinit(line);
	return error < 0 ? fault_errno(fault, error, "printing") : 0;
}

static int print_stats(const char *id, struct client *client, struct fault *fault)
{
	struct control_reply reply;
	struct arena arena = ARENA(JSON_ARENA);
	int error = stats_ask(client, id, false, &reply, fault);
	if (error < 0)
		return error;
	struct buf line = BUF(LINE_MAX_BYTES);
	error = put_line(&line, "stats", id);
	if (error >= 0)
		error = buf_printf(&line, ",\"data\":");
	if (error >= 0)
		error = stats_write_runc(&line, &arena, reply.statistics);
	arena_free(&arena);
	return print_line(&line, error, fault);
}

/* What came with it, where there is anything. An oom has no data, as with runc. */
static int put_data(struct buf *line, const struct control_event *event)
{
	int r = buf_printf(line, ",\"data\":{");
	if (r >= 0 && event->pid)
		r = buf_printf(line, "\"pid\":%" PRIu32 ",", event->pid);
	if (r >= 0 && !strcmp(event->type, "exit"))
		r = buf_printf(line, "\"exitCode\":%" PRIu32 ",", event->exit_code);
	if (r >= 0)
		r = buf_printf(line, "\"time\":");
	if (r >= 0)
		r = json_write_string(line, event->time, strlen(event->time), false);
	return r < 0 ? r : buf_append(line, "}", 1);
}

static int print_event(const struct control_event *event, struct fault *fault)
{
	struct buf line = BUF(LINE_MAX_BYTES);
	int r = put_line(&line, event->type, event->id);
	if (r >= 0 && event->time && strcmp(event->type, "oom"))
		r = put_data(&line, event);
	return print_line(&line, r, fault);
}

/* A sandbox process that ends takes its containers along, which is what was waited for. */
static int ended(struct watch *watch, int error)
{
	bool gone = error == -ECONNRESET || error == -EPIPE || error == -ENOENT;
	watch->ended |= gone;
	return gone ? 0 : error;
}

/* The exit of an exec, or of the container? */
static int on_exit_event(struct watch *watch, struct fault *fault)
{
	struct view now = watch->view;
	now.client.arena = (struct arena)ARENA(JSON_ARENA);
	int error = view_refresh(&now, fault);
	/* A sandbox process that says no more is ending; its last events are still to come. */
	watch->ended |= !error && view_stopped(&now);
	forget(&now.client);
	return 0;
}

static int on_event(struct watch *watch, struct fault *fault)
{
	struct control_event event = { 0 };
	uint32_t type = 0;
	int error = client_receive(&watch->events, &type, NULL, &event, fault);
	/* The answer to the request itself comes when there will be no more events. */
	if (type == MESSAGE_RESPONSE(CONTROL_EVENTS) && error == -EIO)
		watch->ended = true;
	if (error < 0)
		return watch->ended ? 0 : ended(watch, error);
	if (type == CONTROL_EVENT && event.type && event.id && !strcmp(event.id, watch->id)) {
		error = print_event(&event, fault);
		if (!error && !strcmp(event.type, "delete"))
			watch->ended = true;
		if (!error && !strcmp(event.type, "exit"))
			error = on_exit_event(watch, fault);
	}
	forget(&watch->events);
	return ended(watch, error);
}

static int on_timer(struct watch *watch, struct fault *fault)
{
	uint64_t expired;
	struct client asking = CLIENT_NULL;
	if (read(watch->timer_fd, &expired, sizeof(expired)) < 0)
		return errno == EINTR ? 0 : fault_errno(fault, -errno, "timer");
	asking.fd = watch->view.client.fd; /* with an arena that ends with the answer */
	int error = print_stats(watch->id, &asking, fault);
	forget(&asking);
	/* A figure that cannot be had now may be had next time. */
	return ended(watch, error == -EIO || error == -ENODATA || error == -ESRCH ? 0 : error);
}

static int loop(struct watch *watch, struct fault *fault)
{
	int error = 0;
	while (!error && !watch->ended) {
		struct pollfd fds[] = {
			{ .fd = watch->events.fd, .events = POLLIN },
			{ .fd = watch->timer_fd, .events = POLLIN },
			{ .fd = STDOUT_FILENO }, /* nobody reads any more */
		};
		if (poll(fds, array_size(fds), -1) < 0) {
			error = errno == EINTR ? 0 : fault_errno(fault, -errno, "poll");
			continue;
		}
		if (fds[0].revents)
			error = on_event(watch, fault);
		if (!error && !watch->ended && fds[1].revents)
			error = on_timer(watch, fault);
		watch->ended |= fds[2].revents & (POLLERR | POLLHUP);
	}
	return error;
}

static int start_timer(struct watch *watch, uint64_t interval, struct fault *fault)
{
	struct itimerspec timer = {
		.it_value = { .tv_nsec = 1 }, /* the first ones now */
		.it_interval = { (time_t)(interval / SECOND), (long)(interval % SECOND) },
	};
	watch->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (watch->timer_fd < 0 || timerfd_settime(watch->timer_fd, 0, &timer, NULL) < 0)
		return fault_errno(fault, -errno, "timer");
	return 0;
}

static int subscribe(struct watch *watch, struct cli *cli, struct fault *fault)
{
	const struct control_request request = { .id = watch->id };
	const char *partition = watch->view.record.partition;
	int error = client_connect(&watch->events, &cli->state, partition, fault);
	if (!error)
		error = client_call(&watch->events, CONTROL_EVENTS, &request, NULL, 0, NULL, fault);
	/* It may have ended before we were told of anything. */
	if (!error)
		error = view_refresh(&watch->view, fault);
	watch->ended = !error && view_stopped(&watch->view);
	return ended(watch, error);
}

static int parse_interval(const char *text, uint64_t *ret, struct fault *fault)
{
	*ret = 5ull * SECOND;
	if (!text || (duration_parse(text, ret) == 0 && *ret && *ret <= (uint64_t)INT64_MAX))
		return 0;
	return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
	                 "events: --interval \"%s\" is not a time such as 5s or 500ms", text);
}

int verb_events(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)argc;
	const struct events_options *asked = options;
	struct watch watch = { .id = argv[0], .view.client = CLIENT_NULL, .events = CLIENT_NULL,
	                       .timer_fd = -1 };
	uint64_t interval;
	int error = parse_interval(asked->interval, &interval, fault);
	if (error < 0)
		return error;
	error = view_open(&watch.view, &cli->state, watch.id, ANSWER_LIMIT, fault);
	if (!error && (watch.view.client.fd < 0 || (!asked->stats && view_stopped(&watch.view))))
		error = fault_set(fault, -ESRCH, HRESULT_CONTAINER_NOT_RUNNING,
		                  "container not running: \"%s\"", watch.id);
	if (!error && asked->stats) {
		error = print_stats(watch.id, &watch.view.client, fault);
	} else if (!error) {
		error = subscribe(&watch, cli, fault);
		if (!error && !watch.ended)
			error = start_timer(&watch, interval, fault);
		if (!error)
			error = loop(&watch, fault);
	}
	close_fd(&watch.timer_fd);
	client_close(&watch.events);
	view_close(&watch.view);
	return error;
}
