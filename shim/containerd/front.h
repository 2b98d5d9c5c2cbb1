/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the files of the daemon share: a partition (struct sandbox) seen as containerd sees it. Not
 * for others.
 *
 * containerd knows containers and execs by names of its own, and registers an exec before it runs;
 * the sandbox knows containers, and processes by their numbers. Members and programs are the first,
 * with what is needed to find the second. What is asked often (State, Pids, Wait, Connect) is
 * answered from here.
 */

#include "shim/containerd/daemon.h"
#include "shim/containerd/proto/task.pb-c.h"
#include "shim/containerd/publisher.h"
#include "shim/containerd/streams.h"
#include "shim/containerd/ttrpc_server.h"
#include "shim/containerd/worker.h"
#include "shim/sandbox_private.h"

#include <time.h>

enum program_state {
	PROGRAM_NEW,            /* an exec that was registered; an init before its start */
	PROGRAM_STARTING,
	PROGRAM_RUNNING,
	PROGRAM_STOPPED,        /* has exited, or never came to run */
};

/* The init of a member, or an exec. */
struct program {
	struct member *member;
	char *name;                     /* exec id; "" = the init */
	enum program_state state;
	char *in, *out, *err;           /* as containerd named them */
	bool terminal;
	char *process;                  /* of an exec: what is to run, as JSON */
	uint32_t pid;                   /* in the partition; 0 = none yet */
	uint32_t host_pid;              /* as containerd is told */
	uint16_t height, width;         /* of the terminal; 0 = not set */
	bool input_closed;              /* before there was one */
	uint32_t exit_status;
	struct timespec exited_at;
	bool told;                      /* its exit: waits are answered, the event is queued */
	struct streams *streams;        /* fds until they are taken, and loggers */
	struct starting *starting;      /* its start, at the sandbox; NULL: not there */
	struct task_request wait;       /* at the sandbox; answer NULL: not under way */
	struct ttrpc_call *call;        /* Start, or Create, until it is answered */
	struct waiter *waiters;
	struct program *next;
};

/* A container. */
struct member {
	struct front *front;
	char *id, *bundle;
	struct container *container;    /* of the sandbox, referenced; NULL: not made yet */
	struct program init;
	struct program *execs;          /* newest first */
	struct worker *worker;          /* under way: makes it, runs hooks, deletes it */
	Containerd__Task__V2__CreateTaskRequest *wanted; /* until it is made */
	bool waiting;                   /* for the partition, to be made in it */
	struct ttrpc_call *deletion;
	struct timer kill;              /* since SIGKILL */
	bool started_hooks;             /* has poststart hooks */
	struct member *next;
};

struct front {
	struct sandbox sandbox;
	const struct shim_options *options;
	struct ttrpc_server server;
	struct publisher *publisher;
	struct member *members;
	struct waiter *creations, *waits, *stops; /* of the sandbox, for containerd */
	char *network, *hostname;       /* of it; NULL: none of its own */
	uint32_t exit_status;           /* of it, once exited_at is set */
	struct timer limit;             /* for the last events to be taken */
	int log_fd;
	char failure[FAULT_TEXT];       /* why there is no partition and never will be; or "" */
	struct timespec created_at, exited_at;
	bool sandboxed;                 /* containerd has created it by the Sandbox API */
	bool lame;                      /* serves without a partition */
	bool leaving, flushed;          /* the last events are taken, or never will be */
};

/* member.c: who is there, and what they are told */
struct member *member_find(struct front *front, const char *id);
/* -ENOENT and a fault, also as long as it is being made. */
int member_require(struct front *front, const char *id, struct member **ret, struct fault *fault);
/* name "": the init. */
int program_require(struct front *front, const char *id, const char *name, struct program **ret,
                    struct fault *fault);
/* Takes copies; NULL: no memory. The caller links it. */
struct member *member_new(struct front *front, const char *id, const char *bundle);
int program_set_streams(struct program *program, const char *in, const char *out, const char *err,
                        bool terminal);
