/* SPDX-License-Identifier: Apache-2.0 */

/* Structs by tables: every codec in both directions, and the exact words of every refusal. */

#include "oci/json.h"
#include "oci/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

struct inner {
	const char *name;
	uint32_t number;
};

struct deep {
	struct inner inner;
	struct inner *again;
	LIST(struct inner) list;
};

enum colour { NO_COLOUR, RED, GREEN };

struct all {
	bool yes;
	int32_t i32;
	int64_t i64;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	struct opt_bool opt_bool;
	struct opt_i64 opt_i64;
	struct opt_u64 opt_u64;
	const char *text;
	struct str_list texts;
	struct str_map map;
	enum colour colour;
	struct inner object;
	struct inner *pointer;
	LIST(struct inner) list;
	LIST(uint32_t) u32_list;
	struct deep *nested;
	struct json any;
	const char *nested_any;
	unsigned letters;
};

static const struct json_name colour_names[] = { { "red", RED }, { "green", GREEN }, { NULL, 0 } };

static const struct json_field inner_fields[] = {
	JSON_FIELD(struct inner, name, "name", str, JSON_REQUIRED),
	JSON_FIELD(struct inner, number, "number", u32),
	{ NULL },
};
static const struct json_type inner_type = JSON_TYPE(struct inner, inner_fields);

static const struct json_field deep_fields[] = {
	JSON_FIELD(struct deep, inner, "inner", object, 0, &inner_type),
	JSON_FIELD(struct deep, again, "again", nested, 0, &inner_type),
	JSON_FIELD(struct deep, list, "list", list, 0, &inner_type),
	{ NULL },
};
static const struct json_type deep_type = JSON_TYPE(struct deep, deep_fields);

/* A codec of a user: a set of letters as an array of strings. */
static bool letters_absent(const struct json_field *field, const void *from)
{
	(void)field;
	return *(const unsigned *)from == 0;
}

static int letters_get(struct json_reader *reader, const struct json *value,
                       const struct json_field *field, void *to)
{
	if (value->kind != JSON_ARRAY)
		return json_refuse(reader, "is not an array");
	for (size_t i = 0; i < value->length; i++) {
		struct json_step step = { .index = i };
		const char *letter;
		json_enter(reader, &step);
		int error = json_str.get(reader, &value->items[i], field, &letter);
		if (error == 0 && (*letter < 'a' || *letter > 'z' || letter[1]))
			error = json_refuse(reader, "\"%s\" is no letter", letter);
		json_leave(reader);
		if (error < 0)
			return error;
		*(unsigned *)to |= 1u << (*letter - 'a');
	}
	return 0;
}

static int letters_put(struct json_writer *writer, const struct json_field *field, const void *from)
{
	const char *before = "[";
	int error = 0;

	(void)field;
	for (int i = 0; i < 26 && error == 0; i++) {
		if (!(*(const unsigned *)from >> i & 1))
			continue;
		error = json_put_raw(writer, before);
		if (error == 0)
			error = json_put_string(writer, (char[]){ (char)('a' + i), '\0' });
		before = ",";
	}
	return error < 0 ? error : json_put_raw(writer, *before == '[' ? "[]" : "]");
}

static const struct json_codec letters_codec = { letters_absent, letters_get, letters_put };

#define ALL_FIELDS(flags) \
	JSON_FIELD(struct all, yes, "bool", bool, flags), \
	JSON_FIELD(struct all, i32, "i32", i32, flags), \
	JSON_FIELD(struct all, i64, "i64", i64, flags), \
	JSON_FIELD(struct all, u16, "u16", u16, flags), \
	JSON_FIELD(struct all, u32, "u32", u32, flags), \
	JSON_FIELD(struct all, u64, "u64", u64, flags), \
	JSON_FIELD(struct all, opt_bool, "optBool", opt_bool, flags), \
	JSON_FIELD(struct all, opt_i64, "optI64", opt_i64, flags), \
	JSON_FIELD(struct all, opt_u64, "optU64", opt_u64, flags), \
	JSON_FIELD(struct all, text, "str", str, flags), \
	JSON_FIELD(struct all, texts, "strList", str_list, flags), \
	JSON_FIELD(struct all, map, "strMap", str_map, flags), \
	JSON_FIELD(struct all, colour, "enum", enum, flags, colour_names), \
	JSON_FIELD(struct all, object, "object", object, flags, &inner_type), \
	JSON_FIELD(struct all, pointer, "pointer", pointer, flags, &inner_type), \
	JSON_FIELD(struct all, list, "list", list, flags, &inner_type), \
	JSON_FIELD(struct all, u32_list, "u32List", u32_list, flags), \
	JSON_FIELD(struct all, nested, "nested", nested, flags, &deep_type), \
	JSON_FIELD(struct all, any, "any", any, flags), \
	JSON_FIELD(struct all, nested_any, "nestedAny", nested_any, flags), \
	JSON_FIELD_WITH(struct all, letters, "letters", letters_codec, flags), \
	{ NULL }

