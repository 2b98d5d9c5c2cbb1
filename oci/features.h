/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Names of what the agent can do, for those who ask its host's half (`hvrun features`). NULL-ended,
 * sorted. What there are tables for elsewhere (capabilities, seccomp) is in spec.h.
 */

extern const char *const oci_hook_kinds[];
extern const char *const oci_namespace_names[];
/* The words of agent/mountopt.c; a test sees to it that they are the same. */
extern const char *const oci_mount_words[];
/* Of the names in spec.h those that the agent's filters can do: no supervisor of system calls. */
extern const char *const oci_seccomp_actions_supported[], *const oci_seccomp_flags_supported[];
