/* SPDX-License-Identifier: Apache-2.0 */

/* Whatever is taken for an endpoint has a canonical URL, which is its own canonical URL. */

#include "hvsocket/address.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static char text[HV_PATH_MAX + 64], again[HV_PATH_MAX + 64];
	char *input = strndup((const char *)bytes, size);
	struct hv_endpoint endpoint;
	const char *why = NULL;
	if (input && hv_endpoint_parse(input, &endpoint, &why) == 0) {
		int n = hv_endpoint_format(&endpoint, text, sizeof(text));
		if (n < 0 || (size_t)n >= sizeof(text) || hv_endpoint_parse(text, &endpoint, &why) < 0)
			abort();
		hv_endpoint_format(&endpoint, again, sizeof(again));
		if (strcmp(text, again) != 0)
			abort();
	} else if (input && !why) {
		abort();
	}
	free(input);
	return 0;
}
