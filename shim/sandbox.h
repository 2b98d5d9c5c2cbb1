/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The sandbox process: one per partition. It owns the partition, the bridge to its agent, the host
 * ends of all stdio and all truth about what runs; commands reach it over its control socket.
 */

#include "shim/state.h"

/*
 * The internal verb: `hvrun sandbox --root DIR --ready FD [--driver NAME] [--debug] ID`. Becomes
 * the sandbox process of partitions/<ID>, which exists and is empty; never returns before the
 * partition has ended. To FD it writes one NUL byte when the agent answers, or a line of text
 * when the start failed. Without a container for ten seconds the partition ends by itself, and it
 * ends with its last one.
 */
int sandbox_main(int argc, char **argv);

/*
 * For commands: makes partitions/<id>, starts its sandbox process and waits until the partition
 * is ready to take containers. -EEXIST: there is one already (or it is being started by somebody
 * else: its control socket takes connections as soon as it is there). On failure nothing is left
 * behind. driver NULL: the default.
 */
int sandbox_spawn(struct state *state, const char *id, const char *driver, bool debug,
                  struct fault *fault);

/*
 * Connects to the control socket of a partition; a blocking, close-on-exec fd. -ENOENT and
 * -ECONNREFUSED: no sandbox process (any more).
 */
int sandbox_connect(struct state *state, const char *id);
