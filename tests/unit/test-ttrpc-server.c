/* SPDX-License-Identifier: Apache-2.0 */

/* A server with a small service, and clients that are good, odd, slow, and gone. */

#include "shim/containerd/ttrpc_server.h"

#include "shim/containerd/proto/task.pb-c.h"
#include "tests/unit/ttrpc-box.h"

#include <sys/un.h>
#include <sys/wait.h>

#define TASK "containerd.task.v2.Task"
#define PARKED_MAX 10000

struct fixture {
	struct turner turner;
	struct ttrpc_server server;
	struct sockaddr_un address;
	socklen_t address_size;
	struct ttrpc_call *parked[PARKED_MAX];
	unsigned parked_count, gone, handled;
	struct ttrpc_call *going;       /* goes on without its client */
	struct ttrpc_call *other;       /* to be answered by who is gone */
	size_t answer_size;
};

static int handle_connect(struct ttrpc_call *call, const ProtobufCMessage *message,
                          struct fault *fault)
{
	(void)fault;
	struct fixture *fixture = call->context;
	const Containerd__Task__V2__ConnectRequest *request =
		container_of(message, const Containerd__Task__V2__ConnectRequest, base);
	Containerd__Task__V2__ConnectResponse response =
		CONTAINERD__TASK__V2__CONNECT_RESPONSE__INIT;

	fixture->handled++;
	response.shim_pid = 4242;
	if (!strcmp(request->id, "c1"))
		response.task_pid = 4243;
	else
		response.version = request->id;
	if (strlen(request->id) > 100)
		response.version = NULL;
	ttrpc_answer(call, &response.base);
	return 0;
}

static void on_gone(struct ttrpc_call *call)
{
	struct fixture *fixture = call->context;
	struct ttrpc_call **slot = call->parked;

	assert_ptr_equal(*slot, call);
	*slot = NULL;
	fixture->gone++;
	if (fixture->other) {
		struct ttrpc_call *other = fixture->other;
		fixture->other = NULL;
		*(struct ttrpc_call **)other->parked = NULL;
		ttrpc_answer(other, NULL);
	}
}

static int handle_wait(struct ttrpc_call *call, const ProtobufCMessage *message,
                       struct fault *fault)
{
	(void)message;
	(void)fault;
	struct fixture *fixture = call->context;

	assert_true(fixture->parked_count < PARKED_MAX);
	call->parked = &fixture->parked[fixture->parked_count];
	call->gone = on_gone;
	fixture->parked[fixture->parked_count++] = call;
	return 0;
}

static int handle_create(struct ttrpc_call *call, const ProtobufCMessage *message,
                         struct fault *fault)
{
	(void)message;
	(void)fault;
	struct fixture *fixture = call->context;

	assert_null(fixture->going);
	fixture->going = call;
	return 0;
}

static int handle_delete(struct ttrpc_call *call, const ProtobufCMessage *message,
                         struct fault *fault)
{
	const Containerd__Task__V2__DeleteRequest *request =
		container_of(message, const Containerd__Task__V2__DeleteRequest, base);
	struct fixture *fixture = call->context;

	fixture->handled++;
	return fault_set(fault, -ENOENT, HRESULT_NO_SUCH_CONTAINER, "%s: not found", request->id);
}

static int handle_kill(struct ttrpc_call *call, const ProtobufCMessage *message,
                       struct fault *fault)
{
	(void)message;
	(void)fault;
	ttrpc_answer(call, NULL);
	return 0;
}

static int handle_pause(struct ttrpc_call *call, const ProtobufCMessage *message,
                        struct fault *fault)
{
	(void)call;
	(void)message;
	(void)fault;
	return -ENOSPC;
}

static int handle_state(struct ttrpc_call *call, const ProtobufCMessage *message,
                        struct fault *fault)
{
	(void)message;
	(void)fault;
	struct fixture *fixture = call->context;
	Containerd__Task__V2__StateResponse response = CONTAINERD__TASK__V2__STATE_RESPONSE__INIT;
	cleanup_free char *bundle = malloc(fixture->answer_size + 1);

	memset(bundle, 'b', fixture->answer_size);
	bundle[fixture->answer_size] = '\0';
	response.bundle = bundle;
	fixture->handled++;
	ttrpc_answer(call, &response.base);
	return 0;
}

#define METHOD(name, type, handler) { name, &containerd__task__v2__##type##__descriptor, handler }

