/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See the header. After every event both directions are moved on and then one question is asked:
 * is it over, and if not, what is waited for? There is no other state than what the two flows say.
 *
 * A connection is lost when it was reset or when something could not be delivered. That the peer
 * closes while there is nothing to deliver is an end like any other.
 */

#include "contrib/hvcat/pair.h"

#include "contrib/hvcat/say.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

struct pair *pair_new(struct loop *loop, pair_fn *fn, void *owner)
{
	struct pair *pair = malloc(sizeof(*pair));
	if (!pair)
		return NULL;
	/* All but the buffers, whose pages are not touched before they are needed. */
	for (unsigned i = 0; i < 2; i++) {
		pair->ends[i] = (struct end){ .ports = { PORT_NULL, PORT_NULL } };
		memset(&pair->flows[i], 0, offsetof(struct flow, bytes));
		pair->told[i] = false;
	}
	pair->hasty = pair->open_ended = false;
	pair->result = 0;
	pair->loop = loop;
	pair->fn = fn;
	pair->owner = owner;
	return pair;
}

void pair_free(struct pair *pair)
{
	for (unsigned i = 0; pair && i < 4; i++)
		port_deinit(&pair->ends[i / 2].ports[i % 2]);
	free(pair);
}

/* The cause in words, once: whatever was first. */
static void lose(struct pair *pair, const struct end *end, const char *standard, int error)
{
	if (!error || pair->result < 0)
		return;
	pair->result = error;
	if (end->is_standard)
		say("%s: %s", standard, strerror(-error));
	else
		say_error(end->name, end->scheme, error);
}

/*
 * How AF_VSOCK may say that the peer has closed in good order: with EIO or ENOMEM on hv_sock (kernels
 * from 6.17 on), and with ENOTCONN where our half-close came after that.
 */
static bool is_end_of_stream(const struct end *end, int error, bool half_closed)
{
	int domain;
	socklen_t size = sizeof(domain);
	return (error == -EIO || error == -ENOMEM || (error == -ENOTCONN && half_closed)) &&
	       !end->is_standard &&
	       getsockopt(end->reader->source.fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
	       domain == AF_VSOCK;
}

static void note_errors(struct pair *pair, unsigned i)
{
	struct flow *flow = &pair->flows[i];
	const struct end *from = &pair->ends[i], *to = &pair->ends[!i];
	if (flow->read_error < 0 && is_end_of_stream(from, flow->read_error, pair->told[!i]))
		flow->read_error = 0;
	lose(pair, from, "standard input", flow->read_error);
	lose(pair, to, "standard output", flow->write_error);
}

/*
 * A peer that has closed altogether looks on AF_VSOCK like one that has half-closed, until
 * something is written to it; no bytes at all will do.
 */
static void note_closing(struct end *end)
{
	if (!end->is_standard &&
	    send(end->writer->source.fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE)
		end->writer->hung_up = true;
}

/* Nobody takes what flows to a port that has hung up; nothing is lost while there is nothing. */
static void note_hang_up(struct pair *pair, unsigned i)
{
	struct flow *flow = &pair->flows[i];
	struct end *to = &pair->ends[!i];
	if (!to->writer->hung_up || !flow_is_empty(flow) || flow->ended)
		return;
	flow->broken = true;
	if (to->is_standard)
		flow->write_error = -EPIPE;
}

/* Whoever reads our output sees its end while input goes on. */
static void close_standard_output(struct port *port)
{
	cleanup_close int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	port_deinit(port);
	if (null >= 0)
		(void)dup2(null, STDOUT_FILENO);
}

static void tell_end(struct pair *pair, unsigned i)
{
	struct end *to = &pair->ends[!i];
	pair->told[i] = true;
	if (!to->half_closes)
		return;
	if (to->is_standard)
		close_standard_output(to->writer);
	else
		/* What is closed already needs no telling. */
		(void)hv_shutdown(to->writer->source.fd, SHUT_WR);
}

static bool is_over(const struct pair *pair)
{
	bool done[2];
	for (unsigned i = 0; i < 2; i++)
		done[i] = flow_is_through(&pair->flows[i]) || pair->flows[i].broken;
	/* Nothing can be done for anybody when standard output is gone. */
	if (pair->flows[1].broken && pair->ends[0].is_standard)
		return true;
	if (done[0] && pair->hasty)
		return true;
	return done[1] && (done[0] || pair->open_ended);
}

static int wait_for_more(struct pair *pair)
{
	for (unsigned i = 0; i < 2; i++) {
		struct end *end = &pair->ends[i];
		bool read = flow_wants_input(&pair->flows[i]);
		bool write = flow_wants_output(&pair->flows[!i]);
		bool watch = !pair->told[!i];
		int r = end->reader == end->writer ? port_want(end->reader, read, write, watch)
		                                   : port_want(end->reader, read, false, false);
		if (r >= 0 && end->reader != end->writer)
			r = port_want(end->writer, false, write, watch);
		if (r < 0)
			return r;
	}
	return 0;
}

static int move(struct pair *pair)
{
	for (unsigned i = 0; i < 2; i++) {
		struct flow *flow = &pair->flows[i];
		bool had_ended = flow->ended;
		flow_move(flow, pair->ends[i].reader, pair->ends[!i].writer);
		if (flow->ended && !had_ended)
			note_closing(&pair->ends[i]);
	}
	for (unsigned i = 0; i < 2; i++) {
		note_hang_up(pair, i);
		note_errors(pair, i);
		if (flow_is_through(&pair->flows[i]) && !pair->told[i])
			tell_end(pair, i);
	}
	return is_over(pair) ? pair->fn(pair, pair->result) : wait_for_more(pair);
}

static int on_event(struct source *source, uint32_t got)
{
	struct port *port = container_of(source, struct port, source);
	port_note(port, got);
	return move(port->owner);
}

int pair_set_socket(struct pair *pair, unsigned i, int fd, const char *name, enum hv_scheme scheme,
                    bool half_closes)
{
	struct end *end = &pair->ends[i];
	end->reader = end->writer = &end->ports[0];
	end->name = name;
	end->scheme = scheme;
	end->half_closes = half_closes;
	int r = port_init_socket(end->reader, pair->loop, fd, on_event);
	end->reader->owner = pair;
	if (r < 0)
		close_fd(&fd);
	return r;
}

int pair_set_standard(struct pair *pair, bool no_input, bool keep)
{
	struct end *end = &pair->ends[0];
	end->is_standard = true;
	end->half_closes = !keep;
	end->reader = &end->ports[0];
	end->writer = &end->ports[1];
	pair->open_ended = no_input || isatty(STDIN_FILENO);
	int r = no_input ? 0 : port_init_standard(end->reader, pair->loop, STDIN_FILENO, on_event);
	if (r >= 0)
		r = port_init_standard(end->writer, pair->loop, STDOUT_FILENO, on_event);
	end->reader->owner = end->writer->owner = pair;
	return r;
}

int pair_start(struct pair *pair)
{
	return move(pair);
}
