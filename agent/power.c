/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The disks and shares behind sync(2) belong to a host that may be gone, and a process that waits
 * for one cannot even be killed. So both waits are bounded: a VM that was told to go, goes.
 */

#include "agent/power.h"

#include "oci/fault.h"
#include "oci/log.h"

#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>

#define PROCESSES_SECONDS 2
#define SYNC_MILLISECONDS 5000

static void end_processes(void)
{
	const struct timespec patience = { .tv_sec = PROCESSES_SECONDS };
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (kill(-1, SIGKILL) < 0)
		return;
	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);
		if (pid < 0 ||
		    (pid == 0 && sigtimedwait(&set, NULL, &patience) < 0 && errno == EAGAIN))
			return;
	}
}

static void write_out(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		sync();
		_exit(0);
	}
	cleanup_close int fd = pid < 0 ? -1 : pidfd_open(pid, 0);
	struct pollfd ended = { .fd = fd, .events = POLLIN };
	if (fd >= 0 && poll(&ended, 1, SYNC_MILLISECONDS) == 0)
		log_warning("powering off: the disks do not take what is left");
}

_Noreturn void power_off(void)
{
	log_info("powering off");
	end_processes();
	write_out();
	reboot(RB_POWER_OFF);
	log_error("powering off: %s", errno_text(errno));
	for (;;)
		pause();
}
