/* SPDX-License-Identifier: Apache-2.0 */

/* See the header: the waiting, which is the same on both systems. */

#include "contrib/hvcat/wire.h"

int wire_wait(int fd, int milliseconds)
{
	return wire_ready(fd, false, milliseconds);
}

static ssize_t receive(int fd, void *bytes, size_t size, bool peek, int milliseconds)
{
	int r = wire_ready(fd, false, milliseconds);
	if (r <= 0)
		return r < 0 ? r : -ETIMEDOUT;
	return wire_take(fd, bytes, size, peek);
}

ssize_t wire_read(int fd, void *bytes, size_t size, int milliseconds)
{
	return receive(fd, bytes, size, false, milliseconds);
}

ssize_t wire_peek(int fd, void *bytes, size_t size, int milliseconds)
{
	return receive(fd, bytes, size, true, milliseconds);
}

int wire_write(int fd, const void *bytes, size_t size, int milliseconds)
{
	const char *at = bytes;
	while (size) {
		int r = wire_ready(fd, true, milliseconds);
		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		ssize_t n = wire_give(fd, at, size);
		if (n < 0 && n != -EAGAIN)
			return (int)n;
		if (n > 0) {
			at += n;
			size -= (size_t)n;
		}
	}
	return 0;
}
