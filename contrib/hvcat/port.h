/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One end of a flow of bytes: a descriptor that is read from, written to, or both, without ever
 * waiting and without a change to what is shared with others: neither a socket nor the shell's
 * descriptors become non-blocking.
 */

#include "hvsocket/loop.h"

enum port_kind {
	PORT_NONE,      /* nothing is there: never ready */
	PORT_SOCKET,    /* MSG_DONTWAIT */
	PORT_OPENED,    /* a pipe or terminal that we have opened anew, non-blocking */
	PORT_FILE,      /* always ready */
	PORT_SHARED,    /* others' and blocking: one small piece each time it is ready */
};

struct port {
	struct source source;
	enum port_kind kind;
	bool owned;             /* the descriptor is ours to close */
	bool can_read, can_write; /* worth trying: since the last event nothing has said no */
	bool hung_up;           /* nobody is there any more to take what is written */
	void *owner;
};
#define PORT_NULL { .source = SOURCE_NULL }

/* A connected socket, which the port owns from now on. */
int port_init_socket(struct port *port, struct loop *loop, int fd, source_fn *fn);
/* Standard input or output, whatever it is. */
int port_init_standard(struct port *port, struct loop *loop, int fd, source_fn *fn);
void port_deinit(struct port *port);

/* Takes what an event says. */
void port_note(struct port *port, uint32_t got);
/* As read(2) and write(2), but -errno; -EAGAIN: wait for the next event. */
ssize_t port_read(struct port *port, void *bytes, size_t size);
ssize_t port_write(struct port *port, const void *bytes, size_t size);
/* Waits for what is wanted, and for hang-ups while the port is watched. */
int port_want(struct port *port, bool read, bool write, bool watch);
