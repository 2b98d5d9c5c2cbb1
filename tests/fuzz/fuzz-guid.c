/* SPDX-License-Identifier: Apache-2.0 */

/* Whatever is taken for a GUID is written and read again as the same one. */

#include "hvsocket/guid.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char *input = strndup((const char *)bytes, size), text[HV_GUID_TEXT];
	struct hv_guid guid, again;
	if (input && hv_guid_parse(input, &guid) == 0) {
		hv_guid_format(&guid, text);
		if (hv_guid_parse(text, &again) < 0 || !hv_guid_equal(&guid, &again))
			abort();
	}
	free(input);
	return 0;
}
