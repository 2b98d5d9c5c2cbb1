/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The bridge breaks, at any time, and comes back: what is answered, to whom, and what is kept.
 */

#include "tests/unit/agent-host.h"

#include <sys/resource.h>

#define SLEEP "\"sleep\",\"1000\""
#define EXEC(args) "{\"OciProcess\":{\"cwd\":\"/\",\"args\":[" args "],\"env\":[\"PATH=/bin\"]}}"

static int setup(void **state)
{
	struct host *host = calloc(1, sizeof(*host));
	host_open(host);
	*state = host;
	return 0;
}

static int teardown(void **state)
{
	host_close(*state);
	free(*state);
	return 0;
}

/* A container with an exec that the host waits for. */
static uint64_t run_and_wait(struct host *host, uint32_t *ret_init, uint32_t *ret_exec)
{
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	*ret_init = host_execute(host, "c", "{}", "");
	*ret_exec = host_execute(host, "c", EXEC(SLEEP), "");
	return host_send_wait(host, "c", *ret_exec);
}

static void hang_up_and_kill(struct host *host, uint32_t pid)
{
	host_idle(host, 5);
	host_hang_up(host);
	for (int i = 0; host->agent.bridge.connected && i < 1000; i++)
		host_idle(host, 1);
	host_forget(host);
	assert_int_equal(kill((pid_t)pid, SIGTERM), 0);
	struct process *process = process_find(&host->agent, host->agent.containers, pid);
	assert_non_null(process);
	host_reap_now(process);
}

static void test_plain_answers_come_later(void **state)
{
	struct host *host = *state;
	uint32_t init, exec;
	host_negotiate(host, false);
	uint64_t wait = run_and_wait(host, &init, &exec);
	hang_up_and_kill(host, exec);
	host_accept(host);
	host_idle(host, 20);
	assert_null(host->got);
	host_negotiate(host, false);
	assert_int_equal(number_of(host_answer(host, MESSAGE_WAIT_FOR_PROCESS, wait), "ExitCode"),
			 143);
	host_remove(host, "c", init);
	assert_null(host->agent.processes);
}

static void test_session_answers_are_dropped_and_exits_kept(void **state)
{
	struct host *host = *state;
	uint32_t init, exec;
	host_negotiate(host, true);
	uint64_t wait = run_and_wait(host, &init, &exec);
	hang_up_and_kill(host, exec);
	host_reconnect(host, true);
	host_idle(host, 20);
	assert_null(host_find(host, MESSAGE_RESPONSE(MESSAGE_WAIT_FOR_PROCESS), wait));
	assert_int_equal(number_of(host_wait(host, "c", exec), "ExitCode"), 143);
	host_remove(host, "c", init);
	assert_null(host->agent.processes);
}

/* The same when it ends on a connection that is not negotiated. */
static void test_nothing_before_negotiation(void **state)
{
	struct host *host = *state;
	for (int session = 0; session < 2; session++) {
		uint32_t init, exec;
		host_negotiate(host, session);
		uint64_t wait = run_and_wait(host, &init, &exec);
		host_idle(host, 5);
		host_accept(host);
		host_forget(host);
		kill((pid_t)exec, SIGTERM);
		kill((pid_t)init, SIGKILL);
		host_idle(host, 50);
		assert_null(host->got);
		uint64_t early = host_send_base(host, MESSAGE_DUMP_STACKS, "");
		assert_failure(host_answer(host, MESSAGE_DUMP_STACKS, early),
			       HRESULT_NOT_IMPLEMENTED);
		host_negotiate(host, session);
		if (session)
			assert_success(host_wait(host, "c", exec));
		else
			assert_success(host_answer(host, MESSAGE_WAIT_FOR_PROCESS, wait));
		assert_int_equal(number_of(host_wait(host, "c", init), "ExitCode"), 137);
		host_idle(host, 10);
		assert_int_equal(count_notifications(host, "UnexpectedExit"), 1);
		host_delete(host, "c");
		host_accept(host);
		host_forget(host);
	}
}

/* A session is not told what another missed. */
static void test_plain_answers_are_not_for_a_session(void **state)
{
	struct host *host = *state;
	uint32_t init, exec;
	host_negotiate(host, false);
	uint64_t wait = run_and_wait(host, &init, &exec);
	hang_up_and_kill(host, exec);
	host_reconnect(host, true);
	host_idle(host, 20);
	assert_null(host_find(host, MESSAGE_RESPONSE(MESSAGE_WAIT_FOR_PROCESS), wait));
	host_remove(host, "c", init);
}

/* Whoever accepts and closes is not dialled in a tight loop. */
static void test_redial_of_a_host_that_hangs_up(void **state)
{
	struct host *host = *state;
	int calls = 0;
	host_hang_up(host);
	for (int i = 0; i < 300; i++) {
		host_idle(host, 1);
		int fd = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		close(fd);
		calls++;
	}
	assert_in_range(calls, 1, 12);
	host_accept(host);
	host_negotiate(host, true);
	/* One that was talked to is dialled at once. */
	host_hang_up(host);
	for (int i = 0; i < 50 && host->fd < 0; i++) {
		host_idle(host, 1);
		host->fd = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC);
	}
	assert_true(host->fd >= 0);
}

