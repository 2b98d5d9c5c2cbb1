/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What container.c and freeze.c share. Not for others. */

#include "agent/container.h"

/* Looks at its cgroup.events from now on, for a pause or a deletion. */
int container_watch_events(struct container *container);
/* Answers the pause, or the end of one, when it is reached. */
void container_freeze_step(struct container *container);
/* The end of the container has overtaken its pause, if there is one under way. */
void container_freeze_overtaken(struct container *container);
