/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The codecs. Each refuses what Go's encoding/json would refuse for the same type; null as an item
 * of a list is refused as well, because it is no value of any type we have.
 *
 * Pointers and lists are handled as `void *` and copied with memcpy(3), since the tables' structs
 * declare them with their real types.
 */

#include "oci/json_table.h"

#include <string.h>

struct any_list {
	size_t count;
	void *item;
};

/* --- integers and booleans --- */

/* An optional sign and digits: no fraction, no exponent, even where the value would be whole. */
static bool split_number(const struct json *value, bool *negative, uint64_t *magnitude)
{
	const char *digit = value->text;
	uint64_t sum = 0;

	if (value->kind != JSON_NUMBER)
		return false;
	*negative = *digit == '-';
	if (*negative)
		digit++;
	for (; *digit; digit++) {
		if (*digit < '0' || *digit > '9' || __builtin_mul_overflow(sum, 10, &sum) ||
		    __builtin_add_overflow(sum, (uint64_t)(*digit - '0'), &sum))
			return false;
	}
	*magnitude = sum;
	return true;
}

static int read_signed(struct json_reader *reader, const struct json *value, int64_t min,
                       int64_t max, int64_t *ret)
{
	uint64_t magnitude;
	bool negative;

	if (!split_number(value, &negative, &magnitude) ||
	    magnitude > (negative ? (uint64_t)max + 1 : (uint64_t)max))
		return json_refuse(reader, "is not a whole number from %lld to %lld",
		                   (long long)min, (long long)max);
	*ret = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
	return 0;
}

static int read_unsigned(struct json_reader *reader, const struct json *value, uint64_t max,
                         uint64_t *ret)
{
	bool negative;

	if (!split_number(value, &negative, ret) || negative || *ret > max)
		return json_refuse(reader, "is not a whole number from 0 to %llu",
		                   (unsigned long long)max);
	return 0;
}

static int write_number(struct json_writer *writer, bool negative, uint64_t magnitude)
{
	char text[24], *first = text + sizeof(text);

	do {
		*--first = (char)('0' + magnitude % 10);
		magnitude /= 10;
	} while (magnitude);
	if (negative)
		*--first = '-';
	return buf_append(writer->out, first, (size_t)(text + sizeof(text) - first));
}

static int write_signed(struct json_writer *writer, int64_t value)
{
	return write_number(writer, value < 0, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

static int write_unsigned(struct json_writer *writer, uint64_t value)
{
	return write_number(writer, false, value);
}

#define CODEC(name) \
	const struct json_codec json_##name = { absent_##name, get_##name, put_##name }

/* The rest of the arguments is the range. */
#define NUMBER_CODEC(name, type, class, wide, ...) \
	static bool absent_##name(const struct json_field *field, const void *from) \
	{ \
		(void)field; \
		return *(const type *)from == 0; \
	} \
	static int get_##name(struct json_reader *reader, const struct json *value, \
	                      const struct json_field *field, void *to) \
	{ \
		wide number; \
		(void)field; \
		int error = read_##class(reader, value, __VA_ARGS__, &number); \
		if (error == 0) \
			*(type *)to = (type)number; \
		return error; \
	} \
	static int put_##name(struct json_writer *writer, const struct json_field *field, \
	                      const void *from) \
	{ \
		(void)field; \
		return write_##class(writer, *(const type *)from); \
	} \
	CODEC(name)

NUMBER_CODEC(i32, int32_t, signed, int64_t, INT32_MIN, INT32_MAX);
NUMBER_CODEC(i64, int64_t, signed, int64_t, INT64_MIN, INT64_MAX);
NUMBER_CODEC(u8, uint8_t, unsigned, uint64_t, UINT8_MAX);
NUMBER_CODEC(u16, uint16_t, unsigned, uint64_t, UINT16_MAX);
NUMBER_CODEC(u32, uint32_t, unsigned, uint64_t, UINT32_MAX);
NUMBER_CODEC(u64, uint64_t, unsigned, uint64_t, UINT64_MAX);

