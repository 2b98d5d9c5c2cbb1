/* SPDX-License-Identifier: Apache-2.0 */

/*
 * hv: what an address means. An endpoint has a URL, two GUIDs, a CID and a port, the bytes of two
 * socket addresses and perhaps a file name; whoever looks for why a connection fails wants to see
 * all of them side by side, and where this machine would dial. Nothing is dialled.
 */

#include "hvsocket/transport.h"

#include "shim/verbs.h"

#include <stdio.h>
#include <string.h>

#define LINE(name, ...) \
	do { \
		printf("%-14s", name ":"); \
		printf(__VA_ARGS__); \
		putchar('\n'); \
	} while (0)

static void print_hex(const char *name, const void *bytes, size_t size)
{
	const uint8_t *byte = bytes;
	printf("%-14s", name);
	for (size_t i = 0; i < size; i++)
		printf("%s%02x", i && i % 4 == 0 ? " " : "", byte[i]);
	putchar('\n');
}

static void print_vm(const struct hv_guid *vm)
{
	static const char *const kinds[] = {
		[HV_VM_ANY] = "any: HV_GUID_WILDCARD, every partition",
		[HV_VM_CHILDREN] = "children: HV_GUID_CHILDREN, the VMs of this machine",
		[HV_VM_LOOPBACK] = "loopback: HV_GUID_LOOPBACK, this partition",
		[HV_VM_PARENT] = "parent: HV_GUID_PARENT, the host of this machine",
		[HV_VM_SILOHOST] = "silohost: HV_GUID_SILOHOST, the host of a Windows container",
		[HV_VM_BROADCAST] = "broadcast: HV_GUID_BROADCAST, for listeners on Windows only",
		[HV_VM_ONE] = "one particular VM",
	};
	char text[HV_GUID_TEXT];
	LINE("VmId", "%s (%s)", hv_guid_format(vm, text), kinds[hv_vm_kind(vm)]);
}

