/* SPDX-License-Identifier: Apache-2.0 */

/* In the child of a fork: whatever fails ends it. */

#include "shim/launch.h"

#include "oci/fault.h"
#include "oci/files_limit.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

_Noreturn void launch_fail(const char *step)
{
	int error = errno;

	dprintf(STDERR_FILENO, "%s: %s\n", step, errno_text(error));
	_exit(127);
}

void launch_stdio(int out_fd, int error_fd, const int *reader_fds)
{
	/* Our own copies would keep the pipes' readers alive. */
	for (; *reader_fds >= 0; reader_fds++)
		close(*reader_fds);
	if (dup2(out_fd, STDOUT_FILENO) < 0 || dup2(error_fd, STDERR_FILENO) < 0)
		_exit(127);
}

/*
 * The parent death signal is for deaths from now on; the pipe to a parent that is dead has no
 * reader.
 */
static bool parent_died(void)
{
	struct pollfd output = { .fd = STDERR_FILENO };
	return poll(&output, 1, 0) > 0 && output.revents & POLLERR;
}

void launch_bind(void)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		launch_fail("parent death signal");
	if (parent_died())
		_exit(127);
}

void launch_clean(void)
{
	sigset_t none;

	setsid();
	for (int signal_number = 1; signal_number < NSIG; signal_number++)
		(void)signal(signal_number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	files_limit_restore();
	umask(022);
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0)
		launch_fail("/dev/null");
}

void launch_keep(const int *fds)
{
	if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		launch_fail("close_range");
	for (; *fds >= 0; fds++) {
		if (fcntl(*fds, F_SETFD, 0) < 0)
			launch_fail("keep a descriptor");
	}
}
