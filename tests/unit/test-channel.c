/* SPDX-License-Identifier: Apache-2.0 */

/* A channel at one end of a unix socket, and bytes written by hand at the other. */

#include "oci/channel.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#define MESSAGES_MAX 64
#define MAX_IN (1u << 20)

struct fixture {
	struct loop loop;
	struct source turns;            /* always ready: ends the run after so many turns */
	int turns_left;
	struct channel channel;
	int peer;
	struct frame frames[MESSAGES_MAX];
	char last[256];
	size_t last_length;
	size_t count;
	int result;                     /* what the message callback returns */
	bool answer;
	int lost_calls, lost_error;
	size_t count_at_loss;
	bool inside;                    /* of a channel function */
};

static int on_turn(struct source *source, uint32_t got)
{
	(void)got;
	struct fixture *fixture = container_of(source, struct fixture, turns);
	if (!fixture->turns_left--)
		loop_stop(&fixture->loop);
	return 0;
}

static int on_message(struct channel *channel, const struct frame *frame, const char *payload)
{
	struct fixture *fixture = container_of(channel, struct fixture, channel);
	assert_true(fixture->count < MESSAGES_MAX);
	assert_int_equal(payload[frame->size - FRAME_HEADER], '\0');
	fixture->frames[fixture->count++] = *frame;
	fixture->last_length = frame->size - FRAME_HEADER;
	memcpy(fixture->last, payload, min_size(fixture->last_length, sizeof(fixture->last)));
	if (fixture->answer)
		assert_int_equal(channel_send(channel, 0x20100101, frame->id, "{}", 2), 0);
	return fixture->result;
}

static void on_lost(struct channel *channel, int error)
{
	struct fixture *fixture = container_of(channel, struct fixture, channel);
	assert_false(fixture->inside);
	fixture->lost_calls++;
	fixture->lost_error = error;
	fixture->count_at_loss = fixture->count;
	channel_deinit(channel);
}

static const struct channel_ops ops = { .message = on_message, .lost = on_lost };

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	int fds[2];
	assert_non_null(fixture);
	assert_int_equal(loop_init(&fixture->loop), 0);
	int always = memfd_create("turns", MFD_CLOEXEC);
	assert_int_equal(source_init(&fixture->turns, &fixture->loop, always, EPOLLIN, on_turn), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
	                 0);
	fixture->peer = fds[1];
	assert_int_equal(channel_init(&fixture->channel, &fixture->loop, fds[0], MAX_IN,
	                              FRAME_PLAIN_MAX, &ops), 0);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	channel_deinit(&fixture->channel);
	channel_deinit(&fixture->channel);
	close_fd(&fixture->peer);
	source_close(&fixture->turns);
	loop_deinit(&fixture->loop);
	free(fixture);
	return 0;
}

static void run(struct fixture *fixture, int turns)
{
	fixture->turns_left = turns;
	assert_int_equal(loop_run(&fixture->loop), 0);
}

static void put(struct fixture *fixture, const void *bytes, size_t size)
{
	const char *at = bytes;
	while (size) {
		ssize_t n = send(fixture->peer, at, size, MSG_NOSIGNAL);
		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			run(fixture, 1);
			continue;
		}
		at += n;
		size -= (size_t)n;
	}
}

static void put_header(struct fixture *fixture, uint32_t type, uint32_t size, uint64_t id)
{
	struct frame frame = { type, size, id };
	uint8_t header[FRAME_HEADER];
	frame_encode(&frame, header);
	put(fixture, header, sizeof(header));
}

static void test_send(void **state)
{
	struct fixture *fixture = *state;
	static const char wire[] = "\x01\x01\x10\x20\x12\0\0\0\x09\0\0\0\0\0\0\0{}";
	char got[64];
	assert_int_equal(channel_send(&fixture->channel, 0x20100101, 9, "{}", 2), 0);
	/* It is there without a turn of the loop. */
	assert_int_equal(recv(fixture->peer, got, sizeof(got), 0), 18);
	assert_memory_equal(got, wire, 18);
	assert_int_equal(channel_send(&fixture->channel, 0x20100101, 9, NULL, 0), 0);
	assert_int_equal(recv(fixture->peer, got, sizeof(got), 0), FRAME_HEADER);
}

