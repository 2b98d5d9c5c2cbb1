/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The verbs of hvsocket.h over the table of carriers. Here is what is the same for all of them:
 * that an address is complete before anything is opened, and that a peer is looked at before it is
 * handed on.
 *
 * A hyperv address may mean several carriers at once (ways.c). Each gets a listener of its own, and
 * an epoll instance makes one descriptor of them. Its list of what is ready is a queue: what has
 * been reported goes behind the others, so that a carrier with many peers does not keep those of
 * another waiting.
 */

#include "hvsocket/transport.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

/* A peer that is turned away costs little; many of them must not hold up the loop. */
#define ATTEMPTS_PER_TURN 32

static const struct transport *const transports[] = {
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
static void turn_away(struct hv_listener *listener, const struct hv_listener *way)
{
	close_fd(&listener->spare);
	int fd = accept4(way->fd, NULL, NULL, SOCK_CLOEXEC);
	listener->refused += fd >= 0;
	close_fd(&fd);
	listener->spare = spare_fd();
}

/* One carrier; endpoint.address.vm says who is let in. */
static int listen_on(struct hv_listener *listener, const struct hv_machine *machine)
{
	int r = check_service(&listener->endpoint);
	return r < 0 ? r : transports[listener->endpoint.scheme]->listen(listener, machine);
}

static void close_one(struct hv_listener *listener)
{
	if (listener->owns_path && transports[listener->endpoint.scheme]->unlisten)
		transports[listener->endpoint.scheme]->unlisten(listener);
	listener->owns_path = false;
	close_fd(&listener->fd);
}

void hv_listener_close(struct hv_listener *listener)
{
	for (unsigned i = 0; i < listener->way_count; i++)
		close_one(&listener->ways[i]);
	listener->way_count = 0;
	free_pointer(&listener->ways);
	close_one(listener);
	close_fd(&listener->spare);
}

/* While the ways of a hyperv address are opened. */
struct opening {
	struct hv_listener *listener;
	const struct hv_machine *machine;
	int absent;             /* why the last one was left out */
};

static int open_way(void *context, const struct hv_endpoint *carrier, bool as_guest)
{
	struct opening *opening = context;
	struct hv_listener *listener = opening->listener;
	bool is_loopback = carrier->scheme == HV_SCHEME_HYBRID &&
	                   hv_vm_kind(&carrier->address.vm) == HV_VM_LOOPBACK;
	cleanup_close int lock = -1;
	(void)as_guest;
	struct hv_listener *ways = reallocarray(listener->ways, listener->way_count + 1,
	                                        sizeof(*ways));
	if (!ways)
		return -ENOMEM;
	listener->ways = ways;
	struct hv_listener *way = &ways[listener->way_count];
	*way = (struct hv_listener){
		.fd = -1,
		.spare = -1,
		.endpoint = *carrier,
		.children = listener->children,
		.is_guest = listener->is_guest,
	};
	int r = is_loopback ? hv_hold_loopback_directory(&lock) : 0;
	if (r >= 0)
		r = listen_on(way, opening->machine);
	if (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL) {
		opening->absent = r;
		return 0;
	}
	listener->way_count += r >= 0;
	return r;
}

/* One way is the listener itself; several are behind an epoll instance. */
static int gather_ways(struct hv_listener *listener)
{
	if (listener->way_count == 1) {
		struct hv_listener *way = listener->ways;
		*listener = *way;
		free(way);
		return 0;
	}
	cleanup_close int fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (unsigned i = 0; i < listener->way_count; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.u32 = i };
		if (epoll_ctl(fd, EPOLL_CTL_ADD, listener->ways[i].fd, &event) < 0)
			return -errno;
	}
	listener->fd = take_fd(&fd);
	return 0;
}

