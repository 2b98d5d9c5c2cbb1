/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What commands print: JSON, tables, sizes. All of it goes to standard output. */

#include "oci/fault.h"
#include "oci/json.h"

/* Valid JSON with a line for each member and item, indented by `unit`. -ENOBUFS, -ENOMEM. */
int json_indent(struct buf *out, const char *text, size_t length, const char *unit);
/* A struct as JSON and a newline; unit NULL: on one line. */
int print_json(const struct json_type *type, const void *from, const char *unit,
               struct fault *fault);
/* -f table|json */
int format_parse(const char *text, bool *ret_json, struct fault *fault);

/*
 * A table in the style of runc's: columns at least 12 wide, three spaces apart. Control characters
 * in cells become '?', because names are other people's and the reader is a terminal.
 */
struct table {
	size_t columns, count, room;
	char **cell;
	bool failed;            /* out of memory, told by table_print() */
};
#define TABLE(columns_) { .columns = (columns_) }
void table_add(struct table *table, const char *format, ...) printf_like(2, 3);
/* Adds several words as they are. */
void table_add_words(struct table *table, const char *const *words);
/* Prints the table and frees it. */
int table_print(struct table *table, struct fault *fault);
void table_deinit(struct table *table);

/* "12.3 MiB"; "3.204 s" */
#define QUANTITY_TEXT 24
const char *format_bytes(uint64_t bytes, char text[static QUANTITY_TEXT]);
const char *format_microseconds(uint64_t usec, char text[static QUANTITY_TEXT]);
