/* SPDX-License-Identifier: Apache-2.0 */

/*
 * AcceptEx and ConnectEx. Both write into memory of the caller until they are done, so an operation
 * that is given up is cancelled and then waited for before its memory goes.
 *
 * What they leave behind is only half a socket: getpeername() and shutdown() fail on it until its
 * context is updated, which is done here, so that nobody can forget it.
 *
 * The functions are asked for at each socket: they belong to the provider of its family.
 */

#include "hvsocket/overlapped.h"

#include <mswsock.h>
#include <string.h>

/* AcceptEx wants 16 bytes more than the longest address. */
#define ADDRESS_ROOM (sizeof(struct sockaddr_storage) + 16)

struct accepting {
	OVERLAPPED overlapped;
	SOCKET listener;        /* borrowed */
	SOCKET accepted;        /* becomes the next connection */
	int family, protocol;
	LPFN_ACCEPTEX accept;
	LPFN_GETACCEPTEXSOCKADDRS addresses;
	bool started;
	uint8_t room[2 * ADDRESS_ROOM];
};

struct connecting {
	OVERLAPPED overlapped;
	SOCKET socket;          /* borrowed */
	bool started;
};

int winsock_error(void)
{
	/* Numbers below 10000 are not Winsock's own, and would be taken for errnos. */
	static const struct {
		int winsock, error;
	} table[] = {
		{ WSAEWOULDBLOCK, -EAGAIN },
		{ WSA_IO_INCOMPLETE, -EAGAIN },
		{ WSAEMFILE, -EMFILE },
		{ WSA_OPERATION_ABORTED, -ECANCELED },
		{ WSA_NOT_ENOUGH_MEMORY, -ENOMEM },
	};
	int last = WSAGetLastError();
	for (size_t i = 0; i < array_size(table); i++) {
		if (table[i].winsock == last)
			return table[i].error;
	}
	return last >= WSABASEERR ? -last : -EIO;
}

static int start_winsock(void)
{
	static bool started;
	WSADATA data;
	if (started)
		return 0;
	int error = WSAStartup(MAKEWORD(2, 2), &data);
	started = !error;
	return -error;
}

int winsock_socket(int family, int protocol, SOCKET *ret)
{
	int r = start_winsock();
	if (r < 0)
		return r;
	SOCKET socket = WSASocketW(family, SOCK_STREAM, protocol, NULL, 0,
	                           WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
	if (socket == INVALID_SOCKET)
		return winsock_error();
	*ret = socket;
	return 0;
}

void winsock_close(SOCKET *socket)
{
	if (*socket != INVALID_SOCKET)
		closesocket(*socket);
	*socket = INVALID_SOCKET;
}

static int find_function(SOCKET socket, const GUID *id, void *ret, size_t size)
{
	GUID wanted = *id;
	DWORD got;
	int r = WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &wanted, sizeof(wanted), ret,
	                 (DWORD)size, &got, NULL, NULL);
	return r ? winsock_error() : 0;
}

/* The result of what was started: 0, or -EAGAIN unless it is waited for. */
static int result(SOCKET socket, OVERLAPPED *overlapped, bool wait)
{
	DWORD bytes, flags;
	return WSAGetOverlappedResult(socket, overlapped, &bytes, wait, &flags) ? 0
	                                                                        : winsock_error();
}

static void give_up(SOCKET socket, OVERLAPPED *overlapped)
{
	(void)CancelIoEx((HANDLE)socket, overlapped);
	(void)result(socket, overlapped, true);
}

static int accepting_start(struct accepting *accepting)
{
	DWORD bytes;
	int r = winsock_socket(accepting->family, accepting->protocol, &accepting->accepted);
	if (r < 0)
		return r;
	BOOL done = accepting->accept(accepting->listener, accepting->accepted, accepting->room, 0,
	                              ADDRESS_ROOM, ADDRESS_ROOM, &bytes, &accepting->overlapped);
	if (!done && WSAGetLastError() != WSA_IO_PENDING) {
		r = winsock_error();
		winsock_close(&accepting->accepted);
		return r;
	}
	accepting->started = true;
	return 0;
}

int accepting_new(struct accepting **ret, SOCKET listener, int family, int protocol)
{
	static const GUID accept = WSAID_ACCEPTEX, addresses = WSAID_GETACCEPTEXSOCKADDRS;
	struct accepting *new = calloc(1, sizeof(*new));
	if (!new)
		return -ENOMEM;
	new->listener = listener;
	new->accepted = INVALID_SOCKET;
	new->family = family;
	new->protocol = protocol;
	new->overlapped.hEvent = WSACreateEvent();
	int r = new->overlapped.hEvent ? 0 : winsock_error();
	if (r >= 0)
		r = find_function(listener, &accept, &new->accept, sizeof(new->accept));
	if (r >= 0)
		r = find_function(listener, &addresses, &new->addresses, sizeof(new->addresses));
	if (r >= 0)
		r = accepting_start(new);
	if (r < 0) {
		accepting_free(new);
		return r;
	}
	*ret = new;
	return 0;
}

