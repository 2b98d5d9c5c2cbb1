/* SPDX-License-Identifier: Apache-2.0 */

/* The command line of a VM process, taken apart by shell word rules. */

#include "agent/vm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* Words end with NULL. error: -EINVAL for a quote that stays open. */
static const struct {
	const char *line;
	int error;
	const char *words[6];
} lines[] = {
	{ "", 0, { NULL } },
	{ " \t \n", 0, { NULL } },
	{ "a", 0, { "a" } },
	{ "a b", 0, { "a", "b" } },
	{ "  a \t\nb\r\n", 0, { "a", "b" } },
	{ "'a b' c", 0, { "a b", "c" } },
	{ "\"a b\" c", 0, { "a b", "c" } },
	{ "a'b c'd\"e f\"", 0, { "ab cde f" } },
	{ "''", 0, { "" } },
	{ "a '' \"\" b", 0, { "a", "", "", "b" } },
	{ "''''", 0, { "" } },
	{ "'\"' \"'\"", 0, { "\"", "'" } },
	{ "a\\ b", 0, { "a b" } },
	{ "\\'a \\\"b", 0, { "'a", "\"b" } },
	{ "'a\\b'", 0, { "a\\b" } },
	{ "'a\\' b", 0, { "a\\", "b" } },
	{ "\"a\\\"b\"", 0, { "a\"b" } },
	{ "\"a\\\\\" b", 0, { "a\\", "b" } },
	{ "a\\\\b", 0, { "a\\b" } },
	{ "a\\", 0, { "a\\" } },
	{ "\\", 0, { "\\" } },
	{ "$HOME `x` *", 0, { "$HOME", "`x`", "*" } },
	{ "sh -c 'echo \"$1\"' -- \"x  y\"", 0, { "sh", "-c", "echo \"$1\"", "--", "x  y" } },
	{ "\xc3\xa9 \xe2\x82\xac", 0, { "\xc3\xa9", "\xe2\x82\xac" } },
	{ "'", -EINVAL, { NULL } },
	{ "\"", -EINVAL, { NULL } },
	{ "a 'b", -EINVAL, { NULL } },
	{ "a \"b\\\"", -EINVAL, { NULL } },
	{ "a 'b\"", -EINVAL, { NULL } },
};

static void test_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(lines); i++) {
		struct arena arena = ARENA(JSON_ARENA);
		struct str_list words = { 0 };
		int error = split_words(&arena, lines[i].line, &words);
		size_t count = 0;
		if (error != lines[i].error)
			fail_msg("\"%s\": %d", lines[i].line, error);
		while (!error && lines[i].words[count]) {
			if (count == words.count ||
			    strcmp(words.item[count], lines[i].words[count]))
				fail_msg("\"%s\": word %zu is \"%s\"", lines[i].line, count,
				         count < words.count ? words.item[count] : "(none)");
			count++;
		}
		if (!error && count != words.count)
			fail_msg("\"%s\": %zu words", lines[i].line, words.count);
		arena_free(&arena);
	}
}

/* Memory is in proportion to the line. */
static void test_many_words(void **state)
{
	(void)state;
	enum { WORDS = 200000 };
	struct arena arena = ARENA(JSON_ARENA);
	struct str_list words = { 0 };
	char *line = malloc(2 * WORDS + 1);
	assert_non_null(line);
	for (size_t i = 0; i < WORDS; i++)
		memcpy(line + 2 * i, "x ", 2);
	line[2 * WORDS - 1] = '\0';
	assert_int_equal(split_words(&arena, line, &words), 0);
	assert_int_equal(words.count, WORDS);
	assert_string_equal(words.item[WORDS - 1], "x");
	assert_in_range(arena.used, 0, 12 * 2 * WORDS);
	arena_free(&arena);
	free(line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_many_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
