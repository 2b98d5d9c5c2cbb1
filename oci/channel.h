/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A connection that carries frames: the bridge (agent ↔ sandbox) and the control socket (command
 * line ↔ sandbox) are both one.
 *
 * The channel always reads. Messages are queued and go out before stream data; streams
 * (oci/stream.h) are asked for one DATA frame each, round robin, whenever the connection can take
 * more, so that a source is read only when its bytes can leave: nothing is queued per stream on the
 * sending side. In one turn of the loop a channel handles a bounded number of bytes.
 *
 * On a unix socket a message may carry file descriptors (control socket only).
 */

#include "hvsocket/loop.h"
#include "oci/buf.h"
#include "oci/frame.h"

#define CHANNEL_FDS_MAX 4
#define CHANNEL_QUEUE_MAX (8u << 20)    /* messages waiting to be sent; over it the peer is lost */

struct channel;
struct outlet;
struct inlet;

struct channel_ops {
	/*
	 * A request, response or notification. The payload is NUL-terminated behind
	 * frame->size - FRAME_HEADER bytes and is gone after the call. A negative return closes the
	 * channel with that error. May not free the channel (use channel_fail()).
	 */
	int (*message)(struct channel *channel, const struct frame *frame, const char *payload);
	/*
	 * The connection is over: 0 = end of stream, else a negative errno. Called once, from the
	 * loop, never from inside a channel_ or stream function; here the owner may free the channel.
	 * Streams are still attached: channel_deinit() ends each of them with its lost callback.
	 */
	void (*lost)(struct channel *channel, int error);
};

struct channel {
	struct source source;
	const struct channel_ops *ops;
	uint32_t max_in;                /* largest frame accepted, header included */
	uint32_t max_out;               /* largest frame that the peer accepts */
	bool streams;                   /* session mode: frames of kind 4 are understood */
	bool zero_copy;                 /* a unix socket: pipes may be spliced */
	int failed;                     /* set once; the lost callback follows */
	bool told_lost;
	struct source wake;             /* eventfd: gets the lost callback out of the caller's stack */

	uint8_t *in;                    /* FRAME_HEADER + FRAME_DATA_MAX bytes, read here first */
	size_t in_start, in_end;
	struct frame frame;             /* of a message longer than `in` */
	char *large;
	size_t large_got;
	int fds[CHANNEL_FDS_MAX];       /* received, not yet taken */
	size_t fd_count;

	struct buf queue;               /* messages, whole frames */
	uint8_t *out;                   /* the DATA frame being sent */
	size_t out_start, out_end;
	struct outlet *splicing;        /* outlet whose pipe the rest of the frame comes from */
	size_t splice_left;
	struct inlet *receiving;        /* inlet that the rest of a DATA frame goes to */
	size_t receive_left;

	struct outlet *outlets;         /* every outlet */
	struct outlet *ready, **ready_tail;     /* those with something to send, in turn */
	struct inlet *inlets;

	uint64_t frames_in, frames_out, bytes_in, bytes_out;
};
#define CHANNEL_NULL { .source = SOURCE_NULL, .wake = SOURCE_NULL }

/* Takes the connected, non-blocking fd. max_in/max_out as in the struct. */
int channel_init(struct channel *channel, struct loop *loop, int fd, uint32_t max_in,
                 uint32_t max_out, const struct channel_ops *ops);
void channel_deinit(struct channel *channel);

/*
 * Queues a message and tries to send it at once. -EMSGSIZE over max_out, -ENOBUFS when the peer does
 * not read (the channel then fails), -EPIPE after it failed.
 */
int channel_send(struct channel *channel, uint32_t type, uint64_t id, const void *payload,
                 size_t size);
/* Blocking, for short-lived clients before their loop runs: one frame with fds attached. */
int channel_send_fds(struct channel *channel, uint32_t type, uint64_t id, const void *payload,
                     size_t size, const int *fds, size_t fd_count);
/* Hands over a received fd in order of arrival, -ENOENT when there is none. */
int channel_take_fd(struct channel *channel);
/* Marks the connection as over; lost() follows from the loop. */
void channel_fail(struct channel *channel, int error);