static void test_send_too_long(void **state)
{
	struct fixture *fixture = *state;
	cleanup_free char *payload = calloc(1, FRAME_PLAIN_MAX);
	size_t most = FRAME_PLAIN_MAX - FRAME_HEADER;
	assert_int_equal(channel_send(&fixture->channel, 1, 1, payload, most + 1), -EMSGSIZE);
	assert_int_equal(channel_send(&fixture->channel, 1, 1, payload, SIZE_MAX), -EMSGSIZE);
	assert_int_equal(channel_send(&fixture->channel, 1, 1, payload, most), 0);
	run(fixture, 2);
	assert_int_equal(fixture->lost_calls, 0);
}

static void test_byte_by_byte(void **state)
{
	struct fixture *fixture = *state;
	static const char wire[] = "\x01\x01\x10\x10\x12\0\0\0\x07\0\0\0\0\0\0\0{}"
	                           "\x01\x02\x10\x10\x10\0\0\0\x08\0\0\0\0\0\0\0"
	                           "\x01\x03\x10\x10\x13\0\0\0\x09\0\0\0\0\0\0\0abc";
	for (size_t i = 0; i < sizeof(wire) - 1; i++) {
		put(fixture, wire + i, 1);
		run(fixture, 1);
	}
	assert_int_equal(fixture->count, 3);
	assert_int_equal(fixture->frames[0].id, 7);
	assert_int_equal(fixture->frames[1].size, 16);
	assert_int_equal(fixture->frames[2].type, 0x10100301);
	assert_string_equal(fixture->last, "abc");
	/* And all at once: each payload is a string although a frame stands behind it. */
	put(fixture, wire, sizeof(wire) - 1);
	run(fixture, 2);
	assert_int_equal(fixture->count, 6);
	assert_int_equal(fixture->channel.frames_in, 6);
	assert_int_equal(fixture->channel.bytes_in, 2 * (sizeof(wire) - 1));
}

static void test_sizes(void **state)
{
	static const struct {
		uint32_t size;
		int lost;
	} cases[] = {
		{ 16, 0 },
		{ 17, 0 },
		{ CHANNEL_BUFFER - 1, 0 },
		{ CHANNEL_BUFFER, 0 },
		{ CHANNEL_BUFFER + 1, 0 },
		{ MAX_IN - 1, 0 },
		{ MAX_IN, 0 },
		{ MAX_IN + 1, -EPROTO },
		{ 15, -EPROTO },
		{ 0, -EPROTO },
		{ UINT32_MAX, -EPROTO },
	};
	cleanup_free char *payload = malloc(MAX_IN);
	assert_non_null(payload);
	memset(payload, 'x', MAX_IN);
	for (size_t i = 0; i < array_size(cases); i++) {
		struct fixture *fixture = *state;
		put_header(fixture, 0x10100101, cases[i].size, i);
		if (!cases[i].lost) {
			put(fixture, payload, cases[i].size - FRAME_HEADER);
			put_header(fixture, 0x10100201, 16, 99);
		}
		run(fixture, 40);
		if (cases[i].lost) {
			assert_int_equal(fixture->lost_calls, 1);
			assert_int_equal(fixture->lost_error, cases[i].lost);
			assert_int_equal(fixture->count, 0);
			assert_null(fixture->channel.large);
		} else {
			assert_int_equal(fixture->count, 2);
			assert_int_equal(fixture->frames[0].size, cases[i].size);
			assert_int_equal(fixture->frames[1].id, 99);
		}
		teardown(state);
		setup(state);
	}
}

static void test_odd_pieces(void **state)
{
	struct fixture *fixture = *state;
	size_t size = 300000;
	cleanup_free char *bytes = malloc(2 * size);
	struct frame frame = { 0x10100101, (uint32_t)size, 1 };
	assert_non_null(bytes);
	memset(bytes, 'y', 2 * size);
	frame_encode(&frame, (uint8_t *)bytes);
	frame.id = 2;
	frame_encode(&frame, (uint8_t *)bytes + size);
	size_t at = 0;
	for (size_t piece = 1; at < 2 * size; piece = piece * 3 + 1) {
		size_t n = min_size(piece % 70001, 2 * size - at);
		put(fixture, bytes + at, n);
		run(fixture, 1);
		at += n;
	}
	run(fixture, 10);
	assert_int_equal(fixture->count, 2);
	assert_int_equal(fixture->frames[1].id, 2);
	assert_int_equal(fixture->last[0], 'y');
}

