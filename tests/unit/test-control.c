/* SPDX-License-Identifier: Apache-2.0 */

/* The messages of the control socket, to text and back. */

#include "shim/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

/* Encodes, decodes into *back and encodes that again: the texts must be the same. */
static void round_trip(const struct json_type *type, const void *from, void *back,
                       struct arena *arena, const char *expected)
{
	struct buf first = BUF(1 << 16), second = BUF(1 << 16);
	struct fault fault = FAULT_NULL;

	assert_int_equal(json_encode(type, from, &first, false), 0);
	assert_int_equal(json_decode(arena, type, buf_head(&first), buf_length(&first), back,
	                             &fault), 0);
	assert_int_equal(json_encode(type, back, &second, false), 0);
	assert_int_equal(buf_length(&first), buf_length(&second));
	assert_memory_equal(buf_head(&first), buf_head(&second), buf_length(&first));
	assert_int_equal(buf_length(&first), strlen(expected));
	assert_memory_equal(buf_head(&first), expected, buf_length(&first));
	buf_deinit(&first);
	buf_deinit(&second);
}

static void test_request(void **state)
{
	struct arena arena = ARENA(1 << 20);
	struct oci_resources resources = { .pids = { .limit = { true, 7 } } };
	struct control_request request = {
		.id = "c", .pid = 5, .bundle = "/b", .config = "{\"a\":1}", .std_in = true,
		.terminal = true, .height = 25, .width = 80, .log_path = "/l",
		.log_size = 1ull << 40,
		.log_files = 3, .proxy = 99, .signal = 15, .scope = SCOPE_CONTAINER, .force = true,
		.resources = &resources,
	}, back = { 0 };
	(void)state;

	round_trip(&control_request_type, &request, &back, &arena,
	           "{\"Id\":\"c\",\"Pid\":5,\"Bundle\":\"/b\",\"Config\":\"{\\\"a\\\":1}\","
	           "\"StdIn\":true,"
	           "\"Terminal\":true,\"Height\":25,\"Width\":80,\"LogPath\":\"/l\","
	           "\"LogSize\":1099511627776,\"LogFiles\":3,\"Proxy\":99,\"Signal\":15,"
	           "\"Scope\":\"container\",\"Force\":true,"
	           "\"Resources\":{\"pids\":{\"limit\":7}}}");
	assert_int_equal(back.scope, SCOPE_CONTAINER);
	assert_false(back.std_out);
	assert_int_equal(back.resources->pids.limit.value, 7);
	arena_free(&arena);
}

static void test_refusals(void **state)
{
	static const char *const bad[] = {
		"", "[]", "{\"Pid\":-1}", "{\"Pid\":4294967296}", "{\"Height\":65536}",
		"{\"Scope\":\"world\"}", "{\"Force\":1}", "{\"Id\":7}",
		"{\"Id\":\"a\",\"Id\":\"b\"}",
		"{\"Resources\":{\"pids\":{\"limit\":\"7\"}}}",
	};
	struct arena arena = ARENA(1 << 20);
	(void)state;

	for (size_t i = 0; i < array_size(bad); i++) {
		struct control_request request = { 0 };
		struct fault fault = FAULT_NULL;
		assert_true(json_decode(&arena, &control_request_type, bad[i], strlen(bad[i]),
		                        &request, &fault) < 0);
		assert_true(fault.text[0]);
	}
	arena_free(&arena);
}

static void test_reply(void **state)
{
	struct arena arena = ARENA(1 << 20);
	struct control_container container = {
		.id = "c", .bundle = "/b", .status = "stopped", .exit_code = 3,
	};
	struct control_process process = { .pid = 4, .host_pid = 44, .exec = "init" };
	struct control_reply reply = {
		.pid = 4, .exit_code = 255, .exited_at = "t", .containers = { 1, &container },
		.processes = { 1, &process }, .sandbox = { .rss = 1, .bytes_out = 6 },
		.dump = "d\n",
	}, back = { 0 };
	(void)state;

	round_trip(&control_reply_type, &reply, &back, &arena,
	           "{\"Result\":0,\"Pid\":4,\"ExitCode\":255,\"ExitedAt\":\"t\",\"Containers\":[{"
	           "\"Id\":\"c\",\"Bundle\":\"/b\",\"Status\":\"stopped\",\"ExitCode\":3}],"
	           "\"Processes\":[{\"Pid\":4,\"HostPid\":44,\"Exec\":\"init\"}],"
	           "\"Sandbox\":{\"Rss\":1,\"BytesOut\":6},\"Dump\":\"d\\n\"}");
	assert_int_equal(back.sandbox.bytes_out, 6);
	arena_free(&arena);
}

/* What a failed request is answered with decodes as any other reply. */
static void test_fault(void **state)
{
	struct arena arena = ARENA(1 << 20);
	struct fault fault = FAULT_NULL;
	struct control_reply reply = { 0 };
	struct buf text = BUF(1 << 16);
	(void)state;

	fault_set(&fault, -ENOENT, HRESULT_NO_SUCH_CONTAINER, "container \"x\" does not exist");
	assert_int_equal(message_encode_fault(&fault, NULL, 1 << 16, &text), 0);
	assert_int_equal(json_decode(&arena, &control_reply_type, buf_head(&text),
	                             buf_length(&text), &reply, &fault), 0);
	assert_int_equal(reply.base.result, HRESULT_NO_SUCH_CONTAINER);
	assert_string_equal(reply.base.error_message, "container \"x\" does not exist");
	buf_deinit(&text);
	arena_free(&arena);
}

static void test_event(void **state)
{
	struct arena arena = ARENA(1 << 20);
	struct control_event event = { .type = "oom", .id = "c", .count = 2, .time = "t" }, back;
	(void)state;

	memset(&back, 0, sizeof(back));
	round_trip(&control_event_type, &event, &back, &arena,
	           "{\"Type\":\"oom\",\"Id\":\"c\",\"Count\":2,\"Time\":\"t\"}");
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_reply),
		cmocka_unit_test(test_fault),
		cmocka_unit_test(test_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
