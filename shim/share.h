/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The host's files that a container uses, in a partition whose driver shares: its root and the
 * sources of its bind mounts, each a mount of its own below <partition>/share/<name>/. `name` is
 * of one container and never used again, because a guest remembers what it has looked up.
 */

#include "oci/spec.h"
#include "shim/partition.h"

#define SHARE_ROOT "rootfs"

/* The command's side */

struct share_tree {
	const char *entry;      /* its name below share/<name> */
	int fd;                 /* a detached mount; borrowed */
	bool file;              /* of one file, not of a directory */
};
typedef int share_fn(const struct share_tree *tree, void *context, struct fault *fault);

/* In another container's mount namespace all paths are of what that container has. */
bool share_is_moot(const struct oci_spec *spec);
/*
 * Whether all that the spec wants is there and of a kind that can be shared: to be found out before
 * a VM is started for it.
 */
int share_check(const struct oci_spec *spec, struct fault *fault);
/* The name for a container that is being created. */
const char *share_name(struct arena *arena, const char *id);
/*
 * Opens all that a spec with absolute paths wants, in the mount namespace of the caller, calls give
 * for each and puts the guest's paths in their places. Sources that every guest has one of its own
 * of (procfs, /dev/null) stay; those that lose their meaning on the way (sockets, devices) are
 * refused. Of a root that is to be read-only, places for the mounts are made first.
 */
int share_spec(struct oci_spec *spec, const char *name, struct arena *arena, share_fn *give,
               void *context, struct fault *fault);

/* The sandbox process' side */

struct share;

int share_new(const struct partition *partition, const char *name, struct share **ret,
              struct fault *fault);
const char *share_path_name(const struct share *share);
/* tree_fd is borrowed. */
int share_add(struct share *share, const char *entry, int tree_fd, bool file,
              struct fault *fault);
/* Unmounts and removes everything. NULL is nothing. */
void share_free(struct share *share);
