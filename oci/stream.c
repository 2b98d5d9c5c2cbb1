/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the frames of kind 4 mean, and which of them are believed.
 *
 * Frames cross: when one side ends or stops a stream, the other may already have sent something
 * about it. WINDOW and STOP for an outlet that is no more are therefore ignored. DATA and END are
 * not: an inlet, or its ghost, is there until END, so for them an unknown stream is a peer that
 * does not know what it is doing, and the connection is closed before it does harm.
 */

#include "oci/stream.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#define WINDOW_PAYLOAD 8
#define END_PAYLOAD 12
#define STOP_PAYLOAD 4

static int on_window(struct channel *channel, uint64_t id, const uint8_t *payload)
{
	struct outlet *outlet = outlet_find(channel, id);
	if (outlet)
		outlet_grant(outlet, frame_get_u64(payload));
	return 0;
}

static int on_stop(struct channel *channel, uint64_t id, const uint8_t *payload)
{
	(void)payload;
	struct outlet *outlet = outlet_find(channel, id);
	if (outlet)
		outlet_stop(outlet);
	return 0;
}

static int on_end(struct channel *channel, uint64_t id, const uint8_t *payload)
{
	struct inlet *inlet = inlet_find(channel, id);
	uint32_t reason = frame_get_u32(payload + 8);

	if (!inlet || inlet->end_received)
		return -EPROTO;
	if (reason > END_STOPPED)
		reason = END_SOURCE_FAILED;
	return inlet_end(inlet, frame_get_u64(payload), reason);
}

static const struct {
	uint32_t type;
	uint32_t payload;
	int (*handle)(struct channel *channel, uint64_t id, const uint8_t *payload);
} controls[] = {
	{ FRAME_WINDOW, WINDOW_PAYLOAD, on_window },
	{ FRAME_END, END_PAYLOAD, on_end },
	{ FRAME_STOP, STOP_PAYLOAD, on_stop },
};

int stream_control(struct channel *channel, const struct frame *frame, const uint8_t *payload)
{
	for (size_t i = 0; i < array_size(controls); i++) {
		if (controls[i].type != frame->type)
			continue;
		if (frame->size != FRAME_HEADER + controls[i].payload)
			return -EPROTO;
		return controls[i].handle(channel, frame->id, payload);
	}
	return -EPROTO;
}

int stream_data(struct channel *channel, const struct frame *frame, struct inlet **ret)
{
	size_t size = frame->size - FRAME_HEADER;
	struct inlet *inlet = inlet_find(channel, frame->id);

	if (!size || size > FRAME_DATA_MAX || !inlet || inlet->end_received)
		return -EPROTO;
	if (size > inlet->granted - inlet->received)
		return -EPROTO;
	*ret = inlet;
	return 0;
}

void stream_grow_pipe(int fd, bool *grown)
{
	if (!*grown)
		(void)fcntl(fd, F_SETPIPE_SZ, STREAM_WINDOW);
	*grown = true;
}

static int make_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int nonblocking_fd(int *fd, int mode)
{
	char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
	struct stat stat;
	unsigned int pty;

	int flags = fcntl(*fd, F_GETFL);
	if (flags < 0 || fstat(*fd, &stat) < 0)
		return -errno;
	if (!S_ISFIFO(stat.st_mode) && !S_ISCHR(stat.st_mode))
		return 0;
	/* Opening the master of a terminal anew makes another terminal. */
	if (ioctl(*fd, TIOCGPTN, &pty) == 0)
		return make_nonblocking(*fd);
	/* A reader that somebody keeps for himself in a pipe stays: O_RDWR is how callers say that
	 * the pipe outlives its readers. What may not be read or written fails as it would have. */
	int access = flags & O_ACCMODE;
	if (access != O_RDWR && access != mode)
		return make_nonblocking(*fd);
	if (access == O_RDWR && S_ISFIFO(stat.st_mode))
		mode = O_RDWR;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", *fd);
	int opened = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (opened < 0)
		return make_nonblocking(*fd);
	close(*fd);
	*fd = opened;
	return 0;
}
