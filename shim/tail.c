/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Consoles are for terminals: they send carriage returns, colours and whatever a guest likes. What
 * is shown again here has only printable characters, so that it cannot do anything to the terminal
 * of who reads an error.
 */

#include "shim/tail.h"

#include <string.h>

void tail_add(struct tail *tail, const char *text, size_t size)
{
	if (size >= TAIL_SIZE) {
		text += size - TAIL_SIZE;
		size = TAIL_SIZE;
	}
	if (tail->length + size > TAIL_SIZE) {
		size_t gone = tail->length + size - TAIL_SIZE;
		memmove(tail->text, tail->text + gone, tail->length - gone);
		tail->length -= gone;
	}
	memcpy(tail->text + tail->length, text, size);
	tail->length += size;
}

static bool is_printable(char c)
{
	return (unsigned char)c >= ' ' && c != 0x7f;
}

/* The line before *end, without what surrounds its text; false when there is none any more. */
static bool line_before(const struct tail *tail, size_t *end, const char **ret, size_t *ret_size)
{
	const char *text = tail->text;
	size_t stop = *end, start;

	while (stop && (!is_printable(text[stop - 1]) || text[stop - 1] == ' '))
		stop--;
	for (start = stop; start && text[start - 1] != '\n'; start--)
		;
	*end = start;
	*ret = text + start;
	*ret_size = stop - start;
	return stop > 0;
}

static void copy_printable(const char *text, size_t size, char *out, size_t room)
{
	size_t at = 0;

	for (size_t i = 0; i < size && at + 1 < room; i++) {
		if (is_printable(text[i]))
			out[at++] = text[i];
	}
	out[at] = '\0';
}

const char *tail_line(const struct tail *tail, const char *word, char *line, size_t size)
{
	size_t end = tail->length, length;
	const char *text;

	line[0] = '\0';
	while (line_before(tail, &end, &text, &length)) {
		const char *found = word ? memmem(text, length, word, strlen(word)) : text;
		if (!found)
			continue;
		copy_printable(found, length - (size_t)(found - text), line, size);
		break;
	}
	return line;
}

int tail_print(const struct tail *tail, unsigned lines, const char *prefix, struct buf *out)
{
	size_t start = tail->length, end = tail->length, length;
	const char *text;
	char line[256];
	int r = 0;

	while (lines && line_before(tail, &end, &text, &length)) {
		start = end;
		lines--;
	}
	for (size_t at = start; r >= 0 && at < tail->length;) {
		text = tail->text + at;
		const char *newline = memchr(text, '\n', tail->length - at);
		length = newline ? (size_t)(newline - text) : tail->length - at;
		copy_printable(text, length, line, sizeof(line));
		if (line[strspn(line, " ")])
			r = buf_printf(out, "%s%s\n", prefix, line);
		at += length + 1;
	}
	return r;
}
