/* SPDX-License-Identifier: Apache-2.0 */

/* Byte queues: order, limits, and what they cost when both ends move. */

#include "oci/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void assert_holds(const struct buf *buf, const char *text)
{
	assert_int_equal(buf_length(buf), strlen(text));
	assert_memory_equal(buf_head(buf), text, strlen(text));
}

static void test_queue(void **state)
{
	struct buf buf cleanup(buf_deinit) = BUF(1000);

	(void)state;
	assert_int_equal(buf_length(&buf), 0);
	assert_int_equal(buf_room(&buf), 1000);
	assert_int_equal(buf_append(&buf, NULL, 0), 0);
	assert_null(buf.data);
	assert_int_equal(buf_append(&buf, "hello ", 6), 0);
	assert_int_equal(buf_printf(&buf, "%s %d", "world", 7), 0);
	assert_holds(&buf, "hello world 7");
	buf_consume(&buf, 6);
	assert_holds(&buf, "world 7");
	assert_int_equal(buf_room(&buf), 993);
	char *to = buf_reserve(&buf, 3);
	to[0] = '!';
	buf_commit(&buf, 1);
	assert_holds(&buf, "world 7!");
	/* Empty: the memory goes back. More than there is: all of it. */
	buf_consume(&buf, 100);
	assert_int_equal(buf_length(&buf), 0);
	assert_null(buf.data);
	assert_int_equal(buf.size, 0);
	assert_int_equal(buf_append(&buf, "again", 5), 0);
	assert_holds(&buf, "again");
	buf_deinit(&buf);
	buf_deinit(&buf);
}

static void test_limit(void **state)
{
	struct buf buf cleanup(buf_deinit) = BUF(10), none cleanup(buf_deinit) = BUF(0);

	(void)state;
	assert_int_equal(buf_append(&buf, "0123456789a", 11), -ENOBUFS);
	assert_int_equal(buf_append(&buf, "0123456", 7), 0);
	assert_int_equal(buf_append(&buf, "7890", 4), -ENOBUFS);
	assert_int_equal(buf_printf(&buf, "%d", 1234), -ENOBUFS);
	assert_holds(&buf, "0123456");
	assert_null(buf_reserve(&buf, 4));
	assert_null(buf_reserve(&buf, SIZE_MAX));
	/* The NUL of printf need not fit. */
	assert_int_equal(buf_printf(&buf, "%d", 789), 0);
	assert_holds(&buf, "0123456789");
	assert_int_equal(buf_room(&buf), 0);
	assert_non_null(buf_reserve(&buf, 0));
	assert_int_equal(buf_append(&buf, "", 0), 0);
	assert_int_equal(buf_append(&buf, "x", 1), -ENOBUFS);
	assert_true(buf.size <= 10);
	/* What was taken is room again. */
	buf_consume(&buf, 4);
	assert_int_equal(buf_append(&buf, "abcd", 4), 0);
	assert_holds(&buf, "456789abcd");

	assert_int_equal(buf_append(&none, "x", 1), -ENOBUFS);
	assert_int_equal(buf_append(&none, "x", 0), 0);
	assert_non_null(buf_reserve(&none, 0));
}

static void test_long_printf(void **state)
{
	struct buf buf cleanup(buf_deinit) = BUF(300);

	(void)state;
	for (int width = 250; width <= 300; width++) {
		assert_int_equal(buf_printf(&buf, "%*d", width, 5), 0);
		assert_int_equal(buf_length(&buf), width);
		assert_int_equal(buf_head(&buf)[width - 1], '5');
		buf_consume(&buf, SIZE_MAX);
	}
	assert_int_equal(buf_printf(&buf, "%*d", 301, 5), -ENOBUFS);
	assert_int_equal(buf_length(&buf), 0);
}

/* Any mix of sizes keeps the order and the bounds. */
static void test_order(void **state)
{
	struct buf buf cleanup(buf_deinit) = BUF(5000);
	unsigned char next_in = 0, next_out = 0;
	unsigned random = 1;

	(void)state;
	for (int turn = 0; turn < 200000; turn++) {
		random = random * 1103515245 + 12345;
		size_t size = random >> 16 & 511;
		if (random >> 30 & 1) {
			unsigned char *to = (unsigned char *)buf_reserve(&buf, size);
			assert_true(!!to == (size <= buf_room(&buf)));
			for (size_t i = 0; to && i < size; i++)
				to[i] = next_in++;
			if (to)
				buf_commit(&buf, size);
		} else {
			size = min_size(size, buf_length(&buf));
			for (size_t i = 0; i < size; i++)
				assert_int_equal((unsigned char)buf_head(&buf)[i], next_out++);
			buf_consume(&buf, size);
		}
		assert_true(buf_length(&buf) <= 5000);
		assert_true(buf.size <= 10000);
	}
}

/* A nearly full queue must not move all of itself for each piece: that would be a terabyte. */
static void test_full_queue_is_cheap(void **state)
{
	const size_t limit = 8u << 20;
	struct buf buf cleanup(buf_deinit) = BUF(limit);
	char piece[64] = { 0 };

	(void)state;
	while (buf_append(&buf, piece, sizeof(piece)) == 0)
		;
	assert_int_equal(buf_length(&buf), limit);
	assert_int_equal(buf.size, limit);
	for (int i = 0; i < 200000; i++) {
		buf_consume(&buf, sizeof(piece));
		assert_int_equal(buf_append(&buf, piece, sizeof(piece)), 0);
	}
	assert_true(buf.size <= 2 * limit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_long_printf),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_full_queue_is_cheap),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
