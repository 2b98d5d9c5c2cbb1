/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a hyperv address means on Linux, where it has no sockets of its own: the ways that lead to
 * it or on which its peers come, each an endpoint of the carrier.
 *
 * PARENT has a CID, 2, and LOOPBACK another, 1. A particular VM has whatever its row in the
 * registry says: a CID, or the hybrid sockets of its VMM. On AF_VSOCK a service is a port, so one
 * outside the vsock template needs a row in the table of services; hybrid sockets have a name for
 * it, but most VMMs know ports only, so what has a row goes by its port there as well.
 *
 * Two things go by files that are laid out as hybrid sockets are. Within one partition there need
 * not be any AF_VSOCK at all, so LOOPBACK is "<runtime directory>/loopback_<service>" before it is
 * CID 1. And the nearest host of a container is not the one that its AF_VSOCK, if it has one, leads
 * to: PARENT and SILOHOST are there what its host has mounted at "/run/hvrun/silohost_<service>".
 */

#include "hvsocket/transport.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SILOHOST_BASE "/run/hvrun/silohost"
#define LOOPBACK_NAME "loopback"

struct search {
	const struct hv_endpoint *endpoint;
	const struct hv_machine *machine;
	const struct hv_children *children;
	bool listening;
	int (*found)(void *context, const struct hv_endpoint *carrier, bool as_guest);
	void *context;
	unsigned count;
};

/* The directory of the loopback sockets. */
static int loopback_directory(char *out, size_t size)
{
	const char *override = secure_getenv("HVSOCKET_LOOPBACK_DIR");
	const char *runtime = geteuid() ? secure_getenv("XDG_RUNTIME_DIR") : "/run";
	int n = override ? snprintf(out, size, "%s", override)
	                 : snprintf(out, size, "%s/hvrun/hv", runtime ? runtime : "");
	if (out[0] != '/' || (!override && !runtime))
		return -EADDRNOTAVAIL;
	return (size_t)n < size ? 0 : -ENAMETOOLONG;
}

/* It and the one above are made; where not even that one could be, there are no such sockets. */
int hv_hold_loopback_directory(int *ret_lock)
{
	char path[HV_PATH_MAX];
	struct stat stat;
	int r = loopback_directory(path, sizeof(path));
	if (r < 0)
		return r;
	char *slash = strrchr(path, '/');
	*slash = '\0';
	if (path[0])
		(void)mkdir(path, S_IRWXU);
	*slash = '/';
	if (mkdir(path, S_IRWXU) < 0 && errno != EEXIST)
		return errno == ENOENT || errno == EROFS ? -EADDRNOTAVAIL : -errno;
	if (lstat(path, &stat) < 0 || stat.st_uid != geteuid() || stat.st_mode & (S_IRWXG | S_IRWXO))
		return 0;
	r = *ret_lock = unix_hold_directory(path);
	return r < 0 ? r : 0;
}

static int offer(struct search *search, const struct hv_endpoint *carrier, bool as_guest)
{
	search->count++;
	return search->found(search->context, carrier, as_guest);
}

bool hv_service_port(const struct hv_service *services, const struct hv_guid *service,
                     uint32_t *ret)
{
	while (services && !hv_guid_equal(&services->guid, service))
		services = services->next;
	if (!services || services->port == VMADDR_PORT_ANY)
		return false;
	*ret = services->port;
	return true;
}

/* Gives a service that is no port the one of its row. */
static bool use_row(const struct search *search, struct hv_endpoint *carrier)
{
	if (carrier->has_port || !hv_service_port(search->machine->services,
	                                          &carrier->address.service, &carrier->port))
		return false;
	carrier->has_port = true;
	return true;
}

static int offer_vsock(struct search *search, uint32_t cid)
{
	struct hv_endpoint carrier = *search->endpoint;
	carrier.scheme = HV_SCHEME_VSOCK;
	carrier.cid = cid;
	return carrier.has_port || use_row(search, &carrier) ? offer(search, &carrier, false) : 0;
}

