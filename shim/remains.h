/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a partition leaves behind when its sandbox process or agent was killed. */

#include "shim/state.h"

/*
 * Ends what is left of a container: thaws and kills what is in its cgroups and removes them in
 * every hierarchy. Those of a VM have gone with it.
 */
int remains_remove_cgroups(const struct container_record *record);
/* Removes partitions/<id> if its sandbox process is gone; -EBUSY if it is not. */
int remains_remove_partition(struct state *state, const char *id);
/*
 * Everything of a container but its directory, when the connection to its sandbox process was
 * lost or could not be made. Processes that are still dying are waited for, a second at most.
 * -EBUSY: it lives.
 */
int remains_remove(struct state *state, const struct container_record *record);
