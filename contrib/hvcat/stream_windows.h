/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Windows: an end of a connection, and the flow from one to another, by calls that wait. Neither a
 * console nor an ordinary pipe can be waited for together with others, so each direction has a
 * thread; calls on both directions of a socket do not disturb each other.
 */

#include "hvsocket/hyperv.h"

struct stream {
	SOCKET socket;          /* or, where that is INVALID_SOCKET: */
	HANDLE in, out;
};

/* Something, 0 at the end, or a negative error. */
int stream_read(const struct stream *stream, void *bytes, int size);
/* All of it; 0, or a negative error. */
int stream_write(const struct stream *stream, const void *bytes, int size);
/* Passes an end on: what was written before arrives. */
void stream_end(struct stream *stream);
/* Nothing goes through any more, in either direction: whoever waits for it is woken up. */
void stream_cut(struct stream *stream);

/* One direction. */
struct flow {
	struct stream *from, *to;
	int result;             /* 0, or the error that it was lost by */
	HANDLE thread;
};
/* Until it has ended: in the thread of the caller, or in one of its own. */
void flow_run(struct flow *flow);
int flow_start(struct flow *flow);
void flow_wait(struct flow *flow);
