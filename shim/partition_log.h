/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A log in the directory of a partition: that of its sandbox process, or that of its agent. One
 * that is full becomes <name>.1, and the one before that goes.
 */

#include "oci/log.h"

struct partition_log {
	const char *name;
	const int *directory_fd;        /* -1: it has gone, nothing is made in it any more */
	int fd;                         /* -1: not open yet */
	uint64_t size;
};
#define PARTITION_LOG(log_name, fd_pointer) \
	{ .name = (log_name), .directory_fd = (fd_pointer), .fd = -1 }

/* Opens it at the first word. What cannot be written is lost. */
void partition_log_write(struct partition_log *log, const char *text, size_t size);
/* Makes it what log_write() writes to, until the next log_init(). */
int partition_log_take(struct partition_log *log, enum log_level level);
