/* SPDX-License-Identifier: Apache-2.0 */

/*
 * hvcat: a Hyper-V socket, or one of its look-alikes, as standard input and output.
 *
 * One connection at a time. Each direction has one buffer, which is filled when it is empty and
 * emptied when it is full, so that neither end has to be as fast as the other. Standard input and
 * output are shared with the shell and are not made non-blocking: they are touched when they are
 * ready, and written in pieces that a ready pipe takes whole.
 *
 * When standard input ends the peer is told with a half-close. The host's side of a hybrid socket
 * is the exception: to most VMMs a half-close is the end of the whole connection, and the answer
 * would be lost.
 */

#include "hvsocket/hvsocket.h"
#include "hvsocket/loop.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define BUFFER_SIZE 65536
#define CONNECT_TIMEOUT 10000 /* milliseconds: a VMM may leave the request unanswered */

struct flow {
	size_t start, end;
	bool ended; /* no more will come in */
	char bytes[BUFFER_SIZE];
};

static struct hvcat {
	bool listens, again, verbose, as_guest, quits;
	const char *url;
	struct hv_endpoint endpoint;
	struct hv_machine machine;
	struct hv_listener listener;
	struct hv_handshake handshake;
	bool connected, told_end, deaf, is_interactive; /* deaf: the peer takes no more */

	struct loop loop;
	struct source accepting, input, output, peer;
	struct timer deadline;
	struct signals signals;
	struct flow out, in; /* standard input → peer, peer → standard output */
} hvcat = {
	.listener = HV_LISTENER_NULL,
	.loop = LOOP_NULL,
	.accepting = SOURCE_NULL,
	.input = SOURCE_NULL,
	.output = SOURCE_NULL,
	.peer = SOURCE_NULL,
	.deadline = TIMER_NULL,
	.signals = SIGNALS_NULL,
};

printf_like(1, 2) static void say(const char *text, ...)
{
	va_list args;
	va_start(args, text);
	fputs("hvcat: ", stderr);
	vfprintf(stderr, text, args);
	fputc('\n', stderr);
	va_end(args);
}

static int complain(int error)
{
	enum hv_error meaning = hv_error_from_errno(hvcat.endpoint.scheme, error);
	say("%s: %s", hvcat.url, meaning == HV_OTHER ? strerror(-error) : hv_error_text(meaning));
	return error;
}

static bool is_empty(const struct flow *flow)
{
	return flow->start == flow->end;
}

static void fill(struct flow *flow, int fd)
{
	ssize_t n = read(fd, flow->bytes, sizeof(flow->bytes));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	flow->start = 0;
	flow->end = n > 0 ? (size_t)n : 0;
	flow->ended = n <= 0;
}

static int drain(struct flow *flow, int fd, size_t piece)
{
	ssize_t n = write(fd, flow->bytes + flow->start, min_size(flow->end - flow->start, piece));
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	flow->start += (size_t)n;
	return 0;
}

static int finish_connection(void)
{
	source_close(&hvcat.peer);
	timer_deinit(&hvcat.deadline);
	hvcat.connected = false;
	hvcat.out.start = hvcat.out.end = 0;
	if (hvcat.verbose)
		say("closed");
	if (!hvcat.again) {
		loop_stop(&hvcat.loop);
		return 0;
	}
	int r = source_want(&hvcat.input, 0);
	if (r >= 0)
		r = source_want(&hvcat.output, 0);
	return r < 0 ? r : source_want(&hvcat.accepting, EPOLLIN);
}

/* After anything has happened: is an end reached, and what is waited for now? */
static int settle(void)
{
	struct flow *out = &hvcat.out, *in = &hvcat.in;
	bool sent = out->ended && is_empty(out);
	if (in->ended && is_empty(in) && (sent || hvcat.deaf || hvcat.is_interactive))
		return finish_connection();
	if (sent && !hvcat.told_end) {
		bool is_host = hvcat.listens || !hvcat.as_guest;
		hvcat.told_end = true;
		if (hvcat.quits)
			return finish_connection();
		if (hvcat.endpoint.scheme != HV_SCHEME_HYBRID || !is_host)
			(void)hv_shutdown(hvcat.peer.fd, SHUT_WR);
	}
	bool takes_input = is_empty(out) && !out->ended && !hvcat.deaf;
	int r = source_want(&hvcat.input, takes_input ? EPOLLIN : 0);
	if (r >= 0)
		r = source_want(&hvcat.output, is_empty(in) ? 0 : EPOLLOUT);
	if (r >= 0)
		/* EPOLLPRI never comes, but lets a hang-up through. */
		r = source_want(&hvcat.peer, (hvcat.deaf ? 0 : EPOLLPRI) |
		                             (is_empty(in) && !in->ended ? EPOLLIN : 0) |
		                             (is_empty(out) ? 0 : EPOLLOUT));
	return r;
}

static int on_input(struct source *source, uint32_t got)
{
	(void)got;
	fill(&hvcat.out, source->fd);
	return settle();
}

static int on_output(struct source *source, uint32_t got)
{
	(void)got;
	int r = drain(&hvcat.in, source->fd, PIPE_BUF);
	if (r < 0) {
		say("standard output: %s", strerror(-r));
		return r;
	}
	return settle();
}

static int on_connected(void)
{
	hvcat.connected = true;
	hvcat.told_end = hvcat.deaf = false;
	hvcat.in = (struct flow){ 0 };
	timer_deinit(&hvcat.deadline);
	return settle();
}

/* The way to a connection: connect(2) under way, then perhaps the CONNECT line. */
static int on_connecting(struct source *source)
{
	int r = hv_connect_finish(source->fd);
	if (r >= 0 && !hvcat.as_guest)
		r = hv_handshake(source->fd, &hvcat.endpoint, &hvcat.handshake);
	if (r == -EAGAIN)
		return source_want(source, EPOLLIN);
	if (r < 0)
		return complain(r);
	if (hvcat.verbose)
		say("connected to %s", hvcat.url);
	return on_connected();
}

