/* SPDX-License-Identifier: Apache-2.0 */

/* Lines of a log, and the times that people ask for. */

#include "tests/fuzz/fuzz.h"

#include "shim/logview.h"
#include "shim/timetext.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const struct timespec now = { .tv_sec = 1795316645 };
	struct timespec since;
	struct log_line line;
	char *text = malloc(size + 1);
	for (size_t i = 0; i < size; i++)
		text[i] = (char)bytes[i];
	text[size] = '\0';
	if (log_line_parse(text, size, &line) && line.text + line.size != text + size)
		abort();
	since_parse(text, &now, &since);
	free(text);
	return 0;
}
