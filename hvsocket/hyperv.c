/* SPDX-License-Identifier: Apache-2.0 */

/*
 * AF_HYPERV, the real thing: the verbs of hvsocket.h on Windows.
 *
 * The kernel keeps the rules of the wildcards itself here and answers 10049 where an address makes
 * no sense. What is refused before it is asked is what it leaves undefined (BROADCAST) and what has
 * to be refused in the same words everywhere.
 *
 * The identity of a VM is in the local address of the socket that was accepted from it, not in the
 * remote one, and only in the address that came with the connection: getsockname() may say
 * anything. A listener bound to a wildcard is told in this way who came.
 *
 * A handle of Windows has 32 bits that matter, so a SOCKET fits into an int, as everywhere else an
 * fd does.
 */

#include "hvsocket/hyperv.h"

#include <limits.h>
#include <string.h>

#define BACKLOG 128
#define ATTEMPTS_PER_TURN 32

static void encode(const struct hv_address *address, struct winsock_address *ret)
{
	*ret = (struct winsock_address){ .size = HV_SOCKADDR_SIZE };
	hv_address_encode(address, (uint8_t *)&ret->storage);
}

static int decode(const struct winsock_address *address, struct hv_address *ret)
{
	return hv_address_decode((const uint8_t *)&address->storage, (size_t)address->size, ret);
}

unsigned hyperv_connect_milliseconds = 10000;

/* Best effort: the options came one after another; Windows 10 1607 has but the first. */
static void prepare(SOCKET socket)
{
	const struct {
		enum hyperv_option option;
		ULONG value;
	} options[] = {
		{ HYPERV_CONNECT_TIMEOUT, (ULONG)min_size(hyperv_connect_milliseconds,
		                                          HYPERV_CONNECT_TIMEOUT_MAX) },
		{ HYPERV_CONNECTED_SUSPEND, 1 },
	};
	for (size_t i = 0; i < array_size(options); i++)
		(void)setsockopt(socket, HV_PROTOCOL, (int)options[i].option,
		                 (const char *)&options[i].value, sizeof(options[i].value));
}

static const struct hyperv_family real_family = {
	.family = HV_AF_HYPERV,
	.protocol = HV_PROTOCOL,
	.encode = encode,
	.decode = decode,
	.prepare = prepare,
};
const struct hyperv_family *hyperv_family = &real_family;

static const struct hv_capabilities capabilities[] = {
	/*
	 * What depends on the other end: a Linux guest is silent where nobody listens and drops at
	 * its close what we have not read. A pause is survived from Windows 10 1709 on only.
	 */
	[HV_SCHEME_HYPERV] = {
		.half_close = true,
		.service_guid = true,
		.peer_identity = HV_IDENTITY_VM,
		.write_hint = 65536,
	},
	[HV_SCHEME_VSOCK] = { 0 },
	[HV_SCHEME_HYBRID] = { 0 },
	[HV_SCHEME_UNIX] = { 0 },
};

const struct hv_capabilities *hv_capabilities(enum hv_scheme scheme)
{
	return &capabilities[scheme];
}

/* Connections that are not decided yet. Few, and of one thread. */
static struct pending {
	struct connecting *connecting;
	struct pending *next;
} *pending_first;

static struct pending **find_pending(int fd)
{
	struct pending **at = &pending_first;
	while (*at && connecting_socket((*at)->connecting) != (SOCKET)fd)
		at = &(*at)->next;
	return at;
}

static void remove_pending(struct pending **at)
{
	struct pending *pending = *at;
	if (!pending)
		return;
	*at = pending->next;
	connecting_free(pending->connecting);
	free(pending);
}

/* Hands a socket on as what callers know. */
static int to_fd(SOCKET *socket)
{
	if (*socket > INT_MAX)
		return -EMFILE;
	int fd = (int)*socket;
	*socket = INVALID_SOCKET;
	return fd;
}

static int set_blocking(SOCKET socket, bool blocking)
{
	u_long mode = !blocking;
	return ioctlsocket(socket, (long)FIONBIO, &mode) ? winsock_error() : 0;
}

const char *hv_refusal(const struct hv_endpoint *endpoint, bool listening,
                       const struct hv_machine *machine)
{
	if (endpoint->scheme != HV_SCHEME_HYPERV)
		return "Windows carries hyperv: endpoints only";
	switch (hv_vm_kind(&endpoint->address.vm)) {
	case HV_VM_ANY:
	case HV_VM_CHILDREN:
		if (!listening)
			return "any and children are for listeners; nobody can be dialled by them";
		break;
	case HV_VM_BROADCAST:
		return "broadcast has no meaning";
	case HV_VM_PARENT:
		if (!machine->is_guest)
			return "this machine is no guest, so it has no parent";
		break;
	default:
		break;
	}
	return endpoint->has_service ? NULL : "the service is missing";
}

