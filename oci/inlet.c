/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The receiving half of a stream.
 *
 * The connection is shared, so an inlet may never make it wait: bytes that the sink does not take
 * at once are held in memory, and what bounds that memory is the window, because the peer is
 * granted only what has been delivered plus one window.
 *
 * An inlet owes the peer an open ear until END has come, however the owner feels about the stream:
 * frames that were sent before the peer knew of a STOP are legal. When the owner leaves earlier, a
 * ghost takes its place: an inlet of the channel's own that only counts and drops.
 *
 * When the connection is lost, what has arrived is still delivered: the last words of a VM matter
 * most.
 */

#include "oci/stream.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

/*
 * For a pipe that we have nothing to write to, the loop still has to say when its last reader is
 * gone. That is EPOLLERR, which comes without asking, but only to a source that wants something; a
 * pipe never has urgent data.
 */
#define WATCH_READERS EPOLLPRI

static const struct inlet_ops ghost_ops;

struct inlet *inlet_find(struct channel *channel, uint64_t id)
{
	struct inlet *inlet = channel->inlets;
	while (inlet && inlet->id != id)
		inlet = inlet->next;
	return inlet;
}

/* True when there is somebody to tell. */
static bool attached(const struct inlet *inlet)
{
	return inlet->channel && !inlet->channel->failed;
}

/* Takes the inlet off the channel, where another or nobody takes its place. */
static void replace(struct inlet *inlet, struct inlet *other)
{
	struct channel *channel = inlet->channel;
	struct inlet **at = &channel->inlets;

	while (*at != inlet)
		at = &(*at)->next;
	*at = inlet->next;
	inlet->next = NULL;
	inlet->channel = NULL;
	if (other) {
		other->channel = channel;
		other->next = channel->inlets;
		channel->inlets = other;
	}
	if (channel->receiving == inlet)
		channel->receiving = other;
}

static void grant(struct inlet *inlet)
{
	uint64_t limit = inlet->delivered + inlet->window;
	uint8_t payload[8];

	if (!attached(inlet) || inlet->end_received || limit == inlet->granted ||
	    limit - inlet->granted < inlet->window / 2)
		return;
	inlet->granted = limit;
	frame_put_u64(payload, limit);
	(void)channel_send(inlet->channel, FRAME_WINDOW, inlet->id, payload, sizeof(payload));
}

/* The last thing that is done with an inlet in any function: its owner may deinit it here. */
static void progress(struct inlet *inlet)
{
	grant(inlet);
	if (inlet->ops->progress)
		inlet->ops->progress(inlet);
}

static void drop_held(struct inlet *inlet)
{
	inlet->delivered += buf_length(&inlet->held);
	buf_deinit(&inlet->held);
}

void inlet_stop(struct inlet *inlet)
{
	uint8_t payload[4];

	if (inlet->stopped)
		return;
	inlet->stopped = true;
	drop_held(inlet);
	source_deinit(&inlet->source);
	if (inlet->end_received && inlet->channel)
		replace(inlet, NULL);
	if (!attached(inlet))
		return;
	frame_put_u32(payload, 0);
	(void)channel_send(inlet->channel, FRAME_STOP, inlet->id, payload, sizeof(payload));
	grant(inlet);
}

static void sink_failed(struct inlet *inlet)
{
	bool lost = !inlet->channel && !inlet->end_received;

	inlet_stop(inlet);
	if (!lost)
		inlet->ops->ended(inlet, END_STOPPED);
	else if (inlet->ops->lost)
		inlet->ops->lost(inlet);
}

/* END has come or the connection is gone, and nothing is held any more. */
static void finish(struct inlet *inlet)
{
	source_deinit(&inlet->source);
	if (inlet->channel)
		replace(inlet, NULL);
	if (inlet->end_received)
		inlet->ops->ended(inlet, inlet->reason);
	else if (inlet->ops->lost)
		inlet->ops->lost(inlet);
}

static void watch(struct inlet *inlet)
{
	uint32_t want = inlet->is_pipe && inlet->started ? WATCH_READERS : 0;
	if (buf_length(&inlet->held))
		want = EPOLLOUT;
	int r = inlet->ops->write ? 0 : source_want(&inlet->source, want);
	if (r < 0 && inlet->channel)
		channel_fail(inlet->channel, r);
}

