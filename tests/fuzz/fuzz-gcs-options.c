/* SPDX-License-Identifier: Apache-2.0 */

/* Words of the kernel's command line, one in each line: none is made up, and none is told twice. */

#include "tests/fuzz/fuzz.h"

#include "agent/gcs_options.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct arena arena = ARENA(1 << 20);
	struct gcs_options got;
	struct str_list rest;
	char *text = memcpy(malloc(size + 1), bytes, size), *at = text, init[] = "/init";
	char *argv[64] = { init };
	int argc = 1;
	text[size] = '\0';
	while (argc < 63 && (argv[argc] = strsep(&at, "\n")))
		argc++;
	argv[argc] = NULL;
	if (!gcs_options_take(&arena, argc, argv, &got, &rest)) {
		if (!rest.count || strcmp(rest.item[0], "/init") != 0 || rest.item[rest.count] ||
		    rest.count + got.ignored.count > size + 2)
			abort();
	}
	arena_free(&arena);
	free(text);
	return 0;
}
