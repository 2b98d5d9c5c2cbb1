/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Codecs for values that have rules of their own. They check where the value is stored, because
 * there the path to it is known, and they leave the struct in a form that its users need not look
 * at twice: an absolute path is one, a name is one of those we have listed.
 */

#include "oci/spec_codec.h"

#include "oci/log.h"

#include <string.h>

/* --- text --- */

static bool absent_text(const struct json_field *field, const void *from)
{
	return json_str.absent(field, from);
}

static int put_text(struct json_writer *writer, const struct json_field *field, const void *from)
{
	return json_str.put(writer, field, from);
}

static int get_text(struct json_reader *reader, const struct json *value,
                    const struct json_field *field, void *to)
{
	const char *text;
	int r = json_str.get(reader, value, field, &text);

	if (r < 0)
		return r;
	if (!*text && (field->flags & JSON_REQUIRED))
		return json_refuse(reader, "must not be empty");
	*(const char **)to = *text ? text : NULL;
	return 0;
}
const struct json_codec spec_text = { absent_text, get_text, put_text };

/* Text that a function has an opinion on; NULL = fine, else what is wrong with it. */
static int get_checked(struct json_reader *reader, const struct json *value,
                       const struct json_field *field, void *to,
                       const char *(*check)(const struct json_field *field, const char *text))
{
	const char **text = to, *reason;
	int r = get_text(reader, value, field, to);

	if (r < 0 || !*text)
		return r;
	reason = check(field, *text);
	return reason ? json_refuse(reader, "%s \"%.64s\"", reason, *text) : 0;
}

static int get_checked_list(struct json_reader *reader, const struct json *value,
                            const struct json_field *field, void *to,
                            const char *(*check)(const struct json_field *field, const char *text))
{
	struct str_list *list = to;
	int r = json_str_list.get(reader, value, field, list);

	for (size_t i = 0; r >= 0 && i < list->count; i++) {
		struct json_step step = { .index = i };
		const char *reason = check(field, list->item[i]);

		json_enter(reader, &step);
		if (reason)
			r = json_refuse(reader, "%s \"%.64s\"", reason, list->item[i]);
		json_leave(reader);
	}
	return r;
}

static bool absent_list(const struct json_field *field, const void *from)
{
	return json_str_list.absent(field, from);
}

static int put_list(struct json_writer *writer, const struct json_field *field, const void *from)
{
	return json_str_list.put(writer, field, from);
}

#define CHECKED(name, check) \
	static int get_##name(struct json_reader *reader, const struct json *value, \
	                      const struct json_field *field, void *to) \
	{ \
		return get_checked(reader, value, field, to, check); \
	} \
	const struct json_codec spec_##name = { absent_text, get_##name, put_text }

#define CHECKED_LIST(name, check) \
	static int get_##name(struct json_reader *reader, const struct json *value, \
	                      const struct json_field *field, void *to) \
	{ \
		return get_checked_list(reader, value, field, to, check); \
	} \
	const struct json_codec spec_##name = { absent_list, get_##name, put_list }

static const char *check_path(const struct json_field *field, const char *text)
{
	(void)field;
	return *text == '/' ? NULL : "must be an absolute path, not";
}
CHECKED(path, check_path);
CHECKED_LIST(path_list, check_path);

static const char *check_name(const struct json_field *field, const char *text)
{
	for (const char *const *name = field->of; *name; name++) {
		if (!strcmp(*name, text))
			return NULL;
	}
	return "unknown value";
}
CHECKED(name, check_name);
CHECKED_LIST(name_list, check_name);

/* Up to six digits, which is more CPUs than any kernel has. */
static bool skip_number(const char **text, unsigned *ret)
{
	size_t digits = strspn(*text, "0123456789");

	*ret = 0;
	for (size_t i = 0; i < digits && digits <= 6; i++)
		*ret = *ret * 10 + (unsigned)((*text)[i] - '0');
	*text += digits;
	return digits && digits <= 6;
}

static const char *check_cpu_list(const struct json_field *field, const char *text)
{
	static const char bad[] = "is not a list such as 0-3,7:";
	unsigned first, last;

	(void)field;
	for (;;) {
		if (!skip_number(&text, &first))
			return bad;
		if (*text == '-') {
			text++;
			if (!skip_number(&text, &last) || last < first)
				return bad;
		}
		if (!*text)
			return NULL;
		if (*text++ != ',')
			return bad;
	}
}
CHECKED(cpu_list, check_cpu_list);

static const char *check_page_size(const struct json_field *field, const char *text)
{
	const char *unit = text + strspn(text, "0123456789");
	bool number = unit > text && *text != '0';

	(void)field;
	if (number && (!strcmp(unit, "KB") || !strcmp(unit, "MB") || !strcmp(unit, "GB")))
		return NULL;
	return "is not a size such as 2MB:";
}
CHECKED(page_size, check_page_size);

/* --- sets and lists --- */

static bool absent_bits(const struct json_field *field, const void *from)
{
	return json_u64.absent(field, from);
}

#define UNKNOWN_BIT (-1)

typedef int get_bit_fn(struct json_reader *reader, const struct json *value,
                       const struct json_field *field, void *to);

static int get_each_bit(struct json_reader *reader, const struct json *value,
                        const struct json_field *field, void *to, get_bit_fn *get)
{
	uint64_t *bits = to;

	if (value->kind != JSON_ARRAY)
		return json_refuse(reader, "is not an array");
	for (size_t i = 0; i < value->length; i++) {
		struct json_step step = { .index = i };
		int bit = 0;

		json_enter(reader, &step);
		int r = get(reader, &value->items[i], field, &bit);
		json_leave(reader);
		if (r < 0)
			return r;
		if (bit != UNKNOWN_BIT)
			*bits |= UINT64_C(1) << bit;
	}
	return 0;
}

