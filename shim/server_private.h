/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the control socket share: server.c has the clients, request.c what they ask
 * for. Not for others. */

#include "shim/server.h"

/* A request that was taken, until it is answered. */
struct pending {
	struct task_request request;
	struct server *server;
	struct client *client;          /* NULL: gone */
	uint64_t id;
	uint32_t type;
	struct pending *next;           /* of the client */
};

struct client {
	struct server *server;
	struct channel channel;
	struct pending *pendings;
	unsigned pending_count;
	struct share *share;            /* for the container that it creates next */
	struct image *image;            /* likewise */
	bool subscribed;
	uint64_t events_id;
	struct client *next;
};

/* Answers a request and frees it. */
task_answer_fn server_answer;
/* On success the request is answered, or will be. */
int request_perform(struct pending *pending, const char *payload, size_t size,
                    struct fault *fault);
