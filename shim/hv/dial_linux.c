/* SPDX-License-Identifier: Apache-2.0 */

/* What becomes of an endpoint on Linux: AF_VSOCK, or the unix sockets of a VMM. */

#include "hvsocket/transport.h"

#include "shim/hv/hv.h"

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

static void print_vsock(FILE *out, uint32_t cid, uint32_t port, const struct hv_machine *machine)
{
	if (vsock_check_dial(cid, machine) < 0)
		hv_line(out, "dials", "refused: %s", dial_refusal(cid));
	else
		hv_line(out, "dials", "AF_VSOCK, CID %u, port %u", cid, port);
}

static void print_hyperv(FILE *out, const struct hv_endpoint *endpoint,
                         const struct hv_machine *machine)
{
	struct hv_endpoint mapped = *endpoint;
	enum hv_vm_kind kind = hv_vm_kind(&endpoint->address.vm);
	if (kind == HV_VM_ONE)
		hv_line(out, "dials", "its CID or its VMM's socket, which only its starter knows");
	else if (kind == HV_VM_SILOHOST || kind == HV_VM_BROADCAST)
		hv_line(out, "dials", "refused: %s has no meaning on Linux", hv_vm_kind_name(kind));
	else if (!endpoint->has_service)
		hv_line(out, "dials", "refused: the service is missing");
	else if (hv_map_hyperv(&mapped, false, NULL) < 0)
		hv_line(out, "dials", "refused: a service without a port has no AF_VSOCK address");
	else
		print_vsock(out, mapped.cid, mapped.port, machine);
}

static void print_file(FILE *out, const char *what, const char *base, const char *service)
{
	char path[HV_PATH_MAX + HV_GUID_TEXT + 1];
	snprintf(path, sizeof(path), "%s%s%s", base, *service ? "_" : "", service);
	hv_line(out, what, "%s (%s)", path, access(path, F_OK) == 0 ? "is there" : "is not there");
}

static void print_hybrid(FILE *out, const struct hv_endpoint *endpoint)
{
	char service[HV_GUID_TEXT] = "";
	if (endpoint->has_port)
		snprintf(service, sizeof(service), "%u", endpoint->port);
	else if (endpoint->has_service)
		hv_guid_format(&endpoint->address.service, service);
	print_file(out, "host dials", endpoint->path, "");
	if (!*service)
		return;
	hv_line(out, "and sends", "CONNECT %s", service);
	print_file(out, "guest dials", endpoint->path, service);
	print_file(out, "host listens", endpoint->path, service);
}

void hv_print_dial(FILE *out, const struct hv_endpoint *endpoint, const struct hv_machine *machine)
{
	switch (endpoint->scheme) {
	case HV_SCHEME_HYPERV:
		print_hyperv(out, endpoint, machine);
		break;
	case HV_SCHEME_VSOCK:
		if (endpoint->has_port)
			print_vsock(out, endpoint->cid, endpoint->port, machine);
		else
			hv_line(out, "dials", "refused: the port is missing");
		break;
	case HV_SCHEME_HYBRID:
		print_hybrid(out, endpoint);
		break;
	case HV_SCHEME_UNIX:
		print_file(out, "dials", endpoint->path, "");
		break;
	}
}

void hv_print_machine(FILE *out, const struct hv_machine *machine)
{
	char own[40] = "without a CID of its own";
	if (machine->cid != VMADDR_CID_ANY)
		snprintf(own, sizeof(own), "CID %u", machine->cid);
	hv_line(out, "this machine", "%s, %s, %s vsock loopback",
	        machine->is_guest ? "a guest" : "no guest", own,
	        machine->has_loopback ? "with" : "without");
}
