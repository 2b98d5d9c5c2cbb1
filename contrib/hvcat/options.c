/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The command line is checked in whole before anything is opened: what contradicts itself is
 * refused in one line instead of being given some meaning. getopt(3) gets its letters from the
 * table, and so does the help, so that neither can know an option that the other does not.
 */

#include "contrib/hvcat/options.h"

#include "contrib/hvcat/say.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define MOST_CONNECTIONS 100
#define WAIT_MILLISECONDS 10000
#define ROWS_MAX 32

bool options_number(const char *text, unsigned long most, unsigned long *ret)
{
	unsigned long number = 0;
	for (const char *at = text; *at; at++) {
		if (*at < '0' || *at > '9' || number > most)
			return false;
		number = number * 10 + (unsigned long)(*at - '0');
	}
	*ret = number;
	return number >= 1 && number <= most;
}

static const char *take_command(struct options *options, const char *value)
{
	options->command = value;
	return *value ? NULL : "there is no command";
}

static const char *take_most(struct options *options, const char *value)
{
	unsigned long number;
	if (!options_number(value, 1000000, &number))
		return "not a number from 1 to 1000000";
	options->most = (unsigned)number;
	return NULL;
}

static const char *take_wait(struct options *options, const char *value)
{
	unsigned long number;
	if (!options_number(value, 86400, &number))
		return "not a number of seconds from 1 to 86400";
	options->wait = (unsigned)number * 1000;
	return NULL;
}

static const struct option_row rows[] = {
	{ 'l', NULL, "listen for one connection", offsetof(struct options, listens) },
	{ 'k', NULL, "listen for one after another; with -e or a second URL at the same time",
	  offsetof(struct options, again) },
	{ 'm', "N", "of these at most N at the same time (100); more wait", 0, take_most },
	{ 'e', "CMD", "run a command with the connection as its standard input and output", 0,
	  take_command },
	{ 'n', NULL, "do not read standard input", offsetof(struct options, no_input) },
	{ 'q', NULL, "close when standard input ends", offsetof(struct options, quits) },
	{ 'w', "SECONDS", "give up connecting after that long (10)", 0, take_wait },
	{ 'p', NULL, "probe: try what the transport can do; \"hvcat -l -k -p\" at the other end",
	  offsetof(struct options, probes) },
	{ 'v', NULL, "say what happens on standard error", offsetof(struct options, verbose) },
	{ 0 },
};

static const struct option_row *find_row(int letter)
{
	const struct option_row *const tables[] = { rows, options_of_system };
	for (size_t i = 0; i < array_size(tables); i++) {
		for (const struct option_row *row = tables[i]; row->letter; row++) {
			if (row->letter == letter)
				return row;
		}
	}
	return NULL;
}

static void print_rows(const struct option_row *row)
{
	for (; row->letter; row++)
		printf("  -%c %-10s %s\n", row->letter, row->value ? row->value : "", row->help);
}

static void print_help(void)
{
	fputs("usage: hvcat [OPTION...] URL            connect: standard input goes there\n"
	      "       hvcat -l [OPTION...] URL         listen\n"
	      "       hvcat [-l] [OPTION...] URL URL   relay from the first to the second\n",
	      stdout);
	print_rows(rows);
	print_rows(options_of_system);
	printf("  -h, --help     print this\n"
	       "  --version      print the version\n"
	       "URL: %s\n"
	       "Exit status: 0 the connection ended; 1 it could not be made or was lost; 2 wrong\n"
	       "command line; with -e and without -k the command's own.\n",
	       options_urls);
}

