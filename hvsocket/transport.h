/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What stands behind hvsocket.h: one row for each carrier. The rows are called with endpoints that
 * are complete (a port or a service where the carrier needs one) and that are their own.
 */

#include "hvsocket/hvsocket.h"

#include <sys/socket.h>

struct transport {
	struct hv_capabilities capabilities;
	bool needs_service;
	bool names_services;    /* has a name for one that is no port */
	/* Binds and listens: sets fd and owns_path. endpoint.address.vm says who is expected. */
	int (*listen)(struct hv_listener *listener, const struct hv_machine *machine);
	/* Who the accepted fd is, after the address that accept(2) gave. */
	int (*label)(const struct hv_listener *listener, int fd,
	             const struct sockaddr_storage *from, struct hv_peer *ret);
	/* Undoes what listen left outside of the fd. May be NULL. */
	void (*unlisten)(const struct hv_listener *listener);
	int (*connect)(const struct hv_endpoint *endpoint, const struct hv_machine *machine,
	               bool as_guest, bool *ret_pending);
};

extern const struct transport transport_vsock;
extern const struct transport transport_hybrid;
extern const struct transport transport_unix;

/*
 * What a hyperv address means on this machine: one way after another, in the order in which they
 * are to be tried, as the endpoint of its carrier; address.vm of this is who is at its other end.
 * as_guest: a hybrid socket of which we have the guest's end. What found answers, if it is not 0,
 * ends it and is returned; -EADDRNOTAVAIL: there is no way. Asks no kernel.
 */
int hv_ways(const struct hv_endpoint *endpoint, bool listening, const struct hv_children *children,
            const struct hv_machine *machine,
            int (*found)(void *context, const struct hv_endpoint *carrier, bool as_guest),
            void *context);
/*
 * Makes the directory of the loopback sockets, which others share who may start just now, and holds
 * it until *ret_lock is closed; that stays -1 where it is not ours alone, for then anybody could
 * hold it for ever. -EADDRNOTAVAIL where there is no place for it.
 */
int hv_hold_loopback_directory(int *ret_lock);
/* False: no row. */
bool hv_service_port(const struct hv_service *services, const struct hv_guid *service,
                     uint32_t *ret);

/* "<base>_<port>", or "<base>_<GUID>" for a service that is no port. */
int hybrid_guest_path(const struct hv_endpoint *endpoint, char out[static HV_PATH_MAX]);

/* -EADDRNOTAVAIL where dialling this CID would end somewhere else than it says. */
int vsock_check_dial(uint32_t cid, const struct hv_machine *machine);
int vsock_check_listen(const struct hv_guid *vm, const struct hv_machine *machine);
void vsock_label(const struct sockaddr_vm *from, bool is_guest, const struct hv_children *children,
                 struct hv_peer *ret);

struct hv_child *hv_children_find_cid(const struct hv_children *children, uint32_t cid);
struct hv_child *hv_children_find_base(const struct hv_children *children, const char *base);

/* How the socket file is looked after. */
struct unix_rules {
	bool private_directory; /* owned by us, root or `owner`, and written by nobody else */
	uid_t owner;            /* whose the socket becomes, so that this user can connect */
};
int unix_listen(const char *path, const struct unix_rules *rules);
/* The same for a listener, which remembers the file, so that it removes no other's. */
int unix_listen_as(struct hv_listener *listener, const char *path, const struct unix_rules *rules);
void unix_unlisten(const struct hv_listener *listener, const char *path);
int unix_connect(const char *path);
/* An fd: until it is closed, nobody else holds the directory. */
int unix_hold_directory(const char *path);
/* Fills in uid and pid, and LOOPBACK for our user and root, ANY for others. */
int unix_label(int fd, struct hv_peer *ret);
