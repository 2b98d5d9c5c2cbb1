/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A call that is given up leaves its answer on the way; the number of its stream tells it from the
 * next one's. If not even the request has left when its time is over, the connection is closed, or
 * requests would pile up behind a peer that does not read.
 */

#include "shim/containerd/ttrpc_client.h"

#include "hvsocket/hvsocket.h"
#include "shim/containerd/pack.h"

#include <string.h>

#define METADATA_NAMESPACE "containerd-namespace-ttrpc"
#define NANOSECONDS_PER_MILLISECOND 1000000

static void disconnect(struct ttrpc_client *client)
{
	source_close(&client->source);
	ttrpc_input_deinit(&client->in);
	buf_deinit(&client->out);
	client->stream = 0;
}

/* The client may be gone after it. */
static void finish(struct ttrpc_client *client, enum ttrpc_code code, const char *text)
{
	ttrpc_client_fn *done = client->done;

	client->done = NULL;
	(void)timer_set(&client->deadline, 0);
	if (done)
		done(client, code, text);
}

static void lose(struct ttrpc_client *client, int error)
{
	disconnect(client);
	finish(client, TTRPC_UNAVAILABLE,
	       error == -ENODATA ? "the connection is closed" : errno_text(error));
}

static void on_response(struct ttrpc_client *client, const struct ttrpc_frame *frame,
                        const uint8_t *payload)
{
	Ttrpc__Response *response =
		payload ? ttrpc__response__unpack(NULL, frame->size, payload) : NULL;

	if (!response)
		finish(client, TTRPC_INTERNAL, "what came is no ttrpc.Response");
	else if (response->status && response->status->code)
		finish(client, (enum ttrpc_code)response->status->code, response->status->message);
	else
		finish(client, TTRPC_OK, "");
	if (response)
		ttrpc__response__free_unpacked(response, NULL);
}

static int receive(struct ttrpc_client *client)
{
	struct ttrpc_frame frame;
	const uint8_t *payload;
	int r = ttrpc_input_receive(&client->in, client->source.fd);

	if (r < 0)
		return r;
	while (ttrpc_input_next(&client->in, &frame, &payload)) {
		if (frame.type != TTRPC_RESPONSE || frame.stream != client->stream || !client->done)
			continue;
		/* What may follow it can be no answer to a later call. */
		on_response(client, &frame, payload);
		break;
	}
	return 0;
}

static int send_out(struct ttrpc_client *client)
{
	int r = ttrpc_flush(&client->out, client->source.fd);

	if (r >= 0)
		r = source_want(&client->source,
		                EPOLLIN | (buf_length(&client->out) ? EPOLLOUT : 0));
	return r;
}

static int on_socket(struct source *source, uint32_t got)
{
	struct ttrpc_client *client = container_of(source, struct ttrpc_client, source);
	int r = got & EPOLLOUT ? send_out(client) : 0;

	if (r >= 0 && got & ~(uint32_t)EPOLLOUT)
		r = receive(client);
	if (r < 0 && r != -EAGAIN)
		lose(client, r);
	return 0;
}

static int on_deadline(struct timer *timer)
{
	struct ttrpc_client *client = container_of(timer, struct ttrpc_client, deadline);

	if (buf_length(&client->out))
		disconnect(client);
	finish(client, TTRPC_DEADLINE_EXCEEDED, "no answer in time");
	return 0;
}

void ttrpc_client_init(struct ttrpc_client *client, struct loop *loop)
{
	*client = (struct ttrpc_client)TTRPC_CLIENT_NULL;
	client->loop = loop;
	client->out = (struct buf)BUF(TTRPC_HEADER + TTRPC_PAYLOAD_MAX);
	(void)timer_init(&client->deadline, loop, on_deadline);
}

void ttrpc_client_deinit(struct ttrpc_client *client)
{
	client->done = NULL;
	disconnect(client);
	timer_deinit(&client->deadline);
}

int ttrpc_client_connect(struct ttrpc_client *client, const char *path)
{
	struct hv_endpoint endpoint = { .scheme = HV_SCHEME_UNIX };
	size_t length = strlen(path);
	bool pending;

	disconnect(client);
	if (length >= sizeof(endpoint.path))
		return -ENAMETOOLONG;
	memcpy(endpoint.path, path, length + 1);
	/* A unix socket is connected at once or not at all. */
	int fd = hv_connect(&endpoint, NULL, false, &pending);
	if (fd < 0)
		return fd;
	int r = source_init(&client->source, client->loop, fd, EPOLLIN, on_socket);
	if (r < 0)
		close(fd);
	return r;
}

static int put_request(struct ttrpc_client *client, const struct ttrpc_request *wanted)
{
	Ttrpc__KeyValue namespace = TTRPC__KEY_VALUE__INIT, *metadata[] = { &namespace };
	Ttrpc__Request request = TTRPC__REQUEST__INIT;

	request.service = (char *)(uintptr_t)wanted->service;
	request.method = (char *)(uintptr_t)wanted->method;
	request.timeout_nano = (int64_t)wanted->timeout * NANOSECONDS_PER_MILLISECOND;
	if (wanted->namespace) {
		namespace.key = (char *)(uintptr_t)METADATA_NAMESPACE;
		namespace.value = (char *)(uintptr_t)wanted->namespace;
		request.metadata = metadata;
		request.n_metadata = array_size(metadata);
	}
	int r = pack_message(&request.payload, wanted->message);
	if (r >= 0)
		r = ttrpc_put(&client->out, TTRPC_REQUEST, client->stream, &request.base);
	free(request.payload.data);
	return r;
}

int ttrpc_client_call(struct ttrpc_client *client, const struct ttrpc_request *request,
                      ttrpc_client_fn *done)
{
	if (client->done)
		return -EBUSY;
	/* The last request was answered before all of it had left; or the numbers are used up. */
	if (buf_length(&client->out) || client->stream == UINT32_MAX)
		disconnect(client);
	if (!ttrpc_client_connected(client))
		return -ENOTCONN;
	uint32_t before = client->stream;
	client->stream += before ? 2 : 1;
	int r = put_request(client, request);
	if (r < 0) {
		client->stream = before;
		return r;
	}
	r = timer_set(&client->deadline, request->timeout);
	if (r >= 0)
		r = send_out(client);
	if (r < 0) {
		(void)timer_set(&client->deadline, 0);
		disconnect(client);
		return r;
	}
	client->done = done;
	return 0;
}
