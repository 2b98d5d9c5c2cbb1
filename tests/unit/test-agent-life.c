/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How containers and processes end, and that every request about them is answered once whatever
 * happens in between.
 */

#include "tests/unit/agent-host.h"

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

static void test_created_and_deleted(void **state)
{
	struct host *host = *state;
	host_negotiate(host, true);
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	host_delete(host, "c");
	assert_null(host->agent.containers);
	assert_null(host->agent.processes);
}

/* The init is killed while it waits for its start; a host that knows its pid hears of it. */
static void test_killed_before_start(void **state)
{
	struct host *host = *state;
	host_negotiate(host, true);
	uint64_t create = host_send_create(host, "c", PID_NAMESPACE, SLEEP);
	const char *answer = host_answer(host, MESSAGE_CREATE, create);
	uint32_t pid = (uint32_t)number_of(answer, "ProcessId");
	uint64_t wait = host_send_wait(host, "c", pid);
	uint64_t kill_id = host_send_base(host, MESSAGE_SHUTDOWN_FORCED, "c");
	assert_success(host_answer(host, MESSAGE_SHUTDOWN_FORCED, kill_id));
	answer = host_answer(host, MESSAGE_WAIT_FOR_PROCESS, wait);
	assert_int_equal(number_of(answer, "ExitCode"), 137);
	uint64_t start = host_send_execute(host, "c", "{}", "");
	assert_failure(host_answer(host, MESSAGE_EXECUTE_PROCESS, start),
		       HRESULT_CONTAINER_NOT_RUNNING);
	assert_int_equal(count_notifications(host, "ForcedExit"), 1);
	host_delete(host, "c");
}

/* Closes the listener, on which there is at most a connection that was closed again. */
static void assert_closed(int listener)
{
	char byte;
	cleanup_close int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	close(listener);
}

/* The same, seen by a start that is under way: its streams are being dialled. */
static void test_killed_while_starting(void **state)
{
	struct host *host = *state;
	cleanup_free char *parameters =
		escaped("{\"CreateStdInPipe\":true,\"CreateStdOutPipe\":true}");
	host_negotiate(host, false);
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	int in = host_listen(host, 11), out = host_listen(host, 12);
	uint64_t start =
		host_now(host, MESSAGE_EXECUTE_PROCESS,
			 "{\"ContainerId\":\"c\",\"Settings\":{\"ProcessParameters\":\"%s\","
			 "\"VsockStdioRelaySettings\":{\"StdIn\":11,\"StdOut\":12}}}",
			 parameters);
	struct process *init = host->agent.containers->init;
	assert_int_equal(kill(init->child.pid, SIGKILL), 0);
	host_reap_now(init);
	assert_failure(host_answer(host, MESSAGE_EXECUTE_PROCESS, start),
		       HRESULT_CONTAINER_NOT_RUNNING);
	host_idle(host, 10);
	assert_closed(in);
	assert_closed(out);
	assert_int_equal(host->agent.containers->state, CONTAINER_STOPPED);
	host_delete(host, "c");
}

/* An exec whose streams are being dialled when its container goes. */
static void test_exec_of_a_container_that_goes(void **state)
{
	struct host *host = *state;
	cleanup_free char *parameters = escaped(
		"{\"CreateStdInPipe\":true,\"OciProcess\":{\"cwd\":\"/\",\"args\":[\"true\"]}}");
	host_negotiate(host, false);
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	host_execute(host, "c", "{}", "");
	int in = host_listen(host, 11);
	uint64_t exec =
		host_now(host, MESSAGE_EXECUTE_PROCESS,
			 "{\"ContainerId\":\"c\",\"Settings\":{\"ProcessParameters\":\"%s\","
			 "\"VsockStdioRelaySettings\":{\"StdIn\":11}}}",
			 parameters);
	struct process *init = host->agent.containers->init;
	assert_int_equal(kill(init->child.pid, SIGKILL), 0);
	host_reap_now(init);
	uint64_t drop = host_now(host, MESSAGE_DELETE_CONTAINER_STATE, "{\"ContainerId\":\"c\"}");
	assert_success(host_answer(host, MESSAGE_DELETE_CONTAINER_STATE, drop));
	assert_failure(host_answer(host, MESSAGE_EXECUTE_PROCESS, exec),
		       HRESULT_CONTAINER_NOT_RUNNING);
	host_idle(host, 20);
	assert_null(host->agent.processes);
	close(in);
}

