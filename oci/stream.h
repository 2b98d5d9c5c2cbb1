/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Streams: stdio as frames (PROTOCOL.md, "Streams"). The same code serves the agent's and the
 * sandbox's side.
 *
 *   outlet   bytes from an fd to the peer: the agent's stdout and stderr, the host's stdin
 *   inlet    bytes from the peer to an fd or a function: the agent's stdin, the host's stdout
 *
 * Flow control: an outlet never sends past the limit that the peer granted; an inlet grants by
 * what it has delivered, at the latest when half its window is used, and holds at most a window of
 * bytes. A consumer that stalls therefore stalls its own stream and nothing else.
 *
 * Both may be deinitialised at any time, also inside their callbacks. An fd can be watched for one
 * stream only: where both directions share one (a socket, the master of a terminal), dup() it.
 */

#include "oci/channel.h"

#define STREAM_WINDOW 262144

struct outlet;
struct outlet_ops {
	/*
	 * END has been queued: no more bytes will be read. The fd may be closed now. Called from
	 * the loop; the owner may deinit the outlet here. reason: enum frame_end_reason.
	 */
	void (*ended)(struct outlet *outlet, uint32_t reason);
	/* The channel is gone; the outlet is detached. May be NULL. */
	void (*lost)(struct outlet *outlet);
};
struct outlet {
	struct source source;
	struct channel *channel;        /* NULL when detached or ended */
	const struct outlet_ops *ops;
	int fd;
	uint64_t id;
	uint64_t sent, limit;
	bool terminal;                  /* read error EIO is the end of file */
	bool is_pipe, is_socket;
	bool bulk;                      /* the last frame was large: try to splice the next one */
	bool grown;                     /* see stream_grow_pipe() */
	bool queued, ended;
	struct outlet *next, *next_ready;
};
#define OUTLET_NULL { .source = SOURCE_NULL, .fd = -1 }

/*
 * Starts sending what fd yields. fd is borrowed, must be non-blocking (see nonblocking_fd()) and
 * may be a pipe, socket, terminal, file or device. limit: the peer's first grant (0 = wait for
 * WINDOW).
 * -EINVAL: no id. -EEXIST: the id is in use.
 */
int outlet_init(struct outlet *outlet, struct channel *channel, uint64_t id, int fd, uint64_t limit,
                bool terminal, const struct outlet_ops *ops);
/* Bytes sent plus bytes that still sit in the pipe (FIONREAD): where the stream stands now. */
uint64_t outlet_offset(const struct outlet *outlet);
/* Ends the stream from this side now, sending END with the reason; no callback. */
void outlet_end(struct outlet *outlet, uint32_t reason);
/* The peer refused the request that named the stream: detaches without END. */
void outlet_forget(struct outlet *outlet);
/* Ends a stream that has not ended with END_SOURCE_FAILED. */
void outlet_deinit(struct outlet *outlet);

struct inlet;
struct inlet_ops {
	/*
	 * A sink that is no fd: takes up to size bytes and returns how many, 0 = not now (call
	 * inlet_resume() later), negative = nobody will read any more. May not call functions of
	 * the inlet. NULL: the fd is written.
	 */
	ssize_t (*write)(struct inlet *inlet, const char *bytes, size_t size);
	/*
	 * What goes into the sink now or when it takes more; NULL: so many bytes that never were in
	 * our memory. May not call functions of the inlet. May be NULL.
	 */
	void (*seen)(struct inlet *inlet, const char *bytes, size_t size);
	/* delivered has grown (when ended() follows at once, only that is called). May be NULL. */
	void (*progress)(struct inlet *inlet);
	/*
	 * Nothing more will be delivered, and the fd may be closed now: END came and all its bytes
	 * are out (reason as in END); or the sink failed and STOP was sent (reason = END_STOPPED;
	 * what still arrives is dropped and counts as delivered). Called once.
	 */
	void (*ended)(struct inlet *inlet, uint32_t reason);
	/*
	 * The channel is gone before END came, and what had arrived until then has been delivered.
	 * (An owner that does not want to wait for a slow sink deinits the inlet when the channel
	 * is lost.) Called once, also after ended() when that was for the sink's sake. May be
	 * NULL.
	 */
	void (*lost)(struct inlet *inlet);
};
struct inlet {
	struct source source;
	struct channel *channel;        /* NULL when detached or ended */
	const struct inlet_ops *ops;
	int fd;
	uint64_t id;
	uint64_t received;              /* all there was, when end_received */
	uint64_t delivered, granted;
	uint32_t window;
	uint32_t reason;                /* of the END that was received */
	bool is_pipe, is_socket;
	bool end_received, stopped;
	bool is_ghost;
	bool started;                   /* it is known that the peer has the stream */
	bool grown;
	struct buf held;
	struct inlet *next;
};
#define INLET_NULL { .source = SOURCE_NULL, .fd = -1 }

