/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a process is given besides identity and namespaces: limits, priorities, processors. */

#include "oci/fault.h"
#include "oci/spec.h"

#include <sys/types.h>

/*
 * Raises hard limits only, and only where more is asked than there is, which takes CAP_SYS_RESOURCE
 * in the first user namespace: to be done before a user namespace is entered, or from outside (pid;
 * 0 = self).
 */
int rlimits_raise(pid_t pid, const struct oci_process *process, struct fault *fault);
/* The limits as asked, on ourselves. */
int rlimits_set(const struct oci_process *process, struct fault *fault);
/* process.oomScoreAdj through our own /proc, if asked. pid 0 = self. */
int oom_score_set(pid_t pid, const struct oci_process *process, struct fault *fault);
/* process.scheduler and process.ioPriority, if asked. */
int priorities_set(const struct oci_process *process, struct fault *fault);
/* A CPU list such as "0-3,7", or NULL for every processor that the cpuset allows. */
int affinity_set(const char *list, struct fault *fault);
