/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The standard streams of one process as containerd's clients name them: its descriptors, and the
 * logging program behind them, if there is one.
 */

#include "hvsocket/loop.h"
#include "oci/fault.h"
#include "shim/stdio.h"

struct streams_wish {
	const char *in, *out, *err;     /* paths or URIs; "" or NULL: nothing */
	bool terminal;                  /* out takes everything */
	bool input_closed;              /* a FIFO's input ends with the first client that opens it */
	const char *id, *namespace;     /* of the container, for a logger */
};

struct streams;
/* fault NULL: the fds can be taken. streams_close() may be called here. */
typedef void streams_ready_fn(struct streams *streams, const struct fault *fault);

/*
 * Opens what can be opened at once. ready() is called once, from the loop or from within this call
 * (*ret is set then), and not after streams_close(). -errno: the fault is set, *ret is NULL, and
 * ready() is not called.
 */
int streams_open(struct streams **ret, struct loop *loop, const struct streams_wish *wish,
                 streams_ready_fn *ready, void *owner, struct fault *fault);
void *streams_owner(struct streams *streams);
/* -1 for those that are not wanted. They are the caller's from now on. */
void streams_take(struct streams *streams, int fd[static STDIO_COUNT]);
/*
 * At any time; NULL is allowed. Closes what was not taken. A logger is left to come to its end,
 * without anybody waiting; when it takes too long it is helped.
 */
void streams_close(struct streams *streams);

/*
 * For the end of the program. closed() is called once, when none of the closed streams has a logger
 * that still runs: at once if so. streams_abandon() ends the waiting: those loggers get SIGTERM.
 */
void streams_when_closed(void (*closed)(void *owner), void *owner);
void streams_abandon(void);
