/* SPDX-License-Identifier: Apache-2.0 */

/*
 * File descriptors that travel with a message over a unix socket. The control socket hands the
 * stdio of a caller to the sandbox this way.
 *
 * The kernel delivers descriptors with the first byte of the send that carried them, which says
 * nothing about frames, so a channel only keeps them in order of arrival and leaves it to the
 * message to say how many are its own. On a connection where nobody takes them, a few are kept and
 * the rest closed.
 */

#include "oci/channel.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

union fd_control {
	char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
	struct cmsghdr header;
};

int channel_take_fd(struct channel *channel)
{
	if (!channel->fd_count)
		return -ENOENT;
	int fd = channel->fds[0];
	channel->fd_count--;
	memmove(channel->fds, channel->fds + 1, channel->fd_count * sizeof(int));
	return fd;
}

static void keep_fds(struct channel *channel, struct msghdr *message)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(message);

	for (; control; control = CMSG_NXTHDR(message, control)) {
		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(fd));
			if (channel->fd_count < CHANNEL_FDS_MAX)
				channel->fds[channel->fd_count++] = fd;
			else
				close(fd);
		}
	}
}

ssize_t channel_receive_bytes(struct channel *channel, void *to, size_t size)
{
	union fd_control control;
	struct iovec vector = { .iov_base = to, .iov_len = size };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	ssize_t n;

	if (channel->is_unix) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
	}
	do
		n = recvmsg(channel->source.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (message.msg_controllen)
		keep_fds(channel, &message);
	channel->bytes_in += (uint64_t)n;
	return n ? n : -ENODATA;
}

static ssize_t send_waiting(int fd, const struct msghdr *message)
{
	for (;;) {
		ssize_t n = sendmsg(fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0)
			return n;
		struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };
		if (errno == EAGAIN)
			(void)poll(&poll_fd, 1, -1);
		else if (errno != EINTR)
			return -errno;
	}
}

static void attach_fds(struct msghdr *message, union fd_control *control, const int *fds,
                       size_t count)
{
	*control = (union fd_control){ .bytes = { 0 } };
	control->header.cmsg_level = SOL_SOCKET;
	control->header.cmsg_type = SCM_RIGHTS;
	control->header.cmsg_len = CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(&control->header), fds, sizeof(int) * count);
	message->msg_control = control->bytes;
	message->msg_controllen = CMSG_SPACE(sizeof(int) * count);
}

int channel_send_fds(struct channel *channel, uint32_t type, uint64_t id, const void *payload,
                     size_t size, const int *fds, size_t fd_count)
{
	union fd_control control;
	uint8_t header[FRAME_HEADER];
	struct iovec vectors[2] = {
		{ .iov_base = header, .iov_len = sizeof(header) },
		{ .iov_base = (void *)(uintptr_t)payload, .iov_len = size },
	};
	struct msghdr message = { .msg_iov = vectors, .msg_iovlen = size ? 2 : 1 };

	if (size > channel->max_out - FRAME_HEADER)
		return -EMSGSIZE;
	if (fd_count > CHANNEL_FDS_MAX)
		return -EINVAL;
	if (!channel_idle(channel))
		return -EBUSY;
	struct frame frame = { type, (uint32_t)(FRAME_HEADER + size), id };
	frame_encode(&frame, header);
	channel->frames_out++;
	if (fd_count)
		attach_fds(&message, &control, fds, fd_count);
	while (message.msg_iovlen) {
		ssize_t n = send_waiting(channel->source.fd, &message);
		if (n < 0)
			return (int)n;
		channel->bytes_out += (uint64_t)n;
		/* The descriptors went with the first byte. */
		message.msg_controllen = 0;
		for (; message.msg_iovlen && (size_t)n >= message.msg_iov->iov_len;
		     message.msg_iov++, message.msg_iovlen--)
			n -= (ssize_t)message.msg_iov->iov_len;
		if (message.msg_iovlen) {
			message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + n;
			message.msg_iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}
