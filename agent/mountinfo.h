/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The mounts of our mount namespace that can be seen from our root: /proc/self/mountinfo. */

#include "oci/arena.h"

struct mountinfo {
	const struct mountinfo *next;
	uint64_t id, parent;
	const char *root;       /* what of the file system is mounted */
	const char *point;      /* where, from our root */
	const char *type;
	const char *options;    /* of the file system */
};

/* In the kernel's order; NULL for none. */
int mountinfo_read(struct arena *arena, const struct mountinfo **ret);
/* Is name one of the words between the commas? */
bool mountinfo_has_option(const struct mountinfo *mount, const char *name);
