/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A connection can break under any answer, and answers come from anywhere, so sending never ends a
 * connection: it only shuts it down, and everything else happens when the loop finds its end.
 * Until then what the peer has sent before is read and done; a task that was to be deleted is
 * deleted, even if nobody is there to hear of it.
 *
 * A client that does not read is told nothing more once OUT_MAX bytes wait for it. Before that, at
 * OUT_PAUSE, its requests are left where they are: they are what makes answers, all but the parked
 * ones. Nobody else notices.
 *
 * A client cannot take a request back, it only says with it how long it will wait. Parked calls
 * that are older than that are given up, or a client that asks "has it ended?" with a deadline,
 * again and again, would fill its share of calls with questions that nobody asks any more.
 */

#include "shim/containerd/ttrpc_server.h"

#include "oci/log.h"
#include "shim/containerd/pack.h"
#include "shim/containerd/ttrpc.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define CALLS_MAX 8192                  /* of one connection */
#define OUT_PAUSE (1u << 20)
#define OUT_MAX (16u << 20)

#define NANOSECONDS 1000000000
#define NANOSECONDS_PER_MILLISECOND 1000000

struct ttrpc_connection {
	struct source source;
	struct ttrpc_server *server;
	struct ttrpc_connection *next, **at;
	struct ttrpc_input in;
	struct buf out;
	bool broken;                    /* nothing can be sent, and the end is near */
	bool left_over;                 /* requests have been read and left: see OUT_PAUSE */
	uint32_t last_stream;
	struct ttrpc_call *calls;
	unsigned call_count;
	struct ttrpc_call *handled;     /* whose handler is running, until it is answered */
	uint64_t requests;
	pid_t peer;
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * NANOSECONDS + (uint64_t)time.tv_nsec;
}

/* Sending */

static void break_connection(struct ttrpc_connection *connection, int error)
{
	log_debug("ttrpc: a connection of process %d: %s", (int)connection->peer,
	          errno_text(error));
	connection->broken = true;
	buf_deinit(&connection->out);
	(void)shutdown(connection->source.fd, SHUT_RDWR);
}

static bool is_paused(const struct ttrpc_connection *connection)
{
	return buf_length(&connection->out) > OUT_PAUSE;
}

static void wait_for_more(struct ttrpc_connection *connection)
{
	uint32_t want = is_paused(connection) ? 0 : EPOLLIN;

	if (buf_length(&connection->out) || connection->left_over)
		want |= EPOLLOUT;
	(void)source_want(&connection->source, want);
}

static void flush(struct ttrpc_connection *connection)
{
	int r = ttrpc_flush(&connection->out, connection->source.fd);

	if (r < 0)
		break_connection(connection, r);
	wait_for_more(connection);
}

static void respond(struct ttrpc_connection *connection, uint32_t stream,
                    const Ttrpc__Response *response)
{
	if (connection->broken)
		return;
	int r = ttrpc_put(&connection->out, TTRPC_RESPONSE, stream, &response->base);
	/* A client that would wait for ever is better off without us. */
	if (r < 0)
		break_connection(connection, r);
	flush(connection);
}

static void respond_status(struct ttrpc_connection *connection, uint32_t stream,
                           enum ttrpc_code code, const char *text)
{
	Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;

	status.code = (int32_t)code;
	status.message = (char *)(uintptr_t)text;
	response.status = &status;
	respond(connection, stream, &response);
}

/* Calls */

static struct ttrpc_call *call_new(struct ttrpc_connection *connection, uint32_t stream,
                                   const struct ttrpc_service *service,
                                   const struct ttrpc_method *method, int64_t timeout)
{
	struct ttrpc_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	*call = (struct ttrpc_call){
		.context = connection->server->context,
		.connection = connection,
		.next = connection->calls,
		.at = &connection->calls,
		.service = service,
		.method = method,
		.since = now(),
		.stream = stream,
	};
	if (timeout > 0)
		call->deadline = call->since + (uint64_t)timeout;
	if (call->next)
		call->next->at = &call->next;
	connection->calls = call;
	connection->call_count++;
	return call;
}

