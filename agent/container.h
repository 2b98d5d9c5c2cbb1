/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A container: creating → created → running → stopped, with its cgroup and processes. */

#include "agent/bridge.h"
#include "agent/cgroup.h"
#include "agent/process.h"
#include "agent/remover.h"
#include "agent/seccomp.h"

enum container_state {
	CONTAINER_CREATING,
	CONTAINER_CREATED,
	CONTAINER_RUNNING,
	CONTAINER_STOPPED,
	CONTAINER_DELETING,
};

struct container {
	struct agent *agent;
	char *id;
	enum container_state state;
	bool paused;
	bool held;                      /* creating, and waiting for the host's hooks */
	struct arena arena;             /* of config */
	const struct container_config *config;
	const struct oci_spec *spec;
	unsigned made_bundle;           /* directories: its bundle and those above, to be removed */
	struct seccomp_program seccomp;
	struct cgroup *cgroup;
	struct process *init;

	struct request creating, freezing, deleting;
	struct fault failure;           /* of the creation, told when all of it is undone */
	bool freeze_wanted;
	struct source events;           /* cgroup.events */
	struct source oom;
	int mount_ns_fd;                /* where its root is mounted among others' mounts; -1 */
	int root_fd;                    /* for execs and for that; -1: it has a mount namespace */
	struct remover remover;         /* of what it leaves in the file system */
	int remains_error;
	uint64_t oom_count;
	int last_signal;                /* sent to init through us: names the exit notification */
	bool exit_to_tell, exit_told;   /* the one Notification */
	char activity_id[HV_GUID_TEXT];
	struct container *next;
};

const char *container_state_name(const struct container *container);
struct container *container_find(struct agent *agent, const char *id);

/* Takes the arena that holds config; answers the request when the init is ready, or has failed and
 * nothing of it is left. */
int container_create(struct agent *agent, const char *id, struct arena *arena,
                     const struct container_config *config, struct request *request,
                     struct fault *fault);
/* Start, for one that was created with Hold: lets its creation go on. */
int container_continue(struct container *container, struct request *request, struct fault *fault);
/* ExecuteProcess modes (b) and (c): the init's start, or another process. */
int container_start(struct container *container, const struct execute_settings *settings,
                    struct request *request, struct fault *fault);
int container_exec(struct container *container, struct arena *arena,
                   const struct execute_settings *settings, struct request *request,
                   struct fault *fault);
int container_freeze(struct container *container, bool frozen, struct request *request,
                     struct fault *fault);
/*
 * DeleteContainerState: kills what is left, removes the cgroup, forgets the id whatever the
 * outcome.
 */
int container_delete(struct container *container, struct request *request, struct fault *fault);

/* Told by process.c. These two take the fds. */
void container_init_joined(struct container *container, int mount_ns_fd);
void container_init_rooted(struct container *container, int root_fd);
void container_init_held(struct container *container);
void container_init_ready(struct container *container);
void container_init_failed(struct container *container, const struct fault *fault);
void container_init_exited(struct container *container);
/* An exec runs, or never will. */
void container_exec_settled(struct container *container);
/* Its record may be gone already. May free the container. */
void container_exec_exited(struct container *container);
/* Tells the host of out-of-memory kills that it does not know of yet. */
void container_check_oom(struct container *container);
/* Sends the exit notification if it is due and somebody listens. */
void container_tell_exit(struct container *container);
/* When the agent ends: kills all of it, waits a second at most, and leaves no cgroup behind. */
void container_end(struct container *container);
