/* SPDX-License-Identifier: Apache-2.0 */

/* What is printed about ourselves: features, the default config.json, and how JSON is laid out. */

#include "agent/mountopt.h"
#include "oci/features.h"
#include "oci/spec.h"
#include "shim/features.h"
#include "shim/print.h"
#include "shim/spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void assert_sorted(const char *const *names)
{
	for (size_t i = 0; names[i] && names[i + 1]; i++)
		assert_true(strcmp(names[i], names[i + 1]) < 0);
}

static bool is_in(const char *const *names, const char *name)
{
	while (*names && strcmp(*names, name))
		names++;
	return *names;
}

/* The names that the agent has and those that are announced. */
static void test_mount_words(void **state)
{
	(void)state;
	assert_sorted(oci_mount_words);
	for (size_t i = 0; oci_mount_words[i]; i++)
		assert_true(is_in(mount_option_names, oci_mount_words[i]));
	for (size_t i = 0; mount_option_names[i]; i++)
		assert_true(is_in(oci_mount_words, mount_option_names[i]));
}

static void test_names(void **state)
{
	(void)state;
	assert_sorted(oci_hook_kinds);
	assert_sorted(oci_namespace_names);
	for (int i = 1; i < OCI_NS_COUNT; i++)
		assert_true(is_in(oci_namespace_names,
		                  oci_namespace_name((enum oci_namespace_type)i)));
	for (size_t i = 0; oci_seccomp_actions_supported[i]; i++)
		assert_true(is_in(oci_seccomp_actions, oci_seccomp_actions_supported[i]));
	for (size_t i = 0; oci_seccomp_flags_supported[i]; i++)
		assert_true(is_in(oci_seccomp_flags, oci_seccomp_flags_supported[i]));
}

static void test_features(void **state)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct buf text = BUF(1 << 20);
	struct features features;
	struct json tree;

	(void)state;
	assert_int_equal(features_fill(&features, &arena), 0);
	assert_int_equal(json_encode(&features_type, &features, &text, false), 0);
	assert_int_equal(json_parse(&arena, buf_head(&text), buf_length(&text), &tree, NULL), 0);
	assert_string_equal(json_get(&tree, "ociVersionMax")->text, OCI_VERSION);
	const struct json *linux_ = json_get(&tree, "linux");
	assert_int_equal(json_get(linux_, "namespaces")->length, OCI_NS_COUNT - 1);
	const struct json *idmap = json_get(json_get(linux_, "mountExtensions"), "idmap");
	assert_int_equal(json_get(idmap, "enabled")->kind, JSON_TRUE);
	/* Annotations are strings, whatever is in them. */
	const struct json *annotations = json_get(&tree, "annotations");
	assert_true(annotations->length > 0);
	for (size_t i = 0; i < annotations->length; i++)
		assert_int_equal(annotations->members[i].value.kind, JSON_STRING);
	buf_deinit(&text);
	arena_free(&arena);
}

/* What we write to start from is what we take. */
static void test_spec(void **state)
{
	(void)state;
	for (int rootless = 0; rootless < 2; rootless++) {
		struct arena arena = ARENA(JSON_ARENA);
		struct buf text = BUF(1 << 20);
		struct oci_spec spec;
		struct fault fault = FAULT_NULL;
		assert_int_equal(spec_write(&text, rootless), 0);
		int r = oci_spec_decode(&arena, buf_head(&text), buf_length(&text), &spec, &fault);
		assert_string_equal(fault.text, "");
		assert_int_equal(r, 0);
		assert_true(spec.process->no_new_privileges);
		assert_int_equal(spec.linux_.uid_mappings.count, rootless);
		assert_int_equal(!oci_namespace_find(&spec, OCI_NS_USER), !rootless);
		assert_int_equal(!oci_namespace_find(&spec, OCI_NS_NETWORK), rootless);
		buf_deinit(&text);
		arena_free(&arena);
	}
}

static void test_indent(void **state)
{
	static const struct {
		const char *from, *to;
	} rows[] = {
		{ "1", "1" },
		{ "{}", "{}" },
		{ "[]", "[]" },
		{ "{\"a\":1}", "{\n  \"a\": 1\n}" },
		{ "[1,2,[],{}]", "[\n  1,\n  2,\n  [],\n  {}\n]" },
		{ "{\"a\":{\"b\":[\"x\"]},\"c\":null}",
		  "{\n  \"a\": {\n    \"b\": [\n      \"x\"\n    ]\n  },\n  \"c\": null\n}" },
		{ "[\"{,:}\",\"a\\\"[\",\"\\\\\"]",
		  "[\n  \"{,:}\",\n  \"a\\\"[\",\n  \"\\\\\"\n]" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		struct buf out = BUF(4096);
		assert_int_equal(json_indent(&out, rows[i].from, strlen(rows[i].from), "  "), 0);
		assert_int_equal(buf_append(&out, "", 1), 0);
		assert_string_equal(buf_head(&out), rows[i].to);
		buf_deinit(&out);
	}
}

static void test_quantities(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1.0 KiB" },
		{ 1536, "1.5 KiB" },
		{ 1048575, "1023.9 KiB" },
		{ 12897484, "12.2 MiB" },
		{ 1ull << 40, "1.0 TiB" },
		{ UINT64_MAX, "15.9 EiB" },
	};
	char text[QUANTITY_TEXT];

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++)
		assert_string_equal(format_bytes(rows[i].bytes, text), rows[i].text);
	assert_string_equal(format_microseconds(0, text), "0.000 s");
	assert_string_equal(format_microseconds(61002999, text), "61.002 s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mount_words),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_spec),
		cmocka_unit_test(test_indent),
		cmocka_unit_test(test_quantities),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