static const struct ttrpc_method methods[] = {
	METHOD("Connect", connect_request, handle_connect),
	METHOD("Wait", wait_request, handle_wait),
	METHOD("Create", create_task_request, handle_create),
	METHOD("Delete", delete_request, handle_delete),
	METHOD("Kill", kill_request, handle_kill),
	METHOD("Pause", pause_request, handle_pause),
	METHOD("State", state_request, handle_state),
};
static const struct ttrpc_service services[] = {
	{ "containerd.task.v3.Task", methods, array_size(methods) },
	{ TASK, methods, array_size(methods) },
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	turner_init(&fixture->turner);
	fixture->server = (struct ttrpc_server)TTRPC_SERVER_NULL;
	ttrpc_server_deinit(&fixture->server);
	/* The kernel chooses a name. */
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fixture->address.sun_family = AF_UNIX;
	assert_int_equal(bind(fd, (struct sockaddr *)&fixture->address, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(fd, 128), 0);
	fixture->address_size = sizeof(fixture->address);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&fixture->address,
	                             &fixture->address_size), 0);
	assert_int_equal(ttrpc_server_init(&fixture->server, &fixture->turner.loop, fd, services,
	                                   array_size(services), fixture), 0);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	ttrpc_server_deinit(&fixture->server);
	assert_int_equal(ttrpc_server_connections(&fixture->server), 0);
	ttrpc_server_deinit(&fixture->server);
	for (unsigned i = 0; i < fixture->parked_count; i++)
		assert_null(fixture->parked[i]);
	if (fixture->going)
		ttrpc_answer(fixture->going, NULL);
	turner_deinit(&fixture->turner);
	free(fixture);
	return 0;
}

/* Clients */

static int dial(struct fixture *fixture)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&fixture->address,
	                         fixture->address_size), 0);
	return fd;
}

static struct end arrive(struct fixture *fixture)
{
	unsigned before = ttrpc_server_connections(&fixture->server);
	struct end end = { .fd = dial(fixture) };

	turn(&fixture->turner);
	assert_int_equal(ttrpc_server_connections(&fixture->server), before + 1);
	return end;
}

static void say_frame(struct fixture *fixture, struct end *end, struct ttrpc_frame frame,
                      const void *payload)
{
	uint8_t header[TTRPC_HEADER];

	ttrpc_frame_encode(&frame, header);
	say(&fixture->turner, end, header, sizeof(header));
	if (payload)
		say(&fixture->turner, end, payload, frame.size);
}

/* payload: of the request inside. */
static struct buf make_request(uint32_t stream, const char *service, const char *method,
                               const char *payload, int64_t timeout)
{
	struct buf out = BUF(TTRPC_HEADER + TTRPC_PAYLOAD_MAX);
	Ttrpc__Request request = TTRPC__REQUEST__INIT;

	request.service = (char *)(uintptr_t)service;
	request.method = (char *)(uintptr_t)method;
	request.payload = (ProtobufCBinaryData){ strlen(payload), (uint8_t *)(uintptr_t)payload };
	request.timeout_nano = timeout;
	assert_int_equal(ttrpc_put(&out, TTRPC_REQUEST, stream, &request.base), 0);
	return out;
}

static void ask(struct fixture *fixture, struct end *end, uint32_t stream, const char *service,
                const char *method, const char *payload)
{
	struct buf out = make_request(stream, service, method, payload, 0);

	say(&fixture->turner, end, buf_head(&out), buf_length(&out));
	buf_deinit(&out);
}

static void ask_within(struct fixture *fixture, struct end *end, uint32_t stream,
                       const char *method, unsigned milliseconds)
{
	struct buf out = make_request(stream, TASK, method, "", (int64_t)milliseconds * 1000000);

	say(&fixture->turner, end, buf_head(&out), buf_length(&out));
	buf_deinit(&out);
}

static void assert_status(struct fixture *fixture, struct end *end, uint32_t stream, int code,
                          const char *text)
{
	struct ttrpc_frame frame;
	const uint8_t *payload;

	assert_true(hear(&fixture->turner, end, &frame, &payload));
	assert_int_equal(frame.stream, stream);
	assert_int_equal(frame.type, TTRPC_RESPONSE);
	assert_int_equal(frame.flags, 0);
	Ttrpc__Response *response = ttrpc__response__unpack(NULL, frame.size, payload);
	assert_non_null(response);
	assert_int_equal(response->status ? response->status->code : 0, code);
	if (text)
		assert_string_equal(response->status ? response->status->message : "", text);
	assert_true(!code || !response->payload.len);
	ttrpc__response__free_unpacked(response, NULL);
}