/* A pause that is under way when the container is deleted. */
static void test_pause_of_a_container_that_goes(void **state)
{
	struct host *host = *state;
	host_negotiate(host, true);
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	uint64_t pause = host_now(host, MESSAGE_PAUSE, "{\"ContainerId\":\"c\"}");
	uint64_t drop = host_now(host, MESSAGE_DELETE_CONTAINER_STATE, "{\"ContainerId\":\"c\"}");
	assert_success(host_answer(host, MESSAGE_DELETE_CONTAINER_STATE, drop));
	host_answer(host, MESSAGE_PAUSE, pause);
}

/*
 * An exec that is on its way is let through first: frozen at its birth it would hold what it has
 * inherited, the ends of everybody's pipes, until the container is resumed.
 */
static void test_pause_while_an_exec_starts(void **state)
{
	struct host *host = *state;
	cleanup_free char *good = escaped(EXEC(SLEEP)), *bad = escaped(EXEC("\"no-such-program\""));
	host_negotiate(host, true);
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	uint32_t pid = host_execute(host, "c", "{}", "");
	for (int i = 0; i < 4; i++) {
		uint64_t exec = host_now(
			host, MESSAGE_EXECUTE_PROCESS,
			"{\"ContainerId\":\"c\",\"Settings\":{\"ProcessParameters\":\"%s\"}}",
			i % 2 ? bad : good);
		uint64_t pause = host_now(host, MESSAGE_PAUSE, "{\"ContainerId\":\"c\"}");
		uint64_t late = host_now(
			host, MESSAGE_EXECUTE_PROCESS,
			"{\"ContainerId\":\"c\",\"Settings\":{\"ProcessParameters\":\"%s\"}}",
			good);
		if (i == 2)
			kill(host->agent.processes->child.pid, SIGKILL);
		const char *answer = host_answer(host, MESSAGE_EXECUTE_PROCESS, exec);
		assert_int_equal(succeeded(answer), i % 2 == 0);
		assert_success(host_answer(host, MESSAGE_PAUSE, pause));
		assert_failure(host_answer(host, MESSAGE_EXECUTE_PROCESS, late),
			       HRESULT_INVALID_STATE);
		uint64_t resume = host_send_base(host, MESSAGE_RESUME, "c");
		assert_success(host_answer(host, MESSAGE_RESUME, resume));
	}
	host_remove(host, "c", pid);
}

static void test_pause(void **state)
{
	struct host *host = *state;
	host_negotiate(host, true);
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	uint32_t pid = host_execute(host, "c", "{}", "");
	for (int i = 0; i < 3; i++) {
		uint64_t pause = host_send_base(host, MESSAGE_PAUSE, "c");
		assert_success(host_answer(host, MESSAGE_PAUSE, pause));
		uint64_t again = host_send_base(host, MESSAGE_PAUSE, "c");
		assert_failure(host_answer(host, MESSAGE_PAUSE, again), HRESULT_INVALID_STATE);
		uint64_t exec = host_send_execute(host, "c", EXEC("\"true\""), "");
		assert_failure(host_answer(host, MESSAGE_EXECUTE_PROCESS, exec),
			       HRESULT_INVALID_STATE);
		uint64_t resume = host_send_base(host, MESSAGE_RESUME, "c");
		assert_success(host_answer(host, MESSAGE_RESUME, resume));
	}
	uint64_t pause = host_send_base(host, MESSAGE_PAUSE, "c");
	assert_success(host_answer(host, MESSAGE_PAUSE, pause));
	host_remove(host, "c", pid);
}

static bool exists(pid_t pid)
{
	return kill(pid, 0) == 0;
}

