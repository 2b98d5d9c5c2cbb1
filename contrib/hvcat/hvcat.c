/* SPDX-License-Identifier: Apache-2.0 */

/*
 * hvcat: netcat for Hyper-V sockets and their look-alikes.
 *
 * One event loop, however many connections there are. This file is the way to a connection to the
 * first URL, dialled or accepted, and what its end means for the program; what happens in between
 * is session.c.
 *
 * Standard input and output serve one connection at a time. Commands and relays run side by side;
 * when there are as many as there may be, the others wait in the backlog of the listener.
 */

#include "contrib/hvcat/probe.h"
#include "contrib/hvcat/say.h"
#include "contrib/hvcat/session.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>

static struct hvcat {
	struct options options;
	struct hv_machine machine;
	struct loop loop;
	struct signals signals;
	struct hv_listener listener;
	struct source accepting;
	struct dial dial;
	struct session *sessions;
	unsigned count;
	int status;
} hvcat = {
	.loop = LOOP_NULL,
	.signals = SIGNALS_NULL,
	.listener = HV_LISTENER_NULL,
	.accepting = SOURCE_NULL,
	.dial = DIAL_NULL,
	.status = 1,
};

static int complain(int error)
{
	const struct options *options = &hvcat.options;
	return say_unreachable(options->url[0], &options->endpoint[0], options->listens,
	                       &hvcat.machine, error);
}

/* The last thing that happens, unless others are to come. */
static int on_session_over(struct session *session, int result)
{
	bool over = !hvcat.options.again || session_is_fatal(session);
	for (struct session **at = &hvcat.sessions; *at; at = &(*at)->next) {
		if (*at == session) {
			*at = session->next;
			break;
		}
	}
	session_free(session);
	hvcat.count--;
	if (!over)
		return source_want(&hvcat.accepting, EPOLLIN);
	hvcat.status = result < 0 ? 1 : result;
	loop_stop(&hvcat.loop);
	return 0;
}

static int begin(int fd, const struct hv_peer *peer)
{
	struct session *session =
		session_new(&hvcat.options, &hvcat.machine, &hvcat.loop, on_session_over);
	if (!session) {
		close_fd(&fd);
		return complain(-ENOMEM);
	}
	session->next = hvcat.sessions;
	hvcat.sessions = session;
	hvcat.count++;
	return session_start(session, fd, peer);
}

static void describe(const struct hv_peer *peer)
{
	char text[HV_PEER_TEXT];
	(void)hv_peer_format(peer, text, sizeof(text));
	say("connection from %s", text);
}

static void stop_listening(void)
{
	source_deinit(&hvcat.accepting);
	hv_listener_close(&hvcat.listener);
}

/* One after another, each for a short time; a probe consists of several connections. */
static int serve_probe(int fd, const struct hv_peer *peer)
{
	bool last = probe_serve(fd, peer);
	close_fd(&fd);
	if (last && !hvcat.options.again) {
		hvcat.status = 0;
		loop_stop(&hvcat.loop);
	}
	return 0;
}

static int on_accepting(struct source *source, uint32_t got)
{
	uint64_t refused = hvcat.listener.refused;
	struct hv_peer peer;
	(void)got;
	int fd = hv_accept(&hvcat.listener, &peer);
	if (hvcat.options.verbose && hvcat.listener.refused > refused)
		say("refused a peer that may not come in");
	if (fd == -EAGAIN)
		return 0;
	if (fd < 0) {
		complain(fd);
		/* For want of descriptors a peer was turned away; the next may be luckier. */
		return hvcat.options.again && (fd == -EMFILE || fd == -ENFILE) ? 0 : fd;
	}
	if (hvcat.options.verbose)
		describe(&peer);
	if (hvcat.options.probes)
		return serve_probe(fd, &peer);
	int r = 0;
	if (!hvcat.options.again)
		stop_listening();
	else if (hvcat.count + 1 >= hvcat.options.most)
		r = source_want(source, 0);
	if (r < 0) {
		close_fd(&fd);
		return r;
	}
	return begin(fd, &peer);
}

static int start_listening(void)
{
	int r = hv_listen(&hvcat.listener, &hvcat.options.endpoint[0],
	                  hvcat.options.children.first ? &hvcat.options.children : NULL,
	                  &hvcat.machine);
	if (r < 0)
		return complain(r);
	if (hvcat.options.verbose)
		say("listening on %s", hvcat.options.url[0]);
	return source_init(&hvcat.accepting, &hvcat.loop, hvcat.listener.fd, EPOLLIN, on_accepting);
}

