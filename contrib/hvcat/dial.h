/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A connection that is being made: connect(2), perhaps the CONNECT line of a VMM, a deadline. */

#include "hvsocket/hvsocket.h"
#include "hvsocket/loop.h"

struct dial;
/* Is called once: with a socket, which is the caller's, or -errno. The dial is over by then. */
typedef int dial_fn(struct dial *dial, int fd);

struct dial {
	struct source source;
	struct timer deadline;
	const struct hv_endpoint *endpoint;     /* borrowed */
	struct hv_handshake handshake;
	bool as_guest, pending;
	dial_fn *fn;
};
#define DIAL_NULL { .source = SOURCE_NULL, .deadline = TIMER_NULL }

/* An error that is known at once is returned, and fn is not called. */
int dial_start(struct dial *dial, struct loop *loop, const struct hv_endpoint *endpoint,
               const struct hv_machine *machine, bool as_guest, unsigned milliseconds, dial_fn *fn);
/* Gives up, if it is not over. */
void dial_deinit(struct dial *dial);
