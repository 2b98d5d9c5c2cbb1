/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Callers of OCI runtimes look at three things: the exit status, one line on stderr, and the last
 * line of --log. So every failure travels up to cli_main() as a fault and is told there, once, to
 * both.
 */

#include "shim/cli.h"

#include "oci/spec.h"
#include "shim/sandbox.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define OPTIONS_MAX 64

static const struct verb *const groups[] = {
	verbs_lifecycle, verbs_delete, verbs_exec, verbs_control, verbs_list, verbs_logs,
	verbs_info,
};

static const struct option_row global_options[] = {
	{ "root", 0, OPTION_STRING, offsetof(struct cli, root), "DIR",
	  "state directory (default /run/hvrun, or $XDG_RUNTIME_DIR/hvrun)" },
	{ "partition", 0, OPTION_STRING, offsetof(struct cli, partition), "DRIVER",
	  "where new containers run: local, qemu, attach=ENDPOINT" },
	{ "config", 0, OPTION_STRING, offsetof(struct cli, config), "FILE",
	  "instead of /etc/hvrun/config.json (or $HVRUN_CONFIG)" },
	{ "log", 0, OPTION_STRING, offsetof(struct cli, log), "FILE", "also log errors to FILE" },
	{ "log-format", 0, OPTION_STRING, offsetof(struct cli, log_format), "FORMAT",
	  "format of that log: text (default) or json" },
	{ "log-level", 0, OPTION_STRING, offsetof(struct cli, log_level), "LEVEL",
	  "error, warning, info (default) or debug" },
	{ "debug", 0, OPTION_FLAG, offsetof(struct cli, debug), NULL, "log everything" },
	{ "systemd-cgroup", 0, OPTION_FLAG, offsetof(struct cli, systemd_cgroup), NULL,
	  "accepted; slice:prefix:name paths are recognised by their form" },
	{ "version", 'v', OPTION_FLAG, offsetof(struct cli, version), NULL, "print the version" },
	{ "rootless", 0, OPTION_IGNORED_ARGUMENT },
	{ "cgroup-manager", 0, OPTION_IGNORED_ARGUMENT },
	{ "criu", 0, OPTION_IGNORED_ARGUMENT },
	{ NULL },
};

/* "run: " before what is said of an option of a verb. */
#define OF_VERB "%s%s"
#define OF_VERB_ARGS(verb) (verb) ? (verb) : "", (verb) ? ": " : ""

static int bad_option(const char *verb, struct fault *fault, char **argv, int code, int letter)
{
	/* Behind optind for "--name", in optopt for "-x". */
	const char *word = argv[optind > 0 ? optind - 1 : 0];
	char short_form[] = { '-', (char)letter, '\0' };
	if (code == ':')
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 OF_VERB "option \"%s\" needs an argument", OF_VERB_ARGS(verb),
		                 word);
	if (letter && strncmp(word, "--", 2) != 0)
		word = short_form;
	return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
	                 OF_VERB "unknown option \"%s\"; see hvrun%s%s --help", OF_VERB_ARGS(verb),
	                 word, verb ? " " : "", verb ? verb : "");
}

static int parse_number(const char *text, struct opt_i64 *ret)
{
	static const char suffixes[] = "KMGT";
	char *end;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno || end == text)
		return -EINVAL;
	if (*end) {
		const char *suffix = strchr(suffixes, *end & ~0x20);
		if (!suffix || (end[1] && strcmp(end + 1, "b") && strcmp(end + 1, "B")))
			return -EINVAL;
		unsigned shift = 10 * (unsigned)(suffix - suffixes + 1);
		if (value > (INT64_MAX >> shift) || value < 0)
			return -EINVAL;
		value <<= shift;
	}
	*ret = (struct opt_i64){ .set = true, .value = value };
	return 0;
}

