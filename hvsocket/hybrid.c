/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Hybrid vsock, the invention of Firecracker that Cloud Hypervisor, OpenVMM and vhost-device-vsock
 * have taken over: the guest has an ordinary vsock device, and the host has unix sockets. What the
 * guest dials arrives at "<path>_<port>"; who wants to dial the guest connects to "<path>", sends
 * "CONNECT <port>\n" and gets "OK <something>\n".
 *
 * The four agree on no more than that. Firecracker wants the request in one piece,
 * vhost-device-vsock may swallow what follows the newline, OpenVMM is confused by it; the number
 * after OK is a host port, the guest's port or a GUID. So: one write, nothing behind it, and any
 * token is welcome. That nobody listens is said by closing the connection.
 *
 * There is no identity on the wire. Which VM it is follows from which file was connected to, so
 * the directory has to be ours alone, and the process at the other end has to be the VMM.
 */

#include "hvsocket/transport.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int hybrid_guest_path(const struct hv_endpoint *endpoint, char out[static HV_PATH_MAX])
{
	char guid[HV_GUID_TEXT];
	int n = endpoint->has_port
	                ? snprintf(out, HV_PATH_MAX, "%s_%u", endpoint->path, endpoint->port)
	                : snprintf(out, HV_PATH_MAX, "%s_%s", endpoint->path,
	                           hv_guid_format(&endpoint->address.service, guid));
	return n < HV_PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int hybrid_listen(struct hv_listener *listener, const struct hv_machine *machine)
{
	(void)machine;
	const struct hv_endpoint *endpoint = &listener->endpoint;
	char path[HV_PATH_MAX];
	int r = hybrid_guest_path(endpoint, path);
	if (r < 0)
		return r;
	const struct hv_child *child = hv_children_find_base(listener->children, endpoint->path);
	struct unix_rules rules = {
		.private_directory = true,
		.owner = child ? child->uid : geteuid(),
	};
	return unix_listen_as(listener, path, &rules);
}

static void hybrid_unlisten(const struct hv_listener *listener)
{
	char path[HV_PATH_MAX];
	if (hybrid_guest_path(&listener->endpoint, path) == 0)
		unix_unlisten(listener, path);
}

static int hybrid_label(const struct hv_listener *listener, int fd,
                        const struct sockaddr_storage *from, struct hv_peer *ret)
{
	(void)from;
	int r = unix_label(fd, ret);
	if (r < 0)
		return r;
	ret->address.service = listener->endpoint.address.service;
	const struct hv_child *child =
		hv_children_find_base(listener->children, listener->endpoint.path);
	if (child) {
		ret->kind = HV_VM_ONE;
		ret->address.vm = child->vm;
	}
	return 0;
}

/* Whoever can replace the socket file could play the guest, so only its owners may answer. */
static int check_vmm(int fd, const char *base, const struct hv_machine *machine)
{
	struct hv_peer peer;
	int r = unix_label(fd, &peer);
	if (r < 0)
		return r;
	const struct hv_child *child =
		hv_children_find_base(machine ? machine->children : NULL, base);
	if (child)
		return peer.uid == child->uid ? 0 : -EACCES;
	if (peer.kind == HV_VM_LOOPBACK)
		return 0;

	char directory[HV_PATH_MAX];
	struct stat stat_directory;
	const char *slash = strrchr(base, '/');
	if (!slash)
		return -EINVAL;
	size_t length = (size_t)(slash - base) + 1;
	memcpy(directory, base, length);
	directory[length] = '\0';
	if (stat(directory, &stat_directory) < 0)
		return -errno;
	return stat_directory.st_uid == peer.uid ? 0 : -EACCES;
}

static int hybrid_connect(const struct hv_endpoint *endpoint, const struct hv_machine *machine,
                          bool as_guest, bool *ret_pending)
{
	(void)ret_pending;
	if (as_guest) {
		char path[HV_PATH_MAX];
		int r = hybrid_guest_path(endpoint, path);
		return r < 0 ? r : unix_connect(path);
	}
	cleanup_close int fd = unix_connect(endpoint->path);
	if (fd < 0)
		return fd;
	int r = check_vmm(fd, endpoint->path, machine);
	return r < 0 ? r : take_fd(&fd);
}

static int send_request(int fd, const struct hv_endpoint *endpoint,
                        const struct hv_service *services)
{
	char line[64], guid[HV_GUID_TEXT];
	uint32_t port = endpoint->port;
	bool has_port = endpoint->has_port;
	if (!has_port && endpoint->scheme == HV_SCHEME_HYPERV)
		has_port = hv_service_port(services, &endpoint->address.service, &port);
	int length = has_port ? snprintf(line, sizeof(line), "CONNECT %u\n", port)
	                      : snprintf(line, sizeof(line), "CONNECT %s\n",
	                                 hv_guid_format(&endpoint->address.service, guid));
	ssize_t n = send(fd, line, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n == length)
		return 0;
	/* Half a request cannot be taken back, and nobody would answer it. */
	if (n >= 0)
		return -EPROTO;
	return errno == EPIPE || errno == ECONNRESET ? -ECONNREFUSED : -errno;
}

/*
 * Takes what has come, but not a byte behind the newline: that is the guest's. Peeking first makes
 * this two calls instead of one for each byte.
 */
static int receive_some(int fd, struct hv_handshake *state)
{
	char *at = state->line + state->received;
	size_t room = sizeof(state->line) - 1 - state->received;
	if (!room)
		return -EPROTO;
	ssize_t n = recv(fd, at, room, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return errno == ECONNRESET ? -ECONNREFUSED : -errno;
	if (n == 0)
		return -ECONNREFUSED;
	const char *newline = memchr(at, '\n', (size_t)n);
	size_t take = newline ? (size_t)(newline - at) + 1 : (size_t)n;
	n = recv(fd, at, take, MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	state->received += (size_t)n;
	return 0;
}

static int check_reply(const struct hv_handshake *state)
{
	/* "OK", a space, one character at least, the newline. */
	return state->received >= 5 && memcmp(state->line, "OK ", 3) == 0 ? 0 : -EPROTO;
}

static bool needs_line(int fd, const struct hv_endpoint *endpoint)
{
	if (endpoint->scheme != HV_SCHEME_HYPERV)
		return endpoint->scheme == HV_SCHEME_HYBRID;
	/* Only a VM may be behind a VMM; whether it is was found out when dialling. */
	int domain;
	socklen_t size = sizeof(domain);
	return hv_vm_kind(&endpoint->address.vm) == HV_VM_ONE &&
	       getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

int hv_handshake(int fd, const struct hv_endpoint *endpoint, struct hv_handshake *state)
{
	if (!state->sent) {
		if (!needs_line(fd, endpoint))
			return 0;
		int r = send_request(fd, endpoint, state->services);
		if (r < 0)
			return r;
		state->sent = true;
	}
	for (;;) {
		int r = receive_some(fd, state);
		if (r < 0)
			return r;
		if (state->line[state->received - 1] == '\n')
			return check_reply(state);
	}
}

const struct transport transport_hybrid = {
	/*
	 * OpenVMM passes a half-close on, and Cloud Hypervisor since 2026; only OpenVMM knows
	 * GUIDs. Nothing tells which it is. Of a VM that is paused some connections hang for ever.
	 */
	.capabilities = {
		.peek = true,
		.peer_identity = HV_IDENTITY_CREDENTIALS,
		.write_hint = 65536,
	},
	.needs_service = true,
	.names_services = true,
	.listen = hybrid_listen,
	.label = hybrid_label,
	.unlisten = hybrid_unlisten,
	.connect = hybrid_connect,
};
