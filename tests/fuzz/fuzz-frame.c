/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A hostile peer's bytes, in odd pieces, into a channel with streams. The first byte is the size of
 * the pieces; bit 7 of it says plain mode.
 */

#include "oci/stream.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

static int message(struct channel *channel, const struct frame *frame, const char *payload)
{
	if (payload[frame->size - FRAME_HEADER])
		abort();
	return channel_send(channel, 0x20100101, frame->id, "{}", 2);
}
static void lost(struct channel *channel, int error)
{
	channel->error = error;
}
static void in_ended(struct inlet *inlet, uint32_t reason)
{
	if (reason != END_STOPPED && inlet->delivered != inlet->received)
		abort();
}
static void out_ended(struct outlet *outlet, uint32_t reason)
{
	if (reason == END_STOPPED)
		outlet_deinit(outlet);
}
static ssize_t take_half(struct inlet *inlet, const char *bytes, size_t size)
{
	(void)bytes;
	return inlet->delivered > 100 ? -EPIPE : (ssize_t)(size / 2);
}

static const struct channel_ops ops = { message, lost };
static const struct inlet_ops to_fd = { .ended = in_ended };
static const struct inlet_ops to_function = { .write = take_half, .ended = in_ended };
static const struct outlet_ops from_fd = { .ended = out_ended };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct loop loop;
	struct channel channel;
	struct inlet inlets[3] = { INLET_NULL, INLET_NULL, INLET_NULL };
	struct outlet outlet = OUTLET_NULL;
	int fds[2], sink[2], zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	signal(SIGPIPE, SIG_IGN);
	if (!size || loop_init(&loop) < 0 || pipe2(sink, O_NONBLOCK | O_CLOEXEC) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0 ||
	    channel_init(&channel, &loop, fds[0], FRAME_SESSION_DEFAULT, FRAME_PLAIN_MAX, &ops) < 0)
		return 0;
	size_t piece = (bytes[0] & 0x7F) + 1;
	channel.streams = !(bytes[0] & 0x80);
	(void)inlet_init(&inlets[0], &channel, 5, sink[1], 65536, false, &to_fd);
	(void)inlet_init(&inlets[1], &channel, 6, -1, 1000, true, &to_function);
	(void)inlet_init(&inlets[2], &channel, 7, -1, 1000, false, &to_function);
	inlet_deinit(&inlets[2]);
	(void)outlet_init(&outlet, &channel, 8, zero, 0, false, &from_fd);
	for (size_t at = 1; at < size && !channel.failed; at += piece) {
		if (write(fds[1], bytes + at, min_size(piece, size - at)) > 0)
			(void)channel_receive(&channel);
		inlet_resume(&inlets[1]);
		if (outlet.source.want)
			(void)outlet.source.fn(&outlet.source, EPOLLIN);
		channel_pump(&channel);
	}
	channel_deinit(&channel);
	for (size_t i = 0; i < array_size(inlets); i++)
		inlet_deinit(&inlets[i]);
	outlet_deinit(&outlet);
	loop_deinit(&loop);
	close(fds[1]);
	close(sink[0]);
	close(sink[1]);
	close(zero);
	return 0;
}
