/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A whole agent in this process, and its host beside it in the same loop: what the host waits for
 * is what makes the agent go on, so a test decides which of two things happens first.
 */

#include "agent/agent.h"
#include "agent/request.h"
#include "oci/log.h"
#include "tests/unit/box.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/un.h>

struct got {
	struct frame frame;
	char *payload; /* with a NUL */
	struct got *next;
};

struct host {
	struct agent agent;
	char folder[64], base[80];
	int listener;
	int fd;
	struct source source;
	struct timer patience;
	struct buf in;
	bool closed, impatient;
	bool hold; /* containers are created with Hold */
	struct got *got;
	uint64_t next_id;
	unsigned serial;
	size_t fds; /* open before the agent was */
};

static inline size_t count_fds(void)
{
	size_t count = 0;
	DIR *directory = opendir("/proc/self/fd");
	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static inline void host_take(struct host *host)
{
	struct frame frame;
	while (buf_length(&host->in) >= FRAME_HEADER &&
	       !frame_decode((const uint8_t *)buf_head(&host->in), FRAME_SESSION_MAX, &frame) &&
	       buf_length(&host->in) >= frame.size) {
		struct got *got = calloc(1, sizeof(*got)), **at = &host->got;
		size_t size = frame.size - FRAME_HEADER;
		assert_non_null(got);
		got->frame = frame;
		got->payload = calloc(1, size + 1);
		assert_non_null(got->payload);
		if (size)
			memcpy(got->payload, buf_head(&host->in) + FRAME_HEADER, size);
		buf_consume(&host->in, frame.size);
		while (*at)
			at = &(*at)->next;
		*at = got;
	}
}

static inline int host_readable(struct source *source, uint32_t events)
{
	(void)events;
	struct host *host = container_of(source, struct host, source);
	char bytes[65536];
	ssize_t n = recv(source->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n > 0) {
		assert_int_equal(buf_append(&host->in, bytes, (size_t)n), 0);
		host_take(host);
	} else if (n == 0 || errno != EAGAIN) {
		host->closed = true;
		source_want(source, 0);
	}
	loop_stop(&host->agent.loop);
	return 0;
}

static inline int host_impatient(struct timer *timer)
{
	struct host *host = container_of(timer, struct host, patience);
	host->impatient = true;
	loop_stop(&host->agent.loop);
	return 0;
}

static inline void host_hang_up(struct host *host)
{
	source_close(&host->source);
	buf_deinit(&host->in);
	host->fd = -1;
	host->closed = true;
}

/* Takes the agent's next connection; waits for it. */
static inline void host_accept(struct host *host)
{
	host_hang_up(host);
	for (int turns = 0; turns < 1000; turns++) {
		host->fd = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC);
		if (host->fd >= 0)
			break;
		/* The listener is not in the loop. */
		timer_set(&host->patience, 5);
		loop_run(&host->agent.loop);
	}
	timer_set(&host->patience, 0);
	assert_true(host->fd >= 0);
	host->closed = false;
	host->in = (struct buf)BUF(8u << 20);
	assert_int_equal(
		source_init(&host->source, &host->agent.loop, host->fd, EPOLLIN, host_readable), 0);
}

static inline void host_open(struct host *host)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct hv_endpoint parent;
	char url[128];
	*host = (struct host){.fd = -1, .source = SOURCE_NULL, .patience = TIMER_NULL};
	host->fds = count_fds();
	log_init(getenv("AGENT_LOG") ? 2 : -1, LOG_FORMAT_TEXT, LOG_LEVEL_DEBUG);
	snprintf(host->folder, sizeof(host->folder), "/tmp/hvrun-host-XXXXXX");
	assert_non_null(mkdtemp(host->folder));
	snprintf(host->base, sizeof(host->base), "%s/b", host->folder);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s_%u", host->base, BRIDGE_PORT);
	host->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(host->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(host->listener, 16), 0);
	snprintf(url, sizeof(url), "hybrid://%s:%u", host->base, BRIDGE_PORT);
	assert_int_equal(hv_endpoint_parse(url, &parent, NULL), 0);
	assert_int_equal(agent_init(&host->agent, &parent, NULL), 0);
	assert_int_equal(timer_init(&host->patience, &host->agent.loop, host_impatient), 0);
	host_accept(host);
}

static inline void host_forget(struct host *host)
{
	while (host->got) {
		struct got *got = host->got;
		host->got = got->next;
		free(got->payload);
		free(got);
	}
}

/* The agent ends, and nothing may be left of it. */
static inline void host_close(struct host *host)
{
	char path[128];
	timer_deinit(&host->patience);
	source_deinit(&host->source);
	agent_deinit(&host->agent);
	close_fd(&host->fd);
	close_fd(&host->listener);
	buf_deinit(&host->in);
	host_forget(host);
	snprintf(path, sizeof(path), "rm -rf %s", host->folder);
	assert_int_equal(system(path), 0);
	while (waitpid(-1, NULL, 0) > 0)
		;
	assert_int_equal(count_fds(), host->fds);
}