static int store(const char *verb, const struct option_row *row, void *into, struct fault *fault)
{
	void *at = (char *)into + row->offset;
	struct str_list *list = at;
	const char **larger;
	switch (row->kind) {
	case OPTION_FLAG:
		*(bool *)at = true;
		return 0;
	case OPTION_STRING:
		*(const char **)at = optarg;
		return 0;
	case OPTION_LIST:
		larger = realloc(list->item, (list->count + 1) * sizeof(*list->item));
		if (!larger)
			return fault_errno(fault, -ENOMEM, "--%s", row->name);
		list->item = larger;
		list->item[list->count++] = optarg;
		return 0;
	case OPTION_NUMBER:
		if (parse_number(optarg, at) < 0)
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 OF_VERB "--%s \"%s\" is not a number", OF_VERB_ARGS(verb),
			                 row->name, optarg);
		return 0;
	case OPTION_IGNORED:
	case OPTION_IGNORED_ARGUMENT:
		break;
	}
	return 0;
}

/* getopt_long's tables from ours. Long options are numbered from 256. */
static void make_tables(const struct option_row *rows, struct option *longs, char *letters)
{
	size_t n = 0, at = 0;
	letters[at++] = '+'; /* stop at the first operand */
	letters[at++] = ':'; /* we make the messages */
	letters[at++] = 'h';
	for (; rows && rows[n].name && n < OPTIONS_MAX; n++) {
		bool argument = rows[n].kind != OPTION_FLAG && rows[n].kind != OPTION_IGNORED;
		longs[n] = (struct option){ rows[n].name, argument, NULL, 256 + (int)n };
		if (rows[n].letter) {
			letters[at++] = rows[n].letter;
			if (argument)
				letters[at++] = ':';
		}
	}
	longs[n++] = (struct option){ "help", 0, NULL, 'h' };
	longs[n] = (struct option){ 0 };
	letters[at] = '\0';
}

/* 1: --help was asked for. */
int cli_parse(const char *verb, const struct option_row *rows, void *into, int argc, char **argv,
              int *ret_first, struct fault *fault)
{
	struct option longs[OPTIONS_MAX + 2];
	char letters[2 * OPTIONS_MAX + 8];
	make_tables(rows, longs, letters);
	opterr = 0;
	optind = 0; /* glibc: start anew, also the scan within a word */
	int c;
	while ((c = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		const struct option_row *row = NULL;
		if (c == 'h')
			return 1;
		for (size_t n = 0; rows && rows[n].name; n++) {
			if (c == 256 + (int)n || (rows[n].letter && c == rows[n].letter))
				row = &rows[n];
		}
		if (!row)
			return bad_option(verb, fault, argv, c, optopt);
		int error = store(verb, row, into, fault);
		if (error < 0)
			return error;
	}
	*ret_first = optind;
	return 0;
}

static void print_options(const struct option_row *rows)
{
	for (; rows && rows->name; rows++) {
		char left[64];
		if (!rows->help)
			continue;
		snprintf(left, sizeof(left), "%s%c%s--%s %s", rows->letter ? "-" : "  ",
		         rows->letter ? rows->letter : ' ', rows->letter ? ", " : " ", rows->name,
		         rows->argument ? rows->argument : "");
		printf("  %-28s %s\n", left, rows->help);
	}
}

static void print_help(void)
{
	puts("usage: hvrun [global options] VERB [options] [operands]\n"
	     "\n"
	     "Runs OCI containers inside utility VMs, or stand-ins for them, through an agent.\n"
	     "\n"
	     "Verbs (hvrun VERB --help tells more):");
	for (size_t g = 0; g < array_size(groups); g++) {
		for (const struct verb *verb = groups[g]; verb->name; verb++)
			printf("  %-10s %s\n", verb->name, verb->summary);
	}
	puts("\nGlobal options:");
	print_options(global_options);
	puts("  -h, --help                   print this text");
}

static void print_verb_help(const struct verb *verb)
{
	bool has_options = verb->options && verb->options->name;
	printf("usage: hvrun %s%s%s%s\n\n%s\n", verb->name, has_options ? " [options]" : "",
	       *verb->operands ? " " : "", verb->operands, verb->summary);
	if (verb->text)
		printf("\n%s\n", verb->text);
	if (has_options) {
		puts("\nOptions:");
		print_options(verb->options);
	}
}

static const struct verb *find_verb(const char *name)
{
	for (size_t g = 0; g < array_size(groups); g++) {
		for (const struct verb *verb = groups[g]; verb->name; verb++) {
			if (!strcmp(verb->name, name))
				return verb;
		}
	}
	return NULL;
}

static int open_log(const struct cli *cli, int *ret_fd, struct fault *fault)
{
	enum log_format format = LOG_FORMAT_TEXT;
	enum log_level level = cli->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
	if (cli->log_format && !strcmp(cli->log_format, "json"))
		format = LOG_FORMAT_JSON;
	else if (cli->log_format && strcmp(cli->log_format, "text"))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "--log-format \"%s\" is neither text nor json", cli->log_format);
	if (cli->log_level && log_level_parse(cli->log_level, &level) < 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "--log-level \"%s\" is none of error, warning, info, debug",
		                 cli->log_level);
	if (cli->log && *cli->log) {
		*ret_fd =
			open(cli->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
		if (*ret_fd < 0)
			return fault_errno(fault, -errno, "--log \"%s\"", cli->log);
	}
	log_init(*ret_fd, format, level);
	return 0;
}

static void free_lists(const struct option_row *rows, void *options)
{
	for (; rows && rows->name; rows++) {
		struct str_list *list = (void *)((char *)options + rows->offset);
		if (rows->kind == OPTION_LIST)
			free(list->item);
	}
}

static int run_verb(struct cli *cli, const struct verb *verb, int argc, char **argv,
                    struct fault *fault)
{
	int first = 0;
	void *options = calloc(1, verb->options_size + 1);
	if (!options)
		return fault_errno(fault, -ENOMEM, "%s", verb->name);
	int r = cli_parse(verb->name, verb->options, options, argc, argv, &first, fault);
	if (r == 1)
		print_verb_help(verb);
	else if (!r &&
	         (argc - first < verb->least || (verb->most >= 0 && argc - first > verb->most)))
		r = fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "usage: hvrun %s%s%s%s",
		              verb->name, verb->options ? " [options]" : "",
		              *verb->operands ? " " : "", verb->operands);
	else if (!r && !verb->stateless)
		r = state_open(&cli->state, cli->root, fault);
	if (!r)
		r = verb->run(cli, options, argc - first, argv + first, fault);
	else if (r == 1)
		r = 0;
	state_close(&cli->state);
	free_lists(verb->options, options);
	free(options);
	return r;
}

