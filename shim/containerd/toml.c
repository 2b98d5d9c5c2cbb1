/* SPDX-License-Identifier: Apache-2.0 */

/*
 * containerd hands the options table of a runtime to its shim as TOML, written anew by its own
 * encoder. So the text is machine-made and flat as a rule, and a reader of a hundred lines does;
 * what it does not know it refuses, because a half understood option is worse than a container that
 * does not start and says why.
 */

#include "shim/containerd/toml.h"

#include "oci/utf8.h"

#include <string.h>

struct scanner {
	struct arena *arena;
	const char *at, *end;
	unsigned line;
	const char *table;      /* "a.b" of the last [a.b], or NULL */
	const char *key;        /* of the value that is being read, for messages */
	toml_entries found;
	struct fault *fault;
};

static int refuse(struct scanner *scanner, const char *text)
{
	return fault_set(scanner->fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "line %u: %s%s%s",
	                 scanner->line, scanner->key ? scanner->key : "",
	                 scanner->key ? ": " : "", text);
}

static int too_big(struct scanner *scanner, const char *text)
{
	(void)refuse(scanner, text);
	return -E2BIG;
}

static int no_memory(struct scanner *scanner)
{
	return fault_errno(scanner->fault, -ENOMEM, "line %u", scanner->line);
}

/* The character here; NUL is none that could be in a document. */
static char peek(const struct scanner *scanner)
{
	return scanner->at < scanner->end ? *scanner->at : '\0';
}

static bool take(struct scanner *scanner, const char *text)
{
	size_t length = strlen(text);

	if ((size_t)(scanner->end - scanner->at) < length || memcmp(scanner->at, text, length))
		return false;
	scanner->at += length;
	return true;
}

static void skip_blanks(struct scanner *scanner)
{
	while (peek(scanner) == ' ' || peek(scanner) == '\t')
		scanner->at++;
}

static bool take_newline(struct scanner *scanner)
{
	if (!take(scanner, "\n") && !take(scanner, "\r\n"))
		return false;
	scanner->line++;
	return true;
}

static bool is_control(char c)
{
	return ((unsigned char)c < ' ' && c != '\t') || c == 0x7f;
}

/* Up to the end of the line, which stays. */
static void skip_comment(struct scanner *scanner)
{
	skip_blanks(scanner);
	if (!take(scanner, "#"))
		return;
	while (scanner->at < scanner->end && !is_control(*scanner->at))
		scanner->at++;
}

/* What may stand behind a value or a header: nothing. */
static int end_line(struct scanner *scanner)
{
	skip_comment(scanner);
	if (scanner->at == scanner->end || take_newline(scanner))
		return 0;
	return refuse(scanner, is_control(peek(scanner)) ? "control character"
	                                                 : "the line must end here");
}

/* Strings */

static size_t utf8_encode(uint32_t c, char *ret)
{
	static const struct { uint32_t end; unsigned char lead; } sizes[] = {
		{ 0x80, 0 }, { 0x800, 0xc0 }, { 0x10000, 0xe0 }, { 0x110000, 0xf0 },
	};
	size_t more = 0;

	while (c >= sizes[more].end)
		more++;
	for (size_t i = more; i > 0; i--, c >>= 6)
		ret[i] = (char)(0x80 | (c & 0x3f));
	ret[0] = (char)(sizes[more].lead | c);
	return more + 1;
}

