/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Times and durations as people type them. -EINVAL for anything else. */

#include "hvsocket/base.h"

#include <time.h>

/* "10m", "1h30m", "1.5s", "250ms"; a number without a unit is seconds. */
int duration_parse(const char *text, uint64_t *ret_nanoseconds);
/* "2026-11-22T03:04:05.6Z", "…+01:00" */
int time_parse(const char *text, struct timespec *ret);
/* One of these, a duration being one before now; a bare number is seconds since 1970. */
int since_parse(const char *text, const struct timespec *now, struct timespec *ret);
