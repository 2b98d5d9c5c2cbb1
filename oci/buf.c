/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Unread bytes are moved to the front only when at least as many have been taken since, so that
 * each byte taken pays for one byte moved however the two ends alternate. That needs up to twice
 * the limit of memory for a queue that is read while it is nearly full; one that is only filled
 * never takes more than the limit.
 */

#include "oci/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SIZE_FIRST 256
#define CHUNK 65536             /* what is read at once */

static void move_to_front(struct buf *buf)
{
	size_t length = buf_length(buf);

	if (length && buf->start)
		memmove(buf->data, buf->data + buf->start, length);
	buf->start = 0;
	buf->end = length;
}

static int grow(struct buf *buf, size_t needed)
{
	size_t most = buf->limit, size = buf->size ? buf->size : SIZE_FIRST / 2;

	if (buf->start && most <= SIZE_MAX / 2)
		most *= 2;
	size = size <= SIZE_MAX / 2 ? size * 2 : SIZE_MAX;
	size = min_size(size, most);
	if (size < needed)
		size = needed;
	move_to_front(buf);
	/* One byte even for a limit of nothing: NULL means failure. */
	char *data = realloc(buf->data, size ? size : 1);
	if (!data)
		return -ENOMEM;
	buf->data = data;
	buf->size = size;
	return 0;
}

char *buf_reserve(struct buf *buf, size_t size)
{
	size_t length = buf_length(buf);

	if (size > buf_room(buf))
		return NULL;
	if (!buf->data || size > buf->size - buf->end) {
		if (buf->start >= length && size <= buf->size - length && buf->data)
			move_to_front(buf);
		else if (grow(buf, length + size) < 0)
			return NULL;
	}
	return buf->data + buf->end;
}

void buf_commit(struct buf *buf, size_t size)
{
	buf->end += size;
}

int buf_append(struct buf *buf, const void *bytes, size_t size)
{
	if (size > buf_room(buf))
		return -ENOBUFS;
	if (!size)
		return 0;
	char *to = buf_reserve(buf, size);
	if (!to)
		return -ENOMEM;
	memcpy(to, bytes, size);
	buf_commit(buf, size);
	return 0;
}

int buf_printf(struct buf *buf, const char *format, ...)
{
	char line[256];
	cleanup_free char *longer = NULL;
	va_list args;

	va_start(args, format);
	int length = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (length < 0)
		return -EINVAL;
	if ((size_t)length < sizeof(line))
		return buf_append(buf, line, (size_t)length);
	if ((size_t)length > buf_room(buf))
		return -ENOBUFS;
	/* Not straight into the queue: its NUL need not fit. */
	longer = malloc((size_t)length + 1);
	if (!longer)
		return -ENOMEM;
	va_start(args, format);
	vsnprintf(longer, (size_t)length + 1, format, args);
	va_end(args);
	return buf_append(buf, longer, (size_t)length);
}

int buf_read_all(struct buf *buf, int fd)
{
	for (;;) {
		size_t room = min_size(buf_room(buf), CHUNK);
		char *to = room ? buf_reserve(buf, room) : NULL;
		if (!to)
			return room ? -ENOMEM : -EFBIG;
		ssize_t n = read(fd, to, room);
		if (n > 0)
			buf_commit(buf, (size_t)n);
		else if (!n)
			return 0;
		else if (errno != EINTR)
			return -errno;
	}
}

void buf_consume(struct buf *buf, size_t size)
{
	buf->start += min_size(size, buf_length(buf));
	if (buf->start == buf->end)
		buf_deinit(buf);
}

void buf_deinit(struct buf *buf)
{
	free(buf->data);
	buf->data = NULL;
	buf->start = buf->end = buf->size = 0;
}
