/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The dialling side of a probe. Whatever an experiment meets but its success is a "no", also that
 * there is no connection any more: some daemons do not survive what is tried here.
 */

#include "contrib/hvcat/probe.h"

#include "contrib/hvcat/say.h"
#include "contrib/hvcat/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define WAITS 3500      /* milliseconds, for anything: more than the other side */
#define CONNECTS_MAX 32
#define FAST 500000     /* microseconds: a refusal that takes longer was a timeout */
#define NOBODYS_PORTS 0x40000000u

static struct probe {
	struct options options;
	const struct hv_machine *machine;
	struct hv_capabilities found;
	bool reset;
	uint64_t connects[CONNECTS_MAX];
	unsigned connected;
	uint8_t token[4];
	/* What was seen, in words. */
	char half_close[3 * PROBE_REPORT], end[3 * PROBE_REPORT], refusal[192];
	char identity[HV_PEER_TEXT], closing[PROBE_REPORT];
} probe;

/* A connection with its request sent, or -errno. */
static int open_experiment(enum probe_experiment experiment)
{
	struct probe_request request = { .experiment = (uint8_t)experiment };
	uint64_t began = wire_microseconds();
	int fd = wire_dial(&probe.options, &probe.options.endpoint[0], probe.machine);
	if (fd < 0)
		return fd;
	if (probe.connected < CONNECTS_MAX)
		probe.connects[probe.connected++] = wire_microseconds() - began;
	if (experiment != PROBE_ASK)
		(void)hv_random(probe.token, sizeof(probe.token));
	memcpy(request.token, probe.token, sizeof(request.token));
	int r = wire_write(fd, &request, sizeof(request), WAITS);
	if (r < 0) {
		wire_close(fd);
		return r;
	}
	return fd;
}

/* A line, without its end; empty when there was none. */
static void read_line(int fd, char *line, size_t size)
{
	size_t length = 0;
	while (fd >= 0 && length + 1 < size) {
		if (wire_read(fd, line + length, 1, WAITS) != 1)
			break;
		if (line[length++] == '\n') {
			line[length - 1] = '\0';
			return;
		}
	}
	line[0] = '\0';
}

/* What the other side has seen of the last experiment. */
static bool ask(char words[static PROBE_REPORT])
{
	char line[PROBE_REPORT + 1];
	int fd = open_experiment(PROBE_ASK);
	read_line(fd, line, sizeof(line));
	wire_close(fd);
	snprintf(words, PROBE_REPORT, "%s", line[0] ? line + 1 : "nothing is known of it");
	return line[0] == 'y';
}

static bool greet(void)
{
	char line[sizeof(PROBE_GREETING) + 1];
	int fd = open_experiment(PROBE_GREET);
	/* Somebody was there, and went when he had heard what we want. */
	bool is_gone = fd < 0 && hv_error_from_errno(probe.options.endpoint[0].scheme, fd) == HV_GONE;
	if (fd < 0 && !is_gone) {
		(void)say_unreachable(probe.options.url[0], &probe.options.endpoint[0], false,
		                      probe.machine, fd);
		return false;
	}
	read_line(fd, line, sizeof(line));
	if (!is_gone)
		wire_close(fd);
	if (strcmp(line, PROBE_GREETING) == 0)
		return true;
	say("%s: whoever listens there is no \"hvcat -l -p\"", probe.options.url[0]);
	return false;
}

static void try_identity(void)
{
	char line[sizeof(probe.identity) + 1];
	int fd = open_experiment(PROBE_IDENTIFY);
	read_line(fd, line, sizeof(line));
	wire_close(fd);
	if (line[0] >= '0' && line[0] <= '0' + HV_IDENTITY_VM) {
		probe.found.peer_identity = (enum hv_identity)(line[0] - '0');
		snprintf(probe.identity, sizeof(probe.identity), "%s", line + 1);
	}
}

static void try_half_close(void)
{
	char line[8], words[PROBE_REPORT];
	int fd = open_experiment(PROBE_HALF_CLOSE_BY_DIALLER);
	if (fd >= 0)
		(void)hv_shutdown(fd, SHUT_WR);
	read_line(fd, line, sizeof(line));
	wire_close(fd);
	const char *seen = probe_half_close_words[line[0] == 'y'   ? PROBE_STAYS_OPEN
	                                          : line[0] == 'n' ? PROBE_NOT_PASSED_ON
	                                                           : PROBE_ENDS_BOTH];
	bool by_dialler = line[0] == 'y';

	const char answer = PROBE_ANSWER;
	char byte;
	fd = open_experiment(PROBE_HALF_CLOSE_BY_LISTENER);
	if (fd >= 0 && wire_read(fd, &byte, 1, WAITS) == 0)
		(void)wire_write(fd, &answer, 1, WAITS);
	bool by_listener = ask(words);
	wire_close(fd);
	probe.found.half_close = by_dialler && by_listener;
	snprintf(probe.half_close, sizeof(probe.half_close), "of who dials: %s; of who listens: %s",
	         seen, words);
}

static void try_end(void)
{
	char words[PROBE_REPORT];
	int fd = open_experiment(PROBE_UPLOAD);
	if (fd >= 0)
		(void)probe_send(fd, WAITS);
	wire_close(fd);
	bool up = ask(words);

	fd = open_experiment(PROBE_DOWNLOAD);
	size_t received = fd < 0 ? 0 : probe_count(fd, WAITS);
	wire_close(fd);
	probe.found.end_is_safe = up && received == PROBE_TRANSFER;
	snprintf(probe.end, sizeof(probe.end), "of who dials %s; of who listens %zu of %u", words,
	         received, PROBE_TRANSFER);
}

