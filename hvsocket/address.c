/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One address in its four dresses: SOCKADDR_HV, sockaddr_vm, a struct of two GUIDs and the text
 * that people type. The layouts of the first two are ours on every system, because the headers of
 * one are not there on the other.
 *
 * Several programs have invented URLs for these sockets, and "hvsock:" means two things: a VM on
 * Hyper-V to some, the unix socket of a VMM to others. Both are understood; what tells them apart
 * is whether something stands between the second and the third slash. In every form with a path
 * and a port the last colon ends the path, so it may hold colons of its own.
 */

#include "hvsocket/address.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

static const struct {
	const char *name;
	const struct hv_guid *vm; /* none for HV_VM_ONE */
	uint32_t cid;
	bool has_cid;
} kinds[] = {
	[HV_VM_ANY] = { "any", &hv_guid_zero, VMADDR_CID_ANY, true },
	[HV_VM_CHILDREN] = { "children", &hv_guid_children, VMADDR_CID_ANY, true },
	[HV_VM_LOOPBACK] = { "loopback", &hv_guid_loopback, VMADDR_CID_LOCAL, true },
	[HV_VM_PARENT] = { "parent", &hv_guid_parent, VMADDR_CID_HOST, true },
	[HV_VM_SILOHOST] = { "silohost", &hv_guid_silohost },
	[HV_VM_BROADCAST] = { "broadcast", &hv_guid_broadcast },
	[HV_VM_ONE] = { "vm" },
};

/* Other names of the same VMs: HV_GUID_WILDCARD and HV_GUID_ZERO are both what we call any. */
static const struct {
	const char *name;
	const struct hv_guid *vm;
} vm_synonyms[] = {
	{ "wildcard", &hv_guid_zero },
	{ "zero", &hv_guid_zero },
};

static const struct {
	const char *name;
	uint32_t cid;
} cid_names[] = {
	{ "any", VMADDR_CID_ANY },
	{ "-1", VMADDR_CID_ANY },
	{ "", VMADDR_CID_ANY },
	{ "host", VMADDR_CID_HOST },
	{ "local", VMADDR_CID_LOCAL },
	{ "hypervisor", VMADDR_CID_HYPERVISOR },
};

enum hv_vm_kind hv_vm_kind(const struct hv_guid *vm)
{
	for (size_t i = 0; i < array_size(kinds); i++) {
		if (kinds[i].vm && hv_guid_equal(kinds[i].vm, vm))
			return (enum hv_vm_kind)i;
	}
	return HV_VM_ONE;
}

const char *hv_vm_kind_name(enum hv_vm_kind kind)
{
	return kinds[kind].name;
}

bool hv_address_equal(const struct hv_address *a, const struct hv_address *b)
{
	return hv_guid_equal(&a->vm, &b->vm) && hv_guid_equal(&a->service, &b->service);
}

void hv_address_encode(const struct hv_address *address, uint8_t out[static HV_SOCKADDR_SIZE])
{
	struct hv_sockaddr wire = { HV_AF_HYPERV, 0, address->vm, address->service };
	memcpy(out, &wire, sizeof(wire));
}

int hv_address_decode(const uint8_t *bytes, size_t size, struct hv_address *ret)
{
	struct hv_sockaddr wire;
	if (size != sizeof(wire))
		return -EINVAL;
	memcpy(&wire, bytes, sizeof(wire));
	if (wire.family != HV_AF_HYPERV)
		return -EINVAL;
	*ret = (struct hv_address){ wire.vm, wire.service };
	return 0;
}

int hv_address_to_vsock(const struct hv_address *address, struct sockaddr_vm *ret)
{
	enum hv_vm_kind kind = hv_vm_kind(&address->vm);
	uint32_t port;
	if (!kinds[kind].has_cid || !hv_guid_to_port(&address->service, &port))
		return -EADDRNOTAVAIL;
	*ret = (struct sockaddr_vm){
		.svm_family = AF_VSOCK,
		.svm_cid = kinds[kind].cid,
		.svm_port = port,
	};
	return 0;
}

void hv_address_from_vsock(const struct sockaddr_vm *vsock, struct hv_address *ret)
{
	ret->service = hv_guid_from_port(vsock->svm_port);
	ret->vm = hv_guid_zero;
	if (vsock->svm_cid == VMADDR_CID_HOST)
		ret->vm = hv_guid_parent;
	else if (vsock->svm_cid == VMADDR_CID_LOCAL)
		ret->vm = hv_guid_loopback;
}

