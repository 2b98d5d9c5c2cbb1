/* SPDX-License-Identifier: Apache-2.0 */

/* Hooks are run for real: what they get, what is told of them, and that none can hold us up. */

#include "oci/hook.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static struct str_pair annotations[] = { { "k", "v" }, { "<", "\"" } };
static const struct oci_state example = {
	.oci_version = OCI_VERSION,
	.id = "c1",
	.status = "creating",
	.pid = 42,
	.bundle = "/b",
	.annotations = { array_size(annotations), annotations },
};

static int run_shell(const char *script, int timeout, const struct oci_state *state,
                     struct fault *fault)
{
	const char *args[] = { "name", "-c", script }, *env[] = { "PATH=/bin:/usr/bin", "A=b" };
	struct oci_hook hook = {
		.path = "/bin/sh",
		.args = { array_size(args), args },
		.env = { array_size(env), env },
		.timeout = { timeout != 0, timeout },
	};
	return hook_run("prestart", &hook, state, fault);
}

static void test_told(void **state)
{
	static const struct {
		const char *script, *text;
		int error;
	} told[] = {
		{"exit 0", "", 0},
		{"cat > /dev/null; echo noise; echo noise >&2", "", 0},
		/* It gets the state and its own environment, and nothing else. */
		{"test \"$(cat)\" = "
		 "'{\"ociVersion\":\"1.2.0\",\"id\":\"c1\",\"status\":\"creating\",\"pid\":42,"
		 "\"bundle\":\"/b\",\"annotations\":{\"<\":\"\\\"\",\"k\":\"v\"}}'",
		 "", 0},
		{"test $A = b && test -z \"$HOME\" && test $0 = name", "", 0},
		{"for n in 3 4 5 6 7 8 9; do test -e /proc/$$/fd/$n && exit 1; done; exit 0", "",
		 0},
		{"exit 3", "prestart hook \"/bin/sh\" failed: exit status 3", -ECHILD},
		{"echo first; echo second >&2; exit 1",
		 "prestart hook \"/bin/sh\" failed: exit status 1: second", -ECHILD},
		{"seq 100000; echo last line; echo; exit 1",
		 "prestart hook \"/bin/sh\" failed: exit status 1: last line", -ECHILD},
		{"kill -TERM $$", "prestart hook \"/bin/sh\" failed: signal 15", -ECHILD},
		/* What stays in the background may hold or even fill the output. */
		{"sleep 5 & exit 0", "", 0},
		{"yes & exit 0", "", 0},
	};
	(void)state;
	for (size_t i = 0; i < array_size(told); i++) {
		struct fault fault = FAULT_NULL;
		int error = run_shell(told[i].script, 0, &example, &fault);
		if (error != told[i].error || strcmp(fault.text, told[i].text) != 0)
			fail_msg("%s: %d, \"%s\"", told[i].script, error, fault.text);
	}
}

static void test_timeout(void **state)
{
	struct fault fault = FAULT_NULL;
	struct timespec before, after;
	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &before);
	assert_int_equal(run_shell("yes; sleep 1000", 1, &example, &fault), -ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_string_equal(fault.text, "prestart hook \"/bin/sh\" failed: timed out after 1 s");
	assert_true(after.tv_sec - before.tv_sec < 10);
	assert_int_equal(run_shell("exit 0", 1, &example, &fault), 0);
}

static void test_long_state(void **state)
{
	cleanup_free char *value = malloc(300001);
	struct str_pair pair = { "long", value };
	struct oci_state large = example;
	struct fault fault = FAULT_NULL;
	(void)state;
	memset(value, 'x', 300000);
	value[300000] = '\0';
	large.annotations.count = 1;
	large.annotations.item = &pair;
	assert_int_equal(run_shell("true", 0, &large, &fault), 0);
	assert_int_equal(run_shell("test $(wc -c) -gt 300000", 0, &large, &fault), 0);
}

static void test_no_program(void **state)
{
	struct oci_hook hooks[] = {
		{.path = "/bin/true"}, {.path = "/no/such"}, {.path = "/bin/false"}};
	oci_hook_list list = { array_size(hooks), hooks };
	struct fault fault = FAULT_NULL;
	(void)state;
	assert_int_equal(hooks_run("poststop", &list, &example, &fault), -ECHILD);
	assert_string_equal(fault.text, "poststop hook \"/no/such\" failed: exit status 127: "
	                    "no such file or directory");
	list.count = 1;
	assert_int_equal(hooks_run("poststop", &list, &example, &fault), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_told),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_long_state),
		cmocka_unit_test(test_no_program),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
