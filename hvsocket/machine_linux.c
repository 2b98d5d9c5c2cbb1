/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a Linux machine is. Nothing is connected to: bind(2) says whether the machine owns an
 * address, and has no effects that a peer could see.
 *
 * A container is a machine of its own to PARENT, and there is no file that says so everywhere. But
 * whoever runs containers gives them a pid namespace, and the kernel's first one has an inode that
 * never changes. A distribution of WSL has a namespace of its own as well and is no container to
 * anybody: its parent is Windows.
 */

#include "hvsocket/transport.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define FIRST_PID_NAMESPACE 0xEFFFFFFC

static bool in_container(void)
{
	struct stat stat_namespace;
	return stat("/proc/self/ns/pid", &stat_namespace) == 0 &&
	       stat_namespace.st_ino != FIRST_PID_NAMESPACE && access("/run/WSL", F_OK) != 0;
}

static uint32_t own_cid(void)
{
	uint32_t cid = VMADDR_CID_ANY;
	cleanup_close int device = open("/dev/vsock", O_RDONLY | O_CLOEXEC);
	if (device < 0 || ioctl(device, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0)
		return VMADDR_CID_ANY;
	return cid;
}

static bool owns_loopback(int fd)
{
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_LOCAL,
		.svm_port = VMADDR_PORT_ANY,
	};
	return bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
}

void hv_machine_probe(struct hv_machine *ret)
{
	*ret = (struct hv_machine){ .cid = own_cid(), .in_container = in_container() };
	/* hv_sock has no CID of its own to tell. */
	ret->is_guest = (ret->cid > VMADDR_CID_HOST && ret->cid != VMADDR_CID_ANY) ||
	                access("/sys/bus/vmbus/drivers/hv_sock", F_OK) == 0;
	cleanup_close int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ret->has_vsock = fd >= 0;
	ret->has_loopback = fd >= 0 && owns_loopback(fd);
}
