/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a command is told of its peer in its environment, in the same words on every system. */

#include "hvsocket/hvsocket.h"

struct variable {
	const char *name;
	char value[HV_GUID_TEXT];
};
#define VARIABLES 3
void variables_of(const struct hv_peer *peer, struct variable ret[static VARIABLES]);
