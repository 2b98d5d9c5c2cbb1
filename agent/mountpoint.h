/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The places in the VM that the host names to mount something on. No link is followed on the way
 * there. All of it may block, and changes the working directory: for a worker.
 */

#include "oci/fault.h"

#include <sys/types.h>

struct mountpoint {
	const char *path;               /* borrowed */
	int parent_fd, fd;              /* O_PATH: what it is in, and what is to be mounted on */
	const char *name;               /* in the parent; of path */
	unsigned made;                  /* how many directories, from the end of the path */
};
#define MOUNTPOINT_NULL { .parent_fd = -1, .fd = -1 }

/* By the text alone: absolute, without "..", below the folder. Else text about the member. */
int mountpoint_check(const char *below, const char *member, const char *path,
                     struct fault *fault);
/* Does the path lead below (or to) the folder? Both absolute and clean. */
bool mountpoint_is_below(const char *path, const char *folder);
/* O_PATH fd of a directory that exists. -ELOOP: a link is in the way. */
int mountpoint_open(const char *path);
/* Makes what is missing: the directory with this mode, those above it 0755. */
int mountpoint_make(struct mountpoint *point, const char *path, mode_t mode);
/* Is something mounted there already? */
bool mountpoint_taken(const struct mountpoint *point);
/* Unmounts what is on it; removes the directories that were made. */
void mountpoint_undo(struct mountpoint *point, bool mounted);
void mountpoint_deinit(struct mountpoint *point);

/*
 * Unmounts what is there, if anything, and removes the directory. What does not exist is gone
 * already: 0.
 */
int mountpoint_remove(const char *path);
/* A symbolic link instead of a mount: makes it (-EEXIST), removes it (-EINVAL: is none). */
int mountpoint_link(const char *path, const char *target);
int mountpoint_unlink(const char *path);
