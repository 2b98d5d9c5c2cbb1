/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The life of a container on the host's side. What the agent answers may come late, in any order
 * and not at all; so an operation under way holds a reference to its container, and looks when
 * the answer comes whether there is still something that it is good for.
 *
 * An init is watched from the moment it exists, before it is started: it may be killed while it
 * waits.
 */

#include "shim/task_private.h"

#include "shim/forms.h"

#include <stdio.h>
#include <string.h>

#define EXIT_NOT_STARTED 127

/* Requests */

void task_hold(struct task_request *request, struct container *container)
{
	request->container = container;
	container->references++;
}

static void release(struct task_request *request, const struct control_reply *reply,
                    const struct fault *fault)
{
	struct container *container = take_pointer(request->container);

	request->answer(request, reply, fault);
	if (container)
		container_unref(container);
}

void task_done(struct task_request *request, const struct control_reply *reply)
{
	static const struct control_reply success;

	release(request, reply ? reply : &success, NULL);
}

void task_failed(struct task_request *request, const struct fault *fault)
{
	release(request, NULL, fault);
}

/* For a request that was not taken after all. */
static int let_go(struct task_request *request, int error)
{
	struct container *container = take_pointer(request->container);

	request->process = NULL;
	container_unref(container);
	return error;
}

/* Events */

static void tell(struct container *container, struct control_event *event)
{
	char when[TIME_TEXT];

	event->id = container->id;
	event->time = time_now(when);
	container->task->ops->event(container->task, event);
}

void task_event(struct container *container, const char *type, const struct process *process)
{
	struct control_event event = { .type = type };

	/* Events are about containers. */
	if (container == container->task->vm)
		return;
	if (process) {
		event.pid = process->pid;
		event.exit_code = process->exit_code;
	}
	tell(container, &event);
}

/* Create */

static void on_created(struct bridge_call *call, const void *answer, const struct fault *fault)
{
	struct task_request *request = container_of(call, struct task_request, call);
	struct container *container = request->container;
	const struct create_reply *reply = answer;

	if (!reply) {
		struct task_request *deletions = take_pointer(container->deleting);
		/* Otherwise the agent has seen to it. */
		if (!container->task->bridge->ready)
			container->task->ops->remains(container->task, container->id);
		container_remove(container);
		task_failed(request, fault);
		container_deletions_answer(deletions, NULL);
		return;
	}
	container->known = true;
	process_named(container->init, reply->process_id);
	process_watch(container->init);
	task_event(container, "create", container->init);
	struct control_reply done = {
		.pid = container->init->pid,
		.host_pid = (uint32_t)container->init->host_pid,
	};
	container->references++;
	task_done(request, &done);
	container_delete_step(container);
	container_unref(container);
}

int task_create(struct task *task, const struct control_request *wanted, int fd[static STDIO_COUNT],
                struct task_request *request, struct fault *fault)
{
	struct container *container = container_new(task, wanted, fd);

	if (!container)
		return fault_errno(fault, -ENOMEM, "container \"%s\"", wanted->id);
	task_hold(request, container);
	int r = 0;
	if (wanted->log_path) {
		r = logfile_open(&container->log, wanted->log_path, wanted->log_size,
		                 wanted->log_files);
		if (r < 0)
			fault_errno(fault, r, "log file \"%s\"", wanted->log_path);
	}
	if (r >= 0)
		r = form_create(task->bridge, &request->call, wanted->id, wanted->bundle,
		                wanted->config, wanted->hold, on_created, fault);
	if (r < 0) {
		container_unref(container);
		return let_go(request, r);
	}
	container->next = task->containers;
	task->containers = container;
	return 0;
}

/* Start and exec */

/* started: it runs all the same, and its streams have to be heard out. */
static void launch_failed(struct process *process, bool started)
{
	if (process->stdio && !started)
		stdio_forget(process->stdio);
	stdio_free(take_pointer(process->stdio));
}

