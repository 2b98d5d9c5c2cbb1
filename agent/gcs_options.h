/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The words that Microsoft's host puts behind -- on the kernel's command line for its own /init,
 * /bin/vsockexec and /bin/gcs. An agent in their place is told the same things by them.
 */

#include "oci/arena.h"
#include "oci/json.h"

/* What was said, as text; NULL = nothing. */
struct gcs_options {
	const char *entropy_port;       /* init -e */
	const char *output_port;        /* vsockexec -o */
	const char *error_port;         /* vsockexec -e: the log's */
	const char *redial;             /* vsockexec -r */
	const char *log_level;
	const char *log_format;
	const char *core_pattern;
	const char *policy_stance;
	struct str_list ignored;        /* what means nothing here */
};

/*
 * Takes Microsoft's words out of argc and argv. What is left for others to look at is *rest, with
 * argv[0] and a NULL behind it: whatever begins with -- and is not known, and what is no option.
 * -EINVAL: a quote that is not closed, or an option without its value.
 */
int gcs_options_take(struct arena *arena, int argc, char **argv, struct gcs_options *ret,
                     struct str_list *rest);
