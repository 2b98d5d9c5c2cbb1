/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * shim.pid in a bundle: the decimal pid of the daemon that was started there, which holds a lock on
 * it as long as it lives. So nobody takes another process that has got the pid since for it.
 */

#include "oci/fault.h"

#include <sys/types.h>

#define PIDFILE "shim.pid"

/* Makes it, or takes one that is nobody's, and locks it. The lock goes with the last copy of the
 * fd. -EBUSY: a daemon is there. */
int pidfile_make(int bundle_fd, int *ret_fd, struct fault *fault);
int pidfile_write(int fd, pid_t pid);
/* A pidfd of the daemon; -ESRCH: it has ended. -ENOENT: there was none. */
int pidfile_find(int bundle_fd);
/* Unless a daemon is there. */
void pidfile_remove(int bundle_fd);

/*
 * init.pid: what containerd was told is the pid of the container. Only for saying it again: its
 * clients take no other exit for this container's. 0: not known.
 */
#define INIT_PIDFILE "init.pid"
int init_pidfile_write(int bundle_fd, uint32_t pid);
uint32_t init_pidfile_read(int bundle_fd);
