/* SPDX-License-Identifier: Apache-2.0 */

/*
 * AF_VSOCK, over whichever of hv_sock, virtio, vhost and loopback the kernel has.
 *
 * The kernel is helpful in a way that is dangerous here: it routes a CID that leads nowhere to
 * whatever transport is left. CID 2 on a machine that is no guest becomes the machine itself, CID 1
 * without vsock_loopback becomes the host. So who is meant is compared with what the machine is
 * before connect(2) sees it.
 *
 * The peer is the address that accept(2) filled in. A later getpeername(2) would fail as soon as we
 * have shut our side down.
 */

#include "hvsocket/transport.h"

#define BACKLOG 128
/* hv_sock sizes its ring by these; its default, 24 KiB, costs two thirds of the speed. */
#define BUFFER_SIZE (128 * 1024)

static int vsock_socket(void)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

/* Best effort: it has to be before connect or listen, and helps on hv_sock only. */
static void enlarge_buffers(int fd)
{
	int size = BUFFER_SIZE;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

static int vsock_bind(int fd, uint32_t cid, uint32_t port)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
	return bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

int vsock_check_dial(uint32_t cid, const struct hv_machine *machine)
{
	bool is_guest = machine && machine->is_guest;
	bool has_loopback = machine && machine->has_loopback;
	if (cid == VMADDR_CID_ANY || cid == VMADDR_CID_HYPERVISOR)
		return -EADDRNOTAVAIL;
	if (cid == VMADDR_CID_HOST)
		return is_guest ? 0 : -EADDRNOTAVAIL;
	if (cid == VMADDR_CID_LOCAL || (machine && cid == machine->cid))
		return has_loopback ? 0 : -EADDRNOTAVAIL;
	return 0;
}

int vsock_check_listen(const struct hv_guid *vm, const struct hv_machine *machine)
{
	switch (hv_vm_kind(vm)) {
	case HV_VM_PARENT:
		return machine && machine->is_guest ? 0 : -EADDRNOTAVAIL;
	case HV_VM_LOOPBACK:
		return machine && machine->has_loopback ? 0 : -EADDRNOTAVAIL;
	case HV_VM_SILOHOST:
	case HV_VM_BROADCAST:
		return -EADDRNOTAVAIL;
	default:
		return 0;
	}
}

static int vsock_listen(struct hv_listener *listener, const struct hv_machine *machine)
{
	const struct hv_endpoint *endpoint = &listener->endpoint;
	int r = vsock_check_listen(&endpoint->address.vm, machine);
	if (r < 0)
		return r;
	cleanup_close int fd = vsock_socket();
	if (fd < 0)
		return fd;
	enlarge_buffers(fd);
	r = vsock_bind(fd, endpoint->cid, endpoint->port);
	if (r < 0)
		return r;
	if (listen(fd, BACKLOG) < 0)
		return -errno;
	listener->fd = take_fd(&fd);
	return 0;
}

void vsock_label(const struct sockaddr_vm *from, bool is_guest, const struct hv_children *children,
                 struct hv_peer *ret)
{
	*ret = (struct hv_peer){
		.kind = HV_VM_ANY,
		.cid = from->svm_cid,
		.identity = HV_IDENTITY_CID,
	};
	ret->address.service = hv_guid_from_port(from->svm_port);
	const struct hv_child *child = hv_children_find_cid(children, from->svm_cid);
	if (from->svm_cid == VMADDR_CID_LOCAL) {
		ret->kind = HV_VM_LOOPBACK;
		ret->address.vm = hv_guid_loopback;
	} else if (from->svm_cid == VMADDR_CID_HOST && is_guest) {
		ret->kind = HV_VM_PARENT;
		ret->address.vm = hv_guid_parent;
	} else if (child) {
		ret->kind = HV_VM_ONE;
		ret->address.vm = child->vm;
	}
}

static int label(const struct hv_listener *listener, int fd, const struct sockaddr_storage *from,
                 struct hv_peer *ret)
{
	(void)fd;
	vsock_label((const struct sockaddr_vm *)(const void *)from, listener->is_guest,
	            listener->children, ret);
	return 0;
}

static int vsock_connect(const struct hv_endpoint *endpoint, const struct hv_machine *machine,
                         bool as_guest, bool *ret_pending)
{
	(void)as_guest;
	int r = vsock_check_dial(endpoint->cid, machine);
	if (r < 0)
		return r;
	cleanup_close int fd = vsock_socket();
	if (fd < 0)
		return fd;
	enlarge_buffers(fd);
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_cid = endpoint->cid,
		.svm_port = endpoint->port,
	};
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno != EINPROGRESS)
			return errno == ECONNRESET ? -ECONNREFUSED : -errno;
		*ret_pending = true;
	}
	return take_fd(&fd);
}

const struct transport transport_vsock = {
	/*
	 * A guest cannot see what stands behind its CID 2. Firecracker and vhost-device-vsock know
	 * no half-close; hv_sock drops what the host has not read 8 s after the close, has no
	 * MSG_PEEK and lets a connection to nobody run into its timeout.
	 */
	.capabilities = { .peer_identity = HV_IDENTITY_CID, .write_hint = 65536 },
	.needs_service = true,
	.listen = vsock_listen,
	.label = label,
	.connect = vsock_connect,
};
