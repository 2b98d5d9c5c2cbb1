/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A GUID is kept as its 16 bytes on the wire, never as a struct of integers, so there is nothing to
 * swap on a big-endian machine and nothing that a compiler could pad. The price is the one table
 * below: the order in which the bytes of the text stand in memory. (UUID libraries keep network
 * order; their bytes must never be copied into a GUID.)
 */

#include "hvsocket/guid.h"

#include <string.h>

const struct hv_guid hv_guid_zero = { { 0 } };
const struct hv_guid hv_guid_broadcast = { {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
} };
/* 90db8b89-0d35-4f79-8ce9-49ea0ac8b7cd */
const struct hv_guid hv_guid_children = { {
	0x89, 0x8b, 0xdb, 0x90, 0x35, 0x0d, 0x79, 0x4f,
	0x8c, 0xe9, 0x49, 0xea, 0x0a, 0xc8, 0xb7, 0xcd,
} };
/* e0e16197-dd56-4a10-9195-5ee7a155a838 */
const struct hv_guid hv_guid_loopback = { {
	0x97, 0x61, 0xe1, 0xe0, 0x56, 0xdd, 0x10, 0x4a,
	0x91, 0x95, 0x5e, 0xe7, 0xa1, 0x55, 0xa8, 0x38,
} };
/* a42e7cda-d03f-480c-9cc2-a4de20abb878 */
const struct hv_guid hv_guid_parent = { {
	0xda, 0x7c, 0x2e, 0xa4, 0x3f, 0xd0, 0x0c, 0x48,
	0x9c, 0xc2, 0xa4, 0xde, 0x20, 0xab, 0xb8, 0x78,
} };
/* 36bd0c5c-7276-4223-88ba-7d03b654c568 */
const struct hv_guid hv_guid_silohost = { {
	0x5c, 0x0c, 0xbd, 0x36, 0x76, 0x72, 0x23, 0x42,
	0x88, 0xba, 0x7d, 0x03, 0xb6, 0x54, 0xc5, 0x68,
} };
/* 00000000-facb-11e6-bd58-64006a7986d3 */
const struct hv_guid hv_guid_vsock_template = { {
	0x00, 0x00, 0x00, 0x00, 0xcb, 0xfa, 0xe6, 0x11,
	0xbd, 0x58, 0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3,
} };

/* Where in the text each byte begins. */
static const uint8_t text_at[16] = { 6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34 };
static const uint8_t dash_at[4] = { 8, 13, 18, 23 };

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int hv_guid_parse(const char *text, struct hv_guid *ret)
{
	size_t length = strnlen(text, HV_GUID_TEXT + 2);
	if (length == HV_GUID_TEXT + 1) {
		if (text[0] != '{' || text[length - 1] != '}')
			return -EINVAL;
		text++;
	} else if (length != HV_GUID_TEXT - 1) {
		return -EINVAL;
	}

	struct hv_guid guid;
	for (size_t i = 0; i < array_size(dash_at); i++) {
		if (text[dash_at[i]] != '-')
			return -EINVAL;
	}
	for (size_t i = 0; i < array_size(text_at); i++) {
		int high = hex_digit(text[text_at[i]]), low = hex_digit(text[text_at[i] + 1]);
		if (high < 0 || low < 0)
			return -EINVAL;
		guid.byte[i] = (uint8_t)(high << 4 | low);
	}
	*ret = guid;
	return 0;
}

const char *hv_guid_format(const struct hv_guid *guid, char text[static HV_GUID_TEXT])
{
	for (size_t i = 0; i < array_size(text_at); i++) {
		text[text_at[i]] = "0123456789abcdef"[guid->byte[i] >> 4];
		text[text_at[i] + 1] = "0123456789abcdef"[guid->byte[i] & 15];
	}
	for (size_t i = 0; i < array_size(dash_at); i++)
		text[dash_at[i]] = '-';
	text[HV_GUID_TEXT - 1] = '\0';
	return text;
}

bool hv_guid_equal(const struct hv_guid *a, const struct hv_guid *b)
{
	return memcmp(a->byte, b->byte, sizeof(a->byte)) == 0;
}

int hv_guid_random(struct hv_guid *ret)
{
	int r = hv_random(ret->byte, sizeof(ret->byte));
	if (r < 0)
		return r;
	/* The version stands in the high half of Data3, which is little-endian here. */
	ret->byte[7] = (uint8_t)((ret->byte[7] & 0x0f) | 0x40);
	ret->byte[8] = (uint8_t)((ret->byte[8] & 0x3f) | 0x80);
	return 0;
}

struct hv_guid hv_guid_from_port(uint32_t port)
{
	struct hv_guid guid = hv_guid_vsock_template;
	for (size_t i = 0; i < 4; i++)
		guid.byte[i] = (uint8_t)(port >> 8 * i);
	return guid;
}

bool hv_guid_to_port(const struct hv_guid *guid, uint32_t *ret_port)
{
	if (memcmp(guid->byte + 4, hv_guid_vsock_template.byte + 4, 12) != 0)
		return false;
	*ret_port = (uint32_t)guid->byte[0] | (uint32_t)guid->byte[1] << 8 |
	            (uint32_t)guid->byte[2] << 16 | (uint32_t)guid->byte[3] << 24;
	return true;
}
