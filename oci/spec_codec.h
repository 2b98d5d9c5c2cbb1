/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the runtime spec share: codecs that refuse what is meaningless. */

#include "oci/spec.h"

/* Bounds of a number; .of of the codecs below that are called …_range. */
struct spec_range {
	int64_t min, max;
};

extern const struct json_codec
	/* const char *; "" is absence, as it is where Go leaves empty strings out. A required one
	 * must not be empty. */
	spec_text,
	spec_path,              /* the same, and absolute */
	spec_path_list,         /* struct str_list of absolute paths */
	spec_cpu_list,          /* const char *, such as "0-3,7" */
	spec_page_size,         /* const char *, such as "2MB" */
	spec_name,              /* const char *; .of = const char *const[] of the names there are */
	spec_name_list,         /* struct str_list of such names */
	spec_bits,              /* uint64_t, a list of names; .of = json_name[] of bit numbers */
	spec_capabilities,      /* the same; names that are unknown go with a line in the log */
	spec_unique_list,       /* json_list, the first row a json_enum that occurs once at most */
	spec_nothing,           /* a list that must be empty; stores nothing */
	spec_i32_range,         /* int32_t */
	spec_i64_range,         /* int64_t */
	spec_u32_range,         /* uint32_t */
	spec_opt_i64_range,     /* struct opt_i64 */
	spec_opt_u64_range;     /* struct opt_u64 */

/* As JSON_FIELD(), for the codecs above. */
#define SPEC_FIELD(type, member, name_, codec_, ...) \
	{ \
		name_, &spec_##codec_, \
		offsetof(type, member) + JSON_CHECK(SPEC_HOLDS_##codec_(((type *)0)->member)), \
		__VA_ARGS__ \
	}
#define SPEC_HOLDS_text(member) JSON_IS(member, const char *)
#define SPEC_HOLDS_path(member) JSON_IS(member, const char *)
#define SPEC_HOLDS_path_list(member) JSON_IS(member, struct str_list)
#define SPEC_HOLDS_cpu_list(member) JSON_IS(member, const char *)
#define SPEC_HOLDS_page_size(member) JSON_IS(member, const char *)
#define SPEC_HOLDS_name(member) JSON_IS(member, const char *)
#define SPEC_HOLDS_name_list(member) JSON_IS(member, struct str_list)
#define SPEC_HOLDS_bits(member) JSON_IS(member, uint64_t)
#define SPEC_HOLDS_capabilities(member) JSON_IS(member, uint64_t)
#define SPEC_HOLDS_unique_list(member) JSON_HOLDS_list(member)
#define SPEC_HOLDS_i32_range(member) JSON_IS(member, int32_t)
#define SPEC_HOLDS_i64_range(member) JSON_IS(member, int64_t)
#define SPEC_HOLDS_u32_range(member) JSON_IS(member, uint32_t)
#define SPEC_HOLDS_opt_i64_range(member) JSON_IS(member, struct opt_i64)
#define SPEC_HOLDS_opt_u64_range(member) JSON_IS(member, struct opt_u64)

extern const struct json_type oci_linux_type, oci_id_mapping_type;
