/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The sandbox process from within, for those who are one: the internal verb (sandbox_verb.c) and
 * the containerd shim. They differ in whom they tell how it goes, and in when there is nothing left
 * to do.
 */

#include "shim/guest.h"
#include "shim/partition_log.h"
#include "shim/server.h"
#include "shim/starter.h"
#include "shim/state.h"

struct sandbox;

struct sandbox_ops {
	/* Once: the partition can take containers. */
	void (*ready)(struct sandbox *sandbox);
	/* Instead of that: it never will. The partition is about to end. */
	void (*failed)(struct sandbox *sandbox, const char *text);
	/* After each sandbox_end(): nothing of the partition is left. */
	void (*ended)(struct sandbox *sandbox);
	/* idle_limit has passed without ever a container. */
	void (*idle)(struct sandbox *sandbox);
	/* As those of struct task_ops; event may be NULL. */
	void (*event)(struct sandbox *sandbox, const struct control_event *event);
	void (*emptied)(struct sandbox *sandbox);
	/* The partition has ended by itself; its containers are there still, as stopped ones. */
	void (*died)(struct sandbox *sandbox);
	/* What a state dump should have of it besides; may be NULL. */
	void (*describe)(struct sandbox *sandbox, struct buf *out);
};

struct sandbox {
	const struct sandbox_options *options;
	const struct sandbox_ops *ops;
	uint64_t idle_limit;            /* milliseconds; 0: none */
	struct state state;
	int directory_fd;
	struct partition_log own_log, agent_log;
	char *directory;
	struct config config;
	struct loop loop;
	struct signals signals;
	struct partition partition;
	struct hv_children children;
	struct source exited, output;
	struct bridge bridge;
	struct guest guest;
	struct task task;
	struct server server;
	struct timer limit;             /* one of the limits of sandbox.c, or idle_limit */
	struct tail said;               /* by the agent, where we read its output */
	bool running;                   /* the agent */
	bool keep;                      /* nobody but its owner ends it because it is empty */
	bool born;                      /* has been ready */
	bool shutting_down;             /* containers are being deleted */
	bool ending;
};

/* Both strings and ops live as long as the sandbox. */
void sandbox_init(struct sandbox *sandbox, const struct sandbox_options *options,
                  const struct sandbox_ops *ops);
/*
 * Makes the loop, starts the partition and opens the control socket. Whether it comes to something,
 * the ops tell from the loop. On failure sandbox_deinit() has still to be called.
 */
int sandbox_start(struct sandbox *sandbox, struct fault *fault);
/* Ends the partition and whatever is in it; its directory goes at once. */
void sandbox_end(struct sandbox *sandbox);
/* The same, but the agent deletes its containers first; the second time it is not waited for. */
void sandbox_shut_down(struct sandbox *sandbox);
void sandbox_deinit(struct sandbox *sandbox);
