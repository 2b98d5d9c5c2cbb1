/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where a standard stream goes or comes from, as containerd's clients write it. */

#include "oci/arena.h"
#include "oci/fault.h"

#define STDIO_URI_MAX 16384     /* bytes of a text */
#define STDIO_URI_ARGS_MAX 128  /* of a logging program */
#define STDIO_URI_ARENA (1u << 17)      /* enough for any of them */

enum stdio_uri_kind {
	STDIO_URI_NONE,         /* nowhere */
	STDIO_URI_PATH,         /* what is there: a FIFO, as a rule */
	STDIO_URI_FILE,         /* a file, which is made if it is not there */
	STDIO_URI_LOGGER,       /* a program that is given the outputs */
};

struct stdio_uri {
	enum stdio_uri_kind kind;
	const char *path;       /* absolute */
	const char **args;      /* of a logger, from the path on; ended by NULL */
	bool says_ready;        /* it has failed if it ends without that */
};

/* text may be "". The result is in the arena. -EINVAL: no such thing is served. */
int stdio_uri_parse(struct stdio_uri *ret, const char *text, struct arena *arena,
                    struct fault *fault);
