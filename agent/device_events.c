/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The kernel tells of devices over netlink, where it does and when the device file is there
 * already. Where that socket cannot be had, and for a tree that is not the kernel's, the device
 * files are watched instead. What exactly has come does not matter: whoever waits looks again.
 */

#include "agent/device_events.h"

#include <linux/magic.h>
#include <linux/netlink.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#define KERNEL_GROUP 1
#define READS_PER_TURN 64

/* Messages may be lost when too many come at once, which is one more reason to look. */
static int on_event(struct source *source, uint32_t got)
{
	struct device_events *events = container_of(source, struct device_events, source);
	char bytes[4096];
	(void)got;
	for (int i = 0; i < READS_PER_TURN; i++) {
		if (read(source->fd, bytes, sizeof(bytes)) < 0 && errno != ENOBUFS)
			break;
	}
	events->changed(events);
	return 0;
}

static int open_netlink(const struct device_roots *roots)
{
	struct statfs fs;
	if (statfs(roots->sysfs, &fs) < 0 || fs.f_type != SYSFS_MAGIC)
		return -ENODEV;
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP };
	cleanup_close int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
	                              NETLINK_KOBJECT_UEVENT);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return take_fd(&fd);
}

static int open_inotify(const struct device_roots *roots)
{
	cleanup_close int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0 || inotify_add_watch(fd, roots->dev, IN_CREATE | IN_MOVED_TO) < 0)
		return -errno;
	return take_fd(&fd);
}

int device_events_open(struct device_events *events, struct loop *loop,
                       const struct device_roots *roots, device_events_fn *changed)
{
	if (events->source.fd >= 0)
		return 0;
	cleanup_close int fd = open_netlink(roots);
	if (fd < 0)
		fd = open_inotify(roots);
	if (fd < 0)
		return fd;
	events->changed = changed;
	int error = source_init(&events->source, loop, fd, EPOLLIN, on_event);
	if (!error)
		take_fd(&fd);
	return error;
}

void device_events_close(struct device_events *events)
{
	source_close(&events->source);
}