static inline void host_send_frame(struct host *host, uint32_t type, uint64_t id,
				   const void *payload, size_t size)
{
	struct frame frame = {type, (uint32_t)(FRAME_HEADER + size), id};
	uint8_t header[FRAME_HEADER];
	frame_encode(&frame, header);
	struct iovec vector[] = {
		{header, sizeof(header)},
		{(void *)(uintptr_t)payload, size},
	};
	struct msghdr message = {.msg_iov = vector, .msg_iovlen = size ? 2 : 1};
	ssize_t n = sendmsg(host->fd, &message, MSG_NOSIGNAL);
	if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
		host->closed = true; /* the agent was first */
	else
		assert_int_equal(n, frame.size);
}

/* Sends a request; its id. */
static inline uint64_t host_send(struct host *host, uint32_t type, const char *format, ...)
	printf_like(3, 4);
static inline uint64_t host_send(struct host *host, uint32_t type, const char *format, ...)
{
	cleanup_free char *text = NULL;
	va_list args;
	va_start(args, format);
	int length = vasprintf(&text, format, args);
	va_end(args);
	assert_true(length > 0);
	host_send_frame(host, type, host->next_id, text, (size_t)length);
	return host->next_id++;
}

/* A request that the agent handles before anything else happens. */
static inline uint64_t host_now(struct host *host, uint32_t type, const char *format, ...)
	printf_like(3, 4);
static inline uint64_t host_now(struct host *host, uint32_t type, const char *format, ...)
{
	cleanup_free char *text = NULL;
	va_list args;
	va_start(args, format);
	int length = vasprintf(&text, format, args);
	va_end(args);
	assert_true(length > 0);
	struct frame frame = {type, (uint32_t)(FRAME_HEADER + length), host->next_id};
	assert_int_equal(request_handle(&host->agent, &frame, text), 0);
	return host->next_id++;
}

/* The reaper hears of this child before anything else happens. */
static inline void host_reap_now(struct process *process)
{
	siginfo_t info;
	id_t pid = (id_t)process->child.pid;
	assert_int_equal(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
	process_exited(process, info.si_code, info.si_status);
	assert_int_equal(waitid(P_PID, pid, &info, WEXITED), 0);
}

/* The agent runs for a while. */
static inline void host_idle(struct host *host, uint64_t milliseconds)
{
	host->impatient = false;
	timer_set(&host->patience, milliseconds);
	while (!host->impatient)
		assert_int_equal(loop_run(&host->agent.loop), 0);
}

static inline struct got *host_find(struct host *host, uint32_t type, uint64_t id)
{
	struct got *got = host->got;
	while (got && (got->frame.type != type || got->frame.id != id))
		got = got->next;
	return got;
}

/* Waits for a frame; NULL when none comes within a second's time or the connection ends. */
static inline struct got *host_await(struct host *host, uint32_t type, uint64_t id)
{
	struct got *got;
	host->impatient = false;
	timer_set(&host->patience, 3000);
	while (!(got = host_find(host, type, id)) && !host->impatient && !host->closed)
		assert_int_equal(loop_run(&host->agent.loop), 0);
	timer_set(&host->patience, 0);
	return got;
}

/* The answer to a request. */
static inline const char *host_answer(struct host *host, uint32_t type, uint64_t id)
{
	struct got *got = host_await(host, MESSAGE_RESPONSE(type), id);
	if (!got)
		fail_msg("request %#x %llu is not answered", type, (unsigned long long)id);
	return got->payload;
}

static inline bool succeeded(const char *answer)
{
	return strstr(answer, "\"Result\":0") != NULL;
}

static inline void assert_success(const char *answer)
{
	if (!succeeded(answer))
		fail_msg("%s", answer);
}

static inline void assert_failure(const char *answer, int hresult)
{
	char text[32];
	snprintf(text, sizeof(text), "\"Result\":%d,", hresult);
	if (!strstr(answer, text))
		fail_msg("not %s but %s", text, answer);
}

static inline uint64_t number_of(const char *answer, const char *name)
{
	char text[64];
	snprintf(text, sizeof(text), "\"%s\":", name);
	const char *at = strstr(answer, text);
	if (!at)
		fail_msg("no %s in %s", name, answer);
	return strtoull(at + strlen(text), NULL, 10);
}

static inline void host_negotiate(struct host *host, bool session)
{
	char member[160] = "";
	if (session)
		snprintf(member, sizeof(member),
			 ",\"Hvrun\":{\"Version\":1,\"Session\":"
			 "\"6f1c3a52-93d1-4f0e-8a53-2f5f5f7ab%03u\"}",
			 host->serial++ % 1000);
	uint64_t id = host_send(
		host, MESSAGE_NEGOTIATE_PROTOCOL,
		"{\"ContainerId\":\"\",\"MinimumVersion\":4,\"MaximumVersion\":4%s}", member);
	assert_success(host_answer(host, MESSAGE_NEGOTIATE_PROTOCOL, id));
}

static inline void host_reconnect(struct host *host, bool session)
{
	host_accept(host);
	host_negotiate(host, session);
}

static inline char *escaped(const char *text)
{
	size_t length = strlen(text);
	char *out = malloc(length * JSON_ESCAPED_MAX + 1);
	assert_non_null(out);
	out[json_escape(out, text, length, false)] = '\0';
	return out;
}

/* namespaces: more of them than mount, with a comma in front. */
static inline uint64_t host_send_create(struct host *host, const char *id, const char *namespaces,
					const char *args)
{
	cleanup_free char *config = NULL, *text = NULL;
	assert_true(
		asprintf(&config,
			 "{\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"Hold\":%s,"
			 "\"OciBundlePath\":\"%s/%s\","
			 "\"ScratchDirPath\":\"%s/"
			 "%s-scratch\",\"OciSpecification\":{\"ociVersion\":\"1.2.0\","
			 "\"root\":{\"path\":\"%s/rootfs\",\"readonly\":true},"
			 "\"process\":{\"cwd\":\"/\",\"args\":[%s],\"env\":[\"PATH=/bin\"]},"
			 "\"linux\":{\"cgroupsPath\":\"/hvrun-test-%d/"
			 "%s\",\"namespaces\":[{\"type\":\"mount\"}%s]},"
			 "\"mounts\":[{\"destination\":\"/"
			 "proc\",\"type\":\"proc\",\"source\":\"proc\"},"
			 "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"},"
			 "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
			 "\"options\":[\"newinstance\",\"ptmxmode=0666\",\"mode=0620\"]},"
			 "{\"destination\":\"/tmp\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"}]}}",
			 host->hold ? "true" : "false", host->folder, id, host->folder, id,
			 box_folder, args, (int)getpid(), id, namespaces) > 0);
	text = escaped(config);
	return host_send(host, MESSAGE_CREATE,
			 "{\"ContainerId\":\"%s\",\"ContainerConfig\":\"%s\"}", id, text);
}

