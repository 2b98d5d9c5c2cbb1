/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Whoever started us knows our pid only, so it stands for the process in the container: signals
 * that come here go there, its exit status becomes ours, and if we are killed it is. The standard
 * streams are not here: the sandbox process has them.
 */

#include "shim/attach.h"

#include "shim/shadow.h"
#include "shim/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

int attach(const struct attachment *attachment, pid_t proxy, struct fault *fault)
{
	const struct control_request request = {
		.id = attachment->id,
		.vm = attachment->vm,
		.pid = attachment->pid,
		.proxy = (uint32_t)proxy,
	};
	return client_send(attachment->client, CONTROL_ATTACH, &request, NULL, 0, fault);
}

/*
 * All that can be passed on. Those of our own faults, of our children and of job control stay
 * ours.
 */
static void passed_on(sigset_t *set)
{
	static const int ours[] = {
		SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGCHLD, SIGPIPE,
		SIGTSTP, SIGTTIN, SIGTTOU, SIGSTOP, SIGKILL,
	};
	sigfillset(set);
	for (size_t i = 0; i < array_size(ours); i++)
		sigdelset(set, ours[i]);
}

void attach_block_signals(struct client *client)
{
	static const int ends[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };
	sigset_t set;
	passed_on(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigemptyset(&set);
	for (size_t i = 0; i < array_size(ends); i++)
		sigaddset(&set, ends[i]);
	close_fd(&client->end_fd);
	client->end_fd = signalfd(-1, &set, SFD_CLOEXEC);
}

static void resize(const struct attachment *attachment)
{
	struct fault fault;
	struct control_request request = {
		.id = attachment->id,
		.vm = attachment->vm,
		.pid = attachment->pid,
	};
	if (terminal_size(attachment->terminal_fd, &request.height, &request.width))
		client_send(attachment->client, CONTROL_RESIZE, &request, NULL, 0, &fault);
}

static void pass_signal(const struct attachment *attachment, int signal_fd)
{
	struct signalfd_siginfo info;
	struct fault fault;
	if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGWINCH && attachment->terminal_fd >= 0) {
		resize(attachment);
		return;
	}
	const struct control_request request = {
		.id = attachment->id,
		.vm = attachment->vm,
		.pid = attachment->pid,
		.signal = (int32_t)info.ssi_signo,
	};
	client_send(attachment->client, CONTROL_SIGNAL, &request, NULL, 0, &fault);
}

int attach_wait(const struct attachment *attachment, struct fault *fault)
{
	sigset_t set;
	passed_on(&set);
	cleanup_close int signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0)
		return fault_errno(fault, -errno, "waiting for signals");
	struct pollfd wait[] = {
		{ .fd = attachment->client->fd, .events = POLLIN },
		{ .fd = signal_fd, .events = POLLIN },
	};
	for (;;) {
		if (poll(wait, array_size(wait), -1) < 0 && errno != EINTR)
			return fault_errno(fault, -errno, "waiting for the container");
		if (wait[1].revents & POLLIN)
			pass_signal(attachment, signal_fd);
		if (!wait[0].revents)
			continue;
		uint32_t type = 0;
		struct control_reply reply = { 0 };
		int error = client_receive(attachment->client, &type, &reply, NULL, fault);
		if (type == MESSAGE_RESPONSE(CONTROL_ATTACH)) {
			if (!error && reply.reason)
				dprintf(STDERR_FILENO, "hvrun: %s\n", reply.reason);
			return error < 0 ? error : (int)(reply.exit_code & 0xff);
		}
		/* Answers to signals and sizes: a process that is just ending refuses them. */
		if (error < 0 && type == 0)
			return error;
	}
}

/* Leaves only the given fds open, as 3, 4 … in their order; -1 stays -1. */
static int keep_only(int *fds, int count)
{
	for (int i = 0; i < count; i++) {
		if (fds[i] >= 0 && (fds[i] = fcntl(fds[i], F_DUPFD, 3 + count)) < 0)
			return -errno;
	}
	for (int i = 0; i < count; i++) {
		if (fds[i] >= 0 && (fds[i] = dup2(fds[i], 3 + i)) < 0)
			return -errno;
	}
	return close_range(3 + (unsigned)count, ~0U, 0) < 0 ? -errno : 0;
}

/* What the proxy waits for before it goes on. */
struct go {
	bool ended;             /* the process has, with this status */
	int status;
};

