/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which devices the processes of a cgroup may open and make: an eBPF program at its v2 folder. */

#include "oci/fault.h"
#include "oci/spec.h"

/*
 * Puts the rules in force at a cgroup, in one step in place of *filter_fd, which is the filter in
 * force so far (-1: none) and becomes the new one (-1: the rules allow everything). The last rule
 * that matches decides, for each kind of access by itself; no rule means no. devices (of
 * linux.devices, may be none) are allowed unless a rule forbids them, the default devices of the
 * OCI runtime specification always.
 */
int device_filter_set(int cgroup_fd, const struct oci_device_rule *rules, size_t rule_count,
                      const struct oci_device *devices, size_t device_count, int *filter_fd,
                      struct fault *fault);
