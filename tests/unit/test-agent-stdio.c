/* SPDX-License-Identifier: Apache-2.0 */

/* Standard streams of a session, from their attachment to offsets and ends. */

#include "tests/unit/agent-host.h"

#include <sys/resource.h>

#define SLEEP "\"sleep\",\"1000\""
#define PIPES "\"CreateStdInPipe\":true,\"CreateStdOutPipe\":true,\"CreateStdErrPipe\":true"
#define STREAMS ",\"Streams\":{\"StdIn\":1,\"StdOut\":2,\"StdErr\":3,\"Window\":262144}"
#define SHELL(script)                                                                              \
	"\"OciProcess\":{\"cwd\":\"/\",\"args\":[\"sh\",\"-c\",\"" script                          \
	"\"],\"env\":[\"PATH=/bin\"]}"

static int setup(void **state)
{
	struct host *host = calloc(1, sizeof(*host));
	host_open(host);
	host_negotiate(host, true);
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	host_execute(host, "c", "{}", "");
	*state = host;
	return 0;
}

static int teardown(void **state)
{
	host_close(*state);
	free(*state);
	return 0;
}

/* Bytes of a stream so far. */
static size_t received(struct host *host, uint64_t stream, char *to, size_t size)
{
	size_t length = 0;
	for (struct got *got = host->got; got; got = got->next) {
		if (got->frame.type != FRAME_DATA || got->frame.id != stream)
			continue;
		size_t n = got->frame.size - FRAME_HEADER;
		if (to && length + n < size) {
			memcpy(to + length, got->payload, n);
			to[length + n] = '\0';
		}
		length += n;
	}
	return length;
}

static void grant(struct host *host, uint64_t stream, uint64_t limit)
{
	uint8_t payload[8];
	frame_put_u64(payload, limit);
	host_send_frame(host, FRAME_WINDOW, stream, payload, sizeof(payload));
}

static void end_input(struct host *host, uint64_t stream, uint64_t total, uint32_t reason)
{
	uint8_t payload[12];
	frame_put_u64(payload, total);
	frame_put_u32(payload + 8, reason);
	host_send_frame(host, FRAME_END, stream, payload, sizeof(payload));
}

static void await_end(struct host *host, uint64_t stream, uint64_t total, uint32_t reason)
{
	struct got *end = host_await(host, FRAME_END, stream);
	if (!end)
		fail_msg("stream %llu does not end", (unsigned long long)stream);
	assert_int_equal(frame_get_u64((const uint8_t *)end->payload), total);
	assert_int_equal(frame_get_u32((const uint8_t *)end->payload + 8), reason);
}

static void assert_only_init(struct host *host)
{
	assert_ptr_equal(host->agent.processes, host->agent.containers->init);
	assert_null(host->agent.processes->next);
}

static void test_output_and_offsets(void **state)
{
	struct host *host = *state;
	char text[64];
	uint32_t pid = host_execute(
		host, "c", "{" PIPES "," SHELL("echo out; echo err >&2; cat; exit 4") "}", STREAMS);
	host_send_frame(host, FRAME_DATA, 1, "in\n", 3);
	end_input(host, 1, 3, END_OF_FILE);
	const char *answer = host_wait(host, "c", pid);
	assert_int_equal(number_of(answer, "ExitCode"), 4);
	assert_int_equal(number_of(answer, "StdOut"), 7);
	assert_int_equal(number_of(answer, "StdErr"), 4);
	await_end(host, 2, 7, END_OF_FILE);
	await_end(host, 3, 4, END_OF_FILE);
	assert_int_equal(received(host, 2, text, sizeof(text)), 7);
	assert_string_equal(text, "out\nin\n");
	assert_null(host_find(host, FRAME_STOP, 1));
	assert_only_init(host);
}