static _Noreturn void proxy_run(struct attachment attachment, const struct shadow *shadow,
                                int go_fd)
{
	struct fault fault;
	struct go go;
	int keep[] = { go_fd, attachment.client->fd, attachment.terminal_fd };
	prctl(PR_SET_DUMPABLE, 0);
	setsid();
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd <= 2 && null >= 0; fd++)
		dup2(null, fd);
	(void)!chdir("/");
	if (shadow_enter(shadow) < 0)
		_exit(1);
	if (keep_only(keep, array_size(keep)) < 0)
		_exit(1);
	attachment.client->fd = keep[1];
	attachment.client->end_fd = -1;
	attachment.terminal_fd = keep[2];
	if (attachment.terminal_fd >= 0)
		ioctl(attachment.terminal_fd, TIOCSCTTY, 0);
	if (send(keep[0], "", 1, MSG_NOSIGNAL) != 1 || read(keep[0], &go, sizeof(go)) != sizeof(go))
		_exit(1);
	if (go.ended)
		_exit(go.status);
	close(keep[0]);
	/* Whoever has the master may have set it before its changes were told to us. */
	if (attachment.terminal_fd >= 0)
		resize(&attachment);
	int status = attach_wait(&attachment, &fault);
	_exit(status < 0 ? 137 : status);
}

/*
 * The answer to the second request shows that the first was taken. A process that has ended
 * already is told of before that.
 */
static int make_known(const struct attachment *attachment, pid_t proxy, struct go *ret,
                      struct fault *fault)
{
	const struct control_request request = { .id = attachment->vm ? "" : attachment->id };
	struct client *client = attachment->client;
	uint32_t type = 0;
	int error = attach(attachment, proxy, fault);
	if (!error)
		error = client_send(client, CONTROL_STATE, &request, NULL, 0, fault);
	while (!error && type != MESSAGE_RESPONSE(CONTROL_STATE)) {
		struct control_reply reply = { 0 };
		error = client_receive(client, &type, &reply, NULL, fault);
		if (!error && type == MESSAGE_RESPONSE(CONTROL_ATTACH))
			*ret = (struct go){
				.ended = true,
				.status = (int)(reply.exit_code & 0xff),
			};
	}
	return error;
}

/* Not before it is in its place: whoever learns its pid looks there. */
static int let_go(const struct attachment *attachment, pid_t proxy, int go_fd, struct fault *fault)
{
	struct go go = { .ended = false };
	char byte;
	int error = make_known(attachment, proxy, &go, fault);
	if (error < 0)
		return error;
	if (read(go_fd, &byte, 1) != 1 || send(go_fd, &go, sizeof(go), MSG_NOSIGNAL) != sizeof(go))
		return fault_errno(fault, -ECHILD, "starting the proxy");
	return 0;
}

int proxy_leave(const struct attachment *attachment, pid_t host_pid, const char *cgroup,
                const char *pid_file, struct fault *fault)
{
	struct shadow shadow;
	int go[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, go) < 0)
		return fault_errno(fault, -errno, "starting the proxy");
	cleanup_close int ours = go[0], theirs = go[1];
	attach_block_signals(attachment->client);
	shadow_open(&shadow, host_pid, cgroup, attachment->root);
	pid_t pid = shadow_fork(&shadow);
	int error = pid < 0 ? fault_errno(fault, -errno, "starting the proxy") : 0;
	if (pid == 0) {
		close_fd(&ours); /* or the parent's death would not be seen */
		proxy_run(*attachment, &shadow, theirs);
	}
	shadow_close(&shadow);
	close_fd(&theirs);
	if (!error)
		error = let_go(attachment, pid, ours, fault);
	if (!error && pid_file)
		error = pid_file_write(pid_file, pid, fault);
	if (error < 0 && pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return error;
}

int pid_file_write(const char *path, pid_t pid, struct fault *fault)
{
	char text[16];
	cleanup_free char *directory = strdup(path);
	if (!directory)
		return fault_errno(fault, -ENOMEM, "pid file");
	char *slash = strrchr(directory, '/');
	const char *name = slash ? path + (slash - directory) + 1 : path;
	if (slash)
		slash[slash == directory] = '\0';
	cleanup_close int fd = open(slash ? directory : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int length = snprintf(text, sizeof(text), "%d", (int)pid);
	int error = fd < 0 ? -errno : state_write_file(fd, name, text, (size_t)length);
	return error < 0 ? fault_errno(fault, error, "pid file \"%s\"", path) : 0;
}
