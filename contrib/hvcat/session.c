/* SPDX-License-Identifier: Apache-2.0 */

/* See the header. Many of them run at the same time in one loop. */

#include "contrib/hvcat/session.h"

#include "contrib/hvcat/say.h"

#include <inttypes.h>
#include <sys/socket.h>

struct session *session_new(const struct options *options, const struct hv_machine *machine,
                            struct loop *loop, session_fn *fn)
{
	struct session *session = malloc(sizeof(*session));
	if (session)
		*session = (struct session){
			.options = options,
			.machine = machine,
			.loop = loop,
			.fn = fn,
			.fd = -1,
			.command = COMMAND_NULL,
			.dial = DIAL_NULL,
		};
	return session;
}

void session_free(struct session *session)
{
	dial_deinit(&session->dial);
	command_deinit(&session->command);
	if (session->fd >= 0)
		command_hang_up(session->fd);
	pair_free(session->pair);
	close_fd(&session->fd);
	free(session);
}

bool session_is_fatal(const struct session *session)
{
	return session->pair && session->pair->ends[0].is_standard &&
	       session->pair->flows[1].write_error < 0;
}

/*
 * On the host's side of a hybrid socket most VMMs take a half-close for the end of everything. What
 * a hyperv address is carried by the socket knows, and that it leads into a VM.
 */
static bool half_closes(const struct session *session, unsigned i, int fd)
{
	const struct options *options = session->options;
	const struct hv_endpoint *endpoint = &options->endpoint[i];
	bool listened = options->listens && i == 0;
	enum hv_vm_kind kind = listened ? session->peer.kind : hv_vm_kind(&endpoint->address.vm);
	bool is_hybrid = endpoint->scheme == HV_SCHEME_HYBRID;
	int domain;
	socklen_t size = sizeof(domain);
	if (endpoint->scheme == HV_SCHEME_HYPERV && kind == HV_VM_ONE)
		is_hybrid = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
		            domain == AF_UNIX;
	bool is_host = listened || !options->as_guest;
	return !is_hybrid || !is_host || options->half_closes;
}

static int set_socket(struct session *session, unsigned end, unsigned url, int fd)
{
	const struct options *options = session->options;
	return pair_set_socket(session->pair, end, fd, options->url[url],
	                       options->endpoint[url].scheme, half_closes(session, url, fd));
}

static int on_pair_over(struct pair *pair, int result)
{
	struct session *session = pair->owner;
	unsigned from_peer = pair->ends[0].is_standard ? 1 : 0;
	if (session->options->verbose)
		say("closed: %" PRIu64 " bytes received, %" PRIu64 " sent",
		    pair->flows[from_peer].moved, pair->flows[!from_peer].moved);
	return session->fn(session, result);
}

static int on_command_over(struct command *command, int status)
{
	struct session *session = container_of(command, struct session, command);
	if (session->options->verbose)
		say("the command has ended: exit status %d", status);
	return session->fn(session, status);
}

/* What is begun here and cannot be is said, and ends the session. */
static int fail(struct session *session, unsigned url, int error)
{
	(void)say_unreachable(session->options->url[url], &session->options->endpoint[url], false,
	                      session->machine, error);
	return session->fn(session, error);
}

static int start_command(struct session *session)
{
	int r = command_start(&session->command, session->loop, session->options->command,
	                      session->fd, &session->peer, on_command_over);
	return r < 0 ? fail(session, 0, r) : 0;
}

static int start_standard(struct session *session)
{
	const struct options *options = session->options;
	int r = set_socket(session, 1, 0, take_fd(&session->fd));
	if (r >= 0)
		r = pair_set_standard(session->pair, options->no_input, options->again);
	session->pair->hasty = options->quits;
	return r < 0 ? fail(session, 0, r) : pair_start(session->pair);
}

static int on_second(struct dial *dial, int fd)
{
	struct session *session = container_of(dial, struct session, dial);
	if (fd < 0)
		return fail(session, 1, fd);
	if (session->options->verbose)
		say("connected to %s", session->options->url[1]);
	int r = set_socket(session, 1, 1, fd);
	if (r >= 0)
		r = set_socket(session, 0, 0, take_fd(&session->fd));
	return r < 0 ? fail(session, 0, r) : pair_start(session->pair);
}

int session_start(struct session *session, int fd, const struct hv_peer *peer)
{
	const struct options *options = session->options;
	session->fd = fd;
	session->peer = *peer;
	if (options->command)
		return start_command(session);
	session->pair = pair_new(session->loop, on_pair_over, session);
	if (!session->pair)
		return fail(session, 0, -ENOMEM);
	if (options->urls == 1)
		return start_standard(session);
	int r = dial_start(&session->dial, session->loop, &options->endpoint[1], session->machine,
	                   options->as_guest, options->wait, on_second);
	return r < 0 ? fail(session, 1, r) : 0;
}
