/* SPDX-License-Identifier: Apache-2.0 */

/* The control socket: real connections to it, and an agent played by hand behind it. */

#include "oci/log.h"
#include "shim/server.h"
#include "tests/unit/fake-agent.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

struct fixture {
	struct fake_agent agent;
	struct partition partition;
	struct task task;
	struct server server;
	char directory[40];
	unsigned shutdowns, emptied;
};

static struct fixture *current;

static void on_ready(struct bridge *bridge)
{
	(void)bridge;
}

static void on_lost(struct bridge *bridge, const struct fault *fault)
{
	(void)bridge;
	(void)fault;
	current->agent.lost++;
}

static void on_notification(struct bridge *bridge, const struct notification *notification)
{
	(void)bridge;
	task_notification(&current->task, notification);
}

static const struct bridge_ops bridge_ops = { on_ready, on_lost, on_notification };

static pid_t host_pid(struct partition *partition, uint32_t pid)
{
	(void)partition;
	return (pid_t)pid + 1000;
}

/* What the driver was asked for last; the test answers. */
static struct partition_call *pausing;
static bool pause_wanted;

static int pause_partition(struct partition *partition, bool pause, struct partition_call *call,
                           struct fault *fault)
{
	(void)partition;
	(void)fault;
	pausing = call;
	pause_wanted = pause;
	return 0;
}

static struct partition_call *resizing;

static int set_memory(struct partition *partition, uint64_t size, struct partition_call *call,
                      struct fault *fault)
{
	(void)partition;
	if (size > 1000)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "too much");
	resizing = call;
	return 0;
}

static const struct partition_driver driver = {
	.name = "fake",
	.host_pid = host_pid,
	.pause = pause_partition,
	.set_memory = set_memory,
};

static void on_event(struct task *task, const struct control_event *event)
{
	(void)task;
	server_event(&current->server, event);
}

static void on_emptied(struct task *task)
{
	(void)task;
	current->emptied++;
}

static void on_remains(struct task *task, const char *id)
{
	(void)task;
	(void)id;
}

static const struct task_ops task_ops = { on_event, on_emptied, on_remains };

static void on_shutdown(struct server *server)
{
	(void)server;
	current->shutdowns++;
}

static void on_describe(struct server *server, struct buf *out)
{
	(void)server;
	assert_int_equal(buf_printf(out, "the sandbox\n"), 0);
}

static const struct server_ops server_ops = { on_shutdown, on_describe };

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct fault fault = FAULT_NULL;

	current = fixture;
	fake_init(&fixture->agent, &bridge_ops);
	fixture->partition = (struct partition)PARTITION_NULL;
	fixture->partition.driver = &driver;
	task_init(&fixture->task, &fixture->agent.bridge, &fixture->partition, &task_ops);
	snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/test-server-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	assert_int_equal(server_init(&fixture->server, &fixture->agent.loop, &fixture->task,
	                             fixture->directory, &server_ops, &fault), 0);
	fake_negotiate(&fixture->agent);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	server_deinit(&fixture->server);
	bridge_deinit(&fixture->agent.bridge);
	task_deinit(&fixture->task);
	fake_deinit(&fixture->agent);
	assert_int_equal(rmdir(fixture->directory), 0);
	free(fixture);
	return 0;
}

static int dial(struct fixture *fixture)
{
	struct hv_endpoint endpoint = { .scheme = HV_SCHEME_UNIX };
	bool pending;

	snprintf(endpoint.path, sizeof(endpoint.path), "%s/" CONTROL_SOCKET, fixture->directory);
	int fd = hv_connect(&endpoint, NULL, false, &pending);
	assert_true(fd >= 0);
	fake_spin(&fixture->agent);
	return fd;
}

static void ask(struct fixture *fixture, int client, uint32_t type, uint64_t id, const char *json)
{
	uint8_t header[FRAME_HEADER];
	struct frame frame = { type, (uint32_t)(FRAME_HEADER + strlen(json)), id };

	frame_encode(&frame, header);
	assert_int_equal(send(client, header, sizeof(header), MSG_NOSIGNAL), sizeof(header));
	assert_int_equal(send(client, json, strlen(json), MSG_NOSIGNAL), strlen(json));
	fake_spin(&fixture->agent);
}

