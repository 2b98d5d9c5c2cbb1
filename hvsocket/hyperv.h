/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Windows: what its Hyper-V sockets have beyond hvsocket.h. There an fd is a SOCKET, to be closed
 * with hv_close(), and readiness is an event or asked for here, since there is no loop.
 *
 * Only the hyperv scheme is carried; hv_connect() is pending unless it fails, and as_guest and
 * hv_handshake() have nothing to do. Who is let in by CHILDREN or a VM's GUID without a registry is
 * left to the kernel's word. Every connection survives a pause of the VM.
 */

#include "hvsocket/hvsocket.h"
#include "hvsocket/overlapped.h"

/* Protocol of the family, and level of its options, which are 32 bits wide. */
#define HV_PROTOCOL 1
enum hyperv_option {
	HYPERV_CONNECT_TIMEOUT = 1,        /* milliseconds, at most 300000 */
	HYPERV_CONTAINER_PASSTHRU = 2,     /* until Windows 11 22H2 */
	HYPERV_CONNECTED_SUSPEND = 4,      /* since Windows 10 1709 */
	HYPERV_HIGH_VTL = 8,               /* since Windows 11 22H2 */
};
#define HYPERV_CONNECT_TIMEOUT_MAX 300000

/* How long hv_connect() tries, 10 seconds: a Linux guest does not say that nobody listens. */
extern unsigned hyperv_connect_milliseconds;

/* The event of a listener: set when hv_accept() is worth a call. */
HANDLE hv_listener_event(const struct hv_listener *listener);
/* The event of a connection that is pending; NULL of any other. */
HANDLE hv_connect_event(int fd);

enum {
	HV_READABLE = 1,        /* also at the peer's end of stream */
	HV_WRITABLE = 2,        /* also: a pending connection is decided */
	HV_HANGUP = 4,          /* reported whether asked for or not */
};
/* What of it holds for a connection within so many milliseconds (-1: for ever): 0 = nothing. */
int hv_wait(int fd, unsigned want, int milliseconds);
/* Switches a connection to blocking calls, for who has a thread for each direction. */
int hv_set_blocking(int fd);
/* Closes a connection, a pending one also. */
void hv_close(int fd);

/* Who came, after both addresses of the accepted socket. */
void hyperv_label(const struct hv_address *local, const struct hv_address *remote,
                  struct hv_peer *ret);

/*
 * The family below the verbs. It is a variable because AF_HYPERV is nowhere but on Windows itself:
 * the tests put TCP there.
 */
struct hyperv_family {
	int family, protocol;
	void (*encode)(const struct hv_address *address, struct winsock_address *ret);
	int (*decode)(const struct winsock_address *address, struct hv_address *ret);
	/* After socket(), before connect() or with what was accepted. */
	void (*prepare)(SOCKET socket);
};
extern const struct hyperv_family *hyperv_family;
