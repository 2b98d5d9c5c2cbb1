/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Both logs lie in memory as a rule (/run), and much of what they take is the guest's doing; so
 * they have a bound. A log that cannot be opened anew goes on where it was.
 */

#include "shim/partition_log.h"

#include <fcntl.h>
#include <stdio.h>

#define LOG_MAX (1u << 20)
#define NAME_SIZE 32

static int open_anew(struct partition_log *log)
{
	int fd = openat(*log->directory_fd, log->name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
	                0600);

	log->size = 0;
	if (fd < 0)
		return -errno;
	close_fd(&log->fd);
	log->fd = fd;
	return 0;
}

static void rotate(struct partition_log *log)
{
	char old[NAME_SIZE];

	if (*log->directory_fd < 0)
		return;
	snprintf(old, sizeof(old), "%s.1", log->name);
	(void)renameat(*log->directory_fd, log->name, *log->directory_fd, old);
	(void)open_anew(log);
}

void partition_log_write(struct partition_log *log, const char *text, size_t size)
{
	if (log->size > LOG_MAX)
		rotate(log);
	if (log->fd < 0 && *log->directory_fd >= 0)
		(void)open_anew(log);
	if (log->fd >= 0 && write(log->fd, text, size) > 0)
		log->size += size;
}

/* log_limit() has no argument to find it by. */
static struct partition_log *taken;
static enum log_level taken_level;

static void on_full(void);

static void go_on(void)
{
	log_init(taken->fd, LOG_FORMAT_TEXT, taken_level);
	log_limit(LOG_MAX, on_full);
}

static void on_full(void)
{
	rotate(taken);
	go_on();
}

int partition_log_take(struct partition_log *log, enum log_level level)
{
	taken = log;
	taken_level = level;
	int r = open_anew(log);
	go_on();
	return r;
}
