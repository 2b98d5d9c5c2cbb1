/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The event loop: level-triggered epoll, one thread.
 *
 * A struct source is embedded in its owner, which finds itself back with container_of(). The
 * callback gets the EPOLL* events that occurred and returns 0, or a negative errno that ends
 * loop_run(). source_deinit() may be called at any time, on any source, from any callback, also
 * on one that was never initialised (SOURCE_NULL) or that has an event already fetched.
 *
 * Some files cannot be polled because they are always ready (regular files, /dev/null): epoll
 * refuses them with EPERM. Such a source is called once in every turn while it wants anything.
 */

#include "hvsocket/base.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/types.h>

struct source;
typedef int source_fn(struct source *source, uint32_t got);

struct source {
	int fd;                 /* borrowed: source_deinit() does not close it */
	uint32_t want;          /* EPOLLIN | EPOLLOUT | EPOLLPRI; 0 = nothing, not even hang-up */
	source_fn *fn;
	struct loop *loop;
	bool always_ready;
	struct source *next;    /* among the always-ready sources of the loop */
};
#define SOURCE_NULL { .fd = -1 }

struct loop {
	int epoll_fd;
	bool stopping;
	struct source *always_ready;    /* those of them that want something */
	struct source *cursor;          /* the always-ready source that is next in this turn */
	struct epoll_event *fetched;    /* this turn's events, so that deinit can forget one */
	size_t fetched_count;
};
#define LOOP_NULL { .epoll_fd = -1 }

int loop_init(struct loop *loop);
void loop_deinit(struct loop *loop);

/* Runs until loop_stop() (returns 0) or until a callback returns a negative errno. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* On an error *source is SOURCE_NULL. An fd can be in one source only: dup(2) it for a second. */
int source_init(struct source *source, struct loop *loop, int fd, uint32_t want, source_fn *fn);
/*
 * Changes what is waited for. With want 0 a source whose peer has hung up would be reported for
 * ever, so a source that wants nothing is taken out of epoll until it wants something again.
 */
int source_want(struct source *source, uint32_t want);
void source_deinit(struct source *source);
/* source_deinit(), then closes the fd. */
void source_close(struct source *source);

/* A deadline. fn is called once per setting; the timerfd, made at the first setting, is owned. */
struct timer;
typedef int timer_fn(struct timer *timer);
struct timer {
	struct source source;
	timer_fn *fn;
};
#define TIMER_NULL { .source = SOURCE_NULL }

int timer_init(struct timer *timer, struct loop *loop, timer_fn *fn);
/* Fires once, milliseconds from now; 0 disarms. */
int timer_set(struct timer *timer, uint64_t milliseconds);
void timer_deinit(struct timer *timer);

/* Signals as events. init blocks the given signals; deinit leaves them blocked. */
struct signals;
typedef int signals_fn(struct signals *signals, int signal);
struct signals {
	struct source source;
	signals_fn *fn;
	pid_t sender;           /* of the signal that fn is called for; 0 = the kernel */
};
/* A sender that cannot be told: what a signal says of it was written by himself. */
#define SIGNALS_ANYBODY (-1)
#define SIGNALS_NULL { .source = SOURCE_NULL }

int signals_init(struct signals *signals, struct loop *loop, const sigset_t *set, signals_fn *fn);
void signals_deinit(struct signals *signals);