static const struct json_field all_fields[] = { ALL_FIELDS(0) };
static const struct json_type all_type = JSON_TYPE(struct all, all_fields);
static const struct json_field always_fields[] = { ALL_FIELDS(JSON_ALWAYS) };
static const struct json_type always_type = JSON_TYPE(struct all, always_fields);

static int decode(struct arena *arena, const char *text, struct all *all, struct fault *fault)
{
	memset(all, 0, sizeof(*all));
	return json_decode(arena, &all_type, text, strlen(text), all, fault);
}

static void assert_encoded(const struct json_type *type, const struct all *all,
                           const char *expected, bool escape_html)
{
	struct buf out cleanup(buf_deinit) = BUF(1 << 20);

	assert_int_equal(buf_append(&out, ">", 1), 0);
	assert_int_equal(json_encode(type, all, &out, escape_html), 0);
	assert_int_equal(buf_append(&out, "", 1), 0);
	assert_string_equal(buf_head(&out) + 1, expected);
}

/* Each is what its struct is written as again; text is for reading, written differs if given. */
static void test_round_trips(void **state)
{
	static const struct {
		const char *text, *written;
	} cases[] = {
		{ "{}", NULL },
		{ "{\"bool\":true}", NULL },
		{ "{\"bool\":false}", "{}" },
		{ "{\"i32\":-2147483648}", NULL },
		{ "{\"i32\":2147483647}", NULL },
		{ "{\"i32\":-0}", "{}" },
		{ "{\"i64\":-9223372036854775808}", NULL },
		{ "{\"i64\":9223372036854775807}", NULL },
		{ "{\"u16\":65535}", NULL },
		{ "{\"u32\":4294967295}", NULL },
		{ "{\"u64\":18446744073709551615}", NULL },
		{ "{\"u64\":9007199254740993}", NULL },
		{ "{\"optBool\":false}", NULL },
		{ "{\"optBool\":null}", "{}" },
		{ "{\"optI64\":0}", NULL },
		{ "{\"optI64\":-1}", NULL },
		{ "{\"optU64\":18446744073709551615}", NULL },
		{ "{\"str\":\"\"}", NULL },
		{ "{\"str\":null}", "{}" },
		{ "{\"str\":\"<a>\\n\\u00e9\"}", "{\"str\":\"<a>\\n\xc3\xa9\"}" },
		{ "{\"strList\":[]}", "{}" },
		{ "{\"strList\":[\"\",\"b\"]}", NULL },
		{ "{\"strMap\":{\"b\":\"1\",\"a\":\"2\",\"B\":\"3\",\"\":\"4\"}}",
		  "{\"strMap\":{\"\":\"4\",\"B\":\"3\",\"a\":\"2\",\"b\":\"1\"}}" },
		{ "{\"strMap\":{\"a\":null,\"b\":\"\"}}", "{\"strMap\":{\"b\":\"\"}}" },
		{ "{\"enum\":\"green\"}", NULL },
		{ "{\"object\":{\"name\":\"x\",\"number\":7}}", NULL },
		{ "{\"pointer\":{\"name\":\"\"}}", NULL },
		{ "{\"list\":[{\"name\":\"a\"},{\"name\":\"b\",\"number\":1}]}", NULL },
		{ "{\"u32List\":[0,4294967295]}", NULL },
		{ "{\"u32List\":[4294967295]}", NULL },
		{ "{\"nested\":\"{\\\"inner\\\":{\\\"name\\\":\\\"a\\\"}}\"}", NULL },
		{ "{\"nested\":\"{}\"}", NULL },
		{ "{\"nested\":\" { \\\"x\\\" : 1 } \"}", "{\"nested\":\"{}\"}" },
		{ "{\"nested\":\"{"
		  "\\\"again\\\":\\\"{\\\\\\\"name\\\\\\\":\\\\\\\"a\\\\\\\"}\\\"}\"}",
		  NULL },
		{ "{\"any\":{\"b\":[1,2.5,null],\"a\":{}}}", NULL },
		{ "{\"any\":false}", NULL },
		{ "{\"nestedAny\":\" [1] \"}", NULL },
		{ "{\"letters\":[\"c\",\"a\"]}", "{\"letters\":[\"a\",\"c\"]}" },
		/* null is absence, unknown members are ignored, case does not matter. */
		{ "{\"i32\":null,\"list\":null,\"object\":null,\"nested\":null,\"any\":null}",
		  "{}" },
		{ "{\"unknown\":{\"i32\":1},\"I32\":5,\"OPTBOOL\":true}",
		  "{\"i32\":5,\"optBool\":true}" },
		{ "{\"I32\":1,\"i32\":2}", "{\"i32\":2}" },
		{ "{\"u64\":3,\"i32\":2,\"bool\":true}", "{\"bool\":true,\"i32\":2,\"u64\":3}" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
		struct fault fault = FAULT_NULL;
		struct all all;
		if (decode(&arena, cases[i].text, &all, &fault) < 0)
			fail_msg("%s: %s", cases[i].text, fault.text);
		assert_encoded(&all_type, &all, cases[i].written ? cases[i].written : cases[i].text,
		               false);
	}
}

static void test_values(void **state)
{
	static const char text[] =
		"{\"bool\":true,\"i32\":-3,\"u64\":18446744073709551615,\"optI64\":0,"
		"\"str\":\"x\",\"strList\":[\"a\",\"b\"],\"strMap\":{\"z\":\"1\",\"k\":\"2\"},"
		"\"enum\":\"red\",\"object\":{\"name\":\"o\",\"number\":1},"
		"\"pointer\":{\"name\":\"p\"},"
		"\"list\":[{\"name\":\"l0\"},{\"name\":\"l1\",\"number\":9}],"
		"\"u32List\":[3],\"nestedAny\":\"{}\","
		"\"nested\":\"{\\\"list\\\":[{\\\"name\\\":\\\"n\\\"}]}\",\"any\":[1],"
		"\"letters\":[\"b\"]}";
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	struct all all;

	(void)state;
	assert_int_equal(decode(&arena, text, &all, NULL), 0);
	assert_true(all.yes);
	assert_int_equal(all.i32, -3);
	assert_true(all.u64 == UINT64_MAX);
	assert_true(all.opt_i64.set);
	assert_false(all.opt_u64.set);
	assert_string_equal(all.text, "x");
	assert_int_equal(all.texts.count, 2);
	assert_string_equal(all.texts.item[1], "b");
	assert_int_equal(all.map.count, 2);
	assert_string_equal(all.map.item[0].name, "z");
	assert_string_equal(all.map.item[1].value, "2");
	assert_int_equal(all.colour, RED);
	assert_string_equal(all.object.name, "o");
	assert_string_equal(all.pointer->name, "p");
	assert_int_equal(all.list.count, 2);
	assert_int_equal(all.list.item[1].number, 9);
	assert_int_equal(all.u32_list.item[0], 3);
	assert_string_equal(all.nested->list.item[0].name, "n");
	assert_int_equal(all.any.kind, JSON_ARRAY);
	assert_string_equal(all.nested_any, "{}");
	assert_int_equal(all.letters, 2);
}

static void test_always(void **state)
{
	const struct all all = { 0 };

	(void)state;
	assert_encoded(&all_type, &all, "{}", false);
	assert_encoded(&always_type, &all,
	               "{\"bool\":false,\"i32\":0,\"i64\":0,\"u16\":0,\"u32\":0,\"u64\":0,"
	               "\"optBool\":null,\"optI64\":null,\"optU64\":null,\"str\":\"\","
	               "\"strList\":[],\"strMap\":{},\"enum\":\"\",\"object\":{},\"pointer\":null,"
	               "\"list\":[],\"u32List\":[],\"nested\":null,\"any\":null,"
	               "\"nestedAny\":null,\"letters\":[]}",
	               false);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text, *reason;
	} cases[] = {
		{ "[]", "document: is not an object" },
		{ "null", "document: is not an object" },
		{ "{\"bool\":1}", "bool: is not true or false" },
		{ "{\"bool\":\"true\"}", "bool: is not true or false" },
		{ "{\"i32\":2147483648}",
		  "i32: is not a whole number from -2147483648 to 2147483647" },
		{ "{\"i32\":-2147483649}",
		  "i32: is not a whole number from -2147483648 to 2147483647" },
		{ "{\"I32\":\"1\"}", "i32: is not a whole number from -2147483648 to 2147483647" },
		{ "{\"i64\":9223372036854775808}",
		  "i64: is not a whole number from -9223372036854775808 to 9223372036854775807" },
		{ "{\"i64\":-9223372036854775809}",
		  "i64: is not a whole number from -9223372036854775808 to 9223372036854775807" },
		{ "{\"i64\":99999999999999999999999}",
		  "i64: is not a whole number from -9223372036854775808 to 9223372036854775807" },
		{ "{\"u16\":65536}", "u16: is not a whole number from 0 to 65535" },
		{ "{\"u32\":4294967296}", "u32: is not a whole number from 0 to 4294967295" },
		{ "{\"u32\":-1}", "u32: is not a whole number from 0 to 4294967295" },
		{ "{\"u32\":-0}", "u32: is not a whole number from 0 to 4294967295" },
		{ "{\"u32\":1.0}", "u32: is not a whole number from 0 to 4294967295" },
		{ "{\"u32\":1e2}", "u32: is not a whole number from 0 to 4294967295" },
		{ "{\"u32\":true}", "u32: is not a whole number from 0 to 4294967295" },
		{ "{\"u64\":18446744073709551616}",
		  "u64: is not a whole number from 0 to 18446744073709551615" },
		{ "{\"u64\":184467440737095516150}",
		  "u64: is not a whole number from 0 to 18446744073709551615" },
		{ "{\"optU64\":-1}",
		  "optU64: is not a whole number from 0 to 18446744073709551615" },
		{ "{\"optBool\":0}", "optBool: is not true or false" },
		{ "{\"str\":1}", "str: is not a string" },
		{ "{\"strList\":{}}", "strList: is not an array" },
		{ "{\"strList\":[\"a\",2]}", "strList[1]: is not a string" },
		{ "{\"strList\":[null]}", "strList[0]: is not a string" },
		{ "{\"strMap\":[]}", "strMap: is not an object" },
		{ "{\"strMap\":{\"a.b/c\":1}}", "strMap[\"a.b/c\"]: is not a string" },
		{ "{\"enum\":\"blue\"}", "enum: unknown value \"blue\"" },
		{ "{\"enum\":\"Red\"}", "enum: unknown value \"Red\"" },
		{ "{\"enum\":1}", "enum: is not a string" },
		{ "{\"object\":[]}", "object: is not an object" },
		{ "{\"object\":{}}", "object.name: is required" },
		{ "{\"object\":{\"name\":null}}", "object.name: is required" },
		{ "{\"pointer\":1}", "pointer: is not an object" },
		{ "{\"pointer\":{\"name\":\"\",\"number\":-1}}",
		  "pointer.number: is not a whole number from 0 to 4294967295" },
		{ "{\"list\":[{\"name\":\"a\"},{},3]}", "list[1].name: is required" },
		{ "{\"list\":[null]}", "list[0]: is not an object" },
		{ "{\"list\":\"x\"}", "list: is not an array" },
		{ "{\"u32List\":[0,1.5]}",
		  "u32List[1]: is not a whole number from 0 to 4294967295" },
		{ "{\"u32List\":[null]}",
		  "u32List[0]: is not a whole number from 0 to 4294967295" },
		{ "{\"nested\":{}}", "nested: is not a string" },
		{ "{\"nested\":\"\"}", "nested: line 1, column 1: premature EOF" },
		{ "{\"nested\":\"[]\"}", "nested: is not an object" },
		{ "{\"nested\":\"{\\\"a\\\":1,}\"}",
		  "nested: line 1, column 8: invalid object key (must be a string)" },
		{ "{\"nested\":\"{\\\"list\\\":[{}]}\"}", "nested.list[0].name: is required" },
		{ "{\"nested\":\"{\\\"again\\\":\\\"{}\\\"}\"}", "nested.again.name: is required" },
		{ "{\"nested\":\"\\\"\\\\u0000\\\"\"}",
		  "nested: line 1, column 2: NUL in a string" },
		{ "{\"nestedAny\":\"{\"}", "nestedAny: line 1, column 2: premature EOF" },
		{ "{\"nestedAny\":[]}", "nestedAny: is not a string" },
		{ "{\"letters\":[\"a\",\"1\"]}", "letters[1]: \"1\" is no letter" },
		{ "{\"bool\":true,", "line 1, column 14: premature EOF" },
	};
	static const struct all zero;

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
		struct fault fault = FAULT_NULL;
		struct all all;
		assert_int_equal(decode(&arena, cases[i].text, &all, &fault), -EINVAL);
		assert_string_equal(fault.text, cases[i].reason);
		assert_int_equal(fault.hresult, HRESULT_INVALID_JSON);
		assert_memory_equal(&all, &zero, sizeof(all));
		assert_int_equal(decode(&arena, cases[i].text, &all, NULL), -EINVAL);
	}
}

