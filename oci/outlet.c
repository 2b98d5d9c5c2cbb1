/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The sending half of a stream.
 *
 * An outlet reads its source only when what it reads can leave: the peer's limit has room and the
 * channel has nothing else to send. Then the bytes go from the fd into the channel's frame and out
 * in the same turn; otherwise the outlet stands in the channel's ready list, its source unwatched,
 * and the writer at the other end of the pipe feels the back-pressure as it would without us.
 *
 * The fd stays watched while it is served at once. It is taken out of the loop only when it turns
 * out to be readable at a time when it cannot be read, so a stream that flows costs no
 * epoll_ctl(2).
 */

#include "oci/stream.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct outlet *outlet_find(struct channel *channel, uint64_t id)
{
	struct outlet *outlet = channel->outlets;
	while (outlet && outlet->id != id)
		outlet = outlet->next;
	return outlet;
}

static void watch(struct outlet *outlet, bool readable)
{
	int r = source_want(&outlet->source, readable ? EPOLLIN : 0);
	if (r < 0)
		channel_fail(outlet->channel, r);
}

static void detach(struct outlet *outlet)
{
	struct channel *channel = outlet->channel;
	struct outlet **at = &channel->outlets;

	while (*at != outlet)
		at = &(*at)->next;
	*at = outlet->next;
	outlet->next = NULL;
	channel_unqueue_outlet(channel, outlet);
	source_deinit(&outlet->source);
	outlet->channel = NULL;
	if (!channel->outlets && channel_idle(channel))
		channel_transmit_deinit(channel);
}

void outlet_end(struct outlet *outlet, uint32_t reason)
{
	struct channel *channel = outlet->channel;
	uint8_t payload[12];

	if (!channel)
		return;
	detach(outlet);
	outlet->ended = true;
	frame_put_u64(payload, outlet->sent);
	frame_put_u32(payload + 8, reason);
	(void)channel_send(channel, FRAME_END, outlet->id, payload, sizeof(payload));
}

static void finish(struct outlet *outlet, uint32_t reason)
{
	outlet_end(outlet, reason);
	outlet->ops->ended(outlet, reason);
}

static ssize_t read_source(struct outlet *outlet, void *to, size_t size)
{
	ssize_t n;
	do
		n = outlet->is_socket ? recv(outlet->fd, to, size, MSG_DONTWAIT)
		                      : read(outlet->fd, to, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t copy(struct outlet *outlet, size_t size)
{
	uint8_t *to = channel_data(outlet->channel);
	if (!to)
		return -ENOMEM;
	ssize_t n = read_source(outlet, to, size);
	if (n > 0) {
		outlet->sent += (uint64_t)n;
		channel_send_data(outlet->channel, outlet->id, (size_t)n);
	}
	return n;
}

/* What is wrong with the source, if anything, copy() will find out as well. */
static ssize_t move(struct outlet *outlet, size_t size)
{
	stream_grow_pipe(outlet->fd, &outlet->grown);
	ssize_t n = channel_splice_data(outlet->channel, outlet->id, outlet->fd, size);
	if (n < 0 && n != -EAGAIN) {
		outlet->channel->zero_copy = false;
		return copy(outlet, size);
	}
	outlet->sent += (uint64_t)(n > 0 ? n : 0);
	return n;
}

void outlet_send(struct outlet *outlet)
{
	struct channel *channel = outlet->channel;
	uint64_t granted = outlet->limit - outlet->sent;
	size_t size = min_size(FRAME_DATA_MAX, channel->max_out - FRAME_HEADER);

	if (granted < size)
		size = (size_t)granted;
	if (!size) {
		watch(outlet, false);
		return;
	}
	bool can_move = channel->zero_copy && outlet->is_pipe;
	ssize_t n = can_move && outlet->bulk ? move(outlet, size) : copy(outlet, size);
	outlet->bulk = n >= CHANNEL_SPLICE_MIN;
	if (n > 0 || n == -EAGAIN)
		watch(outlet, true);
	else if (n == 0 || (n == -EIO && outlet->terminal))
		finish(outlet, END_OF_FILE);
	else
		finish(outlet, END_SOURCE_FAILED);
}

static int on_readable(struct source *source, uint32_t got)
{
	(void)got;
	struct outlet *outlet = container_of(source, struct outlet, source);

	if (channel_idle(outlet->channel) && !outlet->channel->ready) {
		outlet_send(outlet);
	} else {
		watch(outlet, false);
		channel_queue_outlet(outlet->channel, outlet);
	}
	return 0;
}

int outlet_init(struct outlet *outlet, struct channel *channel, uint64_t id, int fd, uint64_t limit,
                bool terminal, const struct outlet_ops *ops)
{
	struct stat stat;

	*outlet = (struct outlet)OUTLET_NULL;
	if (!id)
		return -EINVAL;
	if (channel->failed)
		return -EPIPE;
	if (outlet_find(channel, id))
		return -EEXIST;
	if (fstat(fd, &stat) < 0)
		return -errno;
	int r = source_init(&outlet->source, channel->source.loop, fd, limit ? EPOLLIN : 0,
	                    on_readable);
	if (r < 0)
		return r;
	outlet->channel = channel;
	outlet->ops = ops;
	outlet->fd = fd;
	outlet->id = id;
	outlet->limit = limit;
	outlet->terminal = terminal;
	outlet->is_pipe = S_ISFIFO(stat.st_mode);
	outlet->is_socket = S_ISSOCK(stat.st_mode);
	outlet->next = channel->outlets;
	channel->outlets = outlet;
	return 0;
}

void outlet_grant(struct outlet *outlet, uint64_t limit)
{
	if (limit <= outlet->limit)
		return;
	outlet->limit = limit;
	if (!outlet->queued)
		watch(outlet, true);
}

void outlet_stop(struct outlet *outlet)
{
	finish(outlet, END_STOPPED);
}

void outlet_lose(struct outlet *outlet)
{
	detach(outlet);
	if (outlet->ops->lost)
		outlet->ops->lost(outlet);
}

uint64_t outlet_offset(const struct outlet *outlet)
{
	int waiting = 0;

	if (!outlet->ended && outlet->fd >= 0 && ioctl(outlet->fd, FIONREAD, &waiting) < 0)
		waiting = 0;
	return outlet->sent + (uint64_t)(waiting > 0 ? waiting : 0);
}

void outlet_forget(struct outlet *outlet)
{
	if (outlet->channel)
		detach(outlet);
}

void outlet_deinit(struct outlet *outlet)
{
	outlet_end(outlet, END_SOURCE_FAILED);
	*outlet = (struct outlet)OUTLET_NULL;
}
