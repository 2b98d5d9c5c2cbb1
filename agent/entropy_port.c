/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The host is trusted with this: it could read the VM's memory. But it is not waited for. What has
 * come when it has had its time, or has given more than anybody needs, is taken as all.
 */

#include "agent/entropy_port.h"

#include "agent/clock.h"
#include "oci/fault.h"
#include "oci/log.h"

#include <string.h>
#include <sys/socket.h>

#define PATIENCE 10000 /* milliseconds between the connection and its end */

void entropy_port_free(struct entropy_port *port)
{
	if (!port)
		return;
	*port->owner = NULL;
	dialer_deinit(&port->dialer);
	source_deinit(&port->source);
	timer_deinit(&port->deadline);
	close_fd(&port->fd);
	explicit_bzero(port->bytes, sizeof(port->bytes));
	free(port);
}

/* That is all; error says why there is no more. */
static void finish(struct entropy_port *port, int error)
{
	if (error < 0)
		log_warning("entropy from the host: after %zu bytes: %s", port->count,
		            errno_text(error));
	else if (!port->count)
		log_warning("entropy from the host: none");
	int given = port->count ? entropy_credit(port->bytes, port->count) : 0;
	if (given < 0)
		log_warning("entropy from the host: the kernel does not take it: %s",
		            errno_text(given));
	else if (port->count)
		log_info("entropy from the host: %zu bytes", port->count);
	entropy_port_free(port);
}

static int on_readable(struct source *source, uint32_t got)
{
	(void)got;
	struct entropy_port *port = container_of(source, struct entropy_port, source);
	ssize_t n = recv(port->fd, port->bytes + port->count, sizeof(port->bytes) - port->count,
	                 MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n > 0)
		port->count += (size_t)n;
	if (n <= 0 || port->count == sizeof(port->bytes))
		finish(port, n < 0 ? -errno : 0);
	return 0;
}

static int on_deadline(struct timer *timer)
{
	finish(container_of(timer, struct entropy_port, deadline), -ETIMEDOUT);
	return 0;
}

static void on_dialled(struct dialer *dialer, int error)
{
	struct entropy_port *port = container_of(dialer, struct entropy_port, dialer);
	if (!error)
		error = source_init(&port->source, dialer->loop, port->fd, EPOLLIN, on_readable);
	if (!error)
		error = timer_set(&port->deadline, PATIENCE);
	if (error < 0)
		finish(port, error);
}

int entropy_port_start(struct entropy_port **owner, struct loop *loop,
                       const struct hv_machine *machine, const struct hv_endpoint *endpoint)
{
	struct entropy_port *port = *owner = malloc(sizeof(*port));
	if (!port)
		return -ENOMEM;
	*port = (struct entropy_port){
		.owner = owner,
		.dialer = DIALER_NULL,
		.source = SOURCE_NULL,
		.deadline = TIMER_NULL,
		.fd = -1,
	};
	port->dialer.endpoint[0] = *endpoint;
	port->dialer.fd[0] = &port->fd;
	port->dialer.count = 1;
	int error = timer_init(&port->deadline, loop, on_deadline);
	if (!error)
		error = dialer_start(&port->dialer, loop, machine, on_dialled);
	if (error < 0)
		entropy_port_free(port);
	return error;
}
