/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What decodes must encode, to something that decodes to the same: seen by encoding it again. */

#include "oci/json.h"

#include <string.h>

static inline void roundtrip(const struct json_type *type, const char *text, size_t length)
{
	struct arena arena cleanup(arena_free) = ARENA(64u << 20);
	struct buf once cleanup(buf_deinit) = BUF(JSON_TEXT_MAX);
	struct buf twice cleanup(buf_deinit) = BUF(JSON_TEXT_MAX);
	struct fault fault = FAULT_NULL;
	void *object = arena_alloc(&arena, type->size);
	void *again = arena_alloc(&arena, type->size);

	if (!object || !again || json_decode(&arena, type, text, length, object, &fault) < 0)
		return;
	if (json_encode(type, object, &once, true) < 0 ||
	    json_decode(&arena, type, buf_head(&once), buf_length(&once), again, &fault) < 0 ||
	    json_encode(type, again, &twice, true) < 0 || buf_length(&once) != buf_length(&twice) ||
	    memcmp(buf_head(&once), buf_head(&twice), buf_length(&once)))
		abort();
}
