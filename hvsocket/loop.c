/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Everything that hvrun waits for is a file descriptor: sockets, pipes, terminals, child processes
 * (pidfd), signals (signalfd), deadlines (timerfd). So the loop is epoll and a list, and the rest
 * of this file is about three habits of epoll:
 *
 *  - It hands out events in batches. A callback may destroy a source whose event stands later in
 *    the same batch, so source_deinit() blanks such events; a source that has changed its mind
 *    since the batch was fetched is asked again what it wants before it is called.
 *  - It reports hang-up and error whether or not they were asked for. A level-triggered loop would
 *    spin on a source that has decided to wait, so a source that wants nothing is not in epoll.
 *  - It refuses what is always ready with EPERM. Standard input may well be a regular file or
 *    /dev/null; those go round in a list of the loop's own, one call in every turn, and while there
 *    are any, epoll_wait(2) only looks and does not sleep.
 *
 * An exec passes here many times, so a system call is spent only where the kernel's view has to
 * change: not for an unchanged wish, not for a timer that is never set.
 */

#include "hvsocket/loop.h"

#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>

#define TURN_EVENTS 64

int loop_init(struct loop *loop)
{
	*loop = (struct loop)LOOP_NULL;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return loop->epoll_fd < 0 ? -errno : 0;
}

void loop_deinit(struct loop *loop)
{
	close_fd(&loop->epoll_fd);
	*loop = (struct loop)LOOP_NULL;
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
}

