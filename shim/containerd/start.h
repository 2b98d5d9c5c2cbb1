/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The action `start`. */

#include "shim/containerd/options.h"

/*
 * Starts the daemon of the container whose bundle is the working directory, or finds that of its
 * group; then prints its address in the form that the caller reads. 0: that is all that was
 * printed, and whoever dials the address is served.
 */
int start_run(const struct shim_command *command, struct fault *fault);