static int on_peer(struct source *source, uint32_t got)
{
	if (!hvcat.connected)
		return on_connecting(source);
	if (source->want & EPOLLIN && got & (EPOLLIN | EPOLLHUP | EPOLLERR))
		fill(&hvcat.in, source->fd);
	bool can_write = got & EPOLLOUT && !is_empty(&hvcat.out);
	if (got & (EPOLLHUP | EPOLLERR) ||
	    (can_write && drain(&hvcat.out, source->fd, BUFFER_SIZE) < 0)) {
		/* What the peer has sent may still be to come. */
		hvcat.deaf = true;
		hvcat.out.start = hvcat.out.end = 0;
	}
	return settle();
}

static int on_accepting(struct source *source, uint32_t got)
{
	(void)got;
	uint64_t refused = hvcat.listener.refused;
	struct hv_peer peer;
	int fd = hv_accept(&hvcat.listener, &peer);
	if (hvcat.verbose && hvcat.listener.refused > refused)
		say("refused a peer that may not come in");
	if (fd == -EAGAIN)
		return 0;
	if (fd < 0)
		return complain(fd);
	int r = source_init(&hvcat.peer, &hvcat.loop, fd, 0, on_peer);
	if (r < 0) {
		close_fd(&fd);
		return r;
	}
	if (hvcat.verbose && hvcat.listener.endpoint.scheme == HV_SCHEME_VSOCK)
		say("connection from %s, CID %u", hv_vm_kind_name(peer.kind), peer.cid);
	else if (hvcat.verbose)
		say("connection from %s, uid %u, pid %d", hv_vm_kind_name(peer.kind), peer.uid,
		    peer.pid);
	r = source_want(source, 0);
	return r < 0 ? r : on_connected();
}

static int on_deadline(struct timer *timer)
{
	(void)timer;
	return complain(-ETIMEDOUT);
}

static int on_signal(struct signals *signals, int signal)
{
	(void)signal;
	loop_stop(signals->source.loop);
	return 0;
}

static int start_listening(void)
{
	int r = hv_listen(&hvcat.listener, &hvcat.endpoint, NULL, &hvcat.machine);
	if (r < 0)
		return complain(r);
	if (hvcat.verbose)
		say("listening on %s", hvcat.url);
	return source_init(&hvcat.accepting, &hvcat.loop, hvcat.listener.fd, EPOLLIN, on_accepting);
}

static int start_connecting(void)
{
	bool pending;
	int fd = hv_connect(&hvcat.endpoint, &hvcat.machine, hvcat.as_guest, &pending);
	if (fd < 0)
		return complain(fd);
	int r = source_init(&hvcat.peer, &hvcat.loop, fd, EPOLLOUT, on_peer);
	if (r < 0) {
		close_fd(&fd);
		return r;
	}
	r = timer_init(&hvcat.deadline, &hvcat.loop, on_deadline);
	return r < 0 ? r : timer_set(&hvcat.deadline, CONNECT_TIMEOUT);
}

static int run(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	signal(SIGPIPE, SIG_IGN);
	hvcat.is_interactive = isatty(STDIN_FILENO);
	if (hvcat.endpoint.scheme == HV_SCHEME_HYPERV || hvcat.endpoint.scheme == HV_SCHEME_VSOCK)
		hv_machine_probe(&hvcat.machine);
	int r = loop_init(&hvcat.loop);
	if (r >= 0)
		r = signals_init(&hvcat.signals, &hvcat.loop, &set, on_signal);
	if (r >= 0)
		r = source_init(&hvcat.input, &hvcat.loop, STDIN_FILENO, 0, on_input);
	if (r >= 0)
		r = source_init(&hvcat.output, &hvcat.loop, STDOUT_FILENO, 0, on_output);
	if (r >= 0)
		r = hvcat.listens ? start_listening() : start_connecting();
	return r < 0 ? r : loop_run(&hvcat.loop);
}

static void stop(void)
{
	source_close(&hvcat.peer);
	source_deinit(&hvcat.accepting);
	source_deinit(&hvcat.input);
	source_deinit(&hvcat.output);
	timer_deinit(&hvcat.deadline);
	signals_deinit(&hvcat.signals);
	hv_listener_close(&hvcat.listener);
	loop_deinit(&hvcat.loop);
}

static int usage(void)
{
	fputs("usage: hvcat [-gqv] URL      connect\n"
	      "       hvcat -l [-kqv] URL   listen for one connection; -k: for one after another\n"
	      "  -g  hybrid: dial as the guest, \"PATH_PORT\"\n"
	      "  -q  close when standard input ends\n"
	      "  -v  say what happens on standard error\n"
	      "URL: hyperv://VM/SERVICE, vsock://CID:PORT, hybrid:///PATH:PORT, unix:///PATH\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	const char *why;
	for (int option; (option = getopt(argc, argv, "lkvgq")) != -1;) {
		hvcat.listens |= option == 'l';
		hvcat.again |= option == 'k';
		hvcat.verbose |= option == 'v';
		hvcat.as_guest |= option == 'g';
		hvcat.quits |= option == 'q';
		if (option == '?')
			return usage();
	}
	if (argc - optind != 1 || (hvcat.again && !hvcat.listens))
		return usage();
	hvcat.url = argv[optind];
	if (hv_endpoint_parse(hvcat.url, &hvcat.endpoint, &why) < 0) {
		say("%s: %s", hvcat.url, why);
		return 2;
	}
	int r = run();
	stop();
	return r < 0 ? 1 : 0;
}