/* The connection works: a request with a number that is free, and its answer. */
static void assert_works(struct fixture *fixture, struct end *end, uint32_t stream)
{
	ask(fixture, end, stream, TASK, "Kill", "");
	assert_status(fixture, end, stream, 0, NULL);
}

static void leave(struct fixture *fixture, struct end *end)
{
	end_close(end);
	turn(&fixture->turner);
}

/* Tests */

#define VECTOR_CONNECT \
	"\x00\x00\x00\x55\x00\x00\x00\x01\x01\x00" \
	"\x0a\x17" "containerd.task.v2.Task" "\x12\x07" "Connect" "\x1a\x04\x0a\x02" "c1" \
	"\x20\x80\xa8\xd6\xb9\x07" \
	"\x2a\x25\x0a\x1a" "containerd-namespace-ttrpc" "\x12\x07" "default"
#define VECTOR_CONNECTED \
	"\x00\x00\x00\x08\x00\x00\x00\x01\x02\x00\x12\x06\x08\x92\x21\x10\x93\x21"
#define VECTOR_NOT_FOUND \
	"\x00\x00\x00\x13\x00\x00\x00\x03\x02\x00\x0a\x11\x08\x05\x12\x0d\x63\x31\x3a\x20\x6e\x6f" \
	"\x74\x20\x66\x6f\x75\x6e\x64"
#define VECTOR_EMPTY "\x00\x00\x00\x00\x00\x00\x00\x05\x02\x00"

static void test_vectors(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture);

	assert_int_equal(sizeof(VECTOR_CONNECT) - 1, 95);
	say(&fixture->turner, &end, VECTOR_CONNECT, sizeof(VECTOR_CONNECT) - 1);
	assert_hears(&fixture->turner, &end, VECTOR_CONNECTED, sizeof(VECTOR_CONNECTED) - 1);
	ask(fixture, &end, 3, "containerd.task.v3.Task", "Delete", "\x0a\x02" "c1");
	assert_hears(&fixture->turner, &end, VECTOR_NOT_FOUND, sizeof(VECTOR_NOT_FOUND) - 1);
	ask(fixture, &end, 5, TASK, "Kill", "");
	assert_hears(&fixture->turner, &end, VECTOR_EMPTY, sizeof(VECTOR_EMPTY) - 1);
	assert_silent(&fixture->turner, &end);
	leave(fixture, &end);
	assert_int_equal(ttrpc_server_connections(&fixture->server), 0);
}

static void test_pieces(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture);
	struct buf both = BUF(1000);

	for (size_t i = 0; i < sizeof(VECTOR_CONNECT) - 1; i++) {
		assert_silent(&fixture->turner, &end);
		say(&fixture->turner, &end, &VECTOR_CONNECT[i], 1);
	}
	assert_hears(&fixture->turner, &end, VECTOR_CONNECTED, sizeof(VECTOR_CONNECTED) - 1);
	for (uint32_t stream = 3; stream <= 7; stream += 2) {
		struct buf one = make_request(stream, TASK, "Kill", "", 0);
		assert_int_equal(buf_append(&both, buf_head(&one), buf_length(&one)), 0);
		buf_deinit(&one);
	}
	say(&fixture->turner, &end, buf_head(&both), buf_length(&both) - 1);
	assert_status(fixture, &end, 3, 0, "");
	assert_status(fixture, &end, 5, 0, "");
	assert_silent(&fixture->turner, &end);
	say(&fixture->turner, &end, buf_head(&both) + buf_length(&both) - 1, 1);
	assert_status(fixture, &end, 7, 0, "");
	buf_deinit(&both);
	end_close(&end);
}

static void test_refusals(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture);

	ask(fixture, &end, 1, "containerd.task.v4.Task", "Connect", "");
	assert_status(fixture, &end, 1, 12, "service containerd.task.v4.Task");
	ask(fixture, &end, 3, TASK, "connect", "");
	assert_status(fixture, &end, 3, 12, "method connect");
	ask(fixture, &end, 5, "", "", "");
	assert_status(fixture, &end, 5, 12, "service ");
	ask(fixture, &end, 7, "a\xff\n", "", "");
	assert_status(fixture, &end, 7, 12, "service a??");
	ask(fixture, &end, 9, TASK, "Pause", "");
	assert_status(fixture, &end, 9, 2, "Pause: no space left on device");
	/* A string that is longer than what holds it; a group. */
	ask(fixture, &end, 11, TASK, "Connect", "\x0a\x05" "c1");
	assert_status(fixture, &end, 11, 3,
	              "Connect: what came is no containerd.task.v2.ConnectRequest");
	ask(fixture, &end, 13, TASK, "Connect", "\x7b");
	assert_status(fixture, &end, 13, 3, NULL);
	say_frame(fixture, &end, (struct ttrpc_frame){ 3, 15, 1, 0 }, "\x0a\x05z");
	assert_status(fixture, &end, 15, 3, "what came is no ttrpc.Request");
	say_frame(fixture, &end, (struct ttrpc_frame){ 0, 17, 1, 0 }, NULL);
	assert_status(fixture, &end, 17, 12, "service ");
	/* Fields that we do not know. */
	ask(fixture, &end, 19, TASK, "Connect", "\x0a\x02" "c1" "\xba\x06\x01z");
	assert_status(fixture, &end, 19, 0, NULL);
	assert_works(fixture, &end, 21);
	assert_int_equal(fixture->handled, 1);
	end_close(&end);
}

