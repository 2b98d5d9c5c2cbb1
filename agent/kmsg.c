/* SPDX-License-Identifier: Apache-2.0 */

/*
 * /dev/kmsg gives one record for each read, with fields in front and a dictionary behind that
 * nobody wants to read. The lines made of them go through a pipe to an ordinary outlet: flow
 * control, STOP and the loss of the connection are then what they are for any stream, and a host
 * that does not read leaves the records where they are, in the ring. What is overwritten there
 * meanwhile is missed and counted.
 */

#include "agent/kmsg.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define RECORDS_PER_TURN 64
/* In front of the line: how many are missing. */
#define LOST_MAX 48

static const char *take_number(const char *at, const char *end, uint64_t *ret)
{
	uint64_t value = 0;
	const char *digit = at;
	for (; digit < end && *digit >= '0' && *digit <= '9'; digit++) {
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*digit - '0'), &value))
			return NULL;
	}
	*ret = value;
	return digit > at && digit < end ? digit : NULL;
}

int kmsg_parse(const char *record, size_t size, struct kmsg_record *ret)
{
	const char *end = record + size, *at = record;
	uint64_t number[3];
	for (size_t i = 0; i < array_size(number); i++) {
		at = take_number(at, end, &number[i]);
		/* Behind the third there may be flags, and more fields one day. */
		if (!at || *at++ != ',')
			return -EINVAL;
	}
	const char *text = memchr(at, ';', (size_t)(end - at));
	if (!text || number[0] > UINT32_MAX)
		return -EINVAL;
	text++;
	const char *stop = memchr(text, '\n', (size_t)(end - text));
	*ret = (struct kmsg_record){
		.priority = (unsigned)number[0] & 7,
		.sequence = number[1],
		.microseconds = number[2],
		.text = text,
		.length = (size_t)((stop ? stop : end) - text),
	};
	return 0;
}

size_t kmsg_format(const struct kmsg_record *record, char *line, size_t room)
{
	int start = snprintf(line, room, "[%5llu.%06u] ",
	                     (unsigned long long)(record->microseconds / 1000000),
	                     (unsigned)(record->microseconds % 1000000));
	size_t end = (size_t)start, length = min_size(record->length, room - end - 1);
	memcpy(line + end, record->text, length);
	line[end + length] = '\n';
	return end + length + 1;
}

/* Puts the line of a record into kmsg->line, after a note of what is missing before it. */
static void take(struct kmsg *kmsg, const char *text, size_t size)
{
	struct kmsg_record record;
	if (kmsg_parse(text, size, &record) < 0)
		return;
	if (record.sequence > kmsg->expected)
		kmsg->held = (size_t)snprintf(
			kmsg->line, LOST_MAX, "(%llu messages lost)\n",
			(unsigned long long)(record.sequence - kmsg->expected));
	kmsg->expected = record.sequence + 1;
	kmsg->held += kmsg_format(&record, kmsg->line + kmsg->held, KMSG_LINE - kmsg->held);
}

/* False: not now. A line is written as a whole, being no longer than the pipe guarantees. */
static bool hand_on(struct kmsg *kmsg)
{
	if (kmsg->held && write(kmsg->pipe[1], kmsg->line, kmsg->held) < 0 && errno == EAGAIN)
		return false;
	kmsg->held = 0;
	return true;
}

/* There will be no more; the outlet sends what is in the pipe. */
static void end(struct kmsg *kmsg)
{
	source_deinit(&kmsg->from);
	source_deinit(&kmsg->to);
	close_fd(&kmsg->pipe[1]);
}

static void go_on(struct kmsg *kmsg)
{
	char text[KMSG_RECORD];
	for (int i = 0; i < RECORDS_PER_TURN; i++) {
		if (!hand_on(kmsg)) {
			source_want(&kmsg->from, 0);
			source_want(&kmsg->to, EPOLLOUT);
			return;
		}
		ssize_t n = read(kmsg->kernel_fd, text, sizeof(text));
		if (n > 0) {
			take(kmsg, text, (size_t)n);
		} else if (n < 0 && errno == EAGAIN) {
			break;
		} else if (n == 0 || (errno != EPIPE && errno != EINTR && errno != EINVAL)) {
			end(kmsg);
			return;
		} /* EPIPE: the next ones were overwritten */
	}
	source_want(&kmsg->to, 0);
	source_want(&kmsg->from, EPOLLIN);
}

static int on_record(struct source *source, uint32_t got)
{
	(void)got;
	go_on(container_of(source, struct kmsg, from));
	return 0;
}

static int on_room(struct source *source, uint32_t got)
{
	(void)got;
	go_on(container_of(source, struct kmsg, to));
	return 0;
}

static void on_ended(struct outlet *outlet, uint32_t reason)
{
	(void)reason;
	kmsg_deinit(container_of(outlet, struct kmsg, outlet));
}

static void on_lost(struct outlet *outlet)
{
	kmsg_deinit(container_of(outlet, struct kmsg, outlet));
}

static const struct outlet_ops outlet_ops = { .ended = on_ended, .lost = on_lost };

static int open_all(struct kmsg *kmsg, struct loop *loop, const char *path)
{
	kmsg->kernel_fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kmsg->kernel_fd < 0 || pipe2(kmsg->pipe, O_NONBLOCK | O_CLOEXEC) < 0)
		return -errno;
	int error = source_init(&kmsg->from, loop, kmsg->kernel_fd, EPOLLIN, on_record);
	return error ? error : source_init(&kmsg->to, loop, kmsg->pipe[1], 0, on_room);
}

int kmsg_start(struct kmsg *kmsg, const char *path, struct loop *loop, struct channel *channel,
               uint64_t id, uint64_t limit)
{
	if (kmsg->kernel_fd >= 0)
		return -EBUSY;
	*kmsg = (struct kmsg)KMSG_NULL;
	int error = open_all(kmsg, loop, path);
	if (!error)
		error = outlet_init(&kmsg->outlet, channel, id, kmsg->pipe[0], limit, false,
		                    &outlet_ops);
	if (error < 0)
		kmsg_deinit(kmsg);
	return error;
}

void kmsg_deinit(struct kmsg *kmsg)
{
	outlet_deinit(&kmsg->outlet);
	source_deinit(&kmsg->from);
	source_deinit(&kmsg->to);
	close_fd(&kmsg->kernel_fd);
	close_fd(&kmsg->pipe[0]);
	close_fd(&kmsg->pipe[1]);
}
