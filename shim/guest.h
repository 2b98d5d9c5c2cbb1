/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What an agent that has booted a VM is told by its host, besides containers: to mount the share,
 * to send its log, and what time it is.
 */

#include "oci/stream.h"
#include "shim/bridge.h"
#include "shim/partition.h"

#define GUEST_LINE_MAX 1024

struct guest;
struct guest_ops {
	/* The guest can take containers; or it cannot, and the fault says why. */
	void (*ready)(struct guest *guest, const struct fault *fault);
	/* A line of its log, with a newline. */
	void (*said)(struct guest *guest, const char *line, size_t size);
};

struct guest {
	const struct guest_ops *ops;
	struct bridge *bridge;
	const struct partition *partition;
	struct bridge_call sharing, logging, setting;
	struct inlet log;
	struct source clock;            /* a timerfd that tells when ours is set */
	bool shared;                    /* as long as the agent lives */
	bool again;                     /* the clock was set while we were telling the time */
	uint64_t logged;                /* microseconds: up to here its log was seen */
	bool seen;                      /* what comes now is a repetition */
	size_t length;
	char line[GUEST_LINE_MAX];
};
#define GUEST_NULL { .log = INLET_NULL, .clock = SOURCE_NULL }

int guest_init(struct guest *guest, struct bridge *bridge, const struct partition *partition,
               const struct guest_ops *ops, struct fault *fault);
/* After each negotiation; ready follows. */
void guest_connected(struct guest *guest);
/* Its clock may be wrong: it was paused, or ours was set. */
void guest_set_clock(struct guest *guest);
/* Before bridge_deinit(). */
void guest_deinit(struct guest *guest);
