/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The share of a VM: a file system in our mount namespace into which the files of containers are
 * mounted, and the daemon that serves it to the guest.
 */

#include "shim/daemon.h"
#include "shim/partition.h"

struct virtiofs {
	bool mounted;
	int fd;                 /* connected to the daemon */
	struct daemon daemon;
};
#define VIRTIOFS_NULL { .fd = -1, .daemon = DAEMON_NULL }

/* From here on the process has a mount namespace of its own. */
int virtiofs_prepare(struct virtiofs *share, struct partition *partition, struct fault *fault);
int virtiofs_start(struct virtiofs *share, struct partition *partition,
                   const struct daemon_ops *ops, struct fault *fault);
/* Nobody needs it any more; the directory can be removed. */
void virtiofs_unmount(struct virtiofs *share, const struct partition *partition);
void virtiofs_deinit(struct virtiofs *share, const struct partition *partition);
