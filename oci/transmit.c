/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order in which bytes leave: the rest of the DATA frame that has been begun, then messages,
 * then one DATA frame for each outlet whose turn it is. A DATA frame is made only when nothing
 * else waits, so a message never stands behind more than the one frame that was on its way before
 * it, and END, which goes as a message, never overtakes the data that it ends.
 *
 * The bytes of a DATA frame belong to the channel from the moment its header is made: they are read
 * from their pipe into the out buffer or, on a unix socket, moved page by page into a pipe of the
 * channel's own and from there into the socket. Without that step in between a header could promise
 * bytes that somebody else who holds the pipe then takes away, and the connection would be stuck in
 * the middle of a frame.
 */

#include "oci/channel.h"
#include "oci/stream.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

bool channel_idle(const struct channel *channel)
{
	return channel->out_start == channel->out_end && !channel->pipe_left &&
	       !buf_length(&channel->queue) && !channel->failed && !channel->send_error;
}

static void drop_everything(struct channel *channel)
{
	channel->out_start = channel->out_end = 0;
	channel->pipe_left = 0;
	buf_deinit(&channel->queue);
}

static void send_failed(struct channel *channel, int error)
{
	drop_everything(channel);
	channel_send_failed(channel, error);
}

static void update_want(struct channel *channel)
{
	bool waits = !channel->send_error && (!channel_idle(channel) || channel->ready);
	if (channel->failed)
		return;
	int r = source_want(&channel->source, EPOLLIN | (waits ? EPOLLOUT : 0u));
	if (r < 0)
		channel_fail(channel, r);
}

/* How many bytes were sent, 0 = none now or none ever (send_error). */
static size_t send_vector(struct channel *channel, struct iovec *vector, size_t count)
{
	struct msghdr message = { .msg_iov = vector, .msg_iovlen = count };
	ssize_t n;

	do
		n = sendmsg(channel->source.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno != EAGAIN)
			send_failed(channel, -errno);
		return 0;
	}
	channel->bytes_out += (uint64_t)n;
	return (size_t)n;
}

static size_t send_bytes(struct channel *channel, const void *bytes, size_t size)
{
	/* The kernel does not write to it. */
	struct iovec vector = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
	return send_vector(channel, &vector, 1);
}

static void flush_out(struct channel *channel)
{
	if (channel->out_start == channel->out_end)
		return;
	channel->out_start += send_bytes(channel, channel->out + channel->out_start,
	                                 channel->out_end - channel->out_start);
	if (channel->out_start < channel->out_end || channel->send_error)
		return;
	size_t used = channel->out_end;
	channel->out_start = channel->out_end = 0;
	channel_buffer_used(&channel->out, &channel->out_used, used);
}

static void flush_pipe(struct channel *channel)
{
	while (channel->pipe_left && channel->out_start == channel->out_end) {
		ssize_t n = splice(channel->pipe[0], NULL, channel->source.fd, NULL,
		                   channel->pipe_left, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n > 0) {
			channel->bytes_out += (uint64_t)n;
			channel->pipe_left -= (size_t)n;
		} else if (n == 0 || errno != EINTR) {
			if (n == 0 || errno != EAGAIN)
				send_failed(channel, n ? -errno : -EIO);
			return;
		}
	}
}

static void flush_queue(struct channel *channel)
{
	size_t waiting = buf_length(&channel->queue), n;

	do {
		n = waiting ? send_bytes(channel, buf_head(&channel->queue), waiting) : 0;
		buf_consume(&channel->queue, n);
		waiting = buf_length(&channel->queue);
	} while (n && waiting);
}

static void flush(struct channel *channel)
{
	flush_out(channel);
	flush_pipe(channel);
	if (channel->out_start == channel->out_end && !channel->pipe_left)
		flush_queue(channel);
}

