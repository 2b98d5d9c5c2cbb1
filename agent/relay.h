/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Plain mode's stdio connections: dialling them one after the other, and copying between one of
 * them and a pipe or pty, with the closing handshake of GCS bridge v4 (PROTOCOL.md, "Stdio over
 * ports").
 */

#include "hvsocket/hvsocket.h"
#include "hvsocket/loop.h"
#include "oci/buf.h"

#define DIALER_MAX 3
#define DIALER_TRIES 10         /* per port, for dials that time out */

struct dialer {
	struct loop *loop;
	const struct hv_machine *machine;
	struct source source;
	struct timer retry;
	struct hv_endpoint endpoint[DIALER_MAX];
	int *fd[DIALER_MAX];    /* where the connections go */
	size_t count, current;
	unsigned tries;
	bool starting, over;
	int error;              /* when it is over already at the start */
	void (*done)(struct dialer *dialer, int error);
};
#define DIALER_NULL { .source = SOURCE_NULL, .retry = TIMER_NULL }

/* Dials endpoint[0…count) in order, the first at once; done() is called once, from the loop. */
int dialer_start(struct dialer *dialer, struct loop *loop, const struct hv_machine *machine,
                 void (*done)(struct dialer *dialer, int error));
void dialer_deinit(struct dialer *dialer);

/*
 * Whether a half-close reaches the host, as far as is known; of one connection of the bridge, since
 * behind the next there may be another VMM. Each output that ends looks here and adds to it.
 */
struct half_close {
	bool known;             /* the transport is sure to have it */
	enum { HALF_CLOSE_UNTRIED, HALF_CLOSE_ARRIVES, HALF_CLOSE_LOST } state;
	uint32_t connection;
	uint64_t trial, patience;       /* milliseconds; see half_close_begin() */
};

/* A new connection: what was found out on the last one means nothing, nor what it still tells. */
void half_close_begin(struct half_close *half_close);

/*
 * One direction. Bytes are copied from `from` to `to` through at most 64 KiB. When `from` ends,
 * an output relay half-closes the socket and waits for the host's close, for a time that depends on
 * *half_close (which may be shared); an input relay closes the pipe.
 */
struct relay {
	struct source from, to;
	int socket_fd;          /* owned */
	int pipe_fd;            /* owned: our end of the pipe, or a duplicate of the pty master */
	bool output;            /* pipe → socket */
	bool terminal;
	bool active, source_ended, closing;
	bool patient;           /* it waits for as long as hosts that were told may take */
	struct half_close *half_close;  /* of an output without a terminal; borrowed */
	uint32_t connection;    /* of *half_close when the closing began */
	struct timer closing_bound;
	struct buf held;
	void (*finished)(struct relay *relay);
};
#define RELAY_NULL { .from = SOURCE_NULL, .to = SOURCE_NULL, .closing_bound = TIMER_NULL, \
	.socket_fd = -1, .pipe_fd = -1 }

/* Takes both fds. finished() is called once, from the loop. */
int relay_start(struct relay *relay, struct loop *loop, int socket_fd, int pipe_fd, bool output,
                bool terminal, struct half_close *half_close,
                void (*finished)(struct relay *relay));
/* An input relay whose process is gone: stops, without finished(). */
void relay_deinit(struct relay *relay);
