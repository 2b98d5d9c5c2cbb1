/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One event told by a process of containerd's own program, without waiting for it. */

#include "hvsocket/loop.h"

struct publish_call {
	const char *binary;             /* looked for in PATH when it is only a name */
	const char *address;            /* of containerd's gRPC socket */
	const char *namespace, *topic;
	const void *event;              /* on its standard input */
	size_t size;
	unsigned timeout;               /* milliseconds, then it is killed */
};

struct publish_run;
/* From the loop, once. NULL: it is told; else why not. The run may be used again here. */
typedef void publish_run_fn(struct publish_run *run, const char *failure);

struct publish_run {
	struct source exited;           /* its fd is ours, -1: nothing is under way */
	struct timer deadline;
	bool late;
	publish_run_fn *done;
};
#define PUBLISH_RUN_NULL { .exited = SOURCE_NULL, .deadline = TIMER_NULL }

/* < 0: no callback follows. Not while one is under way. */
int publish_run_start(struct publish_run *run, struct loop *loop, const struct publish_call *call,
                      publish_run_fn *done);
/* What is under way is killed, without a callback. May be called on PUBLISH_RUN_NULL and twice. */
void publish_run_deinit(struct publish_run *run);
