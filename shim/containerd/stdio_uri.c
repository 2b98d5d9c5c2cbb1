/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A path is taken as it is, whatever characters are in it; only what has a scheme is a URI and is
 * decoded. The query of a logger is its command line: each key is an argument, and its value the
 * next one, if it has any. Of keys that come again the first counts, as nobody could say which of
 * them is meant.
 */

#include "shim/containerd/stdio_uri.h"

#include <string.h>
#include <strings.h>

static const struct scheme {
	const char *name;
	enum stdio_uri_kind kind;
	bool says_ready;
} schemes[] = {
	{ "fifo://", STDIO_URI_PATH, false },
	{ "file://", STDIO_URI_FILE, false },
	{ "binary://", STDIO_URI_LOGGER, false },
	{ "binary-v2://", STDIO_URI_LOGGER, true },
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A byte of a URI at *at, which moves behind it; -1: no such byte is possible. */
static int decode_byte(const char **at, const char *end, bool query)
{
	const char *text = *at;

	*at = text + 1;
	if (query && *text == '+')
		return ' ';
	if (*text != '%')
		return (unsigned char)*text;
	int high = end - text > 2 ? hex_digit(text[1]) : -1;
	int low = end - text > 2 ? hex_digit(text[2]) : -1;
	*at = text + 3;
	/* What is behind a NUL, nobody would see. */
	return high < 0 || low < 0 || high + low == 0 ? -1 : high << 4 | low;
}

static int decode(const char *text, const char *end, bool query, struct arena *arena,
                  const char **ret)
{
	char *out = arena_alloc(arena, (size_t)(end - text) + 1);
	char *to = out;

	if (!out)
		return -ENOMEM;
	while (text < end) {
		int byte = decode_byte(&text, end, query);
		if (byte < 0)
			return -EINVAL;
		*to++ = (char)byte;
	}
	*ret = out;
	return 0;
}

static bool has_key(const char *const *keys, size_t count, const char *key)
{
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(keys[i], key))
			return true;
	}
	return false;
}

static const char *find(const char *text, const char *end, char c)
{
	const char *found = memchr(text, c, (size_t)(end - text));

	return found ? found : end;
}

/* The arguments behind the path. */
static int parse_query(struct stdio_uri *ret, const char *query, const char *end,
                       struct arena *arena)
{
	const char *keys[STDIO_URI_ARGS_MAX];
	size_t key_count = 0, count = 1;

	for (const char *next; query < end; query = next + 1) {
		next = find(query, end, '&');
		const char *equals = find(query, next, '='), *value = "";
		if (next == query)
			continue;
		if (count + 2 > STDIO_URI_ARGS_MAX)
			return -E2BIG;
		int r = decode(query, equals, true, arena, &keys[key_count]);
		if (r >= 0 && equals < next)
			r = decode(equals + 1, next, true, arena, &value);
		if (r < 0)
			return r;
		if (has_key(keys, key_count, keys[key_count]))
			continue;
		ret->args[count++] = keys[key_count++];
		if (*value)
			ret->args[count++] = value;
	}
	return 0;
}

static int parse_rest(struct stdio_uri *ret, const char *text, struct arena *arena)
{
	const char *end = text + strcspn(text, "#"), *query = find(text, end, '?');

	if (*text != '/')
		return -ENOENT;
	int r = decode(text, query, false, arena, &ret->path);
	if (r < 0 || ret->kind != STDIO_URI_LOGGER)
		return r;
	ret->args = arena_array(arena, STDIO_URI_ARGS_MAX + 1, sizeof(*ret->args));
	if (!ret->args)
		return -ENOMEM;
	ret->args[0] = ret->path;
	return query < end ? parse_query(ret, query + 1, end, arena) : 0;
}

static const char *why(int error)
{
	switch (error) {
	case -ENOENT:
		return "its path is not absolute";
	case -E2BIG:
		return "it has too many arguments";
	case -ENOMEM:
		return "it is too long";
	default:
		return "it has a % that stands for no character";
	}
}

static int refuse(struct fault *fault, const char *text, const char *reason)
{
	return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "standard stream \"%s\": %s",
	                 text, reason);
}

int stdio_uri_parse(struct stdio_uri *ret, const char *text, struct arena *arena,
                    struct fault *fault)
{
	size_t length = strlen(text);

	*ret = (struct stdio_uri){ .kind = STDIO_URI_NONE };
	if (!length)
		return 0;
	if (length > STDIO_URI_MAX)
		return refuse(fault, text, why(-ENOMEM));
	if (*text == '/') {
		ret->kind = STDIO_URI_PATH;
		ret->path = arena_copy(arena, text, length);
		return ret->path ? 0 : refuse(fault, text, why(-ENOMEM));
	}
	for (size_t i = 0; i < array_size(schemes); i++) {
		size_t size = strlen(schemes[i].name);
		if (strncasecmp(text, schemes[i].name, size) != 0)
			continue;
		ret->kind = schemes[i].kind;
		ret->says_ready = schemes[i].says_ready;
		int r = parse_rest(ret, text + size, arena);
		return r < 0 ? refuse(fault, text, why(r)) : 0;
	}
	return refuse(fault, text, "it is neither an absolute path nor fifo://, file://, "
	              "binary:// or binary-v2://");
}
