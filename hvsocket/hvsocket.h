/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Hyper-V sockets: listen, accept, connect over a table of transports, with the semantics of the
 * VM wildcards enforced the same everywhere.
 *
 * Who may be reached and who is let in is decided here, before the kernel is asked and before a
 * byte is read: PARENT is the nearest enclosing host and nothing on a machine that is no guest;
 * CHILDREN admits registered, running children only; LOOPBACK the same partition; ANY everyone;
 * BROADCAST, and dialling ANY or CHILDREN, are refused with -EADDRNOTAVAIL. A connection whose
 * peer may not come in is closed without a reply and counted.
 */

#include "hvsocket/address.h"

#include <sys/types.h>

/* One code per meaning, whatever the transport said. See hv_error_text(). */
enum hv_error {
	HV_ERROR_NONE,
	HV_REFUSED,     /* nobody listens: -ECONNREFUSED, retryable */
	HV_TIMEOUT,     /* -ETIMEDOUT, retryable */
	HV_GONE,        /* the VM or peer went away: -ECONNRESET */
	HV_BAD_ADDRESS, /* makes no sense here: -EADDRNOTAVAIL */
	HV_DENIED,      /* -EACCES */
	HV_DISABLED,    /* the service is disabled: -EOPNOTSUPP */
	HV_UNSUPPORTED, /* no such family or type: -EAFNOSUPPORT */
	HV_IN_USE,      /* -EADDRINUSE */
	HV_OTHER,
};
/* Maps any negative errno that a transport may give, and what each means on that transport. */
enum hv_error hv_error_from_errno(enum hv_scheme scheme, int error);
int hv_error_to_errno(enum hv_error error);
const char *hv_error_text(enum hv_error error);
/* The same, or more than that where the number says more, as Winsock's often do. */
const char *hv_error_explain(enum hv_scheme scheme, int error);
bool hv_error_retryable(enum hv_error error);

/* A VM of ours: exists from before the VM starts until it is reaped. */
struct hv_child {
	struct hv_guid vm;
	uint32_t cid;           /* vsock: its CID; hybrid: 0 */
	const char *base;       /* hybrid: base path of its sockets; borrowed */
	uid_t uid;              /* hybrid: who the VMM runs as */
	bool running;
	struct hv_child *next;
};
struct hv_children {
	struct hv_child *first;
};
/*
 * -EEXIST if the VM, its CID or its base path has a row already, or if one of two base paths is
 * "<the other>_<port or GUID>"; -EINVAL for what can be no child's CID or base path, and for both at
 * once. Rows are borrowed.
 */
int hv_children_add(struct hv_children *children, struct hv_child *child);
void hv_children_remove(struct hv_children *children, struct hv_child *child);
/* NULL where there is no such row. */
struct hv_child *hv_children_find(const struct hv_children *children, const struct hv_guid *vm);

/* A service outside the vsock template, and the port that stands for it on AF_VSOCK. */
struct hv_service {
	struct hv_guid guid;
	uint32_t port;
	struct hv_service *next;
};

/* What a machine is; filled in once by hv_machine_probe(), by hand in tests. */
struct hv_machine {
	bool is_guest;          /* a guest-to-host transport exists */
	bool has_loopback;      /* vsock_loopback is loaded */
	uint32_t cid;           /* our own CID, VMADDR_CID_ANY if unknown */
	const struct hv_children *children; /* whom we can dial by GUID; borrowed, may be NULL */
	const struct hv_service *services;  /* borrowed, may be NULL */
	bool in_container;      /* PARENT is whoever hosts the container, not the VM's host */
	bool has_vsock;         /* the family exists and may be used */
};
/* Asks /dev/vsock for the CID and bind(2) for the transports; never connects. */
void hv_machine_probe(struct hv_machine *ret);

/* What is known of a peer besides what it says itself. */
enum hv_identity {
	HV_IDENTITY_NONE,
	HV_IDENTITY_CREDENTIALS, /* uid and pid: a process of this machine */
	HV_IDENTITY_CID,
	HV_IDENTITY_VM,          /* its GUID, from the kernel */
};

/*
 * Why the rules refuse to dial an endpoint here or to listen for it, in a constant text; NULL if
 * they do not. For who has got -EADDRNOTAVAIL.
 */
const char *hv_refusal(const struct hv_endpoint *endpoint, bool listening,
                       const struct hv_machine *machine);

/* Who came in: labelled as Windows would. */
struct hv_peer {
	enum hv_vm_kind kind;   /* LOOPBACK, PARENT, ONE (a child), or ANY = unknown */
	struct hv_address address;
	uint32_t cid;           /* HV_IDENTITY_CID */
	uid_t uid;              /* HV_IDENTITY_CREDENTIALS */
	pid_t pid;              /* the same; 0 if unknown */
	enum hv_identity identity;
};
/*
 * As Windows would show it, one form on all systems: the kind, and behind it {VmId, ServiceId};
 * then " (CID 2, port 19000)" or " (uid 0, pid 17)" where that is known. As snprintf(3).
 */
int hv_peer_format(const struct hv_peer *peer, char *text, size_t size);
#define HV_PEER_TEXT 160 /* room for all of it */

/*
 * May this peer come in to who listens for address.vm? The one place of the rules; pure, so that
 * tests can feed it. 0, or -EACCES.
 */
