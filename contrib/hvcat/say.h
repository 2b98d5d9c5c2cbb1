/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What hvcat says on standard error: one line in one write, so that lines of several stay apart. */

#include "hvsocket/hvsocket.h"

printf_like(1, 2) void say(const char *text, ...);
/* "WHAT: the cause in words", and hands the error back. */
int say_error(const char *what, enum hv_scheme scheme, int error);
/* The same of dialling it or listening for it: with the rule that forbids it. */
int say_unreachable(const char *url, const struct hv_endpoint *endpoint, bool listening,
                    const struct hv_machine *machine, int error);
