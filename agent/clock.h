/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a VM gets from its host because it cannot have it from itself: the time, and randomness. */

#include "hvsocket/base.h"

/* Sets the VM's clock. -EINVAL for a time that no clock can show. */
int clock_set(uint64_t nanoseconds);

#define ENTROPY_MAX 64
/* Pairs of hexadecimal digits; the number of bytes, or -EINVAL, also when they are too many. */
int entropy_decode(const char *text, uint8_t ret[static ENTROPY_MAX]);
/* Gives them to the kernel's random numbers, which may then count on them. */
int entropy_add(const char *text);
int entropy_credit(const uint8_t *bytes, size_t count);