static bool absent_bool(const struct json_field *field, const void *from)
{
	(void)field;
	return !*(const bool *)from;
}

static int get_bool(struct json_reader *reader, const struct json *value,
                    const struct json_field *field, void *to)
{
	(void)field;
	if (value->kind != JSON_TRUE && value->kind != JSON_FALSE)
		return json_refuse(reader, "is not true or false");
	*(bool *)to = value->kind == JSON_TRUE;
	return 0;
}

static int put_bool(struct json_writer *writer, const struct json_field *field, const void *from)
{
	(void)field;
	return json_put_raw(writer, *(const bool *)from ? "true" : "false");
}
CODEC(bool);

#define OPTIONAL_CODEC(name, type, plain) \
	static bool absent_##name(const struct json_field *field, const void *from) \
	{ \
		(void)field; \
		return !((const type *)from)->set; \
	} \
	static int get_##name(struct json_reader *reader, const struct json *value, \
	                      const struct json_field *field, void *to) \
	{ \
		type *optional = to; \
		optional->set = true; \
		return get_##plain(reader, value, field, &optional->value); \
	} \
	static int put_##name(struct json_writer *writer, const struct json_field *field, \
	                      const void *from) \
	{ \
		const type *optional = from; \
		return optional->set ? put_##plain(writer, field, &optional->value) : \
		                       json_put_raw(writer, "null"); \
	} \
	CODEC(name)

OPTIONAL_CODEC(opt_bool, struct opt_bool, bool);
OPTIONAL_CODEC(opt_i64, struct opt_i64, i64);
OPTIONAL_CODEC(opt_u64, struct opt_u64, u64);

/* --- strings --- */

static const void *load_pointer(const void *from)
{
	const void *pointer;

	memcpy(&pointer, from, sizeof(pointer));
	return pointer;
}

static bool absent_str(const struct json_field *field, const void *from)
{
	(void)field;
	return !load_pointer(from);
}

static int get_str(struct json_reader *reader, const struct json *value,
                   const struct json_field *field, void *to)
{
	(void)field;
	if (value->kind != JSON_STRING)
		return json_refuse(reader, "is not a string");
	*(const char **)to = value->text;
	return 0;
}

static int put_str(struct json_writer *writer, const struct json_field *field, const void *from)
{
	const char *text = load_pointer(from);

	(void)field;
	return json_put_string(writer, text ? text : "");
}
CODEC(str);

static bool absent_enum(const struct json_field *field, const void *from)
{
	(void)field;
	return *(const int *)from == 0;
}

static int get_enum(struct json_reader *reader, const struct json *value,
                    const struct json_field *field, void *to)
{
	if (value->kind != JSON_STRING)
		return json_refuse(reader, "is not a string");
	for (const struct json_name *name = field->of; name->name; name++) {
		if (!strcmp(name->name, value->text)) {
			*(int *)to = name->value;
			return 0;
		}
	}
	return json_refuse(reader, "unknown value \"%.64s\"", value->text);
}

static int put_enum(struct json_writer *writer, const struct json_field *field, const void *from)
{
	int value = *(const int *)from;

	for (const struct json_name *name = field->of; name->name; name++) {
		if (name->value == value)
			return json_put_string(writer, name->name);
	}
	return value ? -EINVAL : json_put_string(writer, "");
}
CODEC(enum);

static bool absent_str_map(const struct json_field *field, const void *from)
{
	(void)field;
	return ((const struct str_map *)from)->count == 0;
}

