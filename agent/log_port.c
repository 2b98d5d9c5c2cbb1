/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A line that is cut would be the end of it: whatever follows, Microsoft's host takes for the last
 * words of a program that died. A stream socket that does not block may cut any line. So the log
 * writes to a pair of sockets that keeps lines whole, and from there they go to the host as it
 * takes them, one at a time. When that pair is full, because the host does not read, lines are lost
 * and counted (oci/log.h). Nobody waits.
 *
 * A line whose connection was lost on its way goes out whole on the next one, if there is one.
 */

#include "agent/log_port.h"

#include "oci/fault.h"

#include <sys/socket.h>

#define REDIAL 100              /* milliseconds */
#define LINES_PER_TURN 64

static void dial(struct log_port *port);

/* Where the log went before. */
static void leave(struct log_port *port)
{
	if (port->fd < 0)
		return;
	log_move(port->before);
	source_deinit(&port->host);
	source_want(&port->lines, 0);
	close_fd(&port->fd);
	port->sent = 0;
}

/* False: there is nothing to be sent. */
static bool next_line(struct log_port *port)
{
	if (port->held)
		return true;
	ssize_t n = recv(port->lines.fd, port->line, sizeof(port->line), MSG_DONTWAIT);
	port->held = n > 0 ? (size_t)n : 0;
	port->sent = 0;
	return port->held > 0;
}

/* Sends lines: 0, -EAGAIN when the host has no room, or what has become of the connection. */
static int send_lines(struct log_port *port)
{
	for (int i = 0; i < LINES_PER_TURN && next_line(port); i++) {
		ssize_t n = send(port->fd, port->line + port->sent, port->held - port->sent,
		                 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return -errno;
		port->sent += n > 0 ? (size_t)n : 0;
		if (port->sent == port->held)
			port->held = 0;
	}
	return 0;
}

static unsigned count_unsent(struct log_port *port)
{
	unsigned count = 0;
	for (; next_line(port); port->held = 0)
		count++;
	return count;
}

/* There is no connection, for that reason. */
static void missing(struct log_port *port, const char *what, int error)
{
	leave(port);
	const char *why = error ? errno_text(error) : "closed by the host";
	if (!port->redial) {
		log_warning("log: port %u of the host: %s: %s", port->endpoint.port, what, why);
		unsigned unsent = count_unsent(port);
		if (unsent)
			log_warning("log: %u lines were not sent any more", unsent);
		log_port_free(port);
		return;
	}
	if (!port->attempts++)
		log_warning("log: port %u of the host: %s: %s; dialled again every %u ms",
		            port->endpoint.port, what, why, REDIAL);
	timer_set(&port->pause, REDIAL);
}

static void lost(struct log_port *port, int error)
{
	port->attempts = 0;
	missing(port, "the connection was lost", error);
}

static void go_on(struct log_port *port)
{
	int error = send_lines(port);
	if (error < 0 && error != -EAGAIN) {
		lost(port, error);
		return;
	}
	source_want(&port->lines, port->held ? 0 : EPOLLIN);
	source_want(&port->host, port->held ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static int on_line(struct source *source, uint32_t got)
{
	(void)got;
	go_on(container_of(source, struct log_port, lines));
	return 0;
}

/* What the host says here is of no interest, but that it goes. */
static int on_host(struct source *source, uint32_t got)
{
	struct log_port *port = container_of(source, struct log_port, host);
	char bytes[4096];
	ssize_t n = recv(port->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		lost(port, n < 0 ? -errno : 0);
	else if (got & EPOLLOUT)
		go_on(port);
	return 0;
}

static void on_dialled(struct dialer *dialer, int error)
{
	struct log_port *port = container_of(dialer, struct log_port, dialer);
	dialer_deinit(dialer);
	if (!error)
		error = source_init(&port->host, port->loop, port->fd, EPOLLIN, on_host);
	if (error < 0) {
		close_fd(&port->fd);
		missing(port, "cannot be dialled", error);
		return;
	}
	port->attempts = 0;
	log_info("log: from here on to port %u of the host", port->endpoint.port);
	port->before = log_move(port->here);
	log_info("version " HVRUN_VERSION);
	go_on(port);
}

static void dial(struct log_port *port)
{
	port->dialer = (struct dialer)DIALER_NULL;
	port->dialer.endpoint[0] = port->endpoint;
	port->dialer.fd[0] = &port->fd;
	port->dialer.count = 1;
	int error = dialer_start(&port->dialer, port->loop, port->machine, on_dialled);
	if (error < 0) {
		dialer_deinit(&port->dialer);
		missing(port, "cannot be dialled", error);
	}
}

static int on_pause_over(struct timer *timer)
{
	dial(container_of(timer, struct log_port, pause));
	return 0;
}

void log_port_free(struct log_port *port)
{
	if (!port)
		return;
	*port->owner = NULL;
	if (port->fd >= 0)
		while (next_line(port) && !send_lines(port))
			;
	leave(port);
	dialer_deinit(&port->dialer);
	timer_deinit(&port->pause);
	source_close(&port->lines);
	close_fd(&port->here.fd);
	free(port);
}

int log_port_start(struct log_port **owner, struct loop *loop, const struct hv_machine *machine,
                   const struct hv_endpoint *endpoint, enum log_format format, bool redial)
{
	int pair[2];
	struct log_port *port = *owner = calloc(1, sizeof(*port));
	if (!port)
		return -ENOMEM;
	port->owner = owner;
	port->loop = loop;
	port->machine = machine;
	port->endpoint = *endpoint;
	port->redial = redial;
	port->here = (struct log_place){ .fd = -1, .format = format };
	port->dialer = (struct dialer)DIALER_NULL;
	port->pause = (struct timer)TIMER_NULL;
	port->lines = port->host = (struct source)SOURCE_NULL;
	port->fd = -1;
	int error = timer_init(&port->pause, loop, on_pause_over);
	if (!error &&
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		error = -errno;
	if (!error) {
		port->here.fd = pair[0];
		error = source_init(&port->lines, loop, pair[1], 0, on_line);
		if (error < 0)
			close(pair[1]);
	}
	if (!error) {
		dial(port);
		return 0;
	}
	log_port_free(port);
	return error;
}
