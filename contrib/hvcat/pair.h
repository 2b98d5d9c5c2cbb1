/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Two ends connected with each other, in both directions, until both directions are over. The end
 * of one direction is passed on as a half-close where the end that it flows to has one.
 */

#include "contrib/hvcat/flow.h"

#include "hvsocket/hvsocket.h"

struct end {
	struct port ports[2];           /* a socket has one for both directions */
	struct port *reader, *writer;
	const char *name;               /* for messages; borrowed */
	enum hv_scheme scheme;
	bool is_standard;               /* standard input and output */
	bool half_closes;
};

struct pair;
/* Is called once, at the end: 0, or the error that it was lost by, which has been said. */
typedef int pair_fn(struct pair *pair, int result);

struct pair {
	struct end ends[2];
	struct flow flows[2];           /* [i]: from ends[i] to the other */
	bool told[2];                   /* the end of flow i has been passed on */
	bool hasty;                     /* over as soon as flow 0 is */
	bool open_ended;                /* over as soon as flow 1 is: flow 0 may never be */
	int result;
	struct loop *loop;
	pair_fn *fn;
	void *owner;
};

/* Memory of a pair; the ends are set afterwards, then it is started. NULL: there is none. */
struct pair *pair_new(struct loop *loop, pair_fn *fn, void *owner);
/* Closes what the ends own. NULL is allowed. */
void pair_free(struct pair *pair);

/* The socket is the pair's from now on, also in case of an error. */
int pair_set_socket(struct pair *pair, unsigned end, int fd, const char *name,
                    enum hv_scheme scheme, bool half_closes);
/* End 0 is standard input, if that is read, and output, which others need after us if so wished. */
int pair_set_standard(struct pair *pair, bool no_input, bool keep);
/* fn may be called before this returns; then the pair is not there any more. */
int pair_start(struct pair *pair);
