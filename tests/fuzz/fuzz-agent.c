/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What an agent may send to the sandbox process, as one stream of bytes. A container "c" waits for
 * the answers to its WaitForProcess (2) and ExecuteProcess (3), with output streams 2 and 3.
 */

#include "shim/task.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

static struct task task;
static struct source turns = SOURCE_NULL;
static int turns_left;

static int turn(struct source *source, uint32_t got)
{
	(void)got;
	if (!turns_left--)
		loop_stop(source->loop);
	return 0;
}

static void spin(struct loop *loop)
{
	turns_left = 8;
	(void)loop_run(loop);
}

static void ready(struct bridge *bridge)
{
	(void)bridge;
}

static void lost(struct bridge *bridge, const struct fault *fault)
{
	(void)bridge;
	task_died(&task, fault->text);
}

static void notification(struct bridge *bridge, const struct notification *n)
{
	(void)bridge;
	task_notification(&task, n);
}

static void event(struct task *of, const struct control_event *e)
{
	(void)of;
	(void)e;
}

static void emptied(struct task *of)
{
	(void)of;
}

static void answer(struct task_request *request, const struct control_reply *reply,
                   const struct fault *fault)
{
	(void)request;
	(void)reply;
	(void)fault;
}

static pid_t host_pid(struct partition *partition, uint32_t pid)
{
	(void)partition;
	return (pid_t)pid;
}

static const struct bridge_ops bridge_ops = { ready, lost, notification };
static void remains(struct task *of, const char *id)
{
	(void)of;
	(void)id;
}

static const struct task_ops task_ops = { event, emptied, remains };
static const struct partition_driver driver = { .name = "fuzz", .host_pid = host_pid };

static void say(int fd, const void *bytes, size_t size, struct loop *loop)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = send(fd, (const char *)bytes + done, size - done,
		                 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n <= 0 && errno != EAGAIN)
			return;
		done += n > 0 ? (size_t)n : 0;
		spin(loop);
	}
}

/* Everything up to the start under way. */
static void prepare(struct bridge *bridge, int agent_fd, struct task_request request[static 3])
{
	static const char created[] = "{\"Result\":0,\"ProcessId\":7}";
	struct frame frame = { MESSAGE_RESPONSE(MESSAGE_CREATE), FRAME_HEADER + sizeof(created) - 1,
	                      1 };
	struct control_request wanted = { .id = "c", .bundle = "/", .config = "{}" };
	uint8_t header[FRAME_HEADER];
	int fd[STDIO_COUNT] = { -1, -1, -1 };

	bridge->ready = bridge->channel.streams = true;
	bridge->channel.max_in = FRAME_SESSION_MAX;
	(void)task_create(&task, &wanted, fd, &request[0], NULL);
	frame_encode(&frame, header);
	say(agent_fd, header, sizeof(header), bridge->loop);
	say(agent_fd, created, sizeof(created) - 1, bridge->loop);
	struct container *container = task_find(&task, "c");
	for (int i = STDIO_OUT; i < STDIO_COUNT; i++)
		container->fd[i] = open("/dev/null", O_WRONLY | O_CLOEXEC);
	(void)task_start(container, &request[1], NULL);
	(void)task_wait(container->init, &request[2]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct task_request requests[3] = { { .answer = answer }, { .answer = answer },
	                                    { .answer = answer } };
	struct partition partition = PARTITION_NULL;
	struct loop loop = LOOP_NULL;
	struct bridge bridge;
	int fd[2];

	(void)signal(SIGPIPE, SIG_IGN);
	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	if (loop_init(&loop) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) < 0 ||
	    source_init(&turns, &loop, memfd_create("turns", 0), EPOLLIN, turn) < 0)
		abort();
	partition.driver = &driver;
	bridge_init(&bridge, &loop, &bridge_ops);
	task_init(&task, &bridge, &partition, &task_ops);
	if (bridge_attach(&bridge, fd[0]) >= 0) {
		prepare(&bridge, fd[1], requests);
		say(fd[1], bytes, size, &loop);
	}
	close(fd[1]);
	spin(&loop);
	if (!task.dead)
		task_died(&task, "is gone");
	bridge_deinit(&bridge);
	task_deinit(&task);
	source_close(&turns);
	loop_deinit(&loop);
	return 0;
}