static int offer_base(struct search *search, const char *base, const struct hv_guid *vm)
{
	bool is_child = hv_vm_kind(vm) == HV_VM_ONE;
	struct hv_endpoint carrier = *search->endpoint;
	size_t length = strlen(base);
	if (length >= sizeof(carrier.path))
		return -ENAMETOOLONG;
	memcpy(carrier.path, base, length + 1);
	carrier.scheme = HV_SCHEME_HYBRID;
	carrier.address.vm = *vm;
	struct hv_endpoint by_port = carrier;
	if (!is_child || !use_row(search, &by_port))
		return offer(search, &carrier, !is_child);
	int r = offer(search, &by_port, false);
	/* Whether the guest knows the row too is its own affair. */
	return r || !search->listening ? r : offer(search, &carrier, false);
}

static int offer_loopback(struct search *search)
{
	char base[HV_PATH_MAX];
	int r = loopback_directory(base, sizeof(base) - sizeof("/" LOOPBACK_NAME));
	if (r < 0)
		return r == -EADDRNOTAVAIL ? 0 : r;
	strncat(base, "/" LOOPBACK_NAME, sizeof(base) - strlen(base) - 1);
	return offer_base(search, base, &hv_guid_loopback);
}

static int offer_children(struct search *search)
{
	int r = 0;
	const struct hv_child *child = search->children ? search->children->first : NULL;
	for (; child && !r; child = child->next) {
		if (child->base)
			r = offer_base(search, child->base, &child->vm);
	}
	return r;
}

static int offer_one(struct search *search)
{
	const struct hv_child *child =
		hv_children_find(search->children, &search->endpoint->address.vm);
	/* Of a VM that has died the number may belong to another. */
	if (!search->listening && child && !child->running)
		return 0;
	if (child && child->base)
		return offer_base(search, child->base, &child->vm);
	/* A listener may be there before its VM: until it has a row nobody is let in. */
	if (search->listening)
		return offer_vsock(search, VMADDR_CID_ANY);
	return child && child->cid ? offer_vsock(search, child->cid) : 0;
}

static int ways_out(struct search *search)
{
	const struct hv_machine *machine = search->machine;
	int r;
	switch (hv_vm_kind(&search->endpoint->address.vm)) {
	case HV_VM_LOOPBACK:
		r = offer_loopback(search);
		return r || !machine->has_loopback ? r : offer_vsock(search, VMADDR_CID_LOCAL);
	case HV_VM_PARENT:
		if (!machine->in_container)
			return machine->is_guest ? offer_vsock(search, VMADDR_CID_HOST) : 0;
		return offer_base(search, SILOHOST_BASE, &hv_guid_parent);
	case HV_VM_SILOHOST:
		return machine->in_container
		               ? offer_base(search, SILOHOST_BASE, &hv_guid_silohost)
		               : 0;
	case HV_VM_ONE:
		return offer_one(search);
	default:
		return 0;
	}
}

/* The CID is where we are reached; from whom is looked at when somebody comes. */
static int ways_in(struct search *search)
{
	const struct hv_machine *machine = search->machine;
	int r = 0;
	switch (hv_vm_kind(&search->endpoint->address.vm)) {
	case HV_VM_ANY:
		if (machine->has_vsock)
			r = offer_vsock(search, VMADDR_CID_ANY);
		if (!r)
			r = offer_loopback(search);
		return r ? r : offer_children(search);
	case HV_VM_CHILDREN:
		if (machine->has_vsock)
			r = offer_vsock(search, VMADDR_CID_ANY);
		return r ? r : offer_children(search);
	case HV_VM_LOOPBACK:
		if (machine->has_loopback)
			r = offer_vsock(search, VMADDR_CID_LOCAL);
		return r ? r : offer_loopback(search);
	case HV_VM_PARENT:
		return machine->is_guest && !machine->in_container
		               ? offer_vsock(search, VMADDR_CID_ANY)
		               : 0;
	case HV_VM_ONE:
		return offer_one(search);
	default:
		return 0;
	}
}

int hv_ways(const struct hv_endpoint *endpoint, bool listening, const struct hv_children *children,
            const struct hv_machine *machine,
            int (*found)(void *context, const struct hv_endpoint *carrier, bool as_guest),
            void *context)
{
	static const struct hv_machine unknown = { .cid = VMADDR_CID_ANY };
	struct search search = {
		.endpoint = endpoint,
		.machine = machine ? machine : &unknown,
		.children = children,
		.listening = listening,
		.found = found,
		.context = context,
	};
	int r = 0;
	if (endpoint->has_port || endpoint->has_service)
		r = listening ? ways_in(&search) : ways_out(&search);
	return r || search.count ? r : -EADDRNOTAVAIL;
}

