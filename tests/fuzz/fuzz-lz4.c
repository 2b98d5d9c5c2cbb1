/* SPDX-License-Identifier: Apache-2.0 */

/* A compressed module, with room for less than it may decode to. */

#include "tests/fuzz/fuzz.h"

#include "agent/lz4.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static uint8_t out[65536];
	ssize_t length = lz4_decode(bytes, size, out, sizeof(out));
	if (length > (ssize_t)sizeof(out))
		abort();
	return 0;
}