static void test_end(void **state)
{
	static const struct {
		size_t bytes;   /* of a frame of so many */
		uint32_t size;
		int error;
	} cases[] = {
		{ 0, 18, 0 },
		{ 18, 18, 0 },
		{ 1, 18, -ECONNRESET },
		{ 16, 18, -ECONNRESET },
		{ 17, 18, -ECONNRESET },
		{ 16, 100000, -ECONNRESET },
		{ 70000, 100000, -ECONNRESET },
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct fixture *fixture = *state;
		cleanup_free char *bytes = calloc(1, cases[i].size);
		struct frame frame = { 0x10100101, cases[i].size, 1 };
		frame_encode(&frame, (uint8_t *)bytes);
		put(fixture, bytes, cases[i].bytes);
		close_fd(&fixture->peer);
		run(fixture, 5);
		assert_int_equal(fixture->lost_calls, 1);
		assert_int_equal(fixture->lost_error, cases[i].error);
		assert_int_equal(fixture->count, cases[i].bytes == cases[i].size);
		teardown(state);
		setup(state);
	}
}

static void test_handler_refuses(void **state)
{
	struct fixture *fixture = *state;
	fixture->result = -EBADMSG;
	put_header(fixture, 0x10100101, 16, 1);
	put_header(fixture, 0x10100101, 16, 2);
	run(fixture, 3);
	assert_int_equal(fixture->count, 1);
	assert_int_equal(fixture->lost_calls, 1);
	assert_int_equal(fixture->lost_error, -EBADMSG);
}

static void test_fail_is_told_once_from_the_loop(void **state)
{
	struct fixture *fixture = *state;
	fixture->inside = true;
	channel_fail(&fixture->channel, -ETIME);
	channel_fail(&fixture->channel, -EIO);
	assert_int_equal(channel_send(&fixture->channel, 1, 1, "x", 1), -EPIPE);
	fixture->inside = false;
	assert_int_equal(fixture->lost_calls, 0);
	run(fixture, 3);
	assert_int_equal(fixture->lost_calls, 1);
	assert_int_equal(fixture->lost_error, -ETIME);
}

/* The peer reads nothing: messages are queued up to the bound, in order, and then it is lost. */
static void test_queue_limit(void **state)
{
	struct fixture *fixture = *state;
	cleanup_free char *payload = calloc(1, 60000);
	uint64_t id = 0;
	int r;
	do
		r = channel_send(&fixture->channel, 0x20100101, ++id, payload, 60000);
	while (r == 0 && id < 1000);
	assert_int_equal(r, -ENOBUFS);
	assert_true(id > CHANNEL_QUEUE_MAX / 60016 && id < CHANNEL_QUEUE_MAX / 60016 + 10);
	assert_int_equal(channel_send(&fixture->channel, 1, 1, "x", 1), -EPIPE);
	run(fixture, 3);
	assert_int_equal(fixture->lost_error, -ENOBUFS);
	assert_int_equal(fixture->lost_calls, 1);
}

static void test_queue_in_order(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t payload[50000], got[FRAME_HEADER + sizeof(payload)];
	for (uint64_t id = 1; id <= 100; id++) {
		size_t size = (size_t)(id * 499);
		assert_int_equal(channel_send(&fixture->channel, 1, id, payload, size), 0);
	}
	for (uint64_t id = 1; id <= 100; id++) {
		size_t size = FRAME_HEADER + (size_t)(id * 499), have = 0;
		while (have < size) {
			ssize_t n = recv(fixture->peer, got + have, size - have, 0);
			if (n < 0)
				run(fixture, 1);
			else
				have += (size_t)n;
		}
		assert_int_equal(frame_get_u64(got + 8), id);
		assert_int_equal(frame_get_u32(got + 4), size);
	}
	assert_null(fixture->channel.queue.data);
}

/* Our answer fails because the peer has gone, but what it had sent before is all handled. */
static void test_last_words(void **state)
{
	struct fixture *fixture = *state;
	fixture->answer = true;
	for (uint64_t id = 0; id < 5; id++)
		put_header(fixture, 0x30100101, 16, id);
	close_fd(&fixture->peer);
	assert_int_equal(channel_send(&fixture->channel, 1, 1, "x", 1), 0);
	run(fixture, 5);
	assert_int_equal(fixture->count, 5);
	assert_int_equal(fixture->lost_calls, 1);
	assert_int_equal(fixture->count_at_loss, 5);
}