static int get_str_map(struct json_reader *reader, const struct json *value,
                       const struct json_field *field, void *to)
{
	struct str_map *map = to;

	if (value->kind != JSON_OBJECT)
		return json_refuse(reader, "is not an object");
	map->item = arena_array(reader->arena, value->length, sizeof(*map->item));
	if (!map->item)
		return json_no_memory(reader);
	map->count = 0;
	for (size_t i = 0; i < value->length; i++) {
		const struct json_member *member = &value->members[i];
		if (member->value.kind == JSON_NULL)
			continue;
		struct json_step step = { .key = member->name };
		json_enter(reader, &step);
		int error = get_str(reader, &member->value, field, &map->item[map->count].value);
		json_leave(reader);
		if (error < 0)
			return error;
		map->item[map->count++].name = member->name;
	}
	return 0;
}

static int compare_pairs(const void *a, const void *b)
{
	return strcmp(((const struct str_pair *)a)->name, ((const struct str_pair *)b)->name);
}

/* Sorted by name as Go's maps are, so that equal maps are equal texts. */
static int put_str_map(struct json_writer *writer, const struct json_field *field, const void *from)
{
	const struct str_map *map = from;
	cleanup_free struct str_pair *sorted = NULL;
	int error = json_put_raw(writer, "{");

	if (map->count) {
		sorted = calloc(map->count, sizeof(*sorted));
		if (!sorted)
			return -ENOMEM;
		memcpy(sorted, map->item, map->count * sizeof(*sorted));
		qsort(sorted, map->count, sizeof(*sorted), compare_pairs);
	}
	for (size_t i = 0; error == 0 && i < map->count; i++) {
		if (i)
			error = json_put_raw(writer, ",");
		if (error == 0)
			error = json_put_string(writer, sorted[i].name);
		if (error == 0)
			error = json_put_raw(writer, ":");
		if (error == 0)
			error = put_str(writer, field, &sorted[i].value);
	}
	return error < 0 ? error : json_put_raw(writer, "}");
}
CODEC(str_map);

/* --- structs --- */

static bool absent_object(const struct json_field *field, const void *from)
{
	return json_object_absent(field->of, from);
}

static int get_object(struct json_reader *reader, const struct json *value,
                      const struct json_field *field, void *to)
{
	return json_read_object(reader, field->of, value, to);
}

static int put_object(struct json_writer *writer, const struct json_field *field, const void *from)
{
	return json_write_object(writer, field->of, from);
}
CODEC(object);

static int get_pointer(struct json_reader *reader, const struct json *value,
                       const struct json_field *field, void *to)
{
	const struct json_type *type = field->of;
	void *object = arena_alloc(reader->arena, type->size);

	if (!object)
		return json_no_memory(reader);
	memcpy(to, &object, sizeof(object));
	return json_read_object(reader, type, value, object);
}

static int put_pointer(struct json_writer *writer, const struct json_field *field, const void *from)
{
	const void *object = load_pointer(from);

	return object ? json_write_object(writer, field->of, object) : json_put_raw(writer, "null");
}
const struct json_codec json_pointer = { absent_str, get_pointer, put_pointer };

/* --- lists: of one codec's values, side by side --- */

static bool absent_list(const struct json_field *field, const void *from)
{
	size_t count;

	(void)field;
	memcpy(&count, from, sizeof(count));
	return count == 0;
}

static int read_list(struct json_reader *reader, const struct json *value,
                     const struct json_field *field, const struct json_codec *codec, size_t size,
                     void *to)
{
	struct any_list list = { .count = value->length };

	if (value->kind != JSON_ARRAY)
		return json_refuse(reader, "is not an array");
	list.item = arena_array(reader->arena, list.count, size);
	if (!list.item)
		return json_no_memory(reader);
	memcpy(to, &list, sizeof(list));
	for (size_t i = 0; i < list.count; i++) {
		struct json_step step = { .index = i };
		json_enter(reader, &step);
		int error = codec->get(reader, &value->items[i], field,
		                       (char *)list.item + i * size);
		json_leave(reader);
		if (error < 0)
			return error;
	}
	return 0;
}

