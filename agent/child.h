/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A process of a container, from clone3() to execve(). child_spawn() runs in the agent and returns
 * at once; all that can block (mounts, hooks, name lookup, exec) happens in the child, which
 * reports over a socket:
 * - ROOT, of an init without a mount namespace of its own: its root, an O_PATH; before that JOINED:
 *   the mount namespace in which that will now be mounted, to be unmounted by whoever gets this;
 * - READY: an init that now waits for its start;
 * - TERMINAL: a pty master comes along;
 * - FAILED: a fault;
 * - end of file: execve succeeded (or the child was killed: reaping tells).
 */

#include "oci/fault.h"
#include "oci/spec.h"

#include <sys/types.h>

struct cgroup;
struct seccomp_program;

/*
 * Once, at the start of the agent: makes it non-dumpable, so that no container can look into a
 * child that is about to join it, sets every signal to its default (SIGPIPE to ignored), and opens
 * what child_spawn() needs to come back from other namespaces.
 */
int child_init(struct fault *fault);

struct child_plan {
	const char *id;                 /* container id; NULL for a VM process */
	const char *bundle;             /* directory that relative paths of the spec start from */
	const struct oci_spec *spec;    /* the container's; NULL = VM: the agent's own namespaces */
	const struct oci_process *process;
	const struct seccomp_program *seccomp; /* the container's, compiled; NULL = none */
	bool hold;                      /* HELD before its hooks, until child_start() */
	bool exec;                      /* joins the container of init_pidfd; else it is the init */
	int init_pidfd;
	int root_fd;                    /* of an exec: its root, where that is not the one of the
	                                 * init's mount namespace; else -1 */
	struct cgroup *cgroup;          /* the process is born in it; NULL = the agent's */
	int stdio[3];                   /* borrowed; become 0, 1, 2; -1 = /dev/null; see terminal */
};

struct child {
	pid_t pid;                      /* in the agent's pid namespace */
	int pidfd;
	int report_fd;                  /* EPOLLIN: call child_report_read() */
};
#define CHILD_NULL { .pidfd = -1, .report_fd = -1 }

/*
 * Clones the child into its namespaces and cgroup, writes its id maps and lets it go. What fails
 * here is a negative errno with a fault and leaves nothing, no process either. The plan may go
 * afterwards.
 */
int child_spawn(const struct child_plan *plan, struct child *ret, struct fault *fault);
/* Lets an init that is READY run its program; report_fd tells the outcome. -EPIPE: it is gone. */
int child_start(struct child *child);
void child_deinit(struct child *child); /* closes the fds; does not signal or reap */

enum child_report_kind {
	CHILD_JOINED, CHILD_ROOT, CHILD_HELD, CHILD_READY, CHILD_TERMINAL, CHILD_FAILED,
};
struct child_report {
	enum child_report_kind kind;
	int error;              /* FAILED: negative errno */
	struct fault fault;     /* FAILED */
	int fd;                 /* JOINED, ROOT; TERMINAL: the pty master, non-blocking. Owned by
	                         * the caller */
};
/* 1: *ret is a report; 0: end of file (the program runs, or the child died); -EAGAIN: none yet. */
int child_report_read(int report_fd, struct child_report *ret);