/* Opens the streams of a process and asks the agent to run it. */
static int launch(struct process *process, int fd[static STDIO_COUNT], bool terminal,
                  const char *description, struct task_request *request,
                  bridge_answer_fn *answer, struct fault *fault)
{
	struct container *container = process->container;
	struct bridge *bridge = container->task->bridge;
	struct logfile *log = process == container->init && container->log_path ?
		&container->log : NULL;
	struct stdio_streams streams = { 0 };
	int r = stdio_new(&process->stdio, fd, terminal, log, process_progress, process);

	if (r < 0)
		return fault_errno(fault, r, "standard streams");
	process->stdio->keeps = container->task->drain > 0;
	if (process->input_closed)
		stdio_close_input(process->stdio);
	/* Without a connection there is nothing to open them on; the request will say so. */
	if (bridge->ready)
		r = stdio_attach(process->stdio, &bridge->channel, bridge_stream_ids(bridge, 3),
		                 &streams);
	if (r < 0)
		fault_errno(fault, r, "standard streams");
	else if (container == container->task->vm)
		r = form_execute_vm(bridge, &request->call, description, &streams, answer, fault);
	else
		r = form_execute(bridge, &request->call, container->id, description, &streams,
		                 answer, fault);
	if (r < 0)
		launch_failed(process, false);
	return r;
}

static void launched(struct process *process, uint32_t pid, const char *event,
                     struct task_request *request)
{
	struct container *container = process->container;

	process_named(process, pid);
	if (process->state == PROCESS_NEW)
		process->state = PROCESS_RUNNING;
	task_event(container, event, process);
	struct control_reply done = {
		.pid = process->pid,
		.host_pid = (uint32_t)process->host_pid,
	};
	request->process = NULL;
	if (process->stdio)
		stdio_started(process->stdio);
	process_watch(process);
	/* Whom nobody stands for, nobody would ever end. */
	if (request->orphaned && !process->waiters)
		task_kill(process);
	if (process->height && process->width)
		task_initial_size(process);
	task_done(request, &done);
}

static void on_started(struct bridge_call *call, const void *answer, const struct fault *fault)
{
	struct task_request *request = container_of(call, struct task_request, call);
	struct container *container = request->container;
	struct task *task = container->task;
	const struct execute_reply *reply = answer;

	container->starting = false;
	if (reply && !container->deleted) {
		launched(container->init, reply->process_id, "start", request);
		return;
	}
	launch_failed(container->init, reply);
	if (!container->deleted && !task->bridge->ready && !task->dead) {
		/* Perhaps it runs. When the agent is back, it is killed. */
		container->init->state = PROCESS_RUNNING;
		container->doomed = true;
	} else if (!container->deleted) {
		/* There is no second try: its init has ended, or is in no state to be used. */
		task_kill(container->init);
		process_gone(container->init, EXIT_NOT_STARTED);
	}
	struct fault gone = FAULT_NULL;
	fault_set(&gone, 0, HRESULT_NO_SUCH_CONTAINER, "container \"%s\" was deleted",
	          container->id);
	container->references++;
	task_failed(request, fault ? fault : &gone);
	container_delete_step(container);
	container_unref(container);
}

int task_start(struct container *container, struct task_request *request, struct fault *fault)
{
	/* Its streams are for the start that takes place. */
	int r = bridge_check(container->task->bridge, fault);

	if (r < 0)
		return r;
	task_hold(request, container);
	r = launch(container->init, container->fd, container->terminal, NULL, request,
	               on_started, fault);

	if (r < 0)
		return let_go(request, r);
	container->starting = true;
	return 0;
}

