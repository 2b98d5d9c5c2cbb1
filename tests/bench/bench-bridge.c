/* SPDX-License-Identifier: Apache-2.0 */

/*
 * exec + wait over the bridge alone: plays the host for an agent in a partition of its own, creates one container
 * and runs /bin/true in it N times, each beside a fork + execve + wait of the same binary.
 *
 *   bench-bridge AGENT|hybrid:BASE BUNDLE N BURST
 *
 * With a BASE it waits for an agent in a VM that somebody else starts, and takes the place of its host; the
 * bundle's paths are the VM's then, and there is no fork to compare with.
 *
 * Prints "exec MEDIAN MIN MAX", "fork MEDIAN MIN MAX" and, for BURST execs asked for at once,
 * "burst MEDIAN MIN MAX", in microseconds; "idle" and "after" are the agent's resident KiB before the
 * container and at the end. "create MICROSECONDS" is the container's creation and start, and lines of
 * "statistics JSON" are what a VM's agent tells of itself, before and after.
 */

#include "hvsocket/hvsocket.h"
#include "oci/message.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define PORT 0x40000000u
#define ID "bench"

static int bridge_fd;
static pid_t agent_pid;
static const char *agent_path;
static const char *vm;          /* BASE */
static uint64_t last_id;

static void die(const char *what)
{
	fprintf(stderr, "bench-bridge: %s\n", what);
	exit(1);
}

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static void receive_all(void *to, size_t size)
{
	if (size && recv(bridge_fd, to, size, MSG_WAITALL) != (ssize_t)size)
		die("the agent closed the bridge");
}

static uint64_t ask(uint32_t type, const char *json)
{
	char text[131072];
	size_t length = strlen(json);
	struct frame frame = { type, (uint32_t)(FRAME_HEADER + length), last_id++ };
	if (length > sizeof(text) - FRAME_HEADER)
		die("request too long");
	frame_encode(&frame, (uint8_t *)text);
	memcpy(text + FRAME_HEADER, json, length);
	if (send(bridge_fd, text, frame.size, 0) != (ssize_t)frame.size)
		die("send");
	return frame.id;
}

/* The next answer that is no notification or stream frame; its text in body. */
static struct frame answer(char *body, size_t room)
{
	for (;;) {
		uint8_t header[FRAME_HEADER];
		struct frame frame;
		receive_all(header, sizeof(header));
		if (frame_decode(header, FRAME_HOST_MAX, &frame) < 0 || frame.size - FRAME_HEADER >= room)
			die("bad frame");
		receive_all(body, frame.size - FRAME_HEADER);
		body[frame.size - FRAME_HEADER] = '\0';
		if ((frame.type & FRAME_KIND) != FRAME_RESPONSE)
			continue;
		if (!strstr(body, "\"Result\":0"))
			die(body);
		return frame;
	}
}

static unsigned long number_of(const char *body, const char *name)
{
	const char *at = strstr(body, name);
	return at ? strtoul(at + strlen(name), NULL, 10) : 0;
}

#define BASE "\"ContainerId\":\"" ID "\",\"ActivityId\":\"00000000-0000-0000-0000-000000000000\""
#define EXEC "{" BASE ",\"Settings\":{\"ProcessParameters\":\"{\\\"OciProcess\\\":{\\\"args\\\":[\\\"/bin/true\\\"]," \
	"\\\"cwd\\\":\\\"/\\\",\\\"env\\\":[\\\"PATH=/bin\\\"],\\\"user\\\":{\\\"uid\\\":0,\\\"gid\\\":0}}}\"}}"

static void ask_wait(unsigned long pid)
{
	char text[256];
	snprintf(text, sizeof(text), "{" BASE ",\"ProcessId\":%lu,\"TimeoutInMs\":4294967295}", pid);
	ask(MESSAGE_WAIT_FOR_PROCESS, text);
}

static void print(const char *what, uint64_t *times, size_t n);

static uint64_t exec_once(void)
{
	char body[65536];
	uint64_t before = now();
	ask(MESSAGE_EXECUTE_PROCESS, EXEC);
	answer(body, sizeof(body));
	ask_wait(number_of(body, "\"ProcessId\":"));
	answer(body, sizeof(body));
	return now() - before;
}

/* All requests at once; each one's time runs until its own exit is told. */
static void burst(size_t n)
{
	char body[65536];
	uint64_t *times = calloc(n, sizeof(*times)), before = now();
	uint64_t first = last_id;
	for (size_t i = 0; i < n; i++)
		ask(MESSAGE_EXECUTE_PROCESS, EXEC);
	for (size_t done = 0; done < n;) {
		struct frame frame = answer(body, sizeof(body));
		if (frame.id < first + n)
			ask_wait(number_of(body, "\"ProcessId\":"));
		else
			times[done++] = now() - before;
	}
	print("burst", times, n);
}

static uint64_t fork_once(const char *binary)
{
	uint64_t before = now();
	pid_t pid = fork();
	if (pid == 0) {
		execl(binary, "true", (char *)NULL);
		_exit(127);
	}
	int status;
	waitpid(pid, &status, 0);
	if (status)
		die("fork + exec failed");
	return now() - before;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void print(const char *what, uint64_t *times, size_t n)
{
	qsort(times, n, sizeof(*times), compare);
	printf("%s %llu %llu %llu\n", what, (unsigned long long)times[n / 2],
	       (unsigned long long)times[0], (unsigned long long)times[n - 1]);
}

#define STATISTICS "{\"ContainerId\":\"00000000-0000-0000-0000-000000000000\"," \
	"\"ActivityId\":\"00000000-0000-0000-0000-000000000000\"," \
	"\"Query\":\"{\\\"PropertyTypes\\\":[\\\"StatisticsV2\\\"]}\"}"

static void print_statistics(void)
{
	char body[65536];
	ask(MESSAGE_GET_PROPERTIES, STATISTICS);
	answer(body, sizeof(body));
	printf("statistics %s\n", body);
}

static void print_rss(const char *what)
{
	if (vm) {
		print_statistics();
		return;
	}
	char path[64], line[256];
	snprintf(path, sizeof(path), "/proc/%d/status", (int)agent_pid);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "VmRSS:", 6))
			printf("%s %lu\n", what, strtoul(line + 6, NULL, 10));
	}
	if (file)
		fclose(file);
}

