/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Windows: accepting and connecting in the background, on sockets of any family. Each operation has
 * an event, which is set when the operation is done and can be waited for together with others.
 *
 * Errors are negative: Winsock's own numbers, from -10000 on, or errnos of the same meaning where
 * callers look for them.
 */

#include "hvsocket/base.h"

#include <winsock2.h>

/* The last error of Winsock. */
int winsock_error(void);

/* A stream socket that no child process inherits; starts Winsock before the first. */
int winsock_socket(int family, int protocol, SOCKET *ret);
void winsock_close(SOCKET *socket);
#define cleanup_socket cleanup(winsock_close)

/* An address as Winsock gives it. */
struct winsock_address {
	int size;
	struct sockaddr_storage storage;
};

/* Accepts one connection after another from a listening socket. */
struct accepting;
int accepting_new(struct accepting **ret, SOCKET listener, int family, int protocol);
/*
 * The next connection, -EAGAIN when there is none, -ECONNABORTED when one came and is gone. The
 * addresses are those that came with it: what getsockname() says later may differ.
 */
int accepting_take(struct accepting *accepting, SOCKET *ret, struct winsock_address *ret_local,
                   struct winsock_address *ret_remote);
HANDLE accepting_event(const struct accepting *accepting);
/* Gives up waiting; the listener stays open. NULL is allowed. */
void accepting_free(struct accepting *accepting);

/* Connects a socket that is bound. */
struct connecting;
int connecting_new(struct connecting **ret, SOCKET socket, const struct winsock_address *to);
/* 0: connected, -EAGAIN: not yet. */
int connecting_finish(struct connecting *connecting);
HANDLE connecting_event(const struct connecting *connecting);
SOCKET connecting_socket(const struct connecting *connecting);
/* Gives up if it is not done; the socket stays open. NULL is allowed. */
void connecting_free(struct connecting *connecting);
