/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who may come in, and the registry of our own VMs that the answer hangs on.
 *
 * The kernel guarantees the number (a guest cannot forge its CID, a process not its credentials),
 * but not whose number it is: anyone who may open /dev/vhost-vsock can run a VM under a free CID,
 * and a CID is free again when its VM is gone. So a number counts only while a row of ours ties it
 * to a VM that is running.
 */

#include "hvsocket/transport.h"

#include <string.h>

struct hv_child *hv_children_find(const struct hv_children *children, const struct hv_guid *vm)
{
	struct hv_child *child = children ? children->first : NULL;
	while (child && !hv_guid_equal(&child->vm, vm))
		child = child->next;
	return child;
}

struct hv_child *hv_children_find_cid(const struct hv_children *children, uint32_t cid)
{
	struct hv_child *child = children ? children->first : NULL;
	while (child && (!child->cid || child->cid != cid))
		child = child->next;
	return child;
}

struct hv_child *hv_children_find_base(const struct hv_children *children, const char *base)
{
	struct hv_child *child = children ? children->first : NULL;
	while (child && (!child->base || strcmp(child->base, base) != 0))
		child = child->next;
	return child;
}

/* Is it where what the VM at this base dials arrives? */
static bool is_guest_path(const char *path, const char *base)
{
	struct hv_guid guid;
	size_t length = strlen(base);
	if (strncmp(path, base, length) != 0 || path[length] != '_' || !path[length + 1])
		return false;
	path += length + 1;
	return !path[strspn(path, "0123456789")] || hv_guid_parse(path, &guid) == 0;
}

/* Else a VM could dial another, by a port that leads to the socket of the other's VMM. */
static bool bases_collide(const struct hv_children *children, const char *base)
{
	const struct hv_child *child = base ? children->first : NULL;
	while (child && (!child->base || (strcmp(child->base, base) != 0 &&
	                                  !is_guest_path(child->base, base) &&
	                                  !is_guest_path(base, child->base))))
		child = child->next;
	return child;
}

int hv_children_add(struct hv_children *children, struct hv_child *child)
{
	bool reserved = child->cid <= VMADDR_CID_HOST || child->cid == VMADDR_CID_ANY;
	if ((child->cid && (reserved || child->base)) ||
	    (child->base && child->base[0] != '/') || hv_vm_kind(&child->vm) != HV_VM_ONE)
		return -EINVAL;
	if (hv_children_find(children, &child->vm) ||
	    hv_children_find_cid(children, child->cid) ||
	    bases_collide(children, child->base))
		return -EEXIST;
	child->next = children->first;
	children->first = child;
	return 0;
}

void hv_children_remove(struct hv_children *children, struct hv_child *child)
{
	for (struct hv_child **at = &children->first; *at; at = &(*at)->next) {
		if (*at == child) {
			*at = child->next;
			break;
		}
	}
	child->next = NULL;
}

/* A running VM of ours, coming in under the number that is its own. */
static bool is_running_child(const struct hv_children *children, const struct hv_peer *peer)
{
	const struct hv_child *child = hv_children_find(children, &peer->address.vm);
	if (peer->kind != HV_VM_ONE || !child || !child->running || child->cid != peer->cid)
		return false;
	return child->cid || child->uid == peer->uid;
}

int hv_admit(const struct hv_address *listening, const struct hv_children *children,
             const struct hv_peer *peer)
{
	enum hv_vm_kind expected = hv_vm_kind(&listening->vm);
	bool admitted = false;
	switch (expected) {
	case HV_VM_ANY:
		/* Who is called by the name of a VM of ours has to be that VM. */
		admitted = peer->kind != HV_VM_ONE ||
		           !hv_children_find(children, &peer->address.vm) ||
		           is_running_child(children, peer);
		break;
	case HV_VM_LOOPBACK:
	case HV_VM_PARENT:
	case HV_VM_SILOHOST:
		admitted = peer->kind == expected;
		break;
	case HV_VM_CHILDREN:
		admitted = is_running_child(children, peer);
		break;
	case HV_VM_ONE:
		admitted = is_running_child(children, peer) &&
		           hv_guid_equal(&listening->vm, &peer->address.vm);
		break;
	case HV_VM_BROADCAST:
		break;
	}
	return admitted ? 0 : -EACCES;
}
