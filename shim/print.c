/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The encoder writes JSON for machines, on one line; for people it is indented afterwards, which
 * needs no knowledge but where strings begin and end.
 */

#include "shim/print.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PRINTED_MAX (64u << 20)
#define COLUMN_MIN 12
#define COLUMN_GAP 3

static int new_line(struct buf *out, unsigned depth, const char *unit)
{
	int r = buf_append(out, "\n", 1);
	while (r >= 0 && depth--)
		r = buf_append(out, unit, strlen(unit));
	return r;
}

/* The length of what is copied as it is: a string, or a run of other characters. */
static size_t token_length(const char *text, size_t length)
{
	size_t n = 1;
	bool string = *text == '"';
	while (n < length && (string ? text[n] != '"' : !strchr("{}[],:\"", text[n])))
		n += string && text[n] == '\\' ? 2 : 1;
	return min_size(string ? n + 1 : n, length);
}

int json_indent(struct buf *out, const char *text, size_t length, const char *unit)
{
	unsigned depth = 0;
	int r = 0;
	for (size_t i = 0; r >= 0 && i < length;) {
		char c = text[i];
		bool opens = c == '{' || c == '[', closes = c == '}' || c == ']';
		if (!opens && !closes && c != ',' && c != ':') {
			size_t n = token_length(text + i, length - i);
			r = buf_append(out, text + i, n);
			i += n;
			continue;
		}
		if (closes)
			r = new_line(out, --depth, unit);
		if (r >= 0)
			r = buf_append(out, c == ':' ? ": " : &c, c == ':' ? 2 : 1);
		i++;
		if (opens && i < length && (text[i] == '}' || text[i] == ']')) {
			if (r >= 0)
				r = buf_append(out, text + i++, 1);
		} else if (r >= 0 && (opens || c == ',')) {
			depth += opens;
			r = new_line(out, depth, unit);
		}
	}
	return r;
}

int print_json(const struct json_type *type, const void *from, const char *unit,
               struct fault *fault)
{
	struct buf text = BUF(PRINTED_MAX), pretty = BUF(PRINTED_MAX);
	struct buf *shown = &text;
	int r = json_encode(type, from, &text, false);
	if (r >= 0 && unit) {
		r = json_indent(&pretty, buf_head(&text), buf_length(&text), unit);
		shown = &pretty;
	}
	if (r >= 0) {
		fwrite(buf_head(shown), 1, buf_length(shown), stdout);
		putchar('\n');
	}
	buf_deinit(&text);
	buf_deinit(&pretty);
	return r < 0 ? fault_errno(fault, r, "printing") : 0;
}

int format_parse(const char *text, bool *ret_json, struct fault *fault)
{
	*ret_json = text && !strcmp(text, "json");
	if (text && !*ret_json && strcmp(text, "table"))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "--format \"%s\" is neither table nor json", text);
	return 0;
}

static void add_cell(struct table *table, char *text)
{
	if (text && table->count == table->room) {
		size_t room = table->room ? 2 * table->room : 64;
		char **larger = realloc(table->cell, room * sizeof(*larger));
		if (!larger) {
			free(text);
			text = NULL;
		} else {
			table->cell = larger;
			table->room = room;
		}
	}
	if (!text) {
		table->failed = true;
		return;
	}
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
	table->cell[table->count++] = text;
}

void table_add(struct table *table, const char *format, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	add_cell(table, text);
}

void table_add_words(struct table *table, const char *const *words)
{
	for (; *words; words++)
		add_cell(table, strdup(*words));
}

/* Characters, not bytes. */
static size_t cell_width(const char *text)
{
	size_t width = 0;
	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

static size_t column_width(const struct table *table, size_t column)
{
	size_t width = COLUMN_MIN - COLUMN_GAP;
	for (size_t i = column; i < table->count; i += table->columns) {
		size_t cell = cell_width(table->cell[i]);
		if (cell > width)
			width = cell;
	}
	return width + COLUMN_GAP;
}

void table_deinit(struct table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->cell[i]);
	free(table->cell);
	*table = (struct table)TABLE(table->columns);
}

int table_print(struct table *table, struct fault *fault)
{
	bool failed = table->failed;
	size_t *width = calloc(table->columns, sizeof(*width));
	for (size_t i = 0; width && i < table->columns; i++)
		width[i] = column_width(table, i);
	for (size_t i = 0; width && !failed && i < table->count; i++) {
		size_t column = i % table->columns;
		bool last = column + 1 == table->columns;
		size_t pad = last ? 0 : width[column] - cell_width(table->cell[i]);
		printf("%s%*s%s", table->cell[i], (int)pad, "", last ? "\n" : "");
	}
	failed |= !width;
	free(width);
	table_deinit(table);
	return failed ? fault_errno(fault, -ENOMEM, "printing") : 0;
}

const char *format_bytes(uint64_t bytes, char text[static QUANTITY_TEXT])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	size_t unit = 0;
	uint64_t divisor = 1;
	while (bytes / divisor >= 1024 && unit + 1 < array_size(units)) {
		divisor *= 1024;
		unit++;
	}
	uint64_t tenths = bytes % divisor * 10 / divisor;
	if (unit)
		snprintf(text, QUANTITY_TEXT, "%llu.%llu %s", (unsigned long long)(bytes / divisor),
		         (unsigned long long)tenths, units[unit]);
	else
		snprintf(text, QUANTITY_TEXT, "%llu B", (unsigned long long)bytes);
	return text;
}

const char *format_microseconds(uint64_t usec, char text[static QUANTITY_TEXT])
{
	snprintf(text, QUANTITY_TEXT, "%llu.%03u s", (unsigned long long)(usec / 1000000),
	         (unsigned)(usec % 1000000 / 1000));
	return text;
}
