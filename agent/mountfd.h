/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Mounts as file descriptors: made detached, attached to a directory or file that is open already,
 * and changed, all without naming a path. A mount fd goes on meaning its mount once that is
 * attached.
 */

#include "agent/mountopt.h"
#include "hvsocket/base.h"

struct mount_new {
	const char *type;
	const char *source;             /* NULL = none */
	unsigned long flags;            /* MS_*; those of the superblock go to the file system */
	const char *data;               /* joined by commas; NULL = none */
	const char *label;              /* SELinux context=; NULL = none */
	bool writable;                  /* leaves MS_RDONLY out */
};
#define MOUNT_NOTE 160

/*
 * A detached mount of a new file system. note: what the kernel had to say about a failure, or
 * "".
 */
int mount_create(const struct mount_new *new, char note[static MOUNT_NOTE]);
/* Can mount_create() take this data? Single values are limited to 255 bytes there. */
bool mount_data_fits(const char *data);
/*
 * mount(2) onto the place that target_fd is open on; for data that does not fit, and for
 * remounts.
 */
int mount_classic(int target_fd, const struct mount_new *new);
/* A detached copy of what fd is, with the mounts below it if recursive. */
int mount_clone(int fd, bool recursive);
int mount_attach(int mount_fd, int target_fd);

/*
 * Sets and clears MOUNT_ATTR_* of an attached mount; all else stays. What a user namespace has
 * locked stays as it is. recursive needs Linux 5.12: -ENOTSUP.
 */
int mount_change(int fd, uint64_t set, uint64_t clear, bool recursive);
/* The same from flags and words of the table. */
int mount_change_options(int fd, const struct mount_options *options);
/* Read-only with all below it where the kernel can, else the mount alone. */
int mount_seal(int fd);
/* MS_SHARED and so on, with MS_REC or without. 0 does nothing. */
int mount_propagate(int fd, unsigned long propagation);
/* Is fd the root of a mount? */
bool mount_is_root(int fd);
