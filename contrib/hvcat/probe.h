/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The probe: what the transport between two hvcats can do, found out by trying. Each experiment has
 * a connection of its own, whose first byte says which one it is. All of them are bounded in time:
 * a transport that hangs cannot do what was tried.
 */

#include "contrib/hvcat/options.h"

/* Dials, prints "name: value" for each flag, with -v what was seen behind it; the exit status. */
int probe_dial(const struct options *options, const struct hv_machine *machine);
/*
 * The other side: serves one connection, which stays the caller's, to be closed at once. True when
 * it was the last of a probe.
 */
bool probe_serve(int fd, const struct hv_peer *peer);

/* What both sides have to agree on. */

/* Answers are lines. */
#define PROBE_GREETING "hvcat probe 1"
#define PROBE_TRANSFER (1u << 20)       /* bytes written and closed at once */
#define PROBE_UNREAD 4096
#define PROBE_ANSWER 'x'                /* of who has seen an end */
#define PROBE_REPORT 64

enum probe_experiment {
	PROBE_GREET = 'g',
	PROBE_IDENTIFY = 'i',
	PROBE_PEEK = 'p',
	PROBE_CLOSE_UNREAD = 'c',
	PROBE_HALF_CLOSE_BY_DIALLER = 'd',
	PROBE_HALF_CLOSE_BY_LISTENER = 'l',
	PROBE_UPLOAD = 'u',
	PROBE_DOWNLOAD = 'w',
	PROBE_ASK = 'r',                /* for the report of the experiment with the same token */
	PROBE_BYE = 'b',
};

struct probe_request {
	uint8_t experiment;
	uint8_t token[4];
};
_Static_assert(sizeof(struct probe_request) == 5, "a request has 5 bytes");

extern const char *const probe_half_close_words[]; /* by these numbers */
enum { PROBE_STAYS_OPEN, PROBE_NOT_PASSED_ON, PROBE_ENDS_BOTH };

/* Writes PROBE_TRANSFER bytes; bounded for each piece. */
int probe_send(int fd, int milliseconds);
/* Counts the bytes until the end. */
size_t probe_count(int fd, int milliseconds);
