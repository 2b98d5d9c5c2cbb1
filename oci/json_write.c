/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Trees and strings as text, with the escapes of Go's encoding/json, so that what we write is byte
 * for byte what its users are used to see: U+2028 and U+2029 are always escaped, '<', '>' and '&'
 * on request.
 *
 * A string is scanned twice, to count and to write, rather than escaped piece by piece: documents
 * inside documents have an escape every few bytes.
 */

#include "oci/json.h"
#include "oci/utf8.h"

#include <string.h>

/* How a byte is written: as it is (0), as a backslash and this character, or specially. */
enum { UNICODE = 1, HTML, WIDE };
static const unsigned char escapes[256] = {
	[0 ... 7] = UNICODE, ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', [0x0b] = UNICODE,
	['\f'] = 'f', ['\r'] = 'r', [0x0e ... 0x1f] = UNICODE, ['"'] = '"', ['\\'] = '\\',
	['&'] = HTML, ['<'] = HTML, ['>'] = HTML,
	[0x80 ... 0xff] = WIDE, /* to be looked at as a character */
};

static void put_unicode(char *out, unsigned code)
{
	static const char digits[] = "0123456789abcdef";

	if (!out)
		return;
	out[0] = '\\';
	out[1] = 'u';
	for (unsigned i = 0; i < 4; i++)
		out[2 + i] = digits[code >> (12 - 4 * i) & 15];
}

/* One character above U+007F: sets *taken, returns the bytes written. */
static size_t escape_wide(char *out, const char *text, size_t length, size_t *taken)
{
	size_t n = utf8_length(text, length);

	*taken = n ? n : 1;
	if (!n) {
		put_unicode(out, 0xfffd);
		return 6;
	}
	if (n == 3 && text[0] == '\xe2' && text[1] == '\x80' && (text[2] & '\xfe') == '\xa8') {
		put_unicode(out, 0x2028u + (text[2] & 1));
		return 6;
	}
	if (out)
		memcpy(out, text, n);
	return n;
}

size_t json_escape(char *out, const char *text, size_t length, bool escape_html)
{
	size_t end = 0, i = 0;

	for (;;) {
		size_t run = i;
		unsigned char escape = 0;
		while (i < length) {
			escape = escapes[(unsigned char)text[i]];
			if (escape && (escape != HTML || escape_html))
				break;
			i++;
		}
		if (out && i > run)
			memcpy(out + end, text + run, i - run);
		end += i - run;
		if (i == length)
			return end;

		char *to = out ? out + end : NULL;
		size_t taken = 1;
		if (escape == WIDE) {
			end += escape_wide(to, text + i, length - i, &taken);
		} else if (escape == UNICODE || escape == HTML) {
			put_unicode(to, (unsigned char)text[i]);
			end += 6;
		} else {
			if (to) {
				to[0] = '\\';
				to[1] = (char)escape;
			}
			end += 2;
		}
		i += taken;
	}
}

int json_write_string(struct buf *out, const char *text, size_t length, bool escape_html)
{
	size_t size = json_escape(NULL, text, length, escape_html) + 2;

	if (size > buf_room(out))
		return -ENOBUFS;
	char *to = buf_reserve(out, size);
	if (!to)
		return -ENOMEM;
	to[0] = '"';
	json_escape(to + 1, text, length, escape_html);
	to[size - 1] = '"';
	buf_commit(out, size);
	return 0;
}

static int write_object(struct buf *out, const struct json *object, bool escape_html)
{
	int error = buf_append(out, "{", 1);

	for (size_t i = 0; error == 0 && i < object->length; i++) {
		const struct json_member *member = &object->members[i];
		if (i)
			error = buf_append(out, ",", 1);
		if (error == 0)
			error = json_write_string(out, member->name, strlen(member->name),
			                          escape_html);
		if (error == 0)
			error = buf_append(out, ":", 1);
		if (error == 0)
			error = json_write(out, &member->value, escape_html);
	}
	return error < 0 ? error : buf_append(out, "}", 1);
}

static int write_array(struct buf *out, const struct json *array, bool escape_html)
{
	int error = buf_append(out, "[", 1);

	for (size_t i = 0; error == 0 && i < array->length; i++) {
		if (i)
			error = buf_append(out, ",", 1);
		if (error == 0)
			error = json_write(out, &array->items[i], escape_html);
	}
	return error < 0 ? error : buf_append(out, "]", 1);
}

int json_write(struct buf *out, const struct json *value, bool escape_html)
{
	switch (value->kind) {
	case JSON_FALSE:
		return buf_append(out, "false", 5);
	case JSON_TRUE:
		return buf_append(out, "true", 4);
	case JSON_NUMBER:
		return buf_append(out, value->text, value->length);
	case JSON_STRING:
		return json_write_string(out, value->text, value->length, escape_html);
	case JSON_ARRAY:
		return write_array(out, value, escape_html);
	case JSON_OBJECT:
		return write_object(out, value, escape_html);
	case JSON_NULL:
		break;
	}
	return buf_append(out, "null", 4);
}
