/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The event goes in as a file in memory, as hooks get their state: a program that never reads it
 * cannot hold us up. What it says is nobody's to read; its exit status is all that counts.
 */

#include "shim/containerd/publish_run.h"

#include "shim/launch.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

static _Noreturn void child(const struct publish_call *call, int input)
{
	const char *const args[] = {
		call->binary, "--address", call->address, "publish", "--topic", call->topic,
		"--namespace", call->namespace, NULL,
	};

	launch_clean();
	int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null_fd < 0 || dup2(input, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0 ||
	    dup2(null_fd, STDERR_FILENO) < 0)
		_exit(127);
	launch_keep((const int[]){ -1 });
	execvp(call->binary, (char *const *)(uintptr_t)args);
	_exit(127);
}

static int event_file(const struct publish_call *call)
{
	cleanup_close int fd = memfd_create("event", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	/* Into memory all of it goes, or nothing fits any more. */
	ssize_t n = write(fd, call->event, call->size);
	if (n < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return (size_t)n == call->size ? take_fd(&fd) : -ENOMEM;
}

static int on_exited(struct source *source, uint32_t got)
{
	struct publish_run *run = container_of(source, struct publish_run, exited);
	siginfo_t info = { 0 };
	char text[64];

	(void)got;
	if (waitid(P_PIDFD, (id_t)source->fd, &info, WEXITED | WNOHANG) == 0 && !info.si_pid)
		return 0;
	source_close(source);
	(void)timer_set(&run->deadline, 0);
	bool done = info.si_code == CLD_EXITED && !info.si_status;
	snprintf(text, sizeof(text), run->late ? "was killed, as it did not end" :
	         info.si_code == CLD_EXITED ? "ended with status %d" : "was killed by signal %d",
	         info.si_status);
	run->done(run, done ? NULL : text);
	return 0;
}

static int on_deadline(struct timer *timer)
{
	struct publish_run *run = container_of(timer, struct publish_run, deadline);

	run->late = true;
	(void)pidfd_send_signal(run->exited.fd, SIGKILL, NULL, 0);
	return 0;
}

int publish_run_start(struct publish_run *run, struct loop *loop, const struct publish_call *call,
                      publish_run_fn *done)
{
	cleanup_close int input = event_file(call), pidfd = -1;

	if (input < 0)
		return input;
	if (!run->deadline.fn)
		(void)timer_init(&run->deadline, loop, on_deadline);
	int r = timer_set(&run->deadline, call->timeout);
	pid_t pid = r < 0 ? r : fork();
	if (pid < 0)
		return r < 0 ? r : -errno;
	if (!pid)
		child(call, input);
	run->late = false;
	run->done = done;
	pidfd = pidfd_open(pid, 0);
	r = pidfd < 0 ? -errno : source_init(&run->exited, loop, pidfd, EPOLLIN, on_exited);
	if (r < 0) {
		/* Nobody would hear of its end. */
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return r;
	}
	take_fd(&pidfd);
	return 0;
}

void publish_run_deinit(struct publish_run *run)
{
	if (run->exited.fd >= 0) {
		(void)pidfd_send_signal(run->exited.fd, SIGKILL, NULL, 0);
		(void)waitid(P_PIDFD, (id_t)run->exited.fd, &(siginfo_t){ 0 }, WEXITED);
	}
	source_close(&run->exited);
	timer_deinit(&run->deadline);
}
