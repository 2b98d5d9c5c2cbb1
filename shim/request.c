/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What clients may ask for. One row per request: which states a container must be in, and what is
 * done. All that a row can refuse is refused in one place, so a handler begins with a container
 * that is there and in a state for it.
 *
 * fds come in the order of the requests that announce them, so a request that is refused must take
 * its own out of the way.
 */

#include "shim/server_private.h"

#include <string.h>

#define DUMP_MAX (1u << 20)

struct call {
	struct server *server;
	struct client *client;
	struct pending *pending;
	struct arena *arena;
	const struct control_request *wanted;
	struct container *container;
	struct process *process;
};

static int require(const char *value, const char *name, struct fault *fault)
{
	return value ? 0 : fault_set(fault, -EINVAL, HRESULT_INVALID_JSON, "%s: is required", name);
}

/* What would wait for an agent that does not run. */
static int refuse_asleep(struct fault *fault)
{
	return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
	                 "the VM is paused; hvrun resume --vm lets it go on");
}

/* The fds that came with the request, in their places. */
static int take_fds(struct call *call, int fd[static STDIO_COUNT], struct fault *fault)
{
	const bool sent[STDIO_COUNT] = {
		call->wanted->std_in, call->wanted->std_out, call->wanted->std_err,
	};

	for (int i = 0; i < STDIO_COUNT; i++) {
		fd[i] = sent[i] ? channel_take_fd(&call->client->channel) : -1;
		if (!sent[i] || fd[i] >= 0)
			continue;
		while (i--)
			close_fd(&fd[i]);
		return fault_set(fault, -EBADF, HRESULT_INVALID_ARGUMENT,
		                 "a standard stream was announced but not sent");
	}
	return 0;
}

/* Of a request that is refused: the next one must not take them for its own. */
static void drop_fds(struct call *call)
{
	int fd[STDIO_COUNT];

	for (int i = call->wanted->tree + call->wanted->scratch; i > 0; i--) {
		fd[0] = channel_take_fd(&call->client->channel);
		if (fd[0] >= 0)
			close(fd[0]);
	}
	if (take_fds(call, fd, NULL) < 0)
		return;
	stdio_close_fds(fd);
}

static int handle_create(struct call *call, struct fault *fault)
{
	const struct control_request *wanted = call->wanted;
	int fd[STDIO_COUNT];
	int r = take_fds(call, fd, fault);

	if (r < 0)
		return r;
	r = require(wanted->id, "Id", fault);
	if (r >= 0)
		r = require(wanted->bundle, "Bundle", fault);
	if (r >= 0)
		r = require(wanted->config, "Config", fault);
	if (r >= 0 && task_find(call->server->task, wanted->id))
		r = fault_set(fault, -EEXIST, HRESULT_CONTAINER_EXISTS,
		              "container \"%s\" exists already", wanted->id);
	if (r < 0) {
		stdio_close_fds(fd);
		return r;
	}
	r = task_create(call->server->task, wanted, fd, &call->pending->request, fault);
	if (r < 0)
		return r;
	call->pending->request.container->share = take_pointer(call->client->share);
	call->pending->request.container->image = take_pointer(call->client->image);
	return 0;
}

static int handle_share(struct call *call, struct fault *fault)
{
	static const struct control_reply success;
	const struct control_request *wanted = call->wanted;
	struct client *client = call->client;
	cleanup_close int fd = wanted->tree ? channel_take_fd(&client->channel) : -1;
	int r = 0;

	if (fd < 0)
		return fault_set(fault, -EBADF, HRESULT_INVALID_ARGUMENT,
		                 "a share comes without its mount");
	r = require(wanted->share, "Share", fault);
	if (r >= 0)
		r = require(wanted->entry, "Entry", fault);
	if (r >= 0 && client->share && strcmp(share_path_name(client->share), wanted->share))
		share_free(take_pointer(client->share));
	if (r >= 0 && !client->share)
		r = share_new(call->server->task->partition, wanted->share, &client->share, fault);
	if (r >= 0)
		r = share_add(client->share, wanted->entry, fd, wanted->file, fault);
	if (r >= 0)
		server_answer(&call->pending->request, &success, NULL);
	return r;
}

static void on_image(void *context, const struct fault *fault)
{
	static const struct control_reply success;
	struct pending *pending = context;
	struct client *client = pending->client;

	if (fault && client)
		image_free(take_pointer(client->image));
	server_answer(&pending->request, fault ? NULL : &success, fault);
}

