/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Containers and processes as the sandbox process knows them: the host's side of the truth. What
 * runs is the agent's to say; who waits for what, when an exit may be told and what a caller is
 * answered is decided here.
 *
 * Every operation takes a struct task_request, which it answers exactly once: from the loop, or
 * from within the call. An operation that returns a negative errno has set the fault and will not
 * answer.
 */

#include "oci/log.h"
#include "shim/bridge.h"
#include "shim/control.h"
#include "shim/image.h"
#include "shim/logfile.h"
#include "shim/partition.h"
#include "shim/share.h"
#include "shim/stdio.h"

#define TASK_EXIT_KILLED 137    /* of what was running when its partition ended */
#define TASK_PATIENCE 10000     /* milliseconds that a forced deletion may take */

struct task;
struct container;
struct process;
struct task_request;

/* reply NULL: it failed, and the fault says why. The request may be freed here. */
typedef void task_answer_fn(struct task_request *request, const struct control_reply *reply,
                            const struct fault *fault);

struct task_request {
	task_answer_fn *answer;
	struct container *container;    /* referenced */
	struct process *process;        /* waited for, started */
	struct bridge_call call;
	struct partition_call of_driver;
	bool orphaned;                  /* who asked has gone: what is started for him, goes too */
	struct task_request *next;      /* among those who wait for the same */
};

enum container_status {
	CONTAINER_CREATING,
	CONTAINER_CREATED,
	CONTAINER_RUNNING,
	CONTAINER_PAUSED,
	CONTAINER_STOPPED,
};

enum process_state {
	PROCESS_NEW,            /* not known to the agent yet, or an init that was not started */
	PROCESS_RUNNING,
	PROCESS_REAPED,         /* has exited; its output is not all delivered */
	PROCESS_TOLD,           /* everybody may know */
};

struct process {
	struct container *container;
	uint32_t pid;                   /* in the partition */
	pid_t host_pid;
	uint32_t proxy;
	uint16_t height, width;         /* of its terminal at the start; 0 = no matter */
	enum process_state state;
	bool claimed;                   /* somebody was told its exit */
	bool died_along;                /* with the partition */
	uint32_t exit_code;
	bool input_closed;              /* from its start on */
	char exited_at[TIME_TEXT];
	struct timer drain;             /* since its end; see struct task */
	struct stdio *stdio;            /* NULL: nothing flows (any more) */
	struct bridge_call wait;        /* outstanding as long as it runs */
	struct task_request *waiters;
	struct process *next;
};

struct container {
	struct task *task;
	char *id, *bundle, *log_path;
	uint32_t log_files;
	unsigned references;
	bool deleted;                   /* not in the list any more */
	bool known;                     /* to the agent */
	bool paused, starting;
	bool doomed;                    /* nobody knows whether it was started */
	char created[TIME_TEXT];
	int fd[STDIO_COUNT];            /* kept for the init until its start */
	bool terminal;
	struct logfile log;             /* open if log_path */
	struct process *init;
	struct process *processes;      /* execs, newest first */
	struct task_request *deleting;  /* the first of them waits for the init's end */
	struct timer patience;          /* of who deletes it by force */
	struct share *share;            /* what it uses of the host's files, or NULL */
	struct image *image;            /* its root, where that is a disk of the VM, or NULL */
	bool unmounting;                /* the agent has forgotten it, the image is going */
	struct container *next;
};

struct task_ops {
	void (*event)(struct task *task, const struct control_event *event);
	/* The last container has gone; comes before whoever asked for that is answered. */
	void (*emptied)(struct task *task);
	/* A container goes whose partition has ended, and no agent has removed what it left. */
	void (*remains)(struct task *task, const char *id);
};

