/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Plain mode ends a stream with a half-close and waits for the host's close: that order is what
 * makes output complete when the exit is answered. Look-alikes of vsock do not all carry a
 * half-close, and a guest cannot ask for it. So the first output that ends on a connection of the
 * bridge tries it: a host that closes within TRIAL was told; if it does not, outputs that end later
 * are closed at once, everything having been handed to the transport.
 *
 * Either conclusion may be wrong, and neither may cost more than it must. A host that was told and
 * took longer than TRIAL passes for one that cannot be told: its later waits are answered when the
 * transport has the output, not when the host has, and it has to read on behind the answer, as any
 * host does on such a transport. A host that happened to close for a reason of its own, within
 * TRIAL after a half-close that was lost, passes for one that is told: the next output that ends
 * keeps its wait for PATIENCE. As does a host that forgets to close. After that it is tried again,
 * so the error is paid for once. What a host has closed before its output ended proves nothing.
 */

#include "agent/relay.h"

#include "oci/log.h"

#include <fcntl.h>
#include <sys/socket.h>

#define RELAY_HELD 65536
#define DIAL_PAUSE 100
#define TRIAL 1000              /* milliseconds for a host to close that can be told, if it can */
#define PATIENCE 30000          /* the same when it is known that it can; then it leaks */

static void dialer_next(struct dialer *dialer);

static void dialer_finish(struct dialer *dialer, int error)
{
	if (dialer->starting) {
		dialer->over = true;
		dialer->error = error;
		timer_set(&dialer->retry, 1);
		return;
	}
	source_deinit(&dialer->source);
	timer_set(&dialer->retry, 0);
	dialer->done(dialer, error);
}

static void dialer_failed(struct dialer *dialer, int error)
{
	if (error == -ETIMEDOUT && ++dialer->tries < DIALER_TRIES)
		timer_set(&dialer->retry, DIAL_PAUSE);
	else
		dialer_finish(dialer, error);
}

static void dialer_connected(struct dialer *dialer, int fd)
{
	*dialer->fd[dialer->current++] = fd;
	dialer->tries = 0;
	dialer_next(dialer);
}

static int dialer_ready(struct source *source, uint32_t got)
{
	(void)got;
	struct dialer *dialer = container_of(source, struct dialer, source);
	cleanup_close int fd = source->fd;
	source_deinit(source);
	int error = hv_connect_finish(fd);
	if (error < 0)
		dialer_failed(dialer, error);
	else
		dialer_connected(dialer, take_fd(&fd));
	return 0;
}

static void dialer_next(struct dialer *dialer)
{
	if (dialer->current == dialer->count) {
		dialer_finish(dialer, 0);
		return;
	}
	bool pending = false;
	cleanup_close int fd = hv_connect(&dialer->endpoint[dialer->current], dialer->machine, true,
	                                  &pending);
	if (fd < 0) {
		dialer_failed(dialer, fd);
	} else if (!pending) {
		dialer_connected(dialer, take_fd(&fd));
	} else {
		int error = source_init(&dialer->source, dialer->loop, fd, EPOLLOUT, dialer_ready);
		if (error < 0)
			dialer_finish(dialer, error);
		else
			take_fd(&fd);
	}
}

static int dialer_retry(struct timer *timer)
{
	struct dialer *dialer = container_of(timer, struct dialer, retry);
	if (dialer->over)
		dialer_finish(dialer, dialer->error);
	else
		dialer_next(dialer);
	return 0;
}

int dialer_start(struct dialer *dialer, struct loop *loop, const struct hv_machine *machine,
                 void (*done)(struct dialer *dialer, int error))
{
	dialer->loop = loop;
	dialer->machine = machine;
	dialer->done = done;
	int error = timer_init(&dialer->retry, loop, dialer_retry);
	if (error < 0)
		return error;
	dialer->starting = true;
	dialer_next(dialer);
	dialer->starting = false;
	return 0;
}

void dialer_deinit(struct dialer *dialer)
{
	source_close(&dialer->source);
	timer_deinit(&dialer->retry);
}

void half_close_begin(struct half_close *half_close)
{
	half_close->state = half_close->known ? HALF_CLOSE_ARRIVES : HALF_CLOSE_UNTRIED;
	half_close->connection++;
	half_close->trial = TRIAL;
	half_close->patience = PATIENCE;
}

static void relay_close(struct relay *relay)
{
	source_deinit(&relay->from);
	source_deinit(&relay->to);
	timer_deinit(&relay->closing_bound);
	close_fd(&relay->socket_fd);
	close_fd(&relay->pipe_fd);
	buf_deinit(&relay->held);
	relay->active = false;
}

static void relay_finish(struct relay *relay)
{
	relay_close(relay);
	relay->finished(relay);
}

/* NULL: what this relay sees says nothing about the present connection. */
static struct half_close *present_half_close(const struct relay *relay)
{
	struct half_close *half_close = relay->half_close;
	return half_close->connection == relay->connection ? half_close : NULL;
}

