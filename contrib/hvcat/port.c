/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Standard input and output belong to the shell and to every other process that has them, so
 * O_NONBLOCK must not be set there. A pipe or a terminal opened once more by /proc is the same pipe
 * or terminal with flags of our own, and takes 64 KiB in one call. Of a regular file a second
 * opening would have an offset of its own, so files are used as they are; they never keep one
 * waiting for long. What is left (a device, a terminal of another user) is touched only when it is
 * ready, and written to in pieces that a ready pipe takes whole.
 *
 * A fifo without a writer that is opened anew is not reported as hung up: only read(2) tells. So
 * everything is taken to be ready until a call says that it is not.
 */

#include "contrib/hvcat/port.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int port_init(struct port *port, struct loop *loop, int fd, source_fn *fn,
                     enum port_kind kind)
{
	*port = (struct port){
		.kind = kind,
		.owned = kind == PORT_SOCKET || kind == PORT_OPENED,
		.can_read = kind != PORT_SHARED,
		.can_write = kind != PORT_SHARED,
	};
	return source_init(&port->source, loop, fd, 0, fn);
}

int port_init_socket(struct port *port, struct loop *loop, int fd, source_fn *fn)
{
	return port_init(port, loop, fd, fn, PORT_SOCKET);
}

/* -1 where it cannot be opened. */
static int open_anew(int fd)
{
	char path[32];
	int access = fcntl(fd, F_GETFL) & O_ACCMODE;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

int port_init_standard(struct port *port, struct loop *loop, int fd, source_fn *fn)
{
	struct stat stat;
	*port = (struct port)PORT_NULL;
	if (fstat(fd, &stat) < 0)
		return -errno;
	if (S_ISSOCK(stat.st_mode)) {
		int r = port_init(port, loop, fd, fn, PORT_SOCKET);
		port->owned = false;
		return r;
	}
	if (S_ISFIFO(stat.st_mode) || isatty(fd)) {
		cleanup_close int anew = open_anew(fd);
		int r = anew < 0 ? 0 : port_init(port, loop, anew, fn, PORT_OPENED);
		if (r >= 0 && anew >= 0)
			take_fd(&anew);
		if (r < 0 || port->source.fd >= 0)
			return r;
	}
	int r = port_init(port, loop, fd, fn, PORT_SHARED);
	if (r >= 0)
		r = source_want(&port->source, EPOLLPRI);
	if (r >= 0)
		r = source_want(&port->source, 0);
	if (r >= 0 && port->source.always_ready) {
		port->kind = PORT_FILE;
		port->can_read = port->can_write = true;
	}
	return r;
}

void port_deinit(struct port *port)
{
	int fd = port->source.fd;
	bool owned = port->owned;
	source_deinit(&port->source);
	if (owned)
		close_fd(&fd);
	*port = (struct port)PORT_NULL;
}

void port_note(struct port *port, uint32_t got)
{
	port->can_read |= (got & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
	port->can_write |= (got & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
	port->hung_up |= (got & (EPOLLHUP | EPOLLERR)) != 0;
}

ssize_t port_read(struct port *port, void *bytes, size_t size)
{
	ssize_t n = port->kind == PORT_SOCKET
	                    ? recv(port->source.fd, bytes, size, MSG_DONTWAIT)
	                    : read(port->source.fd, bytes, size);
	int error = n < 0 ? errno : 0;
	/* What a socket has is given out in one call: less than wanted is all there was. */
	bool drained = port->kind == PORT_SOCKET && n > 0 && (size_t)n < size;
	if (error == EAGAIN || port->kind == PORT_SHARED || drained)
		port->can_read = false;
	if (error == EINTR)
		error = EAGAIN;
	return n < 0 ? -error : n;
}

ssize_t port_write(struct port *port, const void *bytes, size_t size)
{
	if (port->kind == PORT_SHARED)
		size = min_size(size, PIPE_BUF);
	ssize_t n = port->kind == PORT_SOCKET
	                    ? send(port->source.fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL)
	                    : write(port->source.fd, bytes, size);
	int error = n < 0 ? errno : 0;
	if (error == EAGAIN || port->kind == PORT_SHARED)
		port->can_write = false;
	if (error == EINTR)
		error = EAGAIN;
	return n < 0 ? -error : n;
}

int port_want(struct port *port, bool read, bool write, bool watch)
{
	bool hangs_up = port->kind == PORT_SOCKET || port->kind == PORT_OPENED;
	if (port->kind == PORT_NONE)
		return 0;
	/* EPOLLPRI never comes, but lets a hang-up through. */
	watch = watch && hangs_up && !port->hung_up;
	return source_want(&port->source, (read ? EPOLLIN : 0u) | (write ? EPOLLOUT : 0u) |
	                                  (watch ? EPOLLPRI : 0u));
}
