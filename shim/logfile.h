/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A container's log in the format of the Kubernetes CRI:
 *
 *   2026-11-22T03:04:05.123456789Z stdout F a whole line
 *   2026-11-22T03:04:05.123456789Z stderr P a piece of a line that goes on
 *
 * Lines longer than 16 KiB are split. When the file would grow over its size it becomes <path>.1,
 * that one <path>.2 and so on; the oldest goes.
 */

#include "oci/buf.h"

#define LOGFILE_LINE_MAX 16384

enum { LOGFILE_STDOUT, LOGFILE_STDERR, LOGFILE_STREAMS };

struct logfile {
	char *path;
	int fd;
	uint64_t size, size_max;        /* size_max 0: never rotated */
	uint32_t files;                 /* how many there are at most, at least 1 */
	bool failed;                    /* told once, until a write succeeds again */
	struct buf line[LOGFILE_STREAMS];       /* the beginning of a line whose end has not come */
};
#define LOGFILE_NULL { .fd = -1 }

int logfile_open(struct logfile *log, const char *path, uint64_t size_max, uint32_t files);
/*
 * Takes all the bytes. What cannot be written, for want of space say, is dropped, because a program
 * must not stop for the sake of its log.
 */
void logfile_write(struct logfile *log, int stream, const char *bytes, size_t size);
/* Writes the unfinished line, as a piece. */
void logfile_flush(struct logfile *log, int stream);
void logfile_close(struct logfile *log);
