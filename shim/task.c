/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The life of a container on the host's side. What the agent answers may come late, in any order
 * and not at all; so an operation under way holds a reference to its container, and looks when
 * the answer comes whether there is still something that it is good for.
 *
 * An init is watched from the moment it exists, before it is started: it may be killed while it
 * waits.
 */

#include "shim/task.h"

#include "shim/forms.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

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

/* Containers */

static void close_fds(int fd[static STDIO_COUNT])
{
	for (int i = 0; i < STDIO_COUNT; i++)
		close_fd(&fd[i]);
}

void container_unref(struct container *container)
{
	if (--container->references)
		return;
	while (container->processes) {
		struct process *process = container->processes;
		container->processes = process->next;
		process_free(process);
	}
	process_free(container->init);
	close_fds(container->fd);
	timer_deinit(&container->patience);
	share_free(container->share);
	image_free(container->image);
	logfile_close(&container->log);
	free(container->id);
	free(container->bundle);
	free(container->log_path);
	free(container);
}

static int on_patience_over(struct timer *timer);

static struct container *container_new(struct task *task, const struct control_request *wanted,
                                       int fd[static STDIO_COUNT])
{
	struct container *container = calloc(1, sizeof(*container));
	struct timespec now;

	if (!container) {
		close_fds(fd);
		return NULL;
	}
	container->task = task;
	container->references = 1;
	container->log = (struct logfile)LOGFILE_NULL;
	timer_init(&container->patience, task->bridge->loop, on_patience_over);
	for (int i = 0; i < STDIO_COUNT; i++)
		container->fd[i] = take_fd(&fd[i]);
	container->terminal = wanted->terminal;
	container->log_files = wanted->log_files;
	clock_gettime(CLOCK_REALTIME, &now);
	time_format(&now, container->created);
	container->id = strdup(wanted->id);
	container->bundle = strdup(wanted->bundle);
	container->log_path = wanted->log_path ? strdup(wanted->log_path) : NULL;
	container->init = process_new(container, wanted);
	if (!container->id || !container->bundle || !container->init ||
	    (wanted->log_path && !container->log_path)) {
		container_unref(container);
		return NULL;
	}
	return container;
}

struct container *task_find(struct task *task, const char *id)
{
	for (struct container *c = task->containers; c; c = c->next) {
		if (!strcmp(c->id, id))
			return c;
	}
	return NULL;
}

struct container *task_vm(struct task *task)
{
	const struct control_request wanted = { .id = NULL_CID, .bundle = "/" };
	int fd[STDIO_COUNT] = { -1, -1, -1 };

	if (task->vm || !(task->vm = container_new(task, &wanted, fd)))
		return task->vm;
	task->vm->known = true;
	task->vm->init->state = PROCESS_RUNNING;
	return task->vm;
}

enum container_status container_status(const struct container *container)
{
	const struct process *init = container->init;

	if (!container->known)
		return CONTAINER_CREATING;
	/* Who reads a log to its end asks here whether there will be more. */
	if (init->state == PROCESS_TOLD || (init->state == PROCESS_REAPED && !container->log_path))
		return CONTAINER_STOPPED;
	if (container->paused)
		return CONTAINER_PAUSED;
	if (init->state == PROCESS_NEW)
		return CONTAINER_CREATED;
	return container->task->paused ? CONTAINER_PAUSED : CONTAINER_RUNNING;
}

const char *container_status_name(enum container_status status)
{
	static const char *const names[] = {
		[CONTAINER_CREATING] = "creating",
		[CONTAINER_CREATED] = "created",
		[CONTAINER_RUNNING] = "running",
		[CONTAINER_PAUSED] = "paused",
		[CONTAINER_STOPPED] = "stopped",
	};

	return names[status];
}

struct process *container_process(struct container *container, uint32_t pid)
{
	if (!pid || pid == container->init->pid)
		return container->init;
	/* The newest first: a number that came round again is the present owner's. */
	for (struct process *p = container->processes; p; p = p->next) {
		if (p->pid == pid)
			return p;
	}
	return NULL;
}

