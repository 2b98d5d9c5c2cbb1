/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The agent's end of the bridge: dials PARENT, negotiates, serves, and redials for ever. Requests
 * are handed to request.c; answers may be given at once or later, also after a reconnect.
 */

#include "agent/relay.h"
#include "hvsocket/hvsocket.h"
#include "oci/channel.h"
#include "oci/message.h"

struct agent;

#define BRIDGE_PORT 0x40000000u

#define BRIDGE_SECRET 65 /* with its end */

struct bridge {
	struct agent *agent;
	struct hv_endpoint parent;      /* with the bridge's port */
	struct hv_machine machine;
	struct source dialing;          /* a connection under way */
	struct timer redial;
	uint64_t redial_delay;          /* milliseconds before the next attempt */
	struct timer absence;           /* runs while there is no host */
	uint64_t absence_limit;         /* milliseconds; 0 = none */
	struct channel channel;
	bool connected, negotiated;
	uint32_t connections;           /* so far */
	struct half_close half_close;   /* of standard streams while this one lasts */
	uint32_t generation;            /* changes when unanswered requests lose their asker */
	struct buf late;                /* plain mode: frames of answers for the next connection */
	bool has_session;
	char secret[BRIDGE_SECRET];     /* by which the host knows us again; "" = none yet */
	struct hv_guid session;
};
#define BRIDGE_NULL { .dialing = SOURCE_NULL, .redial = TIMER_NULL, .absence = TIMER_NULL, \
	.channel = CHANNEL_NULL }

/*
 * One request that is to be answered, exactly once: by bridge_reply() or bridge_fail(). A zeroed
 * one is nobody's: answering it does nothing.
 */
struct request {
	uint32_t type;                  /* 0 = answered or none */
	uint32_t connection, generation;        /* of the bridge when it came */
	uint64_t id;
	char activity_id[HV_GUID_TEXT]; /* "" = none */
};

int bridge_init(struct bridge *bridge, struct agent *agent, const struct hv_endpoint *parent);
/* Once; from then on there is a connection, or it is dialled. */
void bridge_dial(struct bridge *bridge);
void bridge_deinit(struct bridge *bridge);
/* The agent ends when nobody has negotiated for so many milliseconds; 0 = never. */
void bridge_limit_absence(struct bridge *bridge, uint64_t milliseconds);

/*
 * Answers with the reply struct of the request's type; its base may be left zeroed. Clears
 * *request. An answer that cannot be delivered any more is dropped, and the return is false.
 */
bool bridge_reply(struct bridge *bridge, struct request *request, void *reply);
void bridge_fail(struct bridge *bridge, struct request *request, const struct fault *fault);
/* Success with the base members only. */
void bridge_done(struct bridge *bridge, struct request *request);
/* False when there was nobody to tell. */
bool bridge_notify(struct bridge *bridge, const struct notification *notification);

/* The host has begun anew: from here on nobody waits for answers to earlier requests. */
void bridge_begin_generation(struct bridge *bridge);
/* After NegotiateProtocol was answered. */
void bridge_negotiated(struct bridge *bridge);

/* Whether the peer speaks our session: streams, and messages beyond GCS v4. */
bool bridge_in_session(const struct bridge *bridge);
/* The same VM host on another port: for the stdio connections of plain mode. */
struct hv_endpoint bridge_endpoint(const struct bridge *bridge, uint32_t port);
