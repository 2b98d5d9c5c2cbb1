/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A ttrpc server: tables of services and methods over the connections of one listening socket.
 *
 * Every request becomes a struct ttrpc_call, which lives until it is answered, in any order and at
 * any time: from within its handler or much later. Who cannot answer at once either goes on, and
 * the answer is dropped if nobody waits for it any more, or parks the call by setting `gone`.
 *
 * Peers of other users than ours and root are turned away. A connection costs no buffers while
 * nothing is under way on it; one whose client sends and does not read is not read either, and one
 * that still owes more than a bound is closed.
 */

#include "hvsocket/hvsocket.h"
#include "hvsocket/loop.h"
#include "oci/buf.h"
#include "oci/fault.h"

#include <protobuf-c/protobuf-c.h>

struct ttrpc_connection;
struct ttrpc_method;
struct ttrpc_service;

/* One request until it is answered; made and freed by the server. */
struct ttrpc_call {
	void *context;                  /* the server's */
	/*
	 * Set by a handler that parks the call: called once, from the loop or from
	 * ttrpc_server_deinit(), when nobody waits for the answer any more because the connection
	 * is lost or the client's time is over. The call is freed after it and must not be answered
	 * in it; others may. NULL: the request goes on, its answer is dropped.
	 */
	void (*gone)(struct ttrpc_call *call);
	void *parked;                   /* for whoever parked it */

	/* Private. */
	struct ttrpc_connection *connection;    /* NULL: the answer is dropped */
	struct ttrpc_call *next, **at;
	const struct ttrpc_service *service;
	const struct ttrpc_method *method;
	uint64_t since, deadline;       /* nanoseconds of the monotonic clock; 0: no deadline */
	uint32_t stream;
};

/*
 * The request is gone after the handler. < 0: refused with the fault (ttrpc_code_of()); then the
 * call must not have been answered. 0: it was, or it will be.
 */
typedef int ttrpc_handler(struct ttrpc_call *call, const ProtobufCMessage *request,
                          struct fault *fault);

struct ttrpc_method {
	const char *name;               /* "Create" */
	const ProtobufCMessageDescriptor *request;
	ttrpc_handler *handle;
};

struct ttrpc_service {
	const char *name;               /* "containerd.task.v2.Task" */
	const struct ttrpc_method *methods;
	size_t count;
};

struct ttrpc_server {
	struct source accepting;
	struct hv_listener listener;
	struct timer expiry;            /* of the earliest deadline */
	uint64_t expires;               /* that deadline; 0: the timer is not set */
	const struct ttrpc_service *services;
	size_t service_count;
	void *context;
	struct loop *loop;
	struct ttrpc_connection *connections;
	unsigned connection_count;
};
#define TTRPC_SERVER_NULL { \
	.accepting = SOURCE_NULL, .listener = HV_LISTENER_NULL, .expiry = TIMER_NULL \
}

/* Takes the bound and listening fd, also on failure. The tables are borrowed. */
int ttrpc_server_init(struct ttrpc_server *server, struct loop *loop, int listen_fd,
                      const struct ttrpc_service *services, size_t count, void *context);
/*
 * Sends what can be sent at once, then closes all connections. Calls that are not parked stay: they
 * are answered, into the void, by whoever has them. Not from a handler. May be called on
 * TTRPC_SERVER_NULL and twice.
 */
void ttrpc_server_deinit(struct ttrpc_server *server);

/* Each ends the call. reply NULL: an empty message. */
void ttrpc_answer(struct ttrpc_call *call, const ProtobufCMessage *reply);
void ttrpc_refuse(struct ttrpc_call *call, const struct fault *fault);

unsigned ttrpc_server_connections(const struct ttrpc_server *server);
/* Lines of text: the connections, and what they wait for. */
void ttrpc_server_describe(const struct ttrpc_server *server, struct buf *out);
