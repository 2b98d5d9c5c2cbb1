/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A container as a command sees it: its record on disk, and what its sandbox process says of it.
 * One whose sandbox process is gone, and with it everything that ran, is stopped.
 */

#include "shim/client.h"

#define ANSWER_LIMIT 10000      /* milliseconds: far more than a busy machine needs */

struct view {
	struct client client;           /* fd -1: the sandbox process is gone */
	struct container_record record;
	struct control_container container; /* status "stopped" and pid 0 then */
};

/*
 * -ENOENT: `container "x" does not exist`. -ETIMEDOUT: its sandbox process does not answer in that
 * many milliseconds; only the record is valid then. The view is to be closed in any case.
 */
int view_open(struct view *ret, struct state *state, const char *id, unsigned limit,
              struct fault *fault);
/* The record and the connection only. */
int view_connect(struct view *ret, struct state *state, const char *id, struct fault *fault);
void view_close(struct view *view);
bool view_stopped(const struct view *view);
/* Asks anew. Afterwards, strings of the container that were read before are still valid. */
int view_refresh(struct view *view, struct fault *fault);

/*
 * Connects and asks about a container that must run. -ESRCH with "container not running" in the
 * text when it does not, whoever says so.
 */
int running_call(struct state *state, struct client *ret_client, const char *id,
                 enum control_type type, const struct control_request *request,
                 struct control_reply *ret, struct fault *fault);
