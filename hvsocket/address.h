/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Hyper-V socket addresses {VM, service} and endpoint URLs, after the address rules of Windows'
 * SOCKADDR_HV and Linux' sockaddr_vm:
 *
 *   hyperv://<GUID|any|children|parent|loopback|silohost>/<GUID|port>
 *   vsock://<cid|any|host|local|hypervisor>:<port>       (also vsock:<cid>:<port>, empty cid = any)
 *   hybrid:///abs/path:<port|GUID>                       (also hybrid:/abs/path, vsock-mux:///)
 *   unix:///abs/path                                     (also unix:/abs/path)
 *   hvsock:///abs/path:<port>, hvsock://<VM>/<service>   (either of hybrid and hyperv)
 *
 * The port may be left out where the caller has a default. Schemes and names are understood in
 * upper case, too.
 */

#include "hvsocket/guid.h"

#include <linux/vm_sockets.h>

#define HV_AF_HYPERV 34
#define HV_SOCKADDR_SIZE 36

/* SOCKADDR_HV of the Windows SDK, as it stands in memory. */
struct hv_sockaddr {
	uint16_t family;        /* HV_AF_HYPERV */
	uint16_t reserved;      /* 0 */
	struct hv_guid vm;
	struct hv_guid service;
};
_Static_assert(sizeof(struct hv_sockaddr) == HV_SOCKADDR_SIZE, "SOCKADDR_HV has 36 bytes");
_Static_assert(offsetof(struct hv_sockaddr, vm) == 4, "VmId is at 4");
_Static_assert(offsetof(struct hv_sockaddr, service) == 20, "ServiceId is at 20");

enum hv_vm_kind {
	HV_VM_ANY,
	HV_VM_CHILDREN,
	HV_VM_LOOPBACK,
	HV_VM_PARENT,
	HV_VM_SILOHOST,
	HV_VM_BROADCAST,
	HV_VM_ONE, /* a particular VM */
};

/* What Windows calls an address. Equality is of all 32 bytes. */
struct hv_address {
	struct hv_guid vm;
	struct hv_guid service;
};

enum hv_vm_kind hv_vm_kind(const struct hv_guid *vm);
const char *hv_vm_kind_name(enum hv_vm_kind kind); /* "any", "children", … "vm" */
bool hv_address_equal(const struct hv_address *a, const struct hv_address *b);

/* ↔ SOCKADDR_HV. decode: -EINVAL on a wrong size or family. */
void hv_address_encode(const struct hv_address *address, uint8_t out[static HV_SOCKADDR_SIZE]);
int hv_address_decode(const uint8_t *bytes, size_t size, struct hv_address *ret);
/*
 * ↔ sockaddr_vm. To vsock: PARENT is CID 2, LOOPBACK 1, ANY and CHILDREN the wildcard; the
 * service must follow the template. -EADDRNOTAVAIL for what has no CID (a particular VM has none
 * of its own: see the child registry) or no port. From vsock: a CID without a name of its own is
 * ANY, that is, unknown.
 */
int hv_address_to_vsock(const struct hv_address *address, struct sockaddr_vm *ret);
void hv_address_from_vsock(const struct sockaddr_vm *vsock, struct hv_address *ret);

enum hv_scheme {
	HV_SCHEME_HYPERV,
	HV_SCHEME_VSOCK,
	HV_SCHEME_HYBRID,
	HV_SCHEME_UNIX,
};

#define HV_PATH_MAX 4096

/* A parsed endpoint URL. */
struct hv_endpoint {
	enum hv_scheme scheme;
	struct hv_address address; /* HYPERV: as given; VSOCK, HYBRID: service = port by template */
	uint32_t cid;              /* VSOCK; VMADDR_CID_ANY for any */
	uint32_t port;             /* VSOCK, HYBRID, HYPERV with a template service */
	bool has_port;
	bool has_service;          /* HYBRID: a GUID outside the template; HYPERV: any service */
	char path[HV_PATH_MAX];    /* HYBRID: base path; UNIX: path */
};

/*
 * -EINVAL: not one of the forms above; then *ret_why, if not NULL, points to a constant text that
 * says what is wrong, fit to follow "endpoint \"…\": ".
 */
int hv_endpoint_parse(const char *url, struct hv_endpoint *ret, const char **ret_why);
/* Writes the canonical URL; returns its length as snprintf(3) does. */
int hv_endpoint_format(const struct hv_endpoint *endpoint, char *text, size_t size);