int hv_admit(const struct hv_address *listening, const struct hv_children *children,
             const struct hv_peer *peer);

struct hv_listener {
	int fd;                       /* readable when hv_accept() is worth a call */
	struct hv_endpoint endpoint;  /* of the carrier; address.vm: who is let in. ways: as given */
	struct hv_children *children; /* borrowed; may be NULL */
	uint64_t refused;             /* peers that were turned away */
	struct hv_listener *ways;     /* for several carriers, each its own; else NULL */
	unsigned way_count;
	int spare;                    /* given up for a moment to turn a peer away */
	bool is_guest;                /* the machine's: CID 2 is our parent */
	bool owns_path;               /* hybrid, unix: unlink on close, */
	uint64_t device, inode;       /* if it is still this file */
	struct accepting *accepting;  /* Windows: the accept under way; see hyperv.h */
};
#define HV_LISTENER_NULL { .fd = -1, .spare = -1 }

/*
 * Binds and listens, non-blocking. hybrid binds "<path>_<port>" (mode 0600) and refuses a directory
 * that is not ours or that others may write. A stale socket is replaced only when connecting to it
 * gives ECONNREFUSED; a live one is -EADDRINUSE. unix does the same without a rule for the
 * directory.
 *
 * A hyperv address says itself who is let in. On Linux it is listened for on everything that it
 * means on this machine, as it and the registry are now: AF_VSOCK, where the family exists and the
 * service has a port; for ANY and CHILDREN the hybrid sockets of each child that has a base path;
 * for ANY and LOOPBACK a unix socket "loopback_<port or GUID>" for our user and root, below
 * $HVSOCKET_LOOPBACK_DIR, /run/hvrun/hv (root) or $XDG_RUNTIME_DIR/hvrun/hv. What the machine has
 * not is left out; when nothing remains, that is -EADDRNOTAVAIL, or -EAFNOSUPPORT if it was the
 * family. Any other failure of one of them is one of the whole.
 *
 * With vsock and hybrid the registry says who is let in: where there is one, its running children;
 * where there is none, everyone on vsock (local: the same partition), on hybrid sockets processes
 * of our user and of root, and these always on unix sockets. machine may be NULL for hybrid and
 * unix.
 */
int hv_listen(struct hv_listener *ret, const struct hv_endpoint *endpoint,
              struct hv_children *children, const struct hv_machine *machine);
/*
 * The next admitted connection as an fd (non-blocking, close-on-exec), -EAGAIN when there is none.
 * Several carriers take turns. Refused peers are closed and skipped. ret_peer may be NULL.
 */
int hv_accept(struct hv_listener *listener, struct hv_peer *ret_peer);
void hv_listener_close(struct hv_listener *listener);

/*
 * Starts dialling: returns a non-blocking fd and sets *ret_pending while the connection is under
 * way (wait for EPOLLOUT, then hv_connect_finish()). hybrid as a guest ("as_guest") connects to
 * "<path>_<port>"; as a host it connects to "<path>" and the CONNECT line must be exchanged with
 * hv_handshake(); the VMM there must run as the child's user (of machine->children), or, where it
 * is no child's, as us, root or the owner of the directory. machine may be NULL for hybrid and unix.
 *
 * On Linux hyperv://loopback is the unix socket that hv_listen() makes for it, and CID 1 where
 * nobody listens there. In a container PARENT and SILOHOST are its host by way of the socket
 * "/run/hvrun/silohost_<port or GUID>", which that host may have mounted there.
 */
int hv_connect(const struct hv_endpoint *endpoint, const struct hv_machine *machine, bool as_guest,
               bool *ret_pending);
/* 0 or the connection's error, read from SO_ERROR. */
int hv_connect_finish(int fd);

/*
 * The host's side of hybrid dialling: one write of "CONNECT <port>\n", then byte by byte the reply.
 * Call at each readiness until it returns 0 (connected) or an error: -EAGAIN = not yet,
 * -ECONNREFUSED = closed before the line (nobody listens), -EPROTO = not an OK line. At once 0 on
 * what needs no such line (vsock, unix), so that a host may call it on any connection that it has
 * dialled. What follows the line is left in the socket.
 */
struct hv_handshake {
	bool sent;
	size_t received;
	char line[64];
	const struct hv_service *services; /* as the machine's; for hyperv endpoints; may be NULL */
};
int hv_handshake(int fd, const struct hv_endpoint *endpoint, struct hv_handshake *state);

/* What a carrier can do; upper layers choose by it (half-close or framed end of stream). */
struct hv_capabilities {
	bool half_close;        /* shutdown(SHUT_WR) reaches the peer, the way back stays open */
	bool end_is_safe;       /* what was written before close(2) arrives */
	bool refuses_fast;      /* nobody listens: told at once, not by a timeout */
	bool peek;              /* MSG_PEEK */
	bool survives_suspend;  /* a pause of the VM */
	bool service_guid;      /* services outside the vsock template */
	enum hv_identity peer_identity;
	uint32_t write_hint;    /* bytes of one write that the carrier takes well */
};
/*
 * What every carrier of the scheme is sure to have, whatever stands at the other end. What one
 * connection has beyond that depends on the VMM and its version, and only trying tells.
 */
const struct hv_capabilities *hv_capabilities(enum hv_scheme scheme);

int hv_shutdown(int fd, int how);
