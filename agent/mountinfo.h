/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The mounts of our mount namespace that can be seen from our root: /proc/self/mountinfo. */

#include "oci/arena.h"

#include <stdio.h>

struct mountinfo {
	const struct mountinfo *next;
	uint64_t id, parent;
	const char *root;       /* what of the file system is mounted */
	const char *point;      /* where, from our root */
	const char *type;
	const char *options;    /* of the file system */
};

/*
 * A file of our own in /proc to be read; NULL and errno. proc_fd: our directory there, for who has
 * gone where /proc may be another's; -1 = /proc/self.
 */
FILE *proc_self_open(int proc_fd, const char *name);
/* In the kernel's order; NULL for none. */
int mountinfo_read(struct arena *arena, int proc_fd, const struct mountinfo **ret);
/* Is name one of the words between the commas? */
bool mountinfo_has_option(const struct mountinfo *mount, const char *name);
