/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The state reaches a hook as a file in memory, not through a pipe: a hook that never reads it
 * cannot hold us up, however long the annotations are. Its output is read while it runs, or it
 * could block on a full pipe, but only the end of it is kept. What it leaves running in the
 * background may hold the output open: the hook is over when its process is.
 */

#include "oci/hook.h"

#include "oci/json.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define STATE_MAX (1u << 20)
#define TAIL 512
#define PIPE_FULL 65536

struct running {
	pid_t pid;
	int pidfd;
	int output;             /* read end of its stdout and stderr */
	char tail[TAIL];
	size_t length;          /* of tail */
};

static const struct json_field oci_state_fields[] = {
	JSON_FIELD(struct oci_state, oci_version, "ociVersion", str, JSON_REQUIRED),
	JSON_FIELD(struct oci_state, id, "id", str, JSON_REQUIRED),
	JSON_FIELD(struct oci_state, status, "status", str, JSON_REQUIRED),
	JSON_FIELD(struct oci_state, pid, "pid", u32),
	JSON_FIELD(struct oci_state, bundle, "bundle", str, JSON_REQUIRED),
	JSON_FIELD(struct oci_state, annotations, "annotations", str_map),
	{ NULL },
};
static const struct json_type oci_state_type = JSON_TYPE(struct oci_state, oci_state_fields);

char **str_list_vector(const struct str_list *list, const char *more)
{
	char **vector = calloc(list->count + 2, sizeof(*vector));
	if (!vector)
		return NULL;
	if (list->count)
		memcpy(vector, list->item, list->count * sizeof(*vector));
	vector[list->count] = (char *)more;
	return vector;
}