static void test_streams(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture);

	ask(fixture, &end, 2, TASK, "Connect", "");
	assert_status(fixture, &end, 2, 3, "a client's stream has an odd number, not 2");
	ask(fixture, &end, 0, TASK, "Connect", "");
	assert_status(fixture, &end, 0, 3, NULL);
	assert_works(fixture, &end, 5);
	ask(fixture, &end, 5, TASK, "Connect", "");
	assert_status(fixture, &end, 5, 3, "stream 5 after stream 5");
	ask(fixture, &end, 3, TASK, "Connect", "");
	assert_status(fixture, &end, 3, 3, "stream 3 after stream 5");
	/* A number that is used again does not disturb the call that has it. */
	ask(fixture, &end, 7, TASK, "Wait", "");
	ask(fixture, &end, 7, TASK, "Wait", "");
	assert_status(fixture, &end, 7, 3, NULL);
	assert_int_equal(fixture->parked_count, 1);
	ttrpc_answer(take_pointer(fixture->parked[0]), NULL);
	assert_status(fixture, &end, 7, 0, NULL);
	assert_works(fixture, &end, 0xffffffff);
	assert_int_equal(fixture->handled, 0);
	end_close(&end);
}

/* What belongs to streaming calls, and what is to come. */
static void test_other_frames(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture);

	assert_works(fixture, &end, 1);
	for (int type = 0; type < 256; type++) {
		if (type == TTRPC_REQUEST)
			continue;
		say_frame(fixture, &end, (struct ttrpc_frame){ 3, 1, (uint8_t)type, 5 }, "abc");
	}
	say_frame(fixture, &end, (struct ttrpc_frame){ 0, 9, TTRPC_DATA, 5 }, NULL);
	assert_silent(&fixture->turner, &end);
	struct buf streaming = make_request(3, "containerd.services.streaming.v1.Streaming",
	                                    "Stream", "", 0);
	streaming.data[9] = 2;
	say(&fixture->turner, &end, buf_head(&streaming), buf_length(&streaming));
	buf_deinit(&streaming);
	assert_status(fixture, &end, 3, 12,
	              "service containerd.services.streaming.v1.Streaming");
	say_frame(fixture, &end, (struct ttrpc_frame){ 3, 3, TTRPC_DATA, 0 }, "abc");
	assert_works(fixture, &end, 5);
	end_close(&end);
}

