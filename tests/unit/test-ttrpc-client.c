/* SPDX-License-Identifier: Apache-2.0 */

/* A client, and containerd played by hand. */

#include "shim/containerd/ttrpc_client.h"

#include "shim/containerd/any.h"
#include "shim/containerd/proto/events.pb-c.h"
#include "shim/containerd/proto/forward.pb-c.h"
#include "tests/unit/ttrpc-box.h"

#include <sys/stat.h>
#include <sys/un.h>

struct fixture {
	struct turner turner;
	struct ttrpc_client client;
	char directory[64], path[80];
	int listener;
	struct end server;
	unsigned answers;
	enum ttrpc_code code;
	char text[FAULT_TEXT];
	bool call_again, end_there, connect_again;
	unsigned timeout;
};

static struct fixture *current;

static void on_answer(struct ttrpc_client *client, enum ttrpc_code code, const char *text);

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	turner_init(&fixture->turner);
	fixture->client = (struct ttrpc_client)TTRPC_CLIENT_NULL;
	ttrpc_client_deinit(&fixture->client);
	ttrpc_client_init(&fixture->client, &fixture->turner.loop);
	snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/ttrpc-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->path, sizeof(fixture->path), "%s/s", fixture->directory);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", fixture->path);
	fixture->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fixture->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fixture->listener, 10), 0);
	fixture->server.fd = -1;
	fixture->timeout = 5000;
	*state = current = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	ttrpc_client_deinit(&fixture->client);
	ttrpc_client_deinit(&fixture->client);
	end_close(&fixture->server);
	close_fd(&fixture->listener);
	unlink(fixture->path);
	rmdir(fixture->directory);
	turner_deinit(&fixture->turner);
	free(fixture);
	return 0;
}

static void meet(struct fixture *fixture)
{
	end_close(&fixture->server);
	assert_int_equal(ttrpc_client_connect(&fixture->client, fixture->path), 0);
	assert_true(ttrpc_client_connected(&fixture->client));
	fixture->server.fd = accept4(fixture->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fixture->server.fd >= 0);
}

static int call(struct fixture *fixture, const char *id)
{
	Containerd__Events__TaskOOM message = CONTAINERD__EVENTS__TASK_OOM__INIT;
	struct ttrpc_request request = {
		.service = "s",
		.method = "m",
		.message = &message.base,
		.namespace = "ns",
		.timeout = fixture->timeout,
	};

	message.container_id = (char *)(uintptr_t)id;
	return ttrpc_client_call(&fixture->client, &request, on_answer);
}

static void on_answer(struct ttrpc_client *client, enum ttrpc_code code, const char *text)
{
	struct fixture *fixture = current;

	assert_ptr_equal(client, &fixture->client);
	fixture->answers++;
	fixture->code = code;
	snprintf(fixture->text, sizeof(fixture->text), "%s", text);
	if (fixture->connect_again) {
		fixture->connect_again = false;
		assert_int_equal(ttrpc_client_connect(client, fixture->path), 0);
	}
	if (fixture->call_again) {
		fixture->call_again = false;
		assert_int_equal(call(fixture, "again"), 0);
	}
	if (fixture->end_there)
		ttrpc_client_deinit(client);
	loop_stop(&fixture->turner.loop);
}

static void assert_answer(struct fixture *fixture, unsigned answers, int code, const char *text)
{
	turn(&fixture->turner);
	turn(&fixture->turner);
	assert_int_equal(fixture->answers, answers);
	assert_int_equal(fixture->code, code);
	assert_string_equal(fixture->text, text);
}

/* The next request of the client, of the method above. */
static void assert_asked(struct fixture *fixture, uint32_t stream, const char *id)
{
	struct ttrpc_frame frame;
	const uint8_t *payload;

	assert_true(hear(&fixture->turner, &fixture->server, &frame, &payload));
	assert_int_equal(frame.stream, stream);
	assert_int_equal(frame.type, TTRPC_REQUEST);
	assert_int_equal(frame.flags, 0);
	Ttrpc__Request *request = ttrpc__request__unpack(NULL, frame.size, payload);
	assert_non_null(request);
	assert_string_equal(request->service, "s");
	assert_string_equal(request->method, "m");
	assert_int_equal(request->timeout_nano, fixture->timeout * 1000000LL);
	assert_int_equal(request->n_metadata, 1);
	assert_string_equal(request->metadata[0]->key, "containerd-namespace-ttrpc");
	assert_string_equal(request->metadata[0]->value, "ns");
	assert_true(request->payload.len > strlen(id));
	assert_memory_equal(request->payload.data + request->payload.len - strlen(id), id,
	                    strlen(id));
	ttrpc__request__free_unpacked(request, NULL);
}

static void reply(struct fixture *fixture, uint32_t stream, int code, const char *text)
{
	Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;
	struct buf out = BUF(10000);

	status.code = code;
	status.message = (char *)(uintptr_t)text;
	if (code)
		response.status = &status;
	assert_int_equal(ttrpc_put(&out, TTRPC_RESPONSE, stream, &response.base), 0);
	assert_int_equal(send(fixture->server.fd, buf_head(&out), buf_length(&out), MSG_NOSIGNAL),
	                 buf_length(&out));
	buf_deinit(&out);
}

