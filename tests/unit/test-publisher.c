/* SPDX-License-Identifier: Apache-2.0 */

/* Events on their way to servers that take them, refuse them, die, or are not there yet. */

#include "shim/containerd/publisher.h"

#include "oci/log.h"
#include "shim/containerd/proto/events.pb-c.h"
#include "shim/containerd/proto/forward.pb-c.h"
#include "shim/containerd/proto/ttrpc.pb-c.h"
#include "shim/containerd/ttrpc_server.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <cmocka.h>

#define PAUSE 10        /* milliseconds; so five of them take 150 */
#define TIMEOUT 5000    /* never over, but where that is the point */
#define SHORT 150
#define PATIENCE 20000
#define TICK 2

/* What the server does with the next events: the last entry stays. */
enum act { ANSWER, REFUSE, PARK };

struct fixture {
	struct loop loop;
	struct timer tick;
	bool (*until)(struct fixture *fixture);
	unsigned ticks;
	struct publisher *publisher;
	char directory[32], path[64];

	struct ttrpc_server server;
	struct ttrpc_service service;
	enum act acts[8];
	size_t act_count, act;
	int hresult;                    /* of a refusal */
	char seen[4096][8];             /* the ids of the events that came */
	size_t seen_count;
	Containerd__Services__Events__Ttrpc__V1__ForwardRequest *last;

	struct source listener;         /* without ttrpc behind it */
	unsigned accepted;
	int emptied;
};

typedef Containerd__Services__Events__Ttrpc__V1__ForwardRequest forward_request;
#define forward_request_descriptor \
	containerd__services__events__ttrpc__v1__forward_request__descriptor

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	unlink(path);
	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static struct fixture *of_service(const struct ttrpc_call *call)
{
	return call->context;
}

static void keep_last(struct fixture *fixture, const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = malloc(size);

	if (fixture->last)
		protobuf_c_message_free_unpacked(&fixture->last->base, NULL);
	protobuf_c_message_pack(message, bytes);
	fixture->last = (forward_request *)protobuf_c_message_unpack(&forward_request_descriptor,
	                                                             NULL, size, bytes);
	free(bytes);
}

static void on_gone(struct ttrpc_call *call)
{
	(void)call;
}

static int on_forward(struct ttrpc_call *call, const ProtobufCMessage *message,
                      struct fault *fault)
{
	struct fixture *fixture = of_service(call);
	const forward_request *request = (const forward_request *)message;
	Containerd__Events__TaskExit *event = containerd__events__task_exit__unpack(
		NULL, request->envelope->event->value.len, request->envelope->event->value.data);
	enum act act = fixture->acts[fixture->act];

	assert_non_null(event);
	if (fixture->act + 1 < fixture->act_count)
		fixture->act++;
	snprintf(fixture->seen[fixture->seen_count++], sizeof(fixture->seen[0]), "%s", event->id);
	containerd__events__task_exit__free_unpacked(event, NULL);
	keep_last(fixture, message);
	if (act == REFUSE)
		return fault_set(fault, -EINVAL, fixture->hresult, "not this one");
	if (act == PARK)
		call->gone = on_gone;
	else
		ttrpc_answer(call, NULL);
	return 0;
}

static const struct ttrpc_method methods[] = {
	{ "Forward", &forward_request_descriptor, on_forward },
};

static void serve(struct fixture *fixture, const enum act *acts, size_t count)
{
	memcpy(fixture->acts, acts, count * sizeof(*acts));
	fixture->act_count = count;
	fixture->act = 0;
	fixture->service = (struct ttrpc_service){
		"containerd.services.events.ttrpc.v1.Events", methods, 1,
	};
	ttrpc_server_deinit(&fixture->server);
	assert_int_equal(ttrpc_server_init(&fixture->server, &fixture->loop,
	                                   listen_at(fixture->path), &fixture->service, 1,
	                                   fixture), 0);
}
#define SERVE(fixture, ...) \
	serve(fixture, (const enum act[]){ __VA_ARGS__ }, \
	      sizeof((const enum act[]){ __VA_ARGS__ }) / sizeof(enum act))

