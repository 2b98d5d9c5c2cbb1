/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Two channels in one loop: "guest" has the outlets, "host" the inlets, as for the output of a
 * container. Bytes that go through are a pattern by which any of them is known.
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

static inline uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(offset * 7 + (offset >> 8) * 13 + (offset >> 16));
}

static inline void fill(uint8_t *bytes, uint64_t offset, size_t size)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = pattern(offset + i);
}

static inline void check(const uint8_t *bytes, uint64_t offset, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] != pattern(offset + i))
			fail_msg("byte %llu differs", (unsigned long long)(offset + i));
	}
}

static inline int on_turn(struct source *source, uint32_t got)
{
	(void)got;
	struct fixture *fixture = container_of(source, struct fixture, turns);
	if (!fixture->turns_left--)
		loop_stop(&fixture->loop);
	return 0;
}

static inline int on_message(struct channel *channel, const struct frame *frame,
                             const char *payload)
{
	(void)frame;
	(void)payload;
	struct fixture *fixture = container_of(channel, struct fixture, host.channel);
	fixture->host.messages++;
	fixture->host.received = fixture->in[0].inlet.received;
	return 0;
}

static inline void on_lost(struct channel *channel, int error)
{
	struct end *end = container_of(channel, struct end, channel);
	end->lost_calls++;
	end->lost_error = error;
	channel_deinit(channel);
}

static const struct channel_ops channel_ops = { .message = on_message, .lost = on_lost };

static inline void out_ended(struct outlet *outlet, uint32_t reason)
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

static inline void out_lost(struct outlet *outlet)
{
	container_of(outlet, struct out, outlet)->lost++;
}

static const struct outlet_ops outlet_ops = { .ended = out_ended, .lost = out_lost };

static inline ssize_t in_write(struct inlet *inlet, const char *bytes, size_t size)
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

static inline void in_progress(struct inlet *inlet)
{
	struct in *in = container_of(inlet, struct in, inlet);
	in->progress++;
	if (in->deinit_at_progress)
		inlet_deinit(inlet);
}

static inline void in_ended(struct inlet *inlet, uint32_t reason)
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

static inline void in_lost(struct inlet *inlet)
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

static inline int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	int fds[2];
	assert_non_null(fixture);
	assert_int_equal(loop_init(&fixture->loop), 0);
	int always = memfd_create("turns", MFD_CLOEXEC);
	assert_int_equal(source_init(&fixture->turns, &fixture->loop, always, EPOLLIN, on_turn), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
	                 0);
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

static inline int teardown(void **state)
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

static inline void run(struct fixture *fixture, int turns)
{
	fixture->turns_left = turns;
	assert_int_equal(loop_run(&fixture->loop), 0);
}

static inline void start_out(struct fixture *fixture, size_t i, int fd, uint64_t limit)
{
	assert_int_equal(outlet_init(&fixture->out[i].outlet, &fixture->guest.channel, 5 + i, fd,
	                             limit, isatty(fd), &outlet_ops), 0);
}

static inline void start_in(struct fixture *fixture, size_t i, int fd, uint32_t window)
{
	const struct inlet_ops *ops = fd < 0 ? &function_ops : &fd_ops;
	assert_int_equal(inlet_init(&fixture->in[i].inlet, &fixture->host.channel, 5 + i, fd,
	                            window, false, ops), 0);
	inlet_started(&fixture->in[i].inlet);
}

static inline void make_pipe(int fds[2])
{
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
}

static inline size_t waiting(int fd)
{
	int n = 0;
	assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
	return (size_t)n;
}

/* Puts pattern into fd from offset on, as much as goes in. */
static inline size_t feed(int fd, uint64_t offset, size_t size)
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
static inline bool take(int fd, uint64_t *offset)
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

#define stream_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
