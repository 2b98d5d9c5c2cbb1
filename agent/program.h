/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The program of a process: where it is, and execve(2). All texts are those of runc. */

#include "oci/fault.h"
#include "oci/spec.h"

/*
 * Is there such a program? For an init, so that its creation fails and not its start. Not the last
 * word: it may be changed until it is run, and be forbidden to the process's user.
 */
int program_find(const struct oci_process *process, struct fault *fault);
/* Returns only on failure. home: HOME where the environment has none; NULL = it has one. */
int program_exec(const struct oci_process *process, const char *home, struct fault *fault);
/* The value of a variable of process.env; NULL when absent. */
const char *program_env(const struct oci_process *process, const char *name);
