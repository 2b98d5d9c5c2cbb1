/* SPDX-License-Identifier: Apache-2.0 */

/* Verbs that are about no container, and two that there are not. */

#include "shim/hv/hv.h"
#include "shim/verbs.h"

static int refuse(const char *verb, struct fault *fault)
{
	return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED,
	                 "%s is not supported: processes in a partition cannot be saved and "
	                 "restored", verb);
}

static int verb_checkpoint(struct cli *cli, void *options, int argc, char **argv,
                           struct fault *fault)
{
	(void)cli;
	(void)options;
	(void)argc;
	(void)argv;
	return refuse("checkpoint", fault);
}

static int verb_restore(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)cli;
	(void)options;
	(void)argc;
	(void)argv;
	return refuse("restore", fault);
}

static int verb_hv(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)cli;
	(void)options;
	return hv_run(argc, argv, stdout, fault);
}

/* Taken so that the refusal is about the verb and not about a word of it. */
static const struct option_row criu_rows[] = {
	{ "image-path", 0, OPTION_IGNORED_ARGUMENT }, { "work-path", 0, OPTION_IGNORED_ARGUMENT },
	{ "parent-path", 0, OPTION_IGNORED_ARGUMENT },
	{ "page-server", 0, OPTION_IGNORED_ARGUMENT },
	{ "status-fd", 0, OPTION_IGNORED_ARGUMENT }, { "empty-ns", 0, OPTION_IGNORED_ARGUMENT },
	{ "manage-cgroups-mode", 0, OPTION_IGNORED_ARGUMENT },
	{ "lsm-profile", 0, OPTION_IGNORED_ARGUMENT },
	{ "lsm-mount-context", 0, OPTION_IGNORED_ARGUMENT },
	{ "console-socket", 0, OPTION_IGNORED_ARGUMENT },
	{ "bundle", 'b', OPTION_IGNORED_ARGUMENT }, { "pid-file", 0, OPTION_IGNORED_ARGUMENT },
	{ "leave-running", 0, OPTION_IGNORED }, { "tcp-established", 0, OPTION_IGNORED },
	{ "tcp-skip-in-flight", 0, OPTION_IGNORED }, { "link-remap", 0, OPTION_IGNORED },
	{ "ext-unix-sk", 0, OPTION_IGNORED }, { "shell-job", 0, OPTION_IGNORED },
	{ "lazy-pages", 0, OPTION_IGNORED }, { "file-locks", 0, OPTION_IGNORED },
	{ "pre-dump", 0, OPTION_IGNORED }, { "auto-dedup", 0, OPTION_IGNORED },
	{ "detach", 'd', OPTION_IGNORED }, { "no-pivot", 0, OPTION_IGNORED },
	{ "no-subreaper", 0, OPTION_IGNORED },
	{ NULL },
};

static const struct option_row spec_rows[] = {
	{ "bundle", 'b', OPTION_STRING, offsetof(struct spec_options, bundle), "DIR",
	  "where to write it (default: this directory)" },
	{ "rootless", 0, OPTION_FLAG, offsetof(struct spec_options, rootless), NULL,
	  "for a user who is not root: with a user namespace" },
	{ NULL },
};

const struct verb verbs_info[] = {
	{
		.name = "spec",
		.operands = "",
		.summary = "write a config.json to start from",
		.text = "It runs sh on a terminal, in a read-only root file system below rootfs.\n"
		        "A file that exists is not overwritten.",
		.options = spec_rows,
		.options_size = sizeof(struct spec_options),
		.run = verb_spec,
		.stateless = true,
	},
	{
		.name = "features",
		.operands = "",
		.summary = "print what this runtime can do as JSON",
		.run = verb_features,
		.stateless = true,
	},
	{
		.name = "hv",
		.operands = HV_OPERANDS,
		.summary = HV_SUMMARY,
		.text = HV_TEXT,
		.most = -1,
		.run = verb_hv,
		.stateless = true,
	},
	{
		.name = "checkpoint",
		.operands = "ID",
		.summary = "not supported",
		.options = criu_rows,
		.most = -1,
		.run = verb_checkpoint,
		.stateless = true,
	},
	{
		.name = "restore",
		.operands = "ID",
		.summary = "not supported",
		.options = criu_rows,
		.most = -1,
		.run = verb_restore,
		.stateless = true,
	},
	{ NULL },
};
