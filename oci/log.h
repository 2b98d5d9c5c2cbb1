/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The log of the program: one line per event, to one fd. Library code logs at debug, and warns of
 * what it leaves out; what is an error is returned, and told once by whoever answers for it.
 */

#include "hvsocket/base.h"

/* No line is longer. */
#define LOG_LINE 12544

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format {
	LOG_FORMAT_TEXT, /* time="2026-…Z" level=error msg="…" */
	LOG_FORMAT_JSON, /* {"level":"error","msg":"…","time":"2026-…Z"} */
	LOG_FORMAT_KERNEL, /* <3>hvagent: … for /dev/kmsg, which knows the time */
};

/* fd is borrowed; -1 silences. On one that does not block, lines for which there is no room are
 * lost, and their number is told by the next one that is not. */
void log_init(int fd, enum log_format format, enum log_level level);
struct log_place {
	int fd;
	enum log_format format;
};
/* Goes on at another place, its fd borrowed; where it went until now. */
struct log_place log_move(struct log_place to);
/* After log_init(): every so many bytes full() is called, which may go on with another file. */
void log_limit(uint64_t bytes, void (*full)(void));
/* "error" ("fatal", "panic"), "warning" ("warn"), "info", "debug" ("trace"); -EINVAL. */
int log_level_parse(const char *text, enum log_level *ret);
void log_write(enum log_level level, const char *format, ...) printf_like(2, 3);
bool log_wants(enum log_level level);
/* RFC 3339 in UTC with nanoseconds: "2026-08-22T17:21:51.123456789Z". */
#define TIME_TEXT 31
struct timespec;
const char *time_format(const struct timespec *time, char text[static TIME_TEXT]);
const char *time_now(char text[static TIME_TEXT]);

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) \
	do { \
		if (log_wants(LOG_LEVEL_DEBUG)) \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__); \
	} while (0)
