/* SPDX-License-Identifier: Apache-2.0 */

/* JSON text to trees and back: what is read, what is refused with which words, what is written. */

#include "oci/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* Parses text and compares what it is written as. */
static void assert_rewritten(const char *text, const char *expected, bool escape_html)
{
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	struct buf out cleanup(buf_deinit) = BUF(1 << 20);
	struct fault fault = FAULT_NULL;
	struct json tree;

	if (json_parse(&arena, text, strlen(text), &tree, &fault) < 0)
		fail_msg("%s: %s", text, fault.text);
	assert_int_equal(json_write(&out, &tree, escape_html), 0);
	assert_int_equal(buf_append(&out, "", 1), 0);
	assert_string_equal(buf_head(&out), expected);
}

static void test_good(void **state)
{
	static const struct {
		const char *text, *written;
	} cases[] = {
		{ " null ", "null" },
		{ "true", "true" },
		{ "\t\r\n[ ]", "[]" },
		{ "{ }\n", "{}" },
		{ "0", "0" },
		{ "-0", "-0" },
		{ "1e400", "1e400" },
		{ "123456789012345678901234567890", "123456789012345678901234567890" },
		{ "[1, -2.50, 3e+7 ,[[]],{}]", "[1,-2.50,3e+7,[[]],{}]" },
		{ "{\"a\":1,\"A\":2,\"\":{\"a\":[null,false]}}",
		  "{\"a\":1,\"A\":2,\"\":{\"a\":[null,false]}}" },
		{ "[{\"a\":[]},{\"b\":{}},\"c\"]", "[{\"a\":[]},{\"b\":{}},\"c\"]" },
		{ "\"\\u0041\\/\\b\\f\\n\\r\\t\\\"\\\\\"", "\"A/\\b\\f\\n\\r\\t\\\"\\\\\"" },
		{ "\"\\u001F\\u007f\"", "\"\\u001f\x7f\"" },
		{ "\"\\ud83d\\ude00\\uD83D\\uDE00\"", "\"\xf0\x9f\x98\x80\xf0\x9f\x98\x80\"" },
		{ "\"\xc3\xa9\\u00e9\"", "\"\xc3\xa9\xc3\xa9\"" },
		{ "\"\\\\u0000 \\\\ud800\"", "\"\\\\u0000 \\\\ud800\"" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++)
		assert_rewritten(cases[i].text, cases[i].written, false);
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *reason;
	} cases[] = {
		{ "", "line 1, column 1: premature EOF" },
		{ " \n ", "line 2, column 2: premature EOF" },
		{ "[1,2", "line 1, column 5: premature EOF" },
		{ "\"abc", "line 1, column 5: premature EOF" },
		{ "{\"a\":1}x", "line 1, column 8: trailing garbage" },
		{ "1 2", "line 1, column 4: trailing garbage" },
		{ "{} {}", "line 1, column 4: trailing garbage" },
		{ "{a:1}", "line 1, column 2: invalid char in json text" },
		{ "{'a':1}", "line 1, column 2: invalid char in json text" },
		{ "\xef\xbb\xbf{}", "line 1, column 1: invalid char in json text" },
		{ "{1:2}", "line 1, column 2: invalid object key (must be a string)" },
		{ "{\"a\":1,}", "line 1, column 8: invalid object key (must be a string)" },
		{ "{\"\xc3\xa9\":1,\n \"b\":tru}",
		  "line 2, column 9: invalid string in json text" },
		{ "[1,]", "line 1, column 4: unallowed token at this point in JSON text" },
		{ "[01]", "line 1, column 3: after array element, I expect ',' or ']'" },
		{ "[1.]", "line 1, column 4: malformed number, "
		          "a digit is required after the decimal point" },
		{ "-", "line 1, column 2: malformed number, "
		       "a digit is required after the minus sign" },
		{ "[1, /* two */ 2]", "line 1, column 5: probable comment found in input text, "
		                      "comments are not enabled" },
		{ "\"a\nb\"", "line 1, column 3: invalid character inside string" },
		{ "\"\\u12x4\"", "line 1, column 6: invalid (non-hex) character occurs after '\\u' "
		                 "inside string" },
		{ "\"\\", "line 1, column 3: inside a string, '\\' occurs before a character "
		         "which it may not" },
		{ "\"\\x\"", "line 1, column 3: inside a string, '\\' occurs before a character "
		              "which it may not" },
		{ "\"\\u00", "line 1, column 6: invalid (non-hex) character occurs after '\\u' "
		             "inside string" },
		{ "\"a\\u0000\"", "line 1, column 3: NUL in a string" },
		{ "\"\\ud800\"", "line 1, column 2: half of a surrogate pair" },
		{ "\"\\udc00\\ud800\"", "line 1, column 2: half of a surrogate pair" },
		{ "\"\\uD800\\u", "line 1, column 2: half of a surrogate pair" },
		{ "\"\\ud800\\ud800\"", "line 1, column 2: half of a surrogate pair" },
		{ "\"\\ud800\\n\"", "line 1, column 2: half of a surrogate pair" },
		{ "\"\\ud800\\\\udc00\"", "line 1, column 2: half of a surrogate pair" },
		{ "\n\n\"\xc3\xa9\xff\"", "line 3, column 3: invalid UTF-8" },
		{ "\"\xc0\x80\"", "line 1, column 2: invalid UTF-8" },
		{ "\"\xed\xa0\x80\"", "line 1, column 2: invalid UTF-8" },
		{ "\"\xf4\x90\x80\x80\"", "line 1, column 2: invalid UTF-8" },
		{ "\"\xe2\x82", "line 1, column 2: invalid UTF-8" },
		{ "{\"a\":1,\"b\":2,\"a\":3}",
		  "line 1, column 19: member \"a\" occurs twice in this object" },
		{ "{\"x\":[{\"a\":1,\"\\u0061\":2}]}",
		  "line 1, column 24: member \"a\" occurs twice in this object" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
		struct fault fault = FAULT_NULL;
		struct json tree;
		/* Of the exact size, so that reading past the end is seen. */
		size_t length = strlen(cases[i].text);
		cleanup_free char *text = malloc(length ? length : 1);
		memcpy(text, cases[i].text, length);
		assert_int_equal(json_parse(&arena, text, length, &tree, &fault), -EINVAL);
		assert_string_equal(fault.text, cases[i].reason);
		assert_int_equal(fault.hresult, HRESULT_INVALID_JSON);
		assert_int_equal(json_parse(&arena, text, length, &tree, NULL), -EINVAL);
	}
}

static void test_nul(void **state)
{
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	struct fault fault = FAULT_NULL;
	struct json tree;

	(void)state;
	assert_int_equal(json_parse(&arena, "\"a\0b\"", 5, &tree, &fault), -EINVAL);
	assert_string_equal(fault.text, "line 1, column 3: NUL in the text");
	/* A C string handed over with its NUL is a mistake, not white space. */
	assert_int_equal(json_parse(&arena, "{}", 3, &tree, &fault), -EINVAL);
	assert_string_equal(fault.text, "line 1, column 3: NUL in the text");
}

static int parse_repeated(size_t limit, const char *before, const char *unit, size_t count,
                          const char *after, struct fault *fault)
{
	struct arena arena cleanup(arena_free) = ARENA(limit);
	struct buf text cleanup(buf_deinit) = BUF(64u << 20);
	struct json tree;

	buf_append(&text, before, strlen(before));
	for (size_t i = 0; i < count; i++)
		buf_append(&text, unit, strlen(unit));
	buf_append(&text, after, strlen(after));
	return json_parse(&arena, buf_head(&text), buf_length(&text), &tree, fault);
}

static void test_limits(void **state)
{
	struct fault fault = FAULT_NULL;
	char brackets[JSON_DEPTH_MAX + 1];

	(void)state;
	memset(brackets, ']', JSON_DEPTH_MAX);
	brackets[JSON_DEPTH_MAX] = '\0';
	assert_int_equal(parse_repeated(JSON_ARENA, "", "[", JSON_DEPTH_MAX, brackets, &fault), 0);
	assert_int_equal(parse_repeated(JSON_ARENA, "", "[", 200, "", &fault), -E2BIG);
	assert_string_equal(fault.text, "line 1, column 65: more than 64 levels deep");
	assert_int_equal(parse_repeated(JSON_ARENA, "", "{\"a\":", 200, "", &fault), -E2BIG);
	assert_string_equal(fault.text, "line 1, column 321: more than 64 levels deep");
	assert_int_equal(parse_repeated(JSON_ARENA, "", "[", 1000000, "", &fault), -E2BIG);

	assert_int_equal(parse_repeated(JSON_ARENA, "[1", ",1", 65535, "]", &fault), 0);
	assert_int_equal(parse_repeated(JSON_ARENA, "[1", ",1", 65536, "]", &fault), -E2BIG);
	assert_string_equal(fault.text,
	                    "line 1, column 131074: more than 65536 values in one array or object");

	assert_int_equal(parse_repeated(JSON_ARENA, "\"", "0123456789abcdef", 262143, "\"", &fault),
	                 0);
	assert_int_equal(parse_repeated(JSON_ARENA, "\"", "0123456789abcdef", 327680, "\"", &fault),
	                 -E2BIG);
	assert_string_equal(fault.text, "the document is longer than 4194304 bytes");

	/* In the arena, and on the parser's own stack. */
	assert_int_equal(parse_repeated(1000, "\"", "0123456789abcdef", 100, "\"", &fault),
	                 -ENOMEM);
	assert_string_equal(fault.text,
	                    "line 1, column 1602: needs more than 1000 bytes of memory");
	assert_int_equal(parse_repeated(1 << 16, "[null", ",null", 10000, "]", &fault), -ENOMEM);
	assert_int_equal(parse_repeated(1 << 16, "[{", "}", 1, "]", &fault), 0);
	for (size_t limit = 0; limit < 8192; limit += 50)
		parse_repeated(limit, "[1", ",{\"abc\":[\"def\",-1]}", 20, "]", &fault);
}

/* Many members are not compared each with each, and are compared. */
static void test_many_members(void **state)
{
	struct buf text cleanup(buf_deinit) = BUF(64u << 20);
	struct fault fault = FAULT_NULL;
	struct json tree;

	(void)state;
	for (int twice = 0; twice < 2; twice++) {
		struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
		buf_consume(&text, SIZE_MAX);
		buf_append(&text, "{", 1);
		for (int i = 0; i < 60000; i++)
			buf_printf(&text, "\"the same beginning for all %d\":%d,", i, i);
		buf_printf(&text, "\"the same beginning for all %d\":0}", twice ? 31234 : 60000);
		int error = json_parse(&arena, buf_head(&text), buf_length(&text), &tree, &fault);
		assert_int_equal(error, twice ? -EINVAL : 0);
		if (twice)
			break;
		const struct json *last = json_get(&tree, "the same beginning for all 60000");
		assert_string_equal(last->text, "0");
	}
	assert_non_null(strstr(fault.text,
	                       ": member \"the same beginning for all 31234\" occurs twice"));
}

static void test_get(void **state)
{
	static const char text[] = "{\"NAME\":1,\"Name\":2,\"name\":3,\"Other\":4,\"nothing\":null,"
	                           "\"nOTHING\":5,\"\":6}";
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	struct json tree;

	(void)state;
	assert_int_equal(json_parse(&arena, text, strlen(text), &tree, NULL), 0);
	assert_int_equal(tree.length, 7);
	assert_string_equal(json_get(&tree, "name")->text, "3");
	assert_string_equal(json_get(&tree, "Name")->text, "2");
	assert_string_equal(json_get(&tree, "nAmE")->text, "1");
	assert_string_equal(json_get(&tree, "oTHER")->text, "4");
	assert_string_equal(json_get(&tree, "")->text, "6");
	assert_null(json_get(&tree, "nothing"));
	assert_null(json_get(&tree, "nam"));
	assert_null(json_get(&tree, "names"));
	assert_null(json_get(&tree.members[0].value, "x"));
}

static void test_strings(void **state)
{
	static const struct {
		const char *text, *plain, *html;
	} cases[] = {
		{ "", "\"\"", "\"\"" },
		{ "a<b>&c", "\"a<b>&c\"", "\"a\\u003cb\\u003e\\u0026c\"" },
		{ "\x01\x1f\x7f", "\"\\u0001\\u001f\x7f\"", "\"\\u0001\\u001f\x7f\"" },
		/* Go escapes these two always. */
		{ "\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa",
		  "\"\xe2\x80\xa7\\u2028\\u2029\xe2\x80\xaa\"",
		  "\"\xe2\x80\xa7\\u2028\\u2029\xe2\x80\xaa\"" },
		{ "\xff\xc3", "\"\\ufffd\\ufffd\"", "\"\\ufffd\\ufffd\"" },
		{ "\xf0\x9f\x98\x80\xe2\x82", "\"\xf0\x9f\x98\x80\\ufffd\\ufffd\"",
		  "\"\xf0\x9f\x98\x80\\ufffd\\ufffd\"" },
		{ "\"\\/\b\f\n\r\t",
		  "\"\\\"\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\"" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		for (int html = 0; html < 2; html++) {
			const char *expected = html ? cases[i].html : cases[i].plain;
			size_t length = strlen(cases[i].text);
			struct buf out cleanup(buf_deinit) = BUF(strlen(expected));
			struct buf tight cleanup(buf_deinit) = BUF(strlen(expected) - 1);
			assert_int_equal(json_write_string(&out, cases[i].text, length, html), 0);
			assert_int_equal(buf_length(&out), strlen(expected));
			assert_memory_equal(buf_head(&out), expected, strlen(expected));
			assert_int_equal(json_write_string(&tight, cases[i].text, length, html),
			                 -ENOBUFS);
			assert_int_equal(buf_length(&tight), 0);
		}
	}
	struct buf out cleanup(buf_deinit) = BUF(100);
	assert_int_equal(json_write_string(&out, "a\0b", 3, false), 0);
	assert_memory_equal(buf_head(&out), "\"a\\u0000b\"", 10);
	assert_rewritten("{\"<\":[\"&\",\"\\u003e\"]}",
	                 "{\"\\u003c\":[\"\\u0026\",\"\\u003e\"]}", true);
	assert_rewritten("{\"<\":[\"&\",\"\\u003e\"]}", "{\"<\":[\"&\",\">\"]}", false);
}

static void test_write_full(void **state)
{
	static const char text[] = "{\"a\":[1,true,false,null,\"b\"],\"c\":{\"d\":-1}}";
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	struct json tree;

	(void)state;
	assert_int_equal(json_parse(&arena, text, strlen(text), &tree, NULL), 0);
	for (size_t limit = 0; limit <= strlen(text); limit++) {
		struct buf out cleanup(buf_deinit) = BUF(limit);
		assert_int_equal(json_write(&out, &tree, false),
		                 limit < strlen(text) ? -ENOBUFS : 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_many_members),
		cmocka_unit_test(test_get),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_write_full),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