static void call_detach(struct ttrpc_call *call)
{
	struct ttrpc_connection *connection = call->connection;

	if (!connection)
		return;
	*call->at = call->next;
	if (call->next)
		call->next->at = call->at;
	connection->call_count--;
	if (connection->handled == call)
		connection->handled = NULL;
	call->connection = NULL;
}

/* Nobody waits for it any more. */
static void call_give_up(struct ttrpc_call *call)
{
	call_detach(call);
	if (call->gone) {
		call->gone(call);
		free(call);
	}
}

void ttrpc_answer(struct ttrpc_call *call, const ProtobufCMessage *reply)
{
	struct ttrpc_connection *connection = call->connection;
	uint32_t stream = call->stream;
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;

	call_detach(call);
	free(call);
	if (!connection)
		return;
	size_t size = reply ? protobuf_c_message_get_packed_size(reply) : 0;
	int r = size <= TTRPC_PAYLOAD_MAX ? 0 : -EMSGSIZE;
	if (r >= 0 && reply)
		r = pack_message(&response.payload, reply);
	if (r >= 0 && protobuf_c_message_get_packed_size(&response.base) > TTRPC_PAYLOAD_MAX)
		r = -EMSGSIZE;
	if (r >= 0)
		respond(connection, stream, &response);
	else
		respond_status(connection, stream, TTRPC_RESOURCE_EXHAUSTED, errno_text(r));
	free(response.payload.data);
}

void ttrpc_refuse(struct ttrpc_call *call, const struct fault *fault)
{
	struct ttrpc_connection *connection = call->connection;
	uint32_t stream = call->stream;

	log_debug("%s/%s: %s", call->service->name, call->method->name, fault->text);
	call_detach(call);
	free(call);
	if (connection)
		respond_status(connection, stream, ttrpc_code_of(fault), fault->text);
}

/* Deadlines */

static void expect_deadline(struct ttrpc_server *server, uint64_t deadline)
{
	if (server->expires && server->expires <= deadline)
		return;
	uint64_t time = now(), left = deadline > time ? deadline - time : 0;
	/* Rounded up, and 0 would disarm it. */
	if (timer_set(&server->expiry, left / NANOSECONDS_PER_MILLISECOND + 1) >= 0)
		server->expires = deadline;
}

static struct ttrpc_call *find_earliest(const struct ttrpc_server *server)
{
	struct ttrpc_call *found = NULL;

	for (const struct ttrpc_connection *c = server->connections; c; c = c->next) {
		for (struct ttrpc_call *call = c->calls; call; call = call->next) {
			if (call->deadline && (!found || call->deadline < found->deadline))
				found = call;
		}
	}
	return found;
}

static int on_expiry(struct timer *timer)
{
	struct ttrpc_server *server = container_of(timer, struct ttrpc_server, expiry);
	uint64_t time = now();
	struct ttrpc_call *call;

	server->expires = 0;
	/* Whoever is told may answer other calls: look anew. */
	while ((call = find_earliest(server)) != NULL && call->deadline <= time) {
		struct ttrpc_connection *connection = call->connection;
		uint32_t stream = call->stream;
		call->deadline = 0;
		if (!call->gone)
			continue;
		call_give_up(call);
		respond_status(connection, stream, TTRPC_DEADLINE_EXCEEDED, "deadline exceeded");
	}
	if (call)
		expect_deadline(server, call->deadline);
	return 0;
}

/* Requests */

static const struct ttrpc_service *find_service(const struct ttrpc_server *server, const char *name)
{
	for (size_t i = 0; i < server->service_count; i++) {
		if (!strcmp(server->services[i].name, name))
			return &server->services[i];
	}
	return NULL;
}

static const struct ttrpc_method *find_method(const struct ttrpc_service *service, const char *name)
{
	for (size_t i = 0; i < service->count; i++) {
		if (!strcmp(service->methods[i].name, name))
			return &service->methods[i];
	}
	return NULL;
}

static void handle(struct ttrpc_connection *connection, struct ttrpc_call *call,
                   const ProtobufCMessage *message)
{
	struct fault fault = FAULT_NULL;

	connection->handled = call;
	int r = call->method->handle(call, message, &fault);
	/* Answered, then it is gone. */
	if (connection->handled != call)
		return;
	connection->handled = NULL;
	if (r < 0) {
		if (!fault.text[0])
			fault_errno(&fault, r, "%s", call->method->name);
		ttrpc_refuse(call, &fault);
	} else if (call->deadline) {
		expect_deadline(connection->server, call->deadline);
	}
}

