/* SPDX-License-Identifier: Apache-2.0 */

/* Containers and processes on the host's side, with the agent played by hand: above all the order
 * in which output, exits and answers come. */

#include "shim/task.h"
#include "tests/unit/fake-agent.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#define EVENTS_MAX 64
#define ANSWERS_MAX 32

struct fixture {
	struct fake_agent agent;
	struct partition partition;
	struct task task;
	char events[EVENTS_MAX][40];
	size_t event_count;
	unsigned emptied, remains;
	char log_path[64];
};

/* Somebody who asked. */
struct asker {
	struct task_request request;
	unsigned answers;
	bool failed;
	uint32_t pid, host_pid, exit_code;
	size_t processes;
	uint32_t first_host_pid;
	uint64_t usage;
	unsigned emptied;               /* when the answer came */
	struct fault fault;
};

static struct fixture *current;
static char fifo_path[64];      /* made by some, removed by all */

static struct fake_agent *agent_of(struct fixture *fixture)
{
	return &fixture->agent;
}

static void on_ready(struct bridge *bridge)
{
	(void)bridge;
	task_connected(&current->task);
}

static void on_lost(struct bridge *bridge, const struct fault *fault)
{
	(void)bridge;
	current->agent.lost++;
	current->agent.fault = *fault;
}

static void on_notification(struct bridge *bridge, const struct notification *notification)
{
	(void)bridge;
	task_notification(&current->task, notification);
}

static const struct bridge_ops bridge_ops = { on_ready, on_lost, on_notification };

#define ENDED 99        /* a process that the host does not find any more */

static pid_t host_pid(struct partition *partition, uint32_t pid)
{
	(void)partition;
	return pid == ENDED ? 0 : (pid_t)pid + 1000;
}

static unsigned disks;

static int move_disk(struct partition_call *call)
{
	call->answer(call, NULL);
	return 0;
}

static int attach_disk(struct partition *partition, int fd, bool read_only,
                       struct partition_call *call, struct fault *fault)
{
	(void)partition;
	(void)fd;
	(void)read_only;
	(void)fault;
	disks++;
	return move_disk(call);
}

static int detach_disk(struct partition *partition, uint32_t lun, struct partition_call *call,
                       struct fault *fault)
{
	(void)partition;
	(void)lun;
	(void)fault;
	disks--;
	return move_disk(call);
}

static void stop_partition(struct partition *partition)
{
	(void)partition;
}

static const struct partition_driver driver = {
	.name = "fake", .visible = true, .host_pid = host_pid, .disk_attach = attach_disk,
	.disk_detach = detach_disk, .stop = stop_partition,
};

static void on_event(struct task *task, const struct control_event *event)
{
	(void)task;
	assert_true(current->event_count < EVENTS_MAX);
	assert_non_null(event->time);
	snprintf(current->events[current->event_count++], sizeof(current->events[0]), "%s %s %u %u",
	         event->type, event->id, event->pid, event->exit_code);
}

static void on_emptied(struct task *task)
{
	(void)task;
	current->emptied++;
}

static void on_remains(struct task *task, const char *id)
{
	(void)task;
	assert_string_equal(id, "c");
	current->remains++;
}

static const struct task_ops task_ops = { on_event, on_emptied, on_remains };

static void on_answer(struct task_request *request, const struct control_reply *reply,
                      const struct fault *fault)
{
	struct asker *asker = container_of(request, struct asker, request);

	asker->answers++;
	asker->failed = !reply;
	asker->emptied = current->emptied;
	assert_true(!reply != !fault);
	if (!reply) {
		asker->fault = *fault;
		return;
	}
	asker->pid = reply->pid;
	asker->host_pid = reply->host_pid;
	asker->exit_code = reply->exit_code;
	asker->processes = reply->processes.count;
	if (reply->processes.count)
		asker->first_host_pid = reply->processes.item[0].host_pid;
	asker->usage = reply->statistics ? reply->statistics->memory.usage : 0;
}

static void fresh(struct asker *asker)
{
	*asker = (struct asker){ .request.answer = on_answer };
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	current = fixture;
	fake_init(&fixture->agent, &bridge_ops);
	fixture->partition = (struct partition)PARTITION_NULL;
	fixture->partition.driver = &driver;
	task_init(&fixture->task, &fixture->agent.bridge, &fixture->partition, &task_ops);
	snprintf(fixture->log_path, sizeof(fixture->log_path), "/tmp/test-task-%d.log",
	         (int)getpid());
	fake_negotiate(&fixture->agent);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	bridge_deinit(&fixture->agent.bridge);
	task_deinit(&fixture->task);
	fake_deinit(&fixture->agent);
	(void)unlink(fixture->log_path);
	(void)unlink(fifo_path);
	free(fixture);
	return 0;
}

/* A pipe whose far end is the caller's: fd[0] is his, fd[1] is for us (or the other way round). */
struct callers {
	int in, out, err;       /* what the caller keeps */
	int passed[STDIO_COUNT];
};

static struct callers make_callers(void)
{
	struct callers callers;
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	callers.passed[STDIO_IN] = fd[0];
	callers.in = fd[1];
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	callers.out = fd[0];
	callers.passed[STDIO_OUT] = fd[1];
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	callers.err = fd[0];
	callers.passed[STDIO_ERR] = fd[1];
	return callers;
}

static void close_callers(struct callers *callers)
{
	close_fd(&callers->in);
	close_fd(&callers->out);
	close_fd(&callers->err);
}

/* What can be read now; -1 = nothing yet, 0 = the end. */
static ssize_t read_now(int fd, char *to, size_t size)
{
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return read(fd, to, size);
}

