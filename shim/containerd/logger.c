/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Whether it could be executed at all is not told by descriptor 5, where the end of file may mean
 * that it is ready; so there is another pipe for that, which a successful exec closes.
 *
 * Nothing here waits for a logger. It may take its time until it is ready, and with the last words
 * of its container; only when it does not end by itself, signals help it.
 */

#include "shim/containerd/logger.h"

#include "oci/arena.h"
#include "oci/log.h"
#include "shim/launch.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The child */

enum { OUT, ERROR, READY, SAID, FAILED, PIPES };

#define FIRST_GIVEN 3           /* the number of OUT in the logger; the next two follow */
#define GIVEN 3

/* Out of the way of the numbers that it gets. */
static void move_up(int fd[static PIPES])
{
	for (int i = 0; i < PIPES; i++) {
		fd[i] = fcntl(fd[i], F_DUPFD_CLOEXEC, FIRST_GIVEN + GIVEN);
		if (fd[i] < 0)
			_exit(127);
	}
}

static _Noreturn void child(const struct logger_plan *plan, char *const *environment,
                            int fd[static PIPES])
{
	char *const *args = (char *const *)(uintptr_t)plan->args;

	move_up(fd);
	if (dup2(fd[FAILED], STDERR_FILENO) < 0)
		_exit(127);
	launch_clean();
	int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null_fd < 0 || dup2(null_fd, STDOUT_FILENO) < 0 || chdir("/") < 0)
		launch_fail("standard output");
	for (int i = 0; i < GIVEN; i++) {
		if (dup2(fd[i], FIRST_GIVEN + i) < 0)
			launch_fail("pipes");
	}
	launch_keep((const int[]){ FIRST_GIVEN, FIRST_GIVEN + 1, FIRST_GIVEN + 2, -1 });
	if (dup2(fd[SAID], STDERR_FILENO) < 0)
		launch_fail("standard error");
	execve(args[0], args, environment);
	int error = errno;
	(void)dup2(fd[FAILED], STDERR_FILENO);
	errno = error;
	launch_fail(args[0]);
}

/* Its words */

static void hear(struct logger *logger)
{
	char text[4096];
	ssize_t n = logger->said.fd < 0 ? -1 : read(logger->said.fd, text, sizeof(text));

	if (n > 0)
		tail_add(&logger->tail, text, (size_t)n);
	else if (n == 0)
		source_close(&logger->said);
}

static int on_said(struct source *source, uint32_t got)
{
	(void)got;
	hear(container_of(source, struct logger, said));
	return 0;
}

/* Its beginning */

static void settle(struct logger *logger, const struct fault *fault)
{
	logger->settled = true;
	source_close(&logger->waiting);
	close_fd(&logger->failed_fd);
	logger->ops->ready(logger, fault);
}

static void settle_failed(struct logger *logger, const char *what)
{
	struct fault fault = FAULT_NULL;
	char line[256] = "";

	hear(logger);
	tail_line(&logger->tail, NULL, line, sizeof(line));
	fault_set(&fault, -EIO, HRESULT_FAIL, "logger \"%s\" %s%s%s", logger->path, what,
	          line[0] ? ": " : "", line);
	settle(logger, &fault);
}

/* The child's own last words, before there was a logger. */
static void settle_not_executed(struct logger *logger, char *text, size_t length)
{
	struct fault fault = FAULT_NULL;

	text[length] = '\0';
	text[strcspn(text, "\n")] = '\0';
	fault_set(&fault, -EIO, HRESULT_FAIL, "logger %s", text);
	settle(logger, &fault);
}

