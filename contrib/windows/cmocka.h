/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Debian has no cmocka for Windows. This is as much of its interface as the tests use that run
 * there: the first assertion that fails ends its test, and the results are TAP.
 */

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef void CMUnitTestFunction(void **state);
typedef int CMFixtureFunction(void **state);

struct CMUnitTest {
	const char *name;
	CMUnitTestFunction *test;
};
#define cmocka_unit_test(function) { #function, function }

static jmp_buf cmocka_end;

/* The message has been printed. */
static inline void cmocka_fail(const char *file, int line)
{
	printf("# %s:%d\n", file, line);
	longjmp(cmocka_end, 1);
}

#define fail_msg(...) \
	do { \
		printf("# " __VA_ARGS__); \
		putchar('\n'); \
		cmocka_fail(__FILE__, __LINE__); \
	} while (0)
#define assert_true(condition) \
	do { \
		if (!(condition)) \
			fail_msg("%s", #condition); \
	} while (0)
#define assert_false(condition) assert_true(!(condition))
#define assert_null(pointer) assert_true((pointer) == NULL)
#define assert_non_null(pointer) assert_true((pointer) != NULL)
#define assert_ptr_equal(a, b) assert_true((a) == (b))

static inline void cmocka_equal(long long a, long long b, const char *text, const char *file,
                                int line)
{
	if (a == b)
		return;
	printf("# %s: %lld, %lld\n", text, a, b);
	cmocka_fail(file, line);
}
#define assert_int_equal(a, b) \
	cmocka_equal((long long)(a), (long long)(b), #a " == " #b, __FILE__, __LINE__)
#define assert_int_not_equal(a, b) assert_true((a) != (b))

static inline void cmocka_string_equal(const char *a, const char *b, const char *file, int line)
{
	if (strcmp(a, b) == 0)
		return;
	printf("# \"%s\", \"%s\"\n", a, b);
	cmocka_fail(file, line);
}
#define assert_string_equal(a, b) cmocka_string_equal(a, b, __FILE__, __LINE__)
#define assert_string_not_equal(a, b) assert_true(strcmp(a, b) != 0)
#define assert_memory_equal(a, b, size) assert_true(memcmp(a, b, size) == 0)
#define assert_memory_not_equal(a, b, size) assert_true(memcmp(a, b, size) != 0)

static inline int cmocka_run(const struct CMUnitTest *tests, size_t count, CMFixtureFunction *setup,
                             CMFixtureFunction *teardown)
{
	volatile int failed = 0;
	void *state = NULL;
	setvbuf(stdout, NULL, _IONBF, 0);
	printf("1..%u\n", (unsigned)count);
	if (setup && setup(&state)) {
		puts("Bail out! setup failed");
		return 1;
	}
	for (volatile size_t i = 0; i < count; i++) {
		volatile int bad = setjmp(cmocka_end);
		if (!bad)
			tests[i].test(&state);
		printf("%sok %u - %s\n", bad ? "not " : "", (unsigned)i + 1, tests[i].name);
		failed += bad;
	}
	if (teardown)
		failed += teardown(&state) != 0;
	return failed;
}
#define cmocka_run_group_tests(tests, setup, teardown) \
	cmocka_run(tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
