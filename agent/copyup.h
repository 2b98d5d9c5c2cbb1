/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hvsocket/base.h"

/*
 * tmpcopyup: fills a fresh, still detached tmpfs with what the directory below it holds. Owners,
 * modes, times, links, devices and extended attributes are kept; hard links become copies. Nothing
 * is followed. Both fds are directories, from_fd may be O_PATH.
 */
int copy_up(int from_fd, int to_fd);
