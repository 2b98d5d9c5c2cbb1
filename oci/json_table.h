/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the JSON engine share. Not for others. */

#include "oci/json.h"

struct json_reader {
	struct arena *arena;
	struct fault *fault;
	const struct json_step *path;
};

struct json_writer {
	struct buf *out;
	bool escape_html;
};

/* As json_refuse(), with an error of one's own and text without a format. */
int json_refuse_with(struct json_reader *reader, int error, const char *text);
int json_read_object(struct json_reader *reader, const struct json_type *type,
                     const struct json *value, void *to);
int json_write_object(struct json_writer *writer, const struct json_type *type, const void *from);
bool json_object_absent(const struct json_type *type, const void *from);
