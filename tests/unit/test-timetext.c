/* SPDX-License-Identifier: Apache-2.0 */

/* Times and durations. */

#include "shim/timetext.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_duration(void **state)
{
	static const struct {
		const char *text;
		uint64_t nanoseconds;
	} good[] = {
		{ "5", 5000000000 },
		{ "5s", 5000000000 },
		{ "0", 0 },
		{ "250ms", 250000000 },
		{ "1.5s", 1500000000 },
		{ "0.000000001s", 1 },
		{ "0.0000000019s", 1 },
		{ "1h30m", 5400000000000 },
		{ "2d", 172800000000000 },
		{ "1.25d", 108000000000000 },
		{ "7us3ns", 7003 },
	};
	static const char *const bad[] = {
		"", "s", "-5s", "5x", "5 s", "1h30", "1..5s", ".5s", "5.", "1e3s", "5S",
		"99999999999999999999s", "18446744073709551615d", "18446744073s709551616ns",
	};
	uint64_t got;

	(void)state;
	for (size_t i = 0; i < array_size(good); i++) {
		assert_int_equal(duration_parse(good[i].text, &got), 0);
		assert_int_equal(got, good[i].nanoseconds);
	}
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(duration_parse(bad[i], &got), -EINVAL);
}

static void test_time(void **state)
{
	static const struct {
		const char *text;
		long long seconds;
		long nanoseconds;
	} good[] = {
		{ "1970-01-01T00:00:00Z", 0, 0 },
		{ "2026-11-22T03:04:05Z", 1795316645, 0 },
		{ "2026-11-22T03:04:05.123456789Z", 1795316645, 123456789 },
		{ "2026-11-22t03:04:05.5z", 1795316645, 500000000 },
		{ "2026-11-22 04:04:05+01:00", 1795316645, 0 },
		{ "2026-11-21T21:34:05-05:30", 1795316645, 0 },
		{ "2024-02-29T00:00:00Z", 1709164800, 0 },
		{ "2016-12-31T23:59:60Z", 1483228800, 0 },
	};
	static const char *const bad[] = {
		"", "2026-11-22", "2026-11-22T03:04:05", "2026-11-22T03:04Z",
		"2026-13-22T03:04:05Z",
		"2026-02-30T03:04:05Z", "2026-11-22T24:04:05Z", "2026-11-22T03:04:61Z",
		"2026-11-22T03:04:05+1:00", "2026-11-22T03:04:05Zx", "2026-11-22T03:04:05.Z",
		"2026-11-2", "yesterday",
	};
	struct timespec got;

	(void)state;
	for (size_t i = 0; i < array_size(good); i++) {
		assert_int_equal(time_parse(good[i].text, &got), 0);
		assert_int_equal(got.tv_sec, good[i].seconds);
		assert_int_equal(got.tv_nsec, good[i].nanoseconds);
	}
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(time_parse(bad[i], &got), -EINVAL);
}

static void test_since(void **state)
{
	const struct timespec now = { .tv_sec = 1795316645, .tv_nsec = 250000000 };
	static const struct {
		const char *text;
		long long seconds;
		long nanoseconds;
	} rows[] = {
		{ "10m", 1795316045, 250000000 },
		{ "500ms", 1795316644, 750000000 },
		{ "1795316000", 1795316000, 0 },
		{ "1795316000.5", 1795316000, 500000000 },
		{ "2026-11-22T03:04:05Z", 1795316645, 0 },
	};
	struct timespec got;

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		assert_int_equal(since_parse(rows[i].text, &now, &got), 0);
		assert_int_equal(got.tv_sec, rows[i].seconds);
		assert_int_equal(got.tv_nsec, rows[i].nanoseconds);
	}
	assert_int_equal(since_parse("soon", &now, &got), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_since),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