/* False: nothing is known yet about how it began. True: that is told, and it may be freed. */
static bool look(struct logger *logger)
{
	char text[512];
	ssize_t n = read(logger->waiting.fd, text, 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	ssize_t failed = n > 0 ? 0 : read(logger->failed_fd, text, sizeof(text) - 1);
	if (failed > 0)
		settle_not_executed(logger, text, (size_t)failed);
	else if (n > 0 || !logger->says_ready)
		settle(logger, NULL);
	else
		settle_failed(logger, "does not say that it is ready");
	return true;
}

static int on_waiting(struct source *source, uint32_t got)
{
	(void)got;
	(void)look(container_of(source, struct logger, waiting));
	return 0;
}

/* Its end */

static void tell_end(struct logger *logger, const siginfo_t *info, char *how, size_t size)
{
	char line[256];
	bool fine = info->si_code == CLD_EXITED && !info->si_status;

	snprintf(how, size, info->si_code == CLD_EXITED ? "ended with status %d" :
	         "was killed by signal %d", info->si_status);
	hear(logger);
	tail_line(&logger->tail, NULL, line, sizeof(line));
	log_write(fine || logger->stopping ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING,
	          "logger \"%s\" of %s %s%s%s", logger->path, logger->id, how,
	          line[0] ? ": " : "", line);
}

static int on_exited(struct source *source, uint32_t got)
{
	(void)got;
	struct logger *logger = container_of(source, struct logger, exited);
	siginfo_t info = { 0 };
	char how[64];

	if (waitid(P_PIDFD, (id_t)logger->pidfd, &info, WEXITED | WNOHANG) < 0 || !info.si_pid)
		return 0;
	logger->pid = 0;
	source_deinit(&logger->exited);
	timer_deinit(&logger->patience);
	tell_end(logger, &info, how, sizeof(how));
	if (logger->settled || logger->stopping) {
		logger->ops->ended(logger);
	} else if (!look(logger)) {
		/* A program that it has left behind holds its descriptors. */
		settle_failed(logger, how);
	}
	return 0;
}

static int on_patience_over(struct timer *timer)
{
	struct logger *logger = container_of(timer, struct logger, patience);
	int signal = logger->terminated ? SIGKILL : SIGTERM;

	log_warning("logger \"%s\" of %s does not end, and gets signal %d", logger->path,
	            logger->id, signal);
	(void)pidfd_send_signal(logger->pidfd, signal, NULL, 0);
	if (!logger->terminated)
		(void)timer_set(timer, logger->term);
	logger->terminated = true;
	return 0;
}

void logger_stop(struct logger *logger)
{
	if (!logger->pid || logger->stopping)
		return;
	logger->stopping = true;
	source_close(&logger->waiting);
	close_fd(&logger->failed_fd);
	(void)timer_set(&logger->patience, logger->settled ? logger->end : logger->term);
	/* Who is not ready has nothing to write down. */
	if (logger->settled)
		return;
	logger->terminated = true;
	(void)pidfd_send_signal(logger->pidfd, SIGTERM, NULL, 0);
}

void logger_free(struct logger *logger)
{
	if (!logger)
		return;
	if (logger->pid)
		(void)pidfd_send_signal(logger->pidfd, SIGTERM, NULL, 0);
	source_deinit(&logger->exited);
	source_close(&logger->said);
	source_close(&logger->waiting);
	timer_deinit(&logger->patience);
	close_fd(&logger->failed_fd);
	close_fd(&logger->pidfd);
	free(logger->path);
	free(logger->id);
	free(logger);
}

/* The parent */

struct pipes {
	int ours[PIPES], theirs[PIPES];
};

static void close_pipes(struct pipes *pipes)
{
	for (int i = 0; i < PIPES; i++) {
		close_fd(&pipes->ours[i]);
		close_fd(&pipes->theirs[i]);
	}
}

static int make_pipes(struct pipes *ret)
{
	int fd[2];

	for (int i = 0; i < PIPES; i++)
		ret->ours[i] = ret->theirs[i] = -1;
	for (int i = 0; i < PIPES; i++) {
		bool it_reads = i == OUT || i == ERROR;
		if (pipe2(fd, O_CLOEXEC) < 0)
			return -errno;
		ret->ours[i] = fd[it_reads];
		ret->theirs[i] = fd[!it_reads];
		if (!it_reads && fcntl(ret->ours[i], F_SETFL, O_NONBLOCK) < 0)
			return -errno;
	}
	return 0;
}

static int run(struct logger *logger, const struct logger_plan *plan, struct pipes *pipes)
{
	cleanup(arena_free) struct arena arena = ARENA(8192);
	char *environment[] = {
		arena_printf(&arena, "CONTAINER_ID=%s", plan->id),
		arena_printf(&arena, "CONTAINER_NAMESPACE=%s", plan->namespace),
		NULL,
	};
	struct clone_args clone = {
		.flags = CLONE_PIDFD,
		.pidfd = (uintptr_t)&logger->pidfd,
		.exit_signal = SIGCHLD,
	};

	if (!environment[0] || !environment[1])
		return -ENOMEM;
	pid_t pid = (pid_t)syscall(SYS_clone3, &clone, sizeof(clone));
	if (pid < 0)
		return -errno;
	if (!pid)
		child(plan, environment, pipes->theirs);
	logger->pid = pid;
	return 0;
}

static int watch(struct logger *logger, struct loop *loop, struct pipes *pipes)
{
	int r = source_init(&logger->exited, loop, logger->pidfd, EPOLLIN, on_exited);

	if (r >= 0)
		r = source_init(&logger->said, loop, pipes->ours[SAID], EPOLLIN, on_said);
	if (r < 0)
		return r;
	take_fd(&pipes->ours[SAID]);
	r = source_init(&logger->waiting, loop, pipes->ours[READY], EPOLLIN, on_waiting);
	if (r >= 0)
		take_fd(&pipes->ours[READY]);
	return r;
}

int logger_start(struct logger **ret, struct loop *loop, const struct logger_plan *plan,
                 const struct logger_ops *ops, int ret_fds[static 2], struct fault *fault)
{
	cleanup(close_pipes) struct pipes pipes;
	struct logger *logger = malloc(sizeof(*logger));
	int r = make_pipes(&pipes);

	*ret = NULL;
	if (!logger)
		return fault_errno(fault, -ENOMEM, "logger \"%s\"", plan->args[0]);
	*logger = (struct logger){
		.ops = ops,
		.path = strdup(plan->args[0]),
		.id = strdup(plan->id),
		.pidfd = -1,
		.exited = SOURCE_NULL, .said = SOURCE_NULL, .waiting = SOURCE_NULL,
		.failed_fd = -1,
		.says_ready = plan->says_ready,
		.end = LOGGER_END, .term = LOGGER_TERM,
	};
	timer_init(&logger->patience, loop, on_patience_over);
	if (r >= 0 && (!logger->path || !logger->id))
		r = -ENOMEM;
	if (r >= 0)
		r = run(logger, plan, &pipes);
	if (r >= 0)
		r = watch(logger, loop, &pipes);
	if (r < 0) {
		logger_free(logger);
		return fault_errno(fault, r, "logger \"%s\"", plan->args[0]);
	}
	logger->failed_fd = take_fd(&pipes.ours[FAILED]);
	ret_fds[0] = take_fd(&pipes.ours[OUT]);
	ret_fds[1] = take_fd(&pipes.ours[ERROR]);
	*ret = logger;
	return 0;
}
