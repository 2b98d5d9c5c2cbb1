/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a kernel's file says of itself. */

#include <stdint.h>

/*
 * The memory that it needs from address 0 to be loaded and to begin: of an ELF file or a bzImage.
 * 0 when it is neither, or says nothing.
 */
uint64_t kernel_file_memory(int fd);
