/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Files that are read or written in one go. A name is that of openat(2): dir may be AT_FDCWD. */

#include "hvsocket/base.h"

#include <sys/types.h>

/* As many bytes as there are from there on; their count. */
ssize_t file_read_at(int fd, void *ret, size_t size, off_t at);
/* The first size - 1 bytes of a text of the kernel's, and a NUL; their count. */
ssize_t file_read_text(int dir, const char *name, char *ret, size_t size);
/* The same of its first line. */
int file_read_line(int dir, const char *name, char *ret, size_t size);
/* To a file that is there. */
int file_write_text(int dir, const char *name, const char *text);
