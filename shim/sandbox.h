/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The sandbox process: one per partition. It owns the partition, the bridge to its agent, the host
 * ends of all stdio and all truth about what runs; commands reach it over its control socket.
 */

#include "shim/state.h"

/*
 * The internal verb: `hvrun sandbox --root DIR --ready FD [--driver NAME] [--config FILE]
 * [--annotation NAME=VALUE]… [--debug] ID`. Becomes the sandbox process of partitions/<ID>, which
 * exists and is empty; never returns before the partition has ended. To FD it writes one NUL byte
 * when the agent answers; when the start failed, a line of text, and below it the last lines of
 * console or daemon if there are any. Without a container for ten seconds the partition ends by
 * itself, and it ends with its last one.
 */
int sandbox_main(int argc, char **argv);

/* What kind of partition it is to be. */
struct sandbox_wish {
	const char *driver;             /* NULL: the default */
	const char *config;             /* NULL: the default one */
	const struct str_map *annotations; /* of the container that it is made for; may be NULL */
	bool debug;
};

/*
 * For commands: makes partitions/<id>, starts its sandbox process and waits until the partition
 * is ready to take containers. -EEXIST: there is one already (or it is being started by somebody
 * else: its control socket takes connections as soon as it is there). On failure nothing is left
 * behind.
 */
int sandbox_spawn(struct state *state, const char *id, const struct sandbox_wish *wish,
                  struct fault *fault);
/* Lines that explain the last failure of sandbox_spawn(), to be shown below it; may be "". */
const char *sandbox_last_words(void);

/*
 * Connects to the control socket of a partition; a blocking, close-on-exec fd. -ENOENT and
 * -ECONNREFUSED: no sandbox process (any more).
 */
int sandbox_connect(struct state *state, const char *id);
