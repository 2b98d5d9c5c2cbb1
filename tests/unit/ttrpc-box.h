/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the tests of ttrpc's two ends share: a loop that is turned by hand, and the other end. */

#include "shim/containerd/ttrpc.h"

#include "hvsocket/loop.h"
#include "shim/containerd/pack.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <cmocka.h>

struct turner {
	struct loop loop;
	struct source turns;
	int left;
	struct timer limit;
};

static inline int on_turn(struct source *source, uint32_t got)
{
	(void)got;
	struct turner *turner = container_of(source, struct turner, turns);

	if (!turner->left--)
		loop_stop(source->loop);
	return 0;
}

static inline int on_limit(struct timer *timer)
{
	loop_stop(timer->source.loop);
	return 0;
}

static inline void turner_init(struct turner *turner)
{
	*turner = (struct turner){ .loop = LOOP_NULL, .turns = SOURCE_NULL };
	assert_int_equal(loop_init(&turner->loop), 0);
	assert_int_equal(source_init(&turner->turns, &turner->loop,
	                             memfd_create("turns", MFD_CLOEXEC), 0, on_turn), 0);
	assert_int_equal(timer_init(&turner->limit, &turner->loop, on_limit), 0);
}

static inline void turner_deinit(struct turner *turner)
{
	source_close(&turner->turns);
	timer_deinit(&turner->limit);
	loop_deinit(&turner->loop);
}

static inline void turn(struct turner *turner)
{
	turner->left = 4;
	assert_int_equal(source_want(&turner->turns, EPOLLIN), 0);
	assert_int_equal(loop_run(&turner->loop), 0);
	assert_int_equal(source_want(&turner->turns, 0), 0);
}

/* Until milliseconds are over, or somebody stops the loop. */
static inline void run(struct turner *turner, unsigned milliseconds)
{
	assert_int_equal(timer_set(&turner->limit, milliseconds), 0);
	assert_int_equal(loop_run(&turner->loop), 0);
	assert_int_equal(timer_set(&turner->limit, 0), 0);
}

/* A client or server played by hand. It never blocks while the loop does not turn. */
struct end {
	int fd;
	struct ttrpc_input in;
};

static inline void say(struct turner *turner, struct end *end, const void *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = send(end->fd, (const char *)bytes + done, size - done,
		                 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0)
			assert_int_equal(errno, EAGAIN);
		done += n > 0 ? (size_t)n : 0;
		turn(turner);
	}
}

/* The next frame; false when the connection has ended. Fails when nothing comes. */
static inline bool hear(struct turner *turner, struct end *end, struct ttrpc_frame *ret,
                        const uint8_t **payload)
{
	for (int i = 0; i < 1000; i++) {
		if (ttrpc_input_next(&end->in, ret, payload))
			return true;
		int r = ttrpc_input_receive(&end->in, end->fd);
		if (r == -ENODATA || r == -ECONNRESET)
			return false;
		if (r == -EAGAIN)
			turn(turner);
	}
	fail_msg("nothing to hear");
	return false;
}

static inline void assert_silent(struct turner *turner, struct end *end)
{
	struct ttrpc_frame frame;
	const uint8_t *payload;

	turn(turner);
	assert_false(ttrpc_input_next(&end->in, &frame, &payload));
	assert_int_equal(ttrpc_input_receive(&end->in, end->fd), -EAGAIN);
}

static inline void assert_hears(struct turner *turner, struct end *end, const char *bytes,
                                size_t size)
{
	struct ttrpc_frame frame;
	const uint8_t *payload;

	assert_true(hear(turner, end, &frame, &payload));
	assert_int_equal(frame.size + TTRPC_HEADER, size);
	assert_memory_equal(payload - TTRPC_HEADER, bytes, size);
}

static inline void end_close(struct end *end)
{
	close_fd(&end->fd);
	ttrpc_input_deinit(&end->in);
}
