/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Figures of a container. */

#include "shim/client.h"

/* Asks for them; they live in the client's arena. vm: of the whole VM; id is for messages then. */
int stats_ask(struct client *client, const char *id, bool vm, struct control_reply *ret,
              struct fault *fault);
/* The "data" of an event of type stats, as runc lays it out. The arena is for work in between. */
int stats_write_runc(struct buf *out, struct arena *arena, const struct statistics_v2 *statistics);
