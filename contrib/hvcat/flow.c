/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See the header. While both ports are quick the bytes pass without a look at the event loop: a
 * read, a write, and again. After some rounds the others have their turn.
 */

#include "contrib/hvcat/flow.h"

#define ROUNDS 16

bool flow_is_empty(const struct flow *flow)
{
	return flow->start == flow->end;
}

bool flow_is_through(const struct flow *flow)
{
	return flow->ended && flow_is_empty(flow) && !flow->broken;
}

bool flow_wants_input(const struct flow *flow)
{
	return flow_is_empty(flow) && !flow->ended && !flow->broken;
}

bool flow_wants_output(const struct flow *flow)
{
	return !flow_is_empty(flow) && !flow->broken;
}

static void fill(struct flow *flow, struct port *from)
{
	ssize_t n = port_read(from, flow->bytes, sizeof(flow->bytes));
	if (n == -EAGAIN)
		return;
	flow->start = 0;
	flow->end = n > 0 ? (size_t)n : 0;
	flow->ended = n <= 0;
	flow->read_error = n < 0 ? (int)n : 0;
}

static void drain(struct flow *flow, struct port *to)
{
	ssize_t n = port_write(to, flow->bytes + flow->start, flow->end - flow->start);
	if (n == -EAGAIN)
		return;
	if (n < 0) {
		flow->broken = true;
		flow->write_error = (int)n;
		return;
	}
	flow->start += (size_t)n;
	flow->moved += (uint64_t)n;
}

void flow_move(struct flow *flow, struct port *from, struct port *to)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (flow_wants_input(flow) && from->can_read)
			fill(flow, from);
		if (!flow_wants_output(flow) || !to->can_write)
			break;
		drain(flow, to);
	}
}
