/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Streams between two channels in one loop: "guest" has the outlets, "host" the inlets, as for the
 * output of a container. Some tests play one of the two by hand, to send what a channel would not.
 */

#include "oci/stream.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <cmocka.h>

#define WINDOW STREAM_WINDOW
#define STREAMS 3

struct end {
	struct channel channel;
	size_t messages;
	int lost_calls, lost_error;
	uint64_t received;              /* by in[0] of the host when its last message came */
};

struct out {
	struct outlet outlet;
	int ended, lost;
	uint32_t reason;
	bool close_at_end, deinit_at_end;
};

struct in {
	struct inlet inlet;
	int ended, lost;
	size_t progress;
	uint32_t reason;
	bool close_at_end, deinit_at_end, deinit_at_progress;
	bool stalled;                   /* for a sink that is a function */
	size_t at_once;
	uint64_t checked;
	int result;
};

struct fixture {
	struct loop loop;
	struct source turns;
	int turns_left;
	struct end guest, host;
	struct out out[STREAMS];
	struct in in[STREAMS];
};

static uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(offset * 7 + (offset >> 8) * 13 + (offset >> 16));
}

static void fill(uint8_t *bytes, uint64_t offset, size_t size)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = pattern(offset + i);
}

static void check(const uint8_t *bytes, uint64_t offset, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] != pattern(offset + i))
			fail_msg("byte %llu differs", (unsigned long long)(offset + i));
	}
}

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
	(void)frame;
	(void)payload;
	struct fixture *fixture = container_of(channel, struct fixture, host.channel);
	fixture->host.messages++;
	fixture->host.received = fixture->in[0].inlet.received;
	return 0;
}

static void on_lost(struct channel *channel, int error)
{
	struct end *end = container_of(channel, struct end, channel);
	end->lost_calls++;
	end->lost_error = error;
	channel_deinit(channel);
}

static const struct channel_ops channel_ops = { .message = on_message, .lost = on_lost };

static void out_ended(struct outlet *outlet, uint32_t reason)
{
	struct out *out = container_of(outlet, struct out, outlet);
	int fd = outlet->fd;
	out->ended++;
	out->reason = reason;
	if (out->deinit_at_end)
		outlet_deinit(outlet);
	if (out->close_at_end)
		close(fd);
}

static void out_lost(struct outlet *outlet)
{
	container_of(outlet, struct out, outlet)->lost++;
}

static const struct outlet_ops outlet_ops = { .ended = out_ended, .lost = out_lost };

static ssize_t in_write(struct inlet *inlet, const char *bytes, size_t size)
{
	struct in *in = container_of(inlet, struct in, inlet);
	if (in->result < 0)
		return in->result;
	if (in->stalled)
		return 0;
	size = min_size(size, in->at_once);
	check((const uint8_t *)bytes, in->checked, size);
	in->checked += size;
	return (ssize_t)size;
}

static void in_progress(struct inlet *inlet)
{
	struct in *in = container_of(inlet, struct in, inlet);
	in->progress++;
	if (in->deinit_at_progress)
		inlet_deinit(inlet);
}

static void in_ended(struct inlet *inlet, uint32_t reason)
{
	struct in *in = container_of(inlet, struct in, inlet);
	int fd = inlet->fd;
	in->ended++;
	in->reason = reason;
	if (in->deinit_at_end)
		inlet_deinit(inlet);
	if (in->close_at_end)
		close(fd);
}

static void in_lost(struct inlet *inlet)
{
	container_of(inlet, struct in, inlet)->lost++;
}

