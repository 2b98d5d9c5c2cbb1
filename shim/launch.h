/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What every child of the sandbox process does between clone and exec: nothing of ours is kept but
 * what it was given, and it dies when we die.
 */

#include "hvsocket/base.h"

/* Says on stderr what went wrong (errno), and exits with 127. */
_Noreturn void launch_fail(const char *step);
/* out_fd becomes 1 and error_fd 2; reader_fds, the other ends, are the parent's. Ended by -1. */
void launch_stdio(int out_fd, int error_fd, const int *reader_fds);
/*
 * Dies with the parent from now on. After a change of user or capabilities, as these undo it;
 * needs stderr to be a pipe that the parent alone reads.
 */
void launch_bind(void);
/* A session of its own, signals, umask and limits as at login, nothing to read. */
void launch_clean(void);
/* Everything is closed at exec but these. Ended by -1. */
void launch_keep(const int *fds);
