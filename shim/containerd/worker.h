/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Work that may block, for a daemon that may not: a forked child does it and says how it went.
 */

#include "hvsocket/loop.h"
#include "oci/fault.h"

struct worker_job {
	/* In the child. 0 or a positive answer, or a negative errno and the fault. */
	int (*work)(void *context, struct fault *fault);
	void *context;
	int fd[3];              /* its 0, 1 and 2; borrowed, -1 = /dev/null */
	int log_fd;             /* stays open for the log; -1: none */
};

#define WORKER_KILLED (-EOWNERDEAD) /* no time to undo anything; a hook that fails is ECHILD */

struct worker;
/* The worker is gone after the call. result: what work() returned; below 0 the fault says more. */
typedef void worker_done_fn(void *owner, int result, const struct fault *fault);

/* All other descriptors are closed in the child, and signals are as in a new program. */
int worker_start(struct worker **ret, struct loop *loop, const struct worker_job *job,
                 worker_done_fn *done, void *owner, struct fault *fault);
/* It goes on without us, and nobody will hear of it. */
void worker_forget(struct worker *worker);
