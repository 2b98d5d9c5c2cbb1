/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a partition leaves behind when its sandbox process or agent was killed. */

#include "shim/state.h"

/*
 * Ends what is left of a container whose sandbox process is gone: kills what is in its cgroups
 * and removes them in every hierarchy. path as in cgroupsPath; NULL: the default of that id.
 */
int remains_remove_cgroups(const char *id, const char *path);
/* Removes partitions/<id> if its sandbox process is gone; -EBUSY if it is not. */
int remains_remove_partition(struct state *state, const char *id);
