/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A process goes through: cloned → (init: ready → start) → running → reaped, and its record stays
 * until the host has heard of the exit and its output has ended. An init's record stays as long
 * as its container.
 *
 * Two channels tell of a child: its report socket and the reaper. Which of them speaks first is a
 * matter of luck, so an exit first drains the reports.
 */

#include "agent/process.h"

#include "agent/agent.h"
#include "oci/log.h"

#include <signal.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP (1u << 2)
#endif

const char *process_container_id(const struct process *process)
{
	return process->container ? process->container->id : NULL_CID;
}

int process_new(struct agent *agent, struct container *container, bool terminal,
                struct process **ret)
{
	struct process *process = calloc(1, sizeof(*process));
	if (!process)
		return -ENOMEM;
	process->agent = agent;
	process->container = container;
	process->child = (struct child)CHILD_NULL;
	process->report = (struct source)SOURCE_NULL;
	process->arena = (struct arena)ARENA(JSON_ARENA);
	process->next = agent->processes;
	agent->processes = process;
	int error = stdio_init(&process->stdio, process, terminal);
	if (error < 0) {
		process_free(process);
		return error;
	}
	*ret = process;
	return 0;
}

static void waiter_free(struct waiter *waiter)
{
	timer_deinit(&waiter->timeout);
	free(waiter);
}

void process_forget_waiters(struct process *process)
{
	while (process->waiters) {
		struct waiter *waiter = process->waiters;
		process->waiters = waiter->next;
		waiter_free(waiter);
	}
}

/* Its container goes, and what was asked about it has to be answered. */
static void fail_requests(struct process *process)
{
	struct bridge *bridge = &process->agent->bridge;
	struct fault fault;
	if (!process->starting.type && !process->waiters)
		return;
	fault_set(&fault, -ESRCH, HRESULT_CONTAINER_NOT_RUNNING, "the process's container is gone");
	bridge_fail(bridge, &process->starting, &fault);
	while (process->waiters) {
		struct waiter *waiter = process->waiters;
		process->waiters = waiter->next;
		bridge_fail(bridge, &waiter->request, &fault);
		waiter_free(waiter);
	}
}

void process_free(struct process *process)
{
	struct process **at = &process->agent->processes;
	while (*at != process)
		at = &(*at)->next;
	*at = process->next;
	fail_requests(process);
	source_deinit(&process->report);
	stdio_deinit(&process->stdio);
	child_deinit(&process->child);
	arena_free(&process->arena);
	free(process);
}

void process_kill(struct process *process)
{
	if (process->child.pid && !process->reaped)
		pidfd_send_signal(process->child.pidfd, SIGKILL, NULL, 0);
}

/* The init belongs to its container; others go when they are over and the host knows. */
static void process_forget_if_over(struct process *process)
{
	if (process->init || !process->reaped)
		return;
	if (process->failed || (process->told && !process->waiters && stdio_idle(&process->stdio)))
		process_free(process);
}

void process_release(struct process *process)
{
	if (process->child.pid == 0) {
		process_free(process);
		return;
	}
	process->container = NULL;
	process->init = false;
	process->released = true;
	process->told = true;
	process_forget_if_over(process);
}

void process_connect(struct process *process, const struct execute_settings *settings,
                     void (*connected)(struct process *process, int error))
{
	const struct process_parameters *wanted = settings->process_parameters;
	bool ports = wanted->create_stdin_pipe || wanted->create_stdout_pipe ||
	             wanted->create_stderr_pipe;
	int error = 0;
	bool session = bridge_in_session(&process->agent->bridge);
	const struct stdio_streams *streams = session ? settings->streams : NULL;
	/* An init has had its pipes since its creation. */
	if (!process->init)
		stdio_leave_out(&process->stdio, wanted, streams);
	if (streams) {
		stdio_attach_streams(&process->stdio, streams);
	} else if (ports) {
		error = stdio_attach_ports(&process->stdio, wanted, settings->ports, connected);
		if (!error)
			return;
	}
	connected(process, error);
}

void process_fail(struct process *process, const struct fault *fault)
{
	process->failed = true;
	bridge_fail(&process->agent->bridge, &process->starting, fault);
	struct container *container = process->container;
	if (process->init) {
		container_init_failed(container, fault);
		return;
	}
	if (process->child.pid == 0)
		process_free(process);
	else
		process_forget_if_over(process);
	if (container)
		container_exec_settled(container);
}

