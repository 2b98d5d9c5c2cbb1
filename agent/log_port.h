/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The agent's log on a port of the host, as Microsoft's host takes it: a JSON object in each line,
 * from the connection on. What was logged before, and what is while there is no connection, goes
 * where the log went before.
 */

#include "agent/relay.h"
#include "oci/log.h"

struct log_port {
	struct log_port **owner;
	struct loop *loop;
	const struct hv_machine *machine;
	struct hv_endpoint endpoint;
	bool redial;            /* when it cannot be reached, or is lost */
	struct log_place here;  /* our end for the log to write to, and the lines' format */
	struct log_place before;        /* where the log went */
	struct dialer dialer;
	struct timer pause;
	struct source lines;    /* the other end */
	struct source host;     /* the connection; wants to write while a line is held */
	int fd;                 /* the connection; -1 = none, and the log is not here */
	unsigned attempts;      /* that have failed since there was one */
	size_t held, sent;      /* of the line */
	char line[LOG_LINE];
};

/*
 * Dials the port. *owner is NULL again when it has failed, or the connection was lost, unless it is
 * to be redialled: every 100 ms, for ever.
 */
int log_port_start(struct log_port **owner, struct loop *loop, const struct hv_machine *machine,
                   const struct hv_endpoint *endpoint, enum log_format format, bool redial);
/* Sends what can be sent at once; the log goes on where it went before. NULL is nothing. */
void log_port_free(struct log_port *port);