/* A container that has joined the pid namespace of another: who ends what its init leaves? */
static void test_joined_pid_namespace(void **state)
{
	struct host *host = *state;
	char namespaces[96];
	host_negotiate(host, true);
	host_create(host, "pod", PID_NAMESPACE, SLEEP);
	uint32_t pod = host_execute(host, "pod", "{}", "");
	snprintf(namespaces, sizeof(namespaces), ",{\"type\":\"pid\",\"path\":\"/proc/%u/ns/pid\"}",
		 pod);
	host_create(host, "c", namespaces, "\"sh\",\"-c\",\"sleep 1000 & exit 3\"");
	uint32_t pid = host_execute(host, "c", "{}", "");
	assert_int_equal(number_of(host_wait(host, "c", pid), "ExitCode"), 3);
	bool populated = true, frozen;
	for (int i = 0; populated && i < 100; i++) {
		host_idle(host, 10);
		assert_int_equal(cgroup_events(container_find(&host->agent, "c")->cgroup,
					       &populated, &frozen),
				 0);
	}
	assert_false(populated);
	host_delete(host, "c");
	host_remove(host, "pod", pod);
}

/* The cgroup is empty before the last of its dead is reaped. */
static void test_last_exec_of_a_deleted_container(void **state)
{
	struct host *host = *state;
	host_negotiate(host, true);
	host_create(host, "c", "", SLEEP);
	host_execute(host, "c", "{}", "");
	host_execute(host, "c", EXEC(SLEEP), "");
	struct process *exec = host->agent.processes, *init = exec->next;
	siginfo_t info;
	assert_true(init->init && !exec->init);
	kill(exec->child.pid, SIGKILL);
	kill(init->child.pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)exec->child.pid, &info, WEXITED | WNOWAIT), 0);
	host_reap_now(init);
	uint64_t drop = host_now(host, MESSAGE_DELETE_CONTAINER_STATE, "{\"ContainerId\":\"c\"}");
	/* The kernel tells of the empty cgroup a little later; the reaper is later still. */
	source_want(&host->agent.signals.source, 0);
	host_idle(host, 50);
	source_want(&host->agent.signals.source, EPOLLIN);
	host_reap_now(exec);
	assert_success(host_answer(host, MESSAGE_DELETE_CONTAINER_STATE, drop));
}

/* Execs in each stage when the init dies. */
static void test_execs_of_an_init_that_dies(void **state)
{
	struct host *host = *state;
	enum { EXECS = 12 };
	uint64_t exec[EXECS], wait[EXECS];
	host_negotiate(host, true);
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	uint32_t pid = host_execute(host, "c", "{}", "");
	for (int i = 0; i < EXECS; i++) {
		exec[i] = host_send_execute(host, "c", EXEC(SLEEP), "");
		if (i % 3 == 0)
			host_idle(host, 1);
	}
	assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
	uint64_t init = host_send_wait(host, "c", pid);
	for (int i = 0; i < EXECS; i++) {
		const char *answer = host_answer(host, MESSAGE_EXECUTE_PROCESS, exec[i]);
		wait[i] = UINT64_MAX;
		if (succeeded(answer))
			wait[i] =
				host_send_wait(host, "c", (uint32_t)number_of(answer, "ProcessId"));
	}
	for (int i = 0; i < EXECS; i++) {
		if (wait[i] != UINT64_MAX)
			assert_int_equal(
				number_of(host_answer(host, MESSAGE_WAIT_FOR_PROCESS, wait[i]),
					  "ExitCode"),
				137);
	}
	assert_int_equal(number_of(host_answer(host, MESSAGE_WAIT_FOR_PROCESS, init), "ExitCode"),
			 137);
	assert_int_equal(count_notifications(host, "UnexpectedExit"), 1);
	host_delete(host, "c");
	assert_null(host->agent.processes);
}

/* The reaper speaks before the report socket does. */
static void test_exit_before_the_report(void **state)
{
	struct host *host = *state;
	cleanup_free char *parameters = escaped(EXEC("\"true\""));
	host_negotiate(host, true);
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	uint32_t pid = host_execute(host, "c", "{}", "");
	uint64_t exec = host_now(
		host, MESSAGE_EXECUTE_PROCESS,
		"{\"ContainerId\":\"c\",\"Settings\":{\"ProcessParameters\":\"%s\"}}", parameters);
	host_reap_now(host->agent.processes);
	const char *answer = host_answer(host, MESSAGE_EXECUTE_PROCESS, exec);
	assert_success(answer);
	uint32_t process = (uint32_t)number_of(answer, "ProcessId");
	assert_int_equal(number_of(host_wait(host, "c", process), "ExitCode"), 0);
	assert_false(exists((pid_t)process));
	host_remove(host, "c", pid);
}

