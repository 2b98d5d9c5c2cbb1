/* SPDX-License-Identifier: Apache-2.0 */

/* Mount options, one per line, and the data that is left of them. */

#include "tests/fuzz/fuzz.h"

#include "agent/mountfd.h"

#include <string.h>

#define WORDS 64

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	cleanup(arena_free) struct arena arena = ARENA(1 << 20);
	const char *words[WORDS];
	struct str_list list = { .item = words };
	char *text = arena_copy(&arena, (const char *)bytes, size), *word;
	while (list.count < WORDS && (word = strsep(&text, "\n")))
		words[list.count++] = word;
	struct mount_options options;
	if (mount_options_parse(&arena, &list, &options) == 0)
		mount_data_fits(options.data);
	return 0;
}
