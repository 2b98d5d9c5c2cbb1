/* SPDX-License-Identifier: Apache-2.0 */

/* GUIDs: the golden bytes of the wire, what is a GUID and what is not, ports. */

#include "hvsocket/guid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const struct {
	const char *text;
	const struct hv_guid *known; /* NULL if it has no name */
	struct hv_guid guid;
} golden[] = {
	{ "a42e7cda-d03f-480c-9cc2-a4de20abb878", &hv_guid_parent,
	  { { 0xda, 0x7c, 0x2e, 0xa4, 0x3f, 0xd0, 0x0c, 0x48,
	      0x9c, 0xc2, 0xa4, 0xde, 0x20, 0xab, 0xb8, 0x78 } } },
	{ "00000ac9-facb-11e6-bd58-64006a7986d3", NULL,
	  { { 0xc9, 0x0a, 0x00, 0x00, 0xcb, 0xfa, 0xe6, 0x11,
	      0xbd, 0x58, 0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3 } } },
	{ "40000000-facb-11e6-bd58-64006a7986d3", NULL,
	  { { 0x00, 0x00, 0x00, 0x40, 0xcb, 0xfa, 0xe6, 0x11,
	      0xbd, 0x58, 0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3 } } },
	{ "90db8b89-0d35-4f79-8ce9-49ea0ac8b7cd", &hv_guid_children,
	  { { 0x89, 0x8b, 0xdb, 0x90, 0x35, 0x0d, 0x79, 0x4f,
	      0x8c, 0xe9, 0x49, 0xea, 0x0a, 0xc8, 0xb7, 0xcd } } },
	{ "e0e16197-dd56-4a10-9195-5ee7a155a838", &hv_guid_loopback,
	  { { 0x97, 0x61, 0xe1, 0xe0, 0x56, 0xdd, 0x10, 0x4a,
	      0x91, 0x95, 0x5e, 0xe7, 0xa1, 0x55, 0xa8, 0x38 } } },
	{ "36bd0c5c-7276-4223-88ba-7d03b654c568", &hv_guid_silohost,
	  { { 0x5c, 0x0c, 0xbd, 0x36, 0x76, 0x72, 0x23, 0x42,
	      0x88, 0xba, 0x7d, 0x03, 0xb6, 0x54, 0xc5, 0x68 } } },
	{ "00000000-facb-11e6-bd58-64006a7986d3", &hv_guid_vsock_template,
	  { { 0x00, 0x00, 0x00, 0x00, 0xcb, 0xfa, 0xe6, 0x11,
	      0xbd, 0x58, 0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3 } } },
	{ "00000000-0000-0000-0000-000000000000", &hv_guid_zero, { { 0 } } },
	{ "ffffffff-ffff-ffff-ffff-ffffffffffff", &hv_guid_broadcast,
	  { { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255 } } },
};

static void test_golden(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(golden); i++) {
		struct hv_guid guid;
		char text[HV_GUID_TEXT];
		assert_int_equal(hv_guid_parse(golden[i].text, &guid), 0);
		assert_memory_equal(guid.byte, golden[i].guid.byte, 16);
		assert_string_equal(hv_guid_format(&golden[i].guid, text), golden[i].text);
		assert_true(hv_guid_equal(&guid, &golden[i].guid));
		if (golden[i].known)
			assert_true(hv_guid_equal(&guid, golden[i].known));
	}
}

static void test_forms(void **state)
{
	static const struct {
		const char *text;
		int result;
	} rows[] = {
		{ "A42E7CDA-D03F-480C-9CC2-A4DE20ABB878", 0 },
		{ "{a42e7cda-d03f-480c-9cc2-a4de20abb878}", 0 },
		{ "{A42e7cdA-d03F-480c-9CC2-a4de20ABB878}", 0 },
		{ "", -EINVAL },
		{ "{}", -EINVAL },
		{ "a42e7cda", -EINVAL },
		{ "a42e7cda-d03f-480c-9cc2-a4de20abb87", -EINVAL },
		{ "a42e7cda-d03f-480c-9cc2-a4de20abb8780", -EINVAL },
		{ "a42e7cda-d03f-480c-9cc2-a4de20abb878 ", -EINVAL },
		{ " a42e7cda-d03f-480c-9cc2-a4de20abb87", -EINVAL },
		{ "a42e7cdad03f480c9cc2a4de20abb878", -EINVAL },
		{ "a42e7cda-d03f-480c-9cc2_a4de20abb878", -EINVAL },
		{ "a42e7cda-d03f-480c9-cc2-a4de20abb878", -EINVAL },
		{ "g42e7cda-d03f-480c-9cc2-a4de20abb878", -EINVAL },
		{ "+42e7cda-d03f-480c-9cc2-a4de20abb878", -EINVAL },
		{ "0x2e7cda-d03f-480c-9cc2-a4de20abb878", -EINVAL },
		{ "{a42e7cda-d03f-480c-9cc2-a4de20abb878", -EINVAL },
		{ "a42e7cda-d03f-480c-9cc2-a4de20abb878}", -EINVAL },
		{ "(a42e7cda-d03f-480c-9cc2-a4de20abb878)", -EINVAL },
		{ "{a42e7cda-d03f-480c-9cc2-a4de20abb878}}", -EINVAL },
	};
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		struct hv_guid guid = hv_guid_loopback;
		assert_int_equal(hv_guid_parse(rows[i].text, &guid), rows[i].result);
		/* A failure leaves the result alone. */
		assert_true(hv_guid_equal(&guid, rows[i].result ? &hv_guid_loopback : &hv_guid_parent));
	}
}

static void test_ports(void **state)
{
	static const uint32_t ports[] = { 0, 1, 109, 2761, 19000, 0x40000000, 0x7fffffff, UINT32_MAX };
	(void)state;
	for (size_t i = 0; i < array_size(ports); i++) {
		struct hv_guid guid = hv_guid_from_port(ports[i]);
		char text[HV_GUID_TEXT], expected[HV_GUID_TEXT];
		uint32_t port = 7;
		snprintf(expected, sizeof(expected), "%08x-facb-11e6-bd58-64006a7986d3", ports[i]);
		assert_string_equal(hv_guid_format(&guid, text), expected);
		assert_true(hv_guid_to_port(&guid, &port));
		assert_int_equal(port, ports[i]);
	}
	for (size_t byte = 4; byte < 16; byte++) {
		struct hv_guid guid = hv_guid_from_port(5);
		uint32_t port;
		guid.byte[byte] ^= 1;
		assert_false(hv_guid_to_port(&guid, &port));
	}
}

static void test_random(void **state)
{
	(void)state;
	struct hv_guid a, b;
	char text[HV_GUID_TEXT];
	assert_int_equal(hv_guid_random(&a), 0);
	assert_int_equal(hv_guid_random(&b), 0);
	assert_false(hv_guid_equal(&a, &b));
	hv_guid_format(&a, text);
	assert_int_equal(text[14], '4');
	assert_non_null(strchr("89ab", text[19]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_random),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
