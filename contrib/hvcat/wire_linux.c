/* SPDX-License-Identifier: Apache-2.0 */

/* See the header. */

#include "contrib/hvcat/wire.h"

#include <poll.h>
#include <sys/socket.h>
#include <time.h>

static int wait_for(int fd, short events, int milliseconds)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };
	int n = poll(&poll_fd, 1, milliseconds);
	return n < 0 ? -errno : n;
}

int wire_ready(int fd, bool to_write, int milliseconds)
{
	return wait_for(fd, to_write ? POLLOUT : POLLIN, milliseconds);
}

ssize_t wire_take(int fd, void *bytes, size_t size, bool peek)
{
	ssize_t n = recv(fd, bytes, size, MSG_DONTWAIT | (peek ? MSG_PEEK : 0));
	return n < 0 ? -errno : n;
}

ssize_t wire_give(int fd, const void *bytes, size_t size)
{
	ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

void wire_close(int fd)
{
	close_fd(&fd);
}

void wire_sleep(int milliseconds)
{
	(void)poll(NULL, 0, milliseconds);
}

uint64_t wire_microseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* What is left of the time until then. */
static int left(uint64_t deadline)
{
	uint64_t now = wire_microseconds();
	return now < deadline ? (int)((deadline - now) / 1000) + 1 : 0;
}

/* Waits; 0, or -ETIMEDOUT. */
static int wait_until(int fd, short events, uint64_t deadline)
{
	int r = wait_for(fd, events, left(deadline));
	return r > 0 ? 0 : r < 0 ? r : -ETIMEDOUT;
}

int wire_dial(const struct options *options, const struct hv_endpoint *endpoint,
              const struct hv_machine *machine)
{
	uint64_t deadline = wire_microseconds() + (uint64_t)options->wait * 1000;
	struct hv_handshake handshake = { .services = machine->services };
	bool pending;
	cleanup_close int fd = hv_connect(endpoint, machine, options->as_guest, &pending);
	if (fd < 0)
		return fd;
	int r = pending ? wait_until(fd, POLLOUT, deadline) : 0;
	if (r >= 0 && pending)
		r = hv_connect_finish(fd);
	while (r >= 0 && !options->as_guest) {
		r = hv_handshake(fd, endpoint, &handshake);
		if (r != -EAGAIN)
			break;
		r = wait_until(fd, POLLIN, deadline);
	}
	return r < 0 ? r : take_fd(&fd);
}