static void process_running(struct process *process)
{
	source_deinit(&process->report);
	close_fd(&process->child.report_fd);
	process->running = true;
	struct fault fault;
	int error = stdio_start(&process->stdio);
	if (error < 0) {
		fault_errno(&fault, error, "connecting the standard streams");
		process_kill(process);
		process_fail(process, &fault);
		return;
	}
	/* It may be dead already, and its container about to go. */
	if (process->init && process->container->state == CONTAINER_CREATED)
		process->container->state = CONTAINER_RUNNING;
	struct execute_reply reply = { .process_id = (uint32_t)process->child.pid };
	bridge_reply(&process->agent->bridge, &process->starting, &reply);
	if (process->container && !process->init)
		container_exec_settled(process->container);
}

/* Its exit is told like that of one that ran: hosts know its pid. */
static void killed_before_start(struct process *init)
{
	struct fault fault;
	source_deinit(&init->report);
	close_fd(&init->child.report_fd);
	init->running = true;
	stdio_detach_ports(&init->stdio);
	fault_set(&fault, -ESRCH, HRESULT_CONTAINER_NOT_RUNNING,
	          "the container's init was killed before its start");
	bridge_fail(&init->agent->bridge, &init->starting, &fault);
}

/* An end of file is success, or a child that was killed before it could say anything; as an exec it
 * then exits with 137 and all is told. An init that never became ready has failed. */
static void report_ended(struct process *process)
{
	if (process->init && !process->ready) {
		struct fault fault;
		fault_set(&fault, 0, HRESULT_FAIL,
		          "the container's init was killed before it was ready");
		source_deinit(&process->report);
		process_fail(process, &fault);
	} else if (process->init && !process->started) {
		killed_before_start(process);
	} else {
		process_running(process);
	}
}

/* What its child says cannot be taken: it is of no use. */
static void report_lost(struct process *process, int error)
{
	struct fault fault;
	fault_errno(&fault, error, "taking what the new process reports");
	source_deinit(&process->report);
	close_fd(&process->child.report_fd);
	process_kill(process);
	process_fail(process, &fault);
}

/* Takes every report there is. */
static void process_reports(struct process *process)
{
	struct child_report report;
	int r;
	while ((r = child_report_read(process->child.report_fd, &report)) > 0) {
		switch (report.kind) {
		case CHILD_JOINED:
			container_init_joined(process->container, report.fd);
			break;
		case CHILD_ROOT:
			container_init_rooted(process->container, report.fd);
			break;
		case CHILD_HELD:
			container_init_held(process->container);
			break;
		case CHILD_READY:
			process->ready = true;
			container_init_ready(process->container);
			break;
		case CHILD_TERMINAL:
			r = stdio_terminal(&process->stdio, report.fd);
			if (r < 0) {
				report_lost(process, r);
				return;
			}
			break;
		case CHILD_FAILED:
			source_deinit(&process->report);
			close_fd(&process->child.report_fd);
			process_fail(process, &report.fault);
			return;
		}
	}
	if (r == 0)
		report_ended(process);
	else if (r != -EAGAIN)
		report_lost(process, r);
}

static int report_ready(struct source *source, uint32_t got)
{
	(void)got;
	process_reports(container_of(source, struct process, report));
	return 0;
}

int process_spawn(struct process *process, const struct child_plan *plan, struct fault *fault)
{
	int error = child_spawn(plan, &process->child, fault);
	if (error < 0)
		return error;
	stdio_spawned(&process->stdio);
	/* The child has a copy, and of many that start at once each may keep a few KiB for a
	 * while. */
	arena_free(&process->arena);
	process->description = NULL;
	error = source_init(&process->report, &process->agent->loop, process->child.report_fd,
	                    EPOLLIN, report_ready);
	if (error < 0) {
		process_kill(process);
		return fault_errno(fault, error, "watching the new process");
	}
	return 0;
}

struct process *process_find(struct agent *agent, const struct container *container, uint32_t pid)
{
	/* New ones are in front, so a pid that came round again finds its present owner. */
	for (struct process *p = agent->processes; p; p = p->next) {
		if (pid && (uint32_t)p->child.pid == pid && p->container == container &&
		    !p->failed && !p->released)
			return p;
	}
	return NULL;
}

static void answer_exit(struct process *process, struct request *request)
{
	bool session = bridge_in_session(&process->agent->bridge);
	/* GCS bridge v4 does not tell by which signal a process of the VM died. */
	bool unknown = process->killed && !process->container && !session;
	/* Of streams that another session has named nothing is known to this one. */
	bool streams = process->stdio.generation == process->agent->bridge.generation;
	struct stream_offsets none = { 0 };
	char time[TIME_TEXT];
	struct wait_reply reply = {
		.exit_code = unknown ? UINT32_MAX : process->exit_code,
		.exited_at = session ? time_format(&process->exited_at, time) : NULL,
		.offsets = !session ? NULL : streams ? &process->offsets : &none,
	};
	if (bridge_reply(&process->agent->bridge, request, &reply))
		process->told = true;
}

