/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who is connected, and what he waits for. A request that is taken lives as a struct pending until
 * it is answered; if its client goes first, it is nobody's and its answer is dropped. Two kinds
 * end with their client: waiting, which is pointless then, and attaching, whose client stands for
 * the process and takes it along.
 */

#include "shim/server_private.h"

#include <stdio.h>

#define EVENT_QUEUE_MAX (256u << 10)    /* bytes that a subscriber may lag behind */
#define PENDINGS_MAX 4096               /* requests of one client that are not answered */

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

void server_answer(struct task_request *request, const struct control_reply *reply,
                   const struct fault *fault)
{
	struct pending *pending = container_of(request, struct pending, request);

	if (pending->client && reply)
		reply_success(pending->client, pending->type, pending->id, reply);
	else if (pending->client)
		reply_fault(pending->client, pending->type, pending->id, fault);
	pending_free(pending);
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
		.request.answer = server_answer,
		.server = client->server,
		.client = client,
		.id = frame->id,
		.type = frame->type,
		.next = client->pendings,
	};
	client->pendings = pending;
	client->pending_count++;
	if (request_perform(pending, payload, frame->size - FRAME_HEADER, &fault) < 0) {
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