/* 0, 1 and 2 must be something, or other files would take their numbers. */
static void hold_stdio(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= 2);
	close_fd(&fd);
}

static int fail(const struct fault *fault, int log_fd, int status)
{
	if (log_fd >= 0)
		log_error("%s", fault->text);
	dprintf(STDERR_FILENO, "hvrun: %s\n%s", fault->text, sandbox_last_words());
	return status;
}

int cli_main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "sandbox"))
		return sandbox_main(argc - 1, argv + 1);
	struct cli cli = { .state = STATE_NULL };
	struct fault fault = FAULT_NULL;
	cleanup_close int log_fd = -1;
	int first = 0;
	hold_stdio();
	signal(SIGPIPE, SIG_IGN);
	cli.config = getenv("HVRUN_CONFIG");
	int r = cli_parse(NULL, global_options, &cli, argc, argv, &first, &fault);
	if (!r && cli.version) {
		printf("hvrun version " HVRUN_VERSION "\nspec: " OCI_VERSION "\n");
		return 0;
	}
	if (r == 1 || (!r && first == argc)) {
		print_help();
		return r == 1 ? 0 : 1;
	}
	if (!r)
		r = open_log(&cli, &log_fd, &fault);
	if (r < 0)
		return fail(&fault, log_fd, 1);
	const struct verb *verb = find_verb(argv[first]);
	if (!verb) {
		fault_set(&fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		          "unknown verb \"%s\"; see hvrun --help", argv[first]);
		return fail(&fault, log_fd, 1);
	}
	r = run_verb(&cli, verb, argc - first, argv + first, &fault);
	fflush(stdout);
	return r < 0 ? fail(&fault, log_fd, verb->failure ? verb->failure : 1) : r;
}
