/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A partition: a VM, or what stands in for one. Drivers differ in how it is started and how its
 * agent reaches us; everything else in the sandbox process is the same for all.
 */

#include "hvsocket/hvsocket.h"
#include "oci/fault.h"

#define BRIDGE_PORT 0x40000000u

struct partition;

struct partition_driver {
	const char *name;
	bool visible;                   /* processes: only those that have ended have no host_pid() */
	/* Starts it and fills the rest of struct partition. The bridge listens already. */
	int (*start)(struct partition *partition, struct fault *fault);
	/* Ends it and everything in it, at once. exit_fd becomes readable; may be called twice. */
	void (*stop)(struct partition *partition);
	/* After exit_fd: releases what is left and says how it ended ("was killed by signal 9"). */
	void (*collect)(struct partition *partition, char *text, size_t size);
	/* Where its agent reaches us on a port. */
	int (*endpoint)(struct partition *partition, uint32_t port, struct hv_endpoint *ret);
	/*
	 * The pid here of a process that the agent knows by another; 0 where that cannot be told.
	 */
	pid_t (*host_pid)(struct partition *partition, uint32_t pid);
};

struct partition {
	const struct partition_driver *driver;
	const char *directory;          /* partitions/<id>, absolute; borrowed */
	bool debug;                     /* the agent is to log more */
	int exit_fd;                    /* readable when it has ended */
	int output_fd;                  /* what it says: the agent's log, or a console; -1 = none */
	pid_t pid;                      /* of the agent or the VMM */
	struct hv_child child;          /* its row in the table of those who may come in */
};
#define PARTITION_NULL { .exit_fd = -1, .output_fd = -1 }

/* NULL: no such driver. */
const struct partition_driver *partition_driver_find(const char *name);
/* Only while it is not running. */
void partition_deinit(struct partition *partition);

extern const struct partition_driver partition_local;