#define PID_NAMESPACE ",{\"type\":\"pid\"}"

static inline void host_create(struct host *host, const char *id, const char *namespaces,
			       const char *args)
{
	uint64_t request = host_send_create(host, id, namespaces, args);
	assert_success(host_answer(host, MESSAGE_CREATE, request));
}

/* Any request that has the base members only. */
static inline uint64_t host_send_base(struct host *host, uint32_t type, const char *id)
{
	return host_send(host, type, "{\"ContainerId\":\"%s\"}", id);
}

/* parameters: the document; settings: more members, with a comma in front. */
static inline uint64_t host_send_execute(struct host *host, const char *id, const char *parameters,
					 const char *settings)
{
	cleanup_free char *text = escaped(parameters);
	return host_send(host, MESSAGE_EXECUTE_PROCESS,
			 "{\"ContainerId\":\"%s\",\"Settings\":{\"ProcessParameters\":\"%s\"%s}}",
			 id, text, settings);
}

/* The pid of what is started. */
static inline uint32_t host_execute(struct host *host, const char *id, const char *parameters,
				    const char *settings)
{
	uint64_t request = host_send_execute(host, id, parameters, settings);
	const char *answer = host_answer(host, MESSAGE_EXECUTE_PROCESS, request);
	assert_success(answer);
	return (uint32_t)number_of(answer, "ProcessId");
}

static inline uint64_t host_send_wait(struct host *host, const char *id, uint32_t pid)
{
	return host_send(host, MESSAGE_WAIT_FOR_PROCESS,
			 "{\"ContainerId\":\"%s\",\"ProcessId\":%u,\"TimeoutInMs\":4294967295}", id,
			 pid);
}

static inline const char *host_wait(struct host *host, const char *id, uint32_t pid)
{
	uint64_t request = host_send_wait(host, id, pid);
	return host_answer(host, MESSAGE_WAIT_FOR_PROCESS, request);
}

static inline void host_delete(struct host *host, const char *id)
{
	uint64_t request = host_send_base(host, MESSAGE_DELETE_CONTAINER_STATE, id);
	assert_success(host_answer(host, MESSAGE_DELETE_CONTAINER_STATE, request));
}

/* Kills the init and deletes the container. */
static inline void host_remove(struct host *host, const char *id, uint32_t pid)
{
	uint64_t request = host_send_base(host, MESSAGE_SHUTDOWN_FORCED, id);
	assert_success(host_answer(host, MESSAGE_SHUTDOWN_FORCED, request));
	assert_success(host_wait(host, id, pid));
	host_delete(host, id);
}

static inline size_t count_notifications(struct host *host, const char *type)
{
	size_t count = 0;
	for (struct got *got = host->got; got; got = got->next) {
		if (got->frame.type == MESSAGE_NOTIFICATION && strstr(got->payload, type))
			count++;
	}
	return count;
}

/* A listener for a stream of plain mode. */
static inline int host_listen(struct host *host, uint32_t port)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s_%u", host->base, port);
	unlink(address.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}
