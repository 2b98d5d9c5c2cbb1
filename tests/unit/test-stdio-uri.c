/* SPDX-License-Identifier: Apache-2.0 */

/* What clients write where a standard stream is named, and what becomes of it. */

#include "shim/containerd/stdio_uri.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const struct {
	const char *text;
	enum stdio_uri_kind kind;
	const char *path;
} places[] = {
	{ "", STDIO_URI_NONE, NULL },
	{ "/run/containerd/fifo/1/c-stdout", STDIO_URI_PATH, "/run/containerd/fifo/1/c-stdout" },
	/* No URI, so nothing in it is decoded. */
	{ "/run/a%20b?c#d+e", STDIO_URI_PATH, "/run/a%20b?c#d+e" },
	{ "/run/a://b", STDIO_URI_PATH, "/run/a://b" },
	{ "fifo:///run/a%20b+c", STDIO_URI_PATH, "/run/a b+c" },
	{ "FIFO:///run/x", STDIO_URI_PATH, "/run/x" },
	{ "file:///var/log/%c3%A4.log?x=1#y", STDIO_URI_FILE, "/var/log/\xc3\xa4.log" },
	{ "binary:////usr/bin/logger", STDIO_URI_LOGGER, "//usr/bin/logger" },
	{ "binary-v2:///l", STDIO_URI_LOGGER, "/l" },
};

static void test_places(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(places); i++) {
		cleanup(arena_free) struct arena arena = ARENA(STDIO_URI_ARENA);
		struct stdio_uri uri;
		assert_int_equal(stdio_uri_parse(&uri, places[i].text, &arena, NULL), 0);
		assert_int_equal(uri.kind, places[i].kind);
		if (places[i].path)
			assert_string_equal(uri.path, places[i].path);
		assert_int_equal(uri.says_ready, strstr(places[i].text, "-v2") != NULL);
	}
}

static const struct {
	const char *query;
	const char *args;       /* each with a | behind it */
} loggers[] = {
	{ "", "" },
	{ "?", "" },
	{ "?id=x", "id|x|" },
	{ "?--foo=bar&id=x", "--foo|bar|id|x|" },
	{ "?--debug", "--debug|" },
	{ "?--debug=", "--debug|" },
	{ "?--debug&&--level=3&", "--debug|--level|3|" },
	{ "?a=%26%3D%25&b=c+d%2be", "a|&=%|b|c d+e|" },
	{ "?a%20b=x=y", "a b|x=y|" },
	{ "?=x", "|x|" },
	{ "?a=1&b=2&a=3", "a|1|b|2|" },
	{ "?path=/var/log/x?y&z=1#fragment", "path|/var/log/x?y|z|1|" },
};

static void test_arguments(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(loggers); i++) {
		cleanup(arena_free) struct arena arena = ARENA(STDIO_URI_ARENA);
		char text[200], got[200] = "";
		size_t length = 0;
		struct stdio_uri uri;
		snprintf(text, sizeof(text), "binary:///bin/logger%s", loggers[i].query);
		assert_int_equal(stdio_uri_parse(&uri, text, &arena, NULL), 0);
		assert_string_equal(uri.args[0], "/bin/logger");
		for (size_t at = 1; uri.args[at]; at++)
			length += (size_t)snprintf(got + length, sizeof(got) - length, "%s|",
			                           uri.args[at]);
		assert_string_equal(got, loggers[i].args);
	}
}

static const struct {
	const char *text, *why;
} refused[] = {
	{ "run/x", "neither" },
	{ "npipe:////./pipe/x", "neither" },
	{ "ttrpc+unix:///s?streaming_id=1", "neither" },
	{ "\\\\.\\pipe\\x", "neither" },
	{ "file:/var/log/x", "neither" },
	{ "file://x", "not absolute" },
	{ "file://", "not absolute" },
	{ "binary://host/bin/x", "not absolute" },
	{ "fifo:///a%", "stands for no" },
	{ "fifo:///a%4", "stands for no" },
	{ "fifo:///a%g0", "stands for no" },
	{ "fifo:///a%00b", "stands for no" },
	{ "binary:///a?b=%zz", "stands for no" },
	{ "binary:///a?%zz", "stands for no" },
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(refused); i++) {
		cleanup(arena_free) struct arena arena = ARENA(STDIO_URI_ARENA);
		struct fault fault = FAULT_NULL;
		struct stdio_uri uri;
		assert_int_equal(stdio_uri_parse(&uri, refused[i].text, &arena, &fault), -EINVAL);
		assert_int_equal(fault.hresult, HRESULT_INVALID_ARGUMENT);
		assert_non_null(strstr(fault.text, refused[i].text));
		assert_non_null(strstr(fault.text, refused[i].why));
	}
}

static void test_limits(void **state)
{
	static const char start[] = "binary:///l?";
	static char text[STDIO_URI_MAX + 2];
	(void)state;

	for (size_t pairs = 1; pairs < STDIO_URI_ARGS_MAX; pairs++) {
		cleanup(arena_free) struct arena arena = ARENA(STDIO_URI_ARENA);
		struct stdio_uri uri;
		size_t length = (size_t)snprintf(text, sizeof(text), "%s", start);
		for (size_t i = 0; i < pairs; i++)
			length += (size_t)snprintf(text + length, sizeof(text) - length,
			                           "k%zu=v%zu&", i, i);
		bool fits = 2 * pairs + 1 <= STDIO_URI_ARGS_MAX;
		assert_int_equal(stdio_uri_parse(&uri, text, &arena, NULL), fits ? 0 : -EINVAL);
	}
	for (size_t length = STDIO_URI_MAX; length <= STDIO_URI_MAX + 1; length++) {
		cleanup(arena_free) struct arena arena = ARENA(STDIO_URI_ARENA);
		struct stdio_uri uri;
		memset(text, '/', length);
		text[length] = '\0';
		assert_int_equal(stdio_uri_parse(&uri, text, &arena, NULL),
		                 length > STDIO_URI_MAX ? -EINVAL : 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
