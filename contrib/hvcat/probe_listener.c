/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The listening side of a probe: one connection after another, each with a request. What it has
 * seen of an experiment is asked for by the next connection, because the one that was experimented
 * with may be of no use any more.
 *
 * It waits a shorter time for everything than the dialling side, which so gets an answer also where
 * something does not come through.
 */

#include "contrib/hvcat/probe.h"

#include "contrib/hvcat/wire.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define WAITS 1500 /* milliseconds, for anything */

/* Of the last experiment: "y" or "n", and words. */
static struct report {
	uint8_t token[4];
	char text[PROBE_REPORT];
} report;

struct visit {
	int fd;
	const struct hv_peer *peer;
	struct probe_request request;
};

static void note(const struct visit *visit, bool answer, const char *words)
{
	memcpy(report.token, visit->request.token, sizeof(report.token));
	snprintf(report.text, sizeof(report.text), "%c%s", answer ? 'y' : 'n', words);
}

/* A line. It is read before the connection goes, wherever a close may overtake it. */
static void answer(const struct visit *visit, const char *text)
{
	char line[HV_PEER_TEXT + 4], byte;
	int length = snprintf(line, sizeof(line), "%s\n", text);
	if (wire_write(visit->fd, line, (size_t)length, WAITS) == 0)
		(void)wire_read(visit->fd, &byte, 1, WAITS);
}

static void greet(const struct visit *visit)
{
	answer(visit, PROBE_GREETING);
}

static void identify(const struct visit *visit)
{
	char text[HV_PEER_TEXT + 1];
	text[0] = (char)('0' + visit->peer->identity);
	(void)hv_peer_format(visit->peer, text + 1, sizeof(text) - 1);
	answer(visit, text);
}

static void close_unread(const struct visit *visit)
{
	(void)wire_wait(visit->fd, WAITS);
}

static void half_close_by_dialler(const struct visit *visit)
{
	char byte;
	ssize_t n = wire_read(visit->fd, &byte, 1, WAITS);
	answer(visit, n == 0 ? "y" : "n");
}

static void half_close_by_listener(const struct visit *visit)
{
	char byte = 0;
	(void)hv_shutdown(visit->fd, SHUT_WR);
	ssize_t n = wire_read(visit->fd, &byte, 1, WAITS);
	bool open = n == 1 && byte == PROBE_ANSWER;
	note(visit, open,
	     probe_half_close_words[open              ? PROBE_STAYS_OPEN
	                            : n == -ETIMEDOUT ? PROBE_NOT_PASSED_ON
	                                              : PROBE_ENDS_BOTH]);
}

static void upload(const struct visit *visit)
{
	char words[PROBE_REPORT - 1];
	size_t received = probe_count(visit->fd, WAITS);
	snprintf(words, sizeof(words), "%zu of %u bytes arrive", received, PROBE_TRANSFER);
	note(visit, received == PROBE_TRANSFER, words);
}

static void download(const struct visit *visit)
{
	(void)probe_send(visit->fd, WAITS);
}

static void tell_report(const struct visit *visit)
{
	bool known = memcmp(report.token, visit->request.token, sizeof(report.token)) == 0;
	answer(visit, known ? report.text : "nnothing is known of it");
}

static void peek(const struct visit *visit)
{
	answer(visit, "peek");
}

static const struct {
	enum probe_experiment experiment;
	void (*serve)(const struct visit *visit);
} experiments[] = {
	{ PROBE_GREET, greet },
	{ PROBE_IDENTIFY, identify },
	{ PROBE_PEEK, peek },
	{ PROBE_CLOSE_UNREAD, close_unread },
	{ PROBE_HALF_CLOSE_BY_DIALLER, half_close_by_dialler },
	{ PROBE_HALF_CLOSE_BY_LISTENER, half_close_by_listener },
	{ PROBE_UPLOAD, upload },
	{ PROBE_DOWNLOAD, download },
	{ PROBE_ASK, tell_report },
};

bool probe_serve(int fd, const struct hv_peer *peer)
{
	struct visit visit = { .fd = fd, .peer = peer };
	char *at = (char *)&visit.request;
	for (size_t received = 0; received < sizeof(visit.request);) {
		ssize_t n = wire_read(fd, at + received, sizeof(visit.request) - received, WAITS);
		if (n <= 0)
			return false;
		received += (size_t)n;
	}
	for (size_t i = 0; i < array_size(experiments); i++) {
		if (experiments[i].experiment == visit.request.experiment)
			experiments[i].serve(&visit);
	}
	return visit.request.experiment == PROBE_BYE;
}
