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
	void (*done)(struct dialer *dialer, int error);
};
#define DIALER_NULL { .source = SOURCE_NULL, .retry = TIMER_NULL }

/* Dials endpoint[0…count) in order; done() is called once, from the loop. */
int dialer_start(struct dialer *dialer, struct loop *loop, const struct hv_machine *machine,
                 void (*done)(struct dialer *dialer, int error));
void dialer_deinit(struct dialer *dialer);

/*
 * One direction. Bytes are copied from `from` to `to` through at most 64 KiB. When `from` ends,
 * an output relay half-closes the socket and waits for the host's close, bounded where the
 * transport may not carry a half-close; an input relay closes the pipe.
 */
struct relay {
	struct source from, to;
	int socket_fd;          /* owned */
	int pipe_fd;            /* owned: our end of the pipe, or a duplicate of the pty master */
	bool output;            /* pipe → socket */
	bool terminal;
	bool active, source_ended, closing;
	uint64_t bound;         /* milliseconds to wait for the host's close; 0 = for ever */
	struct timer closing_bound;
	struct buf held;
	void (*finished)(struct relay *relay);
};
#define RELAY_NULL { .from = SOURCE_NULL, .to = SOURCE_NULL, .closing_bound = TIMER_NULL, \
	.socket_fd = -1, .pipe_fd = -1 }

/* Takes both fds. finished() is called once, from the loop. */
int relay_start(struct relay *relay, struct loop *loop, int socket_fd, int pipe_fd, bool output,
                bool terminal, uint64_t bound, void (*finished)(struct relay *relay));
/* An input relay whose process is gone: stops, without finished(). */
void relay_deinit(struct relay *relay);