static void test_vector(void **state)
{
	struct fixture *fixture = *state;
	static const char bytes[] =
		"\x00\x00\x00\x92\x00\x00\x00\x01\x01\x00"
		"\x0a\x2a" "containerd.services.events.ttrpc.v1.Events" "\x12\x07" "Forward"
		"\x1a\x55\x0a\x53" "\x0a\x06\x08\x81\xe2\xcf\xaa\x06" "\x12\x07" "default"
		"\x1a\x0b" "/tasks/exit"
		"\x22\x33\x0a\x1a" "containerd.events.TaskExit"
		"\x12\x15\x0a\x02" "c1" "\x12\x02" "c1" "\x18\x93\x21\x20\x07\x2a\x06\x08\x80\xe2"
		"\xcf\xaa\x06" "\x20\x80\xe4\x97\xd0\x12";
	char id[] = "c1", namespace[] = "default", topic[] = "/tasks/exit";
	Google__Protobuf__Timestamp then = GOOGLE__PROTOBUF__TIMESTAMP__INIT, time = then;
	Containerd__Events__TaskExit exited = CONTAINERD__EVENTS__TASK_EXIT__INIT;
	Containerd__Services__Events__Ttrpc__V1__Envelope envelope =
		CONTAINERD__SERVICES__EVENTS__TTRPC__V1__ENVELOPE__INIT;
	Containerd__Services__Events__Ttrpc__V1__ForwardRequest message =
		CONTAINERD__SERVICES__EVENTS__TTRPC__V1__FORWARD_REQUEST__INIT;
	Google__Protobuf__Any any;

	then.seconds = 1700000000;
	time.seconds = 1700000001;
	exited.container_id = exited.id = id;
	exited.pid = 4243;
	exited.exit_status = 7;
	exited.exited_at = &then;
	assert_int_equal(any_pack(&any, &exited.base), 0);
	envelope.timestamp = &time;
	envelope.namespace_ = namespace;
	envelope.topic = topic;
	envelope.event = &any;
	message.envelope = &envelope;
	struct ttrpc_request request = {
		.service = "containerd.services.events.ttrpc.v1.Events",
		.method = "Forward",
		.message = &message.base,
		.timeout = 5000,
	};
	meet(fixture);
	assert_int_equal(ttrpc_client_call(&fixture->client, &request, on_answer), 0);
	any_deinit(&any);
	assert_int_equal(sizeof(bytes) - 1, 156);
	assert_hears(&fixture->turner, &fixture->server, bytes, sizeof(bytes) - 1);
	assert_int_equal(fixture->answers, 0);
	reply(fixture, 1, 0, NULL);
	assert_answer(fixture, 1, TTRPC_OK, "");
}

static void test_calls(void **state)
{
	struct fixture *fixture = *state;

	assert_false(ttrpc_client_connected(&fixture->client));
	assert_int_equal(call(fixture, "c"), -ENOTCONN);
	meet(fixture);
	assert_int_equal(call(fixture, "one"), 0);
	assert_int_equal(call(fixture, "two"), -EBUSY);
	assert_asked(fixture, 1, "one");
	/* Of somebody else, and no response. */
	reply(fixture, 3, 0, NULL);
	reply(fixture, 2, 5, "x");
	say(&fixture->turner, &fixture->server, "\0\0\0\1\0\0\0\1\3\0x", 11);
	turn(&fixture->turner);
	assert_int_equal(fixture->answers, 0);
	fixture->call_again = true;
	reply(fixture, 1, 14, "not now");
	assert_answer(fixture, 1, TTRPC_UNAVAILABLE, "not now");
	assert_asked(fixture, 3, "again");
	reply(fixture, 3, 0, NULL);
	assert_answer(fixture, 2, TTRPC_OK, "");
	/* A string that is no UTF-8. */
	assert_int_equal(call(fixture, "a\xff"), 0);
	assert_asked(fixture, 5, "a?");
	/* A status that says nothing is wrong. */
	say(&fixture->turner, &fixture->server, "\0\0\0\2\0\0\0\5\2\0\x0a\0", 12);
	assert_answer(fixture, 3, TTRPC_OK, "");
	assert_int_equal(call(fixture, "f"), 0);
	assert_asked(fixture, 7, "f");
	say(&fixture->turner, &fixture->server, "\0\0\0\1\0\0\0\7\2\0\xff", 11);
	assert_answer(fixture, 4, TTRPC_INTERNAL, "what came is no ttrpc.Response");
	/* The connection is still good. */
	assert_int_equal(call(fixture, "g"), 0);
	assert_asked(fixture, 9, "g");
	reply(fixture, 9, 0, NULL);
	assert_answer(fixture, 5, TTRPC_OK, "");
}