static void expect_text(int fd, const char *text)
{
	char got[256] = "";
	ssize_t n = read_now(fd, got, sizeof(got) - 1);
	assert_int_equal(n, strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

static void expect_end(int fd)
{
	char byte;
	assert_int_equal(read_now(fd, &byte, 1), 0);
}

static void expect_nothing(int fd)
{
	char byte;
	assert_int_equal(read_now(fd, &byte, 1), -1);
}

static struct container *create(struct fixture *fixture, const char *id, struct callers *callers,
                                const char *log_path, bool terminal)
{
	struct control_request wanted = {
		.id = id, .bundle = "/bundle", .config = "{\"ociVersion\":\"1.2.0\"}",
		.log_path = log_path, .terminal = terminal,
	};
	int none[STDIO_COUNT] = { -1, -1, -1 };
	struct fault fault = FAULT_NULL;
	struct asker asker;

	fresh(&asker);
	assert_int_equal(task_create(&fixture->task, &wanted, callers ? callers->passed : none,
	                             &asker.request, &fault), 0);
	assert_int_equal(container_status(task_find(&fixture->task, id)), CONTAINER_CREATING);
	uint64_t call = fake_expect(agent_of(fixture), MESSAGE_CREATE);
	assert_non_null(strstr(fixture->agent.payload, "{\\\"ociVersion\\\":\\\"1.2.0\\\"}"));
	fake_answer(agent_of(fixture), MESSAGE_CREATE, call, "{\"Result\":0,\"ProcessId\":7}");
	assert_int_equal(asker.answers, 1);
	assert_false(asker.failed);
	assert_int_equal(asker.host_pid, 1007);
	struct container *container = task_find(&fixture->task, id);
	assert_int_equal(container_status(container), CONTAINER_CREATED);
	return container;
}

/* Reads the Wait that was sent for a process. */
static uint64_t expect_wait(struct fixture *fixture, uint32_t pid)
{
	char text[60];

	uint64_t id = fake_expect(agent_of(fixture), MESSAGE_WAIT_FOR_PROCESS);
	snprintf(text, sizeof(text), "\"ProcessId\":%u,\"TimeoutInMs\":4294967295", pid);
	assert_non_null(strstr(fixture->agent.payload, text));
	return id;
}

static uint64_t stream_id(struct fixture *fixture, const char *name)
{
	char text[40];

	snprintf(text, sizeof(text), "\"%s\":", name);
	const char *at = strstr(fixture->agent.payload, text);
	return at ? strtoull(at + strlen(text), NULL, 10) : 0;
}

struct running {
	struct callers callers;
	struct container *container;
	uint64_t wait, in, out, err;
};

static void start(struct fixture *fixture, struct running *running)
{
	struct fault fault = FAULT_NULL;
	struct asker asker;

	fresh(&asker);
	running->wait = expect_wait(fixture, 7);
	assert_int_equal(task_start(running->container, &asker.request, &fault), 0);
	uint64_t call = fake_expect(agent_of(fixture), MESSAGE_EXECUTE_PROCESS);
	running->in = stream_id(fixture, "StdIn");
	running->out = stream_id(fixture, "StdOut");
	running->err = stream_id(fixture, "StdErr");
	fake_answer(agent_of(fixture), MESSAGE_EXECUTE_PROCESS, call,
	            "{\"Result\":0,\"ProcessId\":7}");
	assert_int_equal(asker.answers, 1);
	assert_false(asker.failed);
	assert_int_equal(container_status(running->container), CONTAINER_RUNNING);
}

static void run(struct fixture *fixture, struct running *running)
{
	running->callers = make_callers();
	running->container = create(fixture, "c", &running->callers, NULL, false);
	start(fixture, running);
	assert_true(running->in && running->out && running->err);
}

static void data(struct fixture *fixture, uint64_t stream, const char *text)
{
	fake_write(agent_of(fixture), FRAME_DATA, stream, text, strlen(text));
}

static void exit_reply(struct fixture *fixture, uint64_t wait, uint32_t code, int64_t out,
                       int64_t err)
{
	char text[200], offsets[80] = "";

	if (out >= 0)
		snprintf(offsets, sizeof(offsets), "\"StdOut\":%lld,\"StdErr\":%lld",
		         (long long)out,
		         (long long)err);
	snprintf(text, sizeof(text), "{\"Result\":0,\"ExitCode\":%u,\"ExitedAt\":"
	         "\"2026-11-22T00:00:00.000000001Z\",\"Offsets\":{%s}}", code, offsets);
	fake_answer(agent_of(fixture), MESSAGE_WAIT_FOR_PROCESS, wait, text);
}

static void test_lifecycle(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct running running;
	struct asker waiter, deleter;

	run(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	data(fixture, running.out, "hello\n");
	expect_text(running.callers.out, "hello\n");
	fake_end(agent_of(fixture), running.out, 6);
	fake_end(agent_of(fixture), running.err, 0);
	expect_end(running.callers.out);
	expect_end(running.callers.err);
	assert_int_equal(waiter.answers, 0);
	exit_reply(fixture, running.wait, 3, 6, 0);
	assert_int_equal(waiter.answers, 1);
	assert_int_equal(waiter.exit_code, 3);
	assert_int_equal(container_status(running.container), CONTAINER_STOPPED);
	assert_string_equal(running.container->init->exited_at, "2026-11-22T00:00:00.000000001Z");
	assert_null(running.container->init->stdio);

	/* Input ends with the process, on both sides. */
	fake_expect(agent_of(fixture), FRAME_END);
	assert_int_equal(fixture->agent.frame.id, running.in);
	assert_int_equal(write(running.callers.in, "x", 1), -1);

	/* Who asks late is told as well. */
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	assert_int_equal(waiter.exit_code, 3);

	fresh(&deleter);
	assert_int_equal(task_delete(running.container, false, &deleter.request, &fault), 0);
	uint64_t call = fake_expect(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE);
	assert_int_equal(deleter.answers, 0);
	fake_answer(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE, call, "{\"Result\":0}");
	assert_int_equal(deleter.answers, 1);
	assert_int_equal(deleter.emptied, 1);
	assert_null(task_find(&fixture->task, "c"));
	static const char *const events[] = { "create c 7 0", "start c 7 0", "exit c 7 3",
	                                     "delete c 0 0" };
	assert_int_equal(fixture->event_count, array_size(events));
	for (size_t i = 0; i < array_size(events); i++)
		assert_string_equal(fixture->events[i], events[i]);
	close_callers(&running.callers);
}

/* The exit arrives first, as it may: messages overtake data. */
static void test_exit_waits_for_output(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker waiter;

	run(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	exit_reply(fixture, running.wait, 0, 6, 2);
	assert_int_equal(waiter.answers, 0);
	/* Nobody reads this container's output from a log, so it may be called what it is. */
	assert_int_equal(container_status(running.container), CONTAINER_STOPPED);
	data(fixture, running.out, "hello");
	data(fixture, running.err, "er");
	assert_int_equal(waiter.answers, 0);
	data(fixture, running.out, "\n");
	assert_int_equal(waiter.answers, 1);
	expect_text(running.callers.out, "hello\n");
	expect_nothing(running.callers.out);

	/* A child that was left behind goes on talking. */
	data(fixture, running.out, "child");
	expect_text(running.callers.out, "child");
	fake_end(agent_of(fixture), running.out, 11);
	fake_end(agent_of(fixture), running.err, 2);
	expect_end(running.callers.out);
	assert_int_equal(waiter.answers, 1);
	assert_null(running.container->init->stdio);
	close_callers(&running.callers);
}

static void fill(struct fixture *fixture, uint64_t stream, size_t size)
{
	static char bytes[4096];  /* so few that the pipe stays as it is */

	for (; size; size -= min_size(size, sizeof(bytes)))
		fake_write(agent_of(fixture), FRAME_DATA, stream, bytes,
		           min_size(size, sizeof(bytes)));
}

#define STALLED 250000          /* more than a pipe holds, less than a window */
#define PIPE_SIZE 65536

/* Whoever does not read holds up his own exit, and nobody else's. */
static void test_stalled_reader(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker waiter;
	char bytes[65536];
	size_t total = 0;

	run(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	fill(fixture, running.out, STALLED);
	exit_reply(fixture, running.wait, 0, STALLED, 3);
	data(fixture, running.err, "err");
	expect_text(running.callers.err, "err");
	assert_int_equal(waiter.answers, 0);
	while (total < STALLED) {
		ssize_t n = read_now(running.callers.out, bytes, sizeof(bytes));
		total += n > 0 ? (size_t)n : 0;
		/* What does not fit into the pipe has not been delivered. */
		if (total < STALLED - PIPE_SIZE)
			assert_int_equal(waiter.answers, 0);
		fake_spin(agent_of(fixture));
	}
	fake_spin(agent_of(fixture));
	assert_int_equal(waiter.answers, 1);
	close_callers(&running.callers);
}

static void test_reader_goes_away(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker waiter;

	run(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	close_fd(&running.callers.out);
	data(fixture, running.out, "anybody?");
	fake_expect(agent_of(fixture), FRAME_STOP);
	assert_int_equal(fixture->agent.frame.id, running.out);
	/* What was on its way is dropped, and is no reason to wait. */
	exit_reply(fixture, running.wait, 141, 100, 0);
	assert_int_equal(waiter.answers, 1);
	data(fixture, running.out, "more");
	fake_end(agent_of(fixture), running.out, 12);
	assert_int_equal(fixture->agent.lost, 0);
	close_callers(&running.callers);
}

/* Offsets that never come true are made up for by END. */
static void test_offset_beyond_the_end(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker waiter;

	run(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	exit_reply(fixture, running.wait, 0, 1000000, 0);
	assert_int_equal(waiter.answers, 0);
	data(fixture, running.out, "abc");
	assert_int_equal(waiter.answers, 0);
	fake_end(agent_of(fixture), running.out, 3);
	assert_int_equal(waiter.answers, 1);
	close_callers(&running.callers);
}

static void terminal(struct fixture *fixture, struct running *running)
{
	running->callers = make_callers();
	close_fd(&running->callers.passed[STDIO_ERR]);
	running->container = create(fixture, "c", &running->callers, NULL, true);
	start(fixture, running);
	assert_int_equal(running->err, 0);
}

static void test_terminal_waits_for_end(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker waiter;

	terminal(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	exit_reply(fixture, running.wait, 0, -1, -1);
	data(fixture, running.out, "bye");
	assert_int_equal(waiter.answers, 0);
	fake_end(agent_of(fixture), running.out, 3);
	assert_int_equal(waiter.answers, 1);
	expect_text(running.callers.out, "bye");
	expect_end(running.callers.out);
	close_callers(&running.callers);
}

static void test_terminal_with_a_stranger(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker waiter;
	char text[200];

	terminal(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	exit_reply(fixture, running.wait, 0, -1, -1);
	for (unsigned i = 0; i < 2; i++) {
		/* One of another stream, then ours. */
		snprintf(text, sizeof(text), "{\"ContainerId\":\"c\",\"Type\":\"StreamOffset\","
		         "\"Operation\":\"None\",\"ProcessId\":7,\"Stream\":%llu,\"Offset\":3}",
		         (unsigned long long)(i ? running.out : 4711));
		fake_write(agent_of(fixture), MESSAGE_NOTIFICATION, 0, text, strlen(text));
		assert_int_equal(waiter.answers, 0);
	}
	data(fixture, running.out, "bye");
	assert_int_equal(waiter.answers, 1);
	expect_text(running.callers.out, "bye");
	expect_nothing(running.callers.out);
	close_callers(&running.callers);
}

static void test_log_before_exit(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker waiter;
	char text[200] = "";

	running.container = create(fixture, "c", NULL, fixture->log_path, false);
	start(fixture, &running);
	assert_true(!running.in && running.out && running.err);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	exit_reply(fixture, running.wait, 0, 9, 0);
	assert_int_equal(container_status(running.container), CONTAINER_RUNNING);
	data(fixture, running.out, "one\n");
	assert_int_equal(waiter.answers, 0);
	data(fixture, running.out, "unend");
	assert_int_equal(waiter.answers, 1);
	assert_int_equal(container_status(running.container), CONTAINER_STOPPED);
	cleanup_close int fd = open(fixture->log_path, O_RDONLY | O_CLOEXEC);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "stdout F one\n"));
	assert_non_null(strstr(text, "stdout P unend\n"));
}

static int exec(struct fixture *fixture, struct container *container, struct callers *callers,
                struct asker *asker)
{
	struct control_request wanted = { .process = "{\"args\":[\"x\"]}" };
	int none[STDIO_COUNT] = { -1, -1, -1 };

	fresh(asker);
	int r = task_exec(container, &wanted, callers ? callers->passed : none, &asker->request,
	                  &asker->fault);
	if (r >= 0)
		fake_expect(agent_of(fixture), MESSAGE_EXECUTE_PROCESS);
	return r;
}

static void test_exec(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct callers callers = make_callers();
	struct asker asker, waiter;

	run(fixture, &running);
	assert_int_equal(exec(fixture, running.container, &callers, &asker), 0);
	assert_non_null(strstr(fixture->agent.payload,
	                       "\\\"OciProcess\\\":{\\\"args\\\":[\\\"x\\\"]}"));
	uint64_t out = stream_id(fixture, "StdOut");
	assert_true(out > running.err);
	fake_answer(agent_of(fixture), MESSAGE_EXECUTE_PROCESS, fixture->agent.frame.id,
	            "{\"Result\":0,\"ProcessId\":9}");
	assert_int_equal(asker.pid, 9);
	uint64_t wait = expect_wait(fixture, 9);
	struct process *process = container_process(running.container, 9);
	assert_non_null(process);
	assert_ptr_equal(container_process(running.container, 0), running.container->init);
	assert_null(container_process(running.container, 10));

	/* It may be over before anybody waits. */
	exit_reply(fixture, wait, 1, 0, 0);
	assert_ptr_equal(container_process(running.container, 9), process);
	fresh(&waiter);
	task_wait(process, &waiter.request);
	assert_int_equal(waiter.exit_code, 1);
	/* And is forgotten when somebody has, as soon as nothing flows any more. */
	assert_non_null(container_process(running.container, 9));
	fake_end(agent_of(fixture), out, 0);
	fake_end(agent_of(fixture), out + 1, 0);
	assert_null(container_process(running.container, 9));
	close_callers(&callers);
	close_callers(&running.callers);
}

/* A STOP for a stream that the agent does not have yet would be lost. */
static void test_reader_gone_before_the_start(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct asker starter;
	struct running running = { .callers = make_callers() };

	close_fd(&running.callers.out);
	running.container = create(fixture, "c", &running.callers, NULL, false);
	running.wait = expect_wait(fixture, 7);
	fresh(&starter);
	assert_int_equal(task_start(running.container, &starter.request, &fault), 0);
	uint64_t call = fake_expect(agent_of(fixture), MESSAGE_EXECUTE_PROCESS);
	running.out = stream_id(fixture, "StdOut");
	fake_quiet(agent_of(fixture));
	fake_answer(agent_of(fixture), MESSAGE_EXECUTE_PROCESS, call,
	            "{\"Result\":0,\"ProcessId\":7}");
	assert_int_equal(fake_expect(agent_of(fixture), FRAME_STOP), running.out);
	data(fixture, running.out, "crossing");
	fake_end(agent_of(fixture), running.out, 8);
	assert_int_equal(fixture->agent.lost, 0);
	close_callers(&running.callers);
}

/* A refused request has started no streams, so nothing is kept for them. */
static void test_refused_without_a_reader(void **state)
{
	struct fixture *fixture = *state;
	struct running running;

	run(fixture, &running);
	for (int i = 0; i < 3; i++) {
		struct asker asker;
		struct callers callers = make_callers();
		close_fd(&callers.out);
		close_fd(&callers.err);
		assert_int_equal(exec(fixture, running.container, &callers, &asker), 0);
		fake_quiet(agent_of(fixture));
		fake_answer(agent_of(fixture), MESSAGE_EXECUTE_PROCESS, fixture->agent.frame.id,
		            "{\"Result\":-2147467259,\"ErrorMessage\":\"no such file\"}");
		assert_true(asker.failed);
		close_callers(&callers);
	}
	assert_int_equal(fixture->agent.bridge.channel.ghosts, 0);
	fake_quiet(agent_of(fixture));
	close_callers(&running.callers);
}

/* Then it may run, without anybody at its streams: it is killed as soon as that can be said. */
static void test_connection_lost_while_starting(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct asker starter, deleter;
	struct running running = { .callers = make_callers() };

	running.container = create(fixture, "c", &running.callers, NULL, false);
	(void)expect_wait(fixture, 7);
	fresh(&starter);
	assert_int_equal(task_start(running.container, &starter.request, &fault), 0);
	(void)fake_expect(agent_of(fixture), MESSAGE_EXECUTE_PROCESS);
	close_fd(&fixture->agent.fd);
	fake_spin(agent_of(fixture));
	assert_true(starter.failed);
	expect_end(running.callers.out);
	assert_int_equal(task_start(running.container, &starter.request, &fault), -ENOTCONN);
	fresh(&deleter);
	assert_int_equal(task_delete(running.container, false, &deleter.request, &fault), -EBUSY);
	assert_int_equal(task_delete(running.container, true, &deleter.request, &fault), 0);
	assert_int_equal(deleter.answers, 0);

	fake_negotiate(agent_of(fixture));
	uint64_t wait = expect_wait(fixture, 7);
	(void)fake_expect(agent_of(fixture), MESSAGE_SIGNAL_PROCESS);
	exit_reply(fixture, wait, 137, 0, 0);
	do
		fake_read(agent_of(fixture));
	while (fixture->agent.frame.type == MESSAGE_SIGNAL_PROCESS);
	assert_int_equal(fixture->agent.frame.type, MESSAGE_DELETE_CONTAINER_STATE);
	fake_answer(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE, fixture->agent.frame.id,
	            "{\"Result\":0}");
	assert_int_equal(deleter.answers, 1);
	assert_false(deleter.failed);
	close_callers(&running.callers);
}

/* A start without a connection fails and can be tried again. */
static void test_start_without_a_connection(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct asker starter;
	struct running running = { .callers = make_callers() };

	running.container = create(fixture, "c", &running.callers, NULL, false);
	(void)expect_wait(fixture, 7);
	close_fd(&fixture->agent.fd);
	fake_spin(agent_of(fixture));
	fresh(&starter);
	assert_int_equal(task_start(running.container, &starter.request, &fault), -ENOTCONN);
	fake_negotiate(agent_of(fixture));
	start(fixture, &running);
	data(fixture, running.out, "all there\n");
	expect_text(running.callers.out, "all there\n");
	close_callers(&running.callers);
}

/* What the guest says of time is shown to people. */
static void test_odd_times(void **state)
{
	static const char *const times[] = {
		"\\u001b[2J", "", "2026-11-22T00:00:00.000000001Z and more of it", "now",
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < array_size(times); i++) {
		char id[4], text[200];
		struct callers callers = make_callers();
		snprintf(id, sizeof(id), "c%zu", i);
		struct container *container = create(fixture, id, &callers, NULL, false);
		uint64_t wait = expect_wait(fixture, 7);
		snprintf(text, sizeof(text), "{\"Result\":0,\"ExitCode\":1,\"ExitedAt\":\"%s\"}",
		         times[i]);
		fake_answer(agent_of(fixture), MESSAGE_WAIT_FOR_PROCESS, wait, text);
		assert_int_equal(container_status(container), CONTAINER_STOPPED);
		assert_int_equal(strlen(container->init->exited_at), TIME_TEXT - 1);
		assert_int_equal(container->init->exited_at[4], '-');
		close_callers(&callers);
	}
}

/* Who asked was killed while the program was started. */
static void test_orphaned(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct running running = { .callers = make_callers() };

	running.container = create(fixture, "c", &running.callers, NULL, false);
	(void)expect_wait(fixture, 7);
	for (int attached = 1; attached >= 0; attached--) {
		struct asker starter, waiter;
		struct callers callers = make_callers();
		fresh(&starter);
		fresh(&waiter);
		/* The init has a proxy, and the exec has none. */
		if (attached) {
			task_wait(running.container->init, &waiter.request);
			assert_int_equal(task_start(running.container, &starter.request, &fault), 0);
			(void)fake_expect(agent_of(fixture), MESSAGE_EXECUTE_PROCESS);
		} else {
			assert_int_equal(exec(fixture, running.container, &callers, &starter), 0);
		}
		starter.request.orphaned = true;
		fake_answer(agent_of(fixture), MESSAGE_EXECUTE_PROCESS, fixture->agent.frame.id,
		            attached ? "{\"Result\":0,\"ProcessId\":7}" :
		                       "{\"Result\":0,\"ProcessId\":8}");
		if (attached) {
			fake_quiet(agent_of(fixture));
			task_cancel(&waiter.request);
		} else {
			(void)expect_wait(fixture, 8);
			(void)fake_expect(agent_of(fixture), MESSAGE_SIGNAL_PROCESS);
		}
		close_callers(&callers);
	}
	close_callers(&running.callers);
}

static unsigned stops;

static void stop(struct partition *partition)
{
	(void)partition;
	stops++;
}

static void wait_for_patience(struct fixture *fixture)
{
	fake_spin(agent_of(fixture));
	usleep(30000);
	fake_spin(agent_of(fixture));
}

/* An agent that does not answer: alone in its partition a container takes that along. */
static void test_patience(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct running running;
	struct asker deleters[2];
	struct partition_driver stoppable = driver;

	stoppable.stop = stop;
	fixture->partition.driver = &stoppable;
	fixture->task.patience = 20;
	stops = 0;
	run(fixture, &running);
	struct container *other = create(fixture, "d", NULL, NULL, false);
	(void)expect_wait(fixture, 7);
	for (int i = 0; i < 2; i++) {
		fresh(&deleters[i]);
		assert_int_equal(task_delete(running.container, true, &deleters[i].request, &fault),
		                 0);
	}
	wait_for_patience(fixture);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(deleters[i].answers, 1);
		assert_true(deleters[i].failed);
	}
	assert_int_equal(stops, 0);
	assert_ptr_equal(task_find(&fixture->task, "c"), running.container);

	(void)fake_expect(agent_of(fixture), MESSAGE_SIGNAL_PROCESS);
	fresh(&deleters[0]);
	assert_int_equal(task_delete(other, false, &deleters[0].request, &fault), 0);
	uint64_t call = fake_expect(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE);
	fake_answer(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE, call, "{\"Result\":0}");
	fresh(&deleters[0]);
	assert_int_equal(task_delete(running.container, true, &deleters[0].request, &fault), 0);
	wait_for_patience(fixture);
	assert_int_equal(stops, 1);
	assert_int_equal(deleters[0].answers, 0);
	task_died(&fixture->task, "the agent was killed by signal 9");
	assert_int_equal(deleters[0].answers, 1);
	assert_false(deleters[0].failed);
	close_callers(&running.callers);
}

/* The exit and the refused start may be answered in any order. */
static void test_deleted_while_starting(void **state)
{
	struct fixture *fixture = *state;

	for (int exit_first = 0; exit_first < 2; exit_first++) {
		struct fault fault = FAULT_NULL;
		struct asker starter, deleter;
		struct running running = { .callers = make_callers() };
		running.container = create(fixture, "c", &running.callers, NULL, false);
		running.wait = expect_wait(fixture, 7);
		fresh(&starter);
		fresh(&deleter);
		assert_int_equal(task_start(running.container, &starter.request, &fault), 0);
		uint64_t call = fake_expect(agent_of(fixture), MESSAGE_EXECUTE_PROCESS);
		assert_int_equal(task_delete(running.container, true, &deleter.request, &fault), 0);
		(void)fake_expect(agent_of(fixture), MESSAGE_SIGNAL_PROCESS);
		if (exit_first)
			exit_reply(fixture, running.wait, 137, -1, -1);
		fake_answer(agent_of(fixture), MESSAGE_EXECUTE_PROCESS, call,
		            "{\"Result\":-2147467259,\"ErrorMessage\":\"was killed\"}");
		assert_int_equal(starter.answers, 1);
		assert_true(starter.failed);
		/* Killed again, perhaps; but no stream is ended that the agent does not have. */
		do
			fake_read(agent_of(fixture));
		while (fixture->agent.frame.type == MESSAGE_SIGNAL_PROCESS);
		assert_int_equal(fixture->agent.frame.type, MESSAGE_DELETE_CONTAINER_STATE);
		fake_answer(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE,
		            fixture->agent.frame.id, "{\"Result\":0}");
		assert_int_equal(deleter.answers, 1);
		assert_false(deleter.failed);
		assert_null(fixture->task.containers);
		close_callers(&running.callers);
	}
}

static void test_exec_refused(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct callers callers = make_callers();
	struct asker asker;

	run(fixture, &running);
	assert_int_equal(exec(fixture, running.container, &callers, &asker), 0);
	fake_answer(agent_of(fixture), MESSAGE_EXECUTE_PROCESS, fixture->agent.frame.id,
	            "{\"Result\":-2147467259,\"ErrorMessage\":\"exec \\\"x\\\": no such file\"}");
	assert_true(asker.failed);
	assert_string_equal(asker.fault.text, "exec \"x\": no such file");
	expect_end(callers.out);
	assert_null(running.container->processes);
	/* Nothing was said about streams that never were. */
	fake_quiet(agent_of(fixture));
	close_callers(&callers);
	close_callers(&running.callers);
}

static void test_unclaimed_execs_are_few(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	unsigned count = 0;

	run(fixture, &running);
	for (uint32_t pid = 100; pid < 300; pid++) {
		struct asker asker;
		char text[60];
		assert_int_equal(exec(fixture, running.container, NULL, &asker), 0);
		snprintf(text, sizeof(text), "{\"Result\":0,\"ProcessId\":%u}", pid);
		fake_answer(agent_of(fixture), MESSAGE_EXECUTE_PROCESS, fixture->agent.frame.id,
		            text);
		fixture->event_count = 0;
		exit_reply(fixture, expect_wait(fixture, pid), 0, 0, 0);
	}
	for (struct process *p = running.container->processes; p; p = p->next)
		count++;
	assert_int_equal(count, 64);
	assert_non_null(container_process(running.container, 299));
	assert_null(container_process(running.container, 100));
	close_callers(&running.callers);
}

static void test_create_fails(void **state)
{
	struct fixture *fixture = *state;
	struct control_request wanted = { .id = "c", .bundle = "/b", .config = "{}" };
	struct callers callers = make_callers();
	struct fault fault = FAULT_NULL;
	struct asker asker;

	fresh(&asker);
	assert_int_equal(task_create(&fixture->task, &wanted, callers.passed, &asker.request,
	                             &fault), 0);
	uint64_t call = fake_expect(agent_of(fixture), MESSAGE_CREATE);
	fake_answer(agent_of(fixture), MESSAGE_CREATE, call,
	            "{\"Result\":-1070137075,\"ErrorMessage\":\"process: is required\"}");
	assert_true(asker.failed);
	assert_int_equal(asker.fault.hresult, HRESULT_INVALID_JSON);
	assert_int_equal(asker.emptied, 1);
	assert_null(task_find(&fixture->task, "c"));
	assert_int_equal(fixture->event_count, 0);
	expect_end(callers.out);
	close_callers(&callers);

	/* A log that cannot be opened, before the agent hears of anything. */
	int none[STDIO_COUNT] = { -1, -1, -1 };
	wanted.log_path = "/nonexistent/log";
	fresh(&asker);
	assert_int_equal(task_create(&fixture->task, &wanted, none, &asker.request, &fault),
	                 -ENOENT);
	assert_null(task_find(&fixture->task, "c"));
	fake_quiet(agent_of(fixture));
}

static void test_start_fails(void **state)
{
	struct fixture *fixture = *state;
	struct callers callers = make_callers();
	struct fault fault = FAULT_NULL;
	struct asker asker, waiter;
	struct container *container = create(fixture, "c", &callers, NULL, false);
	uint64_t wait = expect_wait(fixture, 7);

	fresh(&waiter);
	task_wait(container->init, &waiter.request);
	fresh(&asker);
	assert_int_equal(task_start(container, &asker.request, &fault), 0);
	uint64_t call = fake_expect(agent_of(fixture), MESSAGE_EXECUTE_PROCESS);
	fake_answer(agent_of(fixture), MESSAGE_EXECUTE_PROCESS, call,
	            "{\"Result\":-2147467259,\"ErrorMessage\":\"exec format error\"}");
	assert_true(asker.failed);
	assert_int_equal(waiter.exit_code, 127);
	assert_int_equal(container_status(container), CONTAINER_STOPPED);
	expect_end(callers.out);
	/* An answer to the wait that was given up is no surprise. */
	fake_expect(agent_of(fixture), MESSAGE_SIGNAL_PROCESS);
	exit_reply(fixture, wait, 1, 0, 0);
	assert_int_equal(fixture->agent.lost, 0);
	assert_int_equal(container->init->exit_code, 127);
	close_callers(&callers);
}

/* It was killed while it waited for its start. */
static void test_killed_before_start(void **state)
{
	struct fixture *fixture = *state;
	struct callers callers = make_callers();
	struct asker waiter;
	struct container *container = create(fixture, "c", &callers, NULL, false);
	uint64_t wait = expect_wait(fixture, 7);

	fresh(&waiter);
	task_wait(container->init, &waiter.request);
	exit_reply(fixture, wait, 137, 0, 0);
	assert_int_equal(waiter.exit_code, 137);
	assert_int_equal(container_status(container), CONTAINER_STOPPED);
	/* What was kept for its start is released. */
	expect_end(callers.out);
	close_callers(&callers);
}

static void test_forced_delete(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct running running;
	struct asker waiter, deleter, second;

	run(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	fresh(&deleter);
	assert_int_equal(task_delete(running.container, false, &deleter.request, &fault), -EBUSY);
	assert_string_equal(fault.text, "cannot delete container \"c\": it is running");
	assert_int_equal(task_delete(running.container, true, &deleter.request, &fault), 0);
	fresh(&second);
	assert_int_equal(task_delete(running.container, true, &second.request, &fault), 0);
	fake_expect(agent_of(fixture), MESSAGE_SIGNAL_PROCESS);
	assert_non_null(strstr(fixture->agent.payload, "\"Signal\":9,\"Scope\":\"container\""));
	/* It does not wait for those who would read the rest. The proxy hears of the exit first: it
	 * stands in the cgroup that is to be removed. */
	exit_reply(fixture, running.wait, 137, 50, 0);
	assert_int_equal(waiter.answers, 1);
	uint64_t call = fake_expect(agent_of(fixture), FRAME_END);
	call = fake_expect(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE);
	fake_answer(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE, call, "{\"Result\":0}");
	assert_int_equal(deleter.answers, 1);
	assert_int_equal(second.answers, 1);
	assert_int_equal(waiter.exit_code, 137);
	assert_null(task_find(&fixture->task, "c"));
	/* The streams end when the agent says so, long after. */
	data(fixture, running.out, "rest");
	fake_end(agent_of(fixture), running.out, 4);
	assert_int_equal(fixture->agent.lost, 0);
	close_callers(&running.callers);
}

static void test_delete_with_exec_under_way(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct running running;
	struct asker executor, deleter;

	run(fixture, &running);
	assert_int_equal(exec(fixture, running.container, NULL, &executor), 0);
	uint64_t call = fixture->agent.frame.id;
	exit_reply(fixture, running.wait, 0, 0, 0);
	fake_expect(agent_of(fixture), FRAME_END);
	fresh(&deleter);
	assert_int_equal(task_delete(running.container, false, &deleter.request, &fault), 0);
	uint64_t deletion = fake_expect(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE);
	fake_answer(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE, deletion, "{\"Result\":0}");
	assert_int_equal(deleter.answers, 1);
	assert_int_equal(executor.answers, 0);
	fake_answer(agent_of(fixture), MESSAGE_EXECUTE_PROCESS, call,
	            "{\"Result\":0,\"ProcessId\":9}");
	assert_true(executor.failed);
	assert_int_equal(executor.fault.hresult, HRESULT_CONTAINER_NOT_RUNNING);
	close_callers(&running.callers);
}

/* What the agent says about a deletion decides only whether the container is still there. */
static void test_delete_refused(void **state)
{
	static const struct {
		const char *answer;
		bool stays;
	} cases[] = {
		{ "{\"Result\":-2143878907,\"ErrorMessage\":\"still running\"}", true },
		{ "{\"Result\":-1070137074,\"ErrorMessage\":\"does not exist\"}", false },
		{ "{\"Result\":-2147467259,\"ErrorMessage\":\"cgroup is busy\"}", false },
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < array_size(cases); i++) {
		struct fault fault = FAULT_NULL;
		struct asker deleter;
		struct container *container = task_find(&fixture->task, "c");
		if (!container) {
			container = create(fixture, "c", NULL, NULL, false);
			exit_reply(fixture, expect_wait(fixture, 7), 0, 0, 0);
		}
		fresh(&deleter);
		assert_int_equal(task_delete(container, false, &deleter.request, &fault), 0);
		uint64_t call = fake_expect(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE);
		fake_answer(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE, call,
		            cases[i].answer);
		assert_int_equal(deleter.answers, 1);
		assert_int_equal(deleter.failed, cases[i].stays);
		assert_int_equal(task_find(&fixture->task, "c") != NULL, cases[i].stays);
	}
}

static void test_partition_dies(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct running running;
	struct asker waiter, executor, signaller, deleter;

	run(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	assert_int_equal(exec(fixture, running.container, NULL, &executor), 0);
	fresh(&signaller);
	assert_int_equal(task_signal(running.container->init, SIGTERM, SCOPE_PROCESS,
	                             &signaller.request, &fault), 0);
	data(fixture, running.out, "last words");
	close_fd(&fixture->agent.fd);
	fake_spin(agent_of(fixture));
	assert_int_equal(fixture->agent.lost, 1);
	assert_true(executor.failed && signaller.failed);
	/* The agent may come back, until the partition is known to have ended. */
	assert_int_equal(waiter.answers, 0);
	task_died(&fixture->task, "the agent was killed by signal 9");
	assert_int_equal(waiter.exit_code, 137);
	assert_int_equal(container_status(running.container), CONTAINER_STOPPED);
	expect_text(running.callers.out, "last words");
	expect_end(running.callers.out);
	fresh(&signaller);
	assert_int_equal(exec(fixture, running.container, NULL, &executor), -ENOTCONN);
	assert_string_equal(executor.fault.text,
	                    "the partition has ended: the agent was killed by signal 9");
	fresh(&deleter);
	assert_int_equal(task_delete(running.container, false, &deleter.request, &fault), 0);
	assert_int_equal(deleter.answers, 1);
	assert_int_equal(deleter.emptied, 1);
	assert_int_equal(fixture->remains, 1);
	close_callers(&running.callers);
}

static void test_delete_all(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker waiter;

	run(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	task_delete_all(&fixture->task);
	task_delete_all(&fixture->task);
	fake_expect(agent_of(fixture), MESSAGE_SIGNAL_PROCESS);
	exit_reply(fixture, running.wait, 137, 0, 0);
	assert_int_equal(waiter.exit_code, 137);
	fake_expect(agent_of(fixture), FRAME_END);
	uint64_t call = fake_expect(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE);
	fake_answer(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE, call, "{\"Result\":0}");
	assert_int_equal(fixture->emptied, 1);
	assert_int_equal(fixture->remains, 0);
	close_callers(&running.callers);
}

static void test_partition_dies_in_deletion(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct running running;
	struct asker deleter;

	run(fixture, &running);
	fresh(&deleter);
	assert_int_equal(task_delete(running.container, true, &deleter.request, &fault), 0);
	close_fd(&fixture->agent.fd);
	fake_spin(agent_of(fixture));
	assert_int_equal(deleter.answers, 0);
	task_died(&fixture->task, "the agent was killed by signal 9");
	assert_int_equal(deleter.answers, 1);
	assert_false(deleter.failed);
	assert_null(fixture->task.containers);
	close_callers(&running.callers);
}

/* It is known already that the connection breaks, and not yet why. */
static void test_connection_breaks_before_deletion(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct callers callers = make_callers();
	struct container *container = create(fixture, "c", &callers, NULL, false);
	struct asker deleter;

	channel_fail(&fixture->task.bridge->channel, -ECONNRESET);
	fresh(&deleter);
	assert_int_equal(task_delete(container, true, &deleter.request, &fault), 0);
	assert_int_equal(deleter.answers, 0);
	fake_spin(agent_of(fixture));
	assert_int_equal(fixture->agent.lost, 1);
	task_died(&fixture->task, "the agent was killed by signal 9");
	assert_int_equal(deleter.answers, 1);
	assert_false(deleter.failed);
	assert_null(fixture->task.containers);
	close_callers(&callers);
}

static void modified(struct fixture *fixture)
{
	uint64_t call = fake_expect(agent_of(fixture), MESSAGE_MODIFY_SETTINGS);

	fake_answer(agent_of(fixture), MESSAGE_MODIFY_SETTINGS, call, "{\"Result\":0}");
}

static void on_image(void *context, const struct fault *fault)
{
	assert_null(fault);
	(*(unsigned *)context)++;
}

/* Its root is an image: deletion up to the first step that takes it away again. */
static void delete_with_image(struct fixture *fixture, struct running *running,
                              struct asker *deleter)
{
	struct fault fault = FAULT_NULL;
	unsigned images = 0;

	run(fixture, running);
	assert_int_equal(image_new(&fixture->partition, fixture->task.bridge, "c.1",
	                           agent_of(fixture)->fd, agent_of(fixture)->fd, on_image, &images,
	                           &running->container->image, &fault), 0);
	for (int i = 0; i < 3; i++)
		modified(fixture);
	assert_int_equal(images, 1);
	assert_int_equal(disks, 2);
	fresh(deleter);
	assert_int_equal(task_delete(running->container, true, &deleter->request, &fault), 0);
	fake_expect(agent_of(fixture), MESSAGE_SIGNAL_PROCESS);
	exit_reply(fixture, running->wait, 137, 0, 0);
	fake_expect(agent_of(fixture), FRAME_END);
	uint64_t call = fake_expect(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE);
	fake_answer(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE, call, "{\"Result\":0}");
}

/* What it has written is on its disk before anybody hears that it is deleted. */
static void test_delete_with_image(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct running running;
	struct asker deleter, second;

	delete_with_image(fixture, &running, &deleter);
	fresh(&second);
	assert_int_equal(task_delete(running.container, false, &second.request, &fault), 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(deleter.answers + second.answers, 0);
		assert_ptr_equal(task_find(&fixture->task, "c"), running.container);
		assert_int_equal(fixture->emptied, 0);
		modified(fixture);
	}
	assert_int_equal(disks, 0);
	assert_int_equal(deleter.answers, 1);
	assert_int_equal(second.answers, 1);
	assert_int_equal(deleter.failed + second.failed, 0);
	assert_int_equal(deleter.emptied, 1);
	close_callers(&running.callers);
}

static void test_partition_dies_with_image(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker deleter;

	delete_with_image(fixture, &running, &deleter);
	modified(fixture);
	fake_expect(agent_of(fixture), MESSAGE_MODIFY_SETTINGS);
	task_died(&fixture->task, "the VM was killed by SIGKILL");
	assert_int_equal(deleter.answers, 1);
	assert_false(deleter.failed);
	assert_null(fixture->task.containers);
	/* The image hears of it later. */
	close_fd(&fixture->agent.fd);
	fake_spin(agent_of(fixture));
	assert_int_equal(disks, 0);
	close_callers(&running.callers);
}

/* A new session: the container lives on, and its end is still noticed. */
static void test_agent_comes_back(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker waiter;

	run(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	close_fd(&fixture->agent.fd);
	fake_spin(agent_of(fixture));
	expect_end(running.callers.out);
	assert_int_equal(waiter.answers, 0);
	fake_negotiate(agent_of(fixture));
	exit_reply(fixture, expect_wait(fixture, 7), 4, 0, 0);
	assert_int_equal(waiter.exit_code, 4);
	close_callers(&running.callers);
}

/* The agent does not know the process any more: nobody will ever know how it ended. */
static void test_wait_refused(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker waiter;

	run(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	fake_answer(agent_of(fixture), MESSAGE_WAIT_FOR_PROCESS, running.wait,
	            "{\"Result\":-2147023728,\"ErrorMessage\":\"no such process\"}");
	assert_int_equal(waiter.answers, 1);
	assert_int_equal(waiter.exit_code, 255);
	close_callers(&running.callers);
}

/* Answers in an order that makes no sense. */
static void test_exit_before_start(void **state)
{
	struct fixture *fixture = *state;
	struct callers callers = make_callers();
	struct fault fault = FAULT_NULL;
	struct asker asker;
	struct container *container = create(fixture, "c", &callers, NULL, false);
	uint64_t wait = expect_wait(fixture, 7);

	fresh(&asker);
	assert_int_equal(task_start(container, &asker.request, &fault), 0);
	uint64_t call = fake_expect(agent_of(fixture), MESSAGE_EXECUTE_PROCESS);
	exit_reply(fixture, wait, 0, 0, 0);
	assert_int_equal(container_status(container), CONTAINER_STOPPED);
	fake_answer(agent_of(fixture), MESSAGE_EXECUTE_PROCESS, call,
	            "{\"Result\":0,\"ProcessId\":4711}");
	assert_int_equal(asker.answers, 1);
	assert_int_equal(container_status(container), CONTAINER_STOPPED);
	close_callers(&callers);
}

static void test_cancel(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker first, second;

	run(fixture, &running);
	fresh(&first);
	fresh(&second);
	task_wait(running.container->init, &first.request);
	task_wait(running.container->init, &second.request);
	task_cancel(&first.request);
	exit_reply(fixture, running.wait, 0, 0, 0);
	assert_int_equal(first.answers, 0);
	assert_int_equal(second.answers, 1);
	close_callers(&running.callers);
}

static void test_pause(void **state)
{
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct running running;
	struct asker asker;

	run(fixture, &running);
	fresh(&asker);
	assert_int_equal(task_pause(running.container, true, &asker.request, &fault), 0);
	fake_answer(agent_of(fixture), MESSAGE_PAUSE, fake_expect(agent_of(fixture), MESSAGE_PAUSE),
	            "{\"Result\":0}");
	assert_int_equal(container_status(running.container), CONTAINER_PAUSED);
	fresh(&asker);
	assert_int_equal(task_pause(running.container, false, &asker.request, &fault), 0);
	fake_answer(agent_of(fixture), MESSAGE_RESUME,
	            fake_expect(agent_of(fixture), MESSAGE_RESUME),
	            "{\"Result\":-2147467259,\"ErrorMessage\":\"no\"}");
	assert_true(asker.failed);
	assert_int_equal(container_status(running.container), CONTAINER_PAUSED);
	/* Death ends a pause. */
	exit_reply(fixture, running.wait, 137, 0, 0);
	assert_int_equal(container_status(running.container), CONTAINER_STOPPED);
	close_callers(&running.callers);
}

/* The agent's documents are looked at before they are handed on. */
static void test_properties(void **state)
{
	static const struct {
		const char *answer;
		bool failed;
		size_t processes;
	} lists[] = {
		{ "{\"Result\":0,\"Properties\":\"{\\\"ProcessList\\\":[{\\\"ProcessId\\\":7},"
		  "{\\\"ProcessId\\\":12}]}\"}", false, 2 },
		{ "{\"Result\":0,\"Properties\":\"{\\\"ProcessList\\\":[{\\\"ProcessId\\\":99},"
		  "{\\\"ProcessId\\\":7}]}\"}", false, 1 },
		{ "{\"Result\":0,\"Properties\":\"{}\"}", false, 0 },
		{ "{\"Result\":0,\"Properties\":\"{\\\"ProcessList\\\":[7]}\"}", true, 0 },
		{ "{\"Result\":0,\"Properties\":\"nonsense\"}", true, 0 },
		{ "{\"Result\":0}", true, 0 },
		{ "{\"Result\":-1070137074}", true, 0 },
	};
	struct fixture *fixture = *state;
	struct fault fault = FAULT_NULL;
	struct running running;
	struct asker asker;

	run(fixture, &running);
	for (size_t i = 0; i < array_size(lists); i++) {
		fresh(&asker);
		assert_int_equal(task_processes(running.container, &asker.request, &fault), 0);
		uint64_t call = fake_expect(agent_of(fixture), MESSAGE_GET_PROPERTIES);
		fake_answer(agent_of(fixture), MESSAGE_GET_PROPERTIES, call, lists[i].answer);
		assert_int_equal(asker.failed, lists[i].failed);
		assert_int_equal(asker.processes, lists[i].processes);
		if (asker.processes)
			assert_int_equal(asker.first_host_pid, 1007);
	}
	fresh(&asker);
	assert_int_equal(task_statistics(running.container, &asker.request, &fault), 0);
	uint64_t call = fake_expect(agent_of(fixture), MESSAGE_GET_PROPERTIES);
	fake_answer(agent_of(fixture), MESSAGE_GET_PROPERTIES, call,
	            "{\"Result\":0,\"Properties\":\"{\\\"StatisticsV2\\\":{\\\"memory\\\":"
	            "{\\\"usage\\\":4096}}}\"}");
	assert_int_equal(asker.usage, 4096);
	close_callers(&running.callers);
}

static void test_notifications(void **state)
{
	static const char *const notifications[] = {
		"{\"ContainerId\":\"c\",\"Type\":\"OutOfMemory\",\"Count\":2,\"ProcessId\":9}",
		"{\"ContainerId\":\"x\",\"Type\":\"OutOfMemory\",\"Count\":2}",
		"{\"ContainerId\":\"c\",\"Type\":\"UnexpectedExit\"}",
		("{\"ContainerId\":\"c\",\"Type\":\"StreamOffset\",\"ProcessId\":99,\"Stream\":1,"
		 "\"Offset\":5}"),
		"{\"ContainerId\":\"c\",\"Type\":\"StreamOffset\",\"Stream\":2,\"Offset\":0}",
	};
	struct fixture *fixture = *state;
	struct running running;

	run(fixture, &running);
	size_t before = fixture->event_count;
	for (size_t i = 0; i < array_size(notifications); i++)
		fake_write(agent_of(fixture), MESSAGE_NOTIFICATION, 0, notifications[i],
		           strlen(notifications[i]));
	assert_int_equal(fixture->event_count, before + 1);
	assert_string_equal(fixture->events[before], "oom c 9 0");
	assert_int_equal(container_status(running.container), CONTAINER_RUNNING);
	assert_int_equal(fixture->agent.lost, 0);
	close_callers(&running.callers);
}

static void test_input(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	uint8_t limit[8];

	run(fixture, &running);
	assert_int_equal(write(running.callers.in, "hello", 5), 5);
	close_fd(&running.callers.in);
	/* Not a byte, and no end, before the agent has made room. */
	fake_quiet(agent_of(fixture));
	frame_put_u64(limit, 65536);
	fake_write(agent_of(fixture), FRAME_WINDOW, running.in, limit, sizeof(limit));
	fake_expect(agent_of(fixture), FRAME_DATA);
	assert_string_equal(fixture->agent.payload, "hello");
	fake_expect(agent_of(fixture), FRAME_END);
	assert_int_equal(frame_get_u64((const uint8_t *)fixture->agent.payload), 5);
	close_callers(&running.callers);
}

/* As containerd's callers make them: the host's side has both ends of it, the caller opens his. */
static int make_fifo(int flags, int *ret_callers)
{
	(void)unlink(fifo_path);
	snprintf(fifo_path, sizeof(fifo_path), "/tmp/test-task-%d.fifo", (int)getpid());
	assert_int_equal(mkfifo(fifo_path, 0600), 0);
	int passed = open(fifo_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	*ret_callers = open(fifo_path, flags | O_NONBLOCK | O_CLOEXEC);
	assert_true(passed >= 0 && *ret_callers >= 0);
	return passed;
}

static int open_again(int flags)
{
	int fd = open(fifo_path, flags | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

enum which { INPUT, OUTPUT };

static void run_with_fifo(struct fixture *fixture, struct running *running, enum which which)
{
	running->callers = make_callers();
	if (which == INPUT) {
		close_fd(&running->callers.in);
		close_fd(&running->callers.passed[STDIO_IN]);
		running->callers.passed[STDIO_IN] = make_fifo(O_WRONLY, &running->callers.in);
	} else {
		close_fd(&running->callers.out);
		close_fd(&running->callers.passed[STDIO_OUT]);
		running->callers.passed[STDIO_OUT] = make_fifo(O_RDONLY, &running->callers.out);
	}
	running->container = create(fixture, "c", &running->callers, NULL, false);
}

static void grant_input(struct fixture *fixture, const struct running *running, uint64_t limit)
{
	uint8_t bytes[8];

	frame_put_u64(bytes, limit);
	fake_write(agent_of(fixture), FRAME_WINDOW, running->in, bytes, sizeof(bytes));
}

/* The agent's part of reading input to its end; returns how many bytes it got. */
static uint64_t read_input(struct fixture *fixture, const struct running *running, uint64_t got)
{
	for (;;) {
		fake_read(agent_of(fixture));
		assert_int_equal(fixture->agent.frame.id, running->in);
		if (fixture->agent.frame.type == FRAME_END)
			break;
		assert_int_equal(fixture->agent.frame.type, FRAME_DATA);
		got += fixture->agent.frame.size - FRAME_HEADER;
		grant_input(fixture, running, got + FAKE_PAYLOAD / 2);
	}
	assert_int_equal(frame_get_u64((const uint8_t *)fixture->agent.payload), got);
	return got;
}

#define MUCH_INPUT (192 * 1024)

/* What is in the FIFO, and on its way, when its end is announced comes before the end. */
static void test_close_input(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	static char bytes[MUCH_INPUT];

	run_with_fifo(fixture, &running, INPUT);
	start(fixture, &running);
	assert_true(fcntl(running.callers.in, F_SETPIPE_SZ, 262144) >= MUCH_INPUT);
	assert_int_equal(write(running.callers.in, bytes, sizeof(bytes)), sizeof(bytes));
	close_fd(&running.callers.in);
	grant_input(fixture, &running, 1000);
	fake_expect(agent_of(fixture), FRAME_DATA);
	fake_quiet(agent_of(fixture));
	task_close_input(running.container->init);
	task_close_input(running.container->init);
	fake_quiet(agent_of(fixture));
	grant_input(fixture, &running, FAKE_PAYLOAD / 2);
	assert_int_equal(read_input(fixture, &running, 1000), MUCH_INPUT);
	exit_reply(fixture, running.wait, 0, 0, 0);
	task_close_input(running.container->init);
	assert_int_equal(running.container->init->stdio->in_hold, -1);
	close_callers(&running.callers);
}

/* Without that it has no end, however often its writers come and go; and nobody is woken for it. */
static void test_input_without_writers(void **state)
{
	struct fixture *fixture = *state;
	struct running running;

	run_with_fifo(fixture, &running, INPUT);
	start(fixture, &running);
	grant_input(fixture, &running, 1000);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(write(running.callers.in, "hello", 5), 5);
		close_fd(&running.callers.in);
		fake_expect(agent_of(fixture), FRAME_DATA);
		assert_string_equal(fixture->agent.payload, "hello");
		fake_quiet(agent_of(fixture));
		struct pollfd ready = { .fd = running.container->init->stdio->in_fd,
		                        .events = POLLIN };
		assert_int_equal(poll(&ready, 1, 0), 0);
		running.callers.in = open_again(O_WRONLY);
	}
	/* It is closed for us, but he goes on. */
	task_close_input(running.container->init);
	assert_int_equal(write(running.callers.in, "more", 4), 4);
	fake_expect(agent_of(fixture), FRAME_DATA);
	fake_quiet(agent_of(fixture));
	close_fd(&running.callers.in);
	assert_int_equal(read_input(fixture, &running, 19), 19);
	close_callers(&running.callers);
}

static void test_close_input_before_start(void **state)
{
	struct fixture *fixture = *state;
	struct running running;

	run_with_fifo(fixture, &running, INPUT);
	assert_int_equal(write(running.callers.in, "early", 5), 5);
	close_fd(&running.callers.in);
	task_close_input(running.container->init);
	start(fixture, &running);
	grant_input(fixture, &running, 1000);
	assert_int_equal(read_input(fixture, &running, 0), 5);
	close_callers(&running.callers);
}

/* Both ends are closed with the exit: the FIFO has no reader any more. */
static void test_input_after_exit(void **state)
{
	struct fixture *fixture = *state;
	struct running running;

	run_with_fifo(fixture, &running, INPUT);
	start(fixture, &running);
	exit_reply(fixture, running.wait, 0, 0, 0);
	assert_int_equal(write(running.callers.in, "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	task_close_input(running.container->init);
	close_callers(&running.callers);
}

static void test_output_without_readers(void **state)
{
	struct fixture *fixture = *state;
	struct running running;

	run_with_fifo(fixture, &running, OUTPUT);
	start(fixture, &running);
	data(fixture, running.out, "one ");
	close_fd(&running.callers.out);
	data(fixture, running.out, "two ");
	fake_quiet(agent_of(fixture));
	struct pollfd ready = { .fd = running.container->init->stdio->output[0].fd,
	                        .events = POLLPRI };
	assert_int_equal(poll(&ready, 1, 0), 0);
	running.callers.out = open_again(O_RDONLY);
	data(fixture, running.out, "three");
	expect_text(running.callers.out, "one two three");
	fake_end(agent_of(fixture), running.out, 13);
	expect_end(running.callers.out);
	close_callers(&running.callers);
}

static void wait_for_drain(struct fixture *fixture)
{
	fake_spin(agent_of(fixture));
	usleep(30000);
	fake_spin(agent_of(fixture));
}

/* The exit is told at last; what is left is still for whoever reads it. */
static void test_drain_is_bounded(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker waiter;
	char bytes[65536];
	size_t total = 0;

	fixture->task.drain = 300;
	run_with_fifo(fixture, &running, OUTPUT);
	start(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	fill(fixture, running.out, STALLED);
	exit_reply(fixture, running.wait, 3, STALLED, 0);
	assert_int_equal(waiter.answers, 0);
	assert_int_equal(container_status(running.container), CONTAINER_STOPPED);
	for (int i = 0; !waiter.answers && i < 1000; i++)
		wait_for_drain(fixture);
	assert_int_equal(waiter.answers, 1);
	assert_int_equal(waiter.exit_code, 3);
	fake_end(agent_of(fixture), running.out, STALLED);
	fake_end(agent_of(fixture), running.err, 0);
	ssize_t n;
	while ((n = read_now(running.callers.out, bytes, sizeof(bytes))) != 0) {
		total += n > 0 ? (size_t)n : 0;
		assert_true(total <= STALLED);
		fake_spin(agent_of(fixture));
	}
	assert_int_equal(total, STALLED);
	assert_null(running.container->init->stdio);
	assert_int_equal(waiter.answers, 1);
	close_callers(&running.callers);
}

/* The last words wait in their FIFO for who is away, and only there. */
static void test_reader_comes_after_exit(void **state)
{
	static const struct { uint64_t drain; bool empty; } cases[] = {
		{ 1000, false }, { 1000, true }, { 0, false },
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < array_size(cases); i++) {
		struct fault fault = FAULT_NULL;
		struct running running;
		struct asker deleter;
		struct buf text = BUF(1 << 16);
		char bytes[8];
		fixture->task.drain = cases[i].drain;
		run_with_fifo(fixture, &running, OUTPUT);
		start(fixture, &running);
		close_fd(&running.callers.out);
		if (!cases[i].empty)
			data(fixture, running.out, "last");
		exit_reply(fixture, running.wait, 0, cases[i].empty ? 0 : 4, 0);
		fake_expect(agent_of(fixture), FRAME_END);
		/* Whether he is away, or has not come to read yet, cannot be told. */
		bool held = cases[i].drain && !cases[i].empty;
		assert_int_equal(running.container->init->state, held ? PROCESS_REAPED : PROCESS_TOLD);
		for (int n = 0; running.container->init->state != PROCESS_TOLD && n < 100; n++)
			wait_for_drain(fixture);
		assert_int_equal(running.container->init->state, PROCESS_TOLD);
		fake_end(agent_of(fixture), running.out, cases[i].empty ? 0 : 4);
		fake_end(agent_of(fixture), running.err, 0);
		bool kept = cases[i].drain && !cases[i].empty;
		assert_int_equal(running.container->init->stdio != NULL, kept);
		task_describe(&fixture->task, &text);
		assert_int_equal(buf_append(&text, "", 1), 0);
		assert_int_equal(strstr(buf_head(&text), "stdout: the rest waits") != NULL, kept);
		buf_deinit(&text);
		/* Somebody who has another look at it first. */
		int other = open(fifo_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		close_fd(&other);
		fake_spin(agent_of(fixture));
		assert_int_equal(running.container->init->stdio != NULL, kept);
		running.callers.out = open_again(O_RDONLY);
		fake_spin(agent_of(fixture));
		assert_null(running.container->init->stdio);
		assert_int_equal(read(running.callers.out, bytes, sizeof(bytes)), kept ? 4 : 0);
		assert_int_equal(read(running.callers.out, bytes, sizeof(bytes)), 0);
		fresh(&deleter);
		assert_int_equal(task_delete(running.container, false, &deleter.request, &fault), 0);
		uint64_t call = fake_expect(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE);
		fake_answer(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE, call,
		            "{\"Result\":0}");
		close_callers(&running.callers);
	}
}

/* Who has not opened his FIFO yet when all is over, hears of the end when he has; or at last. */
static void test_reader_is_late(void **state)
{
	static const struct { const char *said; bool ended, comes; } cases[] = {
		{ "", false, false }, { "last", false, true }, { "last", true, true },
		{ "last", true, false },
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < array_size(cases); i++) {
		struct fault fault = FAULT_NULL;
		struct running running;
		struct asker deleter;
		char bytes[8];
		size_t size = strlen(cases[i].said);
		fixture->task.drain = cases[i].comes ? 10000 : 50;
		run_with_fifo(fixture, &running, OUTPUT);
		close_fd(&running.callers.out);
		start(fixture, &running);
		if (size)
			data(fixture, running.out, cases[i].said);
		exit_reply(fixture, running.wait, 0, size, 0);
		fake_expect(agent_of(fixture), FRAME_END);
		if (cases[i].ended)
			fake_end(agent_of(fixture), running.out, size);
		assert_int_equal(running.container->init->state,
		                 size ? PROCESS_REAPED : PROCESS_TOLD);
		if (cases[i].comes)
			running.callers.out = open_again(O_RDONLY);
		for (int n = 0; running.container->init->state != PROCESS_TOLD && n < 100; n++)
			wait_for_drain(fixture);
		assert_int_equal(running.container->init->state, PROCESS_TOLD);
		if (!cases[i].ended)
			fake_end(agent_of(fixture), running.out, size);
		fake_end(agent_of(fixture), running.err, 0);
		if (cases[i].comes) {
			assert_int_equal(read(running.callers.out, bytes, sizeof(bytes)), size);
			assert_int_equal(read(running.callers.out, bytes, sizeof(bytes)), 0);
		}
		fresh(&deleter);
		assert_int_equal(task_delete(running.container, false, &deleter.request, &fault), 0);
		uint64_t call = fake_expect(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE);
		fake_answer(agent_of(fixture), MESSAGE_DELETE_CONTAINER_STATE, call,
		            "{\"Result\":0}");
		close_callers(&running.callers);
	}
}

/* Nobody comes any more. */
static void test_rest_is_dropped(void **state)
{
	struct fixture *fixture = *state;
	struct running running;

	fixture->task.drain = 1000;
	run_with_fifo(fixture, &running, OUTPUT);
	start(fixture, &running);
	close_fd(&running.callers.out);
	data(fixture, running.out, "last");
	exit_reply(fixture, running.wait, 0, 4, 0);
	fake_end(agent_of(fixture), running.out, 4);
	fake_end(agent_of(fixture), running.err, 0);
	assert_non_null(running.container->init->stdio);
	task_drop_streams(running.container->init);
	assert_null(running.container->init->stdio);
	running.callers.out = open_again(O_RDONLY);
	expect_end(running.callers.out);
	close_callers(&running.callers);
}

/* Nobody waits for a time when everything is delivered. */
static void test_drain_is_not_needed(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct asker waiter;

	fixture->task.drain = 20;
	run(fixture, &running);
	fresh(&waiter);
	task_wait(running.container->init, &waiter.request);
	exit_reply(fixture, running.wait, 0, 0, 0);
	assert_int_equal(waiter.answers, 1);
	wait_for_drain(fixture);
	assert_int_equal(fixture->event_count, 3);
	close_callers(&running.callers);
}

/* Before the exit, while the output of one that has exited is under way, and after that. */
static void test_drop_streams(void **state)
{
	static const struct { bool exited, told; } cases[] = {
		{ false, false }, { true, false }, { true, true },
	};
	struct fixture *fixture = *state;
	struct running running;

	run(fixture, &running);
	for (size_t i = 0; i < array_size(cases); i++) {
		struct callers callers = make_callers();
		struct asker executor, waiter;
		char text[60];
		uint32_t pid = 20 + (uint32_t)i;

		fixture->task.drain = cases[i].told ? 20 : 0;
		assert_int_equal(exec(fixture, running.container, &callers, &executor), 0);
		uint64_t out = stream_id(fixture, "StdOut"), in = stream_id(fixture, "StdIn");
		snprintf(text, sizeof(text), "{\"Result\":0,\"ProcessId\":%u}", pid);
		fake_answer(agent_of(fixture), MESSAGE_EXECUTE_PROCESS, fixture->agent.frame.id,
		            text);
		uint64_t wait = expect_wait(fixture, pid);
		struct process *process = container_process(running.container, pid);
		fresh(&waiter);
		task_wait(process, &waiter.request);
		fill(fixture, out, STALLED);
		if (cases[i].exited) {
			exit_reply(fixture, wait, 4, STALLED, 0);
			assert_int_equal(fake_expect(agent_of(fixture), FRAME_END), in);
		}
		if (cases[i].told)
			wait_for_drain(fixture);
		assert_int_equal(waiter.answers, cases[i].told);
		task_drop_streams(process);
		assert_int_equal(waiter.answers, cases[i].exited);
		close_fd(&callers.in);
		while (read_now(callers.out, text, sizeof(text)) > 0)
			;
		expect_end(callers.out);
		expect_end(callers.err);
		assert_int_equal(container_process(running.container, pid) == process,
		                 !cases[i].exited);
		if (!cases[i].exited) {
			assert_int_equal(fake_expect(agent_of(fixture), FRAME_END), in);
			task_drop_streams(process);
		}
		assert_int_equal(fake_expect(agent_of(fixture), FRAME_STOP), out);
		fake_expect(agent_of(fixture), FRAME_WINDOW);
		assert_int_equal(fake_expect(agent_of(fixture), FRAME_STOP), out + 1);
		fake_end(agent_of(fixture), out, STALLED);
		fake_end(agent_of(fixture), out + 1, 0);
		if (!cases[i].exited)
			exit_reply(fixture, wait, 4, STALLED, 0);
		assert_int_equal(waiter.exit_code, 4);
		close_callers(&callers);
	}
	assert_int_equal(fixture->agent.lost, 0);
	close_callers(&running.callers);
}

static void test_drop_streams_before_start(void **state)
{
	struct fixture *fixture = *state;
	struct callers callers = make_callers();
	struct container *container = create(fixture, "c", &callers, NULL, false);

	task_drop_streams(container->init);
	expect_end(callers.out);
	close_callers(&callers);
}

static void test_describe(void **state)
{
	struct fixture *fixture = *state;
	struct running running;
	struct buf text = BUF(1 << 16);

	run(fixture, &running);
	task_describe(&fixture->task, &text);
	assert_int_equal(buf_append(&text, "", 1), 0);
	assert_non_null(strstr(buf_head(&text), "container c: running\n"));
	assert_non_null(strstr(buf_head(&text), "init 7: running, host pid 1007"));
	buf_deinit(&text);
	close_callers(&running.callers);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lifecycle),
		TEST(test_exit_waits_for_output),
		TEST(test_stalled_reader),
		TEST(test_reader_goes_away),
		TEST(test_offset_beyond_the_end),
		TEST(test_terminal_waits_for_end),
		TEST(test_terminal_with_a_stranger),
		TEST(test_log_before_exit),
		TEST(test_exec),
		TEST(test_reader_gone_before_the_start),
		TEST(test_refused_without_a_reader),
		TEST(test_connection_lost_while_starting),
		TEST(test_start_without_a_connection),
		TEST(test_odd_times),
		TEST(test_orphaned),
		TEST(test_patience),
		TEST(test_deleted_while_starting),
		TEST(test_exec_refused),
		TEST(test_unclaimed_execs_are_few),
		TEST(test_create_fails),
		TEST(test_start_fails),
		TEST(test_killed_before_start),
		TEST(test_forced_delete),
		TEST(test_delete_with_exec_under_way),
		TEST(test_delete_refused),
		TEST(test_partition_dies),
		TEST(test_partition_dies_in_deletion),
		TEST(test_connection_breaks_before_deletion),
		TEST(test_delete_with_image),
		TEST(test_partition_dies_with_image),
		TEST(test_delete_all),
		TEST(test_agent_comes_back),
		TEST(test_wait_refused),
		TEST(test_exit_before_start),
		TEST(test_cancel),
		TEST(test_pause),
		TEST(test_properties),
		TEST(test_notifications),
		TEST(test_input),
		TEST(test_close_input),
		TEST(test_input_without_writers),
		TEST(test_close_input_before_start),
		TEST(test_input_after_exit),
		TEST(test_output_without_readers),
		TEST(test_drain_is_bounded),
		TEST(test_reader_comes_after_exit),
		TEST(test_reader_is_late),
		TEST(test_rest_is_dropped),
		TEST(test_drain_is_not_needed),
		TEST(test_drop_streams),
		TEST(test_drop_streams_before_start),
		TEST(test_describe),
	};

	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
