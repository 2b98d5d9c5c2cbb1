/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The last bytes of what somebody says, kept in memory for the moment in which he ends and it is
 * asked why.
 */

#include "oci/buf.h"

#define TAIL_SIZE 8192

struct tail {
	size_t length;
	char text[TAIL_SIZE];
};

void tail_add(struct tail *tail, const char *text, size_t size);
/*
 * The last line that holds the word (NULL: the last one that is not empty), from the word on, in
 * printable characters; "" where there is none. Returns line.
 */
const char *tail_line(const struct tail *tail, const char *word, char *line, size_t size);
/* Appends the last lines, each behind the prefix. */
int tail_print(const struct tail *tail, unsigned lines, const char *prefix, struct buf *out);