void channel_pump(struct channel *channel)
{
	flush(channel);
	while (channel->ready && channel_idle(channel)) {
		struct outlet *outlet = channel->ready;
		channel_unqueue_outlet(channel, outlet);
		outlet_send(outlet);
	}
	if (!channel->outlets && channel_idle(channel))
		channel_transmit_deinit(channel);
	update_want(channel);
}

void channel_queue_outlet(struct channel *channel, struct outlet *outlet)
{
	outlet->queued = true;
	outlet->next_ready = NULL;
	*channel->ready_tail = outlet;
	channel->ready_tail = &outlet->next_ready;
	update_want(channel);
}

void channel_unqueue_outlet(struct channel *channel, struct outlet *outlet)
{
	struct outlet **at = &channel->ready;

	if (!outlet->queued)
		return;
	while (*at != outlet)
		at = &(*at)->next_ready;
	*at = outlet->next_ready;
	if (!*at)
		channel->ready_tail = at;
	outlet->next_ready = NULL;
	outlet->queued = false;
}

static int enqueue(struct channel *channel, const struct iovec *vector, size_t skip)
{
	for (size_t i = 0; i < 2; i++) {
		size_t skipped = min_size(skip, vector[i].iov_len);
		if (skipped == vector[i].iov_len) {
			skip -= skipped;
			continue;
		}
		int r = buf_append(&channel->queue, (const char *)vector[i].iov_base + skipped,
		                   vector[i].iov_len - skipped);
		if (r < 0)
			return r;
		skip -= skipped;
	}
	return 0;
}

int channel_send(struct channel *channel, uint32_t type, uint64_t id, const void *payload,
                 size_t size)
{
	uint8_t header[FRAME_HEADER];
	struct iovec vector[2] = {
		{ .iov_base = header, .iov_len = sizeof(header) },
		{ .iov_base = (void *)(uintptr_t)payload, .iov_len = size },
	};

	if (channel->failed)
		return -EPIPE;
	if (size > channel->max_out - FRAME_HEADER)
		return -EMSGSIZE;
	if (channel->send_error)
		return 0;
	struct frame frame = { type, (uint32_t)(FRAME_HEADER + size), id };
	frame_encode(&frame, header);
	channel->frames_out++;
	size_t sent = channel_idle(channel) ? send_vector(channel, vector, 2) : 0;
	if (sent < frame.size && !channel->send_error) {
		int r = enqueue(channel, vector, sent);
		if (r < 0) {
			drop_everything(channel);
			channel_fail(channel, r);
			return r;
		}
	}
	update_want(channel);
	return 0;
}

uint8_t *channel_data(struct channel *channel)
{
	uint8_t *out = channel_buffer(&channel->out);
	return out ? out + FRAME_HEADER : NULL;
}

static void begin_data(struct channel *channel, uint64_t id, size_t size)
{
	struct frame frame = { FRAME_DATA, (uint32_t)(FRAME_HEADER + size), id };

	frame_encode(&frame, channel->out);
	channel->frames_out++;
	channel->out_start = 0;
}

void channel_send_data(struct channel *channel, uint64_t id, size_t size)
{
	begin_data(channel, id, size);
	channel->out_end = FRAME_HEADER + size;
	flush_out(channel);
	update_want(channel);
}

ssize_t channel_splice_data(struct channel *channel, uint64_t id, int fd, size_t size)
{
	if (!channel_buffer(&channel->out))
		return -ENOMEM;
	if (channel->pipe[0] < 0 && pipe2(channel->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	ssize_t n = splice(fd, NULL, channel->pipe[1], NULL, size,
	                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	begin_data(channel, id, (size_t)n);
	channel->out_end = FRAME_HEADER;
	channel->pipe_left = (size_t)n;
	flush_out(channel);
	flush_pipe(channel);
	update_want(channel);
	return n;
}

void channel_transmit_deinit(struct channel *channel)
{
	channel_buffer_free(&channel->out);
	channel->out_used = 0;
	close_fd(&channel->pipe[0]);
	close_fd(&channel->pipe[1]);
}
