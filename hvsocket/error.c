/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Every carrier has its own words for the same few events: that nobody listens is ECONNREFUSED on a
 * unix socket, a missing file on a hybrid one, and an end of file behind a VMM. The layers above
 * decide by meaning (try again? give up? blame whom?), so the words are translated here, once, by
 * a table that names the carrier, what it says and what that means.
 *
 * What cannot be told from the number alone is translated where it happens: a reset means "nobody
 * listens" while connecting to an AF_VSOCK address, and "gone" ever after (hv_connect_finish()).
 */

#include "hvsocket/hvsocket.h"

#define ON(scheme) (1u << (scheme))
/* A hyperv address may be carried by either on Linux. */
#define FILES (ON(HV_SCHEME_HYPERV) | ON(HV_SCHEME_HYBRID) | ON(HV_SCHEME_UNIX))
#define CIDS (ON(HV_SCHEME_HYPERV) | ON(HV_SCHEME_VSOCK))
#define WINDOWS ON(HV_SCHEME_HYPERV)
#define ALL (FILES | CIDS)

static const struct {
	unsigned schemes;
	int error;
	enum hv_error meaning;
} table[] = {
	{ ALL, ECONNREFUSED, HV_REFUSED },
	{ FILES, ENOENT, HV_REFUSED },

	{ ALL, ETIMEDOUT, HV_TIMEOUT },
	{ FILES, EAGAIN, HV_TIMEOUT }, /* the backlog is full */

	{ ALL, ECONNRESET, HV_GONE },
	{ ALL, EPIPE, HV_GONE },
	{ ALL, ENOTCONN, HV_GONE },
	{ ALL, ECONNABORTED, HV_GONE },
	{ ALL, ESHUTDOWN, HV_GONE },
	/* Some kernels (6.17 and on) say so on hv_sock when the host closes. */
	{ CIDS, EIO, HV_GONE },
	{ CIDS, ENOMEM, HV_GONE },

	{ ALL, EADDRNOTAVAIL, HV_BAD_ADDRESS },
	{ CIDS, ENETUNREACH, HV_BAD_ADDRESS }, /* hv_sock: the CID is not 2 */
	{ CIDS, ENODEV, HV_BAD_ADDRESS },      /* virtio: no transport leads there */
	{ FILES, ENAMETOOLONG, HV_BAD_ADDRESS },
	{ FILES, ENOTDIR, HV_BAD_ADDRESS },
	{ FILES, ELOOP, HV_BAD_ADDRESS },

	{ ALL, EACCES, HV_DENIED },
	{ ALL, EPERM, HV_DENIED },

	{ WINDOWS, EOPNOTSUPP, HV_DISABLED },

	{ ALL, EAFNOSUPPORT, HV_UNSUPPORTED },
	{ ALL, ESOCKTNOSUPPORT, HV_UNSUPPORTED },
	{ ALL, EPROTONOSUPPORT, HV_UNSUPPORTED },
	{ ALL & ~WINDOWS, EOPNOTSUPP, HV_UNSUPPORTED },
	{ FILES, EPROTOTYPE, HV_UNSUPPORTED },

	{ ALL, EADDRINUSE, HV_IN_USE },

	/* Winsock's own numbers, which lie beyond every errno. */
	{ WINDOWS, 10013, HV_DENIED },      /* WSAEACCES: the security descriptor */
	{ WINDOWS, 10022, HV_DISABLED },    /* WSAEINVAL from listen and connect */
	{ WINDOWS, 10041, HV_UNSUPPORTED }, /* WSAEPROTOTYPE */
	{ WINDOWS, 10043, HV_UNSUPPORTED }, /* WSAEPROTONOSUPPORT */
	{ WINDOWS, 10044, HV_UNSUPPORTED }, /* WSAESOCKTNOSUPPORT */
	{ WINDOWS, 10047, HV_UNSUPPORTED }, /* WSAEAFNOSUPPORT */
	{ WINDOWS, 10048, HV_IN_USE },      /* WSAEADDRINUSE */
	{ WINDOWS, 10049, HV_BAD_ADDRESS }, /* WSAEADDRNOTAVAIL */
	{ WINDOWS, 10050, HV_UNSUPPORTED }, /* WSAENETDOWN: Hyper-V is not enabled */
	{ WINDOWS, 10051, HV_BAD_ADDRESS }, /* WSAENETUNREACH */
	{ WINDOWS, 10052, HV_GONE },        /* WSAENETRESET */
	{ WINDOWS, 10053, HV_GONE },        /* WSAECONNABORTED */
	{ WINDOWS, 10054, HV_GONE },        /* WSAECONNRESET */
	{ WINDOWS, 10057, HV_GONE },        /* WSAENOTCONN */
	{ WINDOWS, 10058, HV_GONE },        /* WSAESHUTDOWN */
	{ WINDOWS, 10060, HV_TIMEOUT },     /* WSAETIMEDOUT */
	{ WINDOWS, 10061, HV_REFUSED },     /* WSAECONNREFUSED */
};

