/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Randomness of the host for a VM that has none yet, as Microsoft's host gives it: it listens on a
 * port, writes some to whoever dials, and closes.
 */

#include "agent/relay.h"

/* More is not taken; Microsoft's host gives 512 bytes. */
#define ENTROPY_PORT_MAX 4096

struct entropy_port {
	struct entropy_port **owner;
	struct dialer dialer;
	struct source source;
	struct timer deadline;
	int fd;
	uint8_t bytes[ENTROPY_PORT_MAX];
	size_t count;
};

/*
 * Dials the port. *owner is what is being read, and NULL again when all has been given to the
 * kernel, or has failed: the log has it then, and nobody need care.
 */
int entropy_port_start(struct entropy_port **owner, struct loop *loop,
                       const struct hv_machine *machine, const struct hv_endpoint *endpoint);
/* Gives it up. NULL is nothing. */
void entropy_port_free(struct entropy_port *port);
