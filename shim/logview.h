/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Lines of a log in CRI format, chosen and shown. */

#include "oci/log.h"
#include "shim/logfile.h"

#include <stdio.h>

struct log_line {
	int stream;             /* LOGFILE_STDOUT, LOGFILE_STDERR */
	bool piece;             /* the line goes on */
	const char *time;       /* TIME_TEXT - 1 characters */
	const char *text;
	size_t size;
};
/* The line is without its newline. False: not in this format. */
bool log_line_parse(const char *line, size_t length, struct log_line *ret);

struct log_view {
	bool raw;               /* any lines, as they are */
	bool timestamps;
	int stream;             /* -1 = both */
	char since[TIME_TEXT];  /* "" = from the beginning */
	FILE *out[LOGFILE_STREAMS];
	/* Of each stream: within a line; and this line is not shown. */
	bool inside[LOGFILE_STREAMS], hidden[LOGFILE_STREAMS];
	int last;               /* stream that was written to */
	int error;              /* the first failure to write, -errno */
};
/* Is the line of a stream that is shown; and where it ends, for counting. */
bool log_view_wants(const struct log_view *view, const char *line, size_t length, bool *ret_piece);
void log_view_line(struct log_view *view, const char *line, size_t length);
/* -errno of what could not be written. */
int log_view_flush(struct log_view *view);

/* The log's files <name>.N … <name>.1, <name>, in this order, of a directory. */
struct log_source {
	int directory;          /* borrowed */
	const char *name;
	uint32_t files;         /* how many there may be */
};
/* A place in them. */
struct log_reader {
	const struct log_source *source;
	int fd;                 /* -1: before the first file */
	struct buf line;        /* the beginning of one that is not whole yet */
};
#define LOG_FILES_MAX 1000
#define LOG_READER_LINE_MAX (1u << 20)
#define LOG_READER_NULL { .fd = -1, .line = BUF(LOG_READER_LINE_MAX) }

/* Goes to where the last `tail` lines that the view wants begin; UINT64_MAX: to the beginning. */
int log_reader_start(struct log_reader *reader, const struct log_source *source,
                     const struct log_view *view, uint64_t tail);
/* Shows everything that is there, from file to file. */
int log_reader_drain(struct log_reader *reader, struct log_view *view);
/* The end, also of a line without newline. */
int log_reader_finish(struct log_reader *reader, struct log_view *view);
void log_reader_close(struct log_reader *reader);