static int listen_hyperv(struct hv_listener *listener, const struct hv_machine *machine)
{
	struct opening opening = { listener, machine, -EADDRNOTAVAIL };
	int r = hv_ways(&listener->endpoint, true, listener->children, machine, open_way, &opening);
	if (r >= 0)
		r = listener->way_count ? gather_ways(listener) : opening.absent;
	if (r < 0)
		hv_listener_close(listener);
	return r;
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
	int r;
	if (endpoint->scheme == HV_SCHEME_HYPERV) {
		r = listen_hyperv(ret, machine);
	} else {
		ret->endpoint.address.vm = *expected_peers(endpoint, children);
		r = listen_on(ret, machine);
	}
	if (r >= 0)
		ret->spare = spare_fd();
	return r;
}

/* Whose turn it is; NULL when nobody waits. */
static const struct hv_listener *next_way(const struct hv_listener *listener)
{
	struct epoll_event event;
	if (!listener->ways)
		return listener;
	return epoll_wait(listener->fd, &event, 1, 0) == 1 ? &listener->ways[event.data.u32] : NULL;
}

/* -EACCES: one has come that may not come in. */
static int accept_one(struct hv_listener *listener, const struct hv_listener *way,
                      struct hv_peer *ret_peer)
{
	struct sockaddr_storage from = { 0 };
	socklen_t size = sizeof(from);
	cleanup_close int fd = accept4(way->fd, (struct sockaddr *)&from, &size,
	                               SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = transports[way->endpoint.scheme]->label(way, fd, &from, ret_peer);
	if (r >= 0)
		r = hv_admit(&way->endpoint.address, listener->children, ret_peer);
	if (r >= 0)
		return take_fd(&fd);
	listener->refused++;
	return -EACCES;
}

int hv_accept(struct hv_listener *listener, struct hv_peer *ret_peer)
{
	for (unsigned i = 0; i < ATTEMPTS_PER_TURN; i++) {
		struct hv_peer peer;
		const struct hv_listener *way = next_way(listener);
		int r = way ? accept_one(listener, way, &peer) : -EAGAIN;
		if (r == -EMFILE || r == -ENFILE)
			turn_away(listener, way);
		if (r >= 0 && ret_peer)
			*ret_peer = peer;
		if (r != -EINTR && r != -ECONNABORTED && r != -EACCES)
			return r;
	}
	return -EAGAIN;
}

/* While the ways to a hyperv address are tried. */
struct dialling {
	const struct hv_machine *machine;
	bool as_guest, *pending;
	int result;
};

/* Nobody else may listen at the place of the loopback sockets. */
static int check_own(int fd)
{
	struct hv_peer peer;
	int r = unix_label(fd, &peer);
	return r < 0 ? r : peer.kind == HV_VM_LOOPBACK ? 0 : -EACCES;
}

static int dial_way(void *context, const struct hv_endpoint *carrier, bool as_guest)
{
	struct dialling *dialling = context;
	enum hv_vm_kind kind = hv_vm_kind(&carrier->address.vm);
	cleanup_close int fd = transports[carrier->scheme]->connect(
		carrier, dialling->machine, dialling->as_guest || as_guest, dialling->pending);
	int r = fd < 0 ? fd : 0;
	if (r >= 0 && carrier->scheme == HV_SCHEME_HYBRID && kind == HV_VM_LOOPBACK)
		r = check_own(fd);
	if (r == -ENOENT)
		r = kind == HV_VM_PARENT || kind == HV_VM_SILOHOST ? -EADDRNOTAVAIL : -ECONNREFUSED;
	dialling->result = r < 0 ? r : take_fd(&fd);
	return r == -ECONNREFUSED ? 0 : 1;
}

int hv_connect(const struct hv_endpoint *endpoint, const struct hv_machine *machine, bool as_guest,
               bool *ret_pending)
{
	struct dialling dialling = { machine, as_guest, ret_pending, -EADDRNOTAVAIL };
	*ret_pending = false;
	if (endpoint->scheme == HV_SCHEME_HYPERV) {
		int r = hv_ways(endpoint, false, machine ? machine->children : NULL, machine,
		                dial_way, &dialling);
		return r < 0 ? r : dialling.result;
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
