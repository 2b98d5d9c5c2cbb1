/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files that know containers share: task.c, container.c, process.c, query.c and vm.c. Not
 * for others. */

#include "shim/task.h"

/* Makes the request keep its container until it is answered. */
void task_hold(struct task_request *request, struct container *container);
/* reply NULL: there is nothing to say but that it is done. */
void task_done(struct task_request *request, const struct control_reply *reply);
void task_failed(struct task_request *request, const struct fault *fault);
/* process NULL: it is about the whole container. */
void task_event(struct container *container, const char *type, const struct process *process);
/* Takes away what a container has used of the host's files. */
void task_unshare(struct container *container);

/* Takes the fds, also when it fails. NULL: no memory. */
struct container *container_new(struct task *task, const struct control_request *wanted,
                                int fd[static STDIO_COUNT]);
/* Takes it off the list and ends what hangs on it. The caller holds a reference. */
void container_remove(struct container *container);
/* Tells of the exit of all its processes, with which any record of one may be freed. */
void container_end_processes(struct container *container);
/* Takes its deletion, if there is one, on from where it stands. */
void container_delete_step(struct container *container);
/* The init's exit was noticed, or told. */
void container_init_exited(struct container *container);
/* Answers everybody who wants a container deleted; fault NULL: it is. */
void container_deletions_answer(struct task_request *requests, const struct fault *fault);

struct process *process_new(struct container *container, const struct control_request *wanted);
void process_free(struct process *process);
/* Known to the agent from now on by this pid. */
void process_named(struct process *process, uint32_t pid);
/* Makes sure that the agent will tell of its exit. */
void process_watch(struct process *process);
/* Its exit is told now, whatever is still to be delivered. */
void process_gone(struct process *process, uint32_t exit_code);
/* For struct stdio, whose owner it is. */
void process_progress(struct stdio *stdio);
void process_offset(struct process *process, uint64_t stream, uint64_t offset);
