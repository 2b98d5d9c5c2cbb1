/* SPDX-License-Identifier: Apache-2.0 */

/*
 * To mount is to wait for a disk, for a daemon of the host, for whoever serves the directory; in
 * that time every container would stand still. A thread would share the agent's descriptors and
 * could not be killed, so it is a child. It shares the agent's mount namespace, which is what it is
 * there for, and a page in which it leaves its answer. Like any stranger it is reaped by the agent.
 */

#include "agent/worker.h"

#include "oci/log.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

struct worker_report {
	bool begun, complete;
	int error;
	struct fault fault;
};

/* Of the child that we are. */
static struct worker_report *own_report;

static _Noreturn void work(struct worker_report *report, worker_fn *fn, const void *data)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The log goes where a descriptor of ours may be before long. */
	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	syscall(SYS_close_range, 3, ~0U, 0);
	own_report = report;
	report->error = fn(data, &report->fault);
	report->complete = true;
	_exit(0);
}

void worker_begin(void)
{
	if (own_report)
		own_report->begun = true;
}

bool worker_had_begun(const struct worker *worker)
{
	return worker->report->begun;
}

static int on_exit_of_child(struct source *source, uint32_t got)
{
	(void)got;
	struct worker *worker = container_of(source, struct worker, source);
	struct fault fault = FAULT_NULL;
	source_close(source);
	int error = worker->report->complete ? worker->report->error : -ECANCELED;
	fault_set(&fault, error, worker->report->fault.hresult, "%s",
	          worker->report->complete ? worker->report->fault.text : "was killed");
	worker->done(worker, error, &fault);
	return 0;
}

static int make_report(struct worker *worker)
{
	if (!worker->report) {
		void *page = mmap(NULL, sizeof(*worker->report), PROT_READ | PROT_WRITE,
		                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (page == MAP_FAILED)
			return -errno;
		worker->report = page;
	}
	*worker->report = (struct worker_report){ 0 };
	return 0;
}

int worker_start(struct worker *worker, struct loop *loop, worker_fn *fn, const void *data,
                 worker_done_fn *done)
{
	int error = make_report(worker);
	if (error < 0)
		return error;
	pid_t pid = fork();
	if (pid == 0)
		work(worker->report, fn, data);
	cleanup_close int fd = pid < 0 ? -errno : pidfd_open(pid, 0);
	if (pid < 0)
		return fd;
	error = fd < 0 ? -errno : source_init(&worker->source, loop, fd, EPOLLIN, on_exit_of_child);
	if (error < 0) {
		kill(pid, SIGKILL);
		return error;
	}
	worker->done = done;
	take_fd(&fd);
	return 0;
}

bool worker_busy(const struct worker *worker)
{
	return worker->source.fd >= 0;
}

void worker_kill(struct worker *worker)
{
	if (worker_busy(worker))
		pidfd_send_signal(worker->source.fd, SIGKILL, NULL, 0);
}

void worker_deinit(struct worker *worker)
{
	worker_kill(worker);
	source_close(&worker->source);
	if (worker->report)
		munmap(worker->report, sizeof(*worker->report));
	worker->report = NULL;
}