static void try_closing(void)
{
	char bytes[PROBE_UNREAD] = { 0 };
	int fd = open_experiment(PROBE_CLOSE_UNREAD), r = fd;
	if (r >= 0)
		r = wire_write(fd, bytes, sizeof(bytes), WAITS);
	ssize_t n = r < 0 ? r : wire_read(fd, bytes, 1, WAITS);
	wire_close(fd);
	enum hv_scheme scheme = probe.options.endpoint[0].scheme;
	probe.reset = n < 0 && hv_error_from_errno(scheme, (int)n) == HV_GONE;
	snprintf(probe.closing, sizeof(probe.closing), "closing with unread data is seen as %s",
	         n == 0 ? "an end of stream" : probe.reset ? "a reset" : "nothing");
}

static void try_peek(void)
{
	char peeked[4], taken[4];
	int fd = open_experiment(PROBE_PEEK);
	probe.found.peek = fd >= 0 && wire_peek(fd, peeked, 1, WAITS) == 1 &&
	                   wire_read(fd, taken, 1, WAITS) == 1 && peeked[0] == taken[0];
	wire_close(fd);
}

/* The same transport, and a service that nobody has thought of. */
static void try_refusal(void)
{
	struct hv_endpoint nobody = probe.options.endpoint[0];
	uint32_t number = 0;
	(void)hv_random(&number, sizeof(number));
	size_t length = strlen(nobody.path);
	if (nobody.scheme == HV_SCHEME_UNIX) {
		snprintf(nobody.path + length, sizeof(nobody.path) - length, ".%08x", number);
	} else {
		nobody.port = NOBODYS_PORTS | (number % NOBODYS_PORTS);
		nobody.address.service = hv_guid_from_port(nobody.port);
		nobody.has_port = nobody.has_service = true;
	}
	uint64_t began = wire_microseconds();
	int fd = wire_dial(&probe.options, &nobody, probe.machine);
	uint64_t took = wire_microseconds() - began;
	wire_close(fd);
	probe.found.refuses_fast =
		fd < 0 && took < FAST && hv_error_from_errno(nobody.scheme, fd) == HV_REFUSED;
	snprintf(probe.refusal, sizeof(probe.refusal), "%s, after %" PRIu64 " us",
	         fd < 0 ? hv_error_explain(nobody.scheme, fd) : "somebody listens", took);
}

/* The connections themselves show it when their service is no port, and none by agreement. */
static void note_service(void)
{
	const struct hv_endpoint *endpoint = &probe.options.endpoint[0];
	uint32_t port;
	if (endpoint->has_service && !probe.options.services &&
	    !hv_guid_to_port(&endpoint->address.service, &port))
		probe.found.service_guid = true;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* How long a connect takes, of all that there were. */
static uint64_t median(void)
{
	qsort(probe.connects, probe.connected, sizeof(probe.connects[0]), compare);
	return probe.connects[probe.connected / 2];
}

static void print(const char *name, const char *value, const char *seen)
{
	if (probe.options.verbose && seen[0])
		printf("%s: %s (%s)\n", name, value, seen);
	else
		printf("%s: %s\n", name, value);
}

static int print_all(void)
{
	static const char *const identities[] = {
		[HV_IDENTITY_NONE] = "none",
		[HV_IDENTITY_CREDENTIALS] = "credentials",
		[HV_IDENTITY_CID] = "cid",
		[HV_IDENTITY_VM] = "vm",
	};
	static const char untried[] = "not tried: what is sure of such an address";
	const struct hv_capabilities *found = &probe.found;
	const struct {
		const char *name;
		bool value;
		const char *seen;
	} flags[] = {
		{ "half-close", found->half_close, probe.half_close },
		{ "end-is-safe", found->end_is_safe, probe.end },
		{ "refuses-fast", found->refuses_fast, probe.refusal },
		{ "peek", found->peek, "" },
		{ "survives-suspend", found->survives_suspend, untried },
		{ "service-guid", found->service_guid, untried },
		{ "reset", probe.reset, probe.closing },
	};
	for (size_t i = 0; i < array_size(flags); i++)
		print(flags[i].name, flags[i].value ? "yes" : "no", flags[i].seen);
	print("peer-identity", identities[found->peer_identity], probe.identity);
	char number[64];
	snprintf(number, sizeof(number), "%" PRIu32, found->write_hint);
	print("write-hint", number, untried);
	snprintf(number, sizeof(number), "%" PRIu64 " us", median());
	print("connect", number, "the median of all connections");
	if (!fflush(stdout))
		return 0;
	say("standard output: %s", strerror(errno));
	return 1;
}

int probe_dial(const struct options *options, const struct hv_machine *machine)
{
	probe.options = *options;
	probe.machine = machine;
	/* The rest comes from trying, or is what is sure. */
	probe.found = *hv_capabilities(options->endpoint[0].scheme);
	if (!greet())
		return 1;
	/* They do not all need what the first was given. */
	probe.options.wait = (unsigned)min_size(options->wait, WAITS);
	static void (*const experiments[])(void) = { try_identity, try_half_close, try_end,
		                                     try_closing, try_peek, try_refusal,
		                                     note_service };
	for (size_t i = 0; i < array_size(experiments); i++)
		experiments[i]();
	wire_close(open_experiment(PROBE_BYE));
	return print_all();
}
