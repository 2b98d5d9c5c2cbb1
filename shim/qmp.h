/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A client of QEMU's monitor (QMP): one JSON object in a line, answers matched by id, events as
 * they come. What is behind it serves a hostile guest, so everything is bounded, and what makes no
 * sense ends the connection.
 */

#include "hvsocket/loop.h"
#include "oci/json.h"

struct qmp;
struct qmp_call;

/* value: what "return" held, gone after the call; NULL: it failed, and the fault says why. */
typedef void qmp_answer_fn(struct qmp_call *call, const struct json *value,
                           const struct fault *fault);

/* A command under way, embedded in whoever wants to know. */
struct qmp_call {
	uint64_t id;
	const char *command;            /* borrowed */
	qmp_answer_fn *answer;          /* NULL: not under way */
	struct qmp_call *next;
};

struct qmp_ops {
	/* It has taken its first command: the machine is made. May be NULL. */
	void (*made)(struct qmp *qmp);
	/* data may be NULL. */
	void (*event)(struct qmp *qmp, const char *name, const struct json *data);
	/* Nothing comes any more; commands have failed. */
	void (*lost)(struct qmp *qmp);
};

struct qmp {
	const struct qmp_ops *ops;
	struct source source;           /* its fd is ours */
	struct buf in;
	struct qmp_call *calls;
	struct qmp_call greeting;
	uint64_t next_id;
	bool greeted;                   /* by QEMU */
};
#define QMP_NULL { .source = SOURCE_NULL }

/* Takes the fd, also on failure. Commands can be sent at once: QEMU reads them when it is up. */
int qmp_init(struct qmp *qmp, struct loop *loop, int fd, const struct qmp_ops *ops);
/* Takes what has come, until there is nothing more or the end. */
void qmp_drain(struct qmp *qmp);
/* Commands under way fail. */
void qmp_deinit(struct qmp *qmp);

/*
 * Sends {"execute": command, "arguments": {…}}; arguments is JSON text, or NULL. fd -1, or one that
 * goes along (borrowed). On failure there is a fault, and no answer will come.
 */
int qmp_send(struct qmp *qmp, struct qmp_call *call, const char *command, const char *arguments,
             int fd, qmp_answer_fn *answer, struct fault *fault);
/* The text of a member, or "" where there is none. */
const char *qmp_text(const struct json *object, const char *name);
