/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The mounts of which containerd makes the root of a container, snapshot upon snapshot. */

#include "oci/fault.h"
#include "shim/containerd/proto/types.pb-c.h"

/*
 * Mounts them one after the other on the directory target, or below it where a mount says so. All
 * or nothing. May change the working directory.
 */
int rootfs_mount(const char *target, Containerd__Types__Mount *const *mounts, size_t count,
                 struct fault *fault);
/* Takes everything off the directory; what is in use still goes when it is not any more. */
int rootfs_unmount(const char *target);
