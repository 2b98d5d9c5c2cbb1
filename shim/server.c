/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One row per request: which states a container must be in, and what is done. A request that is
 * taken lives as a struct pending until it is answered; if its client goes first, it is nobody's
 * and its answer is dropped. Two kinds end with their client: waiting, which is pointless then,
 * and attaching, whose client stands for the process and takes it along.
 */

#include "shim/server.h"

#include <stdio.h>
#include <string.h>

#define EVENT_QUEUE_MAX (256u << 10)    /* bytes that a subscriber may lag behind */
#define DUMP_MAX (1u << 20)
#define PENDINGS_MAX 4096               /* requests of one client that are not answered */

struct pending {
	struct task_request request;
	struct server *server;
	struct client *client;          /* NULL: gone */
	uint64_t id;
	uint32_t type;
	struct pending *next;           /* of the client */
};

struct client {
	struct server *server;
	struct channel channel;
	struct pending *pendings;
	unsigned pending_count;
	struct share *share;            /* for the container that it creates next */
	struct image *image;            /* likewise */
	bool subscribed;
	uint64_t events_id;
	struct client *next;
};

/* Answers */

static void send_payload(struct client *client, uint32_t type, uint64_t id, struct buf *payload,
                         int error)
{
	if (error >= 0)
		error = channel_send(&client->channel, type, id, buf_head(payload),
		                     buf_length(payload));
	/* A client that would wait for ever is better off without us. */
	if (error < 0)
		channel_fail(&client->channel, error);
	buf_deinit(payload);
}

static void reply_fault(struct client *client, uint32_t type, uint64_t id,
                        const struct fault *fault)
{
	struct buf payload = BUF(FRAME_PLAIN_MAX);
	struct fault told = *fault;

	if (!told.hresult)
		told.hresult = HRESULT_FAIL;
	send_payload(client, MESSAGE_RESPONSE(type), id, &payload,
	             message_encode_fault(&told, NULL, FRAME_PLAIN_MAX, &payload));
}

static void reply_success(struct client *client, uint32_t type, uint64_t id,
                          const struct control_reply *reply)
{
	struct buf payload = BUF(CONTROL_FRAME_MAX);

	send_payload(client, MESSAGE_RESPONSE(type), id, &payload,
	             message_encode(&control_reply_type, reply, FROM_HOST, CONTROL_FRAME_MAX,
	                            &payload));
}

static void pending_free(struct pending *pending)
{
	struct client *client = pending->client;

	if (client) {
		struct pending **at = &client->pendings;
		while (*at != pending)
			at = &(*at)->next;
		*at = pending->next;
		client->pending_count--;
	}
	free(pending);
}

static void on_answer(struct task_request *request, const struct control_reply *reply,
                      const struct fault *fault)
{
	struct pending *pending = container_of(request, struct pending, request);

	if (pending->client && reply)
		reply_success(pending->client, pending->type, pending->id, reply);
	else if (pending->client)
		reply_fault(pending->client, pending->type, pending->id, fault);
	pending_free(pending);
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
	on_answer(request, &whole, NULL);
	buf_deinit(&text);
}

/* Handlers */

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

	if (call->wanted->tree) {
		fd[0] = channel_take_fd(&call->client->channel);
		if (fd[0] >= 0)
			close(fd[0]);
	}
	if (take_fds(call, fd, NULL) < 0)
		return;
	for (int i = 0; i < STDIO_COUNT; i++)
		close_fd(&fd[i]);
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
		for (int i = 0; i < STDIO_COUNT; i++)
			close_fd(&fd[i]);
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
		on_answer(&call->pending->request, &success, NULL);
	return r;
}

static void on_image(void *context, const struct fault *fault)
{
	static const struct control_reply success;
	struct pending *pending = context;
	struct client *client = pending->client;

	if (fault && client)
		image_free(take_pointer(client->image));
	on_answer(&pending->request, fault ? NULL : &success, fault);
}

static int handle_image(struct call *call, struct fault *fault)
{
	const struct control_request *wanted = call->wanted;
	struct client *client = call->client;
	struct task *task = call->server->task;
	cleanup_close int fd = wanted->tree ? channel_take_fd(&client->channel) : -1;

	if (fd < 0)
		return fault_set(fault, -EBADF, HRESULT_INVALID_ARGUMENT,
		                 "an image comes without its file");
	int r = require(wanted->share, "Share", fault);
	if (r >= 0 && client->image)
		r = fault_set(fault, -EBUSY, HRESULT_INVALID_STATE, "there is an image already");
	return r < 0 ? r : image_new(task->partition, task->bridge, wanted->share, fd,
	                             wanted->read_only, on_image, call->pending, &client->image,
	                             fault);
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
		for (int i = 0; i < STDIO_COUNT; i++)
			close_fd(&fd[i]);
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
	on_answer(&call->pending->request, &reply, NULL);
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
	on_answer(&call->pending->request, &success, NULL);
	return 0;
}

static int handle_dump(struct call *call, struct fault *fault)
{
	call->pending->request.answer = on_dump_answer;
	if (call->server->task->paused)
		fault_set(fault, 0, HRESULT_INVALID_STATE, "paused with its VM");
	if (call->server->task->paused || task_dump(call->server->task, &call->pending->request, fault) < 0)
		on_dump_answer(&call->pending->request, NULL, fault);
	return 0;
}

static int handle_shutdown(struct call *call, struct fault *fault)
{
	static const struct control_reply success;
	struct server *server = call->server;

	if (server->task->containers && !call->wanted->force)
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
		                 "the partition holds containers");
	on_answer(&call->pending->request, &success, NULL);
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
	{ CONTROL_UPDATE, "update", ALIVE, 0, handle_update },
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