/* The next frame for a client; 0 when there is none. The payload is in agent.payload. */
static uint64_t told(struct fixture *fixture, int client, uint32_t *ret_type)
{
	uint8_t header[FRAME_HEADER];
	struct frame frame;

	fake_spin(&fixture->agent);
	ssize_t n = recv(client, header, sizeof(header), MSG_DONTWAIT);
	if (n <= 0)
		return 0;
	assert_int_equal(n, sizeof(header));
	assert_int_equal(frame_decode(header, CONTROL_FRAME_MAX, &frame), 0);
	size_t size = frame.size - FRAME_HEADER;
	assert_in_range(size, 0, FAKE_PAYLOAD - 1);
	assert_int_equal(recv(client, fixture->agent.payload, size, MSG_DONTWAIT), size);
	fixture->agent.payload[size] = '\0';
	if (ret_type)
		*ret_type = frame.type;
	return frame.id;
}

static void expect(struct fixture *fixture, int client, uint32_t type, uint64_t id,
                   const char *text)
{
	uint32_t got;

	assert_int_equal(told(fixture, client, &got), id);
	assert_int_equal(got, type);
	assert_non_null(strstr(fixture->agent.payload, text));
}

static void expect_answer(struct fixture *fixture, int client, uint32_t type, uint64_t id,
                          const char *text)
{
	expect(fixture, client, MESSAGE_RESPONSE(type), id, text);
}

