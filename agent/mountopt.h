/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Mount options in words → flags, attributes, propagation and data, by one table. */

#include "oci/arena.h"
#include "oci/json.h"

struct mount_options {
	unsigned long flags, clear;     /* MS_* to set and to clear */
	uint64_t attr_set, attr_clear;  /* MOUNT_ATTR_*, for all below too (rro, rnosuid, …) */
	unsigned long propagation;      /* MS_SHARED … with MS_REC or without; 0 = none asked */
	bool bind, recursive_bind;
	bool copy_up;                   /* tmpcopyup */
	bool idmap, recursive_idmap;
	const char *data;               /* what is left, joined by commas; NULL when empty */
};
/* -EINVAL for what contradicts itself; options that are no words of ours become data. */
int mount_options_parse(struct arena *arena, const struct str_list *options,
                        struct mount_options *ret);
/* The MS_* behind one word of propagation ("rslave"); 0 for NULL and any other word. */
unsigned long mount_propagation_parse(const char *word);
/* Every word of the table, for `features`. NULL-ended. */
extern const char *const mount_option_names[];
