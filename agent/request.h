/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Requests of the host: a table of message → {states in which it is known, handler}. */

#include "agent/bridge.h"

/*
 * Handles one frame: decodes it, answers it now or leaves it to be answered later. A negative
 * return ends the connection; bad requests are answered, they end nothing.
 */
int request_handle(struct agent *agent, const struct frame *frame, const char *payload);