static void on_executed(struct bridge_call *call, const void *answer, const struct fault *fault)
{
	struct task_request *request = container_of(call, struct task_request, call);
	struct container *container = request->container;
	struct process *process = request->process;
	const struct execute_reply *reply = answer;

	if (reply && reply->process_id && !container->deleted) {
		launched(process, reply->process_id, "exec", request);
		return;
	}
	struct process **at = &container->processes;
	while (*at != process)
		at = &(*at)->next;
	*at = process->next;
	launch_failed(process, reply);
	process_free(process);
	struct fault gone = FAULT_NULL;
	fault_set(&gone, 0, HRESULT_CONTAINER_NOT_RUNNING,
	          "container \"%s\" is not running any more", container->id);
	task_failed(request, fault ? fault : &gone);
}

int task_exec(struct container *container, const struct control_request *wanted,
              int fd[static STDIO_COUNT], struct task_request *request, struct fault *fault)
{
	struct process *process = process_new(container, wanted);

	if (!process) {
		stdio_close_fds(fd);
		return fault_errno(fault, -ENOMEM, "exec");
	}
	task_hold(request, container);
	request->process = process;
	int r = launch(process, fd, wanted->terminal, wanted->process, request, on_executed, fault);
	if (r < 0) {
		process_free(process);
		return let_go(request, r);
	}
	process->next = container->processes;
	container->processes = process;
	return 0;
}

/* The partition */

static void watch_all(struct container *container)
{
	process_watch(container->init);
	for (struct process *p = container->processes; p; p = p->next)
		process_watch(p);
}

void task_connected(struct task *task)
{
	if (task->vm)
		watch_all(task->vm);
	for (struct container *c = task->containers; c; c = c->next) {
		watch_all(c);
		if (c->doomed)
			task_kill(c->init);
		c->doomed = false;
		/* Asks the agent, and so leaves the list as it is. */
		container_delete_step(c);
	}
}

void task_died(struct task *task, const char *how)
{
	struct container *next;

	snprintf(task->death, sizeof(task->death), "%s", how);
	task->dead = true;
	task->paused = false;
	task->bridge->gone = task->death;
	if (task->vm)
		container_end_processes(task->vm);
	for (struct container *c = task->containers; c; c = next) {
		/* A deletion that waited for this may remove the container itself, but no other. */
		next = c->next;
		c->references++;
		task_unshare(c);
		container_end_processes(c);
		container_delete_step(c);
		container_unref(c);
	}
}

static void on_oom(struct container *container, const struct notification *notification)
{
	struct control_event event = {
		.type = "oom",
		.pid = notification->process_id,
		.count = notification->count,
	};

	tell(container, &event);
}

static void on_offset(struct container *container, const struct notification *notification)
{
	struct process *process = container_process(container, notification->process_id);

	if (process)
		process_offset(process, notification->stream, notification->offset);
}

void task_notification(struct task *task, const struct notification *notification)
{
	static const struct {
		const char *type;
		void (*handle)(struct container *container, const struct notification *);
	} handlers[] = {
		{ "OutOfMemory", on_oom },
		{ "StreamOffset", on_offset },
	};
	struct container *container = task_find(task, notification->base.container_id);

	/* Of exits the answer to WaitForProcess tells more. */
	for (size_t i = 0; container && i < array_size(handlers); i++) {
		if (!strcmp(handlers[i].type, notification->type)) {
			handlers[i].handle(container, notification);
			return;
		}
	}
	log_debug("notification %s of container %s", notification->type,
	          notification->base.container_id);
}

void task_init(struct task *task, struct bridge *bridge, struct partition *partition,
               const struct task_ops *ops)
{
	*task = (struct task){
		.bridge = bridge,
		.partition = partition,
		.ops = ops,
		.patience = TASK_PATIENCE,
	};
}

void task_deinit(struct task *task)
{
	while (task->containers) {
		struct container *container = task->containers;
		task->containers = container->next;
		container->deleted = true;
		container_deletions_answer(take_pointer(container->deleting), NULL);
		container_unref(container);
	}
	if (task->vm)
		container_unref(take_pointer(task->vm));
}
