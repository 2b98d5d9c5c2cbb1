/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One process that the host knows: a container's init, an exec in a container, or a process of
 * the VM itself. It is known by its pid in the agent's pid namespace.
 */

#include "agent/child.h"
#include "agent/stdio.h"

#include <time.h>

struct container;

struct waiter {
	struct request request;
	struct process *process;
	struct timer timeout;
	struct waiter *next;
};

struct process {
	struct agent *agent;
	struct container *container;    /* NULL: of the VM */
	bool init;
	struct child child;
	struct source report;
	struct stdio stdio;
	struct request starting;        /* ExecuteProcess, to be answered when the program runs */
	struct arena arena;             /* of the process's description until it is spawned */
	const struct oci_process *description;

	bool ready;                     /* an init that waits for its start */
	bool started;                   /* an init that was told to go on */
	bool running;                   /* execve succeeded, or the child is gone without a word */
	bool failed;                    /* it never ran; nobody needs to be told of its exit */
	bool reaped;
	bool told;                      /* a wait has delivered the exit */
	bool released;                  /* see process_release() */
	uint32_t exit_code;
	bool killed;                    /* by a signal */
	struct timespec exited_at;
	struct stream_offsets offsets;
	struct waiter *waiters;
	struct process *next;           /* of the agent */
};

/* A new process without a child yet. container NULL: of the VM. Owned by the agent's list. */
int process_new(struct agent *agent, struct container *container, bool terminal,
                struct process **ret);
void process_free(struct process *process);
/* No harm when it has none, or when it is dead. */
void process_kill(struct process *process);
/* Clones it. What fails here leaves no child, or one that was killed and will be reaped. */
int process_spawn(struct process *process, const struct child_plan *plan, struct fault *fault);

/* The newest process with this pid, NULL when unknown. container NULL: of the VM. */
struct process *process_find(struct agent *agent, const struct container *container, uint32_t pid);
/* By the reaper, before the pid is released. status as of waitid(2): code and status. */
void process_exited(struct process *process, int code, int status);

/* Answers when the exit may be told, at once if so. timeout in ms, WAIT_FOREVER = none. */
int process_wait(struct process *process, struct request *request, uint32_t timeout);
/* Those who wait are not there any more. */
void process_forget_waiters(struct process *process);
int process_signal(struct process *process, int signal, enum signal_scope scope,
                   struct fault *fault);
/*
 * Connects the standard streams as the host asked for; connected() follows, from here or from the
 * loop, and spawns or starts the process, or answers with process_fail().
 */
void process_connect(struct process *process, const struct execute_settings *settings,
                     void (*connected)(struct process *process, int error));
/* The exit may be told. */
bool process_exit_tellable(const struct process *process);
/* Its container goes: it is nobody's from now on, and freed when its output has ended. */
void process_release(struct process *process);
/* Told by stdio when an output or a relay has finished. May free the process. */
void process_stdio_finished(struct process *process);
/* Fails what is still to be answered, and forgets the process when nothing needs it any more. */
void process_fail(struct process *process, const struct fault *fault);
const char *process_container_id(const struct process *process);