static int dispatch(struct loop *loop)
{
	for (size_t i = 0; i < loop->fetched_count && !loop->stopping; i++) {
		struct source *source = loop->fetched[i].data.ptr;
		if (!source || !source->want)
			continue;
		uint32_t got = loop->fetched[i].events & (source->want | EPOLLHUP | EPOLLERR);
		if (!got)
			continue;
		int r = source->fn(source, got);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Sources that join the list during the turn are put before the cursor: their turn is the next. */
static int dispatch_always_ready(struct loop *loop)
{
	loop->cursor = loop->always_ready;
	while (loop->cursor && !loop->stopping) {
		struct source *source = loop->cursor;
		loop->cursor = source->next;
		int r = source->fn(source, source->want);
		if (r < 0)
			return r;
	}
	return 0;
}

static int turn(struct loop *loop)
{
	struct epoll_event events[TURN_EVENTS];
	int n = epoll_wait(loop->epoll_fd, events, TURN_EVENTS, loop->always_ready ? 0 : -1);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;

	loop->fetched = events;
	loop->fetched_count = (size_t)n;
	int r = dispatch(loop);
	loop->fetched = NULL;
	loop->fetched_count = 0;
	if (r >= 0)
		r = dispatch_always_ready(loop);
	loop->cursor = NULL;
	return r;
}

int loop_run(struct loop *loop)
{
	int r = 0;
	while (r >= 0 && !loop->stopping)
		r = turn(loop);
	loop->stopping = false;
	return r < 0 ? r : 0;
}

static void unlink_always_ready(struct source *source)
{
	struct loop *loop = source->loop;
	if (loop->cursor == source)
		loop->cursor = source->next;
	for (struct source **at = &loop->always_ready; *at; at = &(*at)->next) {
		if (*at == source) {
			*at = source->next;
			break;
		}
	}
	source->next = NULL;
}

static void link_always_ready(struct source *source)
{
	source->next = source->loop->always_ready;
	source->loop->always_ready = source;
}

static int control(struct source *source, int operation, uint32_t want)
{
	struct epoll_event event = { .events = want, .data.ptr = source };
	return epoll_ctl(source->loop->epoll_fd, operation, source->fd, &event) < 0 ? -errno : 0;
}

int source_want(struct source *source, uint32_t want)
{
	if (source->want == want)
		return 0;
	if (!source->always_ready) {
		int operation = !want           ? EPOLL_CTL_DEL
		                : !source->want ? EPOLL_CTL_ADD
		                                : EPOLL_CTL_MOD;
		int r = control(source, operation, want);
		if (r == -EPERM && operation == EPOLL_CTL_ADD)
			source->always_ready = true;
		else if (r < 0)
			return r;
	}
	if (source->always_ready && !source->want)
		link_always_ready(source);
	else if (source->always_ready && !want)
		unlink_always_ready(source);
	source->want = want;
	return 0;
}

int source_init(struct source *source, struct loop *loop, int fd, uint32_t want, source_fn *fn)
{
	*source = (struct source){ .fd = fd, .fn = fn, .loop = loop };
	int r = source_want(source, want);
	if (r < 0)
		*source = (struct source)SOURCE_NULL;
	return r;
}

void source_deinit(struct source *source)
{
	struct loop *loop = source->loop;
	if (loop) {
		/* Cannot fail but for a descriptor that is gone, which epoll has forgotten. */
		(void)source_want(source, 0);
		for (size_t i = 0; i < loop->fetched_count; i++) {
			if (loop->fetched[i].data.ptr == source)
				loop->fetched[i].data.ptr = NULL;
		}
	}
	*source = (struct source)SOURCE_NULL;
}

void source_close(struct source *source)
{
	int fd = source->fd;
	source_deinit(source);
	close_fd(&fd);
}

static int timer_event(struct source *source, uint32_t got)
{
	(void)got;
	struct timer *timer = container_of(source, struct timer, source);
	uint64_t expirations;
	/* Set anew or disarmed since the event was fetched: nothing to read, nothing happened. */
	if (read(source->fd, &expirations, sizeof(expirations)) != sizeof(expirations))
		return 0;
	return timer->fn(timer);
}

int timer_init(struct timer *timer, struct loop *loop, timer_fn *fn)
{
	*timer = (struct timer){ .source = { .fd = -1, .loop = loop }, .fn = fn };
	return 0;
}

/* Most deadlines are never set, so the timerfd is made at the first setting. */
static int timer_open(struct timer *timer)
{
	struct loop *loop = timer->source.loop;
	cleanup_close int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = source_init(&timer->source, loop, fd, EPOLLIN, timer_event);
	if (r < 0) {
		timer->source.loop = loop;
		return r;
	}
	take_fd(&fd);
	return 0;
}

int timer_set(struct timer *timer, uint64_t milliseconds)
{
	if (timer->source.fd < 0) {
		if (!milliseconds)
			return 0;
		int r = timer_open(timer);
		if (r < 0)
			return r;
	}
	struct itimerspec when = {
		.it_value.tv_sec = (time_t)(milliseconds / 1000),
		.it_value.tv_nsec = (long)(milliseconds % 1000) * 1000000,
	};
	return timerfd_settime(timer->source.fd, 0, &when, NULL) < 0 ? -errno : 0;
}

void timer_deinit(struct timer *timer)
{
	source_close(&timer->source);
}

static int signals_event(struct source *source, uint32_t got)
{
	(void)got;
	struct signals *signals = container_of(source, struct signals, source);
	struct signalfd_siginfo info;
	/* One in each call: the callback may destroy us, and what is left is reported again. */
	if (read(source->fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	bool honest = info.ssi_code == SI_USER || info.ssi_code == SI_TKILL ||
	              info.ssi_code == SI_KERNEL;
	signals->sender = honest ? (pid_t)info.ssi_pid : SIGNALS_ANYBODY;
	return signals->fn(signals, (int)info.ssi_signo);
}

int signals_init(struct signals *signals, struct loop *loop, const sigset_t *set, signals_fn *fn)
{
	*signals = (struct signals)SIGNALS_NULL;
	if (sigprocmask(SIG_BLOCK, set, NULL) < 0)
		return -errno;
	cleanup_close int fd = signalfd(-1, set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = source_init(&signals->source, loop, fd, EPOLLIN, signals_event);
	if (r < 0)
		return r;
	signals->fn = fn;
	take_fd(&fd);
	return 0;
}

void signals_deinit(struct signals *signals)
{
	source_close(&signals->source);
}
