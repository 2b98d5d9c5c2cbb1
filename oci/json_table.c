/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tree to struct and back, by tables. The path to the value at hand is a chain through the stack
 * frames of the codecs; it costs two assignments per member and becomes text only when something is
 * refused.
 */

#include "oci/json_table.h"
#include "oci/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PATH_MAX_TEXT 512

void json_enter(struct json_reader *reader, struct json_step *step)
{
	step->up = reader->path;
	reader->path = step;
}

void json_leave(struct json_reader *reader)
{
	reader->path = reader->path->up;
}

struct arena *json_reader_arena(struct json_reader *reader)
{
	return reader->arena;
}

/* Recursion is as deep as the document: JSON_DEPTH_MAX for each document inside a document. */
static size_t path_text(const struct json_step *step, char *out, size_t room)
{
	size_t end = step->up ? path_text(step->up, out, room) : 0;
	int length;

	if (step->member)
		length = snprintf(out + end, room - end, "%s%s", end ? "." : "", step->member);
	else if (step->key)
		length = snprintf(out + end, room - end, "[\"%.64s\"]", step->key);
	else
		length = snprintf(out + end, room - end, "[%zu]", step->index);
	return length < 0 ? end : min_size(end + (size_t)length, room - 1);
}

int json_refuse_with(struct json_reader *reader, int error, const char *text)
{
	char path[PATH_MAX_TEXT] = "document";

	if (reader->path)
		path_text(reader->path, path, sizeof(path));
	return fault_set(reader->fault, error, HRESULT_INVALID_JSON, "%s: %s", path, text);
}

int json_refuse(struct json_reader *reader, const char *format, ...)
{
	char text[FAULT_TEXT];
	va_list args;

	va_start(args, format);
	if (vsnprintf(text, sizeof(text), format, args) < 0)
		text[0] = '\0';
	va_end(args);
	return json_refuse_with(reader, -EINVAL, text);
}

int json_no_memory(struct json_reader *reader)
{
	char text[64];

	snprintf(text, sizeof(text), "needs more than %zu bytes of memory", reader->arena->limit);
	return json_refuse_with(reader, -ENOMEM, text);
}

/* Members that no table knows are ignored, as the specifications want it; this is how one learns
 * which of them would have been needed. */
static void log_ignored(struct json_reader *reader, const struct json_type *type,
                        const struct json *value)
{
	for (size_t i = 0; i < value->length; i++) {
		const char *name = value->members[i].name;
		const struct json_field *field = type->fields;
		while (field->name && strcasecmp(field->name, name))
			field++;
		if (field->name)
			continue;
		char path[PATH_MAX_TEXT];
		struct json_step step = { .up = reader->path, .member = name };
		path_text(&step, path, sizeof(path));
		log_debug("%s: ignored", path);
	}
}

int json_read_object(struct json_reader *reader, const struct json_type *type,
                     const struct json *value, void *to)
{
	if (value->kind != JSON_OBJECT)
		return json_refuse(reader, "is not an object");
	for (const struct json_field *field = type->fields; field->name; field++) {
		const struct json *member = json_get(value, field->name);
		if (!member && !(field->flags & JSON_REQUIRED))
			continue;
		struct json_step step = { .member = field->name };
		json_enter(reader, &step);
		int error = member ? field->codec->get(reader, member, field,
		                                       (char *)to + field->offset) :
		                     json_refuse(reader, "is required");
		json_leave(reader);
		if (error < 0)
			return error;
	}
	if (log_wants(LOG_LEVEL_DEBUG))
		log_ignored(reader, type, value);
	return 0;
}

bool json_object_absent(const struct json_type *type, const void *from)
{
	for (const struct json_field *field = type->fields; field->name; field++) {
		if ((field->flags & JSON_ALWAYS) || !field->codec->absent ||
		    !field->codec->absent(field, (const char *)from + field->offset))
			return false;
	}
	return true;
}

int json_write_object(struct json_writer *writer, const struct json_type *type, const void *from)
{
	const char *before = "{";

	for (const struct json_field *field = type->fields; field->name; field++) {
		const void *member = (const char *)from + field->offset;
		if (!(field->flags & JSON_ALWAYS) && field->codec->absent &&
		    field->codec->absent(field, member))
			continue;
		int error = json_put_raw(writer, before);
		before = ",";
		if (error == 0)
			error = json_put_string(writer, field->name);
		if (error == 0)
			error = json_put_raw(writer, ":");
		if (error == 0)
			error = field->codec->put(writer, field, member);
		if (error < 0)
			return error;
	}
	return json_put_raw(writer, *before == '{' ? "{}" : "}");
}

int json_put_raw(struct json_writer *writer, const char *text)
{
	return buf_append(writer->out, text, strlen(text));
}

int json_put_string(struct json_writer *writer, const char *text)
{
	return json_write_string(writer->out, text, strlen(text), writer->escape_html);
}

int json_decode_tree(struct arena *arena, const struct json_type *type, const struct json *tree,
                     void *to, struct fault *fault)
{
	struct json_reader reader = { .arena = arena, .fault = fault };
	int error = json_read_object(&reader, type, tree, to);

	if (error < 0)
		memset(to, 0, type->size);
	return error;
}

int json_decode(struct arena *arena, const struct json_type *type, const char *text, size_t length,
                void *to, struct fault *fault)
{
	struct json tree;
	int error = json_parse(arena, text, length, &tree, fault);

	if (error < 0) {
		memset(to, 0, type->size);
		return error;
	}
	return json_decode_tree(arena, type, &tree, to, fault);
}

int json_encode(const struct json_type *type, const void *from, struct buf *out, bool escape_html)
{
	struct json_writer writer = { .out = out, .escape_html = escape_html };
	size_t before = buf_length(out);
	int error = json_write_object(&writer, type, from);

	if (error < 0)
		out->end = out->start + before;
	return error;
}