/* What does not go together, and what is missing. */
static const char *find_contradiction(const struct options *options)
{
	bool relays = options->urls > 1;
	const struct {
		bool is_so;
		const char *why;
	} table[] = {
		{ options->urls == 0, "a URL is missing; --help shows the usage" },
		{ options->again && !options->listens, "-k goes with -l only" },
		{ options->most && !options->again, "-m goes with -k only" },
		{ options->most && !options->command && !relays,
		  "-m goes with -e or a second URL only" },
		{ options->command && relays, "-e and a second URL exclude each other" },
		{ options->probes && (options->command || relays),
		  "-p goes neither with -e nor with a second URL" },
		{ (options->no_input || options->quits) && (options->command || relays),
		  "-n and -q go neither with -e nor with a second URL" },
		{ options->no_input && options->quits, "-n and -q exclude each other" },
	};
	for (size_t i = 0; i < array_size(table); i++) {
		if (table[i].is_so)
			return table[i].why;
	}
	return NULL;
}

static int take_urls(struct options *options, int count, char **urls)
{
	if (count > (int)array_size(options->url)) {
		say("%s: one URL too many", urls[2]);
		return 2;
	}
	for (int i = 0; i < count; i++) {
		const char *why;
		if (hv_endpoint_parse(urls[i], &options->endpoint[i], &why) < 0) {
			say("%s: %s", urls[i], why);
			return 2;
		}
		const struct hv_endpoint *endpoint = &options->endpoint[i];
		if (endpoint->scheme != HV_SCHEME_UNIX && !endpoint->has_port &&
		    !endpoint->has_service) {
			say("%s: the port or service is missing", urls[i]);
			return 2;
		}
		options->url[i] = urls[i];
	}
	options->urls = (unsigned)count;
	return -1;
}

static int take_option(struct options *options, int letter)
{
	const struct option_row *row = find_row(letter);
	if (!row->value) {
		*(bool *)((char *)options + row->offset) = true;
		return -1;
	}
	const char *why = row->take(options, optarg);
	if (!why)
		return -1;
	say("-%c %s: %s", letter, optarg, why);
	return 2;
}

/* What getopt(3) stumbled over. */
static int refuse(char **argv, int answer)
{
	if (answer == ':')
		say("-%c needs a value: %s", optopt, find_row(optopt)->value);
	else if (optopt)
		say("there is no option -%c; --help shows the usage", optopt);
	else
		say("there is no option %s; --help shows the usage", argv[optind - 1]);
	return 2;
}

static int flush(void)
{
	if (!fflush(stdout))
		return 0;
	say("standard output: %s", strerror(errno));
	return 1;
}

static int take_all(struct options *options, int argc, char **argv, const char *letters)
{
	static const struct option words[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	opterr = 0;
	for (int letter; (letter = getopt_long(argc, argv, letters, words, NULL)) != -1;) {
		int r = -1;
		if (letter == 'h') {
			print_help();
			return flush();
		}
		if (letter == 'V') {
			puts("hvcat " HVRUN_VERSION);
			return flush();
		}
		if (letter == ':' || letter == '?')
			r = refuse(argv, letter);
		else
			r = take_option(options, letter);
		if (r >= 0)
			return r;
	}
	return take_urls(options, argc - optind, argv + optind);
}

int options_parse(struct options *ret, int argc, char **argv)
{
	const struct option_row *const tables[] = { rows, options_of_system };
	char letters[2 * ROWS_MAX + 3] = ":h";
	size_t n = strlen(letters);
	for (size_t i = 0; i < array_size(tables); i++) {
		for (const struct option_row *row = tables[i];
		     row->letter && n + 3 < sizeof(letters); row++) {
			letters[n++] = row->letter;
			if (row->value)
				letters[n++] = ':';
		}
	}
	*ret = (struct options){ .wait = WAIT_MILLISECONDS };
	int r = take_all(ret, argc, argv, letters);
	if (r >= 0)
		return r;
	const char *why = find_contradiction(ret);
	if (why) {
		say("%s", why);
		return 2;
	}
	if (!ret->most)
		ret->most = ret->command || ret->urls > 1 ? MOST_CONNECTIONS : 1;
	return -1;
}

void options_free(struct options *options)
{
	for (struct hv_child *child; (child = options->children.first);) {
		hv_children_remove(&options->children, child);
		free((char *)child->base);
		free(child);
	}
	for (struct hv_service *service; (service = options->services);) {
		options->services = service->next;
		free(service);
	}
}
