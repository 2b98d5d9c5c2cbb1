/* SPDX-License-Identifier: Apache-2.0 */

/* What of TOML is read, and what is refused where. */

#include "shim/containerd/toml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static int parse(struct arena *arena, const char *text, toml_entries *ret, struct fault *fault)
{
	*arena = (struct arena)ARENA(TOML_ARENA);
	*fault = (struct fault)FAULT_NULL;
	return toml_parse(arena, text, strlen(text), ret, fault);
}

static void test_strings(void **state)
{
	static const struct { const char *text, *value; } rows[] = {
		{ "a = ''", "" },
		{ "a=\"\"", "" },
		{ "a = 'x\\n \"y\"'", "x\\n \"y\"" },
		{ "a = \"x'y\"", "x'y" },
		{ "a = \"\\b\\t\\n\\f\\r\\\"\\\\\"", "\b\t\n\f\r\"\\" },
		{ "a = \"\\u0041\\u00e9\\u20AC\\U0001f600\"", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "a = \"\xc3\xa9\ttab\"", "\xc3\xa9\ttab" },
		{ " \t a\t=\t'x'\t# comment ' \" [", "x" },
		{ "# first\r\n\r\n\n  a = 'x'\r\n", "x" },
		{ "\"a\" = 'x'", "x" },
		{ "'a' = 'x # y'", "x # y" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		struct arena arena;
		struct fault fault;
		toml_entries found;
		assert_int_equal(parse(&arena, rows[i].text, &found, &fault), 0);
		assert_int_equal(found.count, 1);
		assert_string_equal(found.item[0].key, "a");
		assert_int_equal(found.item[0].kind, TOML_STRING);
		assert_string_equal(found.item[0].text, rows[i].value);
		arena_free(&arena);
	}
}

static void test_integers(void **state)
{
	static const struct { const char *text; int64_t value; } rows[] = {
		{ "a = 0", 0 }, { "a = -0", 0 }, { "a = +7", 7 }, { "a = 1_000_2", 10002 },
		{ "a = 9223372036854775807", INT64_MAX }, { "a = -9223372036854775808", INT64_MIN },
	};
	static const char *const wrong[] = {
		"a = 9223372036854775808", "a = -9223372036854775809",
		"a = 99999999999999999999999", "a = 01", "a = 1__0", "a = _1", "a = 1_", "a = 1.0",
		"a = 1e3", "a = 0x10", "a = +", "a = --1", "a = 1979-05-27", "a = 07:32", "a = inf",
	};
	struct arena arena;
	struct fault fault;
	toml_entries found;

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		assert_int_equal(parse(&arena, rows[i].text, &found, &fault), 0);
		assert_int_equal(found.item[0].kind, TOML_INTEGER);
		assert_true(found.item[0].integer == rows[i].value);
		arena_free(&arena);
	}
	for (size_t i = 0; i < array_size(wrong); i++) {
		assert_int_equal(parse(&arena, wrong[i], &found, &fault), -EINVAL);
		assert_int_equal(found.count, 0);
		assert_memory_equal(fault.text, "line 1: a: ", 11);
		arena_free(&arena);
	}
}

static void test_document(void **state)
{
	struct arena arena;
	struct fault fault;
	toml_entries found;

	(void)state;
	assert_int_equal(parse(&arena,
	        "Partition = 'qemu'\nDebug = true\nno = false # not\n"
	        "list = [\n  'a', # first\n\n  \"b\"\n, ]\nnone = []\n"
	        "x . y = 1\n[ x.z ]\nq = 'deep'\n\"k\".v = 2\n[x]\nlast = 3",
	        &found, &fault), 0);
	static const char *const keys[] = {
		"Partition", "Debug", "no", "list", "none", "x.y", "x.z.q", "x.z.k.v", "x.last",
	};
	assert_int_equal(found.count, array_size(keys));
	for (size_t i = 0; i < array_size(keys); i++)
		assert_string_equal(found.item[i].key, keys[i]);
	assert_true(found.item[1].boolean);
	assert_false(found.item[2].boolean);
	assert_int_equal(found.item[2].kind, TOML_BOOLEAN);
	assert_int_equal(found.item[3].list.count, 2);
	assert_string_equal(found.item[3].list.item[0], "a");
	assert_string_equal(found.item[3].list.item[1], "b");
	assert_int_equal(found.item[4].kind, TOML_LIST);
	assert_int_equal(found.item[4].list.count, 0);
	assert_int_equal(found.item[8].line, 15);
	arena_free(&arena);
	assert_int_equal(parse(&arena, "", &found, &fault), 0);
	assert_int_equal(found.count, 0);
	arena_free(&arena);
}

