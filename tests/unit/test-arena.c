/* SPDX-License-Identifier: Apache-2.0 */

/* Arenas: alignment, zeroes, growth, and that the limit is a limit on memory. */

#include "oci/arena.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void test_items(void **state)
{
	struct arena arena cleanup(arena_free) = ARENA(1 << 20);
	unsigned char *items[1000];

	(void)state;
	for (size_t i = 0; i < array_size(items); i++) {
		items[i] = arena_alloc(&arena, i);
		assert_non_null(items[i]);
		assert_int_equal((uintptr_t)items[i] % alignof(max_align_t), 0);
		for (size_t k = 0; k < i; k++)
			assert_int_equal(items[i][k], 0);
		memset(items[i], (int)i, i);
		/* Leaves the next place unaligned. */
		char *text = arena_copy(&arena, "abcdef", i % 7);
		assert_int_equal(strlen(text), i % 7);
		memset(text, 'x', i % 7);
	}
	for (size_t i = 0; i < array_size(items); i++) {
		for (size_t k = 0; k < i; k++)
			assert_int_equal(items[i][k], (unsigned char)i);
	}
}

static void test_text(void **state)
{
	struct arena arena cleanup(arena_free) = ARENA(1 << 20);

	(void)state;
	assert_string_equal(arena_copy(&arena, "abc", 2), "ab");
	assert_string_equal(arena_copy(&arena, NULL, 0), "");
	assert_memory_equal(arena_copy(&arena, "a\0b", 3), "a\0b", 4);
	assert_string_equal(arena_printf(&arena, "%s-%d", "x", 7), "x-7");
	assert_string_equal(arena_printf(&arena, "%s", ""), "");
	char *wide = arena_printf(&arena, "%100000d", 1);
	assert_int_equal(strlen(wide), 100000);
}

static void test_growth(void **state)
{
	struct arena arena cleanup(arena_free) = ARENA(1 << 20);

	(void)state;
	assert_int_equal(arena.used, 0);
	assert_non_null(arena_alloc(&arena, 1));
	assert_int_equal(arena.used, 4096);
	for (size_t i = 0; i < 3000; i++)
		assert_non_null(arena_alloc(&arena, 64));
	/* 4 + 8 + 16 + 32 + 64 KiB, then 64 KiB again. */
	assert_int_equal(arena.used, (124 + 64) << 10);
	/* A large item takes what it needs and leaves the current block in use. */
	size_t used = arena.used;
	assert_non_null(arena_alloc(&arena, 300000));
	assert_in_range(arena.used - used, 300000, 300100);
	used = arena.used;
	assert_non_null(arena_alloc(&arena, 64));
	assert_int_equal(arena.used, used);
	arena_free(&arena);
	assert_int_equal(arena.used, 0);
	assert_null(arena.blocks);
	arena_free(&arena);
	assert_non_null(arena_alloc(&arena, 1));
}

static void test_limit(void **state)
{
	static const size_t limits[] = { 0, 1, 40, 100, 4096, 5000, 12288, 100000, 1000000 };

	(void)state;
	for (size_t i = 0; i < array_size(limits); i++) {
		struct arena arena cleanup(arena_free) = ARENA(limits[i]);
		size_t given = 0;
		assert_null(arena_alloc(&arena, limits[i] + 1));
		while (arena_alloc(&arena, 16))
			given += 16;
		assert_true(arena.used <= limits[i]);
		/* Little of it is lost: what a limit is meant for does fit. */
		assert_true(given + given / 16 + 256 >= limits[i]);
		assert_null(arena_copy(&arena, "0123456789abcdef0123456789abcdef", 32));
		assert_null(arena_printf(&arena, "%64d", 1));
	}
}

static void test_overflow(void **state)
{
	struct arena arena cleanup(arena_free) = ARENA(SIZE_MAX);
	struct arena small cleanup(arena_free) = ARENA(4096);

	(void)state;
	assert_null(arena_alloc(&arena, SIZE_MAX));
	assert_null(arena_alloc(&arena, SIZE_MAX - 8));
	assert_null(arena_array(&arena, SIZE_MAX / 2, 3));
	assert_null(arena_array(&arena, SIZE_MAX, SIZE_MAX));
	assert_null(arena_copy(&small, "", SIZE_MAX));
	assert_null(arena_copy(&small, "", SIZE_MAX - 1));
	assert_null(arena_array(&small, 1024, 4));
	assert_non_null(arena_array(&small, 1023, 3));
	assert_non_null(arena_array(&small, 0, 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_items),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_overflow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