static void copy_address(struct winsock_address *out, const struct sockaddr *address, int size)
{
	*out = (struct winsock_address){ .size = size };
	if (size > 0 && (size_t)size <= sizeof(out->storage))
		memcpy(&out->storage, address, (size_t)size);
	else
		out->size = 0;
}

/* The connection that has come, made whole. */
static int complete(struct accepting *accepting, SOCKET *ret, struct winsock_address *ret_local,
                    struct winsock_address *ret_remote)
{
	cleanup_socket SOCKET socket = accepting->accepted;
	accepting->accepted = INVALID_SOCKET;
	if (setsockopt(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
	               (const char *)&accepting->listener, sizeof(accepting->listener)))
		return -ECONNABORTED;
	struct sockaddr *local = NULL, *remote = NULL;
	int local_size = 0, remote_size = 0;
	accepting->addresses(accepting->room, 0, ADDRESS_ROOM, ADDRESS_ROOM, &local, &local_size,
	                     &remote, &remote_size);
	copy_address(ret_local, local, local_size);
	copy_address(ret_remote, remote, remote_size);
	*ret = socket;
	socket = INVALID_SOCKET;
	return 0;
}

int accepting_take(struct accepting *accepting, SOCKET *ret, struct winsock_address *ret_local,
                   struct winsock_address *ret_remote)
{
	int r;
	if (!accepting->started) {
		/* The last one could not be started, for want of sockets perhaps. */
		r = accepting_start(accepting);
		if (r < 0)
			return r;
	}
	r = result(accepting->listener, &accepting->overlapped, false);
	if (r == -EAGAIN)
		return r;
	if (r >= 0)
		r = complete(accepting, ret, ret_local, ret_remote);
	else
		winsock_close(&accepting->accepted);
	accepting->started = false;
	(void)WSAResetEvent(accepting->overlapped.hEvent);
	/* A connection that was lost before it was accepted is no reason to stop. */
	if (r == -WSAECONNRESET || r == -WSAECONNABORTED)
		r = -ECONNABORTED;
	if (accepting_start(accepting) < 0)
		(void)WSASetEvent(accepting->overlapped.hEvent); /* to be tried again */
	return r;
}

HANDLE accepting_event(const struct accepting *accepting)
{
	return accepting->overlapped.hEvent;
}

void accepting_free(struct accepting *accepting)
{
	if (!accepting)
		return;
	if (accepting->started)
		give_up(accepting->listener, &accepting->overlapped);
	winsock_close(&accepting->accepted);
	if (accepting->overlapped.hEvent)
		(void)WSACloseEvent(accepting->overlapped.hEvent);
	free(accepting);
}

int connecting_new(struct connecting **ret, SOCKET socket, const struct winsock_address *to)
{
	static const GUID id = WSAID_CONNECTEX;
	LPFN_CONNECTEX connect;
	struct connecting *new = calloc(1, sizeof(*new));
	if (!new)
		return -ENOMEM;
	new->socket = socket;
	new->overlapped.hEvent = WSACreateEvent();
	int r = new->overlapped.hEvent ? 0 : winsock_error();
	if (r >= 0)
		r = find_function(socket, &id, &connect, sizeof(connect));
	if (r >= 0 && !connect(socket, (const struct sockaddr *)&to->storage, to->size, NULL, 0, NULL,
	                       &new->overlapped) && WSAGetLastError() != WSA_IO_PENDING)
		r = winsock_error();
	if (r < 0) {
		connecting_free(new);
		return r;
	}
	new->started = true;
	*ret = new;
	return 0;
}

int connecting_finish(struct connecting *connecting)
{
	int r = result(connecting->socket, &connecting->overlapped, false);
	if (r == -EAGAIN)
		return r;
	connecting->started = false;
	if (r >= 0 && setsockopt(connecting->socket, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0))
		r = winsock_error();
	return r;
}

HANDLE connecting_event(const struct connecting *connecting)
{
	return connecting->overlapped.hEvent;
}

SOCKET connecting_socket(const struct connecting *connecting)
{
	return connecting->socket;
}

void connecting_free(struct connecting *connecting)
{
	if (!connecting)
		return;
	if (connecting->started)
		give_up(connecting->socket, &connecting->overlapped);
	if (connecting->overlapped.hEvent)
		(void)WSACloseEvent(connecting->overlapped.hEvent);
	free(connecting);
}
