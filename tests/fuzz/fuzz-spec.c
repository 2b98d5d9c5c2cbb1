/* SPDX-License-Identifier: Apache-2.0 */

/* A config.json as a caller may write it. */

#include "oci/spec.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/roundtrip.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	struct fault fault = FAULT_NULL;
	struct oci_spec spec = { 0 };

	if (size > 65536)
		return 0;
	roundtrip(&oci_spec_type, (const char *)bytes, size);
	if (oci_spec_decode(&arena, (const char *)bytes, size, &spec, &fault) < 0 && !*fault.text)
		abort();
	return 0;
}
