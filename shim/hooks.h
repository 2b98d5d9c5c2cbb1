/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The hooks that run on the host: prestart, createRuntime, poststart, poststop. */

#include "shim/bundle.h"
#include "shim/state.h"

enum host_hook { HOOK_CREATE, HOOK_POSTSTART, HOOK_POSTSTOP };

/*
 * Of an init that this machine does not see, the VM's instead: hooks look at a process, and at its
 * network above all, which is one of its own.
 */
uint32_t host_hooks_pid(struct state *state, const char *partition, uint32_t pid);
/* HOOK_CREATE runs prestart and createRuntime. pid: of the init as the host sees it. */
int host_hooks_run(enum host_hook which, const struct bundle *bundle, const char *id, uint32_t pid,
                   struct fault *fault);