static const struct {
	int error;
	bool retryable;
	const char *text;
} meanings[] = {
	[HV_ERROR_NONE] = { 0, false, "no error" },
	[HV_REFUSED] = { -ECONNREFUSED, true, "nobody listens there" },
	[HV_TIMEOUT] = { -ETIMEDOUT, true,
	                 "no answer in time: the VM is busy or stopped, or nobody listens there" },
	[HV_GONE] = { -ECONNRESET, false, "the VM or the peer is gone" },
	[HV_BAD_ADDRESS] = { -EADDRNOTAVAIL, false, "the address makes no sense on this machine" },
	[HV_DENIED] = { -EACCES, false,
	                "denied by the permissions of the port, the socket or its directory" },
	[HV_DISABLED] = { -EOPNOTSUPP, false, "the service is disabled for this VM" },
	[HV_UNSUPPORTED] = { -EAFNOSUPPORT, false,
	                     "this machine has no sockets of this family or type" },
	[HV_IN_USE] = { -EADDRINUSE, false, "the address is in use" },
	[HV_OTHER] = { -EIO, false, "unexpected error" },
};

/* What Windows means on Hyper-V sockets, and what to do about it. */
static const struct {
	int error;
	const char *text;
} winsock_texts[] = {
	{ 10013, "denied: this user may not use the VM or the service; be an administrator, or let "
	         "one change the security descriptors of the VM's HvSocketConfig" },
	{ 10022, "the service is disabled for this VM" },
	{ 10047, "there are no Hyper-V sockets here: Hyper-V is not enabled, or this Windows is older "
	         "than Windows 10 and Windows Server 2016" },
	{ 10049, "the address makes no sense on this machine: no such VM runs here, or a wildcard was "
	         "dialled" },
	{ 10050, "there are no Hyper-V sockets here: Hyper-V is not enabled" },
	{ 10060, "no answer in time: the VM is busy or stopped, nobody listens there, or the service "
	         "is not registered on the host" },
	{ 10061, "nobody listens there, or the service is not registered on the host" },
};

enum hv_error hv_error_from_errno(enum hv_scheme scheme, int error)
{
	if (error == 0)
		return HV_ERROR_NONE;
	for (size_t i = 0; i < array_size(table); i++) {
		if (table[i].error == -error && table[i].schemes & ON(scheme))
			return table[i].meaning;
	}
	return HV_OTHER;
}

int hv_error_to_errno(enum hv_error error)
{
	return meanings[error].error;
}

const char *hv_error_text(enum hv_error error)
{
	return meanings[error].text;
}

bool hv_error_retryable(enum hv_error error)
{
	return meanings[error].retryable;
}

const char *hv_error_explain(enum hv_scheme scheme, int error)
{
	for (size_t i = 0; scheme == HV_SCHEME_HYPERV && i < array_size(winsock_texts); i++) {
		if (winsock_texts[i].error == -error)
			return winsock_texts[i].text;
	}
	return hv_error_text(hv_error_from_errno(scheme, error));
}