static void test_refused(void **state)
{
	static const struct { const char *text, *error; } rows[] = {
		{ "a = 1\n\nb", "line 3: b: = must stand here" },
		{ "= 1", "line 1: a key must stand here" },
		{ "a. = 1", "line 1: a key must stand here" },
		{ "\"\" = 1", "line 1: a key must not be empty or hold a dot" },
		{ "'a.b' = 1", "line 1: a key must not be empty or hold a dot" },
		{ "a b = 1", "line 1: a: = must stand here" },
		{ "a =", "line 1: a: must be a string, an integer, true, false or a list of strings" },
		{ "a = qemu", "line 1: a: must be a string" },
		{ "a = True", "line 1: a: must be a string" },
		{ "a = truer", "line 1: a: the line must end here" },
		{ "a = 'x' b = 'y'", "line 1: a: the line must end here" },
		{ "a = 'x", "line 1: a: a string must end on its line" },
		{ "a = 'x\n'", "line 1: a: a string must end on its line" },
		{ "a = \"x\\\"", "line 1: a: a string must end on its line" },
		{ "a = \"x\\", "line 1: a: bad escape sequence" },
		{ "a = \"\\q\"", "line 1: a: bad escape sequence" },
		{ "a = \"\\u12\"", "line 1: a: bad escape sequence" },
		{ "a = \"\\u0000\"", "line 1: a: bad escape sequence" },
		{ "a = \"\\ud800\"", "line 1: a: bad escape sequence" },
		{ "a = \"\\U00110000\"", "line 1: a: bad escape sequence" },
		{ "a = \"\\UFFFFFFFF\"", "line 1: a: bad escape sequence" },
		{ "a = '\xff'", "line 1: a: invalid UTF-8" },
		{ "a = '\x01'", "line 1: a: control character" },
		{ "a = 1 # \x01", "line 1: a: control character" },
		{ "\x7f", "line 1: a key must stand here" },
		{ "a = \"\"\"x\"\"\"", "line 1: a: multi-line strings are not supported" },
		{ "a = '''x'''", "line 1: a: multi-line strings are not supported" },
		{ "a = {b = 1}", "line 1: a: inline tables are not supported" },
		{ "\n[[a]]", "line 2: arrays of tables are not supported" },
		{ "[a", "line 1: a: ] must stand here" },
		{ "[a] b = 1", "line 1: a: the line must end here" },
		{ "[]", "line 1: a key must stand here" },
		{ "a = [1]", "line 1: a: an array can hold strings only" },
		{ "a = [['b']]", "line 1: a: an array can hold strings only" },
		{ "a = ['b' 'c']", "line 1: a: a comma or ] must stand here" },
		{ "a = [,]", "line 1: a: an array can hold strings only" },
		{ "a = [\n'b',\n", "line 3: a: the array has no end" },
		{ "a = 1\na = 2", "line 2: a: is set in line 1 already" },
		{ "a = 1\n\"a\" = 2", "line 2: a: is set in line 1 already" },
		{ "a = 1\na.b = 2", "line 2: a.b: is set in line 1 already" },
		{ "a.b = 1\na = 2", "line 2: a: is set in line 1 already" },
		{ "a = 1\n[a]", "line 2: a: is set in line 1 already" },
		{ "[a]\nb = 1\n[a]\nb = 2", "line 4: a.b: is set in line 2 already" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		struct arena arena;
		struct fault fault;
		toml_entries found;
		assert_int_equal(parse(&arena, rows[i].text, &found, &fault), -EINVAL);
		if (strncmp(fault.text, rows[i].error, strlen(rows[i].error)))
			assert_string_equal(fault.text, rows[i].error);
		assert_int_equal(found.count, 0);
		arena_free(&arena);
	}
}

/* The bytes, not a C string: a NUL is no end. */
static void test_nul(void **state)
{
	static const char text[] = "a = 1\n\0b = 2\n";
	struct arena arena = ARENA(TOML_ARENA);
	struct fault fault = FAULT_NULL;
	toml_entries found;

	(void)state;
	assert_int_equal(toml_parse(&arena, text, sizeof(text) - 1, &found, &fault), -EINVAL);
	assert_string_equal(fault.text, "line 2: control character");
	arena_free(&arena);
}

static void fill(struct buf *text, const char *head, const char *piece, size_t count)
{
	assert_int_equal(buf_append(text, head, strlen(head)), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(buf_append(text, piece, strlen(piece)), 0);
}

static void test_limits(void **state)
{
	static const struct { const char *head, *piece; size_t count; int result; } rows[] = {
		{ "a = ['x'", ", 'y'", TOML_ENTRIES_MAX, -E2BIG },
		{ "#", "x", TOML_SIZE_MAX, -E2BIG },
		{ "#", "x", TOML_SIZE_MAX - 1, 0 },
		{ "a = ['x'", ", 'y'", TOML_ENTRIES_MAX - 1, -EINVAL },
		{ "a", ".a", TOML_SIZE_MAX / 2 - 1, -ENOMEM },
		{ "", "[a.b.c]\n", TOML_SIZE_MAX / 8, 0 },
	};
	struct fault fault = FAULT_NULL;
	toml_entries found;

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		struct buf text = BUF(1u << 20);
		struct arena arena = ARENA(TOML_ARENA);
		fill(&text, rows[i].head, rows[i].piece, rows[i].count);
		assert_int_equal(toml_parse(&arena, buf_head(&text), buf_length(&text), &found,
		                            &fault), rows[i].result);
		arena_free(&arena);
		buf_deinit(&text);
	}
	struct buf text = BUF(1u << 20);
	struct arena arena = ARENA(TOML_ARENA);
	for (int i = 0; i <= TOML_ENTRIES_MAX; i++)
		assert_int_equal(buf_printf(&text, "k%d = 'v'\n", i), 0);
	assert_int_equal(toml_parse(&arena, buf_head(&text), buf_length(&text), &found, &fault),
	                 -E2BIG);
	assert_string_equal(fault.text, "line 513: k512: too many keys");
	arena_free(&arena);
	buf_deinit(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_integers),
		cmocka_unit_test(test_document),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
