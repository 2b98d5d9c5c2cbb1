/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Streams: stdio as frames (PROTOCOL.md, "Streams"). The same code serves the agent's and the
 * sandbox's side.
 *
 *   outlet   bytes from an fd to the peer: the agent's stdout and stderr, the host's stdin
 *   inlet    bytes from the peer to an fd or a function: the agent's stdin, the host's stdout
 *
 * Flow control: an outlet never sends past the limit that the peer granted; an inlet grants by what
 * it has delivered, at the latest when half its window is used, and holds at most a window of bytes.
 * A consumer that stalls therefore stalls its own stream and nothing else.
 */

#include "oci/channel.h"

#define STREAM_WINDOW 262144

struct outlet;
struct outlet_ops {
	/* END has been queued: no more bytes will be read. The fd may be closed now. Called from the
	 * loop; the owner may deinit the outlet here. reason: enum frame_end_reason. */
	void (*ended)(struct outlet *outlet, uint32_t reason);
	/* The channel is gone; the outlet is detached. May be NULL. */
	void (*lost)(struct outlet *outlet);
};
struct outlet {
	struct source source;
	struct channel *channel;        /* NULL when detached or ended */
	const struct outlet_ops *ops;
	uint64_t id;
	uint64_t sent, limit;
	bool terminal;                  /* read error EIO is the end of file */
	bool is_pipe;
	bool readable, queued, ended;
	struct outlet *next, *next_ready;
};
#define OUTLET_NULL { .source = SOURCE_NULL }

/*
 * Starts sending what fd yields. fd is borrowed, must be non-blocking (see nonblocking_fd()) and may
 * be a pipe, socket, terminal, file or device. limit: the peer's first grant (0 = wait for WINDOW).
 */
int outlet_init(struct outlet *outlet, struct channel *channel, uint64_t id, int fd, uint64_t limit,
                bool terminal, const struct outlet_ops *ops);
/* Bytes sent plus bytes that still sit in the pipe (FIONREAD): where the stream stands now. */
uint64_t outlet_offset(const struct outlet *outlet);
/* Ends the stream from this side now, sending END with the reason; no callback. */
void outlet_end(struct outlet *outlet, uint32_t reason);
void outlet_deinit(struct outlet *outlet);

struct inlet;
struct inlet_ops {
	/*
	 * A sink that is no fd: takes up to size bytes and returns how many, 0 = not now (call
	 * inlet_resume() later), negative = nobody will read any more. NULL: the fd is written.
	 */
	ssize_t (*write)(struct inlet *inlet, const char *bytes, size_t size);
	/* delivered has grown. May be NULL. */
	void (*progress)(struct inlet *inlet);
	/*
	 * Nothing more will be delivered: END came and all its bytes are out, or the sink failed and
	 * STOP was sent (then reason = END_STOPPED; what still arrives is dropped and counts as
	 * delivered). The fd may be closed now. The owner may not deinit inside unless after END:
	 * inlet->end_received tells.
	 */
	void (*ended)(struct inlet *inlet, uint32_t reason);
	void (*lost)(struct inlet *inlet);
};
struct inlet {
	struct source source;
	struct channel *channel;
	const struct inlet_ops *ops;
	uint64_t id;
	uint64_t received, delivered, granted, total;
	uint32_t window;
	uint32_t reason;
	bool is_pipe, is_socket;
	bool end_received, stopped, ended;
	struct buf held;
	struct inlet *next;
};
#define INLET_NULL { .source = SOURCE_NULL }

/* fd: borrowed, non-blocking; -1 with ops->write. grant_now: send WINDOW at once (StdIn), else the
 * window was granted in ExecuteProcess. */
int inlet_init(struct inlet *inlet, struct channel *channel, uint64_t id, int fd, uint32_t window,
               bool grant_now, const struct inlet_ops *ops);
void inlet_resume(struct inlet *inlet);
/* Nobody will read any more: sends STOP, drops what is held; no callback. */
void inlet_stop(struct inlet *inlet);
void inlet_deinit(struct inlet *inlet);

/*
 * Makes an inherited fd usable here without changing the open file that others share: pipes,
 * terminals and devices are opened anew through /proc/self/fd with O_NONBLOCK; for sockets and
 * files the fd itself is used (sockets are read and written with MSG_DONTWAIT). mode: O_RDONLY or
 * O_WRONLY. Takes *fd and replaces it.
 */
int nonblocking_fd(int *fd, int mode);

/* For channel.c: a frame of kind 4 came in; -EPROTO closes the connection. */
int stream_frame(struct channel *channel, const struct frame *frame, const uint8_t *payload);
