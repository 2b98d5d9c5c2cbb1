/* SPDX-License-Identifier: Apache-2.0 */

/* Streams as they should go: every byte arrives, in time, and nobody holds up another. */

#include "tests/unit/stream-pair.h"

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
		/* Much at a time, so that splicing pays; the reader is now fast, now slow. */
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

/* StdIn: the receiver grants when it is ready; the end of the source is that of the stream. */
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
	const struct CMUnitTest tests[] = {
		stream_test(test_transfer),
		stream_test(test_small_max_frame),
		stream_test(test_interactive),
		stream_test(test_stalled_reader),
		stream_test(test_message_before_data),
		stream_test(test_round_robin),
		stream_test(test_offset),
		stream_test(test_terminal),
		stream_test(test_source_fails),
		stream_test(test_stdin),
		cmocka_unit_test(test_nonblocking_fd),
	};
	alarm(100);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
