/* SPDX-License-Identifier: Apache-2.0 */

/* Options of the command line. */

#include "shim/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

struct options {
	bool all, quiet;
	const char *file;
	struct str_list env;
	struct opt_i64 size;
};
static const struct option_row rows[] = {
	{ "all", 'a', OPTION_FLAG, offsetof(struct options, all), NULL, "" },
	{ "quiet", 'q', OPTION_FLAG, offsetof(struct options, quiet), NULL, "" },
	{ "file", 'f', OPTION_STRING, offsetof(struct options, file), "FILE", "" },
	{ "env", 'e', OPTION_LIST, offsetof(struct options, env), "X=Y", "" },
	{ "size", 0, OPTION_NUMBER, offsetof(struct options, size), "N", "" },
	{ "old", 0, OPTION_IGNORED },
	{ "older", 0, OPTION_IGNORED_ARGUMENT },
	{ NULL },
};

/* Words in one string, divided by blanks; parsed as `hvrun verb …`. */
static int parse(const char *line, struct options *options, int *ret_first, struct fault *fault)
{
	static char text[256], name[] = "verb";
	char *argv[32] = { name };
	int argc = 1;

	snprintf(text, sizeof(text), "%s", line);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	*options = (struct options){ 0 };
	*fault = (struct fault)FAULT_NULL;
	return cli_parse("verb", rows, options, argc, argv, ret_first, fault);
}

static void test_forms(void **state)
{
	struct options options;
	struct fault fault;
	int first;

	(void)state;
	assert_int_equal(parse("--all --file=a -e X=1 --env X=2 -eX=3 id", &options, &first,
	                       &fault), 0);
	assert_true(options.all);
	assert_false(options.quiet);
	assert_string_equal(options.file, "a");
	assert_int_equal(options.env.count, 3);
	assert_string_equal(options.env.item[0], "X=1");
	assert_string_equal(options.env.item[1], "X=2");
	assert_string_equal(options.env.item[2], "X=3");
	assert_int_equal(first, 8);
	free(options.env.item);

	assert_int_equal(parse("-aqf - id", &options, &first, &fault), 0);
	assert_true(options.all && options.quiet);
	assert_string_equal(options.file, "-");
	assert_int_equal(first, 3);

	assert_int_equal(parse("--old --older x --older=y id", &options, &first, &fault), 0);
	assert_int_equal(first, 5);
}

/* What follows the first operand belongs to it. */
static void test_operands(void **state)
{
	struct options options;
	struct fault fault;
	int first;

	(void)state;
	assert_int_equal(parse("id -a --file x --unknown", &options, &first, &fault), 0);
	assert_int_equal(first, 1);
	assert_false(options.all);
	assert_null(options.file);
	assert_int_equal(parse("-a -- -q", &options, &first, &fault), 0);
	assert_true(options.all);
	assert_false(options.quiet);
	assert_int_equal(first, 3);
	assert_int_equal(parse("", &options, &first, &fault), 0);
	assert_int_equal(first, 1);
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		bool good;
		int64_t value;
	} numbers[] = {
		{ "--size 0", true, 0 },
		{ "--size -1", true, -1 },
		{ "--size=1k", true, 1024 },
		{ "--size=2K", true, 2048 },
		{ "--size 3M", true, 3 << 20 },
		{ "--size 4g", true, 4ll << 30 },
		{ "--size 5Tb", true, 5ll << 40 },
		{ "--size 6MB", true, 6 << 20 },
		{ "--size 9223372036854775807", true, INT64_MAX },
		{ "--size 9223372036854775808", false },
		{ "--size 8388607T", true, 8388607ll << 40 },
		{ "--size 8388608T", false },
		{ "--size -1M", false },
		{ "--size 1X", false },
		{ "--size 1MM", false },
		{ "--size 1MiB", false },
		{ "--size x", false },
		{ "--size=", false },
		{ "--size 1.5G", false },
	};

	(void)state;
	for (size_t i = 0; i < array_size(numbers); i++) {
		struct options options;
		struct fault fault;
		int first;
		int r = parse(numbers[i].text, &options, &first, &fault);
		assert_int_equal(r, numbers[i].good ? 0 : -EINVAL);
		assert_int_equal(options.size.set, numbers[i].good);
		assert_int_equal(options.size.value, numbers[i].value);
		if (r < 0)
			assert_non_null(strstr(fault.text, "verb: --size"));
	}
}

static void test_refusals(void **state)
{
	static const struct {
		const char *line, *text;
	} refusals[] = {
		{ "--nope id", "verb: unknown option \"--nope\"; see hvrun verb --help" },
		{ "--nope=1 id", "verb: unknown option \"--nope=1\"" },
		{ "-z id", "verb: unknown option \"-z\"; see hvrun verb --help" },
		{ "-az id", "verb: unknown option \"-z\"; see hvrun verb --help" },
		{ "--file", "verb: option \"--file\" needs an argument" },
		{ "-f", "verb: option \"-f\" needs an argument" },
		{ "--all=1 id", "verb: " },
	};

	(void)state;
	for (size_t i = 0; i < array_size(refusals); i++) {
		struct options options;
		struct fault fault;
		int first;
		assert_int_equal(parse(refusals[i].line, &options, &first, &fault), -EINVAL);
		if (strncmp(fault.text, refusals[i].text, strlen(refusals[i].text)) != 0)
			assert_string_equal(fault.text, refusals[i].text);
		assert_null(strchr(fault.text, '\n'));
	}
}

static void test_help(void **state)
{
	struct options options;
	struct fault fault;
	int first;

	(void)state;
	assert_int_equal(parse("--help", &options, &first, &fault), 1);
	assert_int_equal(parse("-a -h id", &options, &first, &fault), 1);
	assert_int_equal(parse("id --help", &options, &first, &fault), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_operands),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_help),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
