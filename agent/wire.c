/* SPDX-License-Identifier: Apache-2.0 */

/* One message, perhaps with an fd, between the agent and the processes that it makes. */

#include "agent/child_private.h"

#include <string.h>
#include <sys/socket.h>

union wire_control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int child_wire_send(int socket_fd, const struct child_wire *wire, int fd)
{
	union wire_control control = { .bytes = { 0 } };
	size_t length = CHILD_WIRE_MIN + strnlen(wire->text, sizeof(wire->text));
	struct iovec iov = { .iov_base = (void *)wire, .iov_len = length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	while (sendmsg(socket_fd, &message, MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static int take_passed(struct msghdr *message)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);
	int fd;
	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
	    header->cmsg_len != CMSG_LEN(sizeof(fd)))
		return -1;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

int child_wire_receive(int socket_fd, int flags, struct child_wire *ret, int *ret_fd)
{
	union wire_control control;
	struct iovec iov = { .iov_base = ret, .iov_len = sizeof(*ret) - 1 };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;
	/* A peer that died with something of ours unread: told once, before the last that it
	 * sent. */
	do
		n = recvmsg(socket_fd, &message, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n <= 0)
		return n < 0 ? -errno : 0;
	cleanup_close int fd = take_passed(&message);
	if ((size_t)n < CHILD_WIRE_MIN)
		return -EBADMSG;
	((char *)ret)[n] = '\0';
	*ret_fd = take_fd(&fd);
	return 1;
}
