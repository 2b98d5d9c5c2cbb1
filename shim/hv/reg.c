/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The text of .reg files, which Windows' Registry Editor and reg.exe import. Without a byte-order
 * mark they take it for the code page of whatever machine it is, so ASCII is written as it is, and
 * UTF-16 with a mark, as Registry Editor itself writes it, where a name has anything else in it.
 */

#include "shim/hv/service.h"

#include <string.h>

#define END "\r\n"

const char *reg_key(const struct hv_guid *id, char text[static HV_GUID_TEXT])
{
	hv_guid_format(id, text);
	for (char *c = text; *c; c++)
		*c = *c >= 'a' && *c <= 'f' ? (char)(*c - 'a' + 'A') : *c;
	return text;
}

bool reg_is_plain(const char *text)
{
	while (*text >= ' ' && *text <= '~')
		text++;
	return !*text;
}

static void put_unit(FILE *out, uint32_t unit)
{
	fputc((int)(unit & 0xff), out);
	fputc((int)(unit >> 8), out);
}

/* Valid UTF-8. */
static void put(const struct reg *reg, const char *text)
{
	if (!reg->wide) {
		fputs(text, reg->out);
		return;
	}
	for (const uint8_t *u = (const uint8_t *)text; *u;) {
		unsigned length = *u < 0x80 ? 1 : *u < 0xe0 ? 2 : *u < 0xf0 ? 3 : 4;
		uint32_t c = length == 1 ? *u : *u & (0x7fu >> length);
		for (unsigned i = 1; i < length; i++)
			c = c << 6 | (u[i] & 0x3fu);
		if (c >= 0x10000) {
			put_unit(reg->out, 0xd800 + ((c - 0x10000) >> 10));
			c = 0xdc00 + ((c - 0x10000) & 0x3ff);
		}
		put_unit(reg->out, c);
		u += length;
	}
}

static void put_value(const struct reg *reg, const char *name, const char *text)
{
	char escaped[2 * HV_SERVICE_NAME + 1], *to = escaped;
	for (; *text; *to++ = *text++) {
		if (*text == '"' || *text == '\\')
			*to++ = '\\';
	}
	*to = '\0';
	put(reg, "\"");
	put(reg, name);
	put(reg, "\"=\"");
	put(reg, escaped);
	put(reg, "\"" END);
}

static void put_key(const struct reg *reg, const char *before, const struct hv_guid *id)
{
	char key[HV_GUID_TEXT];
	put(reg, before);
	put(reg, "HKEY_LOCAL_MACHINE\\" HV_SERVICES_KEY "\\");
	put(reg, reg_key(id, key));
	put(reg, "]" END);
}

void reg_begin(const struct reg *reg)
{
	put(reg, reg->wide ? "\xef\xbb\xbf" : "");
	put(reg, "Windows Registry Editor Version 5.00" END END);
}

void reg_service(const struct reg *reg, const struct hv_registered *service)
{
	put_key(reg, "[", &service->id);
	if (service->name[0])
		put_value(reg, "ElementName", service->name);
	if (service->ours)
		put_value(reg, HV_SERVICE_TAG, HV_SERVICE_TAG_TEXT);
	put(reg, END);
}

void reg_removal(const struct reg *reg, const struct hv_guid *id)
{
	put_key(reg, "[-", id);
	put(reg, END);
}
