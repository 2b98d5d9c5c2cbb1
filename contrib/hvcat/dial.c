/* SPDX-License-Identifier: Apache-2.0 */

/* See the header. A VMM may leave a request unanswered, so there is a deadline for all of it. */

#include "contrib/hvcat/dial.h"

static int finish(struct dial *dial, int fd)
{
	if (fd >= 0)
		source_deinit(&dial->source);
	dial_deinit(dial);
	return dial->fn(dial, fd);
}

static int on_ready(struct source *source, uint32_t got)
{
	struct dial *dial = container_of(source, struct dial, source);
	(void)got;
	/* Asked once: what becomes of the connection later is the handshake's to say. */
	int r = dial->pending ? hv_connect_finish(source->fd) : 0;
	dial->pending = false;
	if (r >= 0 && !dial->as_guest)
		r = hv_handshake(source->fd, dial->endpoint, &dial->handshake);
	if (r == -EAGAIN)
		return source_want(source, EPOLLIN);
	return finish(dial, r < 0 ? r : source->fd);
}

static int on_deadline(struct timer *timer)
{
	return finish(container_of(timer, struct dial, deadline), -ETIMEDOUT);
}

int dial_start(struct dial *dial, struct loop *loop, const struct hv_endpoint *endpoint,
               const struct hv_machine *machine, bool as_guest, unsigned milliseconds, dial_fn *fn)
{
	*dial = (struct dial){
		.source = SOURCE_NULL,
		.deadline = TIMER_NULL,
		.endpoint = endpoint,
		.handshake.services = machine->services,
		.as_guest = as_guest,
		.fn = fn,
	};
	int fd = hv_connect(endpoint, machine, as_guest, &dial->pending);
	if (fd < 0)
		return fd;
	int r = source_init(&dial->source, loop, fd, EPOLLOUT, on_ready);
	if (r < 0)
		close_fd(&fd);
	if (r >= 0)
		r = timer_init(&dial->deadline, loop, on_deadline);
	if (r >= 0)
		r = timer_set(&dial->deadline, milliseconds);
	if (r < 0)
		dial_deinit(dial);
	return r;
}

void dial_deinit(struct dial *dial)
{
	source_close(&dial->source);
	timer_deinit(&dial->deadline);
}
