/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The verbs of hvsocket.h over the table of carriers. Here is what is the same for all of them:
 * that an address is complete before anything is opened, that a peer is looked at before it is
 * handed on, and what a hyperv address means on Linux.
 *
 * On Linux a hyperv address has no sockets of its own. The wildcards have CIDs (PARENT is 2,
 * LOOPBACK 1), a particular VM has whatever its row in the registry says: a CID or the hybrid
 * socket of its VMM. Nothing but a service of the vsock template fits into a port, so a foreign
 * GUID is refused on AF_VSOCK; on hybrid sockets there is a name for it.
 */

#include "hvsocket/transport.h"

#include <fcntl.h>
#include <string.h>

/* A peer that is turned away costs little; many of them must not hold up the loop. */
#define ATTEMPTS_PER_TURN 32

static const struct transport *const transports[] = {
	/* The carrier of most hyperv addresses; on Windows they will have one of their own. */
	[HV_SCHEME_HYPERV] = &transport_vsock,
	[HV_SCHEME_VSOCK] = &transport_vsock,
	[HV_SCHEME_HYBRID] = &transport_hybrid,
	[HV_SCHEME_UNIX] = &transport_unix,
};

/* What all carriers of a hyperv address have; the identity of the weakest. */
static const struct hv_capabilities hyperv_capabilities = {
	.peer_identity = HV_IDENTITY_CREDENTIALS,
	.write_hint = 65536,
};

const struct hv_capabilities *hv_capabilities(enum hv_scheme scheme)
{
	return scheme == HV_SCHEME_HYPERV ? &hyperv_capabilities
	                                  : &transports[scheme]->capabilities;
}

int hv_map_hyperv(struct hv_endpoint *endpoint, bool listening, const struct hv_children *children)
{
	const struct hv_guid *vm = &endpoint->address.vm;
	const struct hv_child *child = NULL;
	if (hv_vm_kind(vm) == HV_VM_ONE) {
		child = hv_children_find(children, vm);
		/* A listener may be there before its VM: until it has a row nobody is let in. */
		if (!child && !listening)
			return -EADDRNOTAVAIL;
	}
	if (child && child->base) {
		size_t length = strlen(child->base);
		if (length >= sizeof(endpoint->path))
			return -ENAMETOOLONG;
		memcpy(endpoint->path, child->base, length + 1);
		endpoint->scheme = HV_SCHEME_HYBRID;
		return 0;
	}

	struct hv_address address = endpoint->address;
	if (hv_vm_kind(vm) == HV_VM_ONE)
		address.vm = hv_guid_zero;
	struct sockaddr_vm vsock;
	int r = hv_address_to_vsock(&address, &vsock);
	if (r < 0)
		return r;
	endpoint->cid = vsock.svm_cid;
	if (listening && endpoint->cid == VMADDR_CID_HOST)
		endpoint->cid = VMADDR_CID_ANY; /* where we are reached, not from whom */
	if (!listening && child)
		endpoint->cid = child->cid;
	endpoint->scheme = HV_SCHEME_VSOCK;
	return 0;
}

/* Is everything there that the carrier needs? */
static int check_service(const struct hv_endpoint *endpoint)
{
	const struct transport *transport = transports[endpoint->scheme];
	bool named = endpoint->has_service && transport->names_services;
	return transport->needs_service && !endpoint->has_port && !named ? -EADDRNOTAVAIL : 0;
}

/* Whom a listener expects that was not told so by a hyperv address. */
static const struct hv_guid *expected_peers(const struct hv_endpoint *endpoint,
                                            const struct hv_children *children)
{
	if (endpoint->scheme == HV_SCHEME_UNIX ||
	    (endpoint->scheme == HV_SCHEME_VSOCK && endpoint->cid == VMADDR_CID_LOCAL))
		return &hv_guid_loopback;
	if (children)
		return &hv_guid_children;
	/* On vsock the CID is our own and says nothing about the peer. */
	return endpoint->scheme == HV_SCHEME_VSOCK ? &hv_guid_zero : &hv_guid_loopback;
}

