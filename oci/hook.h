/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The state of a container as JSON, and the hooks that get it on their standard input. Used by the
 * child inside the container's namespaces and by the command line on the host. Blocking, so never
 * for the loop.
 */

#include "oci/fault.h"
#include "oci/spec.h"

struct oci_state {
	const char *oci_version;
	const char *id;
	const char *status;     /* "creating", "created", "running", "stopped" */
	uint32_t pid;           /* 0 = left out */
	const char *bundle;
	struct str_map annotations;
};

/*
 * Runs one hook to its end, with nothing of ours but its args, its env and the state; over its
 * timeout it is killed with everything in its session. kind is for the text: `createContainer hook
 * "/x" failed: exit status 1: <the last line that it wrote>`.
 */
int hook_run(const char *kind, const struct oci_hook *hook, const struct oci_state *state,
             struct fault *fault);
/* One after the other; the first that fails ends it. */
int hooks_run(const char *kind, const oci_hook_list *hooks, const struct oci_state *state,
              struct fault *fault);

/* For execve(2): the strings of a list and `more` (may be NULL), ended by NULL. The array is
 * malloc'd. */
char **str_list_vector(const struct str_list *list, const char *more);