/* The host has not closed in time. */
static int relay_bound_over(struct timer *timer)
{
	struct relay *relay = container_of(timer, struct relay, closing_bound);
	struct half_close *half_close = present_half_close(relay);
	if (half_close && half_close->state == HALF_CLOSE_ARRIVES && !relay->patient) {
		/* Another output has shown meanwhile that it was told. */
		relay->patient = true;
		if (timer_set(timer, half_close->patience) >= 0)
			return 0;
	}
	if (relay->patient)
		log_warning("standard streams: the host does not close one that has ended");
	if (half_close && half_close->state == HALF_CLOSE_UNTRIED) {
		log_debug("standard streams: half-closes do not reach the host");
		half_close->state = HALF_CLOSE_LOST;
	} else if (half_close && half_close->state == HALF_CLOSE_ARRIVES && !half_close->known) {
		half_close->state = HALF_CLOSE_UNTRIED;
	}
	relay_finish(relay);
	return 0;
}

/* The host has closed after a half-close. */
static void relay_closed(struct relay *relay)
{
	struct half_close *half_close = present_half_close(relay);
	if (half_close && half_close->state == HALF_CLOSE_UNTRIED)
		half_close->state = HALF_CLOSE_ARRIVES;
	relay_finish(relay);
}

/* What the host says on an output is of no interest, but that it has closed it. */
static bool host_closed(const struct relay *relay)
{
	char bytes[4096];
	ssize_t n = recv(relay->socket_fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* Everything was written. */
static void relay_end(struct relay *relay)
{
	struct half_close *half_close = relay->half_close;
	if (!relay->output || relay->terminal || half_close->state == HALF_CLOSE_LOST ||
	    host_closed(relay) || hv_shutdown(relay->socket_fd, SHUT_WR) < 0) {
		relay_finish(relay);
		return;
	}
	relay->closing = true;
	relay->connection = half_close->connection;
	relay->patient = half_close->state == HALF_CLOSE_ARRIVES;
	source_want(&relay->from, 0);
	source_want(&relay->to, EPOLLIN);
	if (timer_set(&relay->closing_bound,
	              relay->patient ? half_close->patience : half_close->trial) < 0)
		relay_finish(relay);
}

/* Writes what is held. False when the relay is over. */
static bool relay_write(struct relay *relay)
{
	while (buf_length(&relay->held)) {
		const char *head = buf_head(&relay->held);
		size_t length = buf_length(&relay->held);
		ssize_t n = relay->output ? send(relay->to.fd, head, length, MSG_NOSIGNAL)
		                          : write(relay->to.fd, head, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			/* Nobody reads any more: the source is closed, the process gets SIGPIPE. */
			relay_finish(relay);
			return false;
		}
		buf_consume(&relay->held, (size_t)n);
	}
	bool more = buf_length(&relay->held) > 0;
	source_want(&relay->to, more ? EPOLLOUT : 0);
	source_want(&relay->from, !more && !relay->source_ended ? EPOLLIN : 0);
	if (!more && relay->source_ended) {
		relay_end(relay);
		return false;
	}
	return true;
}

static int relay_from(struct source *source, uint32_t got)
{
	(void)got;
	struct relay *relay = container_of(source, struct relay, from);
	char *room = buf_reserve(&relay->held, RELAY_HELD);
	if (!room) {
		relay_finish(relay);
		return 0;
	}
	ssize_t n = read(source->fd, room, RELAY_HELD);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		relay->source_ended = true; /* also EIO: nobody holds the terminal any more */
	else
		buf_commit(&relay->held, (size_t)n);
	relay_write(relay);
	return 0;
}

static int relay_to(struct source *source, uint32_t got)
{
	struct relay *relay = container_of(source, struct relay, to);
	(void)source;
	if (relay->closing) {
		if (host_closed(relay))
			relay_closed(relay);
		return 0;
	}
	if ((got & (EPOLLERR | EPOLLHUP)) && !(got & EPOLLOUT)) {
		relay_finish(relay);
		return 0;
	}
	relay_write(relay);
	return 0;
}

int relay_start(struct relay *relay, struct loop *loop, int socket_fd, int pipe_fd, bool output,
                bool terminal, struct half_close *half_close,
                void (*finished)(struct relay *relay))
{
	*relay = (struct relay)RELAY_NULL;
	relay->socket_fd = socket_fd;
	relay->pipe_fd = pipe_fd;
	relay->output = output;
	relay->terminal = terminal;
	relay->half_close = half_close;
	relay->finished = finished;
	relay->held = (struct buf)BUF(RELAY_HELD);
	relay->active = true;
	int error = timer_init(&relay->closing_bound, loop, relay_bound_over);
	if (!error)
		error = source_init(&relay->from, loop, output ? pipe_fd : socket_fd, EPOLLIN,
		                    relay_from);
	if (!error)
		error = source_init(&relay->to, loop, output ? socket_fd : pipe_fd, 0, relay_to);
	if (error < 0)
		relay_close(relay);
	return error;
}

void relay_deinit(struct relay *relay)
{
	relay_close(relay);
}
