/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Stands before the compiler's own header on Windows, whose users are no numbers. */

#include_next <sys/types.h>

typedef unsigned uid_t;