/* TTRPC_OK: the call is made, what becomes of it is up to its handler. Else there is a fault. */
static enum ttrpc_code perform(struct ttrpc_connection *connection, uint32_t stream,
                               const Ttrpc__Request *request, struct fault *fault)
{
	const struct ttrpc_service *service = find_service(connection->server, request->service);
	const struct ttrpc_method *method = service ? find_method(service, request->method) : NULL;

	if (!service)
		return fault_set(fault, TTRPC_UNIMPLEMENTED, HRESULT_NOT_IMPLEMENTED, "service %s",
		                 request->service);
	if (!method)
		return fault_set(fault, TTRPC_UNIMPLEMENTED, HRESULT_NOT_IMPLEMENTED, "method %s",
		                 request->method);
	if (connection->call_count >= CALLS_MAX)
		return fault_set(fault, TTRPC_RESOURCE_EXHAUSTED, HRESULT_FAIL,
		                 "%u requests of this connection are not answered yet", CALLS_MAX);
	ProtobufCMessage *message = unpack_message(method->request, &request->payload);
	if (!message)
		return fault_set(fault, TTRPC_INVALID_ARGUMENT, HRESULT_INVALID_ARGUMENT,
		                 "%s: what came is no %s", method->name, method->request->name);
	struct ttrpc_call *call = call_new(connection, stream, service, method,
	                                   request->timeout_nano);
	if (call)
		handle(connection, call, message);
	protobuf_c_message_free_unpacked(message, NULL);
	return call ? TTRPC_OK
	            : fault_set(fault, TTRPC_RESOURCE_EXHAUSTED, HRESULT_FAIL, "%s: %s",
	                        method->name, errno_text(ENOMEM));
}

static enum ttrpc_code take_request(struct ttrpc_connection *connection,
                                    const struct ttrpc_frame *frame, const uint8_t *payload,
                                    struct fault *fault)
{
	if (!payload)
		return fault_set(fault, TTRPC_RESOURCE_EXHAUSTED, HRESULT_FAIL,
		                 "a message of %u bytes is longer than %u", frame->size,
		                 TTRPC_PAYLOAD_MAX);
	if (!(frame->stream & 1))
		return fault_set(fault, TTRPC_INVALID_ARGUMENT, HRESULT_INVALID_ARGUMENT,
		                 "a client's stream has an odd number, not %u", frame->stream);
	if (frame->stream <= connection->last_stream)
		return fault_set(fault, TTRPC_INVALID_ARGUMENT, HRESULT_INVALID_ARGUMENT,
		                 "stream %u after stream %u", frame->stream,
		                 connection->last_stream);
	connection->last_stream = frame->stream;
	connection->requests++;
	Ttrpc__Request *request = ttrpc__request__unpack(NULL, frame->size, payload);
	if (!request)
		return fault_set(fault, TTRPC_INVALID_ARGUMENT, HRESULT_INVALID_ARGUMENT,
		                 "what came is no ttrpc.Request");
	enum ttrpc_code code = perform(connection, frame->stream, request, fault);
	ttrpc__request__free_unpacked(request, NULL);
	return code;
}

static void on_frame(struct ttrpc_connection *connection, const struct ttrpc_frame *frame,
                     const uint8_t *payload)
{
	struct fault fault = FAULT_NULL;

	if (frame->type != TTRPC_REQUEST)
		return;
	enum ttrpc_code code = take_request(connection, frame, payload, &fault);
	if (code == TTRPC_OK)
		return;
	log_debug("ttrpc: %s", fault.text);
	respond_status(connection, frame->stream, code, fault.text);
}

/* Connections */

static void connection_free(struct ttrpc_connection *connection)
{
	*connection->at = connection->next;
	if (connection->next)
		connection->next->at = connection->at;
	connection->server->connection_count--;
	connection->broken = true;
	while (connection->calls)
		call_give_up(connection->calls);
	source_close(&connection->source);
	ttrpc_input_deinit(&connection->in);
	buf_deinit(&connection->out);
	free(connection);
}