void task_event(struct container *container, const char *type, const struct process *process)
{
	char when[TIME_TEXT];
	struct timespec now;
	struct control_event event = { .type = type, .id = container->id, .time = when };

	/* Events are about containers. */
	if (container == container->task->vm)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	time_format(&now, when);
	if (process) {
		event.pid = process->pid;
		event.exit_code = process->exit_code;
	}
	container->task->ops->event(container->task, &event);
}

/* Telling of an exit may free any record. An exec under way has no number yet, and is left to its
 * answer. */
static void end_processes(struct container *container)
{
	struct process *process;

	do {
		process = container->processes;
		while (process && (!process->pid || process->state == PROCESS_TOLD))
			process = process->next;
		if (process)
			process_gone(process, TASK_EXIT_KILLED);
	} while (process);
	if (container->known)
		process_gone(container->init, TASK_EXIT_KILLED);
}

/* Takes it off the list and ends what hangs on it. The caller holds a reference. */
static void remove_container(struct container *container)
{
	struct task *task = container->task;
	struct container **at = &task->containers;

	while (*at != container)
		at = &(*at)->next;
	*at = container->next;
	container->deleted = true;
	for (struct process *p = container->processes; p; p = p->next) {
		if (p->pid)
			stdio_free(take_pointer(p->stdio));
	}
	stdio_free(take_pointer(container->init->stdio));
	end_processes(container);
	task_unshare(container);
	if (container->known && task->dead)
		task->ops->remains(task, container->id);
	if (container->known)
		task_event(container, "delete", NULL);
	container_unref(container);
	if (!task->containers)
		task->ops->emptied(task);
}

/* Create */

static void delete_step(struct container *container);
static void answer_deletions(struct task_request *requests, const struct fault *fault);

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
		remove_container(container);
		task_failed(request, fault);
		answer_deletions(deletions, NULL);
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
	delete_step(container);
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
	delete_step(container);
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
		close_fds(fd);
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

/* Delete */

/* Everybody who wants the container deleted. */
static void answer_deletions(struct task_request *requests, const struct fault *fault)
{
	while (requests) {
		struct task_request *request = requests;
		requests = request->next;
		request->next = NULL;
		if (fault)
			task_failed(request, fault);
		else
			task_done(request, NULL);
	}
}

static void on_deleted(struct bridge_call *call, const void *reply, const struct fault *fault)
{
	struct task_request *request = container_of(call, struct task_request, call);
	struct container *container = request->container;
	struct task *task = container->task;

	/* Either the agent comes back, or it is gone; both lead to another step. */
	if (!reply && !task->bridge->ready && !task->dead)
		return;
	container->deleting = NULL;
	if (!reply && (task->dead || fault->hresult == HRESULT_INVALID_STATE)) {
		answer_deletions(request, fault);
		return;
	}
	/* Whatever else the agent says, it has forgotten the container. */
	if (!reply && fault->hresult != HRESULT_NO_SUCH_CONTAINER)
		log_warning("delete container %s: %s", container->id, fault->text);
	remove_container(container);
	answer_deletions(request, NULL);
}

static int send_delete(struct container *container, struct fault *fault)
{
	struct task_request *request = container->deleting;
	struct task *task = container->task;
	struct base_request wanted = { .base.container_id = container->id };

	if (task->dead) {
		container->deleting = NULL;
		remove_container(container);
		answer_deletions(request, NULL);
		return 0;
	}
	return bridge_send(task->bridge, &request->call, MESSAGE_DELETE_CONTAINER_STATE,
	                   message_find(MESSAGE_DELETE_CONTAINER_STATE)->request, &wanted,
	                   on_deleted, fault);
}