/* What a process writes lies below the offset, read or not; a child that lives on is no matter. */
static void test_exit_with_a_child_that_holds_the_output(void **state)
{
	struct host *host = *state;
	uint32_t pid = host_execute(
		host, "c", "{" PIPES "," SHELL("sleep 1000 & head -c 50000 /dev/zero; exit 5") "}",
		",\"Streams\":{\"StdOut\":2,\"Window\":1000}");
	const char *answer = host_wait(host, "c", pid);
	assert_int_equal(number_of(answer, "ExitCode"), 5);
	assert_int_equal(number_of(answer, "StdOut"), 50000);
	assert_int_equal(received(host, 2, NULL, 0), 1000);
	grant(host, 2, 100000);
	for (int i = 0; i < 100 && received(host, 2, NULL, 0) < 50000; i++)
		host_idle(host, 5);
	assert_int_equal(received(host, 2, NULL, 0), 50000);
	assert_null(host_find(host, FRAME_END, 2));
	/* Its record lives on with the stream. */
	assert_non_null(host->agent.processes->next);
	host_send_frame(host, FRAME_STOP, 2, "\0\0\0\0", 4);
	await_end(host, 2, 50000, END_STOPPED);
	assert_only_init(host);
}

static void test_output_closed_early(void **state)
{
	struct host *host = *state;
	uint32_t pid = host_execute(
		host, "c", "{" PIPES "," SHELL("echo x; exec >&- 2>&-; read y; exit 6") "}",
		STREAMS);
	await_end(host, 2, 2, END_OF_FILE);
	await_end(host, 3, 0, END_OF_FILE);
	uint64_t wait = host_send_wait(host, "c", pid);
	host_idle(host, 10);
	assert_null(host_find(host, MESSAGE_RESPONSE(MESSAGE_WAIT_FOR_PROCESS), wait));
	host_send_frame(host, FRAME_DATA, 1, "y\n", 2);
	const char *answer = host_answer(host, MESSAGE_WAIT_FOR_PROCESS, wait);
	assert_int_equal(number_of(answer, "ExitCode"), 6);
	assert_int_equal(number_of(answer, "StdOut"), 2);
	assert_int_equal(number_of(answer, "StdErr"), 0);
	assert_non_null(host_await(host, FRAME_STOP, 1));
	assert_only_init(host);
	/* The ghost takes what crosses. */
	host_send_frame(host, FRAME_DATA, 1, "late", 4);
	end_input(host, 1, 6, END_STOPPED);
	host_idle(host, 10);
	assert_false(host->closed);
	assert_int_equal(host->agent.bridge.channel.ghosts, 0);
}

static void test_input_closed_early(void **state)
{
	struct host *host = *state;
	uint32_t pid =
		host_execute(host, "c", "{" PIPES "," SHELL("exec <&-; sleep 1000") "}", STREAMS);
	assert_non_null(host_await(host, FRAME_STOP, 1));
	end_input(host, 1, 0, END_STOPPED);
	kill((pid_t)pid, SIGKILL);
	assert_int_equal(number_of(host_wait(host, "c", pid), "ExitCode"), 137);
	await_end(host, 2, 0, END_OF_FILE);
	await_end(host, 3, 0, END_OF_FILE);
	assert_only_init(host);
}

/* The ids say what is wanted, as flags do in plain mode; what is not wanted is swallowed. */
static void test_streams_that_are_not_wanted(void **state)
{
	struct host *host = *state;
	static const char script[] = SHELL("echo x && echo y >&2 && cat && exit 7");
	static const char *const settings[] = {
		"",
		",\"Streams\":{\"StdErr\":3,\"Window\":1000}",
		",\"Streams\":{\"StdOut\":2,\"Window\":1000}",
	};
	for (size_t i = 0; i < array_size(settings); i++) {
		char parameters[512];
		snprintf(parameters, sizeof(parameters), "{%s%s%s}", i ? PIPES : "", i ? "," : "",
			 script);
		uint32_t pid = host_execute(host, "c", parameters, settings[i]);
		assert_int_equal(number_of(host_wait(host, "c", pid), "ExitCode"), 7);
		if (i)
			await_end(host, i == 1 ? 3 : 2, 2, END_OF_FILE);
		assert_only_init(host);
		host_forget(host);
	}
}

