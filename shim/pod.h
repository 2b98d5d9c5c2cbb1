/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which partition a new container belongs in. */

#include "oci/spec.h"
#include "shim/state.h"

/*
 * pod: an id by --pod, or NULL. *ret_partition stays as it is when nothing says that the container
 * belongs to others; *ret_exists: the partition holds a container already. Namespace paths of other
 * containers' processes in the spec become what they are inside the partition. Strings live in the
 * arena.
 */
int pod_find_partition(struct state *state, const char *pod, struct oci_spec *spec,
                       struct arena *arena, const char **ret_partition, bool *ret_exists,
                       struct fault *fault);
/* A sandbox without a container: its caller names what is its by the pid of the partition. */
struct pod_sandbox {
	uint32_t pid;
	const char *network;            /* path of its namespace; NULL: that of the partition */
	const char *hostname;           /* or NULL: that of the partition */
};
/*
 * What would lead into the partition's own network and uts namespace becomes what the sandbox has:
 * they are older than it, and its network may be another. Before pod_find_partition().
 */
void pod_enter_sandbox(struct oci_spec *spec, const struct pod_sandbox *sandbox);
/*
 * For a partition with a kernel of its own: what is left of namespace paths are the host's. A
 * network namespace of the host's, which engines make for every container, becomes a new one of the
 * guest's, with a warning; others are refused.
 */
int pod_leave_host_namespaces(struct oci_spec *spec, struct fault *fault);
/*
 * Whether its caller means the pod by the container's id, and not a partition of the same name
 * by chance.
 */
bool pod_is_named(const struct oci_spec *spec);