static int state_file(const struct oci_state *state)
{
	cleanup(buf_deinit) struct buf text = BUF(STATE_MAX);
	int r = json_encode(&oci_state_type, state, &text, false);
	if (r < 0)
		return r;
	cleanup_close int fd = memfd_create("state", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (buf_length(&text)) {
		ssize_t n = write(fd, buf_head(&text), buf_length(&text));
		if (n < 0)
			return -errno;
		buf_consume(&text, (size_t)n);
	}
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return take_fd(&fd);
}

static _Noreturn void hook_exec(const struct oci_hook *hook, int state_fd, int output)
{
	/* Of our own handling only what is ignored would survive exec. */
	signal(SIGPIPE, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();

	char *no_args[] = { (char *)hook->path, NULL };
	char **args = hook->args.count ? str_list_vector(&hook->args, NULL) : no_args;
	char **env = str_list_vector(&hook->env, NULL);
	if (args && env && dup2(state_fd, 0) == 0 && dup2(output, 1) == 1 && dup2(output, 2) == 2) {
		syscall(SYS_close_range, 3, ~0U, 0);
		execve(hook->path, args, env);
		const char *text = errno_text(errno);
		if (write(2, text, strlen(text)) < 0)
			_exit(126);
	}
	_exit(127);
}

static int hook_start(const struct oci_hook *hook, const struct oci_state *state,
                      struct running *ret)
{
	cleanup_close int state_fd = state_file(state);
	if (state_fd < 0)
		return state_fd;
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	ret->output = ends[0];
	cleanup_close int output = ends[1];
	if (fcntl(ret->output, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	/* 0, 1 or 2 as one of these fds would be overwritten by the dup2 of another. */
	if (state_fd <= 2 || output <= 2)
		return -EBADF;
	ret->pid = fork();
	if (ret->pid < 0)
		return -errno;
	if (ret->pid == 0)
		hook_exec(hook, state_fd, output);
	ret->pidfd = (int)syscall(SYS_pidfd_open, ret->pid, 0);
	return ret->pidfd < 0 ? -errno : 0;
}

/* Keeps the last bytes. 0: end of the output; -1: nothing there. */
static ssize_t take_output(struct running *hook)
{
	char bytes[TAIL];
	ssize_t n = read(hook->output, bytes, sizeof(bytes));
	if (n <= 0)
		return n;
	size_t over = hook->length + (size_t)n > TAIL ? hook->length + (size_t)n - TAIL : 0;
	memmove(hook->tail, hook->tail + over, hook->length - over);
	memcpy(hook->tail + hook->length - over, bytes, (size_t)n);
	hook->length += (size_t)n - over;
	return n;
}

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* 0 when the process has ended, -ETIMEDOUT. */
static int hook_watch(struct running *hook, const struct opt_i64 *timeout)
{
	int64_t seconds = timeout->value < INT32_MAX / 1000 ? timeout->value : INT32_MAX / 1000;
	int64_t deadline = now_ms() + seconds * 1000;
	struct pollfd poll_fds[] = {
		{ .fd = hook->pidfd, .events = POLLIN },
		{ .fd = hook->output, .events = POLLIN },
	};

	while (true) {
		int64_t left = timeout->set ? deadline - now_ms() : -1;
		if (timeout->set && left <= 0)
			return -ETIMEDOUT;
		int n = poll(poll_fds, array_size(poll_fds), (int)left);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0)
			continue;
		if (poll_fds[0].revents)
			return 0;
		if (take_output(hook) == 0)
			poll_fds[1].fd = -1;
	}
}

static int hook_wait(struct running *hook, siginfo_t *ret)
{
	while (waitid(P_PID, (id_t)hook->pid, ret, WEXITED) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* Of what is in the pipe when the hook is over; others may go on writing for ever. */
static const char *last_line(struct running *hook, int *ret_length)
{
	for (size_t got = 0; got < PIPE_FULL;) {
		ssize_t n = take_output(hook);
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	size_t end = hook->length;
	while (end > 0 && (hook->tail[end - 1] == '\n' || hook->tail[end - 1] == ' '))
		end--;
	size_t start = end;
	while (start > 0 && hook->tail[start - 1] != '\n')
		start--;
	*ret_length = (int)(end - start);
	return hook->tail + start;
}

static void hook_deinit(struct running *hook)
{
	close_fd(&hook->pidfd);
	close_fd(&hook->output);
}

int hook_run(const char *kind, const struct oci_hook *hook, const struct oci_state *state,
             struct fault *fault)
{
	cleanup(hook_deinit) struct running running = { .pidfd = -1, .output = -1 };
	siginfo_t info = { 0 };
	int r = hook_start(hook, state, &running);
	if (r < 0 && running.pid <= 0)
		return fault_errno(fault, r, "%s hook \"%s\"", kind, hook->path);
	if (r == 0)
		r = hook_watch(&running, &hook->timeout);
	if (r < 0) {
		/* Its session too; it may not have called setsid() yet. */
		kill(-running.pid, SIGKILL);
		kill(running.pid, SIGKILL);
	}
	int waited = hook_wait(&running, &info);
	if (r == -ETIMEDOUT)
		return fault_set(fault, r, HRESULT_FAIL,
				 "%s hook \"%s\" failed: timed out after %lld s", kind, hook->path,
				 (long long)hook->timeout.value);
	if (r < 0 || waited < 0)
		return fault_errno(fault, r < 0 ? r : waited, "%s hook \"%s\"", kind, hook->path);
	if (info.si_code == CLD_EXITED && info.si_status == 0)
		return 0;
	int length;
	const char *line = last_line(&running, &length);
	return fault_set(fault, -ECHILD, HRESULT_FAIL, "%s hook \"%s\" failed: %s %d%s%.*s", kind,
	                 hook->path, info.si_code == CLD_EXITED ? "exit status" : "signal",
	                 info.si_status, length ? ": " : "", length, line);
}

int hooks_run(const char *kind, const oci_hook_list *hooks, const struct oci_state *state,
              struct fault *fault)
{
	for (size_t i = 0; i < hooks->count; i++) {
		int r = hook_run(kind, &hooks->item[i], state, fault);
		if (r < 0)
			return r;
	}
	return 0;
}