/* An init has pipes since its creation, and what nobody reads goes nowhere. */
static void test_init_without_streams(void **state)
{
	struct host *host = *state;
	host_create(host, "d", PID_NAMESPACE,
		    "\"sh\",\"-c\",\"cat; head -c 200000 /dev/zero && echo x >&2 && exit 8\"");
	uint32_t pid = host_execute(host, "d", "{}", "");
	assert_int_equal(number_of(host_wait(host, "d", pid), "ExitCode"), 8);
	host_delete(host, "d");
}

static void test_ids_that_are_in_use(void **state)
{
	struct host *host = *state;
	uint32_t pid = host_execute(host, "c", "{" PIPES "," SHELL("sleep 1000") "}", STREAMS);
	uint64_t again =
		host_send_execute(host, "c", "{" PIPES "," SHELL("sleep 1000") "}", STREAMS);
	assert_failure(host_answer(host, MESSAGE_EXECUTE_PROCESS, again), HRESULT_FAIL);
	again = host_send_execute(host, "c", "{" PIPES "," SHELL("sleep 1000") "}",
				  ",\"Streams\":{\"StdOut\":8,\"StdErr\":8,\"Window\":1000}");
	assert_failure(host_answer(host, MESSAGE_EXECUTE_PROCESS, again), HRESULT_FAIL);
	host_idle(host, 20);
	assert_null(host_find(host, FRAME_END, 2));
	assert_null(host_find(host, FRAME_END, 8));
	assert_int_equal(host->agent.processes->child.pid, pid);
	assert_ptr_equal(host->agent.processes->next, host->agent.containers->init);
	kill((pid_t)pid, SIGKILL);
	assert_int_equal(number_of(host_wait(host, "c", pid), "ExitCode"), 137);
	await_end(host, 2, 0, END_OF_FILE);
}

/*
 * The terminal is taken over by another session, so it is not hung up when its leader exits. More
 * output waits in it than the line discipline shows at once.
 */
static void test_terminal_that_a_stranger_holds(void **state)
{
	struct host *host = *state;
	uint32_t pid = host_execute(
		host, "c",
		"{\"CreateStdOutPipe\":true,\"OciProcess\":{\"terminal\":true,\"cwd\":\"/\","
		"\"args\":[\"sh\",\"-c\",\"setsid -c sleep 1000 & sleep 0.3;"
		" head -c 10000 /dev/zero | tr '\\\\0' x; exit 9\"],\"env\":[\"PATH=/bin\"],"
		"\"capabilities\":{\"bounding\":[\"CAP_SYS_ADMIN\"],\"effective\":[\"CAP_SYS_"
		"ADMIN\"],"
		"\"permitted\":[\"CAP_SYS_ADMIN\"]}}}",
		",\"Streams\":{\"StdOut\":2,\"Window\":1000}");
	const char *answer = host_wait(host, "c", pid);
	assert_int_equal(number_of(answer, "ExitCode"), 9);
	assert_null(strstr(answer, "StdOut"));
	host_idle(host, 100);
	grant(host, 2, 1u << 20);
	struct got *offset = host_await(host, MESSAGE_NOTIFICATION, 0);
	assert_non_null(offset);
	assert_non_null(strstr(offset->payload, "\"StreamOffset\""));
	assert_int_equal(number_of(offset->payload, "Offset"), 10000);
	host_idle(host, 50);
	assert_int_equal(received(host, 2, NULL, 0), 10000);
	assert_int_equal(count_notifications(host, "StreamOffset"), 1);
	host_send_frame(host, FRAME_STOP, 2, "\0\0\0\0", 4);
	await_end(host, 2, 10000, END_STOPPED);
}