static int on_tick(struct timer *timer)
{
	struct fixture *fixture = container_of(timer, struct fixture, tick);

	if (fixture->ticks && (!fixture->until || !fixture->until(fixture))) {
		fixture->ticks--;
		return timer_set(timer, TICK);
	}
	loop_stop(&fixture->loop);
	return 0;
}

static void run_for(struct fixture *fixture, bool (*until)(struct fixture *fixture), unsigned ms)
{
	fixture->until = until;
	fixture->ticks = ms / TICK;
	assert_int_equal(timer_set(&fixture->tick, TICK), 0);
	assert_int_equal(loop_run(&fixture->loop), 0);
	if (until)
		assert_true(until(fixture));
}

static bool is_empty(struct fixture *fixture)
{
	return fixture->emptied > 0;
}

static void on_empty(void *owner)
{
	struct fixture *fixture = owner;
	fixture->emptied++;
}

static void run_until_empty(struct fixture *fixture)
{
	fixture->emptied = 0;
	publisher_when_empty(fixture->publisher, on_empty, fixture);
	run_for(fixture, is_empty, PATIENCE);
	assert_int_equal(fixture->emptied, 1);
}

static bool has_seen_one(struct fixture *fixture)
{
	return fixture->seen_count > 0;
}

static bool has_seen_three(struct fixture *fixture)
{
	return fixture->seen_count > 2;
}

static int send_id(struct fixture *fixture, const char *id)
{
	Containerd__Events__TaskExit event = CONTAINERD__EVENTS__TASK_EXIT__INIT;

	event.container_id = (char *)"c1";
	event.id = (char *)(uintptr_t)id;
	event.pid = 4243;
	event.exit_status = 7;
	return publisher_send(fixture->publisher, "/tasks/exit", "containerd.events.TaskExit",
	                      &event.base);
}

/* Ids are of one character each. */
static void send_all(struct fixture *fixture, const char *ids)
{
	for (; *ids; ids++)
		assert_int_equal(send_id(fixture, (const char[]){ *ids, '\0' }), 0);
}

static void check_seen(struct fixture *fixture, const char *ids)
{
	char seen[sizeof(fixture->seen) / sizeof(fixture->seen[0]) + 1] = "";

	for (size_t i = 0; i < fixture->seen_count; i++)
		seen[i] = fixture->seen[i][0];
	assert_string_equal(seen, ids);
}

static void check_describe(struct fixture *fixture, const char *part)
{
	struct buf text = BUF(4096);

	publisher_describe(fixture->publisher, &text);
	assert_int_equal(buf_append(&text, "", 1), 0);
	if (!strstr(buf_head(&text), part))
		assert_string_equal(buf_head(&text), part);
	buf_deinit(&text);
}

static void make(struct fixture *fixture, const struct publisher_options *options)
{
	struct publisher_options full = *options;

	full.namespace = "default";
	full.timeout = full.timeout ? full.timeout : TIMEOUT;
	full.pause = PAUSE;
	assert_int_equal(publisher_new(&fixture->publisher, &fixture->loop, &full), 0);
}

