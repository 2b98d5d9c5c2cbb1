/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From bytes to frames.
 *
 * The peer decides how many bytes come at once and what they claim to be, so a frame is believed
 * only as far as its header, and the header is checked before anything is allocated for it.
 * Messages are put together, in the buffer where they arrived or, when they do not fit, in memory
 * of their own. DATA frames are not: each piece goes to its inlet as it comes, so the bytes of a
 * stream are never copied just to be next to each other.
 *
 * On a unix socket not even the copy into the buffer is needed: when only the header of a DATA
 * frame has been read, the kernel can move the pages of its payload from the socket to the pipe
 * that they are bound for. Reading headers alone costs a system call, so that is done only while
 * the last frame suggests that it will pay.
 */

#include "oci/channel.h"
#include "oci/stream.h"

#include <string.h>

/* So that other sources get their turn. */
#define READS_PER_TURN 4

static ssize_t receive_large(struct channel *channel, bool *more)
{
	size_t size = channel->frame.size - FRAME_HEADER - channel->large_got;
	ssize_t n = channel_receive_bytes(channel, channel->large + channel->large_got, size);

	if (n > 0)
		channel->large_got += (size_t)n;
	*more = n == (ssize_t)size;
	return n;
}

/* Only with an empty buffer. */
static bool receive_spliced(struct channel *channel)
{
	struct inlet *inlet = channel->receiving;
	size_t left = channel->receive_left;

	if (!channel->zero_copy || !inlet || left < CHANNEL_SPLICE_MIN)
		return false;
	size_t n = inlet_splice(inlet, channel->source.fd, left);
	channel->bytes_in += n;
	channel->receive_left -= n;
	return n > 0;
}

static ssize_t receive_buffered(struct channel *channel, bool *more)
{
	size_t have = channel->in_end - channel->in_start;
	size_t room = CHANNEL_BUFFER - have;
	uint8_t *in = channel_buffer(&channel->in);

	if (!in)
		return -ENOMEM;
	if (have && channel->in_start)
		memmove(in, in + channel->in_start, have);
	channel->in_start = 0;
	channel->in_end = have;
	if (channel->header_only && channel->receive_left)
		room = min_size(room, channel->receive_left);
	else if (channel->header_only && have < FRAME_HEADER)
		room = FRAME_HEADER - have;
	ssize_t n = channel_receive_bytes(channel, in + have, room);
	if (n > 0)
		channel->in_end += (size_t)n;
	*more = n == (ssize_t)room;
	return n;
}

/* The payload becomes a string for the time of the call; the byte behind it may be the next
 * frame's. */
static int handle_message(struct channel *channel, const struct frame *frame, uint8_t *payload)
{
	uint8_t *end = payload + (frame->size - FRAME_HEADER);
	uint8_t saved = *end;

	*end = '\0';
	int r;
	if (channel->streams && (frame->type & FRAME_KIND) == FRAME_SESSION)
		r = stream_control(channel, frame, payload);
	else
		r = channel->ops->message(channel, frame, (const char *)payload);
	*end = saved;
	return r;
}

static int handle_large(struct channel *channel)
{
	if (channel->large_got < channel->frame.size - FRAME_HEADER)
		return 0;
	cleanup_free char *payload = take_pointer(channel->large);
	return handle_message(channel, &channel->frame, (uint8_t *)payload);
}

/* The buffer holds a header, and the frame does not fit. */
static int begin_large(struct channel *channel, const struct frame *frame)
{
	size_t have = channel->in_end - channel->in_start - FRAME_HEADER;

	channel->large = malloc(frame->size - FRAME_HEADER + 1);
	if (!channel->large)
		return -ENOMEM;
	channel->frame = *frame;
	memcpy(channel->large, channel->in + channel->in_start + FRAME_HEADER, have);
	channel->large_got = have;
	channel->in_start = channel->in_end;
	return 0;
}

static int begin_data(struct channel *channel, const struct frame *frame)
{
	int r = stream_data(channel, frame, &channel->receiving);

	if (r < 0)
		return r;
	channel->receive_left = frame->size - FRAME_HEADER;
	channel->header_only = channel->zero_copy && channel->receiving->is_pipe &&
	                       channel->receive_left >= CHANNEL_SPLICE_MIN;
	channel->in_start += FRAME_HEADER;
	return 0;
}

static int handle_data(struct channel *channel)
{
	size_t size = min_size(channel->in_end - channel->in_start, channel->receive_left);
	const uint8_t *bytes = channel->in + channel->in_start;
	struct inlet *inlet = channel->receiving;

	channel->in_start += size;
	channel->receive_left -= size;
	return inlet ? inlet_take(inlet, (const char *)bytes, size) : 0;
}

/* One step further in the buffer. > 0: done, more may follow; 0: the rest has not come yet. */
static int handle_some(struct channel *channel)
{
	size_t have = channel->in_end - channel->in_start;
	struct frame frame;

	if (channel->receive_left && have) {
		int r = handle_data(channel);
		return r < 0 ? r : 1;
	}
	if (channel->receive_left || have < FRAME_HEADER)
		return 0;

	uint8_t *at = channel->in + channel->in_start;
	int r = frame_decode(at, channel->max_in, &frame);
	if (r < 0)
		return r;
	if (channel->streams && frame.type == FRAME_DATA) {
		channel->frames_in++;
		r = begin_data(channel, &frame);
		return r < 0 ? r : 1;
	}
	channel->header_only = false;
	if (frame.size > CHANNEL_BUFFER) {
		channel->frames_in++;
		return begin_large(channel, &frame);
	}
	if (have < frame.size)
		return 0;
	channel->frames_in++;
	channel->in_start += frame.size;
	r = handle_message(channel, &frame, at + FRAME_HEADER);
	return r < 0 ? r : 1;
}

static int handle(struct channel *channel)
{
	int r = 1;

	if (channel->large)
		return handle_large(channel);
	while (r > 0 && !channel->failed)
		r = handle_some(channel);
	return r;
}

/* -ENODATA in the middle of a frame is a broken connection. */
static int end_error(const struct channel *channel, int error)
{
	if (error != -ENODATA)
		return error;
	bool inside = channel->large || channel->receive_left ||
	              channel->in_start != channel->in_end;
	return inside ? -ECONNRESET : 0;
}

bool channel_receive(struct channel *channel)
{
	size_t most = 0;
	bool more = true;

	for (int reads = 0; more && reads < READS_PER_TURN && !channel->failed; reads++) {
		ssize_t n;
		if (channel->large) {
			n = receive_large(channel, &more);
		} else {
			if (channel->in_start == channel->in_end && receive_spliced(channel))
				continue;
			n = receive_buffered(channel, &more);
			most = channel->in_end > most ? channel->in_end : most;
		}
		if (n == -EAGAIN)
			return false;
		int r = n < 0 ? end_error(channel, (int)n) : handle(channel);
		if (n < 0 || r < 0)
			channel_fail(channel, r);
	}
	if (channel->in_start == channel->in_end)
		channel_buffer_used(&channel->in, &channel->in_used, most);
	return !channel->failed;
}
