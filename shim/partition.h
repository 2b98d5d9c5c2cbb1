/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A partition: a VM, or what stands in for one. Drivers differ in how it is started and how its
 * agent reaches us; everything else in the sandbox process is the same for all.
 */

#include "hvsocket/hvsocket.h"
#include "hvsocket/loop.h"
#include "oci/fault.h"
#include "shim/config.h"
#include "shim/tail.h"

#define BRIDGE_PORT 0x40000000u
#define PARTITION_DEATH 512     /* bytes of the text that says how it ended */

struct partition;
struct partition_call;

/* The end of an operation: fault NULL = done. Called from the loop, once. */
typedef void partition_answer_fn(struct partition_call *call, const struct fault *fault);

/* An operation under way, embedded in whoever wants to know; it must stay until it is answered. */
struct partition_call {
	partition_answer_fn *answer;
	uint32_t lun;                   /* disk_attach: where the guest finds it, on controller 0 */
};

struct partition_driver {
	const char *name;
	bool argued;                    /* is written as "name=argument" */
	bool visible;                   /* only processes that have ended have no host_pid() */
	/*
	 * Has a kernel of its own, and an agent that booted it: wants the time and entropy, has a
	 * kernel log.
	 */
	bool boots;
	/*
	 * What is mounted below <directory>/share in the mount namespace of the sandbox process is
	 * at SHARE_GUEST in the guest. Without this, paths are the same on both sides (local), or
	 * the guest's (attach).
	 */
	bool shares;
	/* Before the bridge listens: fills partition->child. May be NULL. */
	int (*prepare)(struct partition *partition, struct fault *fault);
	/* Starts it and fills the rest of struct partition. The bridge listens already. */
	int (*start)(struct partition *partition, struct fault *fault);
	/* Ends it and everything in it, at once. exit_fd becomes readable; may be called twice. */
	void (*stop)(struct partition *partition);
	/*
	 * After exit_fd: releases what is left and says how it ended ("the agent was killed by
	 * signal 9").
	 */
	void (*collect)(struct partition *partition, char *text, size_t size);
	/*
	 * The connection to its agent is lost: is that because it is ending? Then the same text. It
	 * may wait a moment, as the kernel closes sockets before it tells of deaths. May be NULL.
	 */
	bool (*dying)(struct partition *partition, char *text, size_t size);
	/* It has begun, but nothing is heard of its agent: who keeps it? May be NULL. */
	const char *(*silent)(struct partition *partition);
	/* Where its agent reaches us on a port. */
	int (*endpoint)(struct partition *partition, uint32_t port, struct hv_endpoint *ret);
	/*
	 * The pid here of a process that the agent knows by another; 0 where that cannot be told.
	 */
	pid_t (*host_pid)(struct partition *partition, uint32_t pid);
	/* What prepare and start have taken, whether or not they succeeded. May be NULL. */
	void (*release)(struct partition *partition);

	/* NULL where there is no such thing. On failure no answer will come. */
	int (*pause)(struct partition *partition, bool pause, struct partition_call *call,
	             struct fault *fault);
	/*
	 * How many bytes of memory it is to have. Done when it is told; the guest's kernel then
	 * gives or takes what it can.
	 */
	int (*set_memory)(struct partition *partition, uint64_t size, struct partition_call *call,
	                  struct fault *fault);
	/* A file as a disk. The fd is the caller's, and opened for writing unless read_only. */
	int (*disk_attach)(struct partition *partition, int fd, bool read_only,
	                   struct partition_call *call, struct fault *fault);
	int (*disk_detach)(struct partition *partition, uint32_t lun, struct partition_call *call,
	                   struct fault *fault);
	/* What a state dump should have about it, as lines. */
	void (*describe)(struct partition *partition, struct buf *out);
};

#define SHARE_TAG "hvrun"
#define SHARE_GUEST "/run/hvrun/share"
#define SHARE_DIRECTORY "share"         /* below the partition's */

struct partition {
	const struct partition_driver *driver;
	const char *argument;           /* what follows "=" behind the driver's name; borrowed */
	const char *directory;          /* partitions/<id>, absolute; borrowed */
	const char *root;               /* of the state; borrowed */
	uint32_t port;                  /* of the bridge */
	bool debug;                     /* the agent is to log more */
	struct config *config;          /* borrowed */
	struct loop *loop;              /* borrowed */
	/* Takes what its processes and its console say. */
	void (*output)(struct partition *partition, const char *text, size_t size);
	/* The VM goes on after a pause. */
	void (*resumed)(struct partition *partition);
	int exit_fd;                    /* readable when it has ended */
	int output_fd;                  /* the agent's log, unless output() is called; -1 */
	pid_t pid;                      /* of the agent or the VMM; 0 = none of ours */
	int share_fd;                   /* served at <directory>/share, writable to us alone */
	pid_t dialler;                  /* who connects for the agent; 0 = anybody who is let in */
	struct hv_child child;          /* its row in the table of those who may come in */
	const struct tail *said;        /* may explain a failed start; or NULL */
	void *own;                      /* the driver's */
};
#define PARTITION_NULL { .exit_fd = -1, .output_fd = -1, .share_fd = -1 }

/* "name" or "name=argument". NULL: no such driver. */
const struct partition_driver *partition_driver_find(const char *name, const char **ret_argument);
/* Only while it is not running. */
void partition_deinit(struct partition *partition);

extern const struct partition_driver partition_local, partition_qemu, partition_attach;
