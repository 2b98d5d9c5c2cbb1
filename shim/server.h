/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The control socket: who connects may ask for anything in control.h. Answers come when they
 * come; no client holds up another.
 */

#include "hvsocket/hvsocket.h"
#include "shim/task.h"

struct server;

struct server_ops {
	/* A client wants the partition to end. */
	void (*shutdown)(struct server *server);
	/* What the sandbox process has to add to a state dump. */
	void (*describe)(struct server *server, struct buf *out);
};

struct client;

struct server {
	struct loop *loop;
	struct task *task;
	const struct server_ops *ops;
	struct hv_listener listener;
	struct source accepting;
	struct client *clients;
	bool ending;                    /* nothing new is begun */
	bool keep;                      /* the partition is not ended for being empty */
};
#define SERVER_NULL { .listener = HV_LISTENER_NULL, .accepting = SOURCE_NULL }

/* directory: partitions/<id>, absolute. */
int server_init(struct server *server, struct loop *loop, struct task *task, const char *directory,
                const struct server_ops *ops, struct fault *fault);
/* The socket's name goes; connections stay. */
void server_close_socket(struct server *server);
void server_deinit(struct server *server);
/* To all who have asked for events. */
void server_event(struct server *server, const struct control_event *event);
/* A state dump of the sandbox process alone. */
void server_describe(struct server *server, struct buf *out);
