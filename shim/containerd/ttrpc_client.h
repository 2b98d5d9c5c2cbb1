/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A ttrpc client that makes one call at a time, each with a deadline: what it takes to tell
 * containerd of events, in their order. It connects when it is told to; that a connection is lost
 * shows in the call under way, or in the next one.
 */

#include "hvsocket/loop.h"
#include "shim/containerd/ttrpc.h"

struct ttrpc_client;

/*
 * From the loop, once per call. TTRPC_OK, or a code and what the other side says. When the
 * connection is lost under the call, or does not take it in time, that is TTRPC_UNAVAILABLE or
 * TTRPC_DEADLINE_EXCEEDED. The client may be used for the next call, connected anew, or ended here.
 */
typedef void ttrpc_client_fn(struct ttrpc_client *client, enum ttrpc_code code, const char *text);

struct ttrpc_client {
	struct source source;           /* its fd is ours, -1: not connected */
	struct timer deadline;
	struct loop *loop;
	struct ttrpc_input in;
	struct buf out;
	uint32_t stream;                /* of the last call */
	ttrpc_client_fn *done;          /* NULL: no call is under way */
};
#define TTRPC_CLIENT_NULL { .source = SOURCE_NULL, .deadline = TIMER_NULL }

struct ttrpc_request {
	const char *service;
	const char *method;
	const ProtobufCMessage *message;
	const char *namespace;          /* goes along as metadata; NULL: none */
	unsigned timeout;               /* milliseconds, not 0 */
};

void ttrpc_client_init(struct ttrpc_client *client, struct loop *loop);
/* No callback for a call under way. May be called on TTRPC_CLIENT_NULL and twice. */
void ttrpc_client_deinit(struct ttrpc_client *client);

/*
 * To the unix socket of this path, without waiting; a connection that is there is closed first, and
 * no call may be under way. -ENOENT, -ECONNREFUSED: nobody is there; -EAGAIN: as many as may are
 * waiting to be let in.
 */
int ttrpc_client_connect(struct ttrpc_client *client, const char *path);
static inline bool ttrpc_client_connected(const struct ttrpc_client *client)
{
	return client->source.fd >= 0;
}

/*
 * Packs and sends at once as much as goes out. < 0: no callback follows: -ENOTCONN or another errno
 * of the connection, which is closed then; -EBUSY: a call is under way; -EMSGSIZE: too large, now
 * and ever; -ENOMEM.
 */
int ttrpc_client_call(struct ttrpc_client *client, const struct ttrpc_request *request,
                      ttrpc_client_fn *done);
