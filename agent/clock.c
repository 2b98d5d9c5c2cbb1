/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A VM's own clock stood still while the VM was paused, or says whatever its VMM's idea of a clock
 * chip is; and after some hundred milliseconds of life on an emulated CPU there is little that
 * could not be guessed. The host is trusted with both: it could read the VM's memory.
 */

#include "agent/clock.h"

#include <fcntl.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#define SECOND 1000000000u

int clock_set(uint64_t nanoseconds)
{
	struct timespec now = {
		.tv_sec = (time_t)(nanoseconds / SECOND),
		.tv_nsec = (long)(nanoseconds % SECOND),
	};
	return clock_settime(CLOCK_REALTIME, &now) < 0 ? -errno : 0;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -EINVAL;
}

int entropy_decode(const char *text, uint8_t ret[static ENTROPY_MAX])
{
	int count = 0;
	for (; *text; text += 2) {
		int high = digit(text[0]), low = text[1] ? digit(text[1]) : -EINVAL;
		if (high < 0 || low < 0 || count == ENTROPY_MAX)
			return -EINVAL;
		ret[count++] = (uint8_t)(high << 4 | low);
	}
	return count;
}

int entropy_credit(const uint8_t *bytes, size_t count)
{
	_Alignas(struct rand_pool_info) uint8_t room[sizeof(struct rand_pool_info) + ENTROPY_MAX];
	struct rand_pool_info *pool = (struct rand_pool_info *)(void *)room;
	cleanup_close int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : 0;
	while (!r && count) {
		size_t size = min_size(count, ENTROPY_MAX);
		pool->entropy_count = 8 * (int)size;
		pool->buf_size = (int)size;
		memcpy(room + sizeof(*pool), bytes, size);
		r = ioctl(fd, RNDADDENTROPY, pool) < 0 ? -errno : 0;
		bytes += size;
		count -= size;
	}
	explicit_bzero(room, sizeof(room));
	return r;
}

int entropy_add(const char *text)
{
	uint8_t bytes[ENTROPY_MAX];
	int r = entropy_decode(text, bytes);
	if (r > 0)
		r = entropy_credit(bytes, (size_t)r);
	explicit_bzero(bytes, sizeof(bytes));
	return r;
}
