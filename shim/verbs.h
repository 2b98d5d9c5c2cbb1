/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Verbs that have a file of their own; their rows are in verbs_list.c and verbs_info.c. */

#include "oci/buf.h"
#include "shim/cli.h"

struct format_options {
	const char *format;
	bool quiet;
};
#define FORMAT_ROW \
	{ "format", 'f', OPTION_STRING, offsetof(struct format_options, format), "FORMAT", \
	  "table (default) or json" }

struct stats_options {
	const char *format;
	bool vm;
};

struct events_options {
	const char *interval;
	bool stats;
};

int verb_ps(struct cli *cli, void *options, int argc, char **argv, struct fault *fault);
int verb_stats(struct cli *cli, void *options, int argc, char **argv, struct fault *fault);
int verb_events(struct cli *cli, void *options, int argc, char **argv, struct fault *fault);
int verb_features(struct cli *cli, void *options, int argc, char **argv, struct fault *fault);

struct spec_options {
	const char *bundle;
	bool rootless;
};
int verb_spec(struct cli *cli, void *options, int argc, char **argv, struct fault *fault);
