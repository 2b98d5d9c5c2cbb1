/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The command line: a table of verbs, each with a table of options. Options are parsed into one
 * struct of the verb's own; parsing stops at the first operand, so that `exec ID CMD -x` belongs
 * to CMD.
 */

#include "oci/fault.h"
#include "oci/log.h"
#include "shim/state.h"

/* Global options, and what every verb works with. */
struct cli {
	const char *root, *log, *log_format, *log_level, *partition, *config;
	bool debug, systemd_cgroup, version;
	struct state state;             /* open */
};

enum option_kind {
	OPTION_FLAG,            /* bool */
	OPTION_STRING,          /* const char * */
	OPTION_LIST,            /* struct str_list, repeatable */
	OPTION_NUMBER,          /* struct opt_i64, with K, M, G, T suffixes */
	OPTION_IGNORED,         /* known to other runtimes, means nothing here; takes no argument */
	OPTION_IGNORED_ARGUMENT,
};
struct option_row {
	const char *name;
	char letter;            /* 0 = none */
	enum option_kind kind;
	size_t offset;
	const char *argument;   /* for the help text; NULL for flags */
	const char *help;       /* NULL: not shown */
};

struct verb {
	const char *name;
	const char *operands;   /* "ID [CMD…]", for the usage line */
	const char *summary;    /* one line */
	const char *text;       /* more of the help; may be NULL */
	const struct option_row *options;       /* ended by a NULL name; may be NULL */
	size_t options_size;    /* of the struct that they are parsed into, zeroed before */
	int least, most;        /* operands; most < 0 = any number */
	/* Returns the exit status, or a negative errno with the fault set. */
	int (*run)(struct cli *cli, void *options, int argc, char **argv, struct fault *fault);
	int failure;            /* exit status of a failure; 0 = 1 */
	bool stateless;         /* needs no --root */
};

/* One group of verbs per file. */
extern const struct verb verbs_lifecycle[], verbs_delete[], verbs_exec[], verbs_control[],
	verbs_list[], verbs_logs[], verbs_info[];

/* The whole program: global options, verb, its options. Returns the exit status. */
int cli_main(int argc, char **argv);
/* Parses options into *into; the operands are left in argv[*ret_first…]. verb NULL: global ones. */
int cli_parse(const char *verb, const struct option_row *rows, void *into, int argc, char **argv,
              int *ret_first, struct fault *fault);
