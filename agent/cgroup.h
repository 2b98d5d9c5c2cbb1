/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The cgroup of a container. Version 2 is the first class: birth by CLONE_INTO_CGROUP, freezer,
 * kill, events and the device filter (eBPF) are always v2. Controllers that this machine keeps in
 * v1 hierarchies (which only the local partition meets) are enforced there; what can be enforced
 * nowhere is refused, never dropped silently.
 */

#include "oci/fault.h"
#include "oci/message.h"
#include "oci/spec.h"

#include <sys/types.h>

/* Which controllers are where; probed once. */
struct cgroup_mounts;
/* Reads /proc/self/mountinfo and cgroup.controllers. Where no cgroup2 is mounted at all:
 * -ENOTSUP with a fault. */
int cgroup_mounts_probe(struct cgroup_mounts **ret, struct fault *fault);
void cgroup_mounts_free(struct cgroup_mounts *mounts);

struct cgroup;
/*
 * Makes the container's cgroup and sets its limits. path: linux.cgroupsPath, NULL =
 * "/hvrun/<id>"; also the systemd form slice:prefix:name, made as directories. Parents are made
 * as needed and their controllers enabled. A cgroup that exists and holds processes is refused
 * (-EBUSY). On failure nothing stays. devices and spec devices become the device filter; the
 * default devices of the OCI spec are always allowed.
 */
int cgroup_create(struct cgroup_mounts *mounts, const char *id, const struct oci_spec *spec,
                  struct cgroup **ret, struct fault *fault);
/* The v2 directory, for CLONE_INTO_CGROUP; borrowed. */
int cgroup_fd(const struct cgroup *cgroup);
/*
 * For a child between clone and exec, born in the v2 cgroup: enters the v1 ones too. 0 where there
 * are none. Async-signal-safe; to be called while it has one thread and before its fds are closed
 * or its namespaces changed.
 */
int cgroup_join(const struct cgroup *cgroup);
int cgroup_update(struct cgroup *cgroup, const struct oci_resources *resources,
                  struct fault *fault);
int cgroup_freeze(struct cgroup *cgroup, bool frozen);
/* SIGKILL to everything in it, also to what is being forked. */
int cgroup_kill(struct cgroup *cgroup);
/* A signal to everything in it. */
int cgroup_signal(struct cgroup *cgroup, int signal);
/* cgroup.events: borrowed fd that is EPOLLPRI-ready at a change; read by cgroup_events(). */
int cgroup_events_fd(const struct cgroup *cgroup);
int cgroup_events(const struct cgroup *cgroup, bool *ret_populated, bool *ret_frozen);
/*
 * An fd to watch for out-of-memory kills (EPOLLPRI on memory.events, or EPOLLIN on a v1 eventfd,
 * see *ret_want), -1 where the machine has no memory controller. cgroup_oom_count() reads the
 * kills so far.
 */
int cgroup_oom_fd(struct cgroup *cgroup, uint32_t *ret_want);
uint64_t cgroup_oom_count(struct cgroup *cgroup);
/* Pids of all processes in it and below, malloc'd. */
int cgroup_pids(struct cgroup *cgroup, pid_t **ret, size_t *ret_count);
/* Fills all but agent; lists live in the arena. */
int cgroup_statistics(struct cgroup *cgroup, struct arena *arena, struct statistics_v2 *ret);
/*
 * Whether it has a directory of its own in the v1 hierarchy of these controllers ("cpu,cpuacct",
 * or a "name=…"), or else is in that of the agent there.
 */
bool cgroup_has(const struct cgroup *cgroup, const char *controllers);
/* Path below the cgroup mount, as in cgroupsPath; borrowed. */
const char *cgroup_path(const struct cgroup *cgroup);
/* rmdir everywhere, with what is below and the parents that we made and that are empty. -EBUSY
 * while populated. NULL is allowed. */
int cgroup_remove(struct cgroup *cgroup);
void cgroup_free(struct cgroup *cgroup); /* closes; does not remove */
