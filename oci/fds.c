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

int fds_send(int socket_fd, const void *bytes, size_t size, const int *fds, size_t fd_count)
{
	union fd_control control = { .bytes = { 0 } };
	struct iovec vector = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

	if (fd_count > CHANNEL_FDS_MAX)
		return -EINVAL;
	if (fd_count) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * fd_count);
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
	}
	while (vector.iov_len) {
		ssize_t n = sendmsg(socket_fd, &message, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		/* The descriptors went with the first byte. */
		message.msg_controllen = 0;
		vector.iov_base = (char *)vector.iov_base + n;
		vector.iov_len -= (size_t)n;
	}
	return 0;
}
