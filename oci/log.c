/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The lines look as logrus writes them, because those who read the logs of OCI runtimes expect
 * that. A line goes out in one write(2), so that lines of several processes on one file or pipe do
 * not mix, and no memory is allocated: what is logged may be that there is none.
 *
 * The time is split up here because gmtime_r(3) of some C libraries reads the time zone file.
 */

#include "oci/log.h"
#include "oci/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MESSAGE_MAX 2048
/* The kernel refuses a longer record. */
#define RECORD_MAX 960

static struct {
	int fd;
	enum log_format format;
	enum log_level level;
	uint64_t written, limit, lost;
	void (*full)(void);
} state = { .fd = STDERR_FILENO, .format = LOG_FORMAT_TEXT, .level = LOG_LEVEL_INFO };

/* By level; then the other names by which one may ask for it. */
static const struct {
	const char *name;
	enum log_level level;
	int priority; /* of syslog(3) */
} levels[] = {
	{ "error", LOG_LEVEL_ERROR, 3 },
	{ "warning", LOG_LEVEL_WARNING, 4 },
	{ "info", LOG_LEVEL_INFO, 6 },
	{ "debug", LOG_LEVEL_DEBUG, 7 },
	{ "warn", LOG_LEVEL_WARNING },
	{ "trace", LOG_LEVEL_DEBUG },
	{ "fatal", LOG_LEVEL_ERROR },
	{ "panic", LOG_LEVEL_ERROR },
};

void log_init(int fd, enum log_format format, enum log_level level)
{
	state.fd = fd;
	state.format = format;
	state.level = level;
	state.lost = 0;
	state.full = NULL;
}

struct log_place log_move(struct log_place to)
{
	struct log_place from = { .fd = state.fd, .format = state.format };

	state.fd = to.fd;
	state.format = to.format;
	state.full = NULL;
	return from;
}

void log_limit(uint64_t bytes, void (*full)(void))
{
	state.written = 0;
	state.limit = bytes;
	state.full = full;
}

int log_level_parse(const char *text, enum log_level *ret)
{
	for (size_t i = 0; i < array_size(levels); i++) {
		if (!strcmp(levels[i].name, text)) {
			*ret = levels[i].level;
			return 0;
		}
	}
	return -EINVAL;
}

bool log_wants(enum log_level level)
{
	return state.fd >= 0 && level <= state.level;
}

const char *time_format(const struct timespec *time, char text[static TIME_TEXT])
{
	/* Days to a date of the Gregorian calendar: years begin in March, so that the leap day is
	 * the last; 719468 days lie between 0000-03-01 and 1970-01-01. */
	uint64_t seconds = time->tv_sec > 0 ? (uint64_t)time->tv_sec : 0;
	uint64_t days = seconds / 86400 + 719468;
	unsigned second = (unsigned)(seconds % 86400);
	uint64_t era = days / 146097;
	unsigned day = (unsigned)(days % 146097);
	unsigned year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	day -= 365 * year + year / 4 - year / 100;
	unsigned month = (5 * day + 2) / 153;
	day -= (153 * month + 2) / 5;
	month = month < 10 ? month + 3 : month - 9;
	uint64_t full_year = era * 400 + year + (month <= 2);

	snprintf(text, TIME_TEXT, "%04u-%02u-%02uT%02u:%02u:%02u.%09luZ",
	         (unsigned)(full_year % 10000), month % 100, (day + 1) % 100, second / 3600 % 100,
	         second / 60 % 60, second % 60, (unsigned long)time->tv_nsec % 1000000000);
	return text;
}

const char *time_now(char text[static TIME_TEXT])
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return time_format(&now, text);
}

/* Static, not on the stack: the programs have one thread, and few lines are long. */
static char message[MESSAGE_MAX], line[LOG_LINE];
_Static_assert(LOG_LINE >= MESSAGE_MAX * JSON_ESCAPED_MAX + 128, "a line has room");

/* The line that says the first size bytes of the message; its length. */
static size_t compose(enum log_level level, size_t size)
{
	char when[TIME_TEXT];
	const char *name = levels[level].name;
	bool json = state.format == LOG_FORMAT_JSON;

	if (state.format == LOG_FORMAT_KERNEL)
		return (size_t)snprintf(line, sizeof(line), "<%d>hvagent: %.*s\n",
		                        levels[level].priority,
		                        (int)min_size(size, RECORD_MAX), message);
	time_now(when);
	int start = json ? snprintf(line, sizeof(line), "{\"level\":\"%s\",\"msg\":\"", name) :
	                   snprintf(line, sizeof(line), "time=\"%s\" level=%s msg=\"", when, name);
	size_t end = (size_t)start;
	end += json_escape(line + end, message, size, false);
	int rest = json ? snprintf(line + end, sizeof(line) - end, "\",\"time\":\"%s\"}\n", when) :
	                  snprintf(line + end, sizeof(line) - end, "\"\n");
	return end + (size_t)rest;
}

/* In one piece, or it is lost: nobody waits for the reader of a log. */
static bool put(size_t size)
{
	ssize_t n;

	do
		n = write(state.fd, line, size);
	while (n < 0 && errno == EINTR);
	state.written += size;
	return n == (ssize_t)size;
}

/* True when it is known that lines are missing here, or none are. */
static bool tell_lost(void)
{
	if (!state.lost)
		return true;
	int length = snprintf(message, sizeof(message), "%llu lines of the log were lost here",
	                      (unsigned long long)state.lost);
	if (!put(compose(LOG_LEVEL_WARNING, (size_t)length)))
		return false;
	state.lost = 0;
	return true;
}

void log_write(enum log_level level, const char *format, ...)
{
	va_list args;
	int saved = errno;

	if (!log_wants(level))
		return;
	bool told = tell_lost();
	va_start(args, format);
	int length = vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	if (length < 0)
		goto out;
	if (!told || !put(compose(level, min_size((size_t)length, sizeof(message) - 1))))
		state.lost++;
	if (state.full && state.written >= state.limit) {
		state.written = 0;
		state.full();
	}
out:
	errno = saved;
}
