/* SPDX-License-Identifier: Apache-2.0 */

/* The beginning of a disk; and, as text, the Settings of everything that can be added to a VM. */

#include "tests/fuzz/fuzz.h"

#include "agent/storage_private.h"
#include "agent/superblock.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const struct storage_resource *const resources[] = {
		&storage_disk, &storage_device, &storage_directory, &storage_layers
	};
	const struct storage storage = { .below = "/run" };
	const char *type;
	superblock_type(bytes, size, &type);
	for (size_t i = 0; i < array_size(resources); i++) {
		cleanup(arena_free) struct arena arena = ARENA(1 << 20);
		struct fault fault;
		void *settings = arena_alloc(&arena, resources[i]->type->size);
		if (!settings || json_decode(&arena, resources[i]->type, (const char *)bytes, size,
		                             settings, &fault) < 0)
			continue;
		if (resources[i]->check(&storage, settings, size % 2, &fault) == 0)
			resources[i]->path(settings, 0);
	}
	return 0;
}
