/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */

#include "hvsocket/base.h"

/* Bytes of the character at text (of which length bytes may be read): 1 to 4, 0 when invalid or
 * cut short. */
static inline size_t utf8_length(const char *text, size_t length)
{
	const unsigned char *u = (const unsigned char *)text;

	if (!length)
		return 0;
	if (u[0] < 0x80)
		return 1;
	if (u[0] < 0xc2 || u[0] > 0xf4 || length < 2 || (u[1] & 0xc0) != 0x80)
		return 0;
	if (u[0] < 0xe0)
		return 2;
	if (length < 3 || (u[2] & 0xc0) != 0x80)
		return 0;
	if (u[0] < 0xf0) {
		bool overlong = u[0] == 0xe0 && u[1] < 0xa0;
		bool surrogate = u[0] == 0xed && u[1] > 0x9f;
		return overlong || surrogate ? 0 : 3;
	}
	bool overlong = u[0] == 0xf0 && u[1] < 0x90;
	bool beyond = u[0] == 0xf4 && u[1] > 0x8f;
	return overlong || beyond || length < 4 || (u[3] & 0xc0) != 0x80 ? 0 : 4;
}