void program_deinit(struct program *program);
/* Unlinked, if it was linked. */
void member_free(struct member *member);
/* What State says. */
Containerd__Task__V2__Status program_status(const struct program *program);
/* Of a process of the partition, as containerd is told; never 0. */
uint32_t front_pid(const struct front *front, uint32_t host_pid);
/* It will tell its exit: from now on that is waited for. */
void program_watch(struct program *program);
/* It never came to run, or nobody can tell how it ended. */
void program_ended(struct program *program, uint32_t exit_status);
void program_wait(struct program *program, struct ttrpc_call *call);
/* SIGKILL to all that is in it; if that has no effect, the partition is ended. */
void member_kill(struct member *member);
/* Puts the limit on the effect of a SIGKILL. */
void member_limit_kill(struct member *member);
/* What the sandbox tells of a container. */
void member_event(struct front *front, const struct control_event *event);
void front_publish(struct front *front, const char *topic, const ProtobufCMessage *event);
void front_describe(struct front *front, struct buf *out);

/* creator.c: Create and Delete */
int member_create(struct front *front, struct ttrpc_call *call,
                  const Containerd__Task__V2__CreateTaskRequest *wanted, struct fault *fault);
/* There is a partition now, or there never will be: those who wait for it go on. */
void front_partition_known(struct front *front);
int member_delete(struct member *member, struct ttrpc_call *call, struct fault *fault);
/* After its start, which the call waits for. */
int member_run_hooks(struct member *member, struct fault *fault);

/* program.c: Start, and execs */
int program_start(struct program *program, struct ttrpc_call *call, struct fault *fault);
/* Its container ends: SIGKILL, as soon as there is something to kill. */
void program_kill(struct program *program);
/* Whoever waits for its start hears nothing from here any more. */
void program_forget_start(struct program *program);
void program_answer_start(struct program *program);
struct process *program_process(const struct program *program);
/* Of its terminal, before the start: it has the size when it first looks. */
int program_set_size(struct program *program, uint16_t height, uint16_t width,
                     struct fault *fault);
int program_add(struct member *member, const Containerd__Task__V2__ExecProcessRequest *wanted,
                struct fault *fault);

/* sandbox_service.c */
/* Those who want it created hear that it is, or never will be. */
void front_answer_sandbox(struct front *front);
/* The init of a member has ended: perhaps it was the last one that somebody waits for. */
void front_check_stopped(struct front *front);
void front_sandbox_ended(struct front *front, uint32_t exit_status);

/* daemon.c */
/* Nothing is left to do: leaves when the events are taken. */
void front_leave(struct front *front);

/* question.c: what the sandbox answers, containerd is answered */
struct question {
	struct task_request request;
	struct ttrpc_call *call;
	struct front *front;
	void (*answered)(struct question *question, const struct control_reply *reply);
};
/* answered NULL: that it is done is all there is to say. NULL: no memory, and a fault. */
struct question *question_new(struct ttrpc_call *call,
                              void (*answered)(struct question *, const struct control_reply *),
                              struct fault *fault);
/* result: whether the operation was begun. If not, nobody will answer. */
int question_asked(struct question *question, int result);
/* Statistics as containerd has them. < 0: there are none, and that has been answered. */
int question_figures(struct question *question, const struct control_reply *reply,
                     Google__Protobuf__Any *ret);
/* What the agent has to do needs one that runs. */
int front_require_awake(const struct front *front, struct fault *fault);

static inline struct front *front_of(const struct ttrpc_call *call)
{
	return call->context;
}

extern const struct ttrpc_method task_methods[], sandbox_methods[];
extern const size_t task_method_count, sandbox_method_count;

/* Waits that are parked: for a program, or for the sandbox. */
struct waiter {
	struct ttrpc_call *call;
	struct waiter **head;
	struct waiter *next;
};
/* -ENOMEM; the call leaves the list by itself when its client goes. */
int waiter_park(struct waiter **head, struct ttrpc_call *call);
/* The next one's call, which is not parked any more; NULL: none. */
struct ttrpc_call *waiter_take(struct waiter **head);

/* Messages are only packed, so their texts may be anybody's. NULL is "". */
static inline char *message_text(const char *text)
{
	return (char *)(uintptr_t)(text ? text : "");
}
/* Go's zero time for what has not happened. */
Google__Protobuf__Timestamp message_time(const struct timespec *time);