/* What every use of an address has to pass before a socket is opened. */
static int check(const struct hv_endpoint *endpoint, const struct hv_machine *machine)
{
	enum hv_vm_kind kind = hv_vm_kind(&endpoint->address.vm);
	if (endpoint->scheme != HV_SCHEME_HYPERV)
		return -EAFNOSUPPORT;
	if (!endpoint->has_service || kind == HV_VM_BROADCAST)
		return -EADDRNOTAVAIL;
	if (kind == HV_VM_PARENT && machine && !machine->is_guest)
		return -EADDRNOTAVAIL;
	return 0;
}

/* A socket that does not block. */
static int open_socket(SOCKET *ret)
{
	cleanup_socket SOCKET socket = INVALID_SOCKET;
	int r = winsock_socket(hyperv_family->family, hyperv_family->protocol, &socket);
	if (r >= 0)
		r = set_blocking(socket, false);
	if (r < 0)
		return r;
	hyperv_family->prepare(socket);
	*ret = socket;
	socket = INVALID_SOCKET;
	return 0;
}

static int bind_to(SOCKET socket, const struct hv_address *address)
{
	struct winsock_address local;
	hyperv_family->encode(address, &local);
	return bind(socket, (const struct sockaddr *)&local.storage, local.size) ? winsock_error()
	                                                                         : 0;
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
	int r = check(endpoint, machine);
	if (r < 0)
		return r;
	cleanup_socket SOCKET socket = INVALID_SOCKET;
	r = open_socket(&socket);
	if (r >= 0)
		r = bind_to(socket, &endpoint->address);
	if (r < 0)
		return r;
	if (listen(socket, BACKLOG))
		return winsock_error();
	r = accepting_new(&ret->accepting, socket, hyperv_family->family, hyperv_family->protocol);
	if (r < 0)
		return r;
	r = to_fd(&socket);
	if (r < 0) {
		accepting_free(take_pointer(ret->accepting));
		return r;
	}
	ret->fd = r;
	return 0;
}

void hyperv_label(const struct hv_address *local, const struct hv_address *remote,
                  struct hv_peer *ret)
{
	enum hv_vm_kind here = hv_vm_kind(&local->vm), there = hv_vm_kind(&remote->vm);
	*ret = (struct hv_peer){
		.kind = HV_VM_ANY,
		.address.service = remote->service,
		.identity = HV_IDENTITY_VM,
	};
	if (here == HV_VM_ONE || here == HV_VM_PARENT || here == HV_VM_SILOHOST) {
		ret->kind = here;
		ret->address.vm = local->vm;
	} else if (there == HV_VM_LOOPBACK) {
		ret->kind = HV_VM_LOOPBACK;
		ret->address.vm = hv_guid_loopback;
	}
}

/* Without a registry the kernel's word counts for children; it has kept all others out. */
static int admit(const struct hv_listener *listener, const struct hv_peer *peer)
{
	const struct hv_guid *vm = &listener->endpoint.address.vm;
	enum hv_vm_kind kind = hv_vm_kind(vm);
	if (listener->children || (kind != HV_VM_CHILDREN && kind != HV_VM_ONE))
		return hv_admit(&listener->endpoint.address, listener->children, peer);
	bool admitted = peer->kind == HV_VM_ONE &&
	                (kind == HV_VM_CHILDREN || hv_guid_equal(vm, &peer->address.vm));
	return admitted ? 0 : -EACCES;
}

static int accept_one(struct hv_listener *listener, SOCKET *ret, struct hv_peer *ret_peer)
{
	struct winsock_address from[2];
	struct hv_address local, remote;
	cleanup_socket SOCKET socket = INVALID_SOCKET;
	int r = accepting_take(listener->accepting, &socket, &from[0], &from[1]);
	if (r < 0)
		return r;
	if (hyperv_family->decode(&from[0], &local) < 0)
		return -EACCES;
	/* Nothing hangs on the remote address but what loopback is called. */
	if (hyperv_family->decode(&from[1], &remote) < 0)
		remote = (struct hv_address){ 0 };
	hyperv_label(&local, &remote, ret_peer);
	r = admit(listener, ret_peer);
	if (r < 0)
		return r;
	hyperv_family->prepare(socket);
	r = set_blocking(socket, false);
	if (r < 0)
		return r;
	*ret = socket;
	socket = INVALID_SOCKET;
	return 0;
}

