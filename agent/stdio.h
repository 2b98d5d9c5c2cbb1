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

/* One of the three. */
struct stdio_end {
	struct stdio *stdio;
	int ours;                       /* our end of the pipe; with a terminal a descriptor of the
	                                   pty master of its own, none for STDIO_ERR */
	int theirs;                     /* the process's end, until it was spawned */
	uint64_t stream;                /* session mode: its id, 0 = not wanted */
	bool open;                      /* the stream is attached and has not ended */
	uint64_t ended_at;              /* bytes of an output stream that has ended */
	struct outlet outlet;
	struct source drain;            /* the host is gone: output goes nowhere */
	int connection;                 /* plain mode: the connection, until its relay has it */
	struct relay relay;
};

struct stdio {
	struct process *process;
	bool terminal;
	struct stdio_end end[STDIO_COUNT];
	struct inlet in;
	uint32_t window;                /* the host's first grant for each output */
	uint32_t generation;            /* of the bridge when the streams were named */
	struct timer settle;            /* a terminal held open after its leader's exit */
	uint64_t settle_sent, settle_delay;     /* at its last setting; milliseconds */
	struct dialling *dialling;      /* plain mode: connections being made, 12 KiB */
	void (*connected)(struct process *process, int error);
};

/* Makes the pipes; with a terminal nothing, until stdio_terminal() brings the master. */
int stdio_init(struct stdio *stdio, struct process *process, bool terminal);
void stdio_deinit(struct stdio *stdio);
/* After the clone: closes the process's ends. */
void stdio_spawned(struct stdio *stdio);
/* Takes the pty master. */
int stdio_terminal(struct stdio *stdio, int master_fd);

/* Names the streams that the host wants (id 0 = none); bytes flow from stdio_start() on. */
void stdio_attach_streams(struct stdio *stdio, const struct stdio_streams *streams);
/* Plain mode: dials the ports that the flags ask for, in order; then connected() from the loop. */
int stdio_attach_ports(struct stdio *stdio, const struct process_parameters *wanted,
                       const struct stdio_ports *ports,
                       void (*connected)(struct process *process, int error));
/* The connections are of no use after all; another attempt may follow. */
void stdio_detach_ports(struct stdio *stdio);
/* Before the spawn: streams that nobody asked for, by id or, without streams, by flag, are
 * /dev/null, not pipes. */
void stdio_leave_out(struct stdio *stdio, const struct process_parameters *wanted,
                     const struct stdio_streams *streams);
/* The program runs: lets bytes flow. Input that nobody asked for ends, output goes nowhere. */
int stdio_start(struct stdio *stdio);
/*
 * The process was reaped: nothing is read for it any more. Fills the offsets that the host must
 * have delivered before it tells of the exit (absent on a terminal).
 */
void stdio_exited(struct stdio *stdio, struct stream_offsets *ret);
/* No relay of plain mode flows any more: only then may the exit be answered. */
bool stdio_relayed(const struct stdio *stdio);
/* Nothing flows any more at all. */
bool stdio_idle(const struct stdio *stdio);
int stdio_resize(struct stdio *stdio, uint16_t height, uint16_t width);