static int perform(struct client *client, struct pending *pending, const char *payload,
                   size_t size, struct fault *fault)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct control_request wanted = { 0 };
	struct call call = {
		.server = client->server,
		.client = client,
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
	if (r >= 0 && client->server->ending && handler->type != CONTROL_STATE &&
	    handler->type != CONTROL_DELETE)
		r = fault_set(fault, -ESHUTDOWN, HRESULT_INVALID_STATE, "the partition is ending");
	if (r >= 0 && client->server->task->paused && !(handler->flags & WHILE_PAUSED))
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

/* Clients */

static int on_message(struct channel *channel, const struct frame *frame, const char *payload)
{
	struct client *client = container_of(channel, struct client, channel);
	struct fault fault = FAULT_NULL;

	if ((frame->type & FRAME_KIND) != FRAME_REQUEST || client->pending_count >= PENDINGS_MAX)
		return -EPROTO;
	struct pending *pending = calloc(1, sizeof(*pending));
	if (!pending)
		return -ENOMEM;
	*pending = (struct pending){
		.request.answer = on_answer,
		.server = client->server,
		.client = client,
		.id = frame->id,
		.type = frame->type,
		.next = client->pendings,
	};
	client->pendings = pending;
	client->pending_count++;
	if (perform(client, pending, payload, frame->size - FRAME_HEADER, &fault) < 0) {
		log_debug("request %#x: %s", frame->type, fault.text);
		reply_fault(client, frame->type, frame->id, &fault);
		pending_free(pending);
	}
	return 0;
}

static void abandon(struct pending *pending)
{
	struct process *process = pending->request.process;

	pending->client = NULL;
	pending->request.orphaned = true;
	if (pending->type != CONTROL_WAIT && pending->type != CONTROL_ATTACH)
		return;
	if (pending->type == CONTROL_ATTACH) {
		log_debug("the proxy of process %u has gone", process->pid);
		process->proxy = 0;
		task_kill(process);
	}
	task_cancel(&pending->request);
	free(pending);
}

static void client_free(struct client *client)
{
	struct client **at = &client->server->clients;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	while (client->pendings) {
		struct pending *pending = client->pendings;
		client->pendings = pending->next;
		abandon(pending);
	}
	channel_deinit(&client->channel);
	share_free(client->share);
	image_free(client->image);
	free(client);
}

static void on_lost(struct channel *channel, int error)
{
	(void)error;
	client_free(container_of(channel, struct client, channel));
}

static const struct channel_ops channel_ops = { .message = on_message, .lost = on_lost };

static int accept_client(struct server *server)
{
	cleanup_close int fd = hv_accept(&server->listener, NULL);

	if (fd < 0)
		return fd;
	struct client *client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	client->server = server;
	int r = channel_init(&client->channel, server->loop, take_fd(&fd), CONTROL_FRAME_MAX,
	                     CONTROL_FRAME_MAX, &channel_ops);
	if (r < 0) {
		free(client);
		return r;
	}
	client->next = server->clients;
	server->clients = client;
	return 0;
}

static int on_connection(struct source *source, uint32_t got)
{
	(void)got;
	int r = accept_client(container_of(source, struct server, accepting));

	if (r < 0 && r != -EAGAIN)
		log_warning("control socket: %s", errno_text(r));
	return 0;
}

/* The server */

void server_event(struct server *server, const struct control_event *event)
{
	struct buf payload = BUF(FRAME_PLAIN_MAX);
	int r = 0;
	bool encoded = false;

	for (struct client *client = server->clients; r >= 0 && client; client = client->next) {
		if (!client->subscribed)
			continue;
		if (!encoded)
			r = message_encode(&control_event_type, event, FROM_HOST, FRAME_PLAIN_MAX,
			                   &payload);
		encoded = true;
		/* Events are for those who keep up with them. */
		if (r >= 0 && buf_length(&client->channel.queue) > EVENT_QUEUE_MAX)
			channel_fail(&client->channel, -ENOBUFS);
		else if (r >= 0)
			(void)channel_send(&client->channel, CONTROL_EVENT, client->events_id,
			                   buf_head(&payload), buf_length(&payload));
	}
	buf_deinit(&payload);
}

void server_describe(struct server *server, struct buf *out)
{
	unsigned clients = 0, subscribers = 0;

	for (struct client *client = server->clients; client; client = client->next) {
		clients++;
		subscribers += client->subscribed;
	}
	server->ops->describe(server, out);
	(void)buf_printf(out, "clients: %u, %u of them want events\n", clients, subscribers);
	task_describe(server->task, out);
}

int server_init(struct server *server, struct loop *loop, struct task *task, const char *directory,
                const struct server_ops *ops, struct fault *fault)
{
	struct hv_endpoint endpoint = { .scheme = HV_SCHEME_UNIX };
	int n = snprintf(endpoint.path, sizeof(endpoint.path), "%s/" CONTROL_SOCKET, directory);

	*server = (struct server)SERVER_NULL;
	server->loop = loop;
	server->task = task;
	server->ops = ops;
	int r = (size_t)n < sizeof(endpoint.path) ? 0 : -ENAMETOOLONG;
	if (r >= 0)
		r = hv_listen(&server->listener, &endpoint, NULL, NULL);
	if (r >= 0)
		r = source_init(&server->accepting, loop, server->listener.fd, EPOLLIN,
		                on_connection);
	return r < 0 ? fault_errno(fault, r, "control socket in %s", directory) : 0;
}

void server_close_socket(struct server *server)
{
	source_deinit(&server->accepting);
	hv_listener_close(&server->listener);
}

void server_deinit(struct server *server)
{
	while (server->clients)
		client_free(server->clients);
	server_close_socket(server);
}