static void test_no_memory(void **state)
{
	static const char text[] = "{\"list\":[{\"name\":\"a\"},{\"name\":\"b\"}],"
	                           "\"strMap\":{\"a\":\"b\"},"
	                           "\"nested\":\"{}\",\"pointer\":{\"name\":\"\"}}";
	int last = -ENOMEM, failed = 0;

	(void)state;
	for (size_t limit = 0; limit < 8192; limit += 16) {
		struct arena arena cleanup(arena_free) = ARENA(limit);
		struct fault fault = FAULT_NULL;
		struct all all;
		int error = decode(&arena, text, &all, &fault);
		if (error < 0) {
			assert_int_equal(error, -ENOMEM);
			assert_non_null(strstr(fault.text, "bytes of memory"));
			failed++;
		}
		last = error;
	}
	assert_int_equal(last, 0);
	assert_true(failed > 10);
}

static void test_html(void **state)
{
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	struct all all;

	(void)state;
	/* A document inside a string is escaped whatever is asked for the outer one. */
	assert_int_equal(decode(&arena,
	                        "{\"str\":\"<\",\"nested\":"
	                        "\"{\\\"inner\\\":{\\\"name\\\":\\\"<&>\\\"}}\"}",
	                        &all, NULL),
	                 0);
	assert_encoded(&all_type, &all,
	               "{\"str\":\"<\",\"nested\":\"{\\\"inner\\\":"
	               "{\\\"name\\\":\\\"\\\\u003c\\\\u0026\\\\u003e\\\"}}\"}",
	               false);
	assert_encoded(&all_type, &all,
	               "{\"str\":\"\\u003c\",\"nested\":\"{\\\"inner\\\":"
	               "{\\\"name\\\":\\\"\\\\u003c\\\\u0026\\\\u003e\\\"}}\"}",
	               true);
}

