/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * hvcat's command line: one table of rows for the parser and for the help. What only one system has
 * comes from a table of that system.
 */

#include "hvsocket/hvsocket.h"

struct options {
	bool listens;           /* -l */
	bool again;             /* -k */
	bool probes;            /* -p */
	bool as_guest;          /* -g */
	bool half_closes;       /* -H: a hybrid socket's host, too */
	bool no_input;          /* -n */
	bool quits;             /* -q */
	bool verbose;           /* -v */
	const char *command;    /* -e */
	unsigned most;          /* -m; 1 where connections cannot be served at the same time */
	unsigned wait;          /* -w, in milliseconds */
	const char *url[2];
	struct hv_endpoint endpoint[2];
	unsigned urls;
	struct hv_children children;    /* -c; rows are ours */
	struct hv_service *services;    /* -s; ours */
};

/* -1: go on; else the exit status, everything has been said. argv has to stay. */
int options_parse(struct options *ret, int argc, char **argv);
void options_free(struct options *options);

struct option_row {
	char letter;
	const char *value;      /* what the help calls it; NULL: a switch */
	const char *help;
	size_t offset;          /* of a switch's bool */
	/* NULL when it was taken, or what is wrong with it. */
	const char *(*take)(struct options *options, const char *value);
};
/* The rows of this system, ended by letter 0, and the URLs that it carries, for the help. */
extern const struct option_row options_of_system[];
extern const char *const options_urls;

/* Decimal, 1 to most. */
bool options_number(const char *text, unsigned long most, unsigned long *ret);