static void test_size_limits(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture);
	cleanup_free char *large = malloc(2 * TTRPC_PAYLOAD_MAX);
	/* The largest id that fits: tags and lengths of four bytes around it. */
	size_t overhead = 2 + strlen(TASK) + 2 + strlen("Connect") + 5 + 5;
	size_t size = TTRPC_PAYLOAD_MAX - overhead;

	memset(large, 'x', 2 * TTRPC_PAYLOAD_MAX);
	cleanup_free char *message = malloc(size + 6);
	memcpy(message, "\x0a\x00\x00\x00\x00", 5);
	for (int i = 0; i < 4; i++)
		message[1 + i] = (char)((size >> 7 * i & 0x7f) | (i < 3 ? 0x80 : 0));
	memset(message + 5, 'x', size);
	message[size + 5] = '\0';
	struct buf out = BUF(TTRPC_HEADER + TTRPC_PAYLOAD_MAX);
	Ttrpc__Request request = TTRPC__REQUEST__INIT;
	request.service = (char *)(uintptr_t)TASK;
	request.method = (char *)(uintptr_t)"Connect";
	request.payload = (ProtobufCBinaryData){ size + 5, (uint8_t *)message };
	assert_int_equal(ttrpc_put(&out, TTRPC_REQUEST, 1, &request.base), 0);
	assert_int_equal(buf_length(&out), TTRPC_HEADER + TTRPC_PAYLOAD_MAX);
	say(&fixture->turner, &end, buf_head(&out), buf_length(&out));
	buf_deinit(&out);
	assert_status(fixture, &end, 1, 0, NULL);
	assert_int_equal(fixture->handled, 1);

	say_frame(fixture, &end, (struct ttrpc_frame){ TTRPC_PAYLOAD_MAX + 1, 3, 1, 0 }, large);
	assert_status(fixture, &end, 3, 8, "a message of 4194305 bytes is longer than 4194304");
	assert_works(fixture, &end, 5);
	/* Nothing is answered to what is no request, and its bytes are no frames. */
	say_frame(fixture, &end, (struct ttrpc_frame){ 2 * TTRPC_PAYLOAD_MAX, 3, 3, 0 }, large);
	assert_works(fixture, &end, 7);
	/* Most of four gigabytes are missing. */
	say_frame(fixture, &end, (struct ttrpc_frame){ 0xffffffff, 9, 1, 0 }, NULL);
	assert_status(fixture, &end, 9, 8, NULL);
	say(&fixture->turner, &end, large, 100000);
	assert_silent(&fixture->turner, &end);
	leave(fixture, &end);
	assert_int_equal(ttrpc_server_connections(&fixture->server), 0);
}

static void test_large_answers(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture);
	struct ttrpc_frame frame;
	const uint8_t *payload;

	/* Two tags, two lengths of four bytes. */
	fixture->answer_size = TTRPC_PAYLOAD_MAX - 10;
	ask(fixture, &end, 1, TASK, "State", "");
	assert_true(hear(&fixture->turner, &end, &frame, &payload));
	assert_int_equal(frame.size, TTRPC_PAYLOAD_MAX);
	fixture->answer_size++;
	ask(fixture, &end, 3, TASK, "State", "");
	assert_status(fixture, &end, 3, 8, "message too long");
	fixture->answer_size = 3 * TTRPC_PAYLOAD_MAX;
	ask(fixture, &end, 5, TASK, "State", "");
	assert_status(fixture, &end, 5, 8, NULL);
	assert_works(fixture, &end, 7);
	end_close(&end);
}

static void test_strings(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture);

	ask(fixture, &end, 1, TASK, "Connect", "\x0a\x03" "a\xff" "b");
	assert_status(fixture, &end, 1, 3,
	              "Connect: what came is no containerd.task.v2.ConnectRequest");
	ask(fixture, &end, 3, TASK, "Delete", "\x0a\x04" "a\xc3\xa4" "b");
	assert_status(fixture, &end, 3, 5, "a\xc3\xa4" "b: not found");
	end_close(&end);
}

static void test_parked(void **state)
{
	struct fixture *fixture = *state;
	struct end one = arrive(fixture), two = arrive(fixture);
	struct buf description = BUF(1u << 20);

	for (uint32_t i = 0; i < 1000; i++)
		ask(fixture, &one, 2 * i + 1, TASK, "Wait", "");
	ask(fixture, &two, 1, TASK, "Wait", "");
	assert_int_equal(fixture->parked_count, 1001);
	ttrpc_server_describe(&fixture->server, &description);
	assert_int_equal(buf_append(&description, "", 1), 0);
	assert_non_null(strstr(buf_head(&description), "ttrpc connections: 2\n"));
	assert_non_null(strstr(buf_head(&description), "1000 requests, 1000 under way, 0 bytes"));
	assert_non_null(strstr(buf_head(&description), "    " TASK "/Wait for 0 s\n"));
	buf_deinit(&description);
	assert_works(fixture, &one, 2001);
	/* In any order. */
	for (uint32_t i = 0; i < 1000; i += 2) {
		ttrpc_answer(take_pointer(fixture->parked[i]), NULL);
		assert_status(fixture, &one, 2 * i + 1, 0, NULL);
	}
	struct fault fault = { .hresult = HRESULT_CONTAINER_EXISTS, .text = "why not" };
	ttrpc_refuse(take_pointer(fixture->parked[999]), &fault);
	assert_status(fixture, &one, 1999, 6, "why not");
	leave(fixture, &one);
	assert_int_equal(fixture->gone, 499);
	assert_int_equal(ttrpc_server_connections(&fixture->server), 1);
	ttrpc_answer(take_pointer(fixture->parked[1000]), NULL);
	assert_status(fixture, &two, 1, 0, NULL);
	end_close(&two);
}

