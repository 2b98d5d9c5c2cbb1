/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files share that make a process: spawn.c, namespace.c and wire.c run in the agent,
 * child.c, descriptors.c and wire.c in the child. Not for others. */

#include "agent/child.h"
#include "agent/rootfs.h"
#include "agent/user.h"

/* Agent → init, on the report socket: once when its maps are written, once as its start. */
struct child_word {
	uint8_t go;
};

/* Child → agent; of the text only what is used is sent. */
struct child_wire {
	int32_t kind, error, hresult;
	char text[FAULT_TEXT];
};
#define CHILD_WIRE_MIN offsetof(struct child_wire, text)

/* fd: goes along unless negative. */
int child_wire_send(int socket_fd, const struct child_wire *wire, int fd);
/* 1: *ret, its text ended by NUL, and the fd that came along, or -1; 0: the end. flags:
 * MSG_DONTWAIT. */
int child_wire_receive(int socket_fd, int flags, struct child_wire *ret, int *ret_fd);

/* What the child starts with and what it finds on its way. */
struct child_run {
	const struct child_plan *plan;
	const struct oci_process *process;
	int report_fd;
	int cgroup_ns_fd;       /* to join; -1 = none */
	int mount_ns_fd;        /* to join; -1 = none */
	int sources_fd;         /* for sources_receive(); -1 = the child opens its mounts itself */
	int label_fd[2];        /* attr/exec of AppArmor and SELinux in our /proc; -1 = no label */
	bool is_null[3];        /* which standard streams are /dev/null */
	struct rootfs rootfs;
	struct user user;
	char *home;             /* to be added to the environment; NULL = it has one */
	bool shares_root;       /* with others: nothing is mounted in it */
	bool cwd_later;         /* only the user itself may enter it */
	struct fault fault;
};
_Noreturn void child_run(struct child_run *run);

/* Closes all but 0, 1, 2 and those (-1 = none), which it sorts. */
int descriptors_close_others(int *keep, size_t count);
/* The standard streams; an exec's /dev/null comes later. Closes all that is not needed any more. */
int descriptors_set(struct child_run *run);
/* Inside the container: what is /dev/null is the container's from now on. */
int descriptors_reopen_null(struct child_run *run);

/*
 * For an init in a user namespace: starts what opens the sources of its mounts. *ret is where
 * the child gets them; untouched where no help is needed.
 */
int sources_spawn(const struct child_plan *plan, int *ret, struct fault *fault);
/* In the child. rootfs_deinit() closes them. */
int sources_receive(int socket_fd, struct rootfs *rootfs, const struct oci_spec *spec,
                    struct fault *fault);

/* The namespaces that a clone needs and how to get back from them. */
struct namespaces {
	uint64_t clone_flags;           /* CLONE_NEW* of the new ones */
	int user_fd;                    /* to join; -1 = none */
	int cgroup_fd;                  /* to join, by the child; -1 = none */
	int mount_fd;                   /* the same */
	int back[OCI_NS_COUNT];         /* ours, where we have left them; -1 = we have not */
};
#define NAMESPACES_NULL \
	{ .user_fd = -1, .cgroup_fd = -1, .mount_fd = -1, \
	  .back = { -1, -1, -1, -1, -1, -1, -1, -1, -1 } }

int namespaces_init(struct fault *fault);
/*
 * Makes the agent's next clone be born into the plan's namespaces. namespaces_return() must follow
 * in any case; when it fails, the agent is not where it belongs.
 */
int namespaces_enter(const struct child_plan *plan, struct namespaces *ret, struct fault *fault);
int namespaces_return(struct namespaces *namespaces, struct fault *fault);
void namespaces_deinit(struct namespaces *namespaces);
/* For an exec, in the child: CLONE_NEW* of what it joins through the pidfd of the init; or 0. */
int namespaces_join_flags(const struct oci_spec *spec);