/* More containers than the answer has room for. */
static void test_negotiation_with_many_containers(void **state)
{
	struct host *host = *state;
	enum { COUNT = 1500 };
	static struct container many[COUNT];
	static char ids[COUNT][65];
	for (int i = 0; i < COUNT; i++) {
		snprintf(ids[i], sizeof(ids[i]), "%064d", i);
		many[i] = (struct container){.agent = &host->agent,
					     .id = ids[i],
					     .next = i + 1 < COUNT ? &many[i + 1] : NULL};
	}
	host->agent.containers = many;
	host_negotiate(host, true);
	const char *answer =
		host_find(host, MESSAGE_RESPONSE(MESSAGE_NEGOTIATE_PROTOCOL), 0)->payload;
	assert_non_null(strstr(answer, ids[0]));
	assert_in_range(strlen(answer), 40000, FRAME_PLAIN_MAX - FRAME_HEADER);
	host->agent.containers = NULL;
}

#define ACTIVITY "01234567-89ab-cdef-0123-456789abcdef"

/* Bad requests are answered with what of them could be understood, and do no harm. */
static void test_bad_requests(void **state)
{
	static const struct {
		uint32_t type;
		const char *text;
		int hresult;
		bool activity;
	} requests[] = {
		{MESSAGE_SHUTDOWN_GRACEFUL, "{}", HRESULT_NO_SUCH_CONTAINER, false},
		{MESSAGE_SHUTDOWN_FORCED, "{\"ContainerId\":\"\"}", HRESULT_NO_SUCH_CONTAINER,
		 false},
		{MESSAGE_SHUTDOWN_FORCED, "{\"ContainerId\":null}", HRESULT_NO_SUCH_CONTAINER,
		 false},
		{MESSAGE_DELETE_CONTAINER_STATE, "{}", HRESULT_NO_SUCH_CONTAINER, false},
		{MESSAGE_EXECUTE_PROCESS, "{\"Settings\":{\"ProcessParameters\":\"{}\"}}",
		 HRESULT_NO_SUCH_CONTAINER, false},
		{MESSAGE_SIGNAL_PROCESS, "{\"ProcessId\":1}", HRESULT_NO_SUCH_CONTAINER, false},
		{MESSAGE_MODIFY_SETTINGS,
		 "{\"Request\":{\"ResourceType\":\"ContainerConstraints\"}}",
		 HRESULT_NO_SUCH_CONTAINER, false},
		{MESSAGE_CREATE, "{\"ContainerConfig\":\"{}\"}", HRESULT_INVALID_ARGUMENT, false},
		{MESSAGE_WAIT_FOR_PROCESS,
		 "{\"ActivityId\":\"" ACTIVITY "\",\"ContainerId\":\"c\",\"ProcessId\":-1}",
		 HRESULT_INVALID_JSON, true},
		{MESSAGE_WAIT_FOR_PROCESS, "nonsense", HRESULT_INVALID_JSON, false},
	};
	struct host *host = *state;
	host_negotiate(host, true);
	for (size_t i = 0; i < array_size(requests); i++) {
		uint64_t id = host_send(host, requests[i].type, "%s", requests[i].text);
		const char *answer = host_answer(host, requests[i].type, id);
		assert_failure(answer, requests[i].hresult);
		assert_int_equal(strstr(answer, ACTIVITY) != NULL, requests[i].activity);
	}
	assert_false(host->agent.loop.stopping);
}

/* Nothing is closed that was not opened. */
static void test_agent_that_cannot_begin(void **state)
{
	static struct agent agent;
	struct rlimit before, none;
	struct hv_endpoint parent = {0};
	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	int lowest = dup(0);
	close(lowest);
	for (int spare = 0; spare < 2; spare++) {
		none.rlim_cur = (rlim_t)(lowest + spare);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
		assert_int_equal(agent_init(&agent, &parent, NULL), -EMFILE);
		agent_deinit(&agent);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		assert_true(fcntl(0, F_GETFD) >= 0);
	}
}

/* A process of the VM does not outlive the agent. */
static void test_vm_process_at_the_end(void **state)
{
	struct host *host = *state;
	host_negotiate(host, true);
	uint32_t pid = host_execute(host, NULL_CID, "{\"CommandArgs\":[\"sleep\",\"1000\"]}", "");
	host_close(host);
	assert_int_equal(kill((pid_t)pid, 0), -1);
	host_open(host);
}

