/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Standard input, output and error of one process: pipes (or a pty) on the container's side; on the
 * host's side streams of the session, or in plain mode a connection each ("ports").
 *
 * Containers get pipes, never the sockets themselves: reopening /dev/stdout fails on a socket.
 */

#include "agent/bridge.h"
#include "agent/relay.h"
#include "oci/stream.h"

struct process;

enum { STDIO_IN, STDIO_OUT, STDIO_ERR, STDIO_COUNT };

struct stdio {
	struct process *process;
	bool terminal;
	int ours[STDIO_COUNT];          /* our ends of the pipes, or the pty master (in and out) */
	int theirs[STDIO_COUNT];        /* the process's ends, until it was spawned */

	bool streams;                   /* attached to the session */
	struct inlet in;
	struct outlet out[STDIO_COUNT]; /* OUT and ERR */
	bool in_open, out_open[STDIO_COUNT];
	uint64_t stream_id[STDIO_COUNT];
	struct timer settle;            /* a terminal that somebody holds open after its leader's exit */

	struct dialer dialer;           /* plain mode: connections being made */
	struct relay relay[STDIO_COUNT];
};

/* Makes the pipes; with a terminal nothing, until stdio_terminal() brings the master. */
int stdio_init(struct stdio *stdio, struct process *process, bool terminal);
void stdio_deinit(struct stdio *stdio);
/* After the clone: closes the process's ends. */
void stdio_spawned(struct stdio *stdio);
/* Takes the pty master. */
int stdio_terminal(struct stdio *stdio, int master_fd);

/* Names the streams that the host wants (id 0 = none); bytes flow from stdio_start() on. */
int stdio_attach_streams(struct stdio *stdio, const struct stdio_streams *streams);
/*
 * Plain mode: dials the ports that the flags ask for, in order. connected() is called from the loop, or
 * before the return when there is nothing to dial; a dial that fails: error < 0.
 */
int stdio_attach_ports(struct stdio *stdio, const struct process_parameters *wanted,
                       const struct stdio_ports *ports,
                       void (*connected)(struct process *process, int error));
/* The program runs: lets bytes flow and closes what nobody asked for. */
int stdio_start(struct stdio *stdio);
/*
 * The process was reaped: nothing is read for it any more. Fills the offsets that the host must have
 * delivered before it tells of the exit (absent on a terminal).
 */
void stdio_exited(struct stdio *stdio, struct stream_offsets *ret);
/* Nothing flows any more: in plain mode the exit is answered only then. */
bool stdio_finished(const struct stdio *stdio);
int stdio_resize(struct stdio *stdio, uint16_t height, uint16_t width);