struct task {
	struct bridge *bridge;
	struct partition *partition;
	const struct task_ops *ops;
	struct container *containers;
	struct container *vm;           /* has its own processes; in no list; NULL: never any */
	uint64_t patience;              /* TASK_PATIENCE */
	/*
	 * Milliseconds after a process's end at which its exit is told, though its output is not
	 * all delivered. That goes on then, and what is in a FIFO that nobody has open waits there,
	 * until a reader has come or task_drop_streams() is called. 0: the exit waits for ever, and
	 * nothing else.
	 */
	uint64_t drain;
	bool paused;                    /* the VM, with all that is in it */
	bool pausing;                   /* or resuming */
	struct partition_call unpausing;
	bool dead;                      /* the partition has ended */
	char death[PARTITION_DEATH];    /* how: "the agent was killed by signal 9" */
};

void task_init(struct task *task, struct bridge *bridge, struct partition *partition,
               const struct task_ops *ops);
void task_deinit(struct task *task);

/* By the sandbox: what it hears of bridge and partition. */
void task_connected(struct task *task);
void task_notification(struct task *task, const struct notification *notification);
void task_died(struct task *task, const char *how);

struct container *task_find(struct task *task, const char *id);
/* For whoever has added himself to its references. */
void container_unref(struct container *container);
/* Stands for the VM itself: always running, with a nameless init. NULL: no memory. */
struct container *task_vm(struct task *task);
enum container_status container_status(const struct container *container);
const char *container_status_name(enum container_status status);
/* pid 0: the init. NULL: no such process. */
struct process *container_process(struct container *container, uint32_t pid);

/*
 * Operations. They take the fds, also when they fail. Which states a container must be in for
 * which is the caller's to check (request.c).
 */
int task_create(struct task *task, const struct control_request *wanted, int fd[static STDIO_COUNT],
                struct task_request *request, struct fault *fault);
/* One that was created with hold goes on with its creation. */
int task_continue(struct container *container, struct task_request *request, struct fault *fault);
int task_start(struct container *container, struct task_request *request, struct fault *fault);
int task_exec(struct container *container, const struct control_request *wanted,
              int fd[static STDIO_COUNT], struct task_request *request, struct fault *fault);
int task_delete(struct container *container, bool force, struct task_request *request,
                struct fault *fault);
/* By force, without being asked. */
void task_delete_all(struct task *task);
/* Waits for the exit. task_cancel() takes the request back. */
int task_wait(struct process *process, struct task_request *request);
void task_cancel(struct task_request *request);
int task_signal(struct process *process, int signal, enum signal_scope scope,
                struct task_request *request, struct fault *fault);
/* SIGKILL that nobody waits for; a container's init takes everything in it along. */
void task_kill(struct process *process);
int task_resize(struct process *process, uint16_t height, uint16_t width,
                struct task_request *request, struct fault *fault);
/*
 * The caller will write no more: stdin ends behind what he has written, also of an init that is
 * still to be started. For a FIFO that was opened for reading and writing; anything else has its
 * own end. Never an error that it is over already.
 */
int task_close_input(struct process *process);
/*
 * Closes the caller's ends of its streams now. What it still says is dropped, and no exit waits for
 * that. The process may be freed here, if it was told its exit.
 */
void task_drop_streams(struct process *process);
int task_pause(struct container *container, bool pause, struct task_request *request,
               struct fault *fault);
/* The VM. What needs its agent is refused meanwhile (request.c). */
int task_pause_vm(struct task *task, bool pause, struct task_request *request,
                  struct fault *fault);
int task_update_vm(struct task *task, uint64_t memory, struct task_request *request,
                   struct fault *fault);
/* Because something must be done in it. */
void task_unpause(struct task *task);
int task_update(struct container *container, struct oci_resources *resources,
                struct task_request *request, struct fault *fault);
int task_processes(struct container *container, struct task_request *request,
                   struct fault *fault);
int task_statistics(struct container *container, struct task_request *request,
                    struct fault *fault);
void task_initial_size(struct process *process);
int task_dump(struct task *task, struct task_request *request, struct fault *fault);
/* The state of everything, in words. */
void task_describe(const struct task *task, struct buf *out);
