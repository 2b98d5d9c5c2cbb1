/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The bytes go from where they arrived to the file without being copied: a batch is a vector of
 * [prefix, line, prefix, line, …] whose prefixes are one text, because what arrives together gets
 * one time stamp. Only the beginning of an unfinished line is kept.
 *
 * Rotation happens between two lines, and before one that would not fit any more, so files are
 * never longer than asked for, unless by a single line.
 */

#include "shim/logfile.h"

#include "oci/fault.h"
#include "oci/log.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define PARTS_MAX 192           /* of a batch: at most four per line */
#define PREFIX_MAX (TIME_TEXT + sizeof(" stdout F "))

struct batch {
	struct logfile *log;
	char prefix[2][PREFIX_MAX];     /* of a whole line, of a piece */
	size_t prefix_size;
	struct iovec part[PARTS_MAX];
	int parts;
	size_t size;
};

static int open_file(struct logfile *log)
{
	struct stat st;
	/* A pipe that nobody reads would be waited for. */
	cleanup_close int fd = open(log->path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW |
	                            O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	/* Anything else is neither rotated nor read back. */
	if (!S_ISREG(st.st_mode))
		return -EOPNOTSUPP;
	close_fd(&log->fd);
	log->size = (uint64_t)st.st_size;
	log->fd = take_fd(&fd);
	return 0;
}

static void failed(struct logfile *log, int error)
{
	if (!log->failed)
		log_warning("log file %s: %s: output is dropped", log->path, errno_text(error));
	log->failed = true;
}

/* <path>.n, <path> itself for 0. */
static bool numbered(const struct logfile *log, uint32_t n, char name[static PATH_MAX])
{
	int length = n ? snprintf(name, PATH_MAX, "%s.%u", log->path, n) :
		snprintf(name, PATH_MAX, "%s", log->path);
	return length > 0 && length < PATH_MAX;
}

static void rotate(struct logfile *log)
{
	char from[PATH_MAX], to[PATH_MAX];

	/* With a single file the name is given up, so that a reader keeps what he has open. */
	if (log->files == 1)
		(void)unlink(log->path);
	for (uint32_t n = log->files - 1; n; n--) {
		if (numbered(log, n - 1, from) && numbered(log, n, to))
			(void)rename(from, to);
	}
	int r = open_file(log);
	if (r < 0) {
		/* What there is goes on for another while, instead of being rotated away. */
		log->size = 0;
		failed(log, r);
	}
}

/* Only the end of a line is a part of this kind. */
static bool ends_line(const struct iovec *part)
{
	return part->iov_len == 1 && *(const char *)part->iov_base == '\n';
}

/* Takes the beginning of a line back whose rest could not be written, unless others write too. */
static void untear(struct logfile *log, size_t torn)
{
	struct stat st;

	if (torn && fstat(log->fd, &st) == 0 && (uint64_t)st.st_size == log->size &&
	    ftruncate(log->fd, st.st_size - (off_t)torn) == 0)
		log->size -= torn;
}

static void write_batch(struct batch *batch)
{
	struct logfile *log = batch->log;
	struct iovec *part = batch->part;
	int parts = batch->parts;
	size_t torn = 0;

	while (parts && log->fd >= 0) {
		ssize_t n = writev(log->fd, part, parts);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			failed(log, n ? errno : EIO);
			break;
		}
		log->failed = false;
		log->size += (uint64_t)n;
		for (; parts && (size_t)n >= part->iov_len; part++, parts--) {
			n -= (ssize_t)part->iov_len;
			torn = ends_line(part) ? 0 : torn + part->iov_len;
		}
		if (parts) {
			part->iov_base = (char *)part->iov_base + n;
			part->iov_len -= (size_t)n;
			torn += (size_t)n;
		}
	}
	if (parts)
		untear(log, torn);
	batch->parts = 0;
	batch->size = 0;
}

static void begin(struct batch *batch, struct logfile *log, int stream)
{
	char time[TIME_TEXT];

	time_now(time);
	batch->log = log;
	batch->parts = 0;
	batch->size = 0;
	for (int piece = 0; piece < 2; piece++)
		batch->prefix_size = (size_t)snprintf(batch->prefix[piece], PREFIX_MAX, "%s %s %c ",
		                                      time, stream == LOGFILE_STDOUT ? "stdout" :
		                                      "stderr", piece ? 'P' : 'F');
}

static void add_part(struct batch *batch, const char *bytes, size_t size)
{
	if (!size)
		return;
	/* writev(2) does not write to it. */
	batch->part[batch->parts++] = (struct iovec){ (void *)(uintptr_t)bytes, size };
	batch->size += size;
}

/* One line: what was kept of it and what has come. The newline is not part of either. */
static void add_line(struct batch *batch, bool piece, const char *kept, size_t kept_size,
                     const char *bytes, size_t size)
{
	const struct logfile *log = batch->log;
	size_t length = batch->prefix_size + kept_size + size + 1;

	if (batch->parts + 4 > PARTS_MAX)
		write_batch(batch);
	if (log->size_max && log->size + batch->size + length > log->size_max) {
		write_batch(batch);
		if (log->size)
			rotate(batch->log);
	}
	add_part(batch, batch->prefix[piece], batch->prefix_size);
	add_part(batch, kept, kept_size);
	add_part(batch, bytes, size);
	add_part(batch, "\n", 1);
}

void logfile_write(struct logfile *log, int stream, const char *bytes, size_t size)
{
	struct buf *line = &log->line[stream];
	size_t kept = buf_length(line);
	struct batch batch;

	begin(&batch, log, stream);
	for (;;) {
		size_t room = min_size(size, LOGFILE_LINE_MAX - kept);
		const char *newline = room ? memchr(bytes, '\n', room) : NULL;
		/* A line of exactly the maximum is whole: its newline decides. */
		if (!newline && room < size && bytes[room] == '\n')
			newline = bytes + room;
		if (!newline && kept + room < LOGFILE_LINE_MAX)
			break;
		size_t used = newline ? (size_t)(newline - bytes) : room;
		if (!newline && room == size)
			break;
		add_line(&batch, !newline, buf_head(line), kept, bytes, used);
		if (kept)
			write_batch(&batch);
		buf_consume(line, kept);
		kept = 0;
		bytes += used + (newline ? 1 : 0);
		size -= used + (newline ? 1 : 0);
	}
	write_batch(&batch);
	if (size && buf_append(line, bytes, size) < 0)
		failed(log, -ENOMEM);
}

void logfile_flush(struct logfile *log, int stream)
{
	struct buf *line = &log->line[stream];
	struct batch batch;

	if (!buf_length(line))
		return;
	begin(&batch, log, stream);
	add_line(&batch, true, buf_head(line), buf_length(line), NULL, 0);
	write_batch(&batch);
	buf_consume(line, buf_length(line));
}

int logfile_open(struct logfile *log, const char *path, uint64_t size_max, uint32_t files)
{
	*log = (struct logfile)LOGFILE_NULL;
	log->size_max = size_max;
	log->files = files ? files : 1;
	for (int i = 0; i < LOGFILE_STREAMS; i++)
		log->line[i] = (struct buf)BUF(LOGFILE_LINE_MAX);
	log->path = strdup(path);
	int r = log->path ? open_file(log) : -ENOMEM;
	if (r < 0)
		logfile_close(log);
	return r;
}

void logfile_close(struct logfile *log)
{
	close_fd(&log->fd);
	free(take_pointer(log->path));
	for (int i = 0; i < LOGFILE_STREAMS; i++)
		buf_deinit(&log->line[i]);
}