static int write_list(struct json_writer *writer, const struct json_field *field,
                      const struct json_codec *codec, size_t size, const void *from)
{
	struct any_list list;
	int error = json_put_raw(writer, "[");

	memcpy(&list, from, sizeof(list));
	for (size_t i = 0; error == 0 && i < list.count; i++) {
		if (i)
			error = json_put_raw(writer, ",");
		if (error == 0)
			error = codec->put(writer, field, (const char *)list.item + i * size);
	}
	return error < 0 ? error : json_put_raw(writer, "]");
}

static size_t item_size(const struct json_field *field)
{
	return ((const struct json_type *)field->of)->size;
}

#define LIST_CODEC(name, item, size) \
	static int get_##name(struct json_reader *reader, const struct json *value, \
	                      const struct json_field *field, void *to) \
	{ \
		return read_list(reader, value, field, &json_##item, size, to); \
	} \
	static int put_##name(struct json_writer *writer, const struct json_field *field, \
	                      const void *from) \
	{ \
		return write_list(writer, field, &json_##item, size, from); \
	} \
	const struct json_codec json_##name = { absent_list, get_##name, put_##name }

LIST_CODEC(list, object, item_size(field));
LIST_CODEC(str_list, str, sizeof(const char *));
LIST_CODEC(u32_list, u32, sizeof(uint32_t));

/* --- documents inside strings, and trees --- */

static int parse_string(struct json_reader *reader, const struct json *value, struct arena *arena,
                        struct json *tree)
{
	struct fault inner = FAULT_NULL;

	if (value->kind != JSON_STRING)
		return json_refuse(reader, "is not a string");
	int error = json_parse(arena, value->text, value->length, tree, &inner);
	return error < 0 ? json_refuse_with(reader, error, inner.text) : 0;
}

static int get_nested(struct json_reader *reader, const struct json *value,
                      const struct json_field *field, void *to)
{
	struct json tree;
	int error = parse_string(reader, value, reader->arena, &tree);

	return error < 0 ? error : get_pointer(reader, &tree, field, to);
}

/* Escaped for HTML whatever the outer document is, because that is what Microsoft's host does. */
static int put_nested(struct json_writer *writer, const struct json_field *field, const void *from)
{
	const void *object = load_pointer(from);
	struct buf inner cleanup(buf_deinit) = BUF(buf_room(writer->out));

	if (!object)
		return json_put_raw(writer, "null");
	int error = json_encode(field->of, object, &inner, true);
	if (error < 0)
		return error;
	return json_write_string(writer->out, buf_head(&inner), buf_length(&inner),
	                         writer->escape_html);
}
const struct json_codec json_nested = { absent_str, get_nested, put_nested };

static int get_nested_any(struct json_reader *reader, const struct json *value,
                          const struct json_field *field, void *to)
{
	/* Only to see that it is one. */
	struct arena scratch cleanup(arena_free) = ARENA(JSON_ARENA);
	struct json tree;
	int error = parse_string(reader, value, &scratch, &tree);

	return error < 0 ? error : get_str(reader, value, field, to);
}

static int put_nested_any(struct json_writer *writer, const struct json_field *field,
                          const void *from)
{
	return load_pointer(from) ? put_str(writer, field, from) : json_put_raw(writer, "null");
}
const struct json_codec json_nested_any = { absent_str, get_nested_any, put_nested_any };

static bool absent_any(const struct json_field *field, const void *from)
{
	(void)field;
	return ((const struct json *)from)->kind == JSON_NULL;
}

static int get_any(struct json_reader *reader, const struct json *value,
                   const struct json_field *field, void *to)
{
	(void)reader;
	(void)field;
	*(struct json *)to = *value;
	return 0;
}

static int put_any(struct json_writer *writer, const struct json_field *field, const void *from)
{
	(void)field;
	return json_write(writer->out, from, writer->escape_html);
}
CODEC(any);