static void test_turn_is_bounded(void **state)
{
	struct fixture *fixture = *state;
	int size = 4 << 20;
	if (setsockopt(fixture->peer, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		skip(); /* not root */
	static uint8_t payload[60000];
	for (int i = 0; i < 30; i++) {
		put_header(fixture, 0x10100101, FRAME_HEADER + sizeof(payload), 1);
		put(fixture, payload, sizeof(payload));
	}
	fixture->count = 0;
	run(fixture, 1);
	assert_true(fixture->count > 0 && fixture->count < 10);
	run(fixture, 10);
	assert_int_equal(fixture->count, 30);
}

static void test_kind_4_in_plain_mode(void **state)
{
	struct fixture *fixture = *state;
	put_header(fixture, FRAME_STOP, 20, 5);
	put(fixture, "\0\0\0\0", 4);
	run(fixture, 2);
	assert_int_equal(fixture->count, 1);
	assert_int_equal(fixture->frames[0].type, FRAME_STOP);
}

/* A burst leaves nothing behind but what the next message needs. */
static void test_memory_given_back(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t payload[60000];
	assert_null(fixture->channel.in);
	put_header(fixture, 0x10100101, FRAME_HEADER + sizeof(payload), 1);
	put(fixture, payload, sizeof(payload));
	run(fixture, 2);
	assert_true(fixture->channel.in_used >= sizeof(payload));
	put_header(fixture, 0x10100101, 16, 1);
	run(fixture, 2);
	assert_true(fixture->channel.in_used <= FRAME_HEADER);
	assert_null(fixture->channel.in);
}

static bool same_file(int a, int b)
{
	struct stat x, y;
	assert_int_equal(fstat(a, &x), 0);
	assert_int_equal(fstat(b, &y), 0);
	return x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

/* A frame of zeros. */
static int send_fds(int fd, size_t size, const int *fds, size_t count)
{
	cleanup_free uint8_t *bytes = calloc(1, FRAME_HEADER + size);
	struct frame frame = { 0x10100101, (uint32_t)(FRAME_HEADER + size), 1 };
	assert_non_null(bytes);
	frame_encode(&frame, bytes);
	return fds_send(fd, bytes, FRAME_HEADER + size, fds, count);
}

static void test_fds(void **state)
{
	struct fixture *fixture = *state;
	int files[CHANNEL_FDS_MAX];
	for (size_t i = 0; i < CHANNEL_FDS_MAX; i++)
		files[i] = memfd_create("file", MFD_CLOEXEC);
	assert_int_equal(channel_take_fd(&fixture->channel), -ENOENT);
	assert_int_equal(send_fds(fixture->peer, 2, files, CHANNEL_FDS_MAX + 1), -EINVAL);
	assert_int_equal(send_fds(fixture->peer, 2, files, 3), 0);
	run(fixture, 2);
	for (size_t i = 0; i < 3; i++) {
		cleanup_close int fd = channel_take_fd(&fixture->channel);
		assert_true(same_file(fd, files[i]));
		assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	}
	assert_int_equal(channel_take_fd(&fixture->channel), -ENOENT);
	/* Nobody takes these: four are kept, the rest is closed, and valgrind counts. */
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(send_fds(fixture->peer, 0, files, 3), 0);
	run(fixture, 3);
	assert_int_equal(fixture->count, 4);
	assert_int_equal(fixture->channel.fd_count, CHANNEL_FDS_MAX);
	for (size_t i = 0; i < CHANNEL_FDS_MAX; i++)
		close(files[i]);
}

/* fds_send() waits where channel_send() would queue. */
static void test_fds_blocking(void **state)
{
	struct fixture *fixture = *state;
	size_t size = 3u << 20;
	int fd = fixture->peer;
	pid_t child = fork();
	if (child == 0) {
		alarm(30);
		fcntl(fd, F_SETFL, 0);
		_exit(send_fds(fd, size, &fd, 1) == 0 ? 0 : 1);
	}
	assert_true(child > 0);
	fixture->channel.max_in = FRAME_HOST_MAX;
	for (int i = 0; i < 100000 && !fixture->count; i++)
		run(fixture, 1);
	assert_int_equal(fixture->count, 1);
	assert_int_equal(fixture->frames[0].size, size + FRAME_HEADER);
	cleanup_close int got = channel_take_fd(&fixture->channel);
	assert_true(same_file(got, fd));
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
#define channel_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		channel_test(test_send),
		channel_test(test_send_too_long),
		channel_test(test_byte_by_byte),
		channel_test(test_sizes),
		channel_test(test_odd_pieces),
		channel_test(test_end),
		channel_test(test_handler_refuses),
		channel_test(test_fail_is_told_once_from_the_loop),
		channel_test(test_queue_limit),
		channel_test(test_queue_in_order),
		channel_test(test_last_words),
		channel_test(test_turn_is_bounded),
		channel_test(test_kind_4_in_plain_mode),
		channel_test(test_memory_given_back),
		channel_test(test_fds),
		channel_test(test_fds_blocking),
	};
	alarm(100);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