static int get_bits(struct json_reader *reader, const struct json *value,
                    const struct json_field *field, void *to)
{
	return get_each_bit(reader, value, field, to, json_enum.get);
}

static int put_bits(struct json_writer *writer, const struct json_field *field, const void *from)
{
	const uint64_t *bits = from;
	const char *before = "[";

	for (const struct json_name *name = field->of; name->name; name++) {
		if (!(*bits >> name->value & 1))
			continue;
		int r = json_put_raw(writer, before);
		before = ",";
		if (r >= 0)
			r = json_put_string(writer, name->name);
		if (r < 0)
			return r;
	}
	return json_put_raw(writer, *before == '[' ? "[]" : "]");
}
const struct json_codec spec_bits = { absent_bits, get_bits, put_bits };

/* What a newer kernel may know is not refused, says the runtime specification, but warned about. */
static int get_capability(struct json_reader *reader, const struct json *value,
                          const struct json_field *field, void *to)
{
	const struct json_name *name = field->of;

	while (name->name && value->kind == JSON_STRING && strcmp(name->name, value->text) != 0)
		name++;
	if (name->name)
		return json_enum.get(reader, value, field, to);
	*(int *)to = UNKNOWN_BIT;
	log_warning("process.capabilities.%s: unknown value \"%.64s\" is left out", field->name,
	            value->text);
	return 0;
}

static int get_capabilities(struct json_reader *reader, const struct json *value,
                            const struct json_field *field, void *to)
{
	return get_each_bit(reader, value, field, to, get_capability);
}
const struct json_codec spec_capabilities = { absent_bits, get_capabilities, put_bits };

static int get_unique_list(struct json_reader *reader, const struct json *value,
                           const struct json_field *field, void *to)
{
	const struct json_type *type = field->of;
	const struct json_field *key = type->fields;
	LIST(char) list;
	uint64_t seen = 0;
	int r = json_list.get(reader, value, field, to);

	if (r < 0)
		return r;
	memcpy(&list, to, sizeof(list));
	for (size_t i = 0; i < list.count; i++) {
		struct json_step step = { .index = i }, inner = { .member = key->name };
		int number;

		memcpy(&number, list.item + i * type->size + key->offset, sizeof(number));
		if (seen >> number & 1) {
			json_enter(reader, &step);
			json_enter(reader, &inner);
			const struct json *name = json_get(&value->items[i], key->name);
			r = json_refuse(reader, "\"%.64s\" occurs twice", name ? name->text : "");
			json_leave(reader);
			json_leave(reader);
			return r;
		}
		seen |= UINT64_C(1) << number;
	}
	return 0;
}

static int put_unique_list(struct json_writer *writer, const struct json_field *field,
                           const void *from)
{
	return json_list.put(writer, field, from);
}
const struct json_codec spec_unique_list = { absent_list, get_unique_list, put_unique_list };

static bool absent_nothing(const struct json_field *field, const void *from)
{
	(void)field;
	(void)from;
	return true;
}

static int get_nothing(struct json_reader *reader, const struct json *value,
                       const struct json_field *field, void *to)
{
	(void)field;
	(void)to;
	if (value->kind == JSON_ARRAY && !value->length)
		return 0;
	return json_refuse(reader, "no value is known");
}

static int put_nothing(struct json_writer *writer, const struct json_field *field, const void *from)
{
	(void)field;
	(void)from;
	return json_put_raw(writer, "[]");
}
const struct json_codec spec_nothing = { absent_nothing, get_nothing, put_nothing };

/* --- numbers in a range --- */

static int check_range(struct json_reader *reader, const struct json_field *field, int64_t value)
{
	const struct spec_range *range = field->of;

	if (value >= range->min && value <= range->max)
		return 0;
	if (range->max == INT64_MAX)
		return json_refuse(reader, "is less than %lld", (long long)range->min);
	return json_refuse(reader, "is not in the range from %lld to %lld", (long long)range->min,
	                   (long long)range->max);
}

#define RANGE_CODEC(name, type, plain, number) \
	static bool absent_##name(const struct json_field *field, const void *from) \
	{ \
		return plain.absent(field, from); \
	} \
	static int get_##name(struct json_reader *reader, const struct json *value, \
	                      const struct json_field *field, void *to) \
	{ \
		type *stored = to; \
		int r = plain.get(reader, value, field, stored); \
		return r < 0 ? r : check_range(reader, field, (int64_t)(number)); \
	} \
	static int put_##name(struct json_writer *writer, const struct json_field *field, \
	                      const void *from) \
	{ \
		return plain.put(writer, field, from); \
	} \
	const struct json_codec spec_##name = { absent_##name, get_##name, put_##name }

RANGE_CODEC(i32_range, int32_t, json_i32, *stored);
RANGE_CODEC(i64_range, int64_t, json_i64, *stored);
RANGE_CODEC(u32_range, uint32_t, json_u32, *stored);
RANGE_CODEC(opt_i64_range, struct opt_i64, json_opt_i64, stored->value);
/* What is beyond int64_t becomes -1 here, which is below the minimum of every unsigned range. */
RANGE_CODEC(opt_u64_range, struct opt_u64, json_opt_u64,
            stored->value > INT64_MAX ? -1 : (int64_t)stored->value);
