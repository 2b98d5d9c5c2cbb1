/* SPDX-License-Identifier: Apache-2.0 */

/* A record of the kernel's log: a line with an LF at its end and nowhere else. */

#include "tests/fuzz/fuzz.h"

#include "agent/kmsg.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct kmsg_record record;
	char line[KMSG_LINE];
	if (kmsg_parse((const char *)bytes, size, &record) < 0)
		return 0;
	size_t length = kmsg_format(&record, line, sizeof(line));
	if (length > sizeof(line) || memchr(line, '\n', length) != line + length - 1)
		abort();
	return 0;
}
