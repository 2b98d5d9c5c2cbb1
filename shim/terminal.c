/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Line editing, echo and signals from keys belong to the container's terminal, so the one on this
 * side is raw. It must be put back on every way out: exit(3) does it, and the signals that would
 * end us are waited for, not suffered (shim/attach.c).
 */

#include "shim/terminal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

static struct termios saved;
static int saved_fd = -1;

void terminal_restore(void)
{
	if (saved_fd >= 0)
		tcsetattr(saved_fd, TCSANOW, &saved);
	saved_fd = -1;
}

static int make_raw(int fd, struct termios *ret_before)
{
	if (tcgetattr(fd, ret_before) < 0)
		return -errno;
	struct termios raw = *ret_before;
	cfmakeraw(&raw);
	return tcsetattr(fd, TCSANOW, &raw) < 0 ? -errno : 0;
}

int terminal_raw(int fd)
{
	int error = make_raw(fd, &saved);
	if (error < 0)
		return error;
	saved_fd = fd;
	atexit(terminal_restore);
	return 0;
}

bool terminal_size(int fd, uint16_t *ret_height, uint16_t *ret_width)
{
	struct winsize size;
	if (ioctl(fd, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
		return false;
	*ret_height = size.ws_row;
	*ret_width = size.ws_col;
	return true;
}

/* One message: the name of the pty as data, the master as the one fd. */
static int send_master(int socket_fd, int master, const char *name)
{
	struct iovec iov = { .iov_base = (char *)name, .iov_len = strlen(name) };
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &master, sizeof(int));
	return sendmsg(socket_fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int send_to(const char *path, int master, const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(path);
	if (length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, length + 1);
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return send_master(fd, master, name);
}

int terminal_hand_out(const char *path, int *ret_slave, struct fault *fault)
{
	char name[64];
	struct termios before;
	cleanup_close int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
	    ptsname_r(master, name, sizeof(name)) != 0)
		return fault_errno(fault, -errno, "opening a terminal");
	cleanup_close int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return fault_errno(fault, -errno, "opening the terminal \"%s\"", name);
	int error = make_raw(slave, &before);
	if (!error)
		error = send_to(path, master, name);
	if (error < 0)
		return fault_errno(fault, error,
		                   "sending the terminal to the console socket \"%s\"", path);
	*ret_slave = take_fd(&slave);
	return 0;
}