static const struct inlet_ops fd_ops = {
	.progress = in_progress,
	.ended = in_ended,
	.lost = in_lost,
};
static const struct inlet_ops function_ops = {
	.write = in_write,
	.progress = in_progress,
	.ended = in_ended,
	.lost = in_lost,
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	int fds[2];
	assert_non_null(fixture);
	assert_int_equal(loop_init(&fixture->loop), 0);
	int always = memfd_create("turns", MFD_CLOEXEC);
	assert_int_equal(source_init(&fixture->turns, &fixture->loop, always, EPOLLIN, on_turn), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	struct end *ends[] = { &fixture->guest, &fixture->host };
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(channel_init(&ends[i]->channel, &fixture->loop, fds[i],
		                              FRAME_SESSION_DEFAULT, FRAME_SESSION_DEFAULT,
		                              &channel_ops), 0);
		ends[i]->channel.streams = true;
	}
	for (size_t i = 0; i < STREAMS; i++) {
		fixture->out[i].outlet = (struct outlet)OUTLET_NULL;
		fixture->in[i].inlet = (struct inlet)INLET_NULL;
		fixture->in[i].at_once = SIZE_MAX;
	}
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	channel_deinit(&fixture->guest.channel);
	channel_deinit(&fixture->host.channel);
	for (size_t i = 0; i < STREAMS; i++) {
		outlet_deinit(&fixture->out[i].outlet);
		inlet_deinit(&fixture->in[i].inlet);
	}
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

static void start_out(struct fixture *fixture, size_t i, int fd, uint64_t limit)
{
	assert_int_equal(outlet_init(&fixture->out[i].outlet, &fixture->guest.channel, 5 + i, fd,
	                             limit, isatty(fd), &outlet_ops), 0);
}

static void start_in(struct fixture *fixture, size_t i, int fd, uint32_t window)
{
	const struct inlet_ops *ops = fd < 0 ? &function_ops : &fd_ops;
	assert_int_equal(inlet_init(&fixture->in[i].inlet, &fixture->host.channel, 5 + i, fd,
	                            window, false, ops), 0);
}

static void make_pipe(int fds[2])
{
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
}

static size_t waiting(int fd)
{
	int n = 0;
	assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
	return (size_t)n;
}

/* Puts pattern into fd from offset on, as much as goes in. */
static size_t feed(int fd, uint64_t offset, size_t size)
{
	uint8_t bytes[10000];
	size_t n = min_size(size, sizeof(bytes));
	fill(bytes, offset, n);
	ssize_t r = write(fd, bytes, n);
	if (r < 0)
		assert_int_equal(errno, EAGAIN);
	return r < 0 ? 0 : (size_t)r;
}

/* Takes what is there and compares it. True at the end of the file. */
static bool take(int fd, uint64_t *offset)
{
	uint8_t bytes[100000];
	ssize_t n = read(fd, bytes, sizeof(bytes));
	if (n < 0)
		assert_int_equal(errno, EAGAIN);
	if (n > 0) {
		check(bytes, *offset, (size_t)n);
		*offset += (uint64_t)n;
	}
	return n == 0;
}

enum kind { PIPE, SOCKET, FILES, FUNCTION };

/* fds[0] is read, fds[1] written. A file is filled or read afterwards. */
static void make(enum kind kind, int fds[2])
{
	fds[0] = fds[1] = -1;
	if (kind == PIPE) {
		make_pipe(fds);
	} else if (kind == SOCKET) {
		/* Not O_NONBLOCK, as sockets come from others. */
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	} else if (kind == FILES) {
		fds[0] = memfd_create("file", MFD_CLOEXEC);
		char path[64];
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
		fds[1] = open(path, O_WRONLY | O_CLOEXEC);
		assert_true(fds[1] >= 0);
	}
}

static void set_nonblocking(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

static void transfer(struct fixture *fixture, enum kind from, enum kind to, size_t size,
                     uint32_t window, bool zero_copy)
{
	int source[2], sink[2];
	size_t fed = 0;
	uint64_t got = 0;
	fixture->guest.channel.zero_copy = fixture->host.channel.zero_copy = zero_copy;
	make(from, source);
	make(to, sink);
	if (from == FILES) {
		while (fed < size)
			fed += feed(source[1], fed, size - fed);
	} else if (from == SOCKET) {
		set_nonblocking(source[1]);
	}
	if (to == SOCKET)
		set_nonblocking(sink[0]);
	start_in(fixture, 0, sink[1], window);
	start_out(fixture, 0, source[0], window);
	fixture->in[0].close_at_end = to != FUNCTION;
	bool end = false;
	for (int i = 0; i < 100000 && !end; i++) {
		/* Much at a time, so that it is worth splicing; the reader is now fast, now slow. */
		for (size_t n = 1; fed < size && n; fed += n)
			n = feed(source[1], fed, size - fed);
		if (fed == size)
			close_fd(&source[1]);
		run(fixture, 1 + i % 3);
		if (to == PIPE || to == SOCKET)
			end = take(sink[0], &got);
		else
			end = fixture->in[0].ended;
		assert_true(buf_length(&fixture->in[0].inlet.held) <= window);
	}
	assert_true(end);
	if (to == FUNCTION)
		got = fixture->in[0].checked;
	while (to == FILES && !take(sink[0], &got))
		;
	assert_int_equal(got, size);
	assert_int_equal(fixture->out[0].outlet.sent, size);
	assert_int_equal(outlet_offset(&fixture->out[0].outlet), size);
	assert_int_equal(fixture->out[0].ended, 1);
	assert_int_equal(fixture->out[0].reason, END_OF_FILE);
	assert_int_equal(fixture->in[0].ended, 1);
	assert_int_equal(fixture->in[0].reason, END_OF_FILE);
	assert_int_equal(fixture->in[0].inlet.received, size);
	assert_int_equal(fixture->in[0].inlet.delivered, size);
	assert_int_equal(fixture->in[0].lost, 0);
	assert_null(fixture->host.channel.inlets);
	assert_null(fixture->guest.channel.outlets);
	assert_null(fixture->guest.channel.out);
	assert_int_equal(fixture->guest.channel.pipe[0], -1);
	close(source[0]);
	close_fd(&sink[0]);
}

static void test_transfer(void **state)
{
	static const size_t sizes[] = { 0, 1, 15, 4096, 16384, 65535, 65536, 65537, 262144, 262145,
		                        1 << 20 };
	static const enum kind kinds[][2] = { { PIPE, PIPE },     { PIPE, FUNCTION },
		                              { PIPE, SOCKET },   { PIPE, FILES },
		                              { SOCKET, PIPE },   { SOCKET, SOCKET },
		                              { FILES, PIPE },    { FILES, FILES },
		                              { FILES, FUNCTION } };
	static const uint32_t windows[] = { WINDOW, 4096, 1 };
	for (size_t k = 0; k < array_size(kinds); k++) {
		for (size_t s = 0; s < 2 * array_size(sizes); s++) {
			transfer(*state, kinds[k][0], kinds[k][1], sizes[s / 2], WINDOW, s % 2);
			teardown(state);
			setup(state);
		}
	}
	for (size_t w = 0; w < array_size(windows); w++) {
		transfer(*state, PIPE, PIPE, 10000, windows[w], true);
		teardown(state);
		setup(state);
	}
	/* A connection that takes little at a time. */
	for (int small = 1; small < 1000000; small *= 10) {
		struct fixture *fixture = *state;
		assert_int_equal(setsockopt(fixture->guest.channel.source.fd, SOL_SOCKET,
		                            SO_SNDBUF, &small, sizeof(small)), 0);
		transfer(fixture, PIPE, PIPE, 3000000, WINDOW, small % 3);
		teardown(state);
		setup(state);
	}
}

/* The peer accepts frames of 4096 bytes only. */
static void test_small_max_frame(void **state)
{
	struct fixture *fixture = *state;
	fixture->guest.channel.max_out = fixture->host.channel.max_in = FRAME_SESSION_MIN;
	transfer(fixture, PIPE, PIPE, 300000, WINDOW, true);
	assert_true(fixture->guest.channel.frames_out >= 300000 / (FRAME_SESSION_MIN - 16));
}

/* One byte after another is one frame each, and no WINDOW until half the window is used. */
static void test_interactive(void **state)
{
	struct fixture *fixture = *state;
	int source[2], sink[2];
	uint64_t got = 0;
	make_pipe(source);
	make_pipe(sink);
	start_in(fixture, 0, sink[1], 64);
	start_out(fixture, 0, source[0], 64);
	for (uint64_t i = 0; i < 31; i++) {
		assert_int_equal(feed(source[1], i, 1), 1);
		run(fixture, 2);
		take(sink[0], &got);
		assert_int_equal(got, i + 1);
	}
	assert_int_equal(fixture->guest.channel.frames_out, 31);
	assert_int_equal(fixture->host.channel.frames_out, 0);
	assert_int_equal(feed(source[1], 31, 1), 1);
	run(fixture, 3);
	assert_int_equal(fixture->host.channel.frames_out, 1);
	assert_int_equal(fixture->out[0].outlet.limit, 32 + 64);
	close(source[0]);
	close(source[1]);
	close(sink[0]);
	close(sink[1]);
}

/* A reader that has stopped stalls its own stream, within the window, and no other. */
static void test_stalled_reader(void **state)
{
	struct fixture *fixture = *state;
	int source[2][2], sink[2][2];
	uint64_t fed[2] = { 0, 0 }, got[2] = { 0, 0 };
	for (size_t i = 0; i < 2; i++) {
		make_pipe(source[i]);
		make_pipe(sink[i]);
		start_in(fixture, i, sink[i][1], WINDOW);
		start_out(fixture, i, source[i][0], WINDOW);
	}
	for (int turn = 0; turn < 3000; turn++) {
		for (size_t i = 0; i < 2; i++)
			fed[i] += feed(source[i][1], fed[i], 10000);
		run(fixture, 1);
		take(sink[1][0], &got[1]);
		assert_true(buf_length(&fixture->in[0].inlet.held) <= WINDOW);
	}
	struct inlet *stalled = &fixture->in[0].inlet;
	assert_true(got[1] > 5u << 20);
	assert_int_equal(stalled->received, fixture->out[0].outlet.sent);
	assert_true(stalled->received - stalled->delivered <= WINDOW);
	assert_true(fed[0] <= stalled->delivered + WINDOW + (1 << 20));
	/* Nothing happens any more for the one that is stalled: its source is not even watched. */
	assert_int_equal(fixture->out[0].outlet.source.want, 0);
	/* And when it reads again, everything comes. */
	close(source[0][1]);
	fixture->in[0].close_at_end = true;
	for (int turn = 0; turn < 1000 && !take(sink[0][0], &got[0]); turn++)
		run(fixture, 1);
	assert_int_equal(got[0], fed[0]);
	assert_null(stalled->held.data);
	close(sink[0][0]);
	close(source[0][0]);
	for (size_t i = 0; i < 2; i++) {
		close(source[1][i]);
		close(sink[1][i]);
	}
}

/* A message is not delayed by more than the frame that was on its way. */
static void test_message_before_data(void **state)
{
	struct fixture *fixture = *state;
	struct channel *guest = &fixture->guest.channel;
	int source[2], small = 1;
	uint64_t fed = 0;
	make_pipe(source);
	fcntl(source[1], F_SETPIPE_SZ, 1 << 20);
	assert_int_equal(setsockopt(guest->source.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)),
	                 0);
	/* The other end is held still until the connection is full. */
	(void)source_want(&fixture->host.channel.source, 0);
	fixture->in[0].stalled = false;
	start_in(fixture, 0, -1, 1 << 20);
	start_out(fixture, 0, source[0], 1 << 20);
	while (fed < 900000)
		fed += feed(source[1], fed, 10000);
	run(fixture, 20);
	uint64_t sent = fixture->out[0].outlet.sent;
	assert_true(sent > 0 && sent < fed);
	assert_int_equal(channel_send(guest, 0x30100101, 0, "{}", 2), 0);
	(void)source_want(&fixture->host.channel.source, EPOLLIN);
	for (int turn = 0; turn < 1000 && !fixture->host.messages; turn++)
		run(fixture, 1);
	assert_int_equal(fixture->host.messages, 1);
	assert_true(fixture->host.received <= sent);
	close(source[1]);
	for (int turn = 0; turn < 1000 && !fixture->in[0].ended; turn++)
		run(fixture, 1);
	assert_int_equal(fixture->in[0].checked, fed);
	close(source[0]);
}

/* Three floods get the same share. */
static void test_round_robin(void **state)
{
	struct fixture *fixture = *state;
	int source[STREAMS][2], small = 100000;
	uint64_t fed[STREAMS] = { 0 };
	assert_int_equal(setsockopt(fixture->guest.channel.source.fd, SOL_SOCKET, SO_SNDBUF, &small,
	                            sizeof(small)), 0);
	for (size_t i = 0; i < STREAMS; i++) {
		make_pipe(source[i]);
		start_in(fixture, i, -1, 1 << 20);
		start_out(fixture, i, source[i][0], 1 << 20);
	}
	for (int turn = 0; turn < 2000; turn++) {
		for (size_t i = 0; i < STREAMS; i++)
			fed[i] += feed(source[i][1], fed[i], 10000);
		run(fixture, 1);
	}
	for (size_t i = 0; i < STREAMS; i++) {
		uint64_t all = fixture->in[0].checked + fixture->in[1].checked +
		               fixture->in[2].checked;
		assert_true(fixture->in[i].checked > all / STREAMS - all / 20);
		close(source[i][0]);
		close(source[i][1]);
	}
}

/* The reader of the sink goes away: STOP, the source ends, and nobody hangs. */
static void test_sink_fails(void **state)
{
	for (int data = 0; data < 2; data++) {
		struct fixture *fixture = *state;
		int source[2], sink[2];
		make_pipe(source);
		make_pipe(sink);
		start_in(fixture, 0, sink[1], WINDOW);
		start_out(fixture, 0, source[0], WINDOW);
		fixture->in[0].close_at_end = fixture->out[0].close_at_end = true;
		run(fixture, 2);
		close(sink[0]);
		/* Without data the hang-up itself is noticed. */
		if (data)
			feed(source[1], 0, 1000);
		run(fixture, 5);
		assert_int_equal(fixture->in[0].ended, 1);
		assert_int_equal(fixture->in[0].reason, END_STOPPED);
		assert_int_equal(fixture->out[0].ended, 1);
		assert_int_equal(fixture->out[0].reason, END_STOPPED);
		assert_true(fixture->in[0].inlet.end_received);
		assert_int_equal(fixture->in[0].inlet.delivered, fixture->out[0].outlet.sent);
		assert_null(fixture->host.channel.inlets);
		/* The writer now feels it. */
		assert_int_equal(write(source[1], "x", 1), -1);
		assert_int_equal(errno, EPIPE);
		close(source[1]);
		teardown(state);
		setup(state);
	}
}

static void test_function_sink(void **state)
{
	struct fixture *fixture = *state;
	int source[2];
	make_pipe(source);
	start_in(fixture, 0, -1, WINDOW);
	start_out(fixture, 0, source[0], WINDOW);
	fixture->in[0].stalled = true;
	feed(source[1], 0, 1000);
	run(fixture, 3);
	assert_int_equal(fixture->in[0].inlet.received, 1000);
	assert_int_equal(fixture->in[0].inlet.delivered, 0);
	inlet_resume(&fixture->in[0].inlet);
	assert_int_equal(fixture->in[0].progress, 0);
	fixture->in[0].stalled = false;
	fixture->in[0].at_once = 300;
	for (uint64_t delivered = 300; delivered <= 900; delivered += 300) {
		inlet_resume(&fixture->in[0].inlet);
		assert_int_equal(fixture->in[0].inlet.delivered, delivered);
	}
	close(source[1]);
	run(fixture, 3);
	assert_int_equal(fixture->in[0].ended, 0);
	inlet_resume(&fixture->in[0].inlet);
	assert_int_equal(fixture->in[0].ended, 1);
	assert_int_equal(fixture->in[0].checked, 1000);
	inlet_resume(&fixture->in[0].inlet);

	/* One that fails at once, with bytes of a frame behind it. */
	int other[2];
	make_pipe(other);
	start_in(fixture, 1, -1, WINDOW);
	start_out(fixture, 1, other[0], WINDOW);
	fixture->in[1].result = -EIO;
	feed(other[1], 0, 10000);
	run(fixture, 5);
	assert_int_equal(fixture->in[1].ended, 1);
	assert_int_equal(fixture->in[1].reason, END_STOPPED);
	assert_int_equal(fixture->out[1].reason, END_STOPPED);
	assert_int_equal(fixture->in[1].inlet.delivered, 10000);
	close(source[0]);
	close(other[0]);
	close(other[1]);
}

/* Each side leaves while frames of the other are on their way. */
static void test_crossings(void **state)
{
	struct fixture *fixture = *state;
	int source[STREAMS][2];
	for (size_t i = 0; i < STREAMS; i++) {
		make_pipe(source[i]);
		feed(source[i][1], 0, 5000);
		start_in(fixture, i, -1, WINDOW);
		start_out(fixture, i, source[i][0], WINDOW);
	}
	/* DATA and STOP cross, DATA and deinit cross, END and deinit cross. */
	outlet_send(&fixture->out[0].outlet);
	outlet_send(&fixture->out[1].outlet);
	outlet_send(&fixture->out[2].outlet);
	outlet_end(&fixture->out[2].outlet, END_OF_FILE);
	inlet_stop(&fixture->in[0].inlet);
	inlet_deinit(&fixture->in[1].inlet);
	inlet_deinit(&fixture->in[2].inlet);
	assert_int_equal(fixture->host.channel.ghosts, 2);
	run(fixture, 5);
	assert_int_equal(fixture->host.lost_calls + fixture->guest.lost_calls, 0);
	assert_int_equal(fixture->host.channel.ghosts, 0);
	assert_null(fixture->host.channel.inlets);
	assert_int_equal(fixture->in[0].inlet.delivered, 5000);
	assert_int_equal(fixture->in[0].ended, 0);
	assert_true(fixture->in[0].progress > 0);
	assert_int_equal(fixture->out[0].reason, END_STOPPED);
	assert_int_equal(fixture->out[1].reason, END_STOPPED);
	assert_int_equal(fixture->out[2].ended, 0);
	for (size_t i = 0; i < STREAMS; i++) {
		close(source[i][0]);
		close(source[i][1]);
	}
}

/* A frame of which a part has been delivered loses its inlet; the rest goes to the ghost. */
static void test_deinit_within_frame(void **state)
{
	struct fixture *fixture = *state;
	int peer = fixture->guest.channel.source.fd;
	uint8_t bytes[FRAME_HEADER + 1000];
	struct frame frame = { FRAME_DATA, sizeof(bytes), 5 };
	frame_encode(&frame, bytes);
	fill(bytes + FRAME_HEADER, 0, 1000);
	start_in(fixture, 0, -1, WINDOW);
	fixture->in[0].deinit_at_progress = true;
	assert_int_equal(send(peer, bytes, 500, 0), 500);
	run(fixture, 2);
	assert_int_equal(fixture->in[0].progress, 1);
	assert_int_equal(fixture->host.channel.ghosts, 1);
	assert_int_equal(send(peer, bytes + 500, sizeof(bytes) - 500, 0), sizeof(bytes) - 500);
	/* END, by hand. */
	uint8_t end[FRAME_HEADER + 12] = { 0 };
	frame = (struct frame){ FRAME_END, sizeof(end), 5 };
	frame_encode(&frame, end);
	frame_put_u64(end + FRAME_HEADER, 1000);
	assert_int_equal(send(peer, end, sizeof(end), 0), sizeof(end));
	run(fixture, 3);
	assert_int_equal(fixture->host.channel.ghosts, 0);
	assert_int_equal(fixture->host.lost_calls, 0);
}

static void test_forget(void **state)
{
	struct fixture *fixture = *state;
	int source[2];
	make_pipe(source);
	/* The request that named the streams was refused: not a word about them. */
	start_out(fixture, 0, source[0], 0);
	start_in(fixture, 1, -1, WINDOW);
	outlet_forget(&fixture->out[0].outlet);
	inlet_forget(&fixture->in[1].inlet);
	outlet_deinit(&fixture->out[0].outlet);
	inlet_deinit(&fixture->in[1].inlet);
	assert_int_equal(fixture->guest.channel.frames_out, 0);
	assert_int_equal(fixture->host.channel.frames_out, 0);
	assert_int_equal(fixture->host.channel.ghosts, 0);
	close(source[0]);
	close(source[1]);
}

static void test_bad_arguments(void **state)
{
	struct fixture *fixture = *state;
	struct channel *channel = &fixture->host.channel;
	struct inlet inlet = INLET_NULL;
	struct outlet outlet = OUTLET_NULL;
	start_in(fixture, 0, -1, WINDOW);
	assert_int_equal(inlet_init(&inlet, channel, 5, -1, WINDOW, false, &function_ops), -EEXIST);
	assert_int_equal(inlet_init(&inlet, channel, 0, -1, WINDOW, false, &function_ops), -EINVAL);
	assert_int_equal(inlet_init(&inlet, channel, 9, -1, 0, false, &function_ops), -EINVAL);
	assert_int_equal(inlet_init(&inlet, channel, 9, -1, WINDOW, false, &fd_ops), -EBADF);
	assert_int_equal(outlet_init(&outlet, channel, 0, 0, 0, false, &outlet_ops), -EINVAL);
	assert_int_equal(outlet_init(&outlet, channel, 9, -1, 0, false, &outlet_ops), -EBADF);
	channel_fail(channel, -EIO);
	assert_int_equal(inlet_init(&inlet, channel, 9, -1, WINDOW, false, &function_ops), -EPIPE);
	assert_int_equal(outlet_init(&outlet, channel, 9, 0, 0, false, &outlet_ops), -EPIPE);
	inlet_deinit(&inlet);
	outlet_deinit(&outlet);
}

/* What a peer may not do. Each row is frames sent to a host that has inlet 5 (window 1000). */
static void test_protocol_errors(void **state)
{
	static const struct {
		struct {
			uint32_t type;
			uint64_t id;
			uint32_t payload;
			uint64_t value;
			uint32_t reason;
		} frames[3];
		int lost;
	} cases[] = {
		{ { { FRAME_DATA, 5, 1000, 0 }, { FRAME_END, 5, 12, 1000, 0 } }, 0 },
		{ { { FRAME_DATA, 5, 1001, 0 } }, -EPROTO },            /* past the window */
		{ { { FRAME_DATA, 6, 10, 0 } }, -EPROTO },              /* unknown */
		{ { { FRAME_DATA, 5, 0, 0 } }, -EPROTO },               /* empty */
		{ { { FRAME_END, 6, 12, 0, 0 } }, -EPROTO },            /* unknown */
		{ { { FRAME_END, 5, 12, 1, 0 } }, -EPROTO },            /* wrong total */
		{ { { FRAME_END, 5, 8, 0 } }, -EPROTO },                /* short */
		{ { { FRAME_END, 5, 16, 0, 0 } }, -EPROTO },            /* long */
		{ { { FRAME_END, 5, 12, 0, 0 }, { FRAME_DATA, 5, 1 } }, -EPROTO },
		{ { { FRAME_END, 5, 12, 0, 0 }, { FRAME_END, 5, 12, 0, 0 } }, -EPROTO },
		{ { { FRAME_END, 5, 12, 0, 77 } }, 0 },                 /* reason of the future */
		{ { { FRAME_WINDOW, 9, 8, 5 }, { FRAME_STOP, 9, 4 } }, 0 },     /* it may have ended */
		{ { { FRAME_WINDOW, 9, 4, 0 } }, -EPROTO },
		{ { { FRAME_STOP, 9, 8, 0 } }, -EPROTO },
		{ { { FRAME_ACK, 9, 0 } }, -EPROTO },                   /* not negotiated */
		{ { { 0x40100501, 9, 0 } }, -EPROTO },
	};
	for (size_t c = 0; c < array_size(cases); c++) {
		struct fixture *fixture = *state;
		int peer = fixture->guest.channel.source.fd;
		start_in(fixture, 0, -1, 1000);
		for (size_t f = 0; f < 3 && cases[c].frames[f].type; f++) {
			uint8_t bytes[FRAME_HEADER + 2000] = { 0 };
			uint32_t payload = cases[c].frames[f].payload;
			struct frame frame = { cases[c].frames[f].type, FRAME_HEADER + payload,
				               cases[c].frames[f].id };
			frame_encode(&frame, bytes);
			if (frame.type == FRAME_DATA)
				fill(bytes + FRAME_HEADER, 0, payload);
			else
				frame_put_u64(bytes + FRAME_HEADER, cases[c].frames[f].value);
			frame_put_u32(bytes + FRAME_HEADER + (payload > 8 && payload < 20 ? 8 : 1500),
			              cases[c].frames[f].reason);
			assert_int_equal(send(peer, bytes, frame.size, 0), frame.size);
		}
		run(fixture, 3);
		assert_int_equal(fixture->host.lost_calls, cases[c].lost ? 1 : 0);
		assert_int_equal(fixture->host.lost_error, cases[c].lost);
		if (cases[c].frames[0].reason)
			assert_int_equal(fixture->in[0].reason, END_SOURCE_FAILED);
		teardown(state);
		setup(state);
	}
}

/* The connection breaks: what has arrived is still delivered, to a slow reader too. */
static void test_lost(void **state)
{
	struct fixture *fixture = *state;
	int source[STREAMS][2], sink[STREAMS][2];
	uint64_t got[STREAMS] = { 0 }, fed = 0;
	for (size_t i = 0; i < STREAMS; i++) {
		make_pipe(source[i]);
		make_pipe(sink[i]);
		fcntl(source[i][0], F_SETPIPE_SZ, WINDOW);
		fcntl(sink[i][1], F_SETPIPE_SZ, 4096);
		/* Otherwise it would be made larger. */
		start_in(fixture, i, sink[i][1], WINDOW);
		fixture->in[i].inlet.grown = true;
		start_out(fixture, i, source[i][0], WINDOW);
	}
	while (fed < 100000)
		fed += feed(source[0][1], fed, min_size(10000, 100000 - fed));
	for (uint64_t more = 0; more < 50000;)
		more += feed(source[1][1], more, 10000);
	close_fd(&source[1][1]);
	run(fixture, 20);
	assert_int_equal(fixture->in[0].inlet.received, 100000);
	assert_true(fixture->in[1].inlet.end_received);
	channel_deinit(&fixture->guest.channel);
	for (size_t i = 0; i < STREAMS; i++)
		assert_int_equal(fixture->out[i].lost, i != 1);
	run(fixture, 3);
	assert_int_equal(fixture->host.lost_calls, 1);
	assert_int_equal(fixture->host.lost_error, 0);
	/* One has bytes, one has bytes and END, and one had nothing. */
	assert_int_equal(fixture->in[0].lost + fixture->in[0].ended, 0);
	assert_int_equal(fixture->in[1].lost + fixture->in[1].ended, 0);
	assert_int_equal(fixture->in[2].lost, 1);
	for (int turn = 0; turn < 1000 && !(fixture->in[0].lost && fixture->in[1].ended); turn++) {
		run(fixture, 1);
		take(sink[0][0], &got[0]);
		take(sink[1][0], &got[1]);
	}
	take(sink[0][0], &got[0]);
	take(sink[1][0], &got[1]);
	assert_int_equal(got[0], 100000);
	assert_int_equal(got[1], 50000);
	assert_int_equal(fixture->in[0].ended, 0);
	assert_int_equal(fixture->in[1].lost, 0);
	assert_int_equal(fixture->in[1].reason, END_OF_FILE);
	for (size_t i = 0; i < STREAMS; i++) {
		close_fd(&source[i][0]);
		close_fd(&source[i][1]);
		close_fd(&sink[i][0]);
		close_fd(&sink[i][1]);
	}
}

/* The reader goes away while bytes are held for it: before END, after END, after the connection. */
static void test_held_sink_fails(void **state)
{
	for (int when = 0; when < 4; when++) {
		struct fixture *fixture = *state;
		struct in *in = &fixture->in[0];
		int source[2], sink[2];
		make_pipe(source);
		make_pipe(sink);
		start_in(fixture, 0, sink[1], WINDOW);
		in->inlet.grown = true;
		start_out(fixture, 0, source[0], WINDOW);
		for (uint64_t fed = 0; fed < 150000;) {
			fed += feed(source[1], fed, 10000);
			run(fixture, 1);
		}
		assert_true(buf_length(&in->inlet.held) > 0);
		if (when == 1 || when == 3)
			close_fd(&source[1]);
		run(fixture, 3);
		if (when >= 2) {
			channel_deinit(&fixture->guest.channel);
			run(fixture, 3);
			assert_int_equal(fixture->host.lost_calls, 1);
		}
		assert_int_equal(in->ended + in->lost, 0);
		close(sink[0]);
		run(fixture, 5);
		assert_int_equal(in->lost, when == 2);
		assert_int_equal(in->ended, when != 2);
		assert_null(in->inlet.held.data);
		assert_int_equal(in->inlet.delivered, in->inlet.received);
		assert_null(fixture->host.channel.inlets);
		close_fd(&source[0]);
		close_fd(&source[1]);
		close(sink[1]);
		teardown(state);
		setup(state);
	}
}

/* Ghosts are freed with the channel, and a peer that never ends its streams is not endured. */
static void test_ghosts(void **state)
{
	struct fixture *fixture = *state;
	struct channel *host = &fixture->host.channel;
	(void)source_want(&fixture->guest.channel.source, 0);
	for (uint64_t id = 1; id <= CHANNEL_GHOSTS_MAX + 1; id++) {
		struct inlet inlet = INLET_NULL;
		assert_int_equal(inlet_init(&inlet, host, id, -1, WINDOW, false, &function_ops), 0);
		inlet_deinit(&inlet);
	}
	assert_int_equal(host->ghosts, CHANNEL_GHOSTS_MAX);
	run(fixture, 2);
	assert_int_equal(fixture->host.lost_calls, 1);
	assert_int_equal(fixture->host.lost_error, -EPROTO);
}

/* What is in the pipe counts, as it does when a process has just exited. */
static void test_offset(void **state)
{
	struct fixture *fixture = *state;
	int source[2];
	make_pipe(source);
	start_in(fixture, 0, -1, WINDOW);
	start_out(fixture, 0, source[0], 0);
	feed(source[1], 0, 1000);
	run(fixture, 3);
	assert_int_equal(waiting(source[0]), 1000);
	assert_int_equal(outlet_offset(&fixture->out[0].outlet), 1000);
	/* Granted a part of it. */
	outlet_grant(&fixture->out[0].outlet, 600);
	run(fixture, 4);
	assert_int_equal(fixture->out[0].outlet.sent, 600);
	assert_int_equal(fixture->in[0].inlet.delivered, 600);
	assert_int_equal(outlet_offset(&fixture->out[0].outlet), 1000);
	outlet_grant(&fixture->out[0].outlet, 500);
	assert_int_equal(fixture->out[0].outlet.limit, 600);
	outlet_grant(&fixture->out[0].outlet, UINT64_MAX);
	close(source[1]);
	run(fixture, 4);
	assert_int_equal(fixture->in[0].ended, 1);
	assert_int_equal(outlet_offset(&fixture->out[0].outlet), 1000);
	close(source[0]);
}

/* Somebody else reads from the pipe at the same time: no frame may promise what it cannot keep. */
static void test_stolen_bytes(void **state)
{
	struct fixture *fixture = *state;
	int source[2], result[2];
	uint64_t fed = 0, stolen = 0;
	make_pipe(source);
	make_pipe(result);
	set_nonblocking(source[1]);
	pid_t thief = fork();
	if (thief == 0) {
		static uint8_t bytes[30000];
		ssize_t n;
		close(source[1]);
		while ((n = read(source[0], bytes, 1 + stolen % sizeof(bytes))) != 0) {
			if (n > 0 && !stolen && write(result[1], "!", 1) != 1)
				_exit(1);
			stolen += n > 0 ? (uint64_t)n : 0;
		}
		_exit(write(result[1], &stolen, sizeof(stolen)) != sizeof(stolen));
	}
	assert_true(thief > 0);
	start_in(fixture, 0, open("/dev/null", O_WRONLY | O_CLOEXEC), WINDOW);
	fixture->in[0].close_at_end = true;
	start_out(fixture, 0, source[0], WINDOW);
	while (fed < 32u << 20 || !waiting(result[0])) {
		fed += feed(source[1], fed, 10000);
		if (waiting(source[0]) > 50000)
			run(fixture, 1);
	}
	close(source[1]);
	for (int turn = 0; turn < 10000 && !fixture->in[0].ended; turn++)
		run(fixture, 1);
	int status;
	assert_int_equal(waitpid(thief, &status, 0), thief);
	assert_int_equal(status, 0);
	char first;
	assert_int_equal(read(result[0], &first, 1), 1);
	assert_int_equal(read(result[0], &stolen, sizeof(stolen)), sizeof(stolen));
	assert_int_equal(fixture->in[0].ended, 1);
	assert_int_equal(fixture->in[0].inlet.delivered, fed - stolen);
	close(source[0]);
	close(result[0]);
	close(result[1]);
}

static void open_pty(int *master, int *slave)
{
	*master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	assert_true(*master >= 0);
	assert_int_equal(grantpt(*master), 0);
	assert_int_equal(unlockpt(*master), 0);
	*slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(*slave >= 0);
	struct termios raw;
	assert_int_equal(tcgetattr(*slave, &raw), 0);
	cfmakeraw(&raw);
	assert_int_equal(tcsetattr(*slave, TCSANOW, &raw), 0);
}

/* The hang-up of a terminal is its end of file, after the last byte. */
static void test_terminal(void **state)
{
	struct fixture *fixture = *state;
	int master, slave;
	open_pty(&master, &slave);
	start_in(fixture, 0, -1, WINDOW);
	start_out(fixture, 0, master, WINDOW);
	feed(slave, 0, 1500);
	close(slave);
	for (int turn = 0; turn < 100000 && !fixture->in[0].ended; turn++)
		run(fixture, 1);
	assert_int_equal(fixture->in[0].reason, END_OF_FILE);
	assert_int_equal(fixture->in[0].checked, 1500);
	close(master);
}

/* The same error on what is no terminal is a failure. */
static void test_source_fails(void **state)
{
	struct fixture *fixture = *state;
	int directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	start_in(fixture, 0, -1, WINDOW);
	start_out(fixture, 0, directory, WINDOW);
	run(fixture, 5);
	assert_int_equal(fixture->out[0].reason, END_SOURCE_FAILED);
	assert_int_equal(fixture->in[0].reason, END_SOURCE_FAILED);
	close(directory);
}

static void test_deinit_ends(void **state)
{
	struct fixture *fixture = *state;
	int source[2];
	make_pipe(source);
	start_in(fixture, 0, -1, WINDOW);
	start_out(fixture, 0, source[0], WINDOW);
	fixture->in[0].deinit_at_end = true;
	outlet_deinit(&fixture->out[0].outlet);
	run(fixture, 3);
	assert_int_equal(fixture->out[0].ended, 0);
	assert_int_equal(fixture->in[0].ended, 1);
	assert_int_equal(fixture->in[0].reason, END_SOURCE_FAILED);
	assert_null(fixture->host.channel.inlets);
	close(source[0]);
	close(source[1]);
}

/* StdIn: the receiver grants when it is ready, and the end of the source is the end of the stream. */
static void test_stdin(void **state)
{
	struct fixture *fixture = *state;
	int source[2], sink[2];
	uint64_t got = 0;
	make_pipe(source);
	make_pipe(sink);
	start_out(fixture, 0, source[0], 0);
	feed(source[1], 0, 5000);
	close(source[1]);
	run(fixture, 3);
	assert_int_equal(fixture->out[0].outlet.sent, 0);
	assert_int_equal(inlet_init(&fixture->in[0].inlet, &fixture->host.channel, 5, sink[1], 4096,
	                            true, &fd_ops), 0);
	fixture->in[0].close_at_end = true;
	for (int turn = 0; turn < 100 && !take(sink[0], &got); turn++)
		run(fixture, 1);
	assert_int_equal(got, 5000);
	close(sink[0]);
	close(source[0]);
}

static int flags_of(int fd)
{
	return fcntl(fd, F_GETFL) & (O_NONBLOCK | O_ACCMODE);
}

static void test_nonblocking_fd(void **state)
{
	(void)state;
	int fds[2], shared;

	/* A pipe: the open file that others share stays as it was. */
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	for (size_t i = 0; i < 2; i++) {
		shared = dup(fds[i]);
		assert_int_equal(nonblocking_fd(&fds[i], i ? O_WRONLY : O_RDONLY), 0);
		assert_int_equal(flags_of(fds[i]), (i ? O_WRONLY : O_RDONLY) | O_NONBLOCK);
		assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		assert_int_equal(flags_of(shared), i ? O_WRONLY : O_RDONLY);
		close(shared);
	}
	/* Without a reader it cannot be opened anew. */
	int blocking[2];
	assert_int_equal(pipe2(blocking, O_CLOEXEC), 0);
	close(blocking[0]);
	assert_int_equal(nonblocking_fd(&blocking[1], O_WRONLY), 0);
	assert_int_equal(flags_of(blocking[1]), O_WRONLY | O_NONBLOCK);
	close(blocking[1]);
	close(fds[0]);
	close(fds[1]);
	/* A pipe of which somebody holds both ends outlives its readers. */
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[1]);
	int both = open(path, O_RDWR | O_CLOEXEC);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(nonblocking_fd(&both, O_WRONLY), 0);
	assert_int_equal(flags_of(both), O_RDWR | O_NONBLOCK);
	assert_int_equal(write(both, "x", 1), 1);
	close(both);

	/* A terminal, its master, a socket, a file, a device, nothing. */
	int master, slave;
	open_pty(&master, &slave);
	shared = dup(slave);
	assert_int_equal(nonblocking_fd(&slave, O_WRONLY), 0);
	assert_int_equal(flags_of(slave), O_WRONLY | O_NONBLOCK);
	assert_int_equal(flags_of(shared), O_RDWR);
	close(shared);
	struct stat before, after;
	assert_int_equal(fstat(master, &before), 0);
	int same = master;
	assert_int_equal(nonblocking_fd(&master, O_RDONLY), 0);
	assert_int_equal(master, same);
	close(master);
	close(slave);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	same = fds[0];
	assert_int_equal(nonblocking_fd(&fds[0], O_RDONLY), 0);
	assert_int_equal(fds[0], same);
	assert_int_equal(flags_of(fds[0]), O_RDWR);
	close(fds[0]);
	close(fds[1]);
	int file = memfd_create("file", MFD_CLOEXEC);
	assert_int_equal(fstat(file, &before), 0);
	assert_int_equal(nonblocking_fd(&file, O_RDONLY), 0);
	assert_int_equal(fstat(file, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	close(file);
	int device = open("/dev/null", O_WRONLY | O_CLOEXEC);
	assert_int_equal(nonblocking_fd(&device, O_WRONLY), 0);
	assert_int_equal(flags_of(device), O_WRONLY | O_NONBLOCK);
	/* As nohup(1) leaves it: still not readable. */
	assert_int_equal(nonblocking_fd(&device, O_RDONLY), 0);
	assert_int_equal(read(device, &file, 1), -1);
	close(device);
	int none = -1;
	assert_int_equal(nonblocking_fd(&none, O_RDONLY), -EBADF);
}

int main(void)
{
#define stream_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		stream_test(test_transfer),
		stream_test(test_small_max_frame),
		stream_test(test_interactive),
		stream_test(test_stalled_reader),
		stream_test(test_message_before_data),
		stream_test(test_round_robin),
		stream_test(test_sink_fails),
		stream_test(test_function_sink),
		stream_test(test_crossings),
		stream_test(test_deinit_within_frame),
		stream_test(test_forget),
		stream_test(test_bad_arguments),
		stream_test(test_protocol_errors),
		stream_test(test_lost),
		stream_test(test_held_sink_fails),
		stream_test(test_ghosts),
		stream_test(test_offset),
		stream_test(test_stolen_bytes),
		stream_test(test_terminal),
		stream_test(test_source_fails),
		stream_test(test_deinit_ends),
		stream_test(test_stdin),
		cmocka_unit_test(test_nonblocking_fd),
	};
	alarm(100);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