static void make_to_socket(struct fixture *fixture)
{
	make(fixture, &(struct publisher_options){
		.ttrpc_address = fixture->path, .binary = "/nonexistent", .grpc_address = "/x" });
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	assert_int_equal(loop_init(&fixture->loop), 0);
	assert_int_equal(timer_init(&fixture->tick, &fixture->loop, on_tick), 0);
	fixture->server = (struct ttrpc_server)TTRPC_SERVER_NULL;
	fixture->listener = (struct source)SOURCE_NULL;
	fixture->hresult = HRESULT_FAIL;
	strcpy(fixture->directory, "/tmp/hvrun-publisher.XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->path, sizeof(fixture->path), "%s/s", fixture->directory);
	*state = fixture;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
	(void)st;
	(void)kind;
	(void)walk;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	publisher_free(fixture->publisher);
	ttrpc_server_deinit(&fixture->server);
	source_close(&fixture->listener);
	timer_deinit(&fixture->tick);
	loop_deinit(&fixture->loop);
	if (fixture->last)
		protobuf_c_message_free_unpacked(&fixture->last->base, NULL);
	nftw(fixture->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(fixture);
	return 0;
}

static void test_told(void **state)
{
	struct fixture *fixture = *state;
	time_t before = time(NULL);

	SERVE(fixture, ANSWER);
	make_to_socket(fixture);
	send_all(fixture, "abc");
	run_until_empty(fixture);
	check_seen(fixture, "abc");
	const Containerd__Services__Events__Ttrpc__V1__Envelope *envelope =
		fixture->last->envelope;
	assert_string_equal(envelope->namespace_, "default");
	assert_string_equal(envelope->topic, "/tasks/exit");
	assert_string_equal(envelope->event->type_url, "containerd.events.TaskExit");
	static const uint8_t exit[] = {
		0x0a, 2, 'c', '1', 0x12, 1, 'c', 0x18, 0x93, 0x21, 0x20, 7,
	};
	assert_int_equal(envelope->event->value.len, sizeof(exit));
	assert_memory_equal(envelope->event->value.data, exit, sizeof(exit));
	assert_in_range(envelope->timestamp->seconds, before, time(NULL));
	assert_in_range(envelope->timestamp->nanos, 0, 999999999);
	check_describe(fixture, "events: 0 waiting, 3 told, 0 lost; to ");
	check_describe(fixture, "/s (connected)\n");
	/* All over one connection, which is still there. */
	assert_int_equal(ttrpc_server_connections(&fixture->server), 1);
}

static void test_address(void **state)
{
	struct fixture *fixture = *state;
	char url[80];

	SERVE(fixture, ANSWER);
	snprintf(url, sizeof(url), "unix://%s", fixture->path);
	make(fixture, &(struct publisher_options){ .ttrpc_address = url });
	send_all(fixture, "a");
	run_until_empty(fixture);
	check_seen(fixture, "a");
}

/* Nobody is there for longer than all pauses: nothing is lost. */
static void test_away(void **state)
{
	struct fixture *fixture = *state;

	make_to_socket(fixture);
	send_all(fixture, "abc");
	run_for(fixture, NULL, 30 * PAUSE);
	check_describe(fixture, "3 waiting, 0 told, 0 lost");
	check_describe(fixture, "last failure: no such file or directory\n");
	/* There, but deaf. */
	int fd = listen_at(fixture->path);
	close(fd);
	run_for(fixture, NULL, 10 * PAUSE);
	check_describe(fixture, "last failure: connection refused\n");
	SERVE(fixture, ANSWER);
	run_until_empty(fixture);
	check_seen(fixture, "abc");
	check_describe(fixture, "0 waiting, 3 told, 0 lost");
}

/* Between request and answer: the same event again, and nothing before it. */
static void test_death(void **state)
{
	struct fixture *fixture = *state;

	SERVE(fixture, ANSWER, ANSWER, PARK);
	make_to_socket(fixture);
	send_all(fixture, "abcd");
	run_for(fixture, has_seen_three, PATIENCE);
	SERVE(fixture, ANSWER);
	run_until_empty(fixture);
	check_seen(fixture, "abccd");
	check_describe(fixture, "0 waiting, 4 told, 0 lost");
}

/* While nothing is under way: the next event finds the new server without a pause. */
static void test_replaced(void **state)
{
	struct fixture *fixture = *state;

	SERVE(fixture, ANSWER);
	make_to_socket(fixture);
	send_all(fixture, "a");
	run_until_empty(fixture);
	SERVE(fixture, ANSWER);
	send_all(fixture, "b");
	run_until_empty(fixture);
	SERVE(fixture, ANSWER);
	run_for(fixture, NULL, 5 * TICK);
	send_all(fixture, "c");
	run_until_empty(fixture);
	check_seen(fixture, "abc");
	check_describe(fixture, "3 told, 0 lost; to ");
	check_describe(fixture, "(connected)\n"); /* no failure */
}

static int on_accept(struct source *source, uint32_t got)
{
	struct fixture *fixture = container_of(source, struct fixture, listener);
	int fd = accept(source->fd, NULL, NULL);

	(void)got;
	fixture->accepted += fd >= 0;
	close(fd);
	return 0;
}

static void test_thrown_out(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(source_init(&fixture->listener, &fixture->loop, listen_at(fixture->path),
	                             EPOLLIN, on_accept), 0);
	make_to_socket(fixture);
	send_all(fixture, "a");
	run_until_empty(fixture);
	assert_int_equal(fixture->accepted, 6);
	check_describe(fixture, "0 told, 1 lost");
}

static void test_silence(void **state)
{
	struct fixture *fixture = *state;

	make(fixture, &(struct publisher_options){ .ttrpc_address = fixture->path, .timeout = SHORT });
	SERVE(fixture, PARK, PARK, PARK, PARK, PARK, PARK, ANSWER);
	send_all(fixture, "ab");
	run_until_empty(fixture);
	check_seen(fixture, "aaaaaab");
	check_describe(fixture, "1 told, 1 lost");
	check_describe(fixture, "last failure: no answer in time");
}

static void test_refused(void **state)
{
	struct fixture *fixture = *state;

	make_to_socket(fixture);
	/* Three times, then not. */
	SERVE(fixture, REFUSE, REFUSE, REFUSE, ANSWER);
	send_all(fixture, "ab");
	run_until_empty(fixture);
	check_seen(fixture, "aaaab");
	/* For ever; the pauses of the next begin anew. */
	fixture->seen_count = 0;
	SERVE(fixture, REFUSE, REFUSE, REFUSE, REFUSE, REFUSE, REFUSE, ANSWER);
	send_all(fixture, "cd");
	run_until_empty(fixture);
	check_seen(fixture, "ccccccd");
	check_describe(fixture, "3 told, 1 lost");
	check_describe(fixture, "last failure: not this one");
	/* For good: that would not become better. */
	static const int hresults[] = { HRESULT_INVALID_ARGUMENT, HRESULT_NOT_IMPLEMENTED };
	for (size_t i = 0; i < array_size(hresults); i++) {
		fixture->seen_count = 0;
		fixture->hresult = hresults[i];
		SERVE(fixture, REFUSE, ANSWER);
		send_all(fixture, "ef");
		run_until_empty(fixture);
		check_seen(fixture, "ef");
	}
	check_describe(fixture, "5 told, 3 lost");
}

static void test_bound(void **state)
{
	struct fixture *fixture = *state;
	char id[8];

	make_to_socket(fixture);
	for (int i = 0; i < PUBLISHER_EVENTS_MAX; i++) {
		snprintf(id, sizeof(id), "%d", i);
		assert_int_equal(send_id(fixture, id), 0);
	}
	assert_int_equal(send_id(fixture, "more"), -ENOBUFS);
	check_describe(fixture, "2048 waiting, 0 told, 1 lost");
	SERVE(fixture, ANSWER);
	run_until_empty(fixture);
	assert_int_equal(fixture->seen_count, PUBLISHER_EVENTS_MAX);
	for (int i = 0; i < PUBLISHER_EVENTS_MAX; i++) {
		snprintf(id, sizeof(id), "%d", i);
		assert_string_equal(fixture->seen[i], id);
	}
	fixture->seen_count = 0;
	send_all(fixture, "z");
	run_until_empty(fixture);
	check_seen(fixture, "z");
}

static void test_nobody(void **state)
{
	struct fixture *fixture = *state;

	make(fixture, &(struct publisher_options){ .ttrpc_address = "", .grpc_address = "/x" });
	send_all(fixture, "abc");
	publisher_when_empty(fixture->publisher, on_empty, fixture);
	assert_int_equal(fixture->emptied, 1);
	check_describe(fixture, "events: 0 waiting, 0 told, 0 lost; to nobody\n");
}

static void test_too_large(void **state)
{
	struct fixture *fixture = *state;
	static char large[5 << 20];

	SERVE(fixture, ANSWER);
	make_to_socket(fixture);
	memset(large, 'x', sizeof(large) - 1);
	assert_int_equal(send_id(fixture, large), 0);
	send_all(fixture, "b");
	run_until_empty(fixture);
	check_seen(fixture, "b");
	check_describe(fixture, "1 told, 1 lost");
}

static void free_in_callback(void *owner)
{
	struct fixture *fixture = owner;

	fixture->emptied++;
	publisher_free(take_pointer(fixture->publisher));
}

static void test_when_empty(void **state)
{
	struct fixture *fixture = *state;

	SERVE(fixture, ANSWER);
	make_to_socket(fixture);
	send_all(fixture, "ab");
	publisher_when_empty(fixture->publisher, free_in_callback, fixture);
	assert_int_equal(fixture->emptied, 0);
	run_for(fixture, is_empty, PATIENCE);
	check_seen(fixture, "ab");
	assert_null(fixture->publisher);
	run_for(fixture, NULL, 5 * TICK);
	assert_int_equal(fixture->emptied, 1);
}

static void test_freed_early(void **state)
{
	struct fixture *fixture = *state;

	SERVE(fixture, PARK);
	make_to_socket(fixture);
	send_all(fixture, "ab");
	run_for(fixture, has_seen_one, PATIENCE);
	publisher_free(take_pointer(fixture->publisher));
	run_for(fixture, NULL, 5 * TICK);
	check_seen(fixture, "a");
	make(fixture, &(struct publisher_options){ .binary = "sleep", .grpc_address = "60" });
	send_all(fixture, "ab");
}

/* By hand: the frame, and what the server above does not show. */
static void test_request(void **state)
{
	struct fixture *fixture = *state;
	cleanup_close int listener = listen_at(fixture->path);
	uint8_t bytes[1024];

	assert_int_equal(publisher_new(&fixture->publisher, &fixture->loop,
	                               &(struct publisher_options){
	                                       .ttrpc_address = fixture->path,
	                                       .namespace = "default" }), 0);
	send_all(fixture, "a");
	cleanup_close int fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	assert_true(n > 10);
	static const uint8_t header[] = { 0, 0, 0, 0, 0, 0, 0, 1, 1, 0 };
	assert_int_equal(bytes[2] << 8 | bytes[3], n - 10);
	bytes[2] = bytes[3] = 0;
	assert_memory_equal(bytes, header, sizeof(header));
	Ttrpc__Request *request = ttrpc__request__unpack(NULL, (size_t)n - 10, bytes + 10);
	assert_non_null(request);
	assert_string_equal(request->service, "containerd.services.events.ttrpc.v1.Events");
	assert_string_equal(request->method, "Forward");
	assert_true(request->timeout_nano == 5000000000);
	assert_int_equal(request->n_metadata, 1);
	assert_string_equal(request->metadata[0]->key, "containerd-namespace-ttrpc");
	assert_string_equal(request->metadata[0]->value, "default");
	ttrpc__request__free_unpacked(request, NULL);
}

/* The program: it writes down its arguments and its input, and then does as it is told. */
static void make_program(struct fixture *fixture, const char *end, unsigned timeout)
{
	char path[64], text[512];

	snprintf(path, sizeof(path), "%s/program", fixture->directory);
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	int n = snprintf(text, sizeof(text),
	                 "#!/bin/sh\ncd %s\necho run >>runs\nnumber=$(grep -c . runs)\n"
	                 "echo \"$@\" >arguments.$number\ncat >input.$number\n"
	                 "echo words; echo errors >&2\n%s\n", fixture->directory, end);
	assert_int_equal(write(fd, text, (size_t)n), n);
	close_fd(&fd);
	make(fixture, &(struct publisher_options){
		.binary = path, .grpc_address = "/run/c.sock", .timeout = timeout });
}

static size_t read_made(struct fixture *fixture, const char *name, char *text, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", fixture->directory, name);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	return (size_t)n;
}

static void check_run(struct fixture *fixture, int number, const char *id)
{
	char name[32], text[512];

	snprintf(name, sizeof(name), "arguments.%d", number);
	read_made(fixture, name, text, sizeof(text));
	assert_string_equal(text, "--address /run/c.sock publish --topic /tasks/exit "
	                    "--namespace default\n");
	snprintf(name, sizeof(name), "input.%d", number);
	size_t size = read_made(fixture, name, text, sizeof(text));
	Google__Protobuf__Any *any = google__protobuf__any__unpack(NULL, size, (uint8_t *)text);
	assert_non_null(any);
	assert_string_equal(any->type_url, "containerd.events.TaskExit");
	Containerd__Events__TaskExit *event = containerd__events__task_exit__unpack(
		NULL, any->value.len, any->value.data);
	assert_string_equal(event->id, id);
	containerd__events__task_exit__free_unpacked(event, NULL);
	google__protobuf__any__free_unpacked(any, NULL);
}

static void check_runs(struct fixture *fixture, const char *ids)
{
	char text[512];

	assert_int_equal(read_made(fixture, "runs", text, sizeof(text)) / strlen("run\n"),
	                 strlen(ids));
	for (int i = 0; ids[i]; i++)
		check_run(fixture, i + 1, (const char[]){ ids[i], '\0' });
}

static void test_program(void **state)
{
	struct fixture *fixture = *state;

	make_program(fixture, "exit 0", TIMEOUT);
	send_all(fixture, "abc");
	run_until_empty(fixture);
	check_runs(fixture, "abc");
	check_describe(fixture, "3 told, 0 lost; to ");
	check_describe(fixture, "/program\n");
}

static void test_program_fails(void **state)
{
	struct fixture *fixture = *state;

	make_program(fixture, "case $number in 1) exit 3;; 2) kill -9 $$;; esac", TIMEOUT);
	send_all(fixture, "ab");
	run_until_empty(fixture);
	check_runs(fixture, "aaab");
	check_describe(fixture, "2 told, 0 lost");
	check_describe(fixture, "/program was killed by signal 9\n");
}

static void test_program_always_fails(void **state)
{
	struct fixture *fixture = *state;

	make_program(fixture, "[ $number -gt 6 ] || exit 3", TIMEOUT);
	send_all(fixture, "ab");
	run_until_empty(fixture);
	check_runs(fixture, "aaaaaab");
	check_describe(fixture, "1 told, 1 lost");
	check_describe(fixture, "/program ended with status 3\n");
}

static void test_program_hangs(void **state)
{
	struct fixture *fixture = *state;

	make_program(fixture, "[ $number -gt 1 ] || exec sleep 60", 10 * SHORT);
	send_all(fixture, "ab");
	run_until_empty(fixture);
	check_runs(fixture, "aab");
	check_describe(fixture, "/program was killed, as it did not end\n");
}

static void test_no_program(void **state)
{
	struct fixture *fixture = *state;

	make(fixture, &(struct publisher_options){ .binary = "/nonexistent/containerd" });
	send_all(fixture, "a");
	run_until_empty(fixture);
	check_describe(fixture, "0 told, 1 lost");
	check_describe(fixture, "/nonexistent/containerd ended with status 127\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_told),
		TEST(test_address),
		TEST(test_away),
		TEST(test_death),
		TEST(test_replaced),
		TEST(test_thrown_out),
		TEST(test_silence),
		TEST(test_refused),
		TEST(test_bound),
		TEST(test_nobody),
		TEST(test_too_large),
		TEST(test_when_empty),
		TEST(test_freed_early),
		TEST(test_request),
		TEST(test_program),
		TEST(test_program_fails),
		TEST(test_program_always_fails),
		TEST(test_program_hangs),
		TEST(test_no_program),
	};
	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
