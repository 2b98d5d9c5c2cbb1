/* SPDX-License-Identifier: Apache-2.0 */

/* Randomness on Linux: getrandom(2), which needs no file and waits for the first seed. */

#include "hvsocket/guid.h"

#include <sys/random.h>

int hv_random(void *bytes, size_t size)
{
	ssize_t n;
	do
		n = getrandom(bytes, size, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -EIO;
}