static void test_too_many(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture), other = arrive(fixture);

	for (uint32_t i = 0; i < 8192; i++)
		ask(fixture, &end, 2 * i + 1, TASK, "Wait", "");
	assert_int_equal(fixture->parked_count, 8192);
	ask(fixture, &end, 20001, TASK, "Wait", "");
	assert_status(fixture, &end, 20001, 8,
	              "8192 requests of this connection are not answered yet");
	assert_works(fixture, &other, 1);
	ttrpc_answer(take_pointer(fixture->parked[17]), NULL);
	assert_status(fixture, &end, 35, 0, NULL);
	ask(fixture, &end, 20003, TASK, "Wait", "");
	assert_int_equal(fixture->parked_count, 8193);
	end_close(&end);
	end_close(&other);
	/* Now the server goes first. */
	ttrpc_server_deinit(&fixture->server);
	assert_int_equal(fixture->gone, 8192);
}

/* What is gone may set others free, those of the same connection as well. */
static void test_gone_answers(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture), other = arrive(fixture);

	for (uint32_t i = 0; i < 5; i++)
		ask(fixture, &end, 2 * i + 1, TASK, "Wait", "");
	fixture->other = fixture->parked[2];
	leave(fixture, &end);
	assert_int_equal(fixture->gone, 4);
	ask(fixture, &other, 1, TASK, "Wait", "");
	end = arrive(fixture);
	ask(fixture, &end, 1, TASK, "Wait", "");
	fixture->other = fixture->parked[5];
	leave(fixture, &end);
	assert_int_equal(fixture->gone, 5);
	assert_status(fixture, &other, 1, 0, NULL);
	end_close(&other);
}

static void test_goes_on(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture);

	ask(fixture, &end, 1, TASK, "Create", "");
	leave(fixture, &end);
	assert_int_equal(ttrpc_server_connections(&fixture->server), 0);
	assert_non_null(fixture->going);
	assert_null(fixture->going->connection);
	struct fault fault = { .hresult = HRESULT_FAIL, .text = "nobody hears it" };
	ttrpc_refuse(take_pointer(fixture->going), &fault);
	/* Once more, outliving the server: teardown answers it. */
	end = arrive(fixture);
	ask(fixture, &end, 1, TASK, "Create", "");
	end_close(&end);
}

/* What was said before the end is done. */
static void test_last_words(void **state)
{
	struct fixture *fixture = *state;
	struct end end = { .fd = dial(fixture) };
	struct buf words = BUF(100000);

	for (uint32_t i = 0; i < 500; i++) {
		struct buf one = make_request(2 * i + 1, TASK, "Delete", "", 0);
		assert_int_equal(buf_append(&words, buf_head(&one), buf_length(&one)), 0);
		buf_deinit(&one);
	}
	/* And half a frame. */
	assert_int_equal(send(end.fd, buf_head(&words), buf_length(&words) - 3, MSG_NOSIGNAL),
	                 buf_length(&words) - 3);
	buf_deinit(&words);
	end_close(&end);
	for (int i = 0; i < 5; i++)
		turn(&fixture->turner);
	assert_int_equal(fixture->handled, 499);
	assert_int_equal(ttrpc_server_connections(&fixture->server), 0);
	/* A client that has only stopped to speak is as good as gone. */
	end = arrive(fixture);
	ask(fixture, &end, 1, TASK, "Wait", "");
	assert_int_equal(shutdown(end.fd, SHUT_WR), 0);
	turn(&fixture->turner);
	assert_int_equal(fixture->gone, 1);
	struct ttrpc_frame frame;
	const uint8_t *payload;
	assert_false(hear(&fixture->turner, &end, &frame, &payload));
	end_close(&end);
}

static void test_half_header(void **state)
{
	struct fixture *fixture = *state;

	for (size_t size = 0; size < TTRPC_HEADER + 2; size++) {
		struct end end = arrive(fixture);
		if (size)
			say(&fixture->turner, &end, VECTOR_CONNECT, size);
		leave(fixture, &end);
		assert_int_equal(ttrpc_server_connections(&fixture->server), 0);
	}
}

/* Sends requests as long as they are taken. */
static unsigned flood(struct fixture *fixture, struct end *end, const char *method,
                      uint32_t *stream, unsigned most)
{
	unsigned sent = 0, stuck = 0;

	while (sent < most && stuck < 10) {
		struct buf one = make_request(*stream, TASK, method, "", 0);
		ssize_t n = send(end->fd, buf_head(&one), buf_length(&one),
		                 MSG_NOSIGNAL | MSG_DONTWAIT);
		assert_true(n < 0 || (size_t)n == buf_length(&one));
		buf_deinit(&one);
		turn(&fixture->turner);
		stuck = n < 0 ? stuck + 1 : 0;
		*stream += n < 0 ? 0 : 2;
		sent += n > 0;
	}
	return sent;
}

