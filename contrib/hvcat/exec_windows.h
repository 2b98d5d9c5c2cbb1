/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Windows: a command that has a connection as its standard input and output. */

#include "hvsocket/hyperv.h"

/* Returns when it has ended: its exit status, or -errno where it could not begin. */
int command_run(const char *text, SOCKET socket, const struct hv_peer *peer);