/* The digits of \u and \U. */
static int take_unicode(struct scanner *scanner, unsigned digits, char **to)
{
	uint32_t c = 0;

	for (; digits; digits--, scanner->at++) {
		static const char hex[] = "0123456789abcdef";
		char digit = peek(scanner);
		const char *found = digit ? strchr(hex, digit < 'A' ? digit : digit | 0x20) : NULL;
		if (!found || c > UINT32_MAX >> 4)
			return refuse(scanner, "bad escape sequence");
		c = c << 4 | (uint32_t)(found - hex);
	}
	if (!c || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return refuse(scanner, "bad escape sequence");
	*to += utf8_encode(c, *to);
	return 0;
}

static int take_escape(struct scanner *scanner, char **to)
{
	static const char names[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
	char c = peek(scanner);
	const char *found = c ? strchr(names, c) : NULL;

	if (found) {
		*(*to)++ = values[found - names];
		scanner->at++;
		return 0;
	}
	if (take(scanner, "u"))
		return take_unicode(scanner, 4, to);
	if (take(scanner, "U"))
		return take_unicode(scanner, 8, to);
	return refuse(scanner, "bad escape sequence");
}

/* No escape is shorter than what it stands for, so a string needs no more room than it has here. */
static size_t string_size(const struct scanner *scanner, char quote)
{
	const char *at = scanner->at;

	while (at < scanner->end && *at != quote && *at != '\n')
		at += 1 + (quote == '"' && *at == '\\');
	return (size_t)(at - scanner->at) + 1;
}

/* Behind the opening quote. */
static int take_string(struct scanner *scanner, char quote, const char **ret)
{
	char *text = arena_alloc(scanner->arena, string_size(scanner, quote)), *to = text;

	if (!text)
		return no_memory(scanner);
	while (peek(scanner) != quote) {
		if (scanner->at == scanner->end || strchr("\r\n", *scanner->at))
			return refuse(scanner, "a string must end on its line");
		if (is_control(*scanner->at))
			return refuse(scanner, "control character");
		if (quote == '"' && take(scanner, "\\")) {
			int r = take_escape(scanner, &to);
			if (r < 0)
				return r;
			continue;
		}
		size_t n = utf8_length(scanner->at, (size_t)(scanner->end - scanner->at));
		if (!n)
			return refuse(scanner, "invalid UTF-8");
		memcpy(to, scanner->at, n);
		to += n;
		scanner->at += n;
	}
	scanner->at++;
	*ret = text;
	return 0;
}

/* Keys */

static bool is_bare(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '_' || c == '-';
}

/* Between two dots. */
static int take_simple_key(struct scanner *scanner, const char **ret)
{
	const char *start = scanner->at;
	char quote = peek(scanner);

	if (quote == '"' || quote == '\'') {
		scanner->at++;
		int r = take_string(scanner, quote, ret);
		if (r < 0)
			return r;
		return **ret && !strchr(*ret, '.') ? 0
			: refuse(scanner, "a key must not be empty or hold a dot");
	}
	while (is_bare(peek(scanner)))
		scanner->at++;
	if (scanner->at == start)
		return refuse(scanner, "a key must stand here");
	*ret = arena_copy(scanner->arena, start, (size_t)(scanner->at - start));
	return *ret ? 0 : no_memory(scanner);
}

/* Below the table, or on its own with NULL. */
static int take_key(struct scanner *scanner, const char *table, const char **ret)
{
	*ret = table;
	do {
		const char *part;
		skip_blanks(scanner);
		int r = take_simple_key(scanner, &part);
		if (r < 0)
			return r;
		*ret = *ret ? arena_printf(scanner->arena, "%s.%s", *ret, part) : part;
		if (!*ret)
			return no_memory(scanner);
		skip_blanks(scanner);
	} while (take(scanner, "."));
	return 0;
}

/* "a" is over "a" and "a.b". */
static bool is_over(const char *a, const char *b)
{
	size_t length = strlen(a);
	return !strncmp(a, b, length) && (!b[length] || b[length] == '.');
}

/* A table may stand behind those below it, but not behind a value of the same name. */
static int check_key(struct scanner *scanner, const char *key, bool table)
{
	scanner->key = key;
	for (size_t i = 0; i < scanner->found.count; i++) {
		const char *other = scanner->found.item[i].key;
		if (is_over(other, key) || (!table && is_over(key, other)))
			return fault_set(scanner->fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "line %u: %s: is set in line %u already", scanner->line,
			                 key, scanner->found.item[i].line);
	}
	return 0;
}

/* Values */

/* [+-]digits, with single underscores between digits. */
static int take_integer(struct scanner *scanner, int64_t *ret)
{
	bool negative = take(scanner, "-");
	uint64_t value = 0, most = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;

	if (!negative)
		(void)take(scanner, "+");
	const char *first = scanner->at;
	for (char c; c = peek(scanner), (c >= '0' && c <= '9') || c == '_'; scanner->at++) {
		bool between = scanner->at > first && scanner->at[-1] != '_' &&
		               scanner->end - scanner->at > 1 && scanner->at[1] >= '0' &&
		               scanner->at[1] <= '9';
		if (c == '_' && !between)
			return refuse(scanner, "is not a number");
		if (c == '_')
			continue;
		if (value > (most - (uint64_t)(c - '0')) / 10)
			return refuse(scanner, "the number is too large");
		value = value * 10 + (uint64_t)(c - '0');
	}
	size_t length = (size_t)(scanner->at - first);
	if (!length || (length > 1 && *first == '0') || is_bare(peek(scanner)) ||
	    peek(scanner) == '.' || peek(scanner) == ':')
		return refuse(scanner, "is no decimal integer");
	*ret = (int64_t)(negative ? 0 - value : value);
	return 0;
}

static int take_one_string(struct scanner *scanner, const char **ret)
{
	char quote = peek(scanner);

	if (quote != '"' && quote != '\'')
		return refuse(scanner, "an array can hold strings only");
	if (take(scanner, "\"\"\"") || take(scanner, "'''"))
		return refuse(scanner, "multi-line strings are not supported");
	scanner->at++;
	return take_string(scanner, quote, ret);
}

/* Newlines and comments are blanks in an array. */
static void skip_space(struct scanner *scanner)
{
	do
		skip_comment(scanner);
	while (take_newline(scanner));
}

/* Behind the bracket. */
static int take_list(struct scanner *scanner, struct str_list *ret)
{
	const char *items[TOML_ENTRIES_MAX];
	size_t count = 0;

	for (skip_space(scanner); !take(scanner, "]"); skip_space(scanner)) {
		if (scanner->at == scanner->end)
			return refuse(scanner, "the array has no end");
		if (count == array_size(items))
			return too_big(scanner, "the array is too long");
		int r = take_one_string(scanner, &items[count++]);
		if (r < 0)
			return r;
		skip_space(scanner);
		if (!take(scanner, ",") && peek(scanner) != ']')
			return refuse(scanner, "a comma or ] must stand here");
	}
	ret->item = arena_array(scanner->arena, count + 1, sizeof(*ret->item));
	if (!ret->item)
		return no_memory(scanner);
	memcpy(ret->item, items, count * sizeof(*items));
	ret->count = count;
	return 0;
}

static int take_value(struct scanner *scanner, struct toml_entry *entry)
{
	char c = peek(scanner);

	if (c == '"' || c == '\'') {
		entry->kind = TOML_STRING;
		return take_one_string(scanner, &entry->text);
	}
	if (take(scanner, "[")) {
		entry->kind = TOML_LIST;
		return take_list(scanner, &entry->list);
	}
	if (take(scanner, "{"))
		return refuse(scanner, "inline tables are not supported");
	entry->boolean = take(scanner, "true");
	if (entry->boolean || take(scanner, "false")) {
		entry->kind = TOML_BOOLEAN;
		return 0;
	}
	if (c == '+' || c == '-' || (c >= '0' && c <= '9')) {
		entry->kind = TOML_INTEGER;
		return take_integer(scanner, &entry->integer);
	}
	return refuse(scanner, "must be a string, an integer, true, false or a list of strings");
}

/* Lines */

static int take_header(struct scanner *scanner)
{
	if (take(scanner, "["))
		return refuse(scanner, "arrays of tables are not supported");
	int r = take_key(scanner, NULL, &scanner->table);
	if (r < 0)
		return r;
	r = check_key(scanner, scanner->table, true);
	return r < 0 || take(scanner, "]") ? r : refuse(scanner, "] must stand here");
}

static int take_pair(struct scanner *scanner)
{
	struct toml_entry entry = { .line = scanner->line };
	int r = take_key(scanner, scanner->table, &entry.key);

	if (r >= 0)
		r = check_key(scanner, entry.key, false);
	if (r >= 0 && scanner->found.count == TOML_ENTRIES_MAX)
		return too_big(scanner, "too many keys");
	if (r >= 0 && !take(scanner, "="))
		r = refuse(scanner, "= must stand here");
	if (r < 0)
		return r;
	skip_blanks(scanner);
	r = take_value(scanner, &entry);
	if (r >= 0)
		scanner->found.item[scanner->found.count++] = entry;
	return r;
}

static int take_line(struct scanner *scanner)
{
	int r = 0;

	scanner->key = NULL;
	skip_blanks(scanner);
	if (take(scanner, "["))
		r = take_header(scanner);
	else if (scanner->at < scanner->end && !strchr("#\r\n", peek(scanner)))
		r = take_pair(scanner);
	return r < 0 ? r : end_line(scanner);
}

int toml_parse(struct arena *arena, const char *text, size_t size, toml_entries *ret,
               struct fault *fault)
{
	struct scanner scanner = {
		.arena = arena, .at = text, .end = text + size, .line = 1, .fault = fault,
	};
	int r = 0;

	*ret = (toml_entries){ 0 };
	if (size > TOML_SIZE_MAX)
		return too_big(&scanner, "the document is too long");
	scanner.found.item = arena_array(arena, TOML_ENTRIES_MAX, sizeof(*scanner.found.item));
	if (!scanner.found.item)
		return no_memory(&scanner);
	while (r >= 0 && scanner.at < scanner.end)
		r = take_line(&scanner);
	if (r >= 0)
		*ret = scanner.found;
	return r;
}