static int handle_image(struct call *call, struct fault *fault)
{
	const struct control_request *wanted = call->wanted;
	struct client *client = call->client;
	struct task *task = call->server->task;
	cleanup_close int fd = wanted->tree ? channel_take_fd(&client->channel) : -1;
	cleanup_close int scratch_fd = wanted->scratch ? channel_take_fd(&client->channel) : -1;

	if (fd < 0 || (wanted->scratch && scratch_fd < 0))
		return fault_set(fault, -EBADF, HRESULT_INVALID_ARGUMENT,
		                 "an image comes without its file");
	int r = require(wanted->share, "Share", fault);
	if (r >= 0 && client->image)
		r = fault_set(fault, -EBUSY, HRESULT_INVALID_STATE, "there is an image already");
	return r < 0 ? r : image_new(task->partition, task->bridge, wanted->share, fd, scratch_fd,
	                             on_image, call->pending, &client->image, fault);
}

static int handle_start(struct call *call, struct fault *fault)
{
	if (call->container->starting)
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
		                 "cannot start container \"%s\": it is being started",
		                 call->container->id);
	return task_start(call->container, &call->pending->request, fault);
}

static int handle_continue(struct call *call, struct fault *fault)
{
	return task_continue(call->container, &call->pending->request, fault);
}

static int handle_exec(struct call *call, struct fault *fault)
{
	int fd[STDIO_COUNT];
	int r = take_fds(call, fd, fault);

	if (r < 0)
		return r;
	r = require(call->wanted->process, "Process", fault);
	if (r < 0) {
		stdio_close_fds(fd);
		return r;
	}
	return task_exec(call->container, call->wanted, fd, &call->pending->request, fault);
}

static int handle_wait(struct call *call, struct fault *fault)
{
	(void)fault;
	return task_wait(call->process, &call->pending->request);
}

static int handle_attach(struct call *call, struct fault *fault)
{
	(void)fault;
	if (call->process->state != PROCESS_TOLD)
		call->process->proxy = call->wanted->proxy;
	return task_wait(call->process, &call->pending->request);
}

static int handle_signal(struct call *call, struct fault *fault)
{
	return task_signal(call->process, call->wanted->signal,
	                   (enum signal_scope)call->wanted->scope, &call->pending->request, fault);
}

static int handle_resize(struct call *call, struct fault *fault)
{
	return task_resize(call->process, call->wanted->height, call->wanted->width,
	                   &call->pending->request, fault);
}

static void describe_container(const struct container *container, struct control_container *ret)
{
	const struct process *init = container->init;
	enum container_status status = container_status(container);
	bool stopped = status == CONTAINER_STOPPED;
	uint32_t host_pid = stopped ? 0 : (uint32_t)init->host_pid;

	*ret = (struct control_container){
		.id = container->id,
		.bundle = container->bundle,
		.status = container_status_name(status),
		.pid = stopped ? 0 : init->proxy ? init->proxy : host_pid,
		.init_pid = host_pid,
		.exit_code = stopped ? init->exit_code : 0,
		.created = container->created,
		.exited_at = stopped ? init->exited_at : NULL,
		.log_path = container->log_path,
		.log_files = container->log_files,
	};
}

static int handle_state(struct call *call, struct fault *fault)
{
	const char *id = call->wanted->id ? call->wanted->id : "";
	struct control_reply reply = { 0 };
	struct task *task = call->server->task;
	size_t count = 0;

	for (struct container *c = task->containers; c; c = c->next)
		count++;
	reply.containers.item = arena_array(call->arena, count, sizeof(*reply.containers.item));
	if (count && !reply.containers.item)
		return fault_errno(fault, -ENOMEM, "state");
	for (struct container *c = task->containers; c; c = c->next) {
		if (!*id || !strcmp(id, c->id))
			describe_container(c, &reply.containers.item[reply.containers.count++]);
	}
	if (*id && !reply.containers.count)
		return fault_set(fault, -ENOENT, HRESULT_NO_SUCH_CONTAINER,
		                 "container \"%s\" does not exist", id);
	server_answer(&call->pending->request, &reply, NULL);
	return 0;
}

static int handle_delete(struct call *call, struct fault *fault)
{
	if (call->server->task->paused && !call->wanted->force)
		return refuse_asleep(fault);
	return task_delete(call->container, call->wanted->force, &call->pending->request, fault);
}

static int handle_pause(struct call *call, struct fault *fault)
{
	if (call->wanted->vm)
		return task_pause_vm(call->server->task, true, &call->pending->request, fault);
	return task_pause(call->container, true, &call->pending->request, fault);
}

