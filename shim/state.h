/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What is kept on disk below --root (default /run/hvrun), so that commands find the sandbox
 * process of a container and can clean up after one that died:
 *
 *   containers/<id>/state.json      struct container_record; written before the container exists
 *   containers/<id>/config.json     the spec as it was at create
 *   containers/<id>/log, log.1, …   CRI log of a detached container
 *   partitions/<id>/control.sock    the control socket of its sandbox process, 0600
 *   partitions/<id>/sandbox.json    struct partition_record
 *   partitions/<id>/agent.log       the agent's own log
 *   partitions/<id>/sandbox.log     the log of the sandbox process
 *   partitions/<id>/vm_1073741824   the bridge's socket (hybrid base "vm")
 *
 * Directories are 0700. Sockets are reached through an fd of their directory, so --root may be
 * long.
 */

#include "oci/fault.h"
#include "oci/json.h"

struct container_record {
	const char *id, *partition, *bundle, *rootfs, *created, *owner;
	const char *log_path;           /* NULL = none */
	uint32_t log_files;
	const char *cgroups_path;       /* for cleaning up when everything was killed */
	bool vm;                        /* its cgroups are those of another kernel */
	bool terminal;
	struct str_map annotations;
	const char *oci_version;
};
struct partition_record {
	const char *driver;             /* "local" */
	uint32_t pid;                   /* of the sandbox process */
	uint64_t start_time;            /* of that process: the pid may be reused */
	uint32_t agent_pid;
	uint64_t agent_start_time;
};

struct state {
	char *root;     /* owned */
	int root_fd;
};
#define STATE_NULL { .root_fd = -1 }

/* root NULL: the default for this user. Makes the directories. */
int state_open(struct state *ret, const char *root, struct fault *fault);
void state_close(struct state *state);
/* Makes a directory 0700 and those above it, as far as they are missing. */
int state_make_root(const char *path);

/*
 * Makes containers/<id>; -EEXIST: `container "x" exists already`. As long as the fd is open, and
 * until state_container_made(), nobody deletes it.
 */
int state_container_make(struct state *state, const char *id, int *ret_fd, struct fault *fault);
void state_container_made(int directory_fd);
/* For its deletion; nobody else can make it until the fd is closed. -EBUSY: it is being made. */
int state_container_hold(struct state *state, const char *id, int *ret_fd, struct fault *fault);
/* Whether the id still names this directory, and not one that was made since. */
bool state_container_is(struct state *state, const char *id, int directory_fd);
/* -ENOENT: `container "x" does not exist`. */
int state_container_open(struct state *state, const char *id, int *ret_fd, struct fault *fault);
int state_container_remove(struct state *state, const char *id);
int state_container_load(struct state *state, const char *id, struct arena *arena,
                         struct container_record *ret, struct fault *fault);
int state_container_save(int directory_fd, const struct container_record *record);
/* Names of all containers or partitions, sorted, in the arena. kind: "containers", "partitions". */
int state_names(struct state *state, const char *kind, struct arena *arena, struct str_list *ret);

/* Others wait in state_partition_hold() until the fd is closed. */
int state_partition_make(struct state *state, const char *id, int *ret_fd, struct fault *fault);
int state_partition_open(struct state *state, const char *id, int *ret_fd, struct fault *fault);
/* For its removal: waits until nobody is starting or removing it. -ENOENT: it is not there, or is a
 * new one by now. */
int state_partition_hold(struct state *state, const char *id, int *ret_fd);
int state_partition_remove(struct state *state, const char *id);
/* As state_container_is(). */
bool state_partition_is(struct state *state, const char *id, int directory_fd);
int state_partition_load(struct state *state, const char *id, struct arena *arena,
                         struct partition_record *ret, struct fault *fault);
int state_partition_save(int directory_fd, const struct partition_record *record);

/* Writes a file by a temporary one and rename; reads a whole file of at most limit bytes. */
int state_write_file(int directory_fd, const char *name, const char *text, size_t size);
int state_read_file(int directory_fd, const char *name, struct arena *arena, size_t limit,
                    const char **ret_text, size_t *ret_size);
/* Field 22 of /proc/<pid>/stat, 0 when there is no such process. *ret_zombie may be NULL. */
uint64_t process_start_time(pid_t pid, bool *ret_zombie);
