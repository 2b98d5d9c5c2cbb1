/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Whatever a host does, in whatever order, and however often its connection breaks: no request is
 * answered twice, those of a connection that lasts are all answered, and nothing is left behind.
 * MONKEY_SEED and MONKEY_STEPS make it another or a longer walk.
 */

#include "tests/unit/agent-host.h"

#define CONTAINERS 4
#define PORTS 6
#define KEPT 64
#define REQUESTS 65536

static struct {
	struct host *host;
	bool session;
	uint64_t first; /* request of this connection */
	uint32_t type[REQUESTS];
	uint8_t answers[REQUESTS];
	uint32_t pids[KEPT];
	char owner[KEPT][8];
	size_t pid_count;
	uint64_t next_stream;
	int listener[PORTS];
	int connection[KEPT];
	size_t connection_count;
} monkey;

static unsigned pick(unsigned from)
{
	return (unsigned)random() % from;
}

static const char *some_container(void)
{
	static char id[8];
	snprintf(id, sizeof(id), "c%u", pick(CONTAINERS));
	return pick(20) ? id : NULL_CID;
}

static void sent(uint64_t id, uint32_t type)
{
	assert_true(id < REQUESTS);
	monkey.type[id] = type;
}

static void base(uint32_t type)
{
	sent(host_send_base(monkey.host, type, some_container()), type);
}

static void settings(char *to, size_t size)
{
	if (monkey.session && pick(4)) {
		uint64_t first = monkey.next_stream;
		monkey.next_stream += 3;
		snprintf(to, size,
			 ",\"Streams\":{\"StdIn\":%llu,\"StdOut\":%llu,\"StdErr\":%llu,"
			 "\"Window\":%u}",
			 (unsigned long long)(pick(3) ? first : 0), (unsigned long long)(first + 1),
			 (unsigned long long)(pick(3) ? first + 2 : 0),
			 pick(2) ? 262144 : pick(3000));
	} else if (pick(3)) {
		/* One port more than anybody listens to. */
		snprintf(to, size,
			 ",\"VsockStdioRelaySettings\":{\"StdIn\":%u,\"StdOut\":%u,"
			 "\"StdErr\":%u}",
			 10 + pick(PORTS + 1), 10 + pick(PORTS), 10 + pick(PORTS));
	} else {
		*to = '\0';
	}
}

static const char *pipes(void)
{
	static const char *const flags[] = {
		"\"CreateStdInPipe\":true,\"CreateStdOutPipe\":true,\"CreateStdErrPipe\":true",
		"\"CreateStdOutPipe\":true",
		"\"EmulateConsole\":false",
	};
	return flags[pick(array_size(flags))];
}

static const char *script(void)
{
	static const char *const scripts[] = {
		"true",
		"exit 3",
		"echo x; echo y >&2",
		"cat",
		"sleep 1000",
		"sleep 1000 & exit 4",
		"while :; do echo x; done",
		"exec >&- 2>&-; sleep 1000",
		"exec <&-; sleep 0.01",
		"kill -9 $$",
		"head -c 300000 /dev/zero",
	};
	return scripts[pick(array_size(scripts))];
}

static void create(void)
{
	char id[8], args[128];
	snprintf(id, sizeof(id), "c%u", pick(CONTAINERS));
	snprintf(args, sizeof(args), "\"%s\",\"-c\",\"%s\"", pick(8) ? "sh" : "no-such-program",
		 pick(3) ? "sleep 1000" : script());
	monkey.host->hold = pick(4) == 0;
	sent(host_send_create(monkey.host, id, pick(2) ? PID_NAMESPACE : "", args), MESSAGE_CREATE);
}

static void start(void)
{
	char parameters[256], more[256];
	const char *id = some_container();
	if (!strcmp(id, NULL_CID))
		return;
	settings(more, sizeof(more));
	snprintf(parameters, sizeof(parameters), "{%s}", pipes());
	sent(host_send_execute(monkey.host, id, parameters, more), MESSAGE_EXECUTE_PROCESS);
}

