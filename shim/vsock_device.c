/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A CID is claimed by telling it to /dev/vhost-vsock; the kernel hands out none, and says when one
 * is taken. So a random one is tried until one is free, and it is held by the open descriptor,
 * which QEMU inherits: nobody can have it between our claim and the VM's start.
 *
 * vhost-device-vsock wants paths. It gets a directory of its own that it starts in, as nobody it
 * could not get there by a path. It tells nobody when it is ready, so its socket is tried until it
 * answers.
 */

#include "shim/vsock_device.h"

#include "oci/log.h"
#include "shim/locate.h"

#include <fcntl.h>
#include <linux/vhost.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#define VHOST_DEVICE "/dev/vhost-vsock"
#define CLAIM_TRIES 1000
#define START_LIMIT 5000        /* milliseconds */
#define RETRY 2                 /* milliseconds */

#define SOCKETS "vsock"         /* the daemon's directory, below the partition's */
#define VHOST_SOCKET "vhost.sock"
#define BASE "vm"

/* The kernel's */

static int claim_cid(int fd, uint32_t *ret)
{
	uint32_t random;

	for (int i = 0; i < CLAIM_TRIES; i++) {
		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			return -errno;
		uint64_t cid = random;
		if (cid <= VMADDR_CID_HOST || cid >= VMADDR_CID_ANY)
			continue;
		if (ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &cid) == 0) {
			*ret = random;
			return 0;
		}
		if (errno != EADDRINUSE)
			return -errno;
	}
	return -EADDRINUSE;
}

/* The daemon's */

static int make_directory(const struct partition *partition, struct fault *fault)
{
	char path[PATH_MAX];
	uint32_t user = partition->config->qemu.user;
	int n = snprintf(path, sizeof(path), "%s/" SOCKETS, partition->directory);

	if (n >= (int)sizeof(path))
		return fault_errno(fault, -ENAMETOOLONG, "vsock device");
	if (mkdir(path, 0700) < 0 || lchown(path, user, user) < 0)
		return fault_errno(fault, -errno, "vsock device: make \"%s\"", path);
	return 0;
}

int vsock_device_prepare(struct vsock_device *device, struct partition *partition,
                         struct fault *fault)
{
	cleanup_close int fd = open(VHOST_DEVICE, O_RDWR | O_CLOEXEC);
	int r = fd < 0 ? -errno : claim_cid(fd, &partition->child.cid);

	if (r >= 0) {
		device->vhost_fd = take_fd(&fd);
		return 0;
	}
	log_debug(VHOST_DEVICE ": %s; using vhost-device-vsock", errno_text(r));
	partition->child.uid = partition->config->qemu.user;
	return make_directory(partition, fault);
}

int vsock_device_endpoint(const struct vsock_device *device, const struct partition *partition,
                          uint32_t port, struct hv_endpoint *ret)
{
	*ret = (struct hv_endpoint){
		.scheme = device->vhost_fd >= 0 ? HV_SCHEME_VSOCK : HV_SCHEME_HYBRID,
		.address = { .vm = hv_guid_children, .service = hv_guid_from_port(port) },
		.cid = VMADDR_CID_ANY,
		.port = port,
		.has_port = true,
	};
	int n = snprintf(ret->path, sizeof(ret->path), "%s/" SOCKETS "/" BASE,
	                 partition->directory);
	return n < 0 || (size_t)n >= sizeof(ret->path) ? -ENAMETOOLONG : 0;
}

int vsock_device_start(struct vsock_device *device, struct partition *partition,
                       const struct daemon_ops *ops, struct fault *fault)
{
	static const char *const names[] = { "vhost-device-vsock", NULL };
	static const char *const places[] = { "/usr/libexec/vhost-device-vsock", NULL };
	const struct qemu_config *config = &partition->config->qemu;
	char program[PATH_MAX], directory[PATH_MAX];

	if (device->vhost_fd >= 0)
		return 0;
	/* It is beside the guest's image where the distribution has none. */
	if (config->vhost_device_vsock ||
	    locate_guest("vhost-device-vsock", NULL, names, program, NULL) < 0) {
		int r = locate_program(config->vhost_device_vsock, places, names[0], program,
		                       fault);
		if (r < 0)
			return r;
	}
	snprintf(directory, sizeof(directory), "%s/" SOCKETS, partition->directory);
	/* There is one guest behind each daemon, so they can all have the same number. */
	const char *const args[] = {
		program, "--guest-cid=3", "--socket=" VHOST_SOCKET, "--uds-path=" BASE, NULL,
	};
	const struct daemon_plan plan = {
		.name = "vhost-device-vsock",
		.args = args,
		.fds = (const int[]){ -1 },
		.directory = directory,
		.user = config->user,
	};
	return daemon_start(&device->daemon, &plan, partition->loop, ops, fault);
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

int vsock_device_connect(struct vsock_device *device, struct partition *partition,
                         struct fault *fault)
{
	struct hv_endpoint endpoint = { .scheme = HV_SCHEME_UNIX };
	struct pollfd end = { .fd = device->daemon.pidfd, .events = POLLIN };
	uint64_t limit = now() + START_LIMIT;
	char how[PARTITION_DEATH];
	bool pending;

	if (device->vhost_fd >= 0)
		return 0;
	snprintf(endpoint.path, sizeof(endpoint.path), "%s/" SOCKETS "/" VHOST_SOCKET,
	         partition->directory);
	partition->said = &device->daemon.said;
	for (;;) {
		device->fd = hv_connect(&endpoint, NULL, false, &pending);
		if (device->fd >= 0)
			break;
		if (device->fd != -ENOENT && device->fd != -ECONNREFUSED)
			return fault_errno(fault, device->fd, "connect to vhost-device-vsock");
		if (poll(&end, 1, RETRY) > 0) {
			daemon_collect(&device->daemon, how, sizeof(how));
			return fault_set(fault, -EIO, HRESULT_FAIL, "%s", how);
		}
		if (now() > limit)
			return fault_set(fault, -ETIMEDOUT, HRESULT_FAIL,
			                 "vhost-device-vsock is not ready within %d s",
			                 START_LIMIT / 1000);
	}
	partition->said = NULL;
	return 0;
}

void vsock_device_deinit(struct vsock_device *device)
{
	daemon_deinit(&device->daemon);
	close_fd(&device->fd);
	close_fd(&device->vhost_fd);
}
