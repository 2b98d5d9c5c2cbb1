/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Text to tree, and the only file that knows yajl.
 *
 * yajl is used for what it does well, as a lexer and grammar that reports events. It is not
 * maintained and has sharp edges, so everything else is kept from it: numbers stay text (its
 * integers overflow), trees are ours (its own recurse without bound, take the first of duplicate
 * keys and cut strings at NUL), and the text is scanned before it sees it, for wrong UTF-8 and for
 * the surrogate escapes that make some versions read past a string. It does not check malloc(3), so
 * it gets functions that end the process with a sentence instead.
 *
 * The values of all open arrays and objects stand on one stack, which is freed after the parse; a
 * container that closes takes its values off it, into one piece of the arena.
 */

#include "oci/json.h"
#include "oci/log.h"
#include "oci/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <yajl/yajl_parse.h>

#define STACK_FIRST 64

struct parser {
	struct arena *arena;
	struct json *root;
	struct json_member *stack;      /* names are NULL for what is in an array */
	size_t count, room;
	struct {
		size_t slot;            /* of the container itself; unused for the root */
		size_t first;           /* of its values */
	} open[JSON_DEPTH_MAX];
	size_t depth;
	int error;                      /* why a callback stopped the parser */
	char reason[128];
};

static int stop(struct parser *parser, int error, const char *format, ...) printf_like(3, 4);
static int stop(struct parser *parser, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(parser->reason, sizeof(parser->reason), format, args);
	va_end(args);
	parser->error = error;
	return 0;
}

static int no_memory(struct parser *parser)
{
	return stop(parser, -ENOMEM, "needs more than %zu bytes of memory", parser->arena->limit);
}

static struct json *container(struct parser *parser, size_t level)
{
	return level ? &parser->stack[parser->open[level].slot].value : parser->root;
}

static struct json_member *push(struct parser *parser)
{
	if (parser->count - parser->open[parser->depth - 1].first == JSON_MEMBERS_MAX) {
		stop(parser, -E2BIG, "more than %d values in one array or object",
		     JSON_MEMBERS_MAX);
		return NULL;
	}
	if (parser->count == parser->room) {
		size_t room = parser->room ? 2 * parser->room : STACK_FIRST;
		size_t size = room * sizeof(*parser->stack);
		struct json_member *stack = NULL;
		if (size <= parser->arena->limit - parser->arena->used)
			stack = realloc(parser->stack, size);
		if (!stack) {
			no_memory(parser);
			return NULL;
		}
		parser->stack = stack;
		parser->room = room;
	}
	struct json_member *member = &parser->stack[parser->count++];
	*member = (struct json_member){ 0 };
	return member;
}

/* Where the value goes that comes now: on_key() has made the place of an object's member. */
static struct json *place(struct parser *parser)
{
	if (!parser->depth)
		return parser->root;
	if (container(parser, parser->depth - 1)->kind == JSON_OBJECT)
		return &parser->stack[parser->count - 1].value;
	struct json_member *member = push(parser);
	return member ? &member->value : NULL;
}

static int on_word(struct parser *parser, enum json_kind kind)
{
	struct json *value = place(parser);

	if (!value)
		return 0;
	value->kind = kind;
	return 1;
}

static int on_null(void *parser)
{
	return on_word(parser, JSON_NULL);
}

static int on_boolean(void *parser, int truth)
{
	return on_word(parser, truth ? JSON_TRUE : JSON_FALSE);
}

static int on_text(struct parser *parser, enum json_kind kind, const char *text, size_t length)
{
	struct json *value = place(parser);

	if (!value)
		return 0;
	value->kind = kind;
	value->length = length;
	value->text = arena_copy(parser->arena, text, length);
	return value->text ? 1 : no_memory(parser);
}

static int on_number(void *parser, const char *text, size_t length)
{
	return on_text(parser, JSON_NUMBER, text, length);
}

static int on_string(void *parser, const unsigned char *text, size_t length)
{
	return on_text(parser, JSON_STRING, (const char *)text, length);
}

static int on_key(void *data, const unsigned char *text, size_t length)
{
	struct parser *parser = data;
	struct json_member *member = push(parser);

	if (!member)
		return 0;
	member->name = arena_copy(parser->arena, (const char *)text, length);
	return member->name ? 1 : no_memory(parser);
}

