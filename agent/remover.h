/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Removes what a container leaves in the file system, however much that is, beside the loop. */

#include "hvsocket/loop.h"

struct remover {
	struct source source;           /* pidfd of the child that removes; owned */
	void (*done)(struct remover *remover);
};
#define REMOVER_NULL { .source = SOURCE_NULL }

/*
 * Removes two trees; NULL = none. true: that takes a while, and done() will follow from the loop.
 * What cannot be removed stays, with a line in the log.
 */
bool remover_start(struct remover *remover, struct loop *loop, const char *const paths[static 2],
                   void (*done)(struct remover *remover));
bool remover_busy(const struct remover *remover);
/* Does not end the removal. */
void remover_deinit(struct remover *remover);
