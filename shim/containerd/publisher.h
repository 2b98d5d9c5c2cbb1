/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Events for containerd, in their order: one queue, one event under way at a time. An event goes to
 * containerd's ttrpc socket; where there is none, to its program, one process for each; where there
 * is no such thing either, nowhere.
 *
 * One that is not taken is tried again five times, with pauses of 1, 2, 3, 4 and 5 seconds, and then
 * dropped. As long as nobody listens at all, because containerd is being replaced, nothing is
 * dropped and all wait.
 */

#include "hvsocket/loop.h"
#include "oci/buf.h"

#include <protobuf-c/protobuf-c.h>

#define PUBLISHER_EVENTS_MAX 2048

/* Strings may be NULL or "". */
struct publisher_options {
	const char *ttrpc_address;      /* a path, also as unix://… */
	const char *binary;             /* containerd's program, and … */
	const char *grpc_address;       /* … what it is to connect to */
	const char *namespace;
	unsigned timeout;               /* milliseconds for each try; 0: 5000 */
	unsigned pause;                 /* milliseconds before the second try; 0: 1000 */
};

struct publisher;
int publisher_new(struct publisher **ret, struct loop *loop,
                  const struct publisher_options *options);
/* What waits is lost. Also from the callback of publisher_when_empty(). NULL is allowed. */
void publisher_free(struct publisher *publisher);

/*
 * Its time is now. topic is copied, type is a constant: the full name of the message. -ENOBUFS: too
 * many wait, this one is lost; -ENOMEM: so it is.
 */
int publisher_send(struct publisher *publisher, const char *topic, const char *type,
                   const ProtobufCMessage *event);
/* Calls empty() once: when every event is told or dropped, which may be at once. */
void publisher_when_empty(struct publisher *publisher, void (*empty)(void *owner), void *owner);
/* A line of text about it. */
void publisher_describe(const struct publisher *publisher, struct buf *out);