/* Whom we have dialled, as far as the address says it. */
static struct hv_peer dialled_peer(void)
{
	const struct hv_endpoint *endpoint = &hvcat.options.endpoint[0];
	struct hv_peer peer = { .address = endpoint->address };
	struct sockaddr_vm vsock = { .svm_port = endpoint->port, .svm_cid = endpoint->cid };
	if (endpoint->scheme == HV_SCHEME_VSOCK)
		hv_address_from_vsock(&vsock, &peer.address);
	else if (endpoint->scheme == HV_SCHEME_UNIX)
		peer.address.vm = hv_guid_loopback;
	else if (endpoint->scheme == HV_SCHEME_HYBRID && hvcat.options.as_guest)
		peer.address.vm = hv_guid_parent;
	peer.kind = hv_vm_kind(&peer.address.vm);
	return peer;
}

static int on_dialled(struct dial *dial, int fd)
{
	(void)dial;
	if (fd < 0)
		return complain(fd);
	if (hvcat.options.verbose)
		say("connected to %s", hvcat.options.url[0]);
	struct hv_peer peer = dialled_peer();
	return begin(fd, &peer);
}

static int start_dialling(void)
{
	int r = dial_start(&hvcat.dial, &hvcat.loop, &hvcat.options.endpoint[0], &hvcat.machine,
	                   hvcat.options.as_guest, hvcat.options.wait, on_dialled);
	return r < 0 ? complain(r) : 0;
}

/* Commands are told, too; the only one's end is ours. Nothing is lost of who has but listened. */
static int on_signal(struct signals *signals, int signal)
{
	(void)signals;
	for (struct session *session = hvcat.sessions; session; session = session->next)
		command_signal(&session->command, signal);
	if (!hvcat.options.again && hvcat.options.command && hvcat.sessions)
		return 0;
	bool only_listens = hvcat.options.listens && !hvcat.sessions;
	hvcat.status = hvcat.options.again || only_listens ? 0 : 128 + signal;
	loop_stop(&hvcat.loop);
	return 0;
}

static int watch_signals(void)
{
	static const int numbers[] = { SIGHUP, SIGINT, SIGTERM };
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < array_size(numbers); i++) {
		struct sigaction action;
		/* Who has made us immune to it, as nohup(1) does, wants it so. */
		if (sigaction(numbers[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(&set, numbers[i]);
	}
	(void)signal(SIGPIPE, SIG_IGN);
	/* Children whose end nobody wants to know of are not left to be waited for. */
	(void)signal(SIGCHLD, SIG_DFL);
	return signals_init(&hvcat.signals, &hvcat.loop, &set, on_signal);
}

/* A descriptor that is missing would be taken by the next thing that is opened. */
static void open_missing(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		/* Writing to a standard output that is not there has to fail. */
		if (fcntl(fd, F_GETFD) < 0)
			(void)open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY);
	}
}

static int run(void)
{
	struct options *options = &hvcat.options;
	for (unsigned i = 0; i < options->urls; i++) {
		enum hv_scheme scheme = options->endpoint[i].scheme;
		if (scheme == HV_SCHEME_HYPERV || scheme == HV_SCHEME_VSOCK)
			hv_machine_probe(&hvcat.machine);
	}
	hvcat.machine.children = &options->children;
	hvcat.machine.services = options->services;
	if (options->probes && !options->listens) {
		hvcat.status = probe_dial(options, &hvcat.machine);
		return 0;
	}
	int r = loop_init(&hvcat.loop);
	if (r >= 0)
		r = watch_signals();
	if (r >= 0)
		r = options->listens ? start_listening() : start_dialling();
	return r < 0 ? r : loop_run(&hvcat.loop);
}

static void stop(void)
{
	for (struct session *session; (session = hvcat.sessions);) {
		hvcat.sessions = session->next;
		session_free(session);
	}
	dial_deinit(&hvcat.dial);
	stop_listening();
	signals_deinit(&hvcat.signals);
	loop_deinit(&hvcat.loop);
	options_free(&hvcat.options);
}

int main(int argc, char **argv)
{
	open_missing();
	int status = options_parse(&hvcat.options, argc, argv);
	if (status < 0)
		status = run() < 0 ? 1 : hvcat.status;
	stop();
	return status;
}
