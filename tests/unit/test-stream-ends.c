/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The ends of streams: stopped, crossed, lost, stolen from, or of a peer that breaks the rules.
 * Some tests play one side by hand, to send what a channel would not.
 */

#include "tests/unit/stream-pair.h"

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
		{ { { FRAME_WINDOW, 9, 8, 5 }, { FRAME_STOP, 9, 4 } }, 0 }, /* it may have ended */
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
			size_t at = payload > 8 && payload < 20 ? 8 : 1500;
			frame_put_u32(bytes + FRAME_HEADER + at, cases[c].frames[f].reason);
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

/* Somebody else reads from the pipe at the same time: no frame may promise what it cannot keep. */
static void test_stolen_bytes(void **state)
{
	struct fixture *fixture = *state;
	int source[2], result[2];
	uint64_t fed = 0, stolen = 0;
	make_pipe(source);
	make_pipe(result);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
		stream_test(test_stolen_bytes),
		stream_test(test_deinit_ends),
	};
	alarm(100);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
