/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Decoding of LZ4 files in the "legacy" format, the one that kernels take (lz4 -l). */

#include "hvsocket/base.h"

#include <sys/types.h>

/* The length of what they decode to, at most room. -EBADMSG: no such file; -EFBIG: no room. */
ssize_t lz4_decode(const uint8_t *in, size_t size, uint8_t *out, size_t room);
