/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a client may send, in pieces: their size is the first byte. Connect is answered, Wait parks,
 * Create goes on, everything else is refused. What comes back must be responses.
 */

#include "shim/containerd/ttrpc_server.h"

#include "shim/containerd/proto/task.pb-c.h"
#include "shim/containerd/ttrpc.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct source turns = SOURCE_NULL;
static int turns_left;
static unsigned parked;
static struct ttrpc_call *going;

static int turn(struct source *source, uint32_t got)
{
	(void)got;
	if (!turns_left--)
		loop_stop(source->loop);
	return 0;
}

static void gone(struct ttrpc_call *call)
{
	parked -= call->parked == &parked;
}

static int do_connect(struct ttrpc_call *call, const ProtobufCMessage *request, struct fault *fault)
{
	(void)fault;
	ttrpc_answer(call, request);
	return 0;
}

static int do_wait(struct ttrpc_call *call, const ProtobufCMessage *request, struct fault *fault)
{
	(void)request;
	if (parked > 10)
		return fault_set(fault, -EBUSY, HRESULT_FAIL, "enough");
	call->gone = gone;
	call->parked = &parked;
	parked++;
	return 0;
}

static int do_create(struct ttrpc_call *call, const ProtobufCMessage *request, struct fault *fault)
{
	(void)fault;
	if (going)
		ttrpc_answer(going, request);
	going = call;
	return 0;
}

static const struct ttrpc_method methods[] = {
	{ "Connect", &containerd__task__v2__connect_request__descriptor, do_connect },
	{ "Wait", &containerd__task__v2__wait_request__descriptor, do_wait },
	{ "Create", &containerd__task__v2__create_task_request__descriptor, do_create },
};
static const struct ttrpc_service service = { "T", methods, array_size(methods) };

static void spin(struct loop *loop, int fd, struct ttrpc_input *in)
{
	struct ttrpc_frame frame;
	const uint8_t *payload;

	turns_left = 3;
	(void)loop_run(loop);
	while (fd >= 0 && ttrpc_input_receive(in, fd) == 0) {
		while (ttrpc_input_next(in, &frame, &payload)) {
			Ttrpc__Response *response = payload && frame.type == TTRPC_RESPONSE
				? ttrpc__response__unpack(NULL, frame.size, payload) : NULL;
			if (!response)
				abort();
			ttrpc__response__free_unpacked(response, NULL);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t address_size = sizeof(address);
	struct ttrpc_input in = TTRPC_INPUT_NULL;
	struct ttrpc_server server;
	struct loop loop;

	if (!size)
		return 0;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), listener = socket(AF_UNIX, SOCK_STREAM, 0);
	if (loop_init(&loop) < 0 ||
	    source_init(&turns, &loop, memfd_create("turns", 0), EPOLLIN, turn) < 0 ||
	    bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &address_size) < 0 ||
	    listen(listener, 1) < 0 ||
	    connect(fd, (struct sockaddr *)&address, address_size) < 0 ||
	    ttrpc_server_init(&server, &loop, listener, &service, 1, NULL) < 0)
		abort();
	for (size_t at = 1, piece = (size_t)bytes[0] + 1; at < size; at += piece) {
		(void)send(fd, bytes + at, min_size(piece, size - at), MSG_NOSIGNAL | MSG_DONTWAIT);
		spin(&loop, fd, &in);
	}
	close(fd);
	spin(&loop, -1, &in);
	if (parked || ttrpc_server_connections(&server))
		abort();
	ttrpc_server_deinit(&server);
	if (going)
		ttrpc_answer(take_pointer(going), NULL);
	ttrpc_input_deinit(&in);
	source_close(&turns);
	loop_deinit(&loop);
	return 0;
}
