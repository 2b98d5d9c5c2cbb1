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
 *
 * Programs that use channels ignore SIGPIPE: bytes go into pipes and, by splice(2), into sockets,
 * where MSG_NOSIGNAL cannot be said.
 */

#include "hvsocket/loop.h"
#include "oci/buf.h"
#include "oci/frame.h"

#define CHANNEL_FDS_MAX 4
#define CHANNEL_QUEUE_MAX (8u << 20)    /* messages waiting to be sent; over it the peer is lost */
#define CHANNEL_GHOSTS_MAX 1024         /* stopped streams that the peer has not ended */

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
	 * The connection is over: 0 = end of stream, else a negative errno (-ECONNRESET: it ended
	 * inside a frame; -EPROTO: the peer broke the rules). Called once, from the loop, never
	 * from inside a channel_ or stream function; here the owner may free the channel.
	 * Everything that the peer sent before has been handled. Streams are still attached:
	 * channel_deinit() calls the lost callback of each of them.
	 */
	void (*lost)(struct channel *channel, int error);
};

struct channel {
	struct source source;
	struct source wake;             /* eventfd: lost() comes from the loop */
	const struct channel_ops *ops;
	uint32_t max_in;                /* largest frame accepted, header included */
	uint32_t max_out;               /* largest frame that the peer accepts */
	bool streams;                   /* session mode: frames of kind 4 are understood */
	bool is_unix;                   /* carries fds */
	bool zero_copy;                 /* pipes are spliced; false for ever once that has failed */
	bool failed;                    /* set once; the lost callback follows */
	int error;
	int send_error;                 /* what the peer still sent is read first, then it fails */

	/* Receiving. */
	uint8_t *in;
	size_t in_start, in_end;
	size_t in_used;                 /* of the buffer's memory, since it was last given back */
	struct frame frame;             /* of a message longer than `in` */
	char *large;
	size_t large_got;
	struct inlet *receiving;        /* who gets the rest of a DATA frame, NULL: nobody */
	size_t receive_left;
	bool header_only;               /* another large DATA frame is likely: do not copy it in */
	int fds[CHANNEL_FDS_MAX];       /* received, not yet taken */
	size_t fd_count;

	/* Sending, in this order. */
	uint8_t *out;                   /* the DATA frame being sent, or its header */
	size_t out_start, out_end;
	size_t out_used;
	int pipe[2];                    /* the payload of a spliced DATA frame waits here */
	size_t pipe_left;
	struct buf queue;               /* messages, whole frames but for the first */
	struct outlet *ready, **ready_tail;     /* outlets with something to send, in turn */

	struct outlet *outlets;
	struct inlet *inlets;
	size_t ghosts;                  /* among the inlets: see inlet_deinit() */

	uint64_t frames_in, frames_out, bytes_in, bytes_out;
};
#define CHANNEL_NULL { .source = SOURCE_NULL, .wake = SOURCE_NULL, .pipe = { -1, -1 } }

/*
 * Takes the connected, non-blocking fd and owns it from here on, even when it fails. max_in/max_out
 * as in the struct; the owner may change them, and streams, when they have been negotiated.
 */
int channel_init(struct channel *channel, struct loop *loop, int fd, uint32_t max_in,
                 uint32_t max_out, const struct channel_ops *ops);
/* May be called on CHANNEL_NULL and twice, but not from the message callback. */
void channel_deinit(struct channel *channel);

/*
 * Queues a message and tries to send it at once. -EMSGSIZE over max_out, -ENOBUFS when the peer
 * does not read (the channel then fails), -EPIPE after it failed. 0 does not promise that it
 * arrives: when it does not, lost() follows.
 */
int channel_send(struct channel *channel, uint32_t type, uint64_t id, const void *payload,
                 size_t size);
/* Hands over a received fd in order of arrival, -ENOENT when there is none. */
int channel_take_fd(struct channel *channel);
/* For short-lived clients, who have no channel: all the bytes, with fds attached; blocking. */
int fds_send(int socket_fd, const void *bytes, size_t size, const int *fds, size_t fd_count);
/* Marks the connection as over; lost() follows from the loop. */
void channel_fail(struct channel *channel, int error);

/* The rest is between channel.c, receive.c, transmit.c, fds.c and the streams. */

/*
 * recvmsg(2), keeping what descriptors come along. How many bytes came, or a negative errno; the
 * end of the connection is -ENODATA.
 */
ssize_t channel_receive_bytes(struct channel *channel, void *to, size_t size);

/* A DATA frame and its header. One more byte is there for the NUL behind a message. */
#define CHANNEL_BUFFER (FRAME_HEADER + FRAME_DATA_MAX)
/* From this many bytes on, splicing a payload is cheaper than copying it. */
#define CHANNEL_SPLICE_MIN 16384

/*
 * The two buffers are mappings of their own so that they can be given back to the kernel. Channels
 * idle for hours; a turn that moved little (less than CHANNEL_CALM) after turns that moved much
 * marks the end of a burst.
 */
#define CHANNEL_CALM 4096
uint8_t *channel_buffer(uint8_t **buffer);
void channel_buffer_free(uint8_t **buffer);
void channel_buffer_used(uint8_t **buffer, size_t *most, size_t now);

/* A send has failed: once everything that has come is handled, the channel fails with error. */
void channel_send_failed(struct channel *channel, int error);

/* Reads and handles what has come, within the bound of one turn. False when nothing more is there
 * now, or the channel has failed. */
bool channel_receive(struct channel *channel);

/* Nothing is waiting to be sent: a DATA frame may be made now. */
bool channel_idle(const struct channel *channel);
/* Sends what waits, then one frame for each outlet in the ready list. */
void channel_pump(struct channel *channel);
/* Puts an outlet into the ready list (at the end), or takes it out. */
void channel_queue_outlet(struct channel *channel, struct outlet *outlet);
void channel_unqueue_outlet(struct channel *channel, struct outlet *outlet);
/* Where to put the payload of a DATA frame; channel_send_data() then sends it. Only when idle. */
uint8_t *channel_data(struct channel *channel);
void channel_send_data(struct channel *channel, uint64_t id, size_t size);
/* Makes a DATA frame of up to size bytes of the pipe fd without copying them. Returns how many, 0 =
 * end of file. Only when idle. */
ssize_t channel_splice_data(struct channel *channel, uint64_t id, int fd, size_t size);
/* Frees what only sending DATA frames needs. */
void channel_transmit_deinit(struct channel *channel);
