/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One direction of a connection: what comes out of one port and has to go into another. There is
 * one buffer, which is filled when it is empty and emptied when it is full, so that a connection
 * needs the same memory whatever its ends do.
 */

#include "contrib/hvcat/port.h"

#define FLOW_BUFFER 131072

struct flow {
	size_t start, end;
	bool ended;             /* no more will come in */
	bool broken;            /* no more goes out; what is left is lost */
	int read_error, write_error; /* why, if not in order; -errno */
	uint64_t moved;         /* bytes that have gone out */
	char bytes[FLOW_BUFFER];
};

/* Moves what can be moved at once, but not for ever. */
void flow_move(struct flow *flow, struct port *from, struct port *to);
bool flow_is_empty(const struct flow *flow);
/* The end has come and everything before it has gone out. */
bool flow_is_through(const struct flow *flow);
bool flow_wants_input(const struct flow *flow);
bool flow_wants_output(const struct flow *flow);