static void test_encode_full(void **state)
{
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	const char *text = "{\"i32\":12345,\"strList\":[\"a\",\"b\"],\"strMap\":{\"a\":\"b\"},"
	                   "\"list\":[{\"name\":\"a\"}],\"nested\":\"{\\\"inner\\\":{\\\"name\\\":"
	                   "\\\"a\\\"}}\",\"any\":{\"a\":[1]}}";
	struct all all;

	(void)state;
	assert_int_equal(decode(&arena, text, &all, NULL), 0);
	for (size_t limit = 1; limit <= strlen(text) + 1; limit++) {
		struct buf out cleanup(buf_deinit) = BUF(limit);
		bool fits = limit == strlen(text) + 1;
		buf_append(&out, "x", 1);
		assert_int_equal(json_encode(&all_type, &all, &out, false), fits ? 0 : -ENOBUFS);
		assert_int_equal(buf_length(&out), fits ? limit : 1);
	}
	all.colour = 77;
	struct buf out cleanup(buf_deinit) = BUF(1000);
	assert_int_equal(json_encode(&all_type, &all, &out, false), -EINVAL);
	assert_int_equal(buf_length(&out), 0);
}

/* A map made by hand: sorted when written, NULL values are "". */
static void test_map(void **state)
{
	struct str_pair pairs[] = { { "b", NULL }, { "a<", "1" }, { "C", "2" } };
	const struct all all = { .map = { array_size(pairs), pairs } };

	(void)state;
	assert_encoded(&all_type, &all, "{\"strMap\":{\"C\":\"2\",\"a<\":\"1\",\"b\":\"\"}}",
	               false);
	assert_string_equal(pairs[0].name, "b");
}

static void test_ignored_is_logged(void **state)
{
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	int fd cleanup_close = memfd_create("log", MFD_CLOEXEC);
	char text[1024] = "";
	struct all all;

	(void)state;
	log_init(fd, LOG_FORMAT_TEXT, LOG_LEVEL_DEBUG);
	assert_int_equal(decode(&arena,
	                        "{\"I32\":1,\"future\":1,\"list\":[{\"name\":\"\",\"more\":{}}]}",
	                        &all, NULL),
	                 0);
	log_init(STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
	assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "level=debug msg=\"list[0].more: ignored\"\n"));
	assert_non_null(strstr(text, "level=debug msg=\"future: ignored\"\n"));
	assert_null(strstr(text, "i32"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_always),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_html),
		cmocka_unit_test(test_encode_full),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_ignored_is_logged),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
