/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The kernel's log, and with it the agent's own, as a stream of lines to the host: from the
 * beginning of the ring, then live. The host decides how fast it goes.
 */

#include "oci/stream.h"

/* A line fits one write to a pipe, which is then all or nothing. */
#define KMSG_LINE 4096
/* More than the kernel makes of the longest record. */
#define KMSG_RECORD 9216

/* One record as /dev/kmsg gives it: "6,339,5140900,-;text\n KEY=value\n…". */
struct kmsg_record {
	unsigned priority;
	uint64_t sequence, microseconds;
	const char *text;       /* not terminated */
	size_t length;
};
/* -EINVAL when it is no record. The text stays where it is. */
int kmsg_parse(const char *record, size_t size, struct kmsg_record *ret);
/* "[   12.345678] text\n", cut to fit into room bytes (64 at least), no NUL; its length. */
size_t kmsg_format(const struct kmsg_record *record, char *line, size_t room);

struct kmsg {
	struct source from, to;
	struct outlet outlet;
	int kernel_fd, pipe[2];
	uint64_t expected;      /* sequence number of the next record */
	char line[KMSG_LINE];
	size_t held;            /* of the line, for the pipe */
};
#define KMSG_NULL { .from = SOURCE_NULL, .to = SOURCE_NULL, .outlet = OUTLET_NULL, \
	.kernel_fd = -1, .pipe = { -1, -1 } }

#define KMSG_PATH "/dev/kmsg"

/* limit: the host's first grant. -EBUSY: there is such a stream already. */
int kmsg_start(struct kmsg *kmsg, const char *path, struct loop *loop, struct channel *channel,
               uint64_t id, uint64_t limit);
void kmsg_deinit(struct kmsg *kmsg);