static int on_start(struct parser *parser, enum json_kind kind)
{
	if (parser->depth == JSON_DEPTH_MAX)
		return stop(parser, -E2BIG, "more than %d levels deep", JSON_DEPTH_MAX);
	if (!on_word(parser, kind))
		return 0;
	parser->open[parser->depth].slot = parser->count - 1;
	parser->open[parser->depth].first = parser->count;
	parser->depth++;
	return 1;
}

static int on_start_object(void *parser)
{
	return on_start(parser, JSON_OBJECT);
}

static int on_start_array(void *parser)
{
	return on_start(parser, JSON_ARRAY);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Two parsers that disagree about which of two members counts are how checks get bypassed. Sorted
 * when there are many, for who writes 65536 members may well choose their names. */
static int check_duplicates(struct parser *parser, const struct json_member *members, size_t count)
{
	static const char twice[] = "member \"%.64s\" occurs twice in this object";
	cleanup_free const char **names = NULL;

	if (count <= 16) {
		for (size_t i = 1; i < count; i++) {
			for (size_t k = 0; k < i; k++) {
				if (!strcmp(members[i].name, members[k].name))
					return stop(parser, -EINVAL, twice, members[i].name);
			}
		}
		return 1;
	}
	names = calloc(count, sizeof(*names));
	if (!names)
		return no_memory(parser);
	for (size_t i = 0; i < count; i++)
		names[i] = members[i].name;
	qsort(names, count, sizeof(*names), compare_names);
	for (size_t i = 1; i < count; i++) {
		if (!strcmp(names[i - 1], names[i]))
			return stop(parser, -EINVAL, twice, names[i]);
	}
	return 1;
}

static int on_end_object(void *data)
{
	struct parser *parser = data;
	size_t first = parser->open[--parser->depth].first, count = parser->count - first;
	struct json *object = container(parser, parser->depth);

	if (!count)
		return 1;
	if (!check_duplicates(parser, parser->stack + first, count))
		return 0;
	struct json_member *members = arena_array(parser->arena, count, sizeof(*members));
	if (!members)
		return no_memory(parser);
	memcpy(members, parser->stack + first, count * sizeof(*members));
	object->members = members;
	object->length = count;
	parser->count = first;
	return 1;
}

static int on_end_array(void *data)
{
	struct parser *parser = data;
	size_t first = parser->open[--parser->depth].first, count = parser->count - first;
	struct json *array = container(parser, parser->depth);

	if (!count)
		return 1;
	struct json *items = arena_array(parser->arena, count, sizeof(*items));
	if (!items)
		return no_memory(parser);
	for (size_t i = 0; i < count; i++)
		items[i] = parser->stack[first + i].value;
	array->items = items;
	array->length = count;
	parser->count = first;
	return 1;
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_start_object,
	.yajl_map_key = on_key,
	.yajl_end_map = on_end_object,
	.yajl_start_array = on_start_array,
	.yajl_end_array = on_end_array,
};

static void *or_abort(void *memory)
{
	if (!memory) {
		log_error("out of memory in the JSON parser");
		abort();
	}
	return memory;
}

static void *parser_malloc(void *context, size_t size)
{
	(void)context;
	return or_abort(malloc(size));
}

static void *parser_realloc(void *context, void *memory, size_t size)
{
	(void)context;
	return or_abort(realloc(memory, size));
}

static void parser_free(void *context, void *memory)
{
	(void)context;
	free(memory);
}

static int fault_at(struct fault *fault, int error, const char *text, size_t offset,
                    const char *reason)
{
	size_t line = 1, column = 1;

	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n') {
			line++;
			column = 1;
		} else if ((text[i] & '\xc0') != '\x80') {
			column++;
		}
	}
	return fault_set(fault, error, HRESULT_INVALID_JSON, "line %zu, column %zu: %s", line,
	                 column, reason);
}

/* The code of "\uXXXX" at text, or -1. */
static int unicode_escape(const char *text, size_t length)
{
	int code = 0;

	if (length < 6 || text[0] != '\\' || text[1] != 'u')
		return -1;
	for (size_t i = 2; i < 6; i++) {
		char c = text[i], lower = (char)(c | 0x20);
		if (c >= '0' && c <= '9')
			code = code << 4 | (c - '0');
		else if (lower >= 'a' && lower <= 'f')
			code = code << 4 | (lower - 'a' + 10);
		else
			return -1;
	}
	return code;
}