static int handle_resume(struct call *call, struct fault *fault)
{
	if (call->wanted->vm)
		return task_pause_vm(call->server->task, false, &call->pending->request, fault);
	if (call->server->task->paused)
		return refuse_asleep(fault);
	return task_pause(call->container, false, &call->pending->request, fault);
}

static int handle_update(struct call *call, struct fault *fault)
{
	if (call->wanted->vm)
		return task_update_vm(call->server->task, call->wanted->memory,
		                      &call->pending->request, fault);
	if (!call->wanted->resources)
		return require(NULL, "Resources", fault);
	return task_update(call->container, call->wanted->resources, &call->pending->request,
	                   fault);
}

static int handle_processes(struct call *call, struct fault *fault)
{
	return task_processes(call->container, &call->pending->request, fault);
}

static int handle_statistics(struct call *call, struct fault *fault)
{
	return task_statistics(call->container, &call->pending->request, fault);
}

static int handle_events(struct call *call, struct fault *fault)
{
	static const struct control_reply success;

	(void)fault;
	call->client->subscribed = true;
	call->client->events_id = call->pending->id;
	server_answer(&call->pending->request, &success, NULL);
	return 0;
}

/* To what the agent says of itself we add what we know. */
static void on_dump_answer(struct task_request *request, const struct control_reply *reply,
                           const struct fault *fault)
{
	struct pending *pending = container_of(request, struct pending, request);
	struct buf text = BUF(DUMP_MAX);

	server_describe(pending->server, &text);
	(void)buf_printf(&text, "agent:\n%s", reply ? reply->dump : fault->text);
	text.limit++;
	bool ended = buf_append(&text, "", 1) >= 0;
	struct control_reply whole = { .dump = ended ? buf_head(&text) : "" };
	server_answer(request, &whole, NULL);
	buf_deinit(&text);
}

static int handle_dump(struct call *call, struct fault *fault)
{
	struct task_request *request = &call->pending->request;
	struct task *task = call->server->task;

	request->answer = on_dump_answer;
	if (task->paused)
		fault_set(fault, 0, HRESULT_INVALID_STATE, "paused with its VM");
	if (task->paused || task_dump(task, request, fault) < 0)
		on_dump_answer(request, NULL, fault);
	return 0;
}

static int handle_shutdown(struct call *call, struct fault *fault)
{
	static const struct control_reply success;
	struct server *server = call->server;

	if (server->task->containers && !call->wanted->force)
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
		                 "the partition holds containers");
	if (server->keep && !call->wanted->force)
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
		                 "the partition is containerd's to end");
	server_answer(&call->pending->request, &success, NULL);
	server->ops->shutdown(server);
	return 0;
}

#define IN(status) (1u << CONTAINER_##status)
#define ALIVE (IN(CREATED) | IN(RUNNING) | IN(PAUSED))

struct handler {
	uint32_t type;
	const char *verb;       /* "cannot … container" */
	unsigned states;        /* of the container; 0: it is not about one */
	unsigned flags;
	int (*handle)(struct call *call, struct fault *fault);
};
enum {
	OF_PROCESS = 1 << 0,
	OF_VM = 1 << 1,         /* or about the VM, in the place of a container */
	WHILE_PAUSED = 1 << 2,  /* also when the VM is, or decides that itself */
};

static const struct handler handlers[] = {
	{ CONTROL_CREATE, "create", 0, 0, handle_create },
	{ CONTROL_SHARE, "create", 0, 0, handle_share },
	{ CONTROL_IMAGE, "create", 0, 0, handle_image },
	{ CONTROL_START, "start", IN(CREATED), 0, handle_start },
	{ CONTROL_CONTINUE, "continue", IN(CREATED), 0, handle_continue },
	{ CONTROL_EXEC, "exec in", IN(RUNNING), OF_VM, handle_exec },
	{ CONTROL_WAIT, "wait for", ALIVE | IN(STOPPED), OF_PROCESS | OF_VM | WHILE_PAUSED,
	  handle_wait },
	{ CONTROL_ATTACH, "attach to", ALIVE | IN(STOPPED), OF_PROCESS | OF_VM | WHILE_PAUSED,
	  handle_attach },
	{ CONTROL_SIGNAL, "signal", ALIVE, OF_PROCESS | OF_VM, handle_signal },
	{ CONTROL_RESIZE, "resize the terminal of", ALIVE, OF_PROCESS | OF_VM, handle_resize },
	{ CONTROL_STATE, "look at", 0, WHILE_PAUSED, handle_state },
	{ CONTROL_DELETE, "delete", IN(CREATING) | ALIVE | IN(STOPPED), WHILE_PAUSED,
	  handle_delete },
	{ CONTROL_PAUSE, "pause", IN(RUNNING), OF_VM, handle_pause },
	{ CONTROL_RESUME, "resume", IN(PAUSED), OF_VM | WHILE_PAUSED, handle_resume },
	{ CONTROL_UPDATE, "update", ALIVE, OF_VM, handle_update },
	{ CONTROL_PROCESSES, "list the processes of", ALIVE, 0, handle_processes },
	{ CONTROL_STATISTICS, "measure", ALIVE | IN(STOPPED), OF_VM, handle_statistics },
	{ CONTROL_EVENTS, "watch", 0, WHILE_PAUSED, handle_events },
	{ CONTROL_DUMP, "dump", 0, WHILE_PAUSED, handle_dump },
	{ CONTROL_SHUTDOWN, "shut down", 0, WHILE_PAUSED, handle_shutdown },
};

