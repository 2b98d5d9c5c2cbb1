/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An exit has two moments: the agent says that the process is no more, and everything it wrote
 * has been delivered. Who waits is told at the second, or when a time is over: then what is left
 * goes on to whoever may read it. Records of processes that were exec'ed
 * stay until somebody has asked how they ended, because a caller learns the number of a process
 * only when it may be over already; not more than a few dozen, because some callers never ask.
 */

#include "shim/task_private.h"

#include <stdio.h>
#include <string.h>

#define UNCLAIMED_MAX 64
#define EXIT_UNKNOWN 255

static int on_drain_over(struct timer *timer);

struct process *process_new(struct container *container, const struct control_request *wanted)
{
	struct process *process = calloc(1, sizeof(*process));

	if (!process)
		return NULL;
	process->container = container;
	timer_init(&process->drain, container->task->bridge->loop, on_drain_over);
	process->height = wanted->terminal ? wanted->height : 0;
	process->width = wanted->terminal ? wanted->width : 0;
	return process;
}

void process_free(struct process *process)
{
	if (!process)
		return;
	bridge_abandon(process->container->task->bridge, &process->wait);
	timer_deinit(&process->drain);
	stdio_free(process->stdio);
	free(process);
}

void process_named(struct process *process, uint32_t pid)
{
	struct partition *partition = process->container->task->partition;

	if (process->pid == pid)
		return;
	process->pid = pid;
	process->host_pid = partition->driver->host_pid(partition, pid);
}

/* Execs go when nobody can ask for them any more; the init stays as long as its container. */
static void forget_if_over(struct process *process)
{
	struct container *container = process->container;
	struct process **at = &container->processes;

	if (process == container->init || process->state != PROCESS_TOLD || !process->claimed ||
	    process->stdio)
		return;
	while (*at != process)
		at = &(*at)->next;
	*at = process->next;
	process_free(process);
}

static void forget_unclaimed(struct container *container)
{
	unsigned count = 0;
	struct process *oldest = NULL;

	for (struct process *p = container->processes; p; p = p->next) {
		if (p->state != PROCESS_TOLD || p->claimed)
			continue;
		oldest = p;
		count++;
	}
	if (count > UNCLAIMED_MAX) {
		oldest->claimed = true;
		forget_if_over(oldest);
	}
}

static void answer_exit(struct process *process, struct task_request *request)
{
	struct control_reply reply = {
		.pid = process->pid,
		.exit_code = process->exit_code,
		.exited_at = process->exited_at,
		.reason = process->died_along ? process->container->task->death : NULL,
	};

	process->claimed = true;
	request->process = NULL;
	task_done(request, &reply);
}

static void tell(struct process *process)
{
	struct container *container = process->container;

	/* Whoever is told may hold the last reference. */
	container->references++;
	process->state = PROCESS_TOLD;
	process->proxy = 0;
	timer_deinit(&process->drain);
	if (process->stdio)
		stdio_told(process->stdio);
	while (process->waiters) {
		struct task_request *request = process->waiters;
		process->waiters = request->next;
		answer_exit(process, request);
	}
	task_event(container, "exit", process);
	if (process == container->init) {
		container_init_exited(container);
	} else {
		forget_if_over(process);
		forget_unclaimed(container);
	}
	container_unref(container);
}

/* Looks whether anything is due. The process may be gone afterwards. */
static void step(struct process *process)
{
	bool tellable = process->state == PROCESS_REAPED &&
	                (!process->stdio || stdio_delivered(process->stdio));

	if (process->stdio && stdio_idle(process->stdio)) {
		stdio_free(process->stdio);
		process->stdio = NULL;
	}
	if (tellable)
		tell(process);
	else
		forget_if_over(process);
}

/* What was not delivered at the exit may be, for so long. */
static int set_drain(struct process *process)
{
	uint64_t drain = process->container->task->drain;

	if (!drain || !process->stdio || stdio_delivered(process->stdio))
		return 0;
	return timer_set(&process->drain, drain);
}

static int on_drain_over(struct timer *timer)
{
	struct process *process = container_of(timer, struct process, drain);

	if (process->state == PROCESS_REAPED)
		tell(process);
	return 0;
}

