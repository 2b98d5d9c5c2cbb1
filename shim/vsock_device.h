/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The VM's vsock device: the kernel's (vhost-vsock), where there is one, else that of
 * vhost-device-vsock, which turns what the guest dials into unix sockets.
 */

#include "shim/daemon.h"
#include "shim/partition.h"

struct vsock_device {
	int vhost_fd;           /* the kernel's; holds the CID. -1: there is none */
	int fd;                 /* connected to the daemon */
	struct daemon daemon;
};
#define VSOCK_DEVICE_NULL { .vhost_fd = -1, .fd = -1, .daemon = DAEMON_NULL }

/* Decides which it is, and fills in the partition's child. */
int vsock_device_prepare(struct vsock_device *device, struct partition *partition,
                         struct fault *fault);
/* Where the guest's connections arrive. */
int vsock_device_endpoint(const struct vsock_device *device, const struct partition *partition,
                          uint32_t port, struct hv_endpoint *ret);
/* Starts the daemon, if it is needed. */
int vsock_device_start(struct vsock_device *device, struct partition *partition,
                       const struct daemon_ops *ops, struct fault *fault);
/* Waits until the daemon can be connected to. */
int vsock_device_connect(struct vsock_device *device, struct partition *partition,
                         struct fault *fault);
void vsock_device_deinit(struct vsock_device *device);