static void test_never_reads(void **state)
{
	struct fixture *fixture = *state;
	struct end slow = arrive(fixture), good = arrive(fixture);
	uint32_t stream = 1, answered = 0;
	struct ttrpc_frame frame;
	const uint8_t *payload;

	/* Its requests are left where they are: what waits for it stays about a megabyte. */
	fixture->answer_size = 100000;
	unsigned sent = flood(fixture, &slow, "State", &stream, 100000);
	assert_true(sent > 100 && sent < 100000);
	assert_true(fixture->handled < 40);
	for (uint32_t i = 0; i < 100; i++)
		assert_works(fixture, &good, 2 * i + 1);
	/* When it reads, it gets them all. */
	while (answered < sent) {
		assert_true(hear(&fixture->turner, &slow, &frame, &payload));
		assert_int_equal(frame.stream, 2 * answered++ + 1);
	}
	assert_int_equal(fixture->handled, sent);
	/* And when it goes, it is noticed although nobody listens to it. */
	fixture->handled = 0;
	sent = flood(fixture, &slow, "State", &stream, 100000);
	leave(fixture, &slow);
	for (unsigned i = 0; i < sent; i++)
		turn(&fixture->turner);
	assert_int_equal(ttrpc_server_connections(&fixture->server), 1);
	assert_int_equal(fixture->handled, sent);
	end_close(&good);
}

/* Requests that were read and left are not forgotten when an answer finds the way free. */
static void test_left_over(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture);
	struct buf requests = BUF(10000);
	unsigned answers = 0, parked = 0;
	struct ttrpc_frame frame;
	const uint8_t *payload;

	fixture->answer_size = 100000;
	for (uint32_t i = 0; i < 50; i++)
		ask(fixture, &end, 2 * i + 1, TASK, "Wait", "");
	for (uint32_t i = 50; i < 70; i++) {
		struct buf one = make_request(2 * i + 1, TASK, "State", "", 0);
		assert_int_equal(buf_append(&requests, buf_head(&one), buf_length(&one)), 0);
		buf_deinit(&one);
	}
	say(&fixture->turner, &end, buf_head(&requests), buf_length(&requests));
	buf_deinit(&requests);
	assert_true(fixture->handled < 20);
	while (parked < 50) {
		while (ttrpc_input_receive(&end.in, end.fd) == 0) {
			while (ttrpc_input_next(&end.in, &frame, &payload))
				answers++;
		}
		ttrpc_answer(take_pointer(fixture->parked[parked]), NULL);
		parked++;
	}
	assert_true(fixture->handled < 20);
	while (answers < 70) {
		assert_true(hear(&fixture->turner, &end, &frame, &payload));
		answers++;
	}
	assert_int_equal(fixture->handled, 20);
	end_close(&end);
}

/* Answers to parked calls cannot be put off. */
static void test_owes_too_much(void **state)
{
	struct fixture *fixture = *state;
	struct end slow = arrive(fixture), good = arrive(fixture);
	Containerd__Task__V2__ConnectResponse response =
		CONTAINERD__TASK__V2__CONNECT_RESPONSE__INIT;
	cleanup_free char *version = malloc(1u << 20);

	memset(version, 'v', 1u << 20);
	version[(1u << 20) - 1] = '\0';
	response.version = version;
	ask(fixture, &good, 1, TASK, "Wait", "");
	for (uint32_t i = 0; i < 30; i++)
		ask(fixture, &slow, 2 * i + 1, TASK, "Wait", "");
	for (unsigned i = 1; i <= 20; i++)
		ttrpc_answer(take_pointer(fixture->parked[i]), &response.base);
	/* Not from within an answer. */
	assert_int_equal(fixture->gone, 0);
	turn(&fixture->turner);
	assert_int_equal(fixture->gone, 10);
	assert_int_equal(ttrpc_server_connections(&fixture->server), 1);
	ttrpc_answer(take_pointer(fixture->parked[0]), &response.base);
	assert_status(fixture, &good, 1, 0, NULL);
	end_close(&slow);
	end_close(&good);
}