static bool hung_up(struct fixture *fixture, int client)
{
	char byte;

	fake_spin(&fixture->agent);
	ssize_t n = recv(client, &byte, 1, MSG_DONTWAIT);
	return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* A running container "c" without streams; returns the id of the Wait for its init, 7. */
static uint64_t run(struct fixture *fixture, int client)
{
	ask(fixture, client, CONTROL_CREATE, 100,
	    "{\"Id\":\"c\",\"Bundle\":\"/b\",\"Config\":\"{}\"}");
	uint64_t call = fake_expect(&fixture->agent, MESSAGE_CREATE);
	fake_answer(&fixture->agent, MESSAGE_CREATE, call, "{\"Result\":0,\"ProcessId\":7}");
	expect_answer(fixture, client, CONTROL_CREATE, 100,
	              "{\"Result\":0,\"Pid\":7,\"HostPid\":1007}");
	uint64_t wait = fake_expect(&fixture->agent, MESSAGE_WAIT_FOR_PROCESS);
	ask(fixture, client, CONTROL_START, 101, "{\"Id\":\"c\"}");
	call = fake_expect(&fixture->agent, MESSAGE_EXECUTE_PROCESS);
	fake_answer(&fixture->agent, MESSAGE_EXECUTE_PROCESS, call,
	            "{\"Result\":0,\"ProcessId\":7}");
	expect_answer(fixture, client, CONTROL_START, 101, "\"Result\":0");
	return wait;
}

static void test_socket(void **state)
{
	struct fixture *fixture = *state;
	char path[80];
	struct stat st;

	snprintf(path, sizeof(path), "%s/" CONTROL_SOCKET, fixture->directory);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	server_close_socket(&fixture->server);
	assert_int_equal(stat(path, &st), -1);
}

static void test_refusals(void **state)
{
	static const struct {
		uint32_t type;
		const char *request, *answer;
	} cases[] = {
		{ 0x1F20FF01, "{}", "unknown request 0x1f20ff01" },
		{ CONTROL_START, "", "Result\":-" },
		{ CONTROL_START, "{\"Id\":7}", "Id: " },
		{ CONTROL_START, "{}", "Id: is required" },
		{ CONTROL_START, "{\"Id\":\"x\"}", "container \\\"x\\\" does not exist" },
		{ CONTROL_START, "{\"Id\":\"c\"}",
		  "cannot start container \\\"c\\\": it is running" },
		{ CONTROL_RESUME, "{\"Id\":\"c\"}",
		  "cannot resume container \\\"c\\\": it is running" },
		{ CONTROL_DELETE, "{\"Id\":\"c\"}",
		  "cannot delete container \\\"c\\\": it is running" },
		{ CONTROL_CREATE, "{\"Id\":\"c\",\"Bundle\":\"/b\",\"Config\":\"{}\"}",
		  "exists already" },
		{ CONTROL_CREATE, "{\"Id\":\"d\",\"Config\":\"{}\"}", "Bundle: is required" },
		{ CONTROL_CREATE, "{\"Id\":\"d\",\"Bundle\":\"/b\",\"Config\":\"{}\","
		                  "\"StdOut\":true}",
		  "not sent" },
		{ CONTROL_EXEC, "{\"Id\":\"c\"}", "Process: is required" },
		{ CONTROL_UPDATE, "{\"Id\":\"c\"}", "Resources: is required" },
		{ CONTROL_SIGNAL, "{\"Id\":\"c\",\"Pid\":8}", "has no process 8" },
		{ CONTROL_SIGNAL, "{\"Id\":\"c\",\"Scope\":\"all\"}", "Scope: " },
		{ CONTROL_STATE, "{\"Id\":\"x\"}", "does not exist" },
		{ CONTROL_SHUTDOWN, "{}", "holds containers" },
	};
	struct fixture *fixture = *state;
	cleanup_close int client = dial(fixture);

	run(fixture, client);
	for (size_t i = 0; i < array_size(cases); i++) {
		ask(fixture, client, cases[i].type, i + 1, cases[i].request);
		expect_answer(fixture, client, cases[i].type, i + 1, cases[i].answer);
		fake_quiet(&fixture->agent);
	}
	assert_int_equal(fixture->shutdowns, 0);
	fixture->server.ending = true;
	ask(fixture, client, CONTROL_DUMP, 99, "{}");
	expect_answer(fixture, client, CONTROL_DUMP, 99, "the partition is ending");
	ask(fixture, client, CONTROL_STATE, 100, "{}");
	expect_answer(fixture, client, CONTROL_STATE, 100, "\"Containers\"");
}

static void test_nonsense(void **state)
{
	static const uint32_t types[] = { 0, 0x20100101, CONTROL_EVENT, FRAME_DATA, UINT32_MAX };
	struct fixture *fixture = *state;

	for (size_t i = 0; i < array_size(types); i++) {
		cleanup_close int client = dial(fixture);
		ask(fixture, client, types[i], 1, "{}");
		assert_true(hung_up(fixture, client));
	}
	assert_null(fixture->server.clients);
}

static void test_state(void **state)
{
	struct fixture *fixture = *state;
	cleanup_close int client = dial(fixture);

	ask(fixture, client, CONTROL_STATE, 1, "{\"Id\":\"\"}");
	expect_answer(fixture, client, CONTROL_STATE, 1, "{\"Result\":0}");
	uint64_t wait = run(fixture, client);
	ask(fixture, client, CONTROL_STATE, 2, "{\"Id\":\"c\"}");
	expect_answer(fixture, client, CONTROL_STATE, 2,
	              "\"Status\":\"running\",\"Pid\":1007,\"InitPid\":1007");
	cleanup_close int proxy = dial(fixture);
	ask(fixture, proxy, CONTROL_ATTACH, 1, "{\"Id\":\"c\",\"Proxy\":4711}");
	ask(fixture, client, CONTROL_STATE, 3, "{}");
	expect_answer(fixture, client, CONTROL_STATE, 3, "\"Pid\":4711,\"InitPid\":1007");
	fake_answer(&fixture->agent, MESSAGE_WAIT_FOR_PROCESS, wait,
	            "{\"Result\":0,\"ExitCode\":5,\"ExitedAt\":\"2026-11-22\"}");
	expect_answer(fixture, proxy, CONTROL_ATTACH, 1, "\"ExitCode\":5,\"ExitedAt\":\"2026-11-22\"");
	ask(fixture, client, CONTROL_STATE, 4, "{}");
	expect_answer(fixture, client, CONTROL_STATE, 4, "\"Status\":\"stopped\",\"ExitCode\":5");
	assert_null(strstr(fixture->agent.payload, "\"Pid\""));
}

/* Many ask at once, and each is answered when his answer is there. */
static void test_nobody_waits_for_another(void **state)
{
	struct fixture *fixture = *state;
	cleanup_close int first = dial(fixture), second = dial(fixture);

	uint64_t wait = run(fixture, first);
	ask(fixture, first, CONTROL_WAIT, 1, "{\"Id\":\"c\"}");
	ask(fixture, first, CONTROL_PROCESSES, 2, "{\"Id\":\"c\"}");
	ask(fixture, second, CONTROL_SIGNAL, 1, "{\"Id\":\"c\",\"Signal\":15,\"Scope\":\"group\"}");
	ask(fixture, second, CONTROL_SIGNAL, 2, "{\"Id\":\"c\"}");
	expect_answer(fixture, second, CONTROL_SIGNAL, 2, "\"Result\":0");
	uint64_t list = fake_expect(&fixture->agent, MESSAGE_GET_PROPERTIES);
	uint64_t signalled = fake_expect(&fixture->agent, MESSAGE_SIGNAL_PROCESS);
	assert_non_null(strstr(fixture->agent.payload, "\"Signal\":15,\"Scope\":\"group\""));
	assert_int_equal(told(fixture, first, NULL), 0);
	fake_answer(&fixture->agent, MESSAGE_SIGNAL_PROCESS, signalled, "{\"Result\":0}");
	expect_answer(fixture, second, CONTROL_SIGNAL, 1, "\"Result\":0");
	fake_answer(&fixture->agent, MESSAGE_WAIT_FOR_PROCESS, wait,
	            "{\"Result\":0,\"ExitCode\":1}");
	expect_answer(fixture, first, CONTROL_WAIT, 1, "\"ExitCode\":1");
	fake_answer(&fixture->agent, MESSAGE_GET_PROPERTIES, list,
	            "{\"Result\":0,"
	            "\"Properties\":\"{\\\"ProcessList\\\":[{\\\"ProcessId\\\":7}]}\"}");
	expect_answer(fixture, first, CONTROL_PROCESSES, 2,
	              "{\"Pid\":7,\"HostPid\":1007,\"Exec\":\"init\"}");
}

/* Processes of the VM are like those of a container, but for who they belong to. */
static void test_vm_process(void **state)
{
	struct fixture *fixture = *state;
	cleanup_close int client = dial(fixture);

	ask(fixture, client, CONTROL_EVENTS, 1, "{}");
	expect_answer(fixture, client, CONTROL_EVENTS, 1, "\"Result\":0");
	ask(fixture, client, CONTROL_EXEC, 2,
	    "{\"Vm\":true,\"Process\":\"{\\\"CommandArgs\\\":[\\\"ps\\\"]}\"}");
	uint64_t call = fake_expect(&fixture->agent, MESSAGE_EXECUTE_PROCESS);
	assert_non_null(strstr(fixture->agent.payload, "\"ContainerId\":\"" NULL_CID "\""));
	assert_non_null(strstr(fixture->agent.payload,
	                       "\"ProcessParameters\":\"{\\\"CommandArgs\\\":[\\\"ps\\\"]}\""));
	fake_answer(&fixture->agent, MESSAGE_EXECUTE_PROCESS, call,
	            "{\"Result\":0,\"ProcessId\":9}");
	expect_answer(fixture, client, CONTROL_EXEC, 2, "\"Pid\":9,\"HostPid\":1009");
	uint64_t wait = fake_expect(&fixture->agent, MESSAGE_WAIT_FOR_PROCESS);
	ask(fixture, client, CONTROL_SIGNAL, 3, "{\"Vm\":true,\"Pid\":9,\"Signal\":15}");
	call = fake_expect(&fixture->agent, MESSAGE_SIGNAL_PROCESS);
	assert_non_null(strstr(fixture->agent.payload, "\"ContainerId\":\"" NULL_CID "\""));
	fake_answer(&fixture->agent, MESSAGE_SIGNAL_PROCESS, call, "{\"Result\":0}");
	expect_answer(fixture, client, CONTROL_SIGNAL, 3, "\"Result\":0");
	/* It has no init, it is no container, and nobody else's process. */
	ask(fixture, client, CONTROL_WAIT, 4, "{\"Vm\":true}");
	expect_answer(fixture, client, CONTROL_WAIT, 4, "the VM has no process 0");
	ask(fixture, client, CONTROL_STATE, 5, "{\"Id\":\"\"}");
	expect_answer(fixture, client, CONTROL_STATE, 5, "{\"Result\":0}");
	ask(fixture, client, CONTROL_DELETE, 6, "{\"Vm\":true,\"Force\":true}");
	expect_answer(fixture, client, CONTROL_DELETE, 6, "Id: is required");
	ask(fixture, client, CONTROL_ATTACH, 7, "{\"Vm\":true,\"Pid\":9}");
	fake_answer(&fixture->agent, MESSAGE_WAIT_FOR_PROCESS, wait, "{\"Result\":0,\"ExitCode\":3}");
	expect_answer(fixture, client, CONTROL_ATTACH, 7, "\"ExitCode\":3");
	assert_int_equal(told(fixture, client, NULL), 0);
	/* The loss of whoever attached takes it along. */
	cleanup_close int other = dial(fixture);
	ask(fixture, other, CONTROL_EXEC, 1, "{\"Vm\":true,\"Process\":\"{}\"}");
	call = fake_expect(&fixture->agent, MESSAGE_EXECUTE_PROCESS);
	fake_answer(&fixture->agent, MESSAGE_EXECUTE_PROCESS, call,
	            "{\"Result\":0,\"ProcessId\":10}");
	fake_expect(&fixture->agent, MESSAGE_WAIT_FOR_PROCESS);
	ask(fixture, other, CONTROL_ATTACH, 2, "{\"Vm\":true,\"Pid\":10}");
	close_fd(&other);
	fake_spin(&fixture->agent);
	fake_expect(&fixture->agent, MESSAGE_SIGNAL_PROCESS);
	assert_non_null(strstr(fixture->agent.payload, "\"ProcessId\":10"));
	task_died(&fixture->task, "was ended by the test");
}

static void answer_pause(struct fixture *fixture, bool expected)
{
	struct partition_call *call = take_pointer(pausing);

	assert_non_null(call);
	assert_int_equal(pause_wanted, expected);
	call->answer(call, NULL);
	fake_spin(&fixture->agent);
}

static void test_pause_vm(void **state)
{
	static const char asleep[] = "the VM is paused";
	struct fixture *fixture = *state;
	cleanup_close int client = dial(fixture), waiter = dial(fixture);

	run(fixture, client);
	ask(fixture, client, CONTROL_RESUME, 1, "{\"Vm\":true}");
	expect_answer(fixture, client, CONTROL_RESUME, 1, "the VM is not paused");
	ask(fixture, client, CONTROL_PAUSE, 2, "{\"Vm\":true}");
	assert_int_equal(told(fixture, client, NULL), 0);
	ask(fixture, client, CONTROL_PAUSE, 3, "{\"Vm\":true}");
	expect_answer(fixture, client, CONTROL_PAUSE, 3, "is changing its state");
	answer_pause(fixture, true);
	expect_answer(fixture, client, CONTROL_PAUSE, 2, "\"Result\":0");

	ask(fixture, client, CONTROL_STATE, 4, "{\"Id\":\"c\"}");
	expect_answer(fixture, client, CONTROL_STATE, 4, "\"Status\":\"paused\"");
	ask(fixture, waiter, CONTROL_WAIT, 1, "{\"Id\":\"c\"}");
	static const uint32_t refused[] = {
		CONTROL_SIGNAL, CONTROL_EXEC, CONTROL_STATISTICS, CONTROL_RESUME, CONTROL_DELETE,
		CONTROL_PROCESSES, CONTROL_UPDATE, CONTROL_PAUSE,
	};
	for (size_t i = 0; i < array_size(refused); i++) {
		ask(fixture, client, refused[i], 10 + i, "{\"Id\":\"c\",\"Signal\":9}");
		expect_answer(fixture, client, refused[i], 10 + i, asleep);
	}
	ask(fixture, client, CONTROL_DUMP, 5, "{}");
	expect_answer(fixture, client, CONTROL_DUMP, 5, "paused with its VM");
	fake_quiet(&fixture->agent);

	ask(fixture, client, CONTROL_RESUME, 6, "{\"Vm\":true}");
	answer_pause(fixture, false);
	expect_answer(fixture, client, CONTROL_RESUME, 6, "\"Result\":0");
	/* By force it is deleted all the same. */
	ask(fixture, client, CONTROL_PAUSE, 7, "{\"Vm\":true}");
	answer_pause(fixture, true);
	expect_answer(fixture, client, CONTROL_PAUSE, 7, "\"Result\":0");
	ask(fixture, client, CONTROL_DELETE, 8, "{\"Id\":\"c\",\"Force\":true}");
	answer_pause(fixture, false);
	fake_expect(&fixture->agent, MESSAGE_SIGNAL_PROCESS);
	task_died(&fixture->task, "was ended by the test");
}

static void test_update_vm(void **state)
{
	static const struct partition_driver none = { .name = "none" };
	struct fixture *fixture = *state;
	cleanup_close int client = dial(fixture);
	struct fault fault = FAULT_NULL;

	ask(fixture, client, CONTROL_UPDATE, 1, "{\"Vm\":true,\"Memory\":1001}");
	expect_answer(fixture, client, CONTROL_UPDATE, 1, "too much");
	ask(fixture, client, CONTROL_UPDATE, 2, "{\"Vm\":true,\"Memory\":1000}");
	assert_int_equal(told(fixture, client, NULL), 0);
	struct partition_call *call = take_pointer(resizing);
	call->answer(call, NULL);
	expect_answer(fixture, client, CONTROL_UPDATE, 2, "\"Result\":0");
	ask(fixture, client, CONTROL_UPDATE, 3, "{\"Vm\":true,\"Memory\":1}");
	fault_set(&fault, -EPIPE, HRESULT_FAIL, "it has ended");
	call = take_pointer(resizing);
	call->answer(call, &fault);
	expect_answer(fixture, client, CONTROL_UPDATE, 3, "it has ended");
	fixture->partition.driver = &none;
	ask(fixture, client, CONTROL_UPDATE, 4, "{\"Vm\":true,\"Memory\":1}");
	expect_answer(fixture, client, CONTROL_UPDATE, 4,
	              "a partition of kind \\\"none\\\" has no memory that could be changed");
	fixture->partition.driver = &driver;
}

/* Of partitions that share nothing; what becomes of the fds is seen by their other ends. */
static void test_share_refused(void **state)
{
	struct fixture *fixture = *state;
	cleanup_close int client = dial(fixture);

	ask(fixture, client, CONTROL_SHARE, 1, "{\"Share\":\"c.1\",\"Entry\":\"rootfs\"}");
	expect_answer(fixture, client, CONTROL_SHARE, 1, "comes without its mount");
	ask(fixture, client, CONTROL_SHARE, 2,
	    "{\"Share\":\"c.1\",\"Entry\":\"rootfs\",\"Tree\":true}");
	expect_answer(fixture, client, CONTROL_SHARE, 2, "comes without its mount");
}

static void test_client_goes_away(void **state)
{
	struct fixture *fixture = *state;
	cleanup_close int client = dial(fixture);
	int other = dial(fixture);

	run(fixture, client);
	ask(fixture, other, CONTROL_WAIT, 1, "{\"Id\":\"c\"}");
	ask(fixture, other, CONTROL_PROCESSES, 2, "{\"Id\":\"c\"}");
	uint64_t list = fake_expect(&fixture->agent, MESSAGE_GET_PROPERTIES);
	assert_non_null(task_find(&fixture->task, "c")->init->waiters);
	close(other);
	fake_spin(&fixture->agent);
	assert_null(task_find(&fixture->task, "c")->init->waiters);
	fake_answer(&fixture->agent, MESSAGE_GET_PROPERTIES, list, "{\"Result\":0}");
	fake_quiet(&fixture->agent);
	assert_int_equal(fixture->agent.lost, 0);
}

static void test_proxy_goes_away(void **state)
{
	struct fixture *fixture = *state;
	cleanup_close int client = dial(fixture);
	int proxy = dial(fixture);

	uint64_t wait = run(fixture, client);
	ask(fixture, client, CONTROL_EXEC, 1, "{\"Id\":\"c\",\"Process\":\"{}\"}");
	uint64_t call = fake_expect(&fixture->agent, MESSAGE_EXECUTE_PROCESS);
	fake_answer(&fixture->agent, MESSAGE_EXECUTE_PROCESS, call,
	            "{\"Result\":0,\"ProcessId\":9}");
	expect_answer(fixture, client, CONTROL_EXEC, 1, "\"Pid\":9");
	fake_expect(&fixture->agent, MESSAGE_WAIT_FOR_PROCESS);

	/* An exec's takes the exec along, an init's the container. */
	ask(fixture, proxy, CONTROL_ATTACH, 1, "{\"Id\":\"c\",\"Pid\":9,\"Proxy\":1}");
	close(proxy);
	fake_expect(&fixture->agent, MESSAGE_SIGNAL_PROCESS);
	assert_non_null(strstr(fixture->agent.payload,
	                       "\"ProcessId\":9,\"Options\":{\"Signal\":9}"));
	proxy = dial(fixture);
	ask(fixture, proxy, CONTROL_ATTACH, 1, "{\"Id\":\"c\",\"Proxy\":1}");
	close(proxy);
	fake_expect(&fixture->agent, MESSAGE_SIGNAL_PROCESS);
	assert_non_null(strstr(fixture->agent.payload,
	                       "\"ProcessId\":7,\"Options\":{\"Signal\":9,"
	                       "\"Scope\":\"container\"}"));
	fake_answer(&fixture->agent, MESSAGE_WAIT_FOR_PROCESS, wait,
	            "{\"Result\":0,\"ExitCode\":137}");

	/* One that has done its work may go. */
	proxy = dial(fixture);
	ask(fixture, proxy, CONTROL_ATTACH, 1, "{\"Id\":\"c\",\"Proxy\":1}");
	expect_answer(fixture, proxy, CONTROL_ATTACH, 1, "\"ExitCode\":137");
	close(proxy);
	fake_quiet(&fixture->agent);
}

static void test_fds(void **state)
{
	struct fixture *fixture = *state;
	cleanup_close int client = dial(fixture);
	const char *json = "{\"Id\":\"c\",\"Process\":\"{}\",\"StdOut\":true,\"StdErr\":true}";
	char bytes[FRAME_HEADER + 256];
	struct frame frame = { CONTROL_EXEC, (uint32_t)(FRAME_HEADER + strlen(json)), 1 };
	int out[2], err[2];
	char byte;

	run(fixture, client);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(pipe2(err, O_CLOEXEC), 0);
	frame_encode(&frame, (uint8_t *)bytes);
	strcpy(bytes + FRAME_HEADER, json);
	const int fds[] = { out[1], err[1] };
	assert_int_equal(fds_send(client, bytes, frame.size, fds, 2), 0);
	close(out[1]);
	close(err[1]);
	fake_expect(&fixture->agent, MESSAGE_EXECUTE_PROCESS);
	assert_null(strstr(fixture->agent.payload, "\"StdIn\":"));
	assert_non_null(strstr(fixture->agent.payload, "\"StdOut\":"));
	assert_non_null(strstr(fixture->agent.payload, "\"StdErr\":"));
	fake_answer(&fixture->agent, MESSAGE_EXECUTE_PROCESS, fixture->agent.frame.id,
	            "{\"Result\":-2147467259,\"ErrorMessage\":\"no\"}");
	expect_answer(fixture, client, CONTROL_EXEC, 1, "\"ErrorMessage\":\"no\"");
	assert_int_equal(read(out[0], &byte, 1), 0);
	assert_int_equal(read(err[0], &byte, 1), 0);
	close(out[0]);
	close(err[0]);
}

static void test_events(void **state)
{
	struct fixture *fixture = *state;
	cleanup_close int client = dial(fixture), watcher = dial(fixture), sleeper = dial(fixture);
	const struct control_event event = { .type = "oom", .id = "c", .count = 1, .time = "t" };

	ask(fixture, watcher, CONTROL_EVENTS, 17, "{}");
	expect_answer(fixture, watcher, CONTROL_EVENTS, 17, "\"Result\":0");
	ask(fixture, sleeper, CONTROL_EVENTS, 18, "{}");
	run(fixture, client);
	expect(fixture, watcher, CONTROL_EVENT, 17, "{\"Type\":\"create\",\"Id\":\"c\",\"Pid\":7,");
	expect(fixture, watcher, CONTROL_EVENT, 17, "{\"Type\":\"start\",\"Id\":\"c\",\"Pid\":7,");
	/* Who does not read is dropped; the others are not. */
	for (int i = 0; i < 20000; i++) {
		server_event(&fixture->server, &event);
		if (i % 100 == 0)
			while (told(fixture, watcher, NULL))
				;
	}
	fake_spin(&fixture->agent);
	while (told(fixture, sleeper, NULL))
		;
	assert_true(hung_up(fixture, sleeper));
	ask(fixture, watcher, CONTROL_STATE, 1, "{}");
	while (told(fixture, watcher, NULL) == 17)
		;
	assert_non_null(strstr(fixture->agent.payload, "\"Containers\""));
}

static void test_dump(void **state)
{
	struct fixture *fixture = *state;
	cleanup_close int client = dial(fixture);

	ask(fixture, client, CONTROL_DUMP, 1, "{}");
	uint64_t call = fake_expect(&fixture->agent, MESSAGE_DUMP_STACKS);
	fake_answer(&fixture->agent, MESSAGE_DUMP_STACKS, call,
	            "{\"Result\":0,\"GuestStacks\":\"deep\"}");
	expect_answer(fixture, client, CONTROL_DUMP, 1, "the sandbox\\nclients: 1");
	assert_non_null(strstr(fixture->agent.payload, "agent:\\ndeep\""));
	/* It is wanted most when the agent does not answer. */
	close_fd(&fixture->agent.fd);
	fake_spin(&fixture->agent);
	ask(fixture, client, CONTROL_DUMP, 2, "{}");
	expect_answer(fixture, client, CONTROL_DUMP, 2, "the agent is not connected");
}

static void test_shutdown(void **state)
{
	struct fixture *fixture = *state;
	cleanup_close int client = dial(fixture);

	ask(fixture, client, CONTROL_SHUTDOWN, 1, "{}");
	expect_answer(fixture, client, CONTROL_SHUTDOWN, 1, "\"Result\":0");
	assert_int_equal(fixture->shutdowns, 1);
	run(fixture, client);
	ask(fixture, client, CONTROL_SHUTDOWN, 2, "{\"Force\":true}");
	expect_answer(fixture, client, CONTROL_SHUTDOWN, 2, "\"Result\":0");
	assert_int_equal(fixture->shutdowns, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_socket),
		TEST(test_refusals),
		TEST(test_nonsense),
		TEST(test_state),
		TEST(test_nobody_waits_for_another),
		TEST(test_vm_process),
		TEST(test_pause_vm),
		TEST(test_update_vm),
		TEST(test_share_refused),
		TEST(test_client_goes_away),
		TEST(test_proxy_goes_away),
		TEST(test_fds),
		TEST(test_events),
		TEST(test_dump),
		TEST(test_shutdown),
	};

	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
