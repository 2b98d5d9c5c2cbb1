/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A process that serves a VM: QEMU and its helpers. Each is process 1 of a pid namespace, so that
 * its end is the end of all that it has started; it dies with us; it has the rights that its plan
 * gives it and no more; what it says is logged, and its last lines are kept for the moment in which
 * it is asked why it has ended.
 */

#include "hvsocket/loop.h"
#include "oci/fault.h"
#include "shim/tail.h"

struct daemon_plan {
	const char *name;               /* in messages; a constant */
	const char *const *args;        /* args[0]: an absolute path; ended by NULL */
	const int *fds;                 /* that it gets, under their numbers; ended by -1 */
	bool speaks;                    /* its stdout is a stream of its own, not more of stderr */
	const char *directory;          /* where it starts; NULL: "/" */
	uint64_t capabilities;          /* all that it can ever have, as root; 0: it is `user` */
	uint32_t user;                  /* uid and gid */
	bool many_files;                /* has as many open as may be */
	/*
	 * No network, files that it can only read, and of /dev what has no say: for who is `user`.
	 * device NULL, or one more that it may use.
	 */
	const char *device;
};

struct daemon;
struct daemon_ops {
	/* It has ended, or what is left to do is to notice that. Nothing was collected yet. */
	void (*ended)(struct daemon *daemon);
	void (*said)(struct daemon *daemon, const char *text, size_t size);
};

struct daemon {
	const char *name;
	const struct daemon_ops *ops;
	void *owner;                    /* for the callbacks; set after daemon_start() */
	pid_t pid;                      /* 0: not running */
	int pidfd;
	struct source exited, out, error;
	struct tail said;               /* on stderr */
	struct tail console;            /* on stdout, where it speaks */
};
#define DAEMON_NULL \
	{ .pidfd = -1, .exited = SOURCE_NULL, .out = SOURCE_NULL, .error = SOURCE_NULL }

int daemon_start(struct daemon *daemon, const struct daemon_plan *plan, struct loop *loop,
                 const struct daemon_ops *ops, struct fault *fault);
bool daemon_has_ended(const struct daemon *daemon);
/* Ends it; it is collected later. */
void daemon_kill(struct daemon *daemon);
/*
 * Waits for it (a moment, where it was killed) and says how it ended: "virtiofsd was killed by
 * signal 9", "virtiofsd ended with status 1: <its last line>". No callbacks any more.
 */
void daemon_collect(struct daemon *daemon, char *text, size_t size);
/* Kills it if it runs and releases everything. */
void daemon_deinit(struct daemon *daemon);
