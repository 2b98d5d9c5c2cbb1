/* SPDX-License-Identifier: Apache-2.0 */

/* Options of a runtime, and keys that are unique. */

#include "tests/fuzz/fuzz.h"

#include "shim/containerd/toml.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	cleanup(arena_free) struct arena arena = ARENA(TOML_ARENA);
	toml_entries entries;

	if (toml_parse(&arena, (const char *)bytes, size, &entries, NULL) < 0)
		return 0;
	for (size_t i = 0; i < entries.count; i++) {
		for (size_t other = 0; other < i; other++) {
			if (!strcmp(entries.item[i].key, entries.item[other].key))
				abort();
		}
	}
	return 0;
}
