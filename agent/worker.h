/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One function that may block, in a child beside the loop. */

#include "hvsocket/loop.h"
#include "oci/fault.h"

struct worker;
/* Runs in the child, whose file descriptors but 0, 1 and 2 are closed. */
typedef int worker_fn(const void *data, struct fault *fault);
/* In the loop. error: what the function has returned; -ECANCELED when the child was killed. */
typedef void worker_done_fn(struct worker *worker, int error, const struct fault *fault);

struct worker {
	struct source source;           /* pidfd of the child; owned */
	struct worker_report *report;   /* shared with it */
	worker_done_fn *done;
};
#define WORKER_NULL { .source = SOURCE_NULL }

/* What fails here has started nothing. data must live until the fork only. */
int worker_start(struct worker *worker, struct loop *loop, worker_fn *fn, const void *data,
                 worker_done_fn *done);
bool worker_busy(const struct worker *worker);
/* done() follows once it is dead, which takes as long as the kernel holds it. */
void worker_kill(struct worker *worker);
/* By the child: this far it has changed nothing. */
void worker_begin(void);
/* Whether the child of the last work had come there; valid in done(). */
bool worker_had_begun(const struct worker *worker);
/* Kills what is under way, without a word. */
void worker_deinit(struct worker *worker);
