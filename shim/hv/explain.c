/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What an address means. An endpoint has a URL, two GUIDs, a CID and a port, the bytes of two
 * socket addresses and perhaps a file name; whoever looks for why a connection fails wants to see
 * all of them side by side, and where this machine would dial. Nothing is dialled.
 */

#include "shim/hv/hv.h"

#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#define NAME_WIDTH 14

void hv_line(FILE *out, const char *name, const char *text, ...)
{
	va_list args;
	int width = fprintf(out, "%s:", name);
	va_start(args, text);
	fprintf(out, "%*s", width < NAME_WIDTH ? NAME_WIDTH - width : 1, "");
	vfprintf(out, text, args);
	va_end(args);
	fputc('\n', out);
}

void hv_hex(FILE *out, const char *name, const void *bytes, size_t size)
{
	char text[3 * 64] = "";
	const uint8_t *byte = bytes;
	size_t at = 0;
	for (size_t i = 0; i < size && at + 4 < sizeof(text); i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%02x",
		                       i && i % 4 == 0 ? " " : "", byte[i]);
	hv_line(out, name, "%s", text);
}

static void print_vm(FILE *out, const struct hv_guid *vm)
{
	static const char *const kinds[] = {
		[HV_VM_ANY] = "any: HV_GUID_WILDCARD, every partition",
		[HV_VM_CHILDREN] = "children: HV_GUID_CHILDREN, the VMs of this machine",
		[HV_VM_LOOPBACK] = "loopback: HV_GUID_LOOPBACK, this partition",
		[HV_VM_PARENT] = "parent: HV_GUID_PARENT, the host of this machine or container",
		[HV_VM_SILOHOST] = "silohost: HV_GUID_SILOHOST, the host of this container",
		[HV_VM_BROADCAST] = "broadcast: HV_GUID_BROADCAST, which nobody may use",
		[HV_VM_ONE] = "one particular VM",
	};
	char text[HV_GUID_TEXT];
	hv_line(out, "VmId", "%s (%s)", hv_guid_format(vm, text), kinds[hv_vm_kind(vm)]);
}

static void print_service(FILE *out, const struct hv_guid *service)
{
	char text[HV_GUID_TEXT];
	uint32_t port;
	bool template = hv_guid_to_port(service, &port);
	hv_line(out, "ServiceId", "%s%s", hv_guid_format(service, text),
	        template ? "" : " (not of the vsock template, so no port)");
	if (template)
		hv_line(out, "port", "%u (0x%x)", port, port);
}

static const char *cid_name(uint32_t cid)
{
	switch (cid) {
	case VMADDR_CID_ANY:
		return "any";
	case VMADDR_CID_HYPERVISOR:
		return "hypervisor";
	case VMADDR_CID_LOCAL:
		return "local";
	case VMADDR_CID_HOST:
		return "host";
	default:
		return "one particular VM";
	}
}

static void print_vsock(FILE *out, const struct sockaddr_vm *address)
{
	hv_line(out, "CID", "%u (%s)", address->svm_cid, cid_name(address->svm_cid));
	hv_hex(out, "sockaddr_vm", address, sizeof(*address));
}

/* A CID is only a number here, but some stand for a VM that has a GUID everywhere. */
static bool has_vm(const struct hv_endpoint *endpoint)
{
	return endpoint->scheme == HV_SCHEME_HYPERV ||
	       (endpoint->scheme == HV_SCHEME_VSOCK &&
	        (endpoint->cid == VMADDR_CID_ANY ||
	         hv_vm_kind(&endpoint->address.vm) != HV_VM_ANY));
}

static void print_endpoint(FILE *out, const struct hv_endpoint *endpoint,
                           const struct hv_machine *machine)
{
	char url[HV_PATH_MAX + 64];
	uint8_t wire[HV_SOCKADDR_SIZE];
	struct sockaddr_vm vsock = {
		.svm_family = AF_VSOCK,
		.svm_cid = endpoint->cid,
		.svm_port = endpoint->port,
	};
	hv_endpoint_format(endpoint, url, sizeof(url));
	hv_line(out, "endpoint", "%s", url);
	if (has_vm(endpoint))
		print_vm(out, &endpoint->address.vm);
	if (endpoint->has_port || endpoint->has_service)
		print_service(out, &endpoint->address.service);
	if (has_vm(endpoint)) {
		hv_address_encode(&endpoint->address, wire);
		hv_hex(out, "SOCKADDR_HV", wire, sizeof(wire));
	}
	if (endpoint->scheme == HV_SCHEME_VSOCK ||
	    (endpoint->scheme == HV_SCHEME_HYPERV &&
	     hv_address_to_vsock(&endpoint->address, &vsock) == 0))
		print_vsock(out, &vsock);
	hv_print_dial(out, endpoint, machine);
}

static void print_guid(FILE *out, const struct hv_guid *guid)
{
	char text[HV_GUID_TEXT];
	uint32_t port;
	hv_line(out, "GUID", "%s", hv_guid_format(guid, text));
	hv_hex(out, "bytes", guid->byte, sizeof(guid->byte));
	if (hv_guid_to_port(guid, &port))
		hv_line(out, "as service", "vsock port %u (0x%x)", port, port);
	else if (hv_vm_kind(guid) != HV_VM_ONE)
		hv_line(out, "as VmId", "%s", hv_vm_kind_name(hv_vm_kind(guid)));
	else
		hv_line(out, "is",
		        "a VM or a service of its own; no vsock port, no well-known VmId");
}

static bool parse_port(const char *text, uint32_t *ret)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 0);
	*ret = (uint32_t)value;
	return *text >= '0' && *text <= '9' && !errno && !*end && value < UINT32_MAX;
}

bool hv_parse_service(const char *word, struct hv_guid *ret)
{
	uint32_t port;
	if (hv_guid_parse(word, ret) == 0)
		return true;
	if (!parse_port(word, &port))
		return false;
	*ret = hv_guid_from_port(port);
	return true;
}

int hv_explain_guid(const char *word, FILE *out, struct fault *fault)
{
	struct hv_guid guid;
	if (!hv_parse_service(word, &guid))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "hv: \"%s\": neither a GUID nor a port", word);
	print_guid(out, &guid);
	return 0;
}

int hv_explain_endpoint(const char *word, const struct hv_machine *machine, FILE *out,
                        struct fault *fault)
{
	struct hv_endpoint endpoint;
	const char *why;
	if (hv_endpoint_parse(word, &endpoint, &why) < 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "hv: \"%s\": %s", word,
		                 why);
	print_endpoint(out, &endpoint, machine);
	return 0;
}

int hv_explain(const char *word, const struct hv_machine *machine, FILE *out, struct fault *fault)
{
	struct hv_guid guid;
	if (hv_parse_service(word, &guid))
		return hv_explain_guid(word, out, fault);
	if (strchr(word, ':'))
		return hv_explain_endpoint(word, machine, out, fault);
	return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
	                 "hv: \"%s\": neither a verb, an endpoint, a GUID nor a port", word);
}