static void test_deadlines(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture);

	ask_within(fixture, &end, 1, "Wait", 60000);
	ask_within(fixture, &end, 3, "Wait", 100);
	ask_within(fixture, &end, 5, "Wait", 30);
	ask_within(fixture, &end, 7, "Create", 40);
	ask_within(fixture, &end, 9, "Wait", 30);
	ask_within(fixture, &end, 11, "Kill", 10);
	ask(fixture, &end, 13, TASK, "Wait", "");
	assert_status(fixture, &end, 11, 0, NULL);
	assert_int_equal(fixture->gone, 0);
	/* Who is told of one deadline answers the call that has the other. */
	fixture->other = fixture->parked[4];
	run(&fixture->turner, 60);
	assert_int_equal(fixture->gone, 2);
	assert_status(fixture, &end, 13, 0, NULL);
	for (int i = 0; i < 2; i++)
		assert_status(fixture, &end, i ? 9 : 5, 4, "deadline exceeded");
	run(&fixture->turner, 80);
	assert_status(fixture, &end, 3, 4, NULL);
	assert_int_equal(fixture->gone, 3);
	/* What goes on is answered, late or not. */
	ttrpc_answer(take_pointer(fixture->going), NULL);
	assert_status(fixture, &end, 7, 0, NULL);
	assert_non_null(fixture->parked[0]);
	/* Longer than anybody lives, and less than nothing. */
	struct buf out = make_request(15, TASK, "Wait", "", INT64_MAX);
	say(&fixture->turner, &end, buf_head(&out), buf_length(&out));
	buf_deinit(&out);
	out = make_request(17, TASK, "Wait", "", -1);
	say(&fixture->turner, &end, buf_head(&out), buf_length(&out));
	buf_deinit(&out);
	run(&fixture->turner, 10);
	assert_silent(&fixture->turner, &end);
	leave(fixture, &end);
	assert_int_equal(fixture->gone, 6);
}

/* What is queued is sent before the end, as far as it goes. */
static void test_deinit(void **state)
{
	struct fixture *fixture = *state;
	struct end end = arrive(fixture);
	struct ttrpc_frame frame;
	const uint8_t *payload;
	unsigned answers = 0;

	fixture->answer_size = 1000;
	for (uint32_t i = 0; i < 10; i++)
		ask(fixture, &end, 2 * i + 1, TASK, "State", "");
	ask(fixture, &end, 99, TASK, "Wait", "");
	ttrpc_server_deinit(&fixture->server);
	assert_int_equal(fixture->gone, 1);
	while (hear(&fixture->turner, &end, &frame, &payload))
		answers++;
	assert_int_equal(answers, 10);
	end_close(&end);
}

static void test_many_connections(void **state)
{
	struct fixture *fixture = *state;
	struct end ends[100];

	for (size_t i = 0; i < array_size(ends); i++)
		ends[i] = arrive(fixture);
	for (size_t i = 0; i < array_size(ends); i++)
		assert_works(fixture, &ends[i], 1);
	for (size_t i = 0; i < array_size(ends); i += 2)
		leave(fixture, &ends[i]);
	assert_int_equal(ttrpc_server_connections(&fixture->server), array_size(ends) / 2);
	for (size_t i = 1; i < array_size(ends); i += 2) {
		assert_works(fixture, &ends[i], 3);
		end_close(&ends[i]);
	}
}

static void test_stranger(void **state)
{
	struct fixture *fixture = *state;
	int status;

	if (geteuid() != 0)
		skip();
	pid_t pid = fork();
	if (pid == 0) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0 ||
		    connect(fd, (struct sockaddr *)&fixture->address, fixture->address_size) < 0)
			_exit(1);
		char byte;
		_exit(recv(fd, &byte, 1, 0) == 0 ? 0 : 2);
	}
	do {
		run(&fixture->turner, 10);
		assert_int_equal(ttrpc_server_connections(&fixture->server), 0);
	} while (waitpid(pid, &status, WNOHANG) == 0);
	assert_int_equal(status, 0);
	assert_int_equal(fixture->server.listener.refused, 1);
}

#define server_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		server_test(test_vectors),       server_test(test_pieces),
		server_test(test_refusals),      server_test(test_streams),
		server_test(test_other_frames),  server_test(test_size_limits),
		server_test(test_large_answers), server_test(test_strings),
		server_test(test_parked),        server_test(test_too_many),
		server_test(test_gone_answers),  server_test(test_goes_on),
		server_test(test_last_words),    server_test(test_half_header),
		server_test(test_never_reads),   server_test(test_left_over),
		server_test(test_owes_too_much),
		server_test(test_deadlines),     server_test(test_deinit),
		server_test(test_many_connections), server_test(test_stranger),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
