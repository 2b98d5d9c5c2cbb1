/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What becomes of an endpoint on Linux: AF_VSOCK, the unix sockets of a VMM, or several of these,
 * as hv_listen() and hv_connect() find out as well. Which VMs and which services outside the
 * template there are only their starter knows.
 */

#include "hvsocket/transport.h"

#include "shim/hv/hv.h"

#include <sys/utsname.h>

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

struct ways {
	FILE *out;
	const char *what, *next;
};

static void print_way(struct ways *ways, const char *text)
{
	hv_line(ways->out, ways->what, "%s", text);
	ways->what = ways->next;
}

static int found_way(void *context, const struct hv_endpoint *carrier, bool as_guest)
{
	struct ways *ways = context;
	char text[HV_PATH_MAX];
	(void)as_guest;
	if (carrier->scheme == HV_SCHEME_HYBRID && hybrid_guest_path(carrier, text) == 0) {
		print_file(ways->out, ways->what, text, "");
		ways->what = ways->next;
		return 0;
	}
	if (carrier->cid == VMADDR_CID_ANY)
		snprintf(text, sizeof(text), "AF_VSOCK, port %u", carrier->port);
	else
		snprintf(text, sizeof(text), "AF_VSOCK, CID %u, port %u", carrier->cid,
		         carrier->port);
	print_way(ways, text);
	return 0;
}

/* One way or several: tried one after another to dial, all at once to listen. */
static void print_hyperv(FILE *out, const struct hv_endpoint *endpoint, bool listening,
                         const struct hv_machine *machine)
{
	enum hv_vm_kind kind = hv_vm_kind(&endpoint->address.vm);
	bool has_service = endpoint->has_port || endpoint->has_service;
	bool all = listening && kind != HV_VM_ONE;
	struct ways ways = { out, listening ? "listens" : "dials", all ? "and" : "or" };
	(void)hv_ways(endpoint, listening, NULL, machine, found_way, &ways);
	if (has_service && kind == HV_VM_ONE)
		print_way(&ways, listening ? "its VMM's socket, which only its starter knows"
		                           : "its CID or its VMM's socket, which only its "
		                             "starter knows");
	else if (has_service && listening && (kind == HV_VM_ANY || kind == HV_VM_CHILDREN))
		print_way(&ways, "the sockets of its VMs' VMMs, which only their starter knows");
	const char *refusal = hv_refusal(endpoint, listening, machine);
	if (refusal && ways.what != ways.next)
		hv_line(out, ways.what, "refused: %s", refusal);
	else if (refusal && kind != HV_VM_ONE)
		hv_line(out, "but", "%s", refusal);
}

static void print_vsock(FILE *out, const struct hv_endpoint *endpoint,
                        const struct hv_machine *machine)
{
	const char *refusal = hv_refusal(endpoint, false, machine);
	if (refusal)
		hv_line(out, "dials", "refused: %s", refusal);
	else
		hv_line(out, "dials", "AF_VSOCK, CID %u, port %u", endpoint->cid, endpoint->port);
}

void hv_print_dial(FILE *out, const struct hv_endpoint *endpoint, const struct hv_machine *machine)
{
	switch (endpoint->scheme) {
	case HV_SCHEME_HYPERV:
		print_hyperv(out, endpoint, false, machine);
		print_hyperv(out, endpoint, true, machine);
		break;
	case HV_SCHEME_VSOCK:
		print_vsock(out, endpoint, machine);
		break;
	case HV_SCHEME_HYBRID:
		print_hybrid(out, endpoint);
		break;
	case HV_SCHEME_UNIX:
		print_file(out, "dials", endpoint->path, "");
		break;
	}
}

/* What stands behind AF_VSOCK here; a driver that is built in has no module. */
static const struct {
	const char *name, *path;
} transports[] = {
	{ "hv_sock", "/sys/bus/vmbus/drivers/hv_sock" },
	{ "virtio", "/sys/bus/virtio/drivers/vmw_vsock_virtio_transport" },
	{ "vmci", "/sys/module/vmw_vsock_vmci_transport" },
	{ "vhost", "/dev/vhost-vsock" },
};

static void print_transports(FILE *out, const struct hv_machine *machine)
{
	char text[64] = "";
	size_t at = 0;
	for (size_t i = 0; i < array_size(transports); i++) {
		if (access(transports[i].path, F_OK) == 0)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", at ? ", " : "",
			                       transports[i].name);
	}
	if (machine->has_loopback)
		snprintf(text + at, sizeof(text) - at, "%sloopback", at ? ", " : "");
	hv_line(out, "transports", "%s", *text ? text : "none");
}

/* On hv_sock it depends on the kernel what is seen of the host. */
static const char *kernel_trouble(const char *release)
{
	char *end;
	unsigned long major = strtoul(release, &end, 10);
	unsigned long minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
	if (access(transports[0].path, F_OK) != 0)
		return "";
	if (major < 5 || (major == 5 && minor < 5))
		return ", which cannot tell who comes: 5.5 is needed on Hyper-V";
	if ((major == 6 && minor >= 17) || (major == 7 && minor == 0))
		return ", some of which take an end of stream from the host for an error";
	return "";
}

void hv_print_machine(FILE *out, const struct hv_machine *machine)
{
	struct utsname system;
	char own[40] = "without a CID of its own";
	if (machine->cid != VMADDR_CID_ANY)
		snprintf(own, sizeof(own), "CID %u", machine->cid);
	hv_line(out, "this machine", "%s%s, %s, %s AF_VSOCK, %s vsock loopback",
	        machine->is_guest ? "a guest" : "no guest",
	        machine->in_container ? ", in a container" : "", own,
	        machine->has_vsock ? "with" : "without",
	        machine->has_loopback ? "with" : "without");
	print_transports(out, machine);
	if (uname(&system) == 0)
		hv_line(out, "kernel", "%s%s", system.release, kernel_trouble(system.release));
}