/* Bytes of the escape at text; 0 with a reason when it stands for what we do not take. */
static size_t scan_escape(const char *text, size_t length, const char **reason)
{
	int code = unicode_escape(text, length);

	if (code == 0) {
		*reason = "NUL in a string";
		return 0;
	}
	if (code < 0xd800 || code > 0xdfff)
		return min_size(2, length);
	int low = code < 0xdc00 ? unicode_escape(text + 6, length - 6) : -1;
	if (low < 0xdc00 || low > 0xdfff) {
		*reason = "half of a surrogate pair";
		return 0;
	}
	return 12;
}

/* Whatever yajl makes of a backslash outside a string, it is an error. */
static int scan(const char *text, size_t length, struct fault *fault)
{
	const char *reason = NULL;

	for (size_t i = 0; i < length;) {
		size_t n = 1;
		if (text[i] == '\\') {
			n = scan_escape(text + i, length - i, &reason);
		} else if (text[i] & '\x80') {
			n = utf8_length(text + i, length - i);
			reason = "invalid UTF-8";
		} else if (!text[i]) {
			n = 0;
			reason = "NUL in the text";
		}
		if (!n)
			return fault_at(fault, -EINVAL, text, i, reason);
		i += n;
	}
	return 0;
}

/*
 * Turns what stopped the parse into a fault. Reasons of yajl's look like "parse error: trailing
 * garbage" and a newline; the class of the error helps nobody. It has read over the offending
 * character, unless its lexer put that back.
 */
static int fault_of(yajl_handle handle, yajl_status status, bool at_end, struct parser *parser,
                    const char *text, size_t length, struct fault *fault)
{
	size_t read = yajl_get_bytes_consumed(handle);

	if (status == yajl_status_error) {
		unsigned char *message = yajl_get_error(handle, 0, NULL, 0);
		const char *whole = (const char *)message, *reason = strstr(whole, "error: ");
		if (!strncmp(whole, "lexical", strlen("lexical")) &&
		    !strstr(whole, "invalid char in"))
			read++;
		reason = reason ? reason + strlen("error: ") : whole;
		stop(parser, -EINVAL, "%.*s", (int)strcspn(reason, ".\n"), reason);
		yajl_free_error(handle, message);
	}
	size_t offset = at_end ? length : read ? min_size(read - 1, length) : 0;
	return fault_at(fault, parser->error, text, offset, parser->reason);
}

int json_parse(struct arena *arena, const char *text, size_t length, struct json *ret,
               struct fault *fault)
{
	yajl_alloc_funcs memory = { parser_malloc, parser_realloc, parser_free, NULL };
	struct json root = { .kind = JSON_NULL };
	struct parser parser = { .arena = arena, .root = &root };

	if (length > JSON_TEXT_MAX)
		return fault_set(fault, -E2BIG, HRESULT_INVALID_JSON,
		                 "the document is longer than %u bytes", JSON_TEXT_MAX);
	int error = scan(text, length, fault);
	if (error < 0)
		return error;

	yajl_handle handle = yajl_alloc(&callbacks, &memory, &parser);
	yajl_config(handle, yajl_dont_validate_strings, 1); /* scan() has, and more strictly */
	const unsigned char *bytes = (const unsigned char *)text;
	yajl_status status = yajl_parse(handle, bytes, length);
	bool at_end = status == yajl_status_ok;
	if (at_end)
		status = yajl_complete_parse(handle);
	if (status == yajl_status_ok)
		*ret = root;
	else
		error = fault_of(handle, status, at_end, &parser, text, length, fault);
	yajl_free(handle);
	free(parser.stack);
	return error;
}

const struct json *json_get(const struct json *object, const char *name)
{
	const struct json *found = NULL;

	if (object->kind != JSON_OBJECT)
		return NULL;
	for (size_t i = 0; i < object->length; i++) {
		const struct json_member *member = &object->members[i];
		/* Most names differ in their first letter by more than its case. */
		if ((member->name[0] ^ name[0]) & ~0x20)
			continue;
		if (!strcmp(member->name, name)) {
			found = &member->value;
			break;
		}
		if (!found && !strcasecmp(member->name, name))
			found = &member->value;
	}
	return found && found->kind != JSON_NULL ? found : NULL;
}
