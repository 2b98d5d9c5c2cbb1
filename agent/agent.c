/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The agent owns everything, and here is the one place that waits for children: it may be PID 1,
 * so it also inherits strangers. A dead child is looked at first and released after its record
 * knows: until then its pid cannot be used anew.
 */

#include "agent/agent.h"

#include "agent/boot.h"
#include "oci/fault.h"
#include "oci/log.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define REAP_PER_TURN 64

static struct process *find_child(struct agent *agent, pid_t pid)
{
	for (struct process *p = agent->processes; p; p = p->next) {
		if (p->child.pid == pid && !p->reaped)
			return p;
	}
	return NULL;
}

/* Bounded, since what a container leaves to us may die as fast as we look. */
static void reap(struct agent *agent)
{
	for (int i = 0; i < REAP_PER_TURN; i++) {
		siginfo_t info = { 0 };
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || !info.si_pid)
			return;
		struct process *process = find_child(agent, info.si_pid);
		siginfo_t released;
		if (process)
			process_exited(process, info.si_code, info.si_status);
		waitid(P_PID, (id_t)info.si_pid, &released, WEXITED | WNOHANG);
	}
	raise(SIGCHLD);
}

static int on_signal_received(struct signals *signals, int signal)
{
	struct agent *agent = container_of(signals, struct agent, signals);
	if (signal == SIGCHLD) {
		reap(agent);
	} else if (!boot_obeys(signals->sender)) {
		log_debug("%s of process %d: not from the VM itself",
		          signal == SIGTERM ? "SIGTERM" : "SIGINT", (int)signals->sender);
	} else {
		log_info("ending: %s", signal == SIGTERM ? "SIGTERM" : "SIGINT");
		loop_stop(&agent->loop);
	}
	return 0;
}

/* What the VM has to do without is said in the log. */
static void dial_ports(struct agent *agent, const struct boot_ports *ports)
{
	const struct bridge *bridge = &agent->bridge;
	int error = 0;
	if (ports->log) {
		struct hv_endpoint endpoint = bridge_endpoint(bridge, ports->log);
		error = log_port_start(&agent->log_port, &agent->loop, &bridge->machine, &endpoint,
		                       ports->log_format, ports->log_redial);
		if (error < 0)
			log_warning("log: %s", errno_text(error));
	}
	if (ports->entropy) {
		struct hv_endpoint endpoint = bridge_endpoint(bridge, ports->entropy);
		error = entropy_port_start(&agent->entropy_port, &agent->loop, &bridge->machine,
		                           &endpoint);
		if (error < 0)
			log_warning("entropy from the host: %s", errno_text(error));
	}
}

int agent_init(struct agent *agent, const struct hv_endpoint *parent,
               const struct boot_ports *ports)
{
	*agent = (struct agent){
		.loop = LOOP_NULL,
		.signals = SIGNALS_NULL,
		.bridge = BRIDGE_NULL,
		.kmsg = KMSG_NULL,
	};
	storage_init(&agent->storage, agent);
	int error = loop_init(&agent->loop);
	if (error < 0)
		return error;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	error = signals_init(&agent->signals, &agent->loop, &set, on_signal_received);
	if (error < 0)
		return error;
	/* What containers leave behind comes to us also when we are not PID 1. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return -errno;
	error = bridge_init(&agent->bridge, agent, parent);
	if (error < 0)
		return error;
	if (ports)
		dial_ports(agent, ports);
	bridge_dial(&agent->bridge);
	return 0;
}

int agent_run(struct agent *agent)
{
	return loop_run(&agent->loop);
}

void agent_deinit(struct agent *agent)
{
	entropy_port_free(agent->entropy_port);
	kmsg_deinit(&agent->kmsg);
	bridge_deinit(&agent->bridge);
	storage_deinit(&agent->storage);
	while (agent->containers)
		container_end(agent->containers);
	while (agent->processes) {
		process_kill(agent->processes);
		process_free(agent->processes);
	}
	cgroup_mounts_free(agent->cgroup_mounts);
	log_port_free(agent->log_port);
	signals_deinit(&agent->signals);
	loop_deinit(&agent->loop);
}

static int dump_process(const struct process *p, struct buf *out)
{
	unsigned waiters = 0;
	for (struct waiter *w = p->waiters; w; w = w->next)
		waiters++;
	int error = buf_printf(out, "  process %d %s%s%s waiters=%u", (int)p->child.pid,
	                       p->init ? "init " : "", p->stdio.terminal ? "terminal " : "",
	                       p->reaped    ? "exited"
	                       : p->running ? "running"
	                                    : "starting",
	                       waiters);
	for (int i = 0; i < STDIO_COUNT && !error; i++) {
		const struct stdio_end *end = &p->stdio.end[i];
		if (!end->stream)
			continue;
		uint64_t bytes = i == STDIO_IN ? p->stdio.in.delivered
		                 : end->open   ? end->outlet.sent
		                               : end->ended_at;
		error = buf_printf(out, " stream %llu:%llu%s", (unsigned long long)end->stream,
		                   (unsigned long long)bytes, end->open ? "" : "(ended)");
	}
	return error ? error : buf_printf(out, "\n");
}

int agent_dump(struct agent *agent, struct buf *out)
{
	const struct channel *channel = &agent->bridge.channel;
	int error = buf_printf(out, "hvagent " HVRUN_VERSION " pid %d\n", (int)getpid());
	if (!error)
		error = buf_printf(out, "bridge %s%s frames in=%llu out=%llu "
		                        "bytes in=%llu out=%llu\n",
		                   agent->bridge.negotiated ? "negotiated" : "not negotiated",
		                   agent->bridge.has_session ? ", session" : ", plain",
		                   (unsigned long long)channel->frames_in,
		                   (unsigned long long)channel->frames_out,
		                   (unsigned long long)channel->bytes_in,
		                   (unsigned long long)channel->bytes_out);
	for (struct container *c = agent->containers; c && !error; c = c->next) {
		error = buf_printf(out, "container %s %s oom=%llu cgroup=%s\n", c->id,
		                   container_state_name(c), (unsigned long long)c->oom_count,
		                   cgroup_path(c->cgroup));
		for (struct process *p = agent->processes; p && !error; p = p->next) {
			if (p->container == c)
				error = dump_process(p, out);
		}
	}
	for (struct process *p = agent->processes; p && !error; p = p->next) {
		if (!p->container)
			error = dump_process(p, out);
	}
	return error;
}
