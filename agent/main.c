/* SPDX-License-Identifier: Apache-2.0 */

/*
 * hvagent: the program. Options, then the agent.
 *
 * As the first process of a VM it may not return: the kernel would panic. Its options come from the
 * kernel's command line then, among whose words may be others that nobody knew, or those that
 * Microsoft's host has for its own guest (agent/gcs_options.h); and whatever makes it end, ends the
 * VM.
 */

#include "agent/agent.h"
#include "agent/boot.h"
#include "agent/gcs_options.h"
#include "agent/power.h"
#include "oci/file.h"
#include "oci/files_limit.h"
#include "oci/log.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define FAILED_PAUSE 100000 /* microseconds */
#define WORDS_MAX (64 << 10) /* for those of the kernel's command line */
#define CORE_PATTERN "/proc/sys/kernel/core_pattern"

static const char usage[] =
	"usage: hvagent [options]\n"
	"\n"
	"The agent of hvrun inside a utility VM: runs containers for the host that it dials.\n"
	"\n"
	"  --parent ENDPOINT   where the host is: vsock:host (default), or hybrid:/abs/base, which\n"
	"                      stands for the unix sockets <base>_<port>\n"
	"  --port N            port of the bridge (default 0x40000000)\n"
	"  --host-timeout N    ends when there is no host for so many seconds (default 0: waits on)\n"
	"  --log-level LEVEL   error, warning, info (default) or debug; the log goes to stderr\n"
	"  --log-port N        and from the connection on to this port of the host, as lines of\n"
	"                      JSON (default 0: none)\n"
	"  --entropy-port N    port of the host from which randomness for the kernel is read\n"
	"                      (default 0: none)\n"
	"  --version           print the version\n"
	"  --help              print this text\n"
	"\n"
	"As the init of a VM it sets the VM up first; options are the words after -- on the kernel's\n"
	"command line, and the log goes to the kernel's. When it ends, the VM is powered off. It\n"
	"understands the words of Microsoft's host, too: -e 1 /bin/vsockexec -e 109 /bin/gcs -v4 …\n";

struct options {
	const char *parent;
	uint32_t port, host_timeout;
	enum log_level level;
	struct boot_ports ports;
	struct arena arena;             /* of what was said in Microsoft's words */
	struct gcs_options gcs;
};

static int complain(const char *what, const char *value)
{
	fprintf(stderr, "hvagent: %s \"%s\"; see hvagent --help\n", what, value);
	return -EINVAL;
}

static int parse_number(const char *name, const char *text, uint32_t least, uint32_t *ret)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 0);
	if (errno || *end || end == text || *text == '-' || value < least || value >= UINT32_MAX)
		return complain(name, text);
	*ret = (uint32_t)value;
	return 0;
}

