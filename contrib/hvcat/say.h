/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What hvcat says on standard error: one line in one write, so that lines of several stay apart. */

#include "hvsocket/hvsocket.h"

printf_like(1, 2) void say(const char *text, ...);
/* "WHAT: the cause in words", and hands the error back. */
int say_error(const char *what, enum hv_scheme scheme, int error);