/* Each of these is on its way when the bridge breaks. */
static const struct {
	const char *name;
	uint32_t type;
	bool before_start;
} states[] = {
	{"create", MESSAGE_CREATE, false},        {"start", MESSAGE_EXECUTE_PROCESS, true},
	{"exec", MESSAGE_EXECUTE_PROCESS, false}, {"wait", MESSAGE_WAIT_FOR_PROCESS, false},
	{"pause", MESSAGE_PAUSE, false},          {"delete", MESSAGE_DELETE_CONTAINER_STATE, true},
};

static void send_one(struct host *host, size_t i, uint32_t pid)
{
	static const char streams[] = ",\"Streams\":{\"StdIn\":100,\"StdOut\":101,\"StdErr\":102,"
				      "\"Window\":65536}";
	static const char pipes[] = "\"CreateStdInPipe\":true,\"CreateStdOutPipe\":true,"
				    "\"CreateStdErrPipe\":true";
	char parameters[512];
	snprintf(parameters, sizeof(parameters), "{%s%s}", pipes,
		 states[i].before_start
			 ? ""
			 : ",\"OciProcess\":{\"cwd\":\"/\",\"args\":[\"sh\",\"-c\",\"while :; do "
			   "echo x; done\"],"
			   "\"env\":[\"PATH=/bin\"]}");
	switch (states[i].type) {
	case MESSAGE_CREATE:
		host_send_create(host, "d", PID_NAMESPACE, SLEEP);
		break;
	case MESSAGE_EXECUTE_PROCESS:
		host_send_execute(host, "c", parameters, streams);
		break;
	case MESSAGE_WAIT_FOR_PROCESS:
		host_send_wait(host, "c", pid);
		break;
	default:
		host_send_base(host, states[i].type, "c");
	}
}

static void remove_everything(struct host *host)
{
	for (int i = 0; host->agent.containers && i < 200; i++) {
		char *id = host->agent.containers->id;
		char known[64];
		snprintf(known, sizeof(known), "%s", id);
		host_send_base(host, MESSAGE_RESUME, known);
		host_send_base(host, MESSAGE_SHUTDOWN_FORCED, known);
		host_send_base(host, MESSAGE_DELETE_CONTAINER_STATE, known);
		host_idle(host, 10);
	}
	assert_null(host->agent.containers);
	for (int i = 0; host->agent.processes && i < 100; i++)
		host_idle(host, 10);
	assert_null(host->agent.processes);
}

static void test_lost_in_each_state(void **state)
{
	struct host *host = *state;
	for (size_t i = 0; i < array_size(states); i++) {
		for (int idle = 0; idle < 3; idle++) {
			uint32_t pid = 0;
			host_negotiate(host, true);
			host_create(host, "c", PID_NAMESPACE, SLEEP);
			if (!states[i].before_start)
				pid = host_execute(host, "c", "{}", "");
			send_one(host, i, pid);
			host_idle(host, (uint64_t)(idle ? idle * idle * 5 : 1));
			host_reconnect(host, true);
			remove_everything(host);
			host_accept(host);
			host_forget(host);
		}
	}
}

/* The agent ends in each of these. */
static void test_end_in_each_state(void **state)
{
	struct host *host = *state;
	for (size_t i = 0; i < array_size(states); i++) {
		uint32_t pid = 0;
		host_negotiate(host, true);
		host_create(host, "c", PID_NAMESPACE, SLEEP);
		if (!states[i].before_start)
			pid = host_execute(host, "c", "{}", "");
		send_one(host, i, pid);
		host_idle(host, 1 + i % 3 * 10);
		host_close(host);
		host_open(host);
	}
}

/* Offsets are of streams that only the session knows in which they were named. */
static void test_offsets_of_another_session(void **state)
{
	struct host *host = *state;
	host_negotiate(host, true);
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	uint32_t init = host_execute(host, "c", "{}", "");
	uint32_t pid = host_execute(
		host, "c",
		"{\"CreateStdOutPipe\":true,\"OciProcess\":{\"cwd\":\"/\",\"args\":[\"sh\",\"-c\","
		"\"echo hello; exec sleep 1000\"],\"env\":[\"PATH=/bin\"]}}",
		",\"Streams\":{\"StdOut\":7,\"Window\":65536}");
	host_reconnect(host, true);
	kill((pid_t)pid, SIGKILL);
	const char *answer = host_wait(host, "c", pid);
	assert_int_equal(number_of(answer, "ExitCode"), 137);
	assert_null(strstr(answer, "StdOut"));
	host_remove(host, "c", init);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_plain_answers_come_later, setup, teardown),
		cmocka_unit_test_setup_teardown(test_session_answers_are_dropped_and_exits_kept,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_before_negotiation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plain_answers_are_not_for_a_session, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_redial_of_a_host_that_hangs_up, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_negotiation_with_many_containers, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_bad_requests, setup, teardown),
		cmocka_unit_test(test_agent_that_cannot_begin),
		cmocka_unit_test_setup_teardown(test_vm_process_at_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_in_each_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_in_each_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_offsets_of_another_session, setup, teardown),
	};
	return box_able() ? cmocka_run_group_tests(tests, box_setup, box_teardown) : 0;
}
