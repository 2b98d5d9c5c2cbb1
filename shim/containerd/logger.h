/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A logging program: it reads what a container says from descriptors 3 and 4, and tells by
 * descriptor 5 when it is ready to. It is not ours: it outlives us, to write down the last words.
 */

#include "hvsocket/loop.h"
#include "oci/fault.h"
#include "shim/tail.h"

#define LOGGER_END 10000        /* milliseconds that it has for the rest, before SIGTERM */
#define LOGGER_TERM 12000       /* and from then on, before SIGKILL */

struct logger_plan {
	const char *const *args;        /* args[0]: an absolute path; ended by NULL */
	bool says_ready;                /* it is not ready if it closes descriptor 5 silently */
	const char *id, *namespace;     /* of the container: its whole environment */
};

struct logger;
struct logger_ops {
	/* Once, unless logger_stop() came first. It may be freed here if it has ended. */
	void (*ready)(struct logger *logger, const struct fault *fault);
	/* It has ended, and may be freed. Not called when that is the reason of ready()'s fault. */
	void (*ended)(struct logger *logger);
};

struct logger {
	const struct logger_ops *ops;
	void *owner;                    /* for the callbacks; set after logger_start() */
	char *path, *id;
	pid_t pid;                      /* 0: it has ended */
	int pidfd;
	struct source exited, said, waiting;
	int failed_fd;                  /* why it could not be executed */
	bool says_ready, settled, stopping, terminated;
	struct timer patience;
	uint64_t end, term;             /* LOGGER_END, LOGGER_TERM */
	struct tail tail;               /* on stderr */
};

/* ret_fds: where stdout and stderr are written. -errno: the fault is set, *ret is NULL. */
int logger_start(struct logger **ret, struct loop *loop, const struct logger_plan *plan,
                 const struct logger_ops *ops, int ret_fds[static 2], struct fault *fault);
/*
 * Both outputs are closed. It ends by itself, or it is ended; if it was not ready yet, at once.
 * ended() tells.
 */
void logger_stop(struct logger *logger);
/* Leaves it to itself, with a SIGTERM, if it has not ended. */
void logger_free(struct logger *logger);
