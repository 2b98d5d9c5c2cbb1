/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The five capability sets, by libcap: the only user of it. */

#include "oci/fault.h"
#include "oci/spec.h"

/*
 * As the runtime specification wants it, what this kernel or our own permitted set does not have is
 * left out, not refused. caps_lacking() says what that is, for one warning: the names of what is in
 * any set of caps but not ours, or ambient without being permitted and inheritable, as
 * "CAP_A, CAP_B"; NULL when nothing is lacking. In a new user namespace everything the kernel knows
 * can be had. malloc'd.
 */
char *caps_lacking(const struct oci_capabilities *caps, bool user_namespace);

/* Before the uid changes: the bounding set is cut to `bounding`, once what is inheritable beyond
 * it is so, and permitted is kept over the change. NULL caps = none at all. */
int caps_bound(const struct oci_capabilities *caps, struct fault *fault);
/* After the uid changed, which cleared effective: CAP_SYS_ADMIN comes back, for seccomp_load(). */
int caps_regain(struct fault *fault);
/*
 * At the end: effective, permitted, inheritable and ambient become exactly what was asked.
 * Effective without permitted is refused. Permitted and inheritable are cut to what is ours,
 * ambient to what is permitted and inheritable, as the kernel would.
 */
int caps_apply(const struct oci_capabilities *caps, struct fault *fault);