/* Takes a deletion on from where it stands; whatever it has to wait for leads here again. */
static void delete_step(struct container *container)
{
	struct fault fault = FAULT_NULL;
	struct task_request *request = container->deleting;
	struct process *init = container->init;
	bool dead = container->task->dead;

	if (!request || request->call.answer || container->deleted)
		return;
	if (!dead && (!container->known || !container->task->bridge->ready))
		return;
	if (!dead && (init->state == PROCESS_RUNNING || container->starting)) {
		task_kill(init);
		return;
	}
	if (init->state == PROCESS_REAPED) {
		/*
		 * Deletion does not wait for readers, but its proxy has to know: it is in the
		 * cgroup that will be removed.
		 */
		process_gone(init, 0);
		return;
	}
	if (send_delete(container, &fault) < 0) {
		container->deleting = NULL;
		answer_deletions(request, &fault);
	}
}

/*
 * The agent does not answer, or what was killed does not end. With the whole partition more can be
 * killed, if it holds nothing else.
 */
static int on_patience_over(struct timer *timer)
{
	struct container *container = container_of(timer, struct container, patience);
	struct task *task = container->task;
	struct fault fault = FAULT_NULL;

	if (!container->deleting || task->dead)
		return 0;
	if (!task->containers->next) {
		log_error("container %s cannot be deleted: its partition is ended", container->id);
		task->partition->driver->stop(task->partition);
		return 0;
	}
	struct task_request *requests = take_pointer(container->deleting);
	bridge_abandon(task->bridge, &requests->call);
	fault_set(&fault, -ETIMEDOUT, HRESULT_FAIL,
	          "container \"%s\" was killed, but has not ended within %llu s", container->id,
	          (unsigned long long)task->patience / 1000);
	answer_deletions(requests, &fault);
	return 0;
}

int task_delete(struct container *container, bool force, struct task_request *request,
                struct fault *fault)
{
	enum container_status status = container_status(container);
	bool running = container->init->state == PROCESS_RUNNING || container->starting;

	if (!container->deleting && !force && (running || status == CONTAINER_CREATING))
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
		                 "cannot delete container \"%s\": it is %s", container->id,
		                 container->starting ? "being started" :
		                 container_status_name(status));
	task_hold(request, container);
	if (force) {
		task_unpause(container->task);
		(void)timer_set(&container->patience, container->task->patience);
	}
	if (container->deleting) {
		request->next = container->deleting->next;
		container->deleting->next = request;
	} else {
		container->deleting = request;
		delete_step(container);
	}
	return 0;
}

static void on_unasked(struct task_request *request, const struct control_reply *reply,
                       const struct fault *fault)
{
	if (!reply)
		log_warning("%s", fault->text);
	free(request);
}

void task_delete_all(struct task *task)
{
	struct container *next;

	for (struct container *c = task->containers; c; c = next) {
		struct fault fault = FAULT_NULL;
		struct task_request *request = calloc(1, sizeof(*request));
		next = c->next;
		if (!request)
			return;
		request->answer = on_unasked;
		if (task_delete(c, true, request, &fault) < 0) {
			log_debug("%s", fault.text);
			free(request);
		}
	}
}

/* Called at each of the two moments of an exit. */
void container_init_exited(struct container *container)
{
	container->paused = false;
	close_fds(container->fd);
	delete_step(container);
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
		delete_step(c);
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
		end_processes(task->vm);
	for (struct container *c = task->containers; c; c = next) {
		/* A deletion that waited for this may remove the container itself, but no other. */
		next = c->next;
		c->references++;
		task_unshare(c);
		end_processes(c);
		delete_step(c);
		container_unref(c);
	}
}

static void on_oom(struct container *container, const struct notification *notification)
{
	char when[TIME_TEXT];
	struct timespec now;
	struct control_event event = {
		.type = "oom",
		.id = container->id,
		.pid = notification->process_id,
		.count = notification->count,
		.time = when,
	};

	clock_gettime(CLOCK_REALTIME, &now);
	time_format(&now, when);
	container->task->ops->event(container->task, &event);
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
		answer_deletions(take_pointer(container->deleting), NULL);
		container_unref(container);
	}
	if (task->vm)
		container_unref(take_pointer(task->vm));
}
