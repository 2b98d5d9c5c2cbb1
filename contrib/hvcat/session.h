/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What becomes of a connection to the first URL once it is there: standard input and output, a
 * command, or a connection to the second URL.
 */

#include "contrib/hvcat/dial.h"
#include "contrib/hvcat/exec.h"
#include "contrib/hvcat/options.h"
#include "contrib/hvcat/pair.h"

struct session;
/*
 * Is called once: 0, the status of the command, or -errno of a connection that was lost or could
 * not be made, which has been said. Frees the session.
 */
typedef int session_fn(struct session *session, int result);

struct session {
	const struct options *options;          /* borrowed, as the next two */
	const struct hv_machine *machine;
	struct loop *loop;
	session_fn *fn;
	struct hv_peer peer;
	int fd;                                 /* until there is something to connect it with */
	struct pair *pair;
	struct command command;
	struct dial dial;
	struct session *next;                   /* its owner's */
};

struct session *session_new(const struct options *options, const struct hv_machine *machine,
                            struct loop *loop, session_fn *fn);
void session_free(struct session *session);
/* The socket is the session's from now on. fn may be called before this returns. */
int session_start(struct session *session, int fd, const struct hv_peer *peer);
/* Standard output is gone: there is no use in another one. */
bool session_is_fatal(const struct session *session);