int hv_accept(struct hv_listener *listener, struct hv_peer *ret_peer)
{
	for (unsigned i = 0; i < ATTEMPTS_PER_TURN; i++) {
		cleanup_socket SOCKET socket = INVALID_SOCKET;
		struct hv_peer peer;
		int r = accept_one(listener, &socket, &peer);
		listener->refused += r == -EACCES;
		if (r == -EACCES || r == -ECONNABORTED)
			continue;
		if (r < 0)
			return r;
		if (ret_peer)
			*ret_peer = peer;
		return to_fd(&socket);
	}
	return -EAGAIN;
}

HANDLE hv_listener_event(const struct hv_listener *listener)
{
	return accepting_event(listener->accepting);
}

void hv_listener_close(struct hv_listener *listener)
{
	accepting_free(take_pointer(listener->accepting));
	hv_close(listener->fd);
	listener->fd = -1;
}

/*
 * ConnectEx wants a socket that is bound; to what, does not matter. The wildcard may be forbidden
 * to who is no administrator, the address of the peer is not.
 */
static int bind_anywhere(SOCKET socket, const struct hv_address *peer)
{
	static const struct hv_address anything = { 0 };
	int r = bind_to(socket, &anything);
	return r == -WSAEACCES ? bind_to(socket, peer) : r;
}

int hv_connect(const struct hv_endpoint *endpoint, const struct hv_machine *machine, bool as_guest,
               bool *ret_pending)
{
	enum hv_vm_kind kind = hv_vm_kind(&endpoint->address.vm);
	struct winsock_address to;
	(void)as_guest;
	*ret_pending = false;
	int r = check(endpoint, machine);
	if (r < 0)
		return r;
	if (kind == HV_VM_ANY || kind == HV_VM_CHILDREN)
		return -EADDRNOTAVAIL;
	cleanup_socket SOCKET socket = INVALID_SOCKET;
	r = open_socket(&socket);
	if (r >= 0)
		r = bind_anywhere(socket, &endpoint->address);
	if (r < 0)
		return r;
	cleanup_free struct pending *pending = calloc(1, sizeof(*pending));
	if (!pending)
		return -ENOMEM;
	hyperv_family->encode(&endpoint->address, &to);
	r = connecting_new(&pending->connecting, socket, &to);
	if (r < 0)
		return r;
	r = to_fd(&socket);
	if (r < 0) {
		connecting_free(pending->connecting);
		return r;
	}
	pending->next = pending_first;
	pending_first = take_pointer(pending);
	*ret_pending = true;
	return r;
}

HANDLE hv_connect_event(int fd)
{
	const struct pending *pending = *find_pending(fd);
	return pending ? connecting_event(pending->connecting) : NULL;
}

int hv_connect_finish(int fd)
{
	struct pending **at = find_pending(fd);
	if (!*at)
		return 0;
	int r = connecting_finish((*at)->connecting);
	if (r != -EAGAIN)
		remove_pending(at);
	return r;
}

int hv_handshake(int fd, const struct hv_endpoint *endpoint, struct hv_handshake *state)
{
	(void)fd;
	(void)endpoint;
	(void)state;
	return 0;
}

int hv_wait(int fd, unsigned want, int milliseconds)
{
	HANDLE event = hv_connect_event(fd);
	if (event) {
		DWORD r = WaitForSingleObject(event, (DWORD)milliseconds);
		return r == WAIT_OBJECT_0 ? HV_WRITABLE : 0;
	}
	WSAPOLLFD poll = {
		.fd = (SOCKET)fd,
		.events = (short)((want & HV_READABLE ? POLLRDNORM : 0) |
		                  (want & HV_WRITABLE ? POLLWRNORM : 0)),
	};
	int r = WSAPoll(&poll, 1, milliseconds);
	if (r < 0)
		return winsock_error();
	return (poll.revents & POLLRDNORM ? HV_READABLE : 0) |
	       (poll.revents & POLLWRNORM ? HV_WRITABLE : 0) |
	       (poll.revents & (POLLHUP | POLLERR | POLLNVAL) ? HV_HANGUP : 0);
}

int hv_set_blocking(int fd)
{
	return set_blocking((SOCKET)fd, true);
}

int hv_shutdown(int fd, int how)
{
	return shutdown((SOCKET)fd, how) ? winsock_error() : 0;
}

void hv_close(int fd)
{
	if (fd < 0)
		return;
	remove_pending(find_pending(fd));
	closesocket((SOCKET)fd);
}
