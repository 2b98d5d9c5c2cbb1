/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The command gets the socket itself, not a pipe with us in between: nothing is copied. We keep it,
 * too, because the connection ends with the command, also where a process that it has left behind
 * has it still. The command is a shell and what the shell has started, so it has a process group:
 * a signal reaches all of it.
 *
 * A program expects of its standard input that it blocks, of signals that nobody has ignored or
 * blocked them for it, and no descriptors besides the three.
 */

#include "contrib/hvcat/exec.h"

#include "contrib/hvcat/variables.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define UNREAD_MAX (1u << 20)

static int set_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

static void set_environment(const struct hv_peer *peer)
{
	struct variable variables[VARIABLES];
	variables_of(peer, variables);
	for (size_t i = 0; i < VARIABLES; i++)
		(void)setenv(variables[i].name, variables[i].value, 1);
}

static void become(const char *text, int fd, const struct hv_peer *peer)
{
	sigset_t none;
	(void)setpgid(0, 0);
	for (int signal_number = 1; signal_number < NSIG; signal_number++)
		(void)signal(signal_number, SIG_DFL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	set_environment(peer);
	if (dup2(fd, STDIN_FILENO) >= 0 && dup2(fd, STDOUT_FILENO) >= 0) {
		closefrom(STDERR_FILENO + 1);
		execl("/bin/sh", "sh", "-c", text, (char *)NULL);
	}
	perror("hvcat: /bin/sh");
	_exit(127);
}

static int on_exit_of_command(struct source *source, uint32_t got)
{
	struct command *command = container_of(source, struct command, source);
	int status;
	(void)got;
	if (waitpid(command->pid, &status, WNOHANG) != command->pid)
		return 0;
	command_deinit(command);
	return command->fn(command, WIFSIGNALED(status) ? 128 + WTERMSIG(status)
	                                                : WEXITSTATUS(status));
}

int command_start(struct command *command, struct loop *loop, const char *text, int fd,
                  const struct hv_peer *peer, command_fn *fn)
{
	*command = (struct command){ .source = SOURCE_NULL, .fn = fn };
	int r = set_blocking(fd);
	if (r < 0)
		return r;
	command->pid = fork();
	if (command->pid < 0)
		return -errno;
	if (command->pid == 0)
		become(text, fd, peer);
	(void)setpgid(command->pid, command->pid);
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, command->pid, 0);
	r = pidfd < 0 ? -errno : source_init(&command->source, loop, pidfd, EPOLLIN,
	                                     on_exit_of_command);
	if (r < 0) {
		/* Nobody would learn of its end. */
		kill(command->pid, SIGKILL);
		waitpid(command->pid, NULL, 0);
		return r;
	}
	take_fd(&pidfd);
	return 0;
}

void command_signal(const struct command *command, int signal)
{
	if (command->source.fd >= 0)
		(void)kill(-command->pid, signal);
}

/*
 * What has come and was not read would make a reset of the end, and the peer might lose by that
 * what was written to it.
 */
void command_hang_up(int fd)
{
	char unread[4096];
	for (unsigned i = 0; i < UNREAD_MAX / sizeof(unread); i++) {
		if (recv(fd, unread, sizeof(unread), MSG_DONTWAIT) <= 0)
			break;
	}
	(void)hv_shutdown(fd, SHUT_RDWR);
}

void command_deinit(struct command *command)
{
	source_close(&command->source);
}
