/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What both sides of a probe do. An end is put to the test while the last bytes are still on their
 * way: who reads takes a break before the end, and who writes has closed by then. There are two
 * breaks because the buffers of transports differ by a factor of ten.
 */

#include "contrib/hvcat/probe.h"

#include "contrib/hvcat/wire.h"

#define PIECE 16384
#define BREAK 100 /* milliseconds */

const char *const probe_half_close_words[] = {
	[PROBE_STAYS_OPEN] = "the end arrives, and the way back stays open",
	[PROBE_NOT_PASSED_ON] = "the end does not arrive",
	[PROBE_ENDS_BOTH] = "the way back ends, too",
};

int probe_send(int fd, int milliseconds)
{
	char bytes[PIECE] = { 0 };
	int r = 0;
	for (size_t sent = 0; r >= 0 && sent < PROBE_TRANSFER; sent += sizeof(bytes))
		r = wire_write(fd, bytes, sizeof(bytes), milliseconds);
	return r;
}

size_t probe_count(int fd, int milliseconds)
{
	static const size_t breaks[] = { PROBE_TRANSFER - (128u << 10), PROBE_TRANSFER - PIECE };
	char bytes[PIECE];
	size_t received = 0, next = 0;
	ssize_t n = 0;
	do {
		received += (size_t)n;
		if (next < array_size(breaks) && received >= breaks[next]) {
			wire_sleep(BREAK);
			next++;
		}
		n = wire_read(fd, bytes, sizeof(bytes), milliseconds);
	} while (n > 0 && received <= PROBE_TRANSFER);
	return received;
}
