/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The record of a container, from its creation until nobody refers to it any more.
 *
 * Its deletion waits for much: for its creation, for the end of its init, for an agent that is away
 * or for the end of the partition. All of it leads to one function, which looks how things stand
 * and does what is next. Who wants it deleted by force waits for a time only.
 */

#include "shim/task_private.h"

#include <string.h>

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
	stdio_close_fds(container->fd);
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

struct container *container_new(struct task *task, const struct control_request *wanted,
                                int fd[static STDIO_COUNT])
{
	struct container *container = calloc(1, sizeof(*container));

	if (!container) {
		stdio_close_fds(fd);
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
	time_now(container->created);
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

void container_end_processes(struct container *container)
{
	struct process *process;

	do {
		/* An exec under way has no number yet, and is left to its answer. */
		process = container->processes;
		while (process && (!process->pid || process->state == PROCESS_TOLD))
			process = process->next;
		if (process)
			process_gone(process, TASK_EXIT_KILLED);
	} while (process);
	if (container->known)
		process_gone(container->init, TASK_EXIT_KILLED);
}

void container_remove(struct container *container)
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
	container_end_processes(container);
	task_unshare(container);
	if (container->known && task->dead)
		task->ops->remains(task, container->id);
	if (container->known)
		task_event(container, "delete", NULL);
	container_unref(container);
	if (!task->containers)
		task->ops->emptied(task);
}

/* Delete */

void container_deletions_answer(struct task_request *requests, const struct fault *fault)
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

static void finish_deletion(struct container *container)
{
	struct task_request *requests = take_pointer(container->deleting);

	container_remove(container);
	container_deletions_answer(requests, NULL);
}

/*
 * Only now what it has written is on its scratch, which may be used again at once, and the VM may
 * end.
 */
static void on_image_gone(void *context)
{
	struct container *container = context;

	container->image = NULL;
	container->unmounting = false;
	finish_deletion(container);
}

static void on_deleted(struct bridge_call *call, const void *reply, const struct fault *fault)
{
	struct task_request *request = container_of(call, struct task_request, call);
	struct container *container = request->container;
	struct task *task = container->task;

	/* Either the agent comes back, or it is gone; both lead to another step. */
	if (!reply && !task->bridge->ready && !task->dead)
		return;
	if (!reply && (task->dead || fault->hresult == HRESULT_INVALID_STATE)) {
		container->deleting = NULL;
		container_deletions_answer(request, fault);
		return;
	}
	/* Whatever else the agent says, it has forgotten the container. */
	if (!reply && fault->hresult != HRESULT_NO_SUCH_CONTAINER)
		log_warning("delete container %s: %s", container->id, fault->text);
	if (container->image) {
		container->unmounting = true;
		image_end(container->image, on_image_gone, container);
	} else {
		finish_deletion(container);
	}
}

static int send_delete(struct container *container, struct fault *fault)
{
	struct task_request *request = container->deleting;
	struct task *task = container->task;
	struct base_request wanted = { .base.container_id = container->id };

	if (task->dead) {
		finish_deletion(container);
		return 0;
	}
	return bridge_send(task->bridge, &request->call, MESSAGE_DELETE_CONTAINER_STATE,
	                   message_find(MESSAGE_DELETE_CONTAINER_STATE)->request, &wanted,
	                   on_deleted, fault);
}

/* Whatever it has to wait for leads here again. */
void container_delete_step(struct container *container)
{
	struct fault fault = FAULT_NULL;
	struct task_request *request = container->deleting;
	struct process *init = container->init;
	bool dead = container->task->dead;

	if (container->unmounting && dead && !container->deleted) {
		image_free(take_pointer(container->image));
		container->unmounting = false;
		finish_deletion(container);
		return;
	}
	if (!request || request->call.answer || container->deleted || container->unmounting)
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
	int r = send_delete(container, &fault);
	/* The connection is breaking; what becomes of the agent leads here again. */
	if (r == -EPIPE || r == -ECONNRESET)
		return;
	if (r < 0) {
		container->deleting = NULL;
		container_deletions_answer(request, &fault);
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
	container_deletions_answer(requests, &fault);
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
		container_delete_step(container);
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

void container_init_exited(struct container *container)
{
	container->paused = false;
	stdio_close_fds(container->fd);
	container_delete_step(container);
}