/* Texts of *ret_why, where more than one place says the same. */
static const char why_number[] = "the port is not a number from 0 to 4294967294";
static const char why_service[] = "the service is neither a port nor a GUID";
static const char why_path[] = "the path must be absolute and name a file";
static const char why_authority[] = "nothing may stand before the path: three slashes, or one";

static int fail(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EINVAL;
}

/* The ports and CIDs that have a number; 2^32-1 is the wildcard of both. */
static bool parse_number(const char *text, uint32_t *ret)
{
	uint64_t number = 0;
	size_t length = strspn(text, "0123456789");
	if (!length || length > 10 || text[length])
		return false;
	for (; *text; text++)
		number = number * 10 + (uint64_t)(*text - '0');
	*ret = (uint32_t)number;
	return number < UINT32_MAX;
}

static void set_port(struct hv_endpoint *endpoint, uint32_t port)
{
	endpoint->port = port;
	endpoint->has_port = true;
	endpoint->address.service = hv_guid_from_port(port);
}

/* A port, or a GUID, which is a port too if it follows the template. */
static bool parse_service(const char *text, struct hv_endpoint *endpoint)
{
	uint32_t port;
	struct hv_guid guid;
	if (parse_number(text, &port)) {
		set_port(endpoint, port);
		return true;
	}
	if (hv_guid_parse(text, &guid) < 0)
		return false;
	endpoint->address.service = guid;
	if (hv_guid_to_port(&guid, &port) && port != UINT32_MAX)
		set_port(endpoint, port);
	else
		endpoint->has_service = true;
	return true;
}

static bool parse_vm(const char *text, struct hv_guid *ret)
{
	for (size_t i = 0; i < array_size(kinds); i++) {
		if (kinds[i].vm && strcasecmp(text, kinds[i].name) == 0) {
			*ret = *kinds[i].vm;
			return true;
		}
	}
	for (size_t i = 0; i < array_size(vm_synonyms); i++) {
		if (strcasecmp(text, vm_synonyms[i].name) == 0) {
			*ret = *vm_synonyms[i].vm;
			return true;
		}
	}
	return hv_guid_parse(text, ret) == 0;
}

/* Copies what stands before `end` to where it can be ended with NUL; false if it has no room. */
static bool copy_until(char *out, size_t size, const char *text, const char *end)
{
	size_t length = (size_t)(end - text);
	if (length >= size)
		return false;
	memcpy(out, text, length);
	out[length] = '\0';
	return true;
}

static int parse_hyperv(const char *rest, struct hv_endpoint *ret, const char **ret_why)
{
	char vm[64];
	if (strncmp(rest, "//", 2) != 0)
		return fail(ret_why, "two slashes and the VM are missing");
	rest += 2;
	const char *slash = rest + strcspn(rest, "/");
	if (!copy_until(vm, sizeof(vm), rest, slash) || !parse_vm(vm, &ret->address.vm))
		return fail(ret_why, "the VM is neither a GUID nor any, children, parent, "
		                     "loopback or silohost");
	ret->scheme = HV_SCHEME_HYPERV;
	if (slash[0] && slash[1]) {
		if (!parse_service(slash + 1, ret))
			return fail(ret_why, why_service);
		ret->has_service = true;
	}
	return 0;
}

static int parse_vsock(const char *rest, struct hv_endpoint *ret, const char **ret_why)
{
	char text[64], *port = NULL;
	bool named = false;
	if (strncmp(rest, "//", 2) == 0)
		rest += 2;
	if (!copy_until(text, sizeof(text), rest, rest + strlen(rest)))
		return fail(ret_why, "too long");
	/* Some programs end the URL with a slash. */
	size_t length = strlen(text);
	if (length && text[length - 1] == '/')
		text[length - 1] = '\0';
	char *colon = strrchr(text, ':');
	if (colon) {
		*colon = '\0';
		port = colon + 1;
	} else if (!text[0]) {
		return fail(ret_why, "the CID is missing");
	}
	for (size_t i = 0; i < array_size(cid_names) && !named; i++) {
		named = strcasecmp(text, cid_names[i].name) == 0;
		if (named)
			ret->cid = cid_names[i].cid;
	}
	if (!named && strcmp(text, "4294967295") == 0)
		ret->cid = VMADDR_CID_ANY;
	else if (!named && !parse_number(text, &ret->cid))
		return fail(ret_why,
		            "the CID is neither a number nor any, host, local or hypervisor");

	ret->scheme = HV_SCHEME_VSOCK;
	struct sockaddr_vm address = { .svm_cid = ret->cid };
	hv_address_from_vsock(&address, &ret->address);
	ret->address.service = hv_guid_zero;
	uint32_t number;
	if (port && !parse_number(port, &number))
		return fail(ret_why, why_number);
	if (port)
		set_port(ret, number);
	return 0;
}

