/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A container is made by the code of `hvrun create`, which reads files, mounts, runs hooks and
 * talks to the sandbox as any other client does. In a child it may take its time over that, and the
 * sandbox it talks to is its parent, which goes on serving everybody meanwhile.
 *
 * The child keeps none of the parent's descriptors: a FIFO of another container that it held open
 * would keep that one's reader waiting for the end.
 */

#include "shim/containerd/worker.h"

#include "oci/log.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct outcome {
	int result;
	struct fault fault;
};

struct worker {
	worker_done_fn *done;
	void *owner;
	struct source ended;
	pid_t pid;
	int outcome_fd;
};

enum { KEPT_OUTCOME = 3, KEPT_LOG, KEPT_END };

/* By way of places that are nobody's. */
static int arrange(const struct worker_job *job, int outcome_fd)
{
	int fds[KEPT_END];
	int r = 0;

	for (int i = 0; r == 0 && i < KEPT_END; i++) {
		int fd = i < KEPT_OUTCOME ? job->fd[i] : i == KEPT_LOG ? job->log_fd : outcome_fd;
		fds[i] = fd < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC)
		                : fcntl(fd, F_DUPFD_CLOEXEC, KEPT_END);
		if (fds[i] >= 0 && fds[i] < KEPT_END)
			fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, KEPT_END);
		r = fds[i] < 0 ? -errno : 0;
	}
	for (int i = 0; r == 0 && i < KEPT_END; i++)
		r = dup3(fds[i], i, i < KEPT_OUTCOME ? 0 : O_CLOEXEC) < 0 ? -errno : 0;
	if (r == 0 && syscall(SYS_close_range, (unsigned)KEPT_END, ~0u, 0) < 0)
		r = -errno;
	return r;
}

static _Noreturn void child(const struct worker_job *job, int outcome_fd)
{
	struct outcome outcome = { .fault = FAULT_NULL };
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		(void)signal(number, number == SIGPIPE ? SIG_IGN : SIG_DFL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	outcome.result = arrange(job, outcome_fd);
	if (outcome.result < 0)
		_exit(1);
	log_move((struct log_place){ job->log_fd < 0 ? -1 : KEPT_LOG, LOG_FORMAT_TEXT });
	outcome.result = job->work(job->context, &outcome.fault);
	_exit(write(KEPT_OUTCOME, &outcome, sizeof(outcome)) == sizeof(outcome) ? 0 : 1);
}

static int on_ended(struct source *source, uint32_t got)
{
	(void)got;
	struct worker *worker = container_of(source, struct worker, ended);
	worker_done_fn *done = worker->done;
	void *owner = worker->owner;
	struct outcome outcome = { .fault = FAULT_NULL };

	if (read(worker->outcome_fd, &outcome, sizeof(outcome)) != sizeof(outcome))
		outcome.result = fault_set(&outcome.fault, WORKER_KILLED, HRESULT_FAIL,
		                           "the process that does the work was killed");
	(void)waitpid(worker->pid, NULL, 0);
	source_close(&worker->ended);
	close_fd(&worker->outcome_fd);
	free(worker);
	if (done)
		done(owner, outcome.result, &outcome.fault);
	return 0;
}

int worker_start(struct worker **ret, struct loop *loop, const struct worker_job *job,
                 worker_done_fn *done, void *owner, struct fault *fault)
{
	int fds[2];
	struct worker *worker = calloc(1, sizeof(*worker));

	if (!worker || pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		int error = worker ? -errno : -ENOMEM;
		free(worker);
		return fault_errno(fault, error, "start a process for it");
	}
	cleanup_close int theirs = fds[1];
	*worker = (struct worker){ .done = done, .owner = owner, .ended = SOURCE_NULL,
	                           .outcome_fd = fds[0] };
	worker->pid = fork();
	if (!worker->pid)
		child(job, theirs);
	int r = worker->pid < 0 ? -errno : 0;
	int pid_fd = r < 0 ? -1 : (int)syscall(SYS_pidfd_open, worker->pid, 0);
	if (r == 0 && pid_fd < 0)
		r = -errno;
	if (r == 0)
		r = source_init(&worker->ended, loop, pid_fd, EPOLLIN, on_ended);
	if (r < 0) {
		if (worker->pid > 0) {
			(void)kill(worker->pid, SIGKILL);
			(void)waitpid(worker->pid, NULL, 0);
		}
		close_fd(&pid_fd);
		close_fd(&worker->outcome_fd);
		free(worker);
		return fault_errno(fault, r, "start a process for it");
	}
	*ret = worker;
	return 0;
}

void worker_forget(struct worker *worker)
{
	worker->done = NULL;
}