static void print_service(const struct hv_guid *service)
{
	char text[HV_GUID_TEXT];
	uint32_t port;
	bool template = hv_guid_to_port(service, &port);
	LINE("ServiceId", "%s%s", hv_guid_format(service, text),
	     template ? "" : " (not of the vsock template, so no port)");
	if (template)
		LINE("port", "%u (0x%x)", port, port);
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

static void print_vsock(const struct sockaddr_vm *address)
{
	LINE("CID", "%u (%s)", address->svm_cid, cid_name(address->svm_cid));
	print_hex("sockaddr_vm:", address, sizeof(*address));
}

/* Why a CID is not dialled from here. */
static const char *dial_refusal(uint32_t cid)
{
	switch (cid) {
	case VMADDR_CID_ANY:
		return "any and children are for listeners; nobody can be dialled by them";
	case VMADDR_CID_HYPERVISOR:
		return "nothing listens in the hypervisor";
	case VMADDR_CID_HOST:
		return "this machine is no guest, so it has no parent";
	default:
		return "this kernel has no loopback (module vsock_loopback)";
	}
}

static void print_dial_vsock(uint32_t cid, uint32_t port, const struct hv_machine *machine)
{
	if (vsock_check_dial(cid, machine) < 0)
		LINE("dials", "refused: %s", dial_refusal(cid));
	else
		LINE("dials", "AF_VSOCK, CID %u, port %u", cid, port);
}

static void print_file(const char *what, const char *base, const char *service)
{
	char path[HV_PATH_MAX + HV_GUID_TEXT + 1];
	snprintf(path, sizeof(path), "%s%s%s", base, *service ? "_" : "", service);
	printf("%-14s%s (%s)\n", what, path, access(path, F_OK) == 0 ? "is there" : "is not there");
}

static void print_hybrid(const struct hv_endpoint *endpoint)
{
	char service[HV_GUID_TEXT] = "";
	if (endpoint->has_port)
		snprintf(service, sizeof(service), "%u", endpoint->port);
	else if (endpoint->has_service)
		hv_guid_format(&endpoint->address.service, service);
	print_file("host dials:", endpoint->path, "");
	if (!*service)
		return;
	LINE("and sends", "CONNECT %s", service);
	print_file("guest dials:", endpoint->path, service);
	print_file("host listens:", endpoint->path, service);
}

/* A CID is only a number here, but some stand for a VM that has a GUID everywhere. */
static bool has_vm(const struct hv_endpoint *endpoint)
{
	return endpoint->scheme == HV_SCHEME_HYPERV ||
	       (endpoint->scheme == HV_SCHEME_VSOCK &&
	        (endpoint->cid == VMADDR_CID_ANY ||
	         hv_vm_kind(&endpoint->address.vm) != HV_VM_ANY));
}

static void print_wire(const struct hv_address *address)
{
	uint8_t wire[HV_SOCKADDR_SIZE];
	hv_address_encode(address, wire);
	print_hex("SOCKADDR_HV:", wire, sizeof(wire));
}

static void print_hyperv(const struct hv_endpoint *endpoint, const struct hv_machine *machine)
{
	struct sockaddr_vm vsock;
	struct hv_endpoint mapped = *endpoint;
	enum hv_vm_kind kind = hv_vm_kind(&endpoint->address.vm);
	if (hv_address_to_vsock(&endpoint->address, &vsock) == 0)
		print_vsock(&vsock);
	if (kind == HV_VM_ONE)
		LINE("dials", "its CID or its VMM's socket, which only its starter knows");
	else if (kind == HV_VM_SILOHOST || kind == HV_VM_BROADCAST)
		LINE("dials", "refused: %s has no meaning on Linux", hv_vm_kind_name(kind));
	else if (!endpoint->has_service)
		LINE("dials", "refused: the service is missing");
	else if (hv_map_hyperv(&mapped, false, NULL) < 0)
		LINE("dials", "refused: a service without a port has no AF_VSOCK address");
	else
		print_dial_vsock(mapped.cid, mapped.port, machine);
}

static void print_endpoint(const struct hv_endpoint *endpoint, const struct hv_machine *machine)
{
	char url[HV_PATH_MAX + 64];
	hv_endpoint_format(endpoint, url, sizeof(url));
	LINE("endpoint", "%s", url);
	if (has_vm(endpoint))
		print_vm(&endpoint->address.vm);
	if (endpoint->has_port || endpoint->has_service)
		print_service(&endpoint->address.service);
	if (has_vm(endpoint))
		print_wire(&endpoint->address);
	if (endpoint->scheme == HV_SCHEME_HYPERV) {
		print_hyperv(endpoint, machine);
	} else if (endpoint->scheme == HV_SCHEME_VSOCK) {
		const struct sockaddr_vm vsock = {
			.svm_family = AF_VSOCK,
			.svm_cid = endpoint->cid,
			.svm_port = endpoint->port,
		};
		print_vsock(&vsock);
		if (endpoint->has_port)
			print_dial_vsock(endpoint->cid, endpoint->port, machine);
		else
			LINE("dials", "refused: the port is missing");
	} else if (endpoint->scheme == HV_SCHEME_HYBRID) {
		print_hybrid(endpoint);
	} else {
		print_file("dials:", endpoint->path, "");
	}
}

static void print_guid(const struct hv_guid *guid)
{
	char text[HV_GUID_TEXT];
	uint32_t port;
	LINE("GUID", "%s", hv_guid_format(guid, text));
	print_hex("bytes:", guid->byte, sizeof(guid->byte));
	if (hv_guid_to_port(guid, &port))
		LINE("as service", "vsock port %u (0x%x)", port, port);
	else if (hv_vm_kind(guid) != HV_VM_ONE)
		LINE("as VmId", "%s", hv_vm_kind_name(hv_vm_kind(guid)));
	else
		LINE("is", "a VM or a service of its own; no vsock port, no well-known VmId");
}

static bool parse_port(const char *text, uint32_t *ret)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 0);
	*ret = (uint32_t)value;
	return *text >= '0' && *text <= '9' && !errno && !*end && value < UINT32_MAX;
}

static int print_word(const char *word, const struct hv_machine *machine, struct fault *fault)
{
	struct hv_endpoint endpoint;
	struct hv_guid guid;
	const char *why;
	uint32_t port;
	if (hv_guid_parse(word, &guid) == 0) {
		print_guid(&guid);
	} else if (parse_port(word, &port)) {
		guid = hv_guid_from_port(port);
		print_service(&guid);
	} else if (hv_endpoint_parse(word, &endpoint, &why) == 0) {
		print_endpoint(&endpoint, machine);
	} else {
		if (!strchr(word, ':'))
			why = "neither an endpoint, a GUID nor a port";
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "hv: \"%s\": %s", word,
		                 why);
	}
	return 0;
}

static void print_machine(const struct hv_machine *machine)
{
	char own[40] = "without a CID of its own";
	if (machine->cid != VMADDR_CID_ANY)
		snprintf(own, sizeof(own), "CID %u", machine->cid);
	LINE("this machine", "%s, %s, %s vsock loopback",
	     machine->is_guest ? "a guest" : "no guest", own,
	     machine->has_loopback ? "with" : "without");
}

int verb_hv(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)cli;
	(void)options;
	struct hv_machine machine;
	int error = 0;
	hv_machine_probe(&machine);
	for (int i = 0; !error && i < argc; i++) {
		error = print_word(argv[i], &machine, fault);
		if (!error)
			putchar('\n');
	}
	if (!error)
		print_machine(&machine);
	return error;
}
