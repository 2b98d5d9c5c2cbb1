/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "agent/rootfs.h"

/* The nodes of linux.devices, the default ones that it leaves out, and the links of /dev. */
int device_make_all(const struct rootfs *rootfs, struct fault *fault);
/* An empty file at /dev/console for rootfs_console(), where nothing is yet. */
int device_make_console(int root_fd, struct fault *fault);