static void test_failures_of_create(void **state)
{
	struct host *host = *state;
	host_negotiate(host, true);
	for (int i = 0; i < 3; i++) {
		/* Found missing by the init itself; then the id is free at once. */
		uint64_t create = host_send_create(host, "c", PID_NAMESPACE, "\"no-such-program\"");
		assert_failure(host_answer(host, MESSAGE_CREATE, create), HRESULT_FAIL);
		assert_null(host->agent.containers);
	}
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	uint64_t create = host_send_create(host, "c", PID_NAMESPACE, SLEEP);
	assert_failure(host_answer(host, MESSAGE_CREATE, create), HRESULT_CONTAINER_EXISTS);
	host_delete(host, "c");
	assert_int_equal(count_notifications(host, ""), 0);
}

static void fill_scratch(struct host *host, int files)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/c-scratch", host->folder);
	assert_int_equal(mkdir(path, 0700), 0);
	for (int i = 0; i < files; i++) {
		snprintf(path, sizeof(path), "%s/c-scratch/%d", host->folder, i);
		int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
}

/* A large scratch directory is removed beside the loop; then the deletion is answered. */
static void test_scratch(void **state)
{
	static const int files[] = {10, 3000};
	struct host *host = *state;
	char path[128];
	snprintf(path, sizeof(path), "%s/c-scratch", host->folder);
	host_negotiate(host, true);
	for (size_t i = 0; i < array_size(files); i++) {
		fill_scratch(host, files[i]);
		host_create(host, "c", PID_NAMESPACE, SLEEP);
		uint32_t pid = host_execute(host, "c", "{}", "");
		kill((pid_t)pid, SIGKILL);
		assert_success(host_wait(host, "c", pid));
		uint64_t drop =
			host_now(host, MESSAGE_DELETE_CONTAINER_STATE, "{\"ContainerId\":\"c\"}");
		assert_int_equal(host->agent.containers == NULL, files[i] < 100);
		uint64_t again = host_send_base(host, MESSAGE_DELETE_CONTAINER_STATE, "c");
		const char *answer = host_answer(host, MESSAGE_DELETE_CONTAINER_STATE, again);
		assert_false(succeeded(answer));
		assert_success(host_answer(host, MESSAGE_DELETE_CONTAINER_STATE, drop));
		assert_int_equal(access(path, F_OK), -1);
		assert_null(host->agent.containers);
	}
	/* The agent may end meanwhile. */
	fill_scratch(host, 3000);
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	uint32_t pid = host_execute(host, "c", "{}", "");
	kill((pid_t)pid, SIGKILL);
	assert_success(host_wait(host, "c", pid));
	host_now(host, MESSAGE_DELETE_CONTAINER_STATE, "{\"ContainerId\":\"c\"}");
	assert_non_null(host->agent.containers);
}

/* What is forgotten leaves nothing. */
static void test_many_execs(void **state)
{
	struct host *host = *state;
	const char *count = getenv("AGENT_EXECS");
	int execs = count ? atoi(count) : 100;
	host_negotiate(host, true);
	host_create(host, "c", PID_NAMESPACE, SLEEP);
	uint32_t pid = host_execute(host, "c", "{}", "");
	size_t fds = count_fds();
	for (int i = 0; i < execs; i++) {
		uint32_t process = host_execute(host, "c", EXEC("\"true\""), "");
		assert_success(host_wait(host, "c", process));
		host_forget(host);
	}
	assert_int_equal(count_fds(), fds);
	assert_ptr_equal(host->agent.processes, host->agent.containers->init);
	assert_null(host->agent.processes->next);
	host_remove(host, "c", pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_created_and_deleted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_before_start, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_while_starting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exec_of_a_container_that_goes, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_pause_of_a_container_that_goes, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_pause_while_an_exec_starts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pause, setup, teardown),
		cmocka_unit_test_setup_teardown(test_joined_pid_namespace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_exec_of_a_deleted_container, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_execs_of_an_init_that_dies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exit_before_the_report, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures_of_create, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scratch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_execs, setup, teardown),
	};
	return box_able() ? cmocka_run_group_tests(tests, box_setup, box_teardown) : 0;
}