/* How many bytes the sink took, or a negative errno. */
static ssize_t write_sink(struct inlet *inlet, const char *bytes, size_t size)
{
	ssize_t n;

	if (inlet->ops->write) {
		n = inlet->ops->write(inlet, bytes, size);
		return n ? n : -EAGAIN;
	}
	do
		n = inlet->is_socket ? send(inlet->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL)
		                     : write(inlet->fd, bytes, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void drain(struct inlet *inlet)
{
	ssize_t n = write_sink(inlet, buf_head(&inlet->held), buf_length(&inlet->held));
	if (n < 0 && n != -EAGAIN) {
		sink_failed(inlet);
		return;
	}
	if (n < 0)
		return;
	buf_consume(&inlet->held, (size_t)n);
	inlet->delivered += (uint64_t)n;
	if (!buf_length(&inlet->held) && (inlet->end_received || !inlet->channel)) {
		finish(inlet);
	} else {
		watch(inlet);
		progress(inlet);
	}
}

static int on_writable(struct source *source, uint32_t got)
{
	struct inlet *inlet = container_of(source, struct inlet, source);

	if (buf_length(&inlet->held))
		drain(inlet);
	else if (got & EPOLLERR)
		sink_failed(inlet);
	return 0;
}

void inlet_resume(struct inlet *inlet)
{
	if (buf_length(&inlet->held))
		drain(inlet);
}

int inlet_init(struct inlet *inlet, struct channel *channel, uint64_t id, int fd, uint32_t window,
               bool grant_now, const struct inlet_ops *ops)
{
	struct stat stat = { 0 };

	*inlet = (struct inlet)INLET_NULL;
	if (!id || !window)
		return -EINVAL;
	if (channel->failed)
		return -EPIPE;
	if (inlet_find(channel, id))
		return -EEXIST;
	if (!ops->write && fstat(fd, &stat) < 0)
		return -errno;
	bool is_pipe = S_ISFIFO(stat.st_mode);
	int r = source_init(&inlet->source, channel->source.loop, fd,
	                    is_pipe && grant_now ? WATCH_READERS : 0, on_writable);
	if (r < 0)
		return r;
	inlet->channel = channel;
	inlet->ops = ops;
	inlet->fd = fd;
	inlet->id = id;
	inlet->window = window;
	inlet->granted = grant_now ? 0 : window;
	inlet->started = grant_now;
	inlet->is_pipe = is_pipe;
	inlet->is_socket = S_ISSOCK(stat.st_mode);
	inlet->held = (struct buf)BUF(window);
	inlet->next = channel->inlets;
	channel->inlets = inlet;
	grant(inlet);
	return 0;
}

void inlet_started(struct inlet *inlet)
{
	if (inlet->started || inlet->stopped || !inlet->channel)
		return;
	inlet->started = true;
	watch(inlet);
}

int inlet_take(struct inlet *inlet, const char *bytes, size_t size)
{
	inlet->received += size;
	if (inlet->stopped) {
		inlet->delivered += size;
		progress(inlet);
		return 0;
	}

	ssize_t n = -EAGAIN;
	if (inlet->ops->seen)
		inlet->ops->seen(inlet, bytes, size);
	if (!buf_length(&inlet->held))
		n = write_sink(inlet, bytes, size);
	if (n < 0 && n != -EAGAIN) {
		inlet->delivered += size;
		sink_failed(inlet);
		return 0;
	}
	size_t taken = n > 0 ? (size_t)n : 0;
	if (taken < size) {
		int r = buf_append(&inlet->held, bytes + taken, size - taken);
		if (r < 0)
			return r;
		watch(inlet);
	}
	inlet->delivered += taken;
	if (taken)
		progress(inlet);
	return 0;
}

size_t inlet_splice(struct inlet *inlet, int socket_fd, size_t size)
{
	if (!inlet->is_pipe || inlet->stopped || buf_length(&inlet->held))
		return 0;
	stream_grow_pipe(inlet->fd, &inlet->grown);
	/* Whether it is the socket that has nothing or the pipe that is full or without a reader,
	 * taking the bytes by copy will tell. */
	ssize_t n = splice(socket_fd, NULL, inlet->fd, NULL, size,
	                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n <= 0)
		return 0;
	inlet->received += (uint64_t)n;
	inlet->delivered += (uint64_t)n;
	if (inlet->ops->seen)
		inlet->ops->seen(inlet, NULL, (size_t)n);
	progress(inlet);
	return (size_t)n;
}

int inlet_end(struct inlet *inlet, uint64_t total, uint32_t reason)
{
	if (total != inlet->received)
		return -EPROTO;
	inlet->end_received = true;
	inlet->reason = reason;
	if (inlet->is_ghost) {
		inlet->channel->ghosts--;
		replace(inlet, NULL);
		free(inlet);
	} else if (inlet->stopped) {
		replace(inlet, NULL);
		progress(inlet);
	} else if (!buf_length(&inlet->held)) {
		finish(inlet);
	}
	return 0;
}

void inlet_lose(struct inlet *inlet)
{
	replace(inlet, NULL);
	if (inlet->is_ghost)
		free(inlet);
	else if (!buf_length(&inlet->held))
		finish(inlet);
}

static void leave_ghost(struct inlet *inlet)
{
	struct channel *channel = inlet->channel;
	struct inlet *ghost = NULL;

	if (channel->ghosts < CHANNEL_GHOSTS_MAX)
		ghost = malloc(sizeof(*ghost));
	if (!ghost) {
		channel_fail(channel, channel->ghosts < CHANNEL_GHOSTS_MAX ? -ENOMEM : -EPROTO);
		return;
	}
	*ghost = *inlet;
	ghost->ops = &ghost_ops;
	ghost->fd = -1;
	ghost->is_ghost = true;
	channel->ghosts++;
	replace(inlet, ghost);
}

void inlet_forget(struct inlet *inlet)
{
	if (inlet->channel)
		replace(inlet, NULL);
}

void inlet_deinit(struct inlet *inlet)
{
	if (attached(inlet) && !inlet->end_received) {
		inlet_stop(inlet);
		leave_ghost(inlet);
	}
	if (inlet->channel)
		replace(inlet, NULL);
	source_deinit(&inlet->source);
	buf_deinit(&inlet->held);
	*inlet = (struct inlet)INLET_NULL;
}
