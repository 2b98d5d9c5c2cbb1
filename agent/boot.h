/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The agent as the first process of a VM: everything between the kernel and the agent's own work.
 */

#include "hvsocket/loop.h"
#include "oci/log.h"

#include <sys/types.h>

/* Whether the kernel of a VM has started us: process 1 under the name of its init. */
bool boot_wanted(const char *name);
/*
 * Makes a system of the bare VM. boot() does what it takes to talk to the host: the log in the
 * kernel's, a root, mounts, modules. boot_finish() does the rest, once, when the host has been
 * answered for the first time: while that travels, and before anything is asked for. What nobody
 * waits for comes later, from the loop. On an error the VM is of no use; the log has said why.
 */
int boot(enum log_level wanted);
int boot_finish(struct loop *loop);
/* This agent has the VM for itself, with its clock, its kernel log and its power. */
bool booted(void);
/*
 * Whether a signal of that process (0 = the kernel) may end the agent. As the first process of a VM
 * it minds those of the VM's own processes only: a container may see it, too.
 */
bool boot_obeys(pid_t sender);
/* The cgroup of the VM's own processes, a borrowed fd; -1 when not booted. */
int boot_cgroup_fd(void);
