/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A user may have 128 instances of inotify, and root shares his with all daemons of the machine. So
 * there is one for all watches of this process, and none without any.
 */

#include "shim/fifo_watch.h"

#include <stdio.h>
#include <sys/inotify.h>

static struct source events = SOURCE_NULL;
static struct fifo_watch *watches;

static bool is_used(int number)
{
	for (const struct fifo_watch *w = watches; w; w = w->next) {
		if (w->number == number)
			return true;
	}
	return false;
}

static struct fifo_watch *find_due(void)
{
	struct fifo_watch *watch = watches;

	while (watch && !watch->due)
		watch = watch->next;
	return watch;
}

static int on_events(struct source *source, uint32_t got)
{
	(void)got;
	struct inotify_event all[64];
	ssize_t n;

	/* What is watched are no directories, so no event carries a name. */
	while ((n = read(source->fd, all, sizeof(all))) > 0) {
		for (size_t i = 0; i < (size_t)n / sizeof(all[0]); i++) {
			for (struct fifo_watch *w = watches; w; w = w->next)
				w->due = w->due || w->number == all[i].wd;
		}
	}
	/* Whoever is told may stop any of them. */
	for (struct fifo_watch *w = find_due(); w; w = find_due()) {
		w->due = false;
		w->changed(w);
	}
	return 0;
}

static int open_events(struct loop *loop)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (fd < 0)
		return -errno;
	int r = source_init(&events, loop, fd, EPOLLIN, on_events);
	if (r < 0)
		close(fd);
	return r;
}

int fifo_watch_start(struct fifo_watch *watch, struct loop *loop, int fd,
                     void (*changed)(struct fifo_watch *watch))
{
	char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
	int r = events.fd < 0 ? open_events(loop) : 0;

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* The same number for the same file. */
	int number = inotify_add_watch(events.fd, path, IN_OPEN | IN_ACCESS);
	if (number < 0) {
		r = -errno;
		if (!watches)
			source_close(&events);
		return r;
	}
	*watch = (struct fifo_watch){ .changed = changed, .number = number, .next = watches };
	watches = watch;
	return 0;
}

void fifo_watch_stop(struct fifo_watch *watch)
{
	struct fifo_watch **at = &watches;
	int number = watch->number;

	if (number < 0)
		return;
	while (*at != watch)
		at = &(*at)->next;
	*at = watch->next;
	watch->number = -1;
	if (!watches)
		source_close(&events);
	else if (!is_used(number))
		(void)inotify_rm_watch(events.fd, number);
}
