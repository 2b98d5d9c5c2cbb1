/* SPDX-License-Identifier: Apache-2.0 */

/* See the header. The kind is written as hv_peer_format() does. */

#include "contrib/hvcat/variables.h"

#include <string.h>

void variables_of(const struct hv_peer *peer, struct variable ret[static VARIABLES])
{
	static const char *const names[] = { "HV_PEER_KIND", "HV_PEER_VM", "HV_PEER_SERVICE" };
	char text[HV_PEER_TEXT];
	memset(ret, 0, VARIABLES * sizeof(*ret));
	for (size_t i = 0; i < VARIABLES; i++)
		ret[i].name = names[i];
	(void)hv_peer_format(peer, text, sizeof(text));
	size_t kind = min_size(strcspn(text, " "), HV_GUID_TEXT - 1);
	memcpy(ret[0].value, text, kind);
	(void)hv_guid_format(&peer->address.vm, ret[1].value);
	(void)hv_guid_format(&peer->address.service, ret[2].value);
}
