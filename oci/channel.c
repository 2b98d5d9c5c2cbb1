/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The life of a channel: birth, failure, death. Receiving is in receive.c, sending in
 * transmit.c.
 *
 * A connection can break under any call, but its owner hears of it in one place only, the lost
 * callback, which comes from the loop with nothing of ours below it on the stack. So failing only
 * sets a flag and writes to an eventfd, and every function here keeps working, without effect, on a
 * channel that has failed.
 *
 * Sending usually notices first that the peer is gone, when bytes that the peer sent before it went
 * are still waiting to be read. They may be the last words of a container. So after a failed send
 * everything that is there is read, and handled as always, before the connection counts as over.
 */

#include "oci/channel.h"
#include "oci/stream.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

uint8_t *channel_buffer(uint8_t **buffer)
{
	if (!*buffer) {
		void *memory = mmap(NULL, CHANNEL_BUFFER + 1, PROT_READ | PROT_WRITE,
		                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory != MAP_FAILED)
			*buffer = memory;
	}
	return *buffer;
}

void channel_buffer_free(uint8_t **buffer)
{
	if (*buffer)
		munmap(*buffer, CHANNEL_BUFFER + 1);
	*buffer = NULL;
}

void channel_buffer_used(uint8_t **buffer, size_t *most, size_t now)
{
	if (now > *most) {
		*most = now;
	} else if (now < CHANNEL_CALM && *most > CHANNEL_CALM) {
		channel_buffer_free(buffer);
		*most = 0;
	}
}

static int on_socket(struct source *source, uint32_t got)
{
	struct channel *channel = container_of(source, struct channel, source);

	/* Room in the connection is used first: what is sent then may be answered while we read. */
	if (got & EPOLLOUT)
		channel_pump(channel);
	if (!channel->failed && got & ~(uint32_t)EPOLLOUT)
		channel_receive(channel);
	return 0;
}

static int on_wake(struct source *source, uint32_t got)
{
	(void)got;
	struct channel *channel = container_of(source, struct channel, wake);

	if (!channel->failed && !channel_receive(channel))
		channel_fail(channel, channel->send_error);
	if (channel->failed) {
		source_close(&channel->wake);
		channel->ops->lost(channel, channel->error);
	}
	return 0;
}

static void wake(struct channel *channel)
{
	/* Cannot fail: the counter is far from its end. */
	(void)eventfd_write(channel->wake.fd, 1);
}

void channel_fail(struct channel *channel, int error)
{
	if (channel->failed)
		return;
	channel->failed = true;
	channel->error = error;
	(void)source_want(&channel->source, 0);
	wake(channel);
}

void channel_send_failed(struct channel *channel, int error)
{
	channel->send_error = error;
	wake(channel);
}

static bool is_unix(int fd)
{
	int domain;
	socklen_t size = sizeof(domain);
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

int channel_init(struct channel *channel, struct loop *loop, int fd, uint32_t max_in,
                 uint32_t max_out, const struct channel_ops *ops)
{
	*channel = (struct channel)CHANNEL_NULL;
	channel->ops = ops;
	channel->max_in = max_in;
	channel->max_out = max_out;
	channel->is_unix = channel->zero_copy = is_unix(fd);
	channel->queue = (struct buf)BUF(CHANNEL_QUEUE_MAX);
	channel->ready_tail = &channel->ready;

	cleanup_close int owned = fd;
	cleanup_close int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (wake_fd < 0)
		return -errno;
	int r = source_init(&channel->wake, loop, wake_fd, EPOLLIN, on_wake);
	if (r < 0)
		return r;
	r = source_init(&channel->source, loop, owned, EPOLLIN, on_socket);
	if (r < 0) {
		source_deinit(&channel->wake);
		return r;
	}
	take_fd(&wake_fd);
	take_fd(&owned);
	return 0;
}

void channel_deinit(struct channel *channel)
{
	/* From here on the streams' functions do nothing: their owners are called below. */
	channel->failed = true;
	while (channel->outlets)
		outlet_lose(channel->outlets);
	while (channel->inlets)
		inlet_lose(channel->inlets);

	source_close(&channel->source);
	source_close(&channel->wake);
	while (channel->fd_count)
		close(channel->fds[--channel->fd_count]);
	channel_buffer_free(&channel->in);
	channel_transmit_deinit(channel);
	buf_deinit(&channel->queue);
	free(take_pointer(channel->large));
}
