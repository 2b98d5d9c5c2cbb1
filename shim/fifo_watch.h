/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Tells when a FIFO is opened or read by somebody else, which poll(2) does not.
 */

#include "hvsocket/loop.h"

struct fifo_watch {
	/* It may be stopped here, and so may others. Perhaps nothing has changed. */
	void (*changed)(struct fifo_watch *watch);
	int number;
	bool due;
	struct fifo_watch *next;
};
#define FIFO_WATCH_NULL { .number = -1 }

/* All that are there at a time are of the same loop. The fd may be closed, or another one used. */
int fifo_watch_start(struct fifo_watch *watch, struct loop *loop, int fd,
                     void (*changed)(struct fifo_watch *watch));
/* At any time, also on FIFO_WATCH_NULL and twice. */
void fifo_watch_stop(struct fifo_watch *watch);

static inline bool fifo_watch_runs(const struct fifo_watch *watch)
{
	return watch->number >= 0;
}
