/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * JSON text to and from structs, described by tables.
 *
 * Text becomes a tree in an arena (limits on depth, size, members and memory; duplicate keys, NUL
 * and lone surrogates refused), the tree becomes a struct by a table of fields, and the same table
 * writes it back. Names match without regard to case, an exact match first; unknown names are
 * ignored; null is absence; integers refuse fractions and what does not fit (as Go's
 * encoding/json does, which is at the other end of the bridge).
 *
 * The only file that knows the parsing library is json.c.
 */

#include "oci/arena.h"
#include "oci/buf.h"
#include "oci/fault.h"

#define JSON_DEPTH_MAX 64
#define JSON_MEMBERS_MAX 65536          /* members of one object, items of one array */
#define JSON_TEXT_MAX (4u << 20)        /* bytes of one document */
#define JSON_ARENA (16u << 20)          /* a good arena limit for one document */

enum json_kind {
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

/* An immutable value, owned by its arena. */
struct json {
	enum json_kind kind;
	size_t length;                  /* bytes of text, or number of items */
	union {
		const char *text;                       /* STRING, NUMBER (as it was); and a NUL */
		const struct json_member *members;      /* OBJECT */
		const struct json *items;               /* ARRAY */
	};
};
struct json_member {
	const char *name;
	struct json value;
};

/* -EINVAL (fault: HRESULT_INVALID_JSON, "line 3: …"), -E2BIG over a limit, -ENOMEM. */
int json_parse(struct arena *arena, const char *text, size_t length, struct json *ret,
               struct fault *fault);
/* NULL when absent, null, or not an object. */
const struct json *json_get(const struct json *object, const char *name);
/* Writes a tree as text. escape_html as Go's encoder does by default (\u003c …). */
int json_write(struct buf *out, const struct json *value, bool escape_html);
/* A string as a JSON string with its quotes; invalid UTF-8 becomes U+FFFD. */
int json_write_string(struct buf *out, const char *text, size_t length, bool escape_html);
/* The same without the quotes and the queue: writes to out unless it is NULL, no NUL behind it, and
 * returns the size: at most JSON_ESCAPED_MAX times length. */
#define JSON_ESCAPED_MAX 6
size_t json_escape(char *out, const char *text, size_t length, bool escape_html);

struct json_field;
struct json_type;
struct json_reader;
struct json_writer;

/*
 * How one kind of value is stored at a place in a struct.
 * absent: would it be left out (NULL: never)? get: may refuse with json_refuse(); put: the inverse.
 */
struct json_codec {
	bool (*absent)(const struct json_field *field, const void *from);
	int (*get)(struct json_reader *reader, const struct json *value,
	           const struct json_field *field, void *to);
	int (*put)(struct json_writer *writer, const struct json_field *field, const void *from);
};

/* Members of the structs that tables describe. */
struct str_list {
	size_t count;
	const char **item;
};
struct str_map {                /* string to string, in the order of the text */
	size_t count;
	struct str_pair { const char *name, *value; } *item;
};
/* A list of structs: declare `struct { size_t count; struct x *item; } xs;` or LIST(struct x). */
#define LIST(type) struct { size_t count; type *item; }
/* An integer that may be absent. */
struct opt_i64 { bool set; int64_t value; };
struct opt_u64 { bool set; uint64_t value; };
struct opt_bool { bool set, value; };

extern const struct json_codec
	/* What stands for nothing, when a row has JSON_ALWAYS: "" for strings, [] and {} for lists
	 * and maps, null for pointers and opt_*. */
	json_bool,      /* bool */
	json_i32,       /* int32_t */
	json_i64,       /* int64_t */
	json_u8,        /* uint8_t */
	json_u16,       /* uint16_t */
	json_u32,       /* uint32_t */
	json_u64,       /* uint64_t */
	json_opt_bool, json_opt_i64, json_opt_u64,
	json_str,       /* const char *; NULL = absent */
	json_str_list,  /* struct str_list */
	json_str_map,   /* struct str_map */
	json_enum,      /* int; .of = struct json_name[], ended by { NULL }; unset value = 0 */
	json_object,    /* an embedded struct, absent when all of it is; .of = struct json_type */
	json_pointer,   /* struct x *, NULL = absent; .of = struct json_type */
	json_list,      /* LIST(struct x); .of = struct json_type */
	json_u32_list,  /* LIST(uint32_t) */
	json_nested,    /* struct x *: a document inside a string; .of = struct json_type */
	json_any,       /* struct json: kept as a tree */
	json_nested_any;/* const char *: a string that must hold a JSON document, kept as text */

/* Whether a member is what the codec stores there; checked by JSON_FIELD() at compile time. */
#define JSON_IS(member, type) __builtin_types_compatible_p(__typeof__(member), type)
#define JSON_HOLDS_bool(member) JSON_IS(member, bool)
#define JSON_HOLDS_i32(member) JSON_IS(member, int32_t)
#define JSON_HOLDS_i64(member) JSON_IS(member, int64_t)
#define JSON_HOLDS_u8(member) JSON_IS(member, uint8_t)
#define JSON_HOLDS_u16(member) JSON_IS(member, uint16_t)
#define JSON_HOLDS_u32(member) JSON_IS(member, uint32_t)
#define JSON_HOLDS_u64(member) JSON_IS(member, uint64_t)
#define JSON_HOLDS_opt_bool(member) JSON_IS(member, struct opt_bool)
#define JSON_HOLDS_opt_i64(member) JSON_IS(member, struct opt_i64)
#define JSON_HOLDS_opt_u64(member) JSON_IS(member, struct opt_u64)
#define JSON_HOLDS_str(member) JSON_IS(member, const char *)
#define JSON_HOLDS_str_list(member) JSON_IS(member, struct str_list)
#define JSON_HOLDS_str_map(member) JSON_IS(member, struct str_map)
#define JSON_HOLDS_enum(member) (sizeof(member) == sizeof(int))
#define JSON_HOLDS_object(member) (sizeof(member) > 0)
#define JSON_HOLDS_pointer(member) (sizeof(*(member)) > 0)
#define JSON_HOLDS_list(member) (JSON_IS((member).count, size_t) && sizeof(*(member).item) > 0)
#define JSON_HOLDS_u32_list(member) JSON_IS((member).item, uint32_t *)
#define JSON_HOLDS_nested(member) (sizeof(*(member)) > 0)
#define JSON_HOLDS_any(member) JSON_IS(member, struct json)
#define JSON_HOLDS_nested_any(member) JSON_IS(member, const char *)
#define JSON_CHECK(condition) \
	(0 * sizeof(struct { \
		_Static_assert(condition, "the codec does not store into such a member"); \
		int unused; \
	}))

struct json_name {
	const char *name;
	int value;
};

enum json_flags {
	JSON_REQUIRED = 1 << 0, /* refuse an object without it */
	JSON_ALWAYS = 1 << 1,   /* write it also when absent() says it could be left out */
};

struct json_field {
	const char *name;
	const struct json_codec *codec;
	size_t offset;
	unsigned flags;
	const void *of;
};
struct json_type {
	size_t size;
	const struct json_field *fields;        /* ended by a NULL name */
};

/* One row: JSON_FIELD(struct oci_mount, destination, "destination", str, JSON_REQUIRED). The
 * optional last arguments are flags and .of. */
#define JSON_FIELD(type, member, name_, codec_, ...) \
	{ \
		name_, &json_##codec_, \
		offsetof(type, member) + JSON_CHECK(JSON_HOLDS_##codec_(((type *)0)->member)), \
		__VA_ARGS__ \
	}
/* A row with a codec of the user's own, by full name. */
#define JSON_FIELD_WITH(type, member, name_, codec_, ...) \
	{ name_, &(codec_), offsetof(type, member), __VA_ARGS__ }
#define JSON_TYPE(type, fields_) { .size = sizeof(type), .fields = (fields_) }

/* For codecs: refuses the value with "<path>: <text>", -EINVAL. */
int json_refuse(struct json_reader *reader, const char *format, ...) printf_like(2, 3);
struct arena *json_reader_arena(struct json_reader *reader);
/* The same for memory that is exhausted: -ENOMEM. */
int json_no_memory(struct json_reader *reader);
/*
 * A codec that looks inside its value says where it is, so that a refusal names the place: by
 * member ("a.b"), by key of a map (a["b"]) or, with NULL names, by index (a[2]). The step is the
 * caller's and lives until json_leave().
 */
struct json_step {
	const struct json_step *up;
	const char *member, *key;
	size_t index;
};
void json_enter(struct json_reader *reader, struct json_step *step);
void json_leave(struct json_reader *reader);
/* What the codecs above do may be done for a part of a value too: json_str.get(reader, …). To
 * write what none of them does, an object or array piece by piece: */
int json_put_raw(struct json_writer *writer, const char *text);
int json_put_string(struct json_writer *writer, const char *text);

/*
 * Decodes text into *to (which the caller has zeroed; set to zero by us on failure). Strings and
 * lists live in the arena. -EINVAL with a fault such as
 * `linux.namespaces[2].type: unknown value "pidd"` or `process: is required`.
 */
int json_decode(struct arena *arena, const struct json_type *type, const char *text, size_t length,
                void *to, struct fault *fault);
int json_decode_tree(struct arena *arena, const struct json_type *type, const struct json *tree,
                     void *to, struct fault *fault);
/*
 * Appends the object. Members that are absent are left out; embedded JSON-in-string documents are
 * always HTML-escaped, the outer document only with escape_html. -ENOBUFS when out is full.
 */
int json_encode(const struct json_type *type, const void *from, struct buf *out, bool escape_html);