/* Is there what stands for the host of a container? */
static int look(void *context, const struct hv_endpoint *carrier, bool as_guest)
{
	char path[HV_PATH_MAX];
	enum hv_vm_kind kind = hv_vm_kind(&carrier->address.vm);
	(void)as_guest;
	if (carrier->scheme == HV_SCHEME_HYBRID && (kind == HV_VM_PARENT || kind == HV_VM_SILOHOST))
		*(bool *)context = hybrid_guest_path(carrier, path) < 0 || access(path, F_OK) < 0;
	return 0;
}

/* Why a hyperv address has no way; asked when it has none. */
static const char *no_way(const struct hv_endpoint *endpoint, bool listening,
                          const struct hv_machine *machine)
{
	const struct hv_guid *vm = &endpoint->address.vm;
	uint32_t port;
	const struct hv_child *child;
	switch (hv_vm_kind(vm)) {
	case HV_VM_PARENT:
		if (machine->in_container)
			return "nobody can be reached in a container from outside of it";
		if (!machine->is_guest)
			return "this machine is no guest, so it has no parent";
		break;
	case HV_VM_SILOHOST:
		return listening ? "the host of a container has no way into it"
		                 : "this machine is no container";
	case HV_VM_ANY:
	case HV_VM_CHILDREN:
		if (!listening)
			return "any and children are for listeners; nobody can be dialled by them";
		break;
	case HV_VM_BROADCAST:
		return "broadcast has no meaning";
	case HV_VM_ONE:
		child = hv_children_find(machine->children, vm);
		if (!listening && !child)
			return "it is none of the VMs that are known here";
		if (!listening && !child->running)
			return "this VM does not run";
		break;
	case HV_VM_LOOPBACK:
		return "there is no runtime directory (XDG_RUNTIME_DIR) and no vsock loopback";
	}
	return endpoint->has_port ||
	       hv_service_port(machine->services, &endpoint->address.service, &port)
	               ? "there is no AF_VSOCK here, and no other way is known"
	               : "a service outside the vsock template has no port on AF_VSOCK unless "
	                 "one is given";
}

/* Why a CID is not dialled from here. */
static const char *cid_refusal(uint32_t cid)
{
	switch (cid) {
	case VMADDR_CID_ANY:
		return "any is for listeners; nobody can be dialled by it";
	case VMADDR_CID_HYPERVISOR:
		return "nothing listens in the hypervisor";
	case VMADDR_CID_HOST:
		return "this machine is no guest, so it has no parent";
	default:
		return "this kernel has no loopback (module vsock_loopback)";
	}
}

static const char *hyperv_refusal(const struct hv_endpoint *endpoint,
                                  const struct hv_machine *machine, bool listening)
{
	bool is_absent = false;
	if (hv_ways(endpoint, listening, machine->children, machine, look, &is_absent) < 0)
		return no_way(endpoint, listening, machine);
	return is_absent ? "the parent of a container is its host, and that has put no socket for "
	                   "this service at " SILOHOST_BASE "_SERVICE"
	                 : NULL;
}

static const char *vsock_refusal(uint32_t cid, const struct hv_machine *machine, bool listening)
{
	if (!listening)
		return vsock_check_dial(cid, machine) < 0 ? cid_refusal(cid) : NULL;
	return cid == VMADDR_CID_LOCAL && !machine->has_loopback ? cid_refusal(cid) : NULL;
}

const char *hv_refusal(const struct hv_endpoint *endpoint, bool listening,
                       const struct hv_machine *machine)
{
	if (endpoint->scheme == HV_SCHEME_UNIX)
		return NULL;
	if (!endpoint->has_port && !endpoint->has_service)
		return "the service is missing";
	if (endpoint->scheme == HV_SCHEME_VSOCK)
		return vsock_refusal(endpoint->cid, machine, listening);
	return endpoint->scheme == HV_SCHEME_HYPERV ? hyperv_refusal(endpoint, machine, listening)
	                                            : NULL;
}
