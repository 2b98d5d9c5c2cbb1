/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* exec, and what it does with a process of the VM itself. */

#include "oci/spec.h"
#include "shim/cli.h"

struct exec_options {
	const char *process, *pid_file, *console_socket, *cwd, *user, *label, *apparmor;
	struct str_list env, caps, gids;
	struct opt_i64 preserve_fds;
	bool vm, detach, tty, no_new_privs;
};

/* From the flags alone: there is no container whose process it could resemble. */
int exec_vm_describe(const struct exec_options *options, int argc, char **argv,
                     struct oci_process *ret, struct fault *fault);
/* As the bridge wants it: ProcessParameters. */
int exec_vm_encode(const struct oci_process *process, struct arena *arena, struct buf *out);
