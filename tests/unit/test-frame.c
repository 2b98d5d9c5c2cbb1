/* SPDX-License-Identifier: Apache-2.0 */

/* The frame header, against bytes written down by hand from PROTOCOL.md. */

#include "oci/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static const struct {
	struct frame frame;
	uint8_t bytes[FRAME_HEADER];
} golden[] = {
	/* NegotiateProtocol with its 109 bytes of payload, the first request */
	{ { 0x10100B01, 125, 0 },
	  { 0x01, 0x0B, 0x10, 0x10, 0x7D, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
	{ { 0x20100501, 0x1234, 7 },
	  { 0x01, 0x05, 0x10, 0x20, 0x34, 0x12, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0 } },
	{ { FRAME_DATA, FRAME_HEADER + FRAME_DATA_MAX, 6 },
	  { 0x01, 0x01, 0x10, 0x40, 0x10, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0 } },
	{ { FRAME_WINDOW, 24, 6 },
	  { 0x01, 0x02, 0x10, 0x40, 24, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0 } },
	{ { FRAME_END, 28, 6 }, { 0x01, 0x03, 0x10, 0x40, 28, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0 } },
	{ { FRAME_STOP, 20, 6 }, { 0x01, 0x04, 0x10, 0x40, 20, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0 } },
	{ { FRAME_ACK, 16, UINT64_C(0x8877665544332211) },
	  { 0x01, 0x01, 0x00, 0x40, 16, 0, 0, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88 } },
	{ { 0xFEDCBA98, 0x00400000, UINT64_MAX },
	  { 0x98, 0xBA, 0xDC, 0xFE, 0, 0, 0x40, 0, 255, 255, 255, 255, 255, 255, 255, 255 } },
};

static void test_golden(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(golden); i++) {
		uint8_t bytes[FRAME_HEADER];
		struct frame frame;
		frame_encode(&golden[i].frame, bytes);
		assert_memory_equal(bytes, golden[i].bytes, FRAME_HEADER);
		assert_int_equal(frame_decode(golden[i].bytes, FRAME_HOST_MAX, &frame), 0);
		assert_int_equal(frame.type, golden[i].frame.type);
		assert_int_equal(frame.size, golden[i].frame.size);
		assert_true(frame.id == golden[i].frame.id);
	}
}

static void test_sizes(void **state)
{
	(void)state;
	static const struct {
		uint32_t size, max;
		int result;
	} cases[] = {
		{ 0, FRAME_PLAIN_MAX, -EPROTO },
		{ 15, FRAME_PLAIN_MAX, -EPROTO },
		{ 16, FRAME_PLAIN_MAX, 0 },
		{ 65536, FRAME_PLAIN_MAX, 0 },
		{ 65537, FRAME_PLAIN_MAX, -EPROTO },
		{ FRAME_HOST_MAX, FRAME_HOST_MAX, 0 },
		{ FRAME_HOST_MAX + 1, FRAME_HOST_MAX, -EPROTO },
		{ UINT32_MAX, FRAME_HOST_MAX, -EPROTO },
		{ UINT32_MAX - 15, FRAME_HOST_MAX, -EPROTO },
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct frame frame = { 0x10100101, cases[i].size, 1 }, got = { 1, 2, 3 };
		uint8_t bytes[FRAME_HEADER];
		frame_encode(&frame, bytes);
		assert_int_equal(frame_decode(bytes, cases[i].max, &got), cases[i].result);
		/* Nothing is returned with an error. */
		if (cases[i].result < 0)
			assert_int_equal(got.size, 2);
	}
}

static void test_numbers(void **state)
{
	(void)state;
	uint8_t bytes[9] = { 0 };
	frame_put_u64(bytes + 1, UINT64_C(0x0102030405060708));
	assert_memory_equal(bytes, "\0\x08\x07\x06\x05\x04\x03\x02\x01", 9);
	assert_true(frame_get_u64(bytes + 1) == UINT64_C(0x0102030405060708));
	frame_put_u32(bytes + 1, UINT32_C(0xFFFEFDFC));
	assert_memory_equal(bytes + 1, "\xFC\xFD\xFE\xFF", 4);
	assert_true(frame_get_u32(bytes + 1) == UINT32_C(0xFFFEFDFC));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_numbers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
