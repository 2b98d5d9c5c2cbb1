/* SPDX-License-Identifier: Apache-2.0 */

/* Linked with hvcat this is hvcat over TCP: what it does with a connection can be tested so. */

#include "contrib/windows/tcp_family.h"

__attribute__((constructor)) static void use_tcp(void)
{
	tcp_local = tcp_remote = hv_guid_loopback;
	hyperv_family = &tcp_family;
}
