/* SPDX-License-Identifier: Apache-2.0 */

/* The command line of the containerd shim, as Go's package flag reads it. */

#include "shim/containerd/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define WORDS_MAX 16

static int parse(const char *const *words, struct shim_command *ret, struct fault *fault)
{
	char *argv[WORDS_MAX + 2] = { (char *)(uintptr_t)"shim" };
	int argc = 1;

	while (words[argc - 1]) {
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
		argc++;
	}
	return options_parse(argc, argv, ret, fault);
}

static void test_callers(void **state)
{
	static const struct {
		const char *words[WORDS_MAX];
		struct shim_command command;
	} rows[] = {
		{ { "-namespace", "k8s.io", "-address", "/run/c.sock", "-publish-binary",
		    "/usr/bin/containerd", "-id", "c1", "start" },
		  { "start", "k8s.io", "c1", "/run/c.sock", "/usr/bin/containerd", "" } },
		{ { "-namespace", "default", "-address", "/run/c.sock", "-publish-binary",
		    "/usr/bin/containerd", "-id", "c1", "-bundle", "/run/b", "-debug", "delete" },
		  { "delete", "default", "c1", "/run/c.sock", "/usr/bin/containerd", "/run/b",
		    .debug = true } },
		{ { "-namespace", "default", "-address", "", "-publish-binary", "crio", "-id", "x",
		    "start" },
		  { "start", "default", "x", "", "crio", "" } },
		{ { "-info" }, { "", "", "", "", "", "", .info = true } },
		{ { "-v" }, { "", "", "", "", "", "", .version = true } },
		{ { "-version" }, { "", "", "", "", "", "", .version = true } },
		{ { "--help" }, { "", "", "", "", "", "", .help = true } },
		{ { "-h", "start" }, { "start", "", "", "", "", "", .help = true } },
		{ { "--namespace=n", "--id=a=b", "start", "-id", "c" }, { NULL } },
		{ { "--namespace=n", "--id=a", "-debug=true", "start", "-id", "c", "-x" },
		  { "start", "n", "a", "", "", "", .debug = true } },
		{ { "-namespace=n", "-id", "a", "-debug", "-debug=F", "--", "start" },
		  { "start", "n", "a", "", "", "" } },
		{ { "-namespace", "-n", "-id", "-a", "start" },
		  { "start", "-n", "-a", "", "", "" } },
		{ { "-id", "a", "-id", "b", "-namespace", "n", "-socket=s", "-debug-socket", "d",
		    "delete" },
		  { "delete", "n", "b", "", "", "" } },
	};

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		const struct shim_command *want = &rows[i].command;
		struct shim_command got;
		struct fault fault = FAULT_NULL;
		int r = parse(rows[i].words, &got, &fault);
		if (!want->action) {
			assert_int_equal(r, -EINVAL);
			continue;
		}
		assert_string_equal(fault.text, "");
		assert_int_equal(r, 0);
		assert_string_equal(got.action, want->action);
		assert_string_equal(got.namespace, want->namespace);
		assert_string_equal(got.id, want->id);
		assert_string_equal(got.address, want->address);
		assert_string_equal(got.publish_binary, want->publish_binary);
		assert_string_equal(got.bundle, want->bundle);
		assert_int_equal(got.debug, want->debug);
		assert_int_equal(got.info, want->info);
		assert_int_equal(got.version, want->version);
		assert_int_equal(got.help, want->help);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *words[WORDS_MAX], *text;
	} rows[] = {
		{ { NULL }, "an action is missing: start or delete" },
		{ { "-debug" }, "an action is missing: start or delete" },
		{ { "-" }, "unknown action \"-\"" },
		{ { "-namespace", "n", "-id", "a", "stop" }, "unknown action \"stop\"" },
		{ { "start" }, "-namespace is required" },
		{ { "-namespace", "n", "start" }, "-id is required" },
		{ { "-id", "a", "start" }, "-namespace is required" },
		{ { "-namespace", "n", "-id", "", "start" }, "-id is required" },
		{ { "-namespace", "n", "-id", "a/b", "start" },
		  "-id \"a/b\": is not 1 to 200 letters, digits and _+.-" },
		{ { "-namespace", "..", "-id", "a", "start" },
		  "-namespace \"..\": is not 1 to 200 letters, digits and _+.-" },
		{ { "-namespace" }, "flag needs an argument: -namespace" },
		{ { "-bogus", "start" }, "flag provided but not defined: -bogus" },
		{ { "-ids=3", "start" }, "flag provided but not defined: -ids" },
		{ { "-i", "start" }, "flag provided but not defined: -i" },
		{ { "---id", "a", "start" }, "bad flag syntax: --id" },
		{ { "-=x", "start" }, "bad flag syntax: -=x" },
		{ { "--=x", "start" }, "bad flag syntax: -=x" },
		{ { "-debug=maybe", "start" }, "invalid boolean value \"maybe\" for -debug" },
		{ { "-debug=", "start" }, "invalid boolean value \"\" for -debug" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		struct shim_command got;
		struct fault fault = FAULT_NULL;
		assert_int_equal(parse(rows[i].words, &got, &fault), -EINVAL);
		assert_string_equal(fault.text, rows[i].text);
	}
}

static void test_environment(void **state)
{
	const char *const words[] = { "-v", NULL };
	struct shim_command got;

	(void)state;
	unsetenv("TTRPC_ADDRESS");
	unsetenv("GRPC_ADDRESS");
	unsetenv("MAX_SHIM_VERSION");
	assert_int_equal(parse(words, &got, NULL), 0);
	assert_string_equal(got.ttrpc_address, "");
	assert_false(got.json);
	setenv("TTRPC_ADDRESS", "/run/t", 1);
	setenv("GRPC_ADDRESS", "", 1);
	assert_int_equal(parse(words, &got, NULL), 0);
	assert_string_equal(got.ttrpc_address, "/run/t");
	assert_false(got.json);
	setenv("MAX_SHIM_VERSION", "2", 1);
	assert_int_equal(parse(words, &got, NULL), 0);
	assert_true(got.json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_callers),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_environment),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
