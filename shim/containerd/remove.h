/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The action `delete`. */

#include "shim/containerd/options.h"

/*
 * Ends and removes what is left of a container whose shim has gone, or cannot be reached: its
 * processes, cgroups, mounts and state; the shim itself with its partition, if nobody else needs
 * it. Whatever is missing is removed already. Prints a DeleteResponse, in less than five seconds.
 */
int remove_run(const struct shim_command *command, struct fault *fault);