static pid_t start_agent(const char *agent, const char *directory)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	} args = { .flags = CLONE_NEWPID | CLONE_NEWNS, .exit_signal = SIGCHLD };
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid)
		return pid;
	char parent[300];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(parent, sizeof(parent), "hybrid:%s/vm", directory);
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", 0, NULL) < 0)
		die("mount");
	execl(agent, "hvagent", "--parent", parent, "--log-level", "error", (char *)NULL);
	_exit(127);
}

static void accept_agent(const char *directory)
{
	char url[300];
	struct hv_endpoint endpoint;
	struct hv_machine machine = { 0 };
	struct hv_listener listener = HV_LISTENER_NULL;
	if (vm)
		snprintf(url, sizeof(url), "hybrid:%s:%u", vm, PORT);
	else
		snprintf(url, sizeof(url), "hybrid:%s/vm:%u", directory, PORT);
	if (hv_endpoint_parse(url, &endpoint, NULL) < 0 ||
	    hv_listen(&listener, &endpoint, NULL, &machine) < 0)
		die("listen");
	struct pollfd wait = { .fd = listener.fd, .events = POLLIN };
	if (!vm)
		agent_pid = start_agent(agent_path, directory);
	if (poll(&wait, 1, vm ? 60000 : 5000) != 1 || (bridge_fd = hv_accept(&listener, NULL)) < 0)
		die("the agent does not dial");
	fcntl(bridge_fd, F_SETFL, 0);
	hv_listener_close(&listener);
}

/* The config as JSON inside JSON inside a request. */
static void create(const char *bundle)
{
	char path[4096], config[32768], body[65536];
	snprintf(path, sizeof(path), "%s/config.json", bundle);
	FILE *file = fopen(path, "re");
	size_t size = file ? fread(config, 1, sizeof(config) - 1, file) : 0;
	if (!size)
		die("config.json");
	config[size] = '\0';
	fclose(file);
	struct buf inner = BUF(1 << 20), outer = BUF(1 << 20);
	buf_printf(&inner, "{\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"OciBundlePath\":\"%s\","
	                   "\"ScratchDirPath\":\"\",\"OciSpecification\":%s}", bundle, config);
	buf_printf(&outer, "{" BASE ",\"ContainerConfig\":");
	json_write_string(&outer, buf_head(&inner), buf_length(&inner), false);
	buf_append(&outer, "}", 2);
	ask(MESSAGE_CREATE, buf_head(&outer));
	answer(body, sizeof(body));
	ask(MESSAGE_EXECUTE_PROCESS, "{" BASE ",\"Settings\":{\"ProcessParameters\":\"{}\"}}");
	answer(body, sizeof(body));
	buf_deinit(&inner);
	buf_deinit(&outer);
}

static void finish(const char *directory)
{
	char body[65536];
	ask(MESSAGE_SHUTDOWN_FORCED, "{" BASE "}");
	answer(body, sizeof(body));
	usleep(100000);
	ask(MESSAGE_DELETE_CONTAINER_STATE, "{" BASE "}");
	answer(body, sizeof(body));
	if (!vm) {
		kill(agent_pid, SIGKILL);
		waitpid(agent_pid, NULL, 0);
	}
	rmdir(directory);
}

int main(int argc, char **argv)
{
	char directory[] = "/tmp/hvrun-bench-XXXXXX", binary[4096], body[65536];
	if (argc != 5)
		die("usage: bench-bridge AGENT|hybrid:BASE BUNDLE N BURST");
	size_t n = strtoul(argv[3], NULL, 10), at_once = strtoul(argv[4], NULL, 10);
	agent_path = argv[1];
	if (!strncmp(argv[1], "hybrid:", 7))
		vm = argv[1] + 7;
	if (!mkdtemp(directory))
		die("mkdtemp");
	accept_agent(directory);
	ask(MESSAGE_NEGOTIATE_PROTOCOL,
	    "{\"ContainerId\":\"\",\"ActivityId\":\"00000000-0000-0000-0000-000000000000\","
	    "\"MinimumVersion\":4,\"MaximumVersion\":4,\"Hvrun\":{\"Version\":1,"
	    "\"Session\":\"6a1f2c3d-0000-4000-8000-0123456789ab\",\"MaxFrame\":1048576}}");
	answer(body, sizeof(body));
	print_rss("idle");
	uint64_t before = now();
	create(argv[2]);
	printf("create %llu\n", (unsigned long long)(now() - before));
	snprintf(binary, sizeof(binary), "%s/rootfs/bin/true", argv[2]);
	uint64_t *execs = calloc(n, sizeof(*execs)), *forks = calloc(n, sizeof(*forks));
	for (size_t i = 0; i < n; i++) {
		execs[i] = exec_once();
		forks[i] = vm ? 0 : fork_once(binary);
	}
	print("exec", execs, n);
	if (!vm)
		print("fork", forks, n);
	burst(at_once);
	print_rss("after");
	finish(directory);
	return 0;
}
