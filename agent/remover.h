/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Removes what a container leaves in the file system and among the mounts of others, however much
 * that is, beside the loop.
 */

#include "hvsocket/loop.h"

struct remover {
	struct source source;           /* pidfd of the child that removes; owned */
	void (*done)(struct remover *remover);
};
#define REMOVER_NULL { .source = SOURCE_NULL }

struct remains {
	int mount_ns_fd, root_fd;       /* a mount in a mount namespace; -1 = none */
	const char *folders[2];         /* NULL = none */
};

/*
 * true: that takes a while, and done() will follow from the loop. What cannot be removed stays,
 * with a line in the log.
 */
bool remover_start(struct remover *remover, struct loop *loop, const struct remains *remains,
                   void (*done)(struct remover *remover));
/* The mount alone, with all below it; waits. */
void remains_unmount(int mount_ns_fd, int root_fd);
bool remover_busy(const struct remover *remover);
/* Does not end the removal. */
void remover_deinit(struct remover *remover);
