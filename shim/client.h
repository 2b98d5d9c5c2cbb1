/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A command's end of the control socket: blocking, one request at a time. */

#include "shim/control.h"
#include "shim/state.h"

struct client {
	int fd;
	int end_fd;             /* readable when we are to end; -1. Owned */
	uint64_t last_id;
	struct arena arena;     /* of replies; lives until client_close() */
};
#define CLIENT_NULL { .fd = -1, .end_fd = -1, .arena = ARENA(JSON_ARENA) }

/* -ENOENT, -ECONNREFUSED: the sandbox process is gone; no fault is set then. */
int client_connect(struct client *client, struct state *state, const char *partition,
                   struct fault *fault);
/* By container id: reads its record. -ENOENT with a fault: no such container. */
int client_connect_container(struct client *client, struct state *state, const char *id,
                             struct container_record *ret, struct fault *fault);
/* The partition that is meant by the id of a container in it, or by its own. -ENOENT: there is
 * neither. */
int client_find_vm(struct state *state, const char *id, struct arena *arena,
                   const char **ret_partition, struct fault *fault);
/* Finds and connects; *ret_partition lives in the client's arena. */
int client_connect_vm(struct client *client, struct state *state, const char *id,
                      const char **ret_partition, struct fault *fault);
void client_close(struct client *client);
/*
 * How long an answer may take from now on: for questions that are answered from memory, and whoever
 * asks them must not be held up by one partition that is stopped. -ETIMEDOUT then.
 */
void client_limit(struct client *client, unsigned milliseconds);
/* Of these functions: there is nobody at the other end any more. */
bool client_lost(int error);

/* Sends without waiting for the answer; fds (borrowed) go along. */
int client_send(struct client *client, enum control_type type,
                const struct control_request *request, const int *fds, size_t fd_count,
                struct fault *fault);
/*
 * The next frame: a reply or an event. A reply with a Result other than 0 is a negative errno
 * with the fault of the sandbox. *ret_type is the frame's type; reply and event may be NULL.
 */
int client_receive(struct client *client, uint32_t *ret_type, struct control_reply *reply,
                   struct control_event *event, struct fault *fault);
/*
 * Both. Where we are to end meanwhile, the answer may still come for a moment: a VM that hangs does
 * not keep us. -EINTR then.
 */
int client_call(struct client *client, enum control_type type,
                const struct control_request *request, const int *fds, size_t fd_count,
                struct control_reply *ret, struct fault *fault);