static void exec(void)
{
	char parameters[512], more[256];
	const char *id = some_container();
	settings(more, sizeof(more));
	if (!strcmp(id, NULL_CID))
		snprintf(parameters, sizeof(parameters),
			 "{%s,\"CommandArgs\":[\"sh\",\"-c\",\"%s\"]%s}", pipes(), script(),
			 pick(3) ? "" : ",\"EmulateConsole\":true");
	else
		snprintf(
			parameters, sizeof(parameters),
			"{%s,\"OciProcess\":{\"cwd\":\"/\","
			"\"args\":[\"%s\",\"-c\",\"%s\"],\"env\":[\"PATH=/bin\"],\"terminal\":%s}}",
			pipes(), pick(8) ? "sh" : "no-such-program", script(),
			pick(3) ? "false" : "true");
	sent(host_send_execute(monkey.host, id, parameters, more), MESSAGE_EXECUTE_PROCESS);
}

/* One that some answer or the agent itself knows. */
static uint32_t some_pid(const char **owner)
{
	size_t skip = pick(6);
	struct process *p = monkey.host->agent.processes;
	while (p && p->next && skip--)
		p = p->next;
	*owner = p && p->container ? p->container->id : NULL_CID;
	return p ? (uint32_t)p->child.pid : 1;
}

static void wait_for(void)
{
	const char *owner;
	uint32_t pid = some_pid(&owner);
	uint64_t id = host_send(monkey.host, MESSAGE_WAIT_FOR_PROCESS,
				"{\"ContainerId\":\"%s\",\"ProcessId\":%u,\"TimeoutInMs\":%u}",
				owner, pid, pick(3) ? WAIT_FOREVER : pick(5));
	sent(id, MESSAGE_WAIT_FOR_PROCESS);
}

static void send_signal(void)
{
	static const char *const scopes[] = {"process", "group", "session", "container"};
	static const int signals[] = {0, 1, 9, 15, 17};
	const char *owner;
	uint32_t pid = some_pid(&owner);
	uint64_t id = host_send(monkey.host, MESSAGE_SIGNAL_PROCESS,
				"{\"ContainerId\":\"%s\",\"ProcessId\":%u,\"Options\":{\"Signal\":%"
				"d,\"Scope\":\"%s\"}}",
				owner, pid, signals[pick(array_size(signals))],
				scopes[pick(array_size(scopes))]);
	sent(id, MESSAGE_SIGNAL_PROCESS);
}

static void strike(void)
{
	struct process *p = monkey.host->agent.processes;
	for (unsigned skip = pick(6); p && p->next && skip; skip--)
		p = p->next;
	if (p && p->child.pid && !p->reaped)
		kill(p->child.pid, SIGKILL);
}

static void stream_frame(void)
{
	uint8_t payload[12];
	uint64_t stream = monkey.next_stream ? 1 + pick((unsigned)monkey.next_stream) : 1;
	if (!monkey.session)
		return;
	frame_put_u64(payload, pick(500000));
	frame_put_u32(payload + 8, pick(3));
	switch (pick(40)) {
	case 0: /* a crime */
		host_send_frame(monkey.host, FRAME_DATA, stream, "data", 4);
		break;
	case 1 ... 10:
		host_send_frame(monkey.host, FRAME_STOP, stream, "\0\0\0\0", 4);
		break;
	default:
		host_send_frame(monkey.host, FRAME_WINDOW, stream, payload, 8);
	}
}

