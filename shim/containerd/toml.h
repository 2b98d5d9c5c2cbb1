/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A part of TOML 1.0, as far as options of a runtime go: comments, keys (bare, quoted, dotted),
 * tables, strings on one line, decimal integers, booleans and arrays of strings. What else there is
 * (floats, dates, multi-line strings, inline tables, arrays of tables) is refused by name.
 *
 * The result is flat: a key below [table] is called "table.key".
 */

#include "oci/json.h"

#define TOML_SIZE_MAX (256u << 10)      /* bytes of one document */
#define TOML_ENTRIES_MAX 512            /* keys of a document, strings of an array */
#define TOML_ARENA (4u << 20)           /* a good arena limit for one document */

enum toml_kind { TOML_STRING, TOML_INTEGER, TOML_BOOLEAN, TOML_LIST };

struct toml_entry {
	const char *key;
	unsigned line;
	enum toml_kind kind;
	const char *text;               /* UTF-8 without NUL */
	int64_t integer;
	bool boolean;
	struct str_list list;
};
typedef LIST(struct toml_entry) toml_entries;

/* -EINVAL with a fault such as `line 3: Partition: a string must end on its line`; -E2BIG over a
 * limit; -ENOMEM. */
int toml_parse(struct arena *arena, const char *text, size_t size, toml_entries *ret,
               struct fault *fault);
