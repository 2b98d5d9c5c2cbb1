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
#include "shim/config.h"
#include "shim/control.h"
#include "shim/starter.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define READY_MAX 8192

/* The sandbox process is in another directory. */
static void keep_guest(void)
{
	const char *guest = getenv("HVRUN_GUEST");
	cleanup_free char *path = guest && *guest != '/' ? realpath(guest, NULL) : NULL;

	if (path)
		(void)setenv("HVRUN_GUEST", path, 1);
}

static _Noreturn void child(char *const *args, int ready_fd)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	keep_guest();
	if (fcntl(ready_fd, F_SETFD, 0) == 0)
		execv("/proc/self/exe", args);
	dprintf(ready_fd, "exec: %s\n", errno_text(errno));
	_exit(127);
}

/* All that it had to say when its start failed. */
static char said[READY_MAX];

static int read_ready(int fd, struct fault *fault)
{
	if (starter_await(fd, said, sizeof(said)) == 0)
		return 0;
	size_t length = strlen(said);
	char *newline = strchr(said, '\n');
	if (newline)
		*newline = '\0';
	return fault_set(fault, -EIO, HRESULT_FAIL, "start the partition: %s",
	                 length ? said : "its sandbox process died");
}

const char *sandbox_last_words(void)
{
	size_t line = strlen(said) + 1;

	return said[0] && line < sizeof(said) ? said + line : "";
}

#define ARGUMENTS_MAX 32

/* The command line of a sandbox process, in an arena. */
struct arguments {
	struct arena arena;
	size_t count;
	char *item[ARGUMENTS_MAX];
	bool failed;
};

static void add(struct arguments *arguments, const char *text)
{
	char *copy = arena_copy(&arguments->arena, text, strlen(text));

	if (!copy || arguments->count + 1 >= ARGUMENTS_MAX) {
		arguments->failed = true;
		return;
	}
	arguments->item[arguments->count++] = copy;
}

static void add_option(struct arguments *arguments, const char *name, const char *value)
{
	if (!value)
		return;
	add(arguments, name);
	add(arguments, value);
}

/* Which of them count is for the configuration to say. */
static void add_annotations(struct arguments *arguments, const struct str_map *annotations)
{
	for (size_t i = 0; annotations && i < annotations->count; i++) {
		const struct str_pair *pair = &annotations->item[i];
		if (!config_knows(pair->name))
			continue;
		char *text = arena_printf(&arguments->arena, "%s=%s", pair->name, pair->value);
		add_option(arguments, "--annotation", text ? text : "");
	}
}

static void make_arguments(struct arguments *arguments, const char *root, const char *id,
                           const struct sandbox_wish *wish, int ready_fd)
{
	char fd_text[16];

	snprintf(fd_text, sizeof(fd_text), "%d", ready_fd);
	add(arguments, "hvrun");
	add(arguments, "sandbox");
	add_option(arguments, "--root", root);
	add_option(arguments, "--ready", fd_text);
	add_option(arguments, "--driver", wish->driver);
	add_option(arguments, "--config", wish->config);
	if (wish->debug)
		add(arguments, "--debug");
	add_annotations(arguments, wish->annotations);
	add(arguments, "--");
	add(arguments, id);
}

static int spawn(struct state *state, const char *id, const struct sandbox_wish *wish,
                 struct fault *fault)
{
	struct arguments arguments = { .arena = ARENA(1u << 20) };
	struct sandbox_wish resolved = *wish;
	int pipe_fd[2];

	/* The sandbox process is in another directory. */
	cleanup_free char *config = wish->config ? realpath(wish->config, NULL) : NULL;
	if (wish->config && !config)
		return fault_errno(fault, -errno, "configuration \"%s\"", wish->config);
	resolved.config = config;
	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return fault_errno(fault, -errno, "pipe");
	cleanup_close int ours = pipe_fd[0], theirs = pipe_fd[1];
	make_arguments(&arguments, state->root, id, &resolved, theirs);
	pid_t pid = arguments.failed ? -1 : fork();
	int error = arguments.failed ? -E2BIG : -errno;
	if (!pid)
		child(arguments.item, theirs);
	arena_free(&arguments.arena);
	if (pid < 0)
		return fault_errno(fault, error, "start a sandbox process");
	close_fd(&theirs);
	int r = read_ready(ours, fault);
	if (r < 0)
		(void)waitpid(pid, NULL, 0);
	return r;
}

int sandbox_spawn(struct state *state, const char *id, const struct sandbox_wish *wish,
                  struct fault *fault)
{
	cleanup_close int directory = -1;
	struct stat st;
	int r = state_partition_make(state, id, &directory, fault);

	if (r < 0)
		return r;
	r = spawn(state, id, wish, fault);
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