static int spare_fd(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/*
 * A peer that cannot be let in for want of descriptors. If it stayed there the loop would report it
 * again and again.
 */
static void turn_away(struct hv_listener *listener)
{
	close_fd(&listener->spare);
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
	listener->refused += fd >= 0;
	close_fd(&fd);
	listener->spare = spare_fd();
}

int hv_listen(struct hv_listener *ret, const struct hv_endpoint *endpoint,
              struct hv_children *children, const struct hv_machine *machine)
{
	*ret = (struct hv_listener){
		.fd = -1,
		.spare = -1,
		.endpoint = *endpoint,
		.children = children,
		.is_guest = machine && machine->is_guest,
	};
	int r = 0;
	if (endpoint->scheme == HV_SCHEME_HYPERV)
		r = hv_map_hyperv(&ret->endpoint, true, children);
	else
		ret->endpoint.address.vm = *expected_peers(endpoint, children);
	if (r >= 0)
		r = check_service(&ret->endpoint);
	if (r >= 0)
		r = transports[ret->endpoint.scheme]->listen(ret, machine);
	if (r >= 0)
		ret->spare = spare_fd();
	return r;
}

int hv_accept(struct hv_listener *listener, struct hv_peer *ret_peer)
{
	const struct transport *transport = transports[listener->endpoint.scheme];
	for (unsigned i = 0; i < ATTEMPTS_PER_TURN; i++) {
		struct sockaddr_storage from = { 0 };
		socklen_t size = sizeof(from);
		cleanup_close int fd = accept4(listener->fd, (struct sockaddr *)&from, &size,
		                               SOCK_NONBLOCK | SOCK_CLOEXEC);
		int error = fd < 0 ? errno : 0;
		if (error == EMFILE || error == ENFILE)
			turn_away(listener);
		if (fd < 0 && error != EINTR && error != ECONNABORTED)
			return -error;
		if (fd < 0)
			continue;
		struct hv_peer peer;
		int r = transport->label(listener, fd, &from, &peer);
		if (r >= 0)
			r = hv_admit(&listener->endpoint.address, listener->children, &peer);
		if (r >= 0) {
			if (ret_peer)
				*ret_peer = peer;
			return take_fd(&fd);
		}
		listener->refused++;
	}
	return -EAGAIN;
}

void hv_listener_close(struct hv_listener *listener)
{
	const struct transport *transport = transports[listener->endpoint.scheme];
	if (listener->owns_path && transport->unlisten)
		transport->unlisten(listener);
	listener->owns_path = false;
	close_fd(&listener->fd);
	close_fd(&listener->spare);
}

int hv_connect(const struct hv_endpoint *endpoint, const struct hv_machine *machine, bool as_guest,
               bool *ret_pending)
{
	*ret_pending = false;
	struct hv_endpoint mapped;
	if (endpoint->scheme == HV_SCHEME_HYPERV) {
		mapped = *endpoint;
		int r = hv_map_hyperv(&mapped, false, machine ? machine->children : NULL);
		if (r < 0)
			return r;
		endpoint = &mapped;
	}
	int r = check_service(endpoint);
	if (r < 0)
		return r;
	return transports[endpoint->scheme]->connect(endpoint, machine, as_guest, ret_pending);
}

int hv_connect_finish(int fd)
{
	int error, domain;
	socklen_t size = sizeof(error);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		return -errno;
	/* A virtio or vhost peer resets what nobody listens for. */
	size = sizeof(domain);
	if (error == ECONNRESET &&
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_VSOCK)
		return -ECONNREFUSED;
	return -error;
}

int hv_shutdown(int fd, int how)
{
	return shutdown(fd, how) < 0 ? -errno : 0;
}
