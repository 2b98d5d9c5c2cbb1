/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Processes of the VM itself (ExecuteProcess mode (a)): root, in the agent's own namespaces. */

#include "agent/process.h"

int vm_exec(struct agent *agent, struct arena *arena, const struct execute_settings *settings,
            struct request *request, struct fault *fault);
/* Splits a command line by shell word rules: quotes and backslashes, no expansion. -EINVAL: a quote
 * that is not closed. */
int split_words(struct arena *arena, const char *line, struct str_list *ret);