/* The agent has no descriptor left to take the terminal with. */
static void test_terminal_that_cannot_be_taken(void **state)
{
	struct host *host = *state;
	struct rlimit before, none;
	cleanup_free char *parameters =
		escaped("{\"CreateStdOutPipe\":true,\"OciProcess\":{"
			"\"terminal\":true,\"cwd\":\"/"
			"\",\"args\":[\"sleep\",\"1000\"],\"env\":[\"PATH=/bin\"]}}");
	for (int spare = 0; spare < 2; spare++) {
		uint64_t exec =
			host_now(host, MESSAGE_EXECUTE_PROCESS,
				 "{\"ContainerId\":\"c\",\"Settings\":{\"ProcessParameters\":\"%s\""
				 ",\"Streams\":{\"StdOut\":2,\"Window\":1000}}}",
				 parameters);
		assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
		none = before;
		int lowest = dup(0);
		none.rlim_cur = (rlim_t)(lowest + spare);
		close(lowest);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
		const char *answer = host_answer(host, MESSAGE_EXECUTE_PROCESS, exec);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		assert_failure(answer, HRESULT_FAIL);
		for (int i = 0; host->agent.processes->next && i < 100; i++)
			host_idle(host, 5);
		assert_only_init(host);
	}
}

static void test_terminal(void **state)
{
	struct host *host = *state;
	uint32_t pid = host_execute(host, "c",
				    "{\"CreateStdInPipe\":true,\"CreateStdOutPipe\":true,"
				    "\"OciProcess\":{\"terminal\":true,"
				    "\"cwd\":\"/\",\"args\":[\"sh\",\"-c\",\"stty -echo; echo "
				    "ready; read x; stty size; exit 2\"],"
				    "\"env\":[\"PATH=/bin\"]}}",
				    ",\"Streams\":{\"StdIn\":1,\"StdOut\":2,\"Window\":1000}");
	assert_non_null(host_await(host, FRAME_DATA, 2));
	uint64_t resize = host_send(host, MESSAGE_RESIZE_CONSOLE,
				    "{\"ContainerId\":\"c\","
				    "\"ProcessId\":%u,\"Height\":33,\"Width\":77}",
				    pid);
	assert_success(host_answer(host, MESSAGE_RESIZE_CONSOLE, resize));
	host_send_frame(host, FRAME_DATA, 1, "x\n", 2);
	assert_int_equal(number_of(host_wait(host, "c", pid), "ExitCode"), 2);
	assert_non_null(host_await(host, FRAME_END, 2));
	char text[64];
	received(host, 2, text, sizeof(text));
	assert_non_null(strstr(text, "33 77"));
	assert_int_equal(count_notifications(host, ""), 0);
}

/* The host is gone: input ends, output goes nowhere, nobody blocks and nobody dies of it. */
static void test_lost_session(void **state)
{
	struct host *host = *state;
	uint32_t pid = host_execute(
		host, "c", "{" PIPES "," SHELL("cat; head -c 1000000 /dev/zero && exit 10") "}",
		",\"Streams\":{\"StdIn\":1,\"StdOut\":2,\"Window\":1000}");
	host_send_frame(host, FRAME_DATA, 1, "some", 4);
	host_reconnect(host, true);
	assert_int_equal(number_of(host_wait(host, "c", pid), "ExitCode"), 10);
	for (int i = 0; host->agent.processes->next && i < 100; i++)
		host_idle(host, 5);
	assert_only_init(host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_output_and_offsets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exit_with_a_child_that_holds_the_output, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_output_closed_early, setup, teardown),
		cmocka_unit_test_setup_teardown(test_input_closed_early, setup, teardown),
		cmocka_unit_test_setup_teardown(test_streams_that_are_not_wanted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_init_without_streams, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ids_that_are_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_terminal_that_a_stranger_holds, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_terminal_that_cannot_be_taken, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_terminal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_session, setup, teardown),
	};
	return box_able() ? cmocka_run_group_tests(tests, box_setup, box_teardown) : 0;
}
