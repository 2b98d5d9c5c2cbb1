/* SPDX-License-Identifier: Apache-2.0 */

/* See the header. The 36 bytes of an address become the 16 of TCP's, and back again. */

#include "contrib/windows/tcp_family.h"

#include <string.h>

struct hv_guid tcp_local, tcp_remote;
unsigned tcp_port, tcp_prepared;

static void encode(const struct hv_address *address, struct winsock_address *ret)
{
	uint32_t port = 0;
	(void)hv_guid_to_port(&address->service, &port);
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_port = htons((u_short)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	*ret = (struct winsock_address){ .size = sizeof(in) };
	memcpy(&ret->storage, &in, sizeof(in));
}

static int decode(const struct winsock_address *address, struct hv_address *ret)
{
	struct sockaddr_in in;
	if (address->size != sizeof(in))
		return -EINVAL;
	memcpy(&in, &address->storage, sizeof(in));
	unsigned port = ntohs(in.sin_port);
	ret->service = hv_guid_from_port(port);
	ret->vm = port == tcp_port ? tcp_local : tcp_remote;
	return in.sin_family == AF_INET ? 0 : -EINVAL;
}

static void prepare(SOCKET socket)
{
	(void)socket;
	tcp_prepared++;
}

const struct hyperv_family tcp_family = { AF_INET, IPPROTO_TCP, encode, decode, prepare };
