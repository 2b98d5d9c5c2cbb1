/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The host's end of the bridge: listens, negotiates a session with the agent that dials, and
 * matches answers to requests. Everything that comes in is a guest's and may be meant to harm.
 *
 * The session is not resumed: when the connection is lost, every request that is under way fails
 * once, streams end, and the agent dials again for a new session in which the containers live on.
 */

#include "hvsocket/hvsocket.h"
#include "oci/channel.h"
#include "oci/message.h"

struct bridge;
struct bridge_call;

/*
 * The end of a request: reply is the reply struct of its message, gone after the call; or it is
 * NULL and the fault says why. Called from the loop, once.
 */
typedef void bridge_answer_fn(struct bridge_call *call, const void *reply,
                              const struct fault *fault);

/* A request under way, embedded in whoever wants to know. */
struct bridge_call {
	uint64_t id;
	uint32_t type;
	bridge_answer_fn *answer;       /* NULL: not under way */
	struct bridge_call *next;
};

struct bridge_ops {
	void (*ready)(struct bridge *bridge);   /* negotiated: requests can be made */
	/*
	 * The connection is over, or was never made right; requests have failed, streams have
	 * ended.
	 */
	void (*lost)(struct bridge *bridge, const struct fault *fault);
	void (*notification)(struct bridge *bridge, const struct notification *notification);
	/*
	 * Requests are about to fail for want of a connection: the fault may get a better text. May
	 * be NULL.
	 */
	void (*why)(struct bridge *bridge, struct fault *fault);
};

/* What an agent can do besides what every agent can. */
enum bridge_feature {
	FEATURE_CLOCK = 1 << 0,
	FEATURE_KERNEL_LOG = 1 << 1,
};

#define BRIDGE_ABANDONED_MAX 64
#define BRIDGE_SECRET 33        /* hexadecimal digits, with their end */

struct bridge {
	struct loop *loop;
	const struct bridge_ops *ops;
	struct hv_listener listener;
	struct source accepting;
	pid_t peer_pid;                 /* alone is let in; 0 = whom the listener admits */
	struct channel channel;
	bool boots;                     /* the agent wants the time and entropy */
	unsigned features;              /* enum bridge_feature: of the agent that is connected */
	bool connected, ready;
	const char *gone;               /* why nobody will ever answer again; borrowed */
	char session[HV_GUID_TEXT];
	char secret[BRIDGE_SECRET];     /* that only the agent knows; "" = none yet */
	bool known;                     /* the agent has it */
	struct bridge_call negotiation;
	uint64_t next_id, next_stream;
	struct bridge_call *calls;      /* under way, newest first */
	uint64_t abandoned[BRIDGE_ABANDONED_MAX]; /* ids whose answers nobody wants; 0 = free */
	size_t abandoned_next;
	uint64_t abandoned_older;       /* up to here there were more than fit */
	struct fault fault;             /* why the connection is about to be closed */
};

void bridge_init(struct bridge *bridge, struct loop *loop, const struct bridge_ops *ops);
/* Listens at the endpoint for the agent; children as in hv_listen(). */
int bridge_listen(struct bridge *bridge, const struct hv_endpoint *endpoint,
                  struct hv_children *children, struct fault *fault);
/* The socket's name goes; a connection stays. */
void bridge_close_socket(struct bridge *bridge);
/* Takes a connection of the agent and negotiates. */
int bridge_attach(struct bridge *bridge, int fd);
/* Requests under way fail. */
void bridge_deinit(struct bridge *bridge);

/*
 * Sends a request, encoded by the given table; the answer comes through call->answer. On failure
 * there is a fault and no answer will come.
 */
int bridge_send(struct bridge *bridge, struct bridge_call *call, uint32_t type,
                const struct json_type *table, const void *request, bridge_answer_fn *answer,
                struct fault *fault);
/* Whether requests can be sent now. */
int bridge_check(const struct bridge *bridge, struct fault *fault);
/* The answer is of no interest any more; the call may go. */
void bridge_abandon(struct bridge *bridge, struct bridge_call *call);
/* The first of count stream ids that were never used. */
uint64_t bridge_stream_ids(struct bridge *bridge, unsigned count);