/* 1: done already (help, version). Not strict: what is not known is kept in ret->gcs.ignored. */
static int parse_options(int argc, char **argv, bool strict, struct options *ret)
{
	struct str_list *ignored = &ret->gcs.ignored;
	static const struct option table[] = {
		{ "parent", required_argument, NULL, 'p' },
		{ "port", required_argument, NULL, 'n' },
		{ "host-timeout", required_argument, NULL, 't' },
		{ "log-level", required_argument, NULL, 'l' },
		{ "log-port", required_argument, NULL, 'L' },
		{ "entropy-port", required_argument, NULL, 'e' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c, error = 0;
	opterr = strict;
	while (!error && (c = getopt_long(argc, argv, strict ? "" : ":", table, NULL)) != -1) {
		switch (c) {
		case 'p':
			ret->parent = optarg;
			break;
		case 'n':
			error = parse_number("bad --port", optarg, 1, &ret->port);
			break;
		case 't':
			error = parse_number("bad --host-timeout", optarg, 0, &ret->host_timeout);
			break;
		case 'l':
			if (log_level_parse(optarg, &ret->level) < 0)
				error = complain("bad --log-level", optarg);
			break;
		case 'L':
			error = parse_number("bad --log-port", optarg, 0, &ret->ports.log);
			break;
		case 'e':
			error = parse_number("bad --entropy-port", optarg, 0, &ret->ports.entropy);
			break;
		case 'v':
			puts("hvagent version " HVRUN_VERSION);
			return 1;
		case 'h':
			fputs(usage, stdout);
			return 1;
		case ':':
			return complain("no value for", argv[optind - 1]);
		default:
			if (strict)
				return -EINVAL; /* getopt_long has said it */
			ignored->item[ignored->count++] = argv[optind - 1];
		}
	}
	if (!error && strict && optind < argc)
		error = complain("unexpected argument", argv[optind]);
	for (; !error && optind < argc; optind++)
		ignored->item[ignored->count++] = argv[optind];
	return error;
}

/* What Microsoft's host wants by its words. */
static int heed_gcs_options(struct options *ret)
{
	const struct gcs_options *gcs = &ret->gcs;
	const char *log_port = gcs->error_port ? gcs->error_port : gcs->output_port;
	int error = 0;
	if (gcs->entropy_port)
		error = parse_number("bad -e of init", gcs->entropy_port, 0, &ret->ports.entropy);
	if (!error && log_port)
		error = parse_number("bad -e or -o of vsockexec", log_port, 0, &ret->ports.log);
	if (!error && gcs->log_level && log_level_parse(gcs->log_level, &ret->level) < 0)
		error = complain("bad -loglevel of gcs", gcs->log_level);
	/* Who wants everything refused until there is a policy may not get an open door. */
	if (!error && gcs->policy_stance && strcmp(gcs->policy_stance, "allow") != 0)
		error = complain("no policy can be enforced here: -initial-policy-stance of gcs",
		                 gcs->policy_stance);
	if (gcs->log_format && !strcmp(gcs->log_format, "text"))
		ret->ports.log_format = LOG_FORMAT_TEXT;
	ret->ports.log_redial = gcs->redial != NULL;
	return error;
}

/* Of the words after -- on the kernel's command line. */
static int parse_kernel_words(int argc, char **argv, struct options *ret)
{
	struct str_list rest;
	int error = gcs_options_take(&ret->arena, argc, argv, &ret->gcs, &rest);
	if (error < 0)
		return complain("on the kernel's command line, something is missing behind",
		                argv[argc - 1]);
	error = heed_gcs_options(ret);
	/* getopt_long(3) changes their order, not what they say. */
	return error ? error : parse_options((int)rest.count, (char **)rest.item, false, ret);
}

static int parse_parent(const struct options *options, struct hv_endpoint *ret)
{
	const char *text = options->parent, *why = NULL;
	if (!strcmp(text, "vsock:host"))
		text = "vsock://host:1"; /* the port is set below */
	if (hv_endpoint_parse(text, ret, &why) < 0) {
		fprintf(stderr, "hvagent: --parent \"%s\": %s\n", options->parent,
		        why ? why : "bad endpoint");
		return -EINVAL;
	}
	if (ret->scheme != HV_SCHEME_VSOCK && ret->scheme != HV_SCHEME_HYBRID)
		return complain("--parent must be a vsock or hybrid endpoint, not",
		                options->parent);
	ret->port = options->port;
	ret->has_port = true;
	ret->address.service = hv_guid_from_port(options->port);
	return 0;
}

/* 0, 1 and 2 must be something, or pipes would take their numbers. */
static void hold_stdio(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= 2);
	close_fd(&fd);
}

static int start(struct agent *agent, const struct hv_endpoint *parent,
                 const struct boot_ports *ports)
{
	struct fault fault = FAULT_NULL;
	files_limit_raise();
	int error = child_init(&fault);
	if (!error && (error = agent_init(agent, parent, ports)) < 0)
		fault_errno(&fault, error, "starting");
	if (error < 0)
		log_error("%s", fault.text);
	return error;
}

static int run(struct agent *agent, bool first)
{
	int error;
	while ((error = agent_run(agent)) < 0) {
		log_error("event loop: %s", errno_text(error));
		if (!first)
			break;
		/* There is nobody else to go on, but no reason to hurry either. */
		usleep(FAILED_PAUSE);
	}
	return error;
}

static int serve(const struct options *options, const struct hv_endpoint *parent, bool first)
{
	static struct agent agent;
	int error = start(&agent, parent, &options->ports);
	if (!error) {
		bridge_limit_absence(&agent.bridge, options->host_timeout * UINT64_C(1000));
		error = run(&agent, first);
	}
	agent_deinit(&agent);
	return error;
}

/* What only a VM's first process does with its options. */
static void heed_in_vm(const struct options *options)
{
	const char *pattern = options->gcs.core_pattern;
	for (size_t i = 0; i < options->gcs.ignored.count; i++)
		log_info("ignored: \"%s\"", options->gcs.ignored.item[i]);
	int error = pattern ? file_write_text(AT_FDCWD, CORE_PATTERN, pattern) : 0;
	if (error < 0)
		log_warning("boot: " CORE_PATTERN ": %s", errno_text(error));
}

int main(int argc, char **argv)
{
	static struct options options = {
		.parent = "vsock:host",
		.port = BRIDGE_PORT,
		.level = LOG_LEVEL_INFO,
		.ports.log_format = LOG_FORMAT_JSON,
		.arena = ARENA(WORDS_MAX),
	};
	struct hv_endpoint parent;
	bool first = boot_wanted(argv[0]);
	int r = first ? parse_kernel_words(argc, argv, &options)
	              : parse_options(argc, argv, true, &options);
	if (!r)
		r = parse_parent(&options, &parent);
	if (!first && r)
		return r < 0;
	hold_stdio();
	log_init(STDERR_FILENO, LOG_FORMAT_TEXT, options.level);
	if (first && !r)
		r = boot(options.level);
	if (first && !r)
		heed_in_vm(&options);
	if (!r)
		r = serve(&options, &parent, first);
	if (first)
		power_off();
	return r < 0;
}
