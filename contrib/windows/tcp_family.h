/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* TCP on the loopback interface in place of AF_HYPERV, for tests: the service's port is TCP's. */

#include "hvsocket/hyperv.h"

extern const struct hyperv_family tcp_family;

/* The VMs that addresses of accepted sockets show: on the listener's side, and on the other. */
extern struct hv_guid tcp_local, tcp_remote;
extern unsigned tcp_port;       /* the listener's */
extern unsigned tcp_prepared;   /* how many sockets were */
