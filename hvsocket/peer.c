/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A peer in words. Windows shows an address as its two GUIDs, and that is what all systems have in
 * common; what else the carrier knows of the peer stands behind it, so that a line in a log can be
 * compared with the other end's as well as with ps(1).
 */

#include "hvsocket/hvsocket.h"

#include <ctype.h>
#include <stdio.h>

/* " (CID 2, port 19000)" or " (uid 0, pid 17)"; nothing of who has but GUIDs. */
static void format_identity(const struct hv_peer *peer, char *text, size_t size)
{
	uint32_t port;
	text[0] = '\0';
	if (peer->identity == HV_IDENTITY_CREDENTIALS)
		snprintf(text, size, " (uid %u, pid %d)", (unsigned)peer->uid, (int)peer->pid);
	else if (peer->identity != HV_IDENTITY_CID)
		return;
	else if (hv_guid_to_port(&peer->address.service, &port))
		snprintf(text, size, " (CID %u, port %u)", peer->cid, port);
	else
		snprintf(text, size, " (CID %u)", peer->cid);
}

int hv_peer_format(const struct hv_peer *peer, char *text, size_t size)
{
	char kind[16], vm[HV_GUID_TEXT], service[HV_GUID_TEXT], identity[48];
	size_t i = 0;
	for (const char *name = hv_vm_kind_name(peer->kind); name[i] && i + 1 < sizeof(kind); i++)
		kind[i] = (char)toupper((unsigned char)name[i]);
	kind[i] = '\0';
	format_identity(peer, identity, sizeof(identity));
	return snprintf(text, size, "%s {%s, %s}%s", kind, hv_guid_format(&peer->address.vm, vm),
	                hv_guid_format(&peer->address.service, service), identity);
}
