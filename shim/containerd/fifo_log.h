/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where the daemon's log goes: the FIFO `log` in the bundle, which containerd reads and copies to
 * its own log; work/shim.log, a file that outlives the bundle, where nobody reads that.
 */

#include "hvsocket/base.h"

/*
 * An fd for log_init() that is never waited for, whoever reads the FIFO and whatever becomes of
 * him. -errno: there is neither FIFO nor file.
 */
int fifo_log_open(int bundle_fd);