/* The path of "scheme:///path" and "scheme:/path". */
static int parse_path(const char *rest, const char *end, struct hv_endpoint *ret,
                      const char **ret_why)
{
	if (strncmp(rest, "//", 2) == 0) {
		rest += 2;
		if (rest[0] != '/')
			return fail(ret_why, why_authority);
	}
	if (rest[0] != '/' || end == rest || end[-1] == '/')
		return fail(ret_why, why_path);
	if (!copy_until(ret->path, sizeof(ret->path), rest, end))
		return fail(ret_why, "the path is too long");
	return 0;
}

static int parse_hybrid(const char *rest, struct hv_endpoint *ret, const char **ret_why)
{
	ret->scheme = HV_SCHEME_HYBRID;
	const char *colon = strrchr(rest, ':');
	if (!colon || strchr(colon, '/'))
		colon = rest + strlen(rest);
	if (*colon && !parse_service(colon + 1, ret))
		return fail(ret_why, why_service);
	return parse_path(rest, colon, ret, ret_why);
}

static int parse_hvsock(const char *rest, struct hv_endpoint *ret, const char **ret_why)
{
	bool authority = strncmp(rest, "//", 2) == 0 && rest[2] != '/';
	if (!authority)
		return parse_hybrid(rest, ret, ret_why);
	if (parse_hyperv(rest, ret, ret_why) < 0)
		return fail(ret_why, "neither hvsock://VM/SERVICE, a VM on Hyper-V, nor "
		                     "hvsock:///PATH:PORT, the socket of a VMM");
	return 0;
}

static int parse_unix(const char *rest, struct hv_endpoint *ret, const char **ret_why)
{
	ret->scheme = HV_SCHEME_UNIX;
	return parse_path(rest, rest + strlen(rest), ret, ret_why);
}

static const struct {
	const char *name;
	int (*parse)(const char *rest, struct hv_endpoint *ret, const char **ret_why);
} schemes[] = {
	{ "hyperv:", parse_hyperv },
	{ "vsock:", parse_vsock },
	{ "hybrid:", parse_hybrid },
	{ "hvsock:", parse_hvsock },
	{ "vsock-mux:", parse_hybrid },
	{ "unix:", parse_unix },
};

int hv_endpoint_parse(const char *url, struct hv_endpoint *ret, const char **ret_why)
{
	const char *unused;
	if (!ret_why)
		ret_why = &unused;
	*ret = (struct hv_endpoint){ 0 };
	for (size_t i = 0; i < array_size(schemes); i++) {
		size_t length = strlen(schemes[i].name);
		if (strncasecmp(url, schemes[i].name, length) == 0)
			return schemes[i].parse(url + length, ret, ret_why);
	}
	return fail(ret_why, "it begins with none of hyperv:, vsock:, hybrid: and unix:");
}

/* ":<port>" or the like; nothing where there is no service. */
static void format_service(const struct hv_endpoint *endpoint, char separator,
                           char out[static HV_GUID_TEXT + 1])
{
	out[0] = separator;
	if (endpoint->has_port)
		snprintf(out + 1, HV_GUID_TEXT, "%u", endpoint->port);
	else if (endpoint->has_service)
		hv_guid_format(&endpoint->address.service, out + 1);
	else
		out[0] = '\0';
}

int hv_endpoint_format(const struct hv_endpoint *endpoint, char *text, size_t size)
{
	char service[HV_GUID_TEXT + 1], vm[HV_GUID_TEXT];
	format_service(endpoint, endpoint->scheme == HV_SCHEME_HYPERV ? '/' : ':', service);
	switch (endpoint->scheme) {
	case HV_SCHEME_HYPERV: {
		enum hv_vm_kind kind = hv_vm_kind(&endpoint->address.vm);
		const char *name = kind == HV_VM_ONE ? hv_guid_format(&endpoint->address.vm, vm)
		                                     : hv_vm_kind_name(kind);
		return snprintf(text, size, "hyperv://%s%s", name, service);
	}
	case HV_SCHEME_VSOCK:
		for (size_t i = 0; i < array_size(cid_names); i++) {
			if (cid_names[i].cid == endpoint->cid)
				return snprintf(text, size, "vsock://%s%s", cid_names[i].name,
				                service);
		}
		return snprintf(text, size, "vsock://%u%s", endpoint->cid, service);
	case HV_SCHEME_HYBRID:
		return snprintf(text, size, "hybrid://%s%s", endpoint->path, service);
	case HV_SCHEME_UNIX:
		return snprintf(text, size, "unix://%s", endpoint->path);
	}
	return -EINVAL;
}