static void take_frames(struct ttrpc_connection *connection)
{
	struct ttrpc_frame frame;
	const uint8_t *payload;

	while (!is_paused(connection) && ttrpc_input_next(&connection->in, &frame, &payload))
		on_frame(connection, &frame, payload);
	connection->left_over = is_paused(connection);
	wait_for_more(connection);
}

static int on_socket(struct source *source, uint32_t got)
{
	struct ttrpc_connection *connection =
		container_of(source, struct ttrpc_connection, source);

	/* Also after a hang-up: it ends what waits to be sent, so that the rest is read. */
	if (buf_length(&connection->out))
		flush(connection);
	take_frames(connection);
	if (!(got & ~(uint32_t)EPOLLOUT) || is_paused(connection))
		return 0;
	int r = ttrpc_input_receive(&connection->in, source->fd);
	if (r >= 0)
		take_frames(connection);
	else if (r != -EAGAIN)
		connection_free(connection);
	return 0;
}

static int accept_connection(struct ttrpc_server *server)
{
	struct hv_peer peer;
	cleanup_close int fd = hv_accept(&server->listener, &peer);

	if (fd < 0)
		return fd;
	cleanup_free struct ttrpc_connection *connection = calloc(1, sizeof(*connection));
	if (!connection)
		return -ENOMEM;
	*connection = (struct ttrpc_connection){
		.server = server,
		.next = server->connections,
		.at = &server->connections,
		.in = TTRPC_INPUT_NULL,
		.out = BUF(OUT_MAX),
		.peer = peer.pid,
	};
	int r = source_init(&connection->source, server->loop, fd, EPOLLIN, on_socket);
	if (r < 0)
		return r;
	take_fd(&fd);
	if (connection->next)
		connection->next->at = &connection->next;
	server->connections = take_pointer(connection);
	server->connection_count++;
	return 0;
}

static int on_connection(struct source *source, uint32_t got)
{
	(void)got;
	int r = accept_connection(container_of(source, struct ttrpc_server, accepting));

	if (r < 0 && r != -EAGAIN)
		log_warning("ttrpc: %s", errno_text(r));
	return 0;
}

/* The server */

int ttrpc_server_init(struct ttrpc_server *server, struct loop *loop, int listen_fd,
                      const struct ttrpc_service *services, size_t count, void *context)
{
	*server = (struct ttrpc_server)TTRPC_SERVER_NULL;
	server->listener.fd = listen_fd;
	/* As hv_listen() would make it: our user and root are let in. */
	server->listener.endpoint.scheme = HV_SCHEME_UNIX;
	server->listener.endpoint.address.vm = hv_guid_loopback;
	server->listener.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	server->services = services;
	server->service_count = count;
	server->context = context;
	server->loop = loop;
	int r = timer_init(&server->expiry, loop, on_expiry);
	if (r >= 0 && fcntl(listen_fd, F_SETFL, O_NONBLOCK) < 0)
		r = -errno;
	if (r >= 0)
		r = source_init(&server->accepting, loop, listen_fd, EPOLLIN, on_connection);
	if (r < 0)
		ttrpc_server_deinit(server);
	return r;
}

void ttrpc_server_deinit(struct ttrpc_server *server)
{
	source_deinit(&server->accepting);
	hv_listener_close(&server->listener);
	while (server->connections) {
		flush(server->connections);
		connection_free(server->connections);
	}
	timer_deinit(&server->expiry);
}

unsigned ttrpc_server_connections(const struct ttrpc_server *server)
{
	return server->connection_count;
}

void ttrpc_server_describe(const struct ttrpc_server *server, struct buf *out)
{
	uint64_t time = now();

	(void)buf_printf(out, "ttrpc connections: %u\n", server->connection_count);
	for (const struct ttrpc_connection *c = server->connections; c; c = c->next) {
		(void)buf_printf(out, "  process %d: %llu requests, %u under way, "
		                 "%zu bytes unsent\n", (int)c->peer,
		                 (unsigned long long)c->requests, c->call_count,
		                 buf_length(&c->out));
		for (const struct ttrpc_call *call = c->calls; call; call = call->next)
			(void)buf_printf(out, "    %s/%s for %llu s\n", call->service->name,
			                 call->method->name,
			                 (unsigned long long)((time - call->since) / NANOSECONDS));
	}
}