/* For the inlets that the agent has: input, and its end. */
static void input(void)
{
	struct inlet *inlet = monkey.host->agent.bridge.channel.inlets;
	uint8_t payload[12];
	if (!monkey.session || !monkey.host->agent.bridge.connected || !inlet || pick(2))
		return;
	/* What the agent has not read yet is not in `received`. */
	host_idle(monkey.host, 1);
	inlet = monkey.host->agent.bridge.channel.inlets;
	if (!inlet || inlet->end_received || !monkey.host->agent.bridge.connected)
		return;
	if (inlet->granted > inlet->received && pick(2)) {
		host_send_frame(monkey.host, FRAME_DATA, inlet->id, "x", 1);
	} else {
		frame_put_u64(payload, inlet->received);
		frame_put_u32(payload + 8, 0);
		host_send_frame(monkey.host, FRAME_END, inlet->id, payload, 12);
	}
	host_idle(monkey.host, 1);
}

static void connections(void)
{
	for (size_t i = 0; i < PORTS; i++) {
		int fd = accept4(monkey.listener[i], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			continue;
		if (monkey.connection_count == KEPT || pick(3) == 0)
			close(fd);
		else
			monkey.connection[monkey.connection_count++] = fd;
	}
	for (size_t i = 0; i < monkey.connection_count; i++) {
		char bytes[4096];
		ssize_t n = recv(monkey.connection[i], bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n == 0 || (n > 0 && pick(10) == 0)) {
			close(monkey.connection[i]);
			monkey.connection[i] = monkey.connection[--monkey.connection_count];
		}
	}
}

static void properties(void)
{
	uint64_t id = host_send(
		monkey.host, MESSAGE_GET_PROPERTIES,
		"{\"ContainerId\":\"%s\","
		"\"Query\":\"{\\\"PropertyTypes\\\":[\\\"ProcessList\\\",\\\"StatisticsV2\\\"]}\"}",
		some_container());
	sent(id, MESSAGE_GET_PROPERTIES);
}

static void take_answers(void)
{
	struct host *host = monkey.host;
	for (struct got *got = host->got; got; got = got->next) {
		if ((got->frame.type & FRAME_KIND) != FRAME_RESPONSE || got->frame.id >= REQUESTS)
			continue;
		if (monkey.answers[got->frame.id]++)
			fail_msg("request %llu is answered twice: %s",
				 (unsigned long long)got->frame.id, got->payload);
	}
	host_forget(host);
}

static void connect_again(void)
{
	take_answers();
	host_accept(monkey.host);
	monkey.session = pick(4) != 0;
	monkey.first = monkey.host->next_id;
	host_negotiate(monkey.host, monkey.session);
	take_answers();
	monkey.next_stream = 1;
}

static void pause_one(void)
{
	base(MESSAGE_PAUSE);
}

static void resume_one(void)
{
	base(MESSAGE_RESUME);
}

static void delete_one(void)
{
	base(MESSAGE_DELETE_CONTAINER_STATE);
}

static void continue_one(void)
{
	base(MESSAGE_START);
}

static void shut_one(void)
{
	const char *id = some_container();
	uint32_t type = pick(2) ? MESSAGE_SHUTDOWN_FORCED : MESSAGE_SHUTDOWN_GRACEFUL;
	if (strcmp(id, NULL_CID))
		sent(host_send_base(monkey.host, type, id), type);
}

static void dump(void)
{
	base(MESSAGE_DUMP_STACKS);
}

static void idle(void)
{
	host_idle(monkey.host, 1 + pick(5));
}

static void rarely_connect(void)
{
	if (pick(4) == 0)
		connect_again();
}

static void (*const acts[])(void) = {
	create,       create,    create,      start,       start,        start,
	exec,         exec,      exec,        exec,        exec,         wait_for,
	wait_for,     wait_for,  send_signal, strike,      stream_frame, stream_frame,
	input,        input,     connections, connections, properties,   continue_one,
	continue_one, pause_one, resume_one,  resume_one,  delete_one,   delete_one,
	shut_one,     dump,      idle,        idle,        idle,         rarely_connect,
};

/* Also what processes of the VM have left behind: it may hold their output. */
static void kill_children(void)
{
	char path[64];
	unsigned pid;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	while (fscanf(file, "%u", &pid) == 1)
		kill((pid_t)pid, SIGKILL);
	fclose(file);
}

/* 0: none. */
static uint64_t first_unanswered(const struct host *host)
{
	for (uint64_t id = monkey.first; id < host->next_id; id++) {
		if (monkey.type[id] && !monkey.answers[id])
			return id;
	}
	return 0;
}

/* The walk is over: everything ends, on this connection. */
static void finish(void)
{
	struct host *host = monkey.host;
	for (int i = 0; i < 300 && (host->agent.containers || host->agent.processes); i++) {
		kill_children();
		for (struct process *p = host->agent.processes; p; p = p->next) {
			if (!p->released && p->reaped)
				sent(host_send_wait(host,
						    p->container ? p->container->id : NULL_CID,
						    (uint32_t)p->child.pid),
				     MESSAGE_WAIT_FOR_PROCESS);
		}
		for (struct container *c = host->agent.containers; c; c = c->next) {
			sent(host_send_base(host, MESSAGE_RESUME, c->id), MESSAGE_RESUME);
			sent(host_send_base(host, MESSAGE_DELETE_CONTAINER_STATE, c->id),
			     MESSAGE_DELETE_CONTAINER_STATE);
		}
		host_idle(host, 10);
		/* Whoever listens to plain streams closes them. */
		while (monkey.connection_count)
			close(monkey.connection[--monkey.connection_count]);
		for (size_t port = 0; port < PORTS; port++) {
			int fd = accept4(monkey.listener[port], NULL, NULL, SOCK_CLOEXEC);
			close_fd(&fd);
		}
		for (struct outlet *o = host->agent.bridge.channel.outlets; o; o = o->next)
			host_send_frame(host, FRAME_STOP, o->id, "\0\0\0\0", 4);
		take_answers();
	}
	if (host->agent.containers || host->agent.processes) {
		struct buf dump_text = BUF(65536);
		agent_dump(&host->agent, &dump_text);
		fail_msg("left: %.*s", (int)buf_length(&dump_text), buf_head(&dump_text));
	}
	for (int i = 0; i < 100 && (!i || first_unanswered(host)); i++) {
		host_idle(host, 20);
		take_answers();
	}
	uint64_t id = first_unanswered(host);
	if (id)
		fail_msg("request %#x %llu was not answered", monkey.type[id],
			 (unsigned long long)id);
}

static void walk(unsigned seed, unsigned steps)
{
	memset(&monkey, 0, sizeof(monkey));
	monkey.host = calloc(1, sizeof(*monkey.host));
	assert_non_null(monkey.host);
	srandom(seed);
	host_open(monkey.host);
	for (size_t i = 0; i < PORTS; i++)
		monkey.listener[i] = host_listen(monkey.host, (uint32_t)(10 + i));
	monkey.session = pick(4) != 0;
	host_negotiate(monkey.host, monkey.session);
	monkey.next_stream = 1;
	for (unsigned i = 0; i < steps && monkey.host->next_id < REQUESTS - 10000; i++) {
		if (monkey.host->closed)
			connect_again();
		acts[pick(array_size(acts))]();
		take_answers();
	}
	connect_again();
	finish();
	for (size_t i = 0; i < PORTS; i++)
		close(monkey.listener[i]);
	host_close(monkey.host);
	free(monkey.host);
}

static void test_walks(void **state)
{
	const char *seed_text = getenv("MONKEY_SEED"), *steps_text = getenv("MONKEY_STEPS");
	unsigned steps = steps_text ? (unsigned)atoi(steps_text) : 200;
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	for (unsigned seed = 1; seed <= 5; seed++) {
		unsigned now = seed_text ? (unsigned)atoi(seed_text) + seed - 1 : seed;
		print_message("# seed %u\n", now);
		walk(now, steps);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walks),
	};
	return box_able() ? cmocka_run_group_tests(tests, box_setup, box_teardown) : 0;
}