static void test_deadline(void **state)
{
	struct fixture *fixture = *state;

	meet(fixture);
	fixture->timeout = 20;
	assert_int_equal(call(fixture, "one"), 0);
	run(&fixture->turner, 5000);
	assert_answer(fixture, 1, TTRPC_DEADLINE_EXCEEDED, "no answer in time");
	assert_true(ttrpc_client_connected(&fixture->client));
	/* Its answer comes with that of the next call. */
	fixture->timeout = 5000;
	assert_int_equal(call(fixture, "two"), 0);
	reply(fixture, 1, 5, "late");
	reply(fixture, 3, 0, NULL);
	assert_answer(fixture, 2, TTRPC_OK, "");
	/* No deadline is left behind. */
	fixture->timeout = 20;
	assert_int_equal(call(fixture, "three"), 0);
	reply(fixture, 5, 0, NULL);
	assert_answer(fixture, 3, TTRPC_OK, "");
	run(&fixture->turner, 40);
	assert_int_equal(fixture->answers, 3);
}

/* Nobody reads: the rest of a request must not pile up. */
static void test_unsent(void **state)
{
	struct fixture *fixture = *state;
	cleanup_free char *id = calloc(1, TTRPC_PAYLOAD_MAX + 1);

	memset(id, 'i', TTRPC_PAYLOAD_MAX);
	meet(fixture);
	fixture->timeout = 20;
	assert_int_equal(call(fixture, id), -EMSGSIZE);
	assert_true(ttrpc_client_connected(&fixture->client));
	id[TTRPC_PAYLOAD_MAX - 1000] = '\0';
	assert_int_equal(call(fixture, id), 0);
	run(&fixture->turner, 5000);
	assert_answer(fixture, 1, TTRPC_DEADLINE_EXCEEDED, "no answer in time");
	assert_false(ttrpc_client_connected(&fixture->client));
	assert_null(fixture->client.out.data);
	/* With a reader it gets through, from stream 1 again. */
	fixture->timeout = 5000;
	meet(fixture);
	assert_int_equal(call(fixture, id), 0);
	assert_asked(fixture, 1, id);
	reply(fixture, 1, 0, NULL);
	assert_answer(fixture, 2, TTRPC_OK, "");
	/* An answer to half a request: the next call needs another connection. */
	assert_int_equal(call(fixture, id), 0);
	reply(fixture, 3, 8, "too much");
	assert_answer(fixture, 3, TTRPC_RESOURCE_EXHAUSTED, "too much");
	assert_int_equal(call(fixture, "x"), -ENOTCONN);
	meet(fixture);
	assert_int_equal(call(fixture, "x"), 0);
	assert_asked(fixture, 1, "x");
}

static void test_lost(void **state)
{
	struct fixture *fixture = *state;

	/* Under a call. */
	meet(fixture);
	assert_int_equal(call(fixture, "one"), 0);
	assert_asked(fixture, 1, "one");
	assert_int_equal(send(fixture->server.fd, "\0\0\0\4\0\0\0", 7, MSG_NOSIGNAL), 7);
	end_close(&fixture->server);
	assert_answer(fixture, 1, TTRPC_UNAVAILABLE, "the connection is closed");
	assert_false(ttrpc_client_connected(&fixture->client));
	/* The answer came before the end. */
	meet(fixture);
	assert_int_equal(call(fixture, "two"), 0);
	assert_asked(fixture, 1, "two");
	reply(fixture, 1, 0, NULL);
	end_close(&fixture->server);
	assert_answer(fixture, 2, TTRPC_OK, "");
	assert_false(ttrpc_client_connected(&fixture->client));
	/* While nothing is under way: noticed by the loop, or by the next call. */
	meet(fixture);
	end_close(&fixture->server);
	turn(&fixture->turner);
	assert_false(ttrpc_client_connected(&fixture->client));
	meet(fixture);
	end_close(&fixture->server);
	assert_int_equal(call(fixture, "three"), -EPIPE);
	assert_int_equal(call(fixture, "three"), -ENOTCONN);
	/* Connecting and calling from within the answer. */
	meet(fixture);
	assert_int_equal(call(fixture, "four"), 0);
	fixture->connect_again = fixture->call_again = true;
	end_close(&fixture->server);
	assert_answer(fixture, 3, TTRPC_UNAVAILABLE, "connection reset by peer");
	fixture->server.fd = accept4(fixture->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_asked(fixture, 1, "again");
	/* And ending. */
	fixture->end_there = true;
	reply(fixture, 1, 2, "enough");
	assert_answer(fixture, 4, TTRPC_UNKNOWN, "enough");
}

static void test_connect(void **state)
{
	struct fixture *fixture = *state;
	char path[5000];

	memset(path, 'p', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(ttrpc_client_connect(&fixture->client, path), -ENAMETOOLONG);
	assert_int_equal(ttrpc_client_connect(&fixture->client, ""), -ECONNREFUSED);
	close_fd(&fixture->listener);
	assert_int_equal(ttrpc_client_connect(&fixture->client, fixture->path), -ECONNREFUSED);
	unlink(fixture->path);
	assert_int_equal(ttrpc_client_connect(&fixture->client, fixture->path), -ENOENT);
	assert_false(ttrpc_client_connected(&fixture->client));
}

#define client_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		client_test(test_vector), client_test(test_calls), client_test(test_deadline),
		client_test(test_unsent), client_test(test_lost),  client_test(test_connect),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