static const struct handler *find_handler(uint32_t type)
{
	for (size_t i = 0; i < array_size(handlers); i++) {
		if (handlers[i].type == type)
			return &handlers[i];
	}
	return NULL;
}

/* Looks up what the request is about. */
static int find_process(struct call *call, struct fault *fault)
{
	uint32_t pid = call->wanted->pid;

	/* 0 is the init, which the VM has not. */
	if (pid || !call->wanted->vm)
		call->process = container_process(call->container, pid);
	if (call->process)
		return 0;
	if (call->wanted->vm)
		return fault_set(fault, -ESRCH, HRESULT_NOT_FOUND, "the VM has no process %u", pid);
	return fault_set(fault, -ESRCH, HRESULT_NOT_FOUND, "container \"%s\" has no process %u",
	                 call->wanted->id, pid);
}

static int find_target(struct call *call, const struct handler *handler, struct fault *fault)
{
	if (call->wanted->vm && handler->flags & OF_VM) {
		call->container = task_vm(call->server->task);
		if (!call->container)
			return fault_errno(fault, -ENOMEM, "the VM");
		return handler->flags & OF_PROCESS ? find_process(call, fault) : 0;
	}
	int r = require(call->wanted->id, "Id", fault);

	if (r < 0)
		return r;
	call->container = task_find(call->server->task, call->wanted->id);
	if (!call->container)
		return fault_set(fault, -ENOENT, HRESULT_NO_SUCH_CONTAINER,
		                 "container \"%s\" does not exist", call->wanted->id);
	enum container_status status = container_status(call->container);
	if (!(handler->states & 1u << status))
		return fault_set(fault, -EINVAL, status == CONTAINER_STOPPED ?
		                 HRESULT_CONTAINER_NOT_RUNNING : HRESULT_INVALID_STATE,
		                 "cannot %s container \"%s\": it is %s", handler->verb,
		                 call->wanted->id, container_status_name(status));
	return handler->flags & OF_PROCESS ? find_process(call, fault) : 0;
}

int request_perform(struct pending *pending, const char *payload, size_t size,
                    struct fault *fault)
{
	struct server *server = pending->server;
	struct arena arena = ARENA(JSON_ARENA);
	struct control_request wanted = { 0 };
	struct call call = {
		.server = server,
		.client = pending->client,
		.pending = pending,
		.arena = &arena,
		.wanted = &wanted,
	};
	const struct handler *handler = find_handler(pending->type);
	int r = 0;

	if (!handler)
		r = fault_set(fault, -ENOSYS, HRESULT_NOT_IMPLEMENTED, "unknown request %#x",
		              pending->type);
	if (r >= 0)
		r = json_decode(&arena, &control_request_type, payload, size, &wanted, fault);
	/* What is over may be looked at and deleted to the last moment. */
	if (r >= 0 && server->ending && handler->type != CONTROL_STATE &&
	    handler->type != CONTROL_DELETE)
		r = fault_set(fault, -ESHUTDOWN, HRESULT_INVALID_STATE, "the partition is ending");
	if (r >= 0 && server->task->paused && !(handler->flags & WHILE_PAUSED))
		r = refuse_asleep(fault);
	if (r >= 0 && handler->states)
		r = find_target(&call, handler, fault);
	if (r >= 0)
		r = handler->handle(&call, fault);
	else
		drop_fds(&call);
	arena_free(&arena);
	return r;
}