/* In plain mode the exit waits for the closing handshake of the output. */
bool process_exit_tellable(const struct process *process)
{
	return process->reaped && (process->running || process->failed) &&
	       stdio_relayed(&process->stdio);
}

static void tell_exit(struct process *process)
{
	if (!process_exit_tellable(process))
		return;
	while (process->waiters) {
		struct waiter *waiter = process->waiters;
		process->waiters = waiter->next;
		answer_exit(process, &waiter->request);
		waiter_free(waiter);
	}
	if (process->init)
		container_tell_exit(process->container);
}

void process_stdio_finished(struct process *process)
{
	tell_exit(process);
	process_forget_if_over(process);
}

void process_exited(struct process *process, int code, int status)
{
	if (process->report.fd >= 0)
		process_reports(process);
	/* Whoever still holds the other end of its report socket has nothing to say. */
	if (!process->running && !process->failed)
		report_ended(process);
	process->reaped = true;
	process->exit_code = (uint32_t)(code == CLD_EXITED ? status : 128 + status);
	process->killed = code != CLD_EXITED;
	clock_gettime(CLOCK_REALTIME, &process->exited_at);
	stdio_exited(&process->stdio, &process->offsets);
	/* The kill comes before the exit that it causes. */
	if (process->container && code != CLD_EXITED)
		container_check_oom(process->container);
	tell_exit(process);
	struct container *container = process->container;
	if (process->init) {
		container_init_exited(container);
		return;
	}
	process_forget_if_over(process);
	if (container)
		container_exec_exited(container);
}

static int waiter_timed_out(struct timer *timer)
{
	struct waiter *waiter = container_of(timer, struct waiter, timeout);
	struct process *process = waiter->process;
	struct fault fault;
	fault_set(&fault, 0, HRESULT_WAIT_TIMEOUT, "process %d: still running",
	          (int)process->child.pid);
	struct waiter **at = &process->waiters;
	while (*at != waiter)
		at = &(*at)->next;
	*at = waiter->next;
	bridge_fail(&process->agent->bridge, &waiter->request, &fault);
	waiter_free(waiter);
	return 0;
}

int process_wait(struct process *process, struct request *request, uint32_t timeout)
{
	if (process_exit_tellable(process)) {
		answer_exit(process, request);
		process_forget_if_over(process);
		return 0;
	}
	struct waiter *waiter = calloc(1, sizeof(*waiter));
	if (!waiter)
		return -ENOMEM;
	waiter->process = process;
	int error = timer_init(&waiter->timeout, &process->agent->loop, waiter_timed_out);
	if (!error && timeout != WAIT_FOREVER)
		error = timer_set(&waiter->timeout, timeout ? timeout : 1);
	if (error < 0) {
		waiter_free(waiter);
		return error;
	}
	waiter->request = *request;
	*request = (struct request){ 0 };
	waiter->next = process->waiters;
	process->waiters = waiter;
	return 0;
}

/* A session's members, found in the cgroup. */
static int signal_session(struct process *process, int signal)
{
	cleanup_free pid_t *pids = NULL;
	size_t count = 0;
	int error = cgroup_pids(process->container->cgroup, &pids, &count);
	if (error < 0)
		return error;
	for (size_t i = 0; i < count; i++) {
		cleanup_close int pidfd = pidfd_open(pids[i], 0);
		if (pidfd >= 0 && getsid(pids[i]) == process->child.pid)
			pidfd_send_signal(pidfd, signal, NULL, 0);
	}
	return 0;
}

/* The process is not reaped yet, so neither its pid nor its group can have been used anew. */
static int signal_group(struct process *process, int signal)
{
	if (!pidfd_send_signal(process->child.pidfd, signal, NULL, PIDFD_SIGNAL_PROCESS_GROUP))
		return 0;
	if (errno != EINVAL)
		return -errno;
	return kill(-process->child.pid, signal) < 0 ? -errno : 0;
}

int process_signal(struct process *process, int signal, enum signal_scope scope,
                   struct fault *fault)
{
	int error = 0;
	if (scope == SCOPE_CONTAINER && process->container)
		error = cgroup_signal(process->container->cgroup, signal);
	else if (process->reaped)
		error = -ESRCH;
	else if (scope == SCOPE_SESSION && process->container)
		error = signal_session(process, signal);
	else if (scope == SCOPE_PROCESS)
		error = pidfd_send_signal(process->child.pidfd, signal, NULL, 0) < 0 ? -errno : 0;
	else
		error = signal_group(process, signal);
	if (error == -ESRCH)
		return fault_set(fault, error, HRESULT_NOT_FOUND, "process %d: no such process",
		                 (int)process->child.pid);
	if (error < 0)
		return fault_errno(fault, error, "signal %d to process %d", signal,
		                   (int)process->child.pid);
	return 0;
}
