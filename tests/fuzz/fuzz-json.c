/* SPDX-License-Identifier: Apache-2.0 */

/* What is parsed is written, parsed again and written again: both texts must be equal. */

#include "oci/json.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static bool rewrite(const char *text, size_t size, bool escape_html, struct buf *out)
{
	struct arena arena cleanup(arena_free) = ARENA(1 << 20);
	struct fault fault = FAULT_NULL;
	struct json tree;

	return json_parse(&arena, text, size, &tree, &fault) == 0 &&
	       json_write(out, &tree, escape_html) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct buf first cleanup(buf_deinit) = BUF(1 << 22);
	struct buf second cleanup(buf_deinit) = BUF(1 << 22);

	if (!rewrite((const char *)bytes, size, size & 1, &first))
		return 0;
	bool again = rewrite(buf_head(&first), buf_length(&first), size & 1, &second);
	if (!again || buf_length(&first) != buf_length(&second) ||
	    memcmp(buf_head(&first), buf_head(&second), buf_length(&first)))
		abort();
	return 0;
}
