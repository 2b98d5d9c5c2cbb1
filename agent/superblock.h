/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which file system is on a disk, by the magic number of its superblock. */

#include "hvsocket/base.h"

#define SUPERBLOCK_BYTES (65536 + 4096) /* the beginning of a disk that has all the marks */

/*
 * The kernel's name of the type; NULL where there is none that we know. -ENOTUNIQ: the marks of
 * more than one, of which only one is not a leftover.
 */
int superblock_type(const uint8_t *bytes, size_t size, const char **ret);
/* The same of an open device or image, which may be shorter. */
int superblock_probe(int fd, const char **ret);