/*
 * fd: borrowed, non-blocking; -1 with ops->write. grant_now: send WINDOW at once (StdIn), else the
 * window is granted in ExecuteProcess, and the inlet waits for inlet_started(). -EINVAL: no id or
 * no window. -EEXIST: the id is in use.
 */
int inlet_init(struct inlet *inlet, struct channel *channel, uint64_t id, int fd, uint32_t window,
               bool grant_now, const struct inlet_ops *ops);
/*
 * The request that named the stream has succeeded. Before that, or a first frame, it is not noticed
 * that a pipe has no reader: the peer would ignore a STOP for a stream that it does not have yet.
 */
void inlet_started(struct inlet *inlet);
/* The sink of ops->write can take bytes again. */
void inlet_resume(struct inlet *inlet);
/* Nobody will read any more: sends STOP, drops what is held; no callback. */
void inlet_stop(struct inlet *inlet);
/* The peer refused the request that named the stream: detaches without STOP. */
void inlet_forget(struct inlet *inlet);
/*
 * Before END this is inlet_stop(), and as frames of the stream may be on their way, the channel
 * keeps a ghost of the inlet that takes them until END.
 */
void inlet_deinit(struct inlet *inlet);

/*
 * Makes an inherited fd usable here without changing the open file that others share: pipes,
 * terminals and devices are opened anew through /proc/self/fd with O_NONBLOCK (where that is
 * refused, as for a pipe that nobody reads, the shared open file does become non-blocking); for
 * sockets and files the fd itself is used (sockets are read and written with MSG_DONTWAIT). mode:
 * O_RDONLY or O_WRONLY. Takes *fd and replaces it.
 */
int nonblocking_fd(int *fd, int mode);

/* The rest is between the channel and its streams. */

/* A frame of kind 4 other than DATA; -EPROTO closes the connection. */
int stream_control(struct channel *channel, const struct frame *frame, const uint8_t *payload);
/* The header of a DATA frame: checks it and finds the inlet, which then gets the payload in pieces
 * of any size through inlet_take() or inlet_splice(). */
int stream_data(struct channel *channel, const struct frame *frame, struct inlet **ret);

/* A stream that moves much gets a larger pipe, once: fewer turns of the loop and fewer switches
 * between processes for the same bytes. It may be refused, which does no harm. */
void stream_grow_pipe(int fd, bool *grown);

struct outlet *outlet_find(struct channel *channel, uint64_t id);
void outlet_grant(struct outlet *outlet, uint64_t limit);
void outlet_stop(struct outlet *outlet);
/* Reads and sends one DATA frame. Only when the channel is idle. */
void outlet_send(struct outlet *outlet);
void outlet_lose(struct outlet *outlet);

struct inlet *inlet_find(struct channel *channel, uint64_t id);
int inlet_take(struct inlet *inlet, const char *bytes, size_t size);
/* Moves up to size bytes from the socket to the sink. 0 when that cannot be done now. */
size_t inlet_splice(struct inlet *inlet, int socket_fd, size_t size);
int inlet_end(struct inlet *inlet, uint64_t total, uint32_t reason);
void inlet_lose(struct inlet *inlet);
