/* SPDX-License-Identifier: Apache-2.0 */

/* Whatever is taken for a place has an absolute path, and a logger a command line. */

#include "shim/containerd/stdio_uri.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	cleanup(arena_free) struct arena arena = ARENA(STDIO_URI_ARENA);
	cleanup_free char *text = strndup((const char *)bytes, size);
	struct stdio_uri uri;
	size_t count = 0;

	if (!text || stdio_uri_parse(&uri, text, &arena, NULL) < 0)
		return 0;
	if (uri.kind != STDIO_URI_NONE && *uri.path != '/')
		abort();
	if (uri.kind != STDIO_URI_LOGGER)
		return 0;
	while (uri.args[count])
		count++;
	if (uri.args[0] != uri.path || count > STDIO_URI_ARGS_MAX)
		abort();
	return 0;
}
