/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How commands get to a sandbox process: they start one, or connect to one.
 *
 * The sandbox process is the same program, executed anew: it must not carry along the memory of a
 * command, and people should see in ps(1) what it is. One fork is enough, because setsid() in the
 * child of a fork always works, and whoever adopts it reaps it. It stays in the caller's cgroup:
 * the kernel takes longer to move a process than to start a partition.
 */

#include "shim/sandbox.h"

#include "hvsocket/hvsocket.h"
#include "oci/log.h"
#include "shim/control.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define READY_MAX 1000

static _Noreturn void child(char *const *args, int ready_fd)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (fcntl(ready_fd, F_SETFD, 0) == 0)
		execv("/proc/self/exe", args);
	dprintf(ready_fd, "exec: %s\n", errno_text(errno));
	_exit(127);
}

/* One NUL byte is success; text says what failed; nothing at all is a process that died. */
static int read_ready(int fd, struct fault *fault)
{
	char text[READY_MAX];
	size_t length = 0;

	while (length < sizeof(text) - 1) {
		ssize_t n = read(fd, text + length, sizeof(text) - 1 - length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		length += (size_t)n;
		if (!text[0])
			return 0;
		if (text[length - 1] == '\n')
			break;
	}
	text[length] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return fault_set(fault, -EIO, HRESULT_FAIL, "start the partition: %s",
	                 length ? text : "its sandbox process died");
}

static int spawn(struct state *state, const char *id, const char *driver, bool debug,
                 struct fault *fault)
{
	int pipe_fd[2];
	char fd_text[16];

	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return fault_errno(fault, -errno, "pipe");
	cleanup_close int ours = pipe_fd[0], theirs = pipe_fd[1];
	snprintf(fd_text, sizeof(fd_text), "%d", theirs);
	char program[] = "hvrun", verb[] = "sandbox", root[] = "--root", ready[] = "--ready",
	     driver_flag[] = "--driver", debug_flag[] = "--debug", end[] = "--";
	cleanup_free char *id_text = strdup(id), *driver_text = strdup(driver ? driver : "local");
	if (!id_text || !driver_text)
		return fault_errno(fault, -ENOMEM, "partition \"%s\"", id);
	char *const args[] = {
		program, verb, root, state->root, ready, fd_text, driver_flag, driver_text,
		debug ? debug_flag : end, debug ? end : id_text, debug ? id_text : NULL, NULL,
	};
	pid_t pid = fork();
	if (pid < 0)
		return fault_errno(fault, -errno, "fork");
	if (!pid)
		child(args, theirs);
	close_fd(&theirs);
	int r = read_ready(ours, fault);
	if (r < 0)
		(void)waitpid(pid, NULL, 0);
	return r;
}

int sandbox_spawn(struct state *state, const char *id, const char *driver, bool debug,
                  struct fault *fault)
{
	cleanup_close int directory = -1;
	struct stat st;
	int r = state_partition_make(state, id, &directory, fault);

	if (r < 0)
		return r;
	r = spawn(state, id, driver, debug, fault);
	/* Unless it has gone already, and the id perhaps belongs to somebody else. */
	if (r < 0 && fstat(directory, &st) == 0 && st.st_nlink)
		(void)state_partition_remove(state, id);
	return r;
}

int sandbox_connect(struct state *state, const char *id)
{
	struct hv_endpoint endpoint = { .scheme = HV_SCHEME_UNIX };
	bool pending;
	int n = snprintf(endpoint.path, sizeof(endpoint.path), "%s/partitions/%s/" CONTROL_SOCKET,
	                 state->root, id);

	if (n < 0 || (size_t)n >= sizeof(endpoint.path))
		return -ENAMETOOLONG;
	cleanup_close int fd = hv_connect(&endpoint, NULL, false, &pending);
	if (fd < 0)
		return fd;
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return -errno;
	return take_fd(&fd);
}
