/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The user's terminal in raw mode, and terminals that we hand out. */

#include "oci/fault.h"

/* Puts fd into raw mode; it is put back at terminal_restore(), which also runs at exit(3). */
int terminal_raw(int fd);
void terminal_restore(void);
/* Rows and columns; false when fd is no terminal or nobody has set its size. */
bool terminal_size(int fd, uint16_t *ret_height, uint16_t *ret_width);
/*
 * --console-socket: opens a pty, sends its master over the unix socket at path and keeps the
 * slave, in raw mode (the container's own terminal does the line discipline).
 */
int terminal_hand_out(const char *path, int *ret_slave, struct fault *fault);
