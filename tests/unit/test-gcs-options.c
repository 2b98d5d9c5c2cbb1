/* SPDX-License-Identifier: Apache-2.0 */

/* Microsoft's words on the kernel's command line, as the kernel hands them to /init. */

#include "agent/gcs_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define WORDS 40

/* "" stands for a switch that is set. */
static const struct {
	const char *argv[WORDS];
	const char *entropy, *output, *error, *redial, *level, *format, *core, *stance;
	const char *ignored, *rest; /* in words */
} cases[] = {
	{ .argv = { "/init" }, .ignored = "", .rest = "/init" },
	{ .argv = { "/init", "--parent", "vsock:host", "--port", "5000", "--host-timeout=20" },
	  .ignored = "",
	  .rest = "/init --parent vsock:host --port 5000 --host-timeout=20" },
	/* The first generation of hosts. */
	{ .argv = { "/init", "-e", "1", "/bin/vsockexec", "-o", "109", "-e", "109", "/bin/gcs", "-v4",
	            "-log-format", "json", "-loglevel", "info" },
	  .entropy = "1", .output = "109", .error = "109", .level = "info", .format = "json",
	  .ignored = "", .rest = "/init" },
	/* All that there may be. */
	{ .argv = { "/init", "-e", "1", "-w", "/bin/vsockexec", "-r", "-i", "7", "-e", "110",
	            "/bin/gcs", "-v4", "-log-format=text", "-loglevel", "debug",
	            "-disable-time-sync", "-scrub-logs=false", "-core-dump-location", "/tmp/core.%p",
	            "-initial-policy-stance", "deny", "-root-mem-reserve-bytes", "5",
	            "-gcs-mem-limit-bytes=6", "-kmsgLogLevel", "4", "-logfile", "/x",
	            "-use-inouterr", "-new-thing", "--new-one", "word" },
	  .entropy = "1", .error = "110", .redial = "", .level = "debug", .format = "text",
	  .core = "/tmp/core.%p", .stance = "deny",
	  .ignored = "-i -kmsgLogLevel -logfile -use-inouterr -new-thing",
	  .rest = "/init --new-one word" },
	/* With a console, of the first and of the second generation. */
	{ .argv = { "/init", "-e", "1", "sh", "-c",
	            "/bin/vsockexec -o 109 -e 109 /bin/gcs -v4 -log-format json -loglevel debug & exec sh" },
	  .entropy = "1", .output = "109", .error = "109", .level = "debug", .format = "json",
	  .ignored = "", .rest = "/init" },
	{ .argv = { "/init", "-e", "1", "-w", "sh",
	            "-c\"/bin/vsockexec -r -e 109 /bin/gcs -v4 -log-format json -loglevel debug& exec sh\"" },
	  .entropy = "1", .error = "109", .redial = "", .level = "debug", .format = "json",
	  .ignored = "", .rest = "/init" },
	{ .argv = { "/init", "/bin/sh", "-c", "/bin/gcs -loglevel 'war''ning'; reboot", "-e", "2" },
	  .level = "warning", .ignored = "-e", .rest = "/init 2" },
	{ .argv = { "/init", "sh", "-c", "" }, .ignored = "", .rest = "/init" },
	{ .argv = { "/init", "sh", "-c\"" }, .ignored = "", .rest = "/init" },
	{ .argv = { "/init", "sh", "-c" }, .ignored = "", .rest = "/init" },
	{ .argv = { "/init", "sh" }, .ignored = "", .rest = "/init sh" },
	/* Go's flags may have two hyphens; our own are behind them. */
	{ .argv = { "/init", "/bin/gcs", "--v4", "--loglevel=error", "--host-timeout", "9" },
	  .level = "error", .ignored = "", .rest = "/init --host-timeout 9" },
	/* Words that the kernel did not know come first. */
	{ .argv = { "/init", "nonsense", "-x", "-", "", "-e", "1", "-e", "2" },
	  .entropy = "2", .ignored = "-x", .rest = "/init nonsense - " },
	/* The names of programs count in their order only. */
	{ .argv = { "/init", "gcs", "vsockexec", "-e", "5", "-loglevel", "info" },
	  .level = "info", .ignored = "-e", .rest = "/init vsockexec 5" },
};

static const char *joined(const struct str_list *list)
{
	static char text[2][1024];
	static int turn;
	char *to = text[turn++ % 2];
	size_t length = 0;
	*to = '\0';
	for (size_t i = 0; i < list->count; i++)
		length += (size_t)snprintf(to + length, 1024 - length, "%s%s", i ? " " : "",
		                           list->item[i]);
	return to;
}

static void assert_same(const char *got, const char *expected)
{
	if (got && expected)
		assert_string_equal(got, expected);
	else
		assert_ptr_equal(got, expected);
}

static int count_words(const char *const *argv)
{
	int count = 0;
	while (argv[count])
		count++;
	return count;
}

static void test_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct arena arena = ARENA(65536);
		struct gcs_options got;
		struct str_list rest;
		char *argv[WORDS];
		memcpy(argv, cases[i].argv, sizeof(argv));
		int argc = count_words(cases[i].argv);
		assert_int_equal(gcs_options_take(&arena, argc, argv, &got, &rest), 0);
		assert_same(got.entropy_port, cases[i].entropy);
		assert_same(got.output_port, cases[i].output);
		assert_same(got.error_port, cases[i].error);
		assert_same(got.redial, cases[i].redial);
		assert_same(got.log_level, cases[i].level);
		assert_same(got.log_format, cases[i].format);
		assert_same(got.core_pattern, cases[i].core);
		assert_same(got.policy_stance, cases[i].stance);
		assert_string_equal(joined(&got.ignored), cases[i].ignored);
		assert_string_equal(joined(&rest), cases[i].rest);
		assert_null(rest.item[rest.count]);
		arena_free(&arena);
	}
}

static void test_errors(void **state)
{
	static const char *const bad[][WORDS] = {
		{ "/init", "-e" },
		{ "/init", "vsockexec", "-o" },
		{ "/init", "gcs", "-loglevel" },
		{ "/init", "sh", "-c", "gcs -loglevel 'debug" },
	};
	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		struct arena arena = ARENA(65536), none = ARENA(0);
		struct gcs_options got;
		struct str_list rest;
		char *argv[WORDS];
		memcpy(argv, bad[i], sizeof(argv));
		int argc = count_words(bad[i]);
		assert_int_equal(gcs_options_take(&arena, argc, argv, &got, &rest), -EINVAL);
		assert_int_equal(gcs_options_take(&none, argc, argv, &got, &rest), -ENOMEM);
		arena_free(&arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