void process_progress(struct stdio *stdio)
{
	step(stdio->owner);
}

void process_offset(struct process *process, uint64_t stream, uint64_t offset)
{
	if (process->stdio && stdio_offset(process->stdio, stream, offset))
		step(process);
}

static void exited(struct process *process, uint32_t exit_code, const char *when)
{
	process->exit_code = exit_code;
	process->state = PROCESS_REAPED;
	/* It is shown to people, and comes from the guest. */
	size_t size = when ? strspn(when, "0123456789-:.TZ") : 0;
	if (size && size < TIME_TEXT && !when[size])
		snprintf(process->exited_at, TIME_TEXT, "%s", when);
	else
		time_now(process->exited_at);
}

static void on_exit_answer(struct bridge_call *call, const void *answer, const struct fault *fault)
{
	struct process *process = container_of(call, struct process, wait);
	struct container *container = process->container;
	const struct wait_reply *reply = answer;

	if (process->state >= PROCESS_REAPED)
		return;
	if (!reply) {
		/* After a lost connection the question is put again, in task_connected(). */
		if (!container->task->bridge->ready)
			return;
		log_warning("container %s: how process %u ended is not known: %s", container->id,
		            process->pid, fault->text);
		process_gone(process, EXIT_UNKNOWN);
		return;
	}
	exited(process, reply->exit_code, reply->exited_at);
	if (process->stdio)
		stdio_exited(process->stdio, reply->offsets);
	container->references++;
	bool init = process == container->init;
	if (set_drain(process) < 0)
		tell(process);
	else
		step(process);
	/* Deletion does not wait for readers. */
	if (init)
		container_init_exited(container);
	container_unref(container);
}

void process_watch(struct process *process)
{
	struct container *container = process->container;
	struct fault fault = FAULT_NULL;
	struct wait_request request = {
		.base.container_id = container->id,
		.process_id = process->pid,
		.timeout_in_ms = WAIT_FOREVER,
	};

	if (!process->pid || process->state >= PROCESS_REAPED || process->wait.answer)
		return;
	int r = bridge_send(container->task->bridge, &process->wait, MESSAGE_WAIT_FOR_PROCESS,
	                    message_find(MESSAGE_WAIT_FOR_PROCESS)->request, &request,
	                    on_exit_answer, &fault);
	/* A connection that is down says so itself, and comes back to this. */
	if (r < 0)
		log_debug("%s", fault.text);
}

void process_gone(struct process *process, uint32_t exit_code)
{
	bridge_abandon(process->container->task->bridge, &process->wait);
	if (process->state < PROCESS_REAPED) {
		process->died_along = process->container->task->dead;
		exited(process, exit_code, NULL);
		if (process->stdio)
			stdio_exited(process->stdio, NULL);
	}
	if (process->state == PROCESS_REAPED)
		tell(process);
}

int task_close_input(struct process *process)
{
	process->input_closed = true;
	if (process->stdio)
		stdio_close_input(process->stdio);
	return 0;
}

void task_drop_streams(struct process *process)
{
	struct container *container = process->container;

	if (process == container->init)
		stdio_close_fds(container->fd);
	/* Streams of a request under way are not the agent's yet. */
	if (!process->stdio || !process->stdio->started)
		return;
	stdio_free(take_pointer(process->stdio));
	container->references++;
	step(process);
	container_unref(container);
}

int task_wait(struct process *process, struct task_request *request)
{
	task_hold(request, process->container);
	if (process->state == PROCESS_TOLD) {
		struct container *container = process->container;
		container->references++;
		answer_exit(process, request);
		forget_if_over(process);
		container_unref(container);
		return 0;
	}
	request->process = process;
	request->next = process->waiters;
	process->waiters = request;
	return 0;
}

void task_cancel(struct task_request *request)
{
	struct process *process = request->process;
	struct container *container = request->container;
	struct task_request **at = &process->waiters;

	while (*at != request)
		at = &(*at)->next;
	*at = request->next;
	request->process = NULL;
	request->container = NULL;
	container_unref(container);
}
