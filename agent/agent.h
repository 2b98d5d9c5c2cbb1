/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The agent: one loop, one bridge, its containers and processes. */

#include "agent/bridge.h"
#include "agent/container.h"
#include "agent/entropy_port.h"
#include "agent/kmsg.h"
#include "agent/log_port.h"
#include "agent/process.h"
#include "agent/storage.h"

struct agent {
	struct loop loop;
	struct signals signals;
	struct bridge bridge;
	struct kmsg kmsg;
	struct entropy_port *entropy_port;      /* NULL: nothing is to be had there */
	struct log_port *log_port;              /* NULL: the log is not on a port */
	struct storage storage;
	struct cgroup_mounts *cgroup_mounts;    /* probed at the first container */
	struct container *containers;
	struct process *processes;
};

/* What is dialled before the bridge; 0 = nothing. */
struct boot_ports {
	uint32_t entropy, log;
	enum log_format log_format;
	bool log_redial;
};

/* ports may be NULL. */
int agent_init(struct agent *agent, const struct hv_endpoint *parent,
               const struct boot_ports *ports);
/* Serves until it is told to power off. */
int agent_run(struct agent *agent);
void agent_deinit(struct agent *agent);

/* The state of everything, in words, at most limit bytes. */
int agent_dump(struct agent *agent, struct buf *out);
