/* SPDX-License-Identifier: Apache-2.0 */

/*
 * containerd reads what start prints until its end, and dials once. So the daemon is a child that
 * keeps nothing of ours: standard output above all, or containerd waits for ever. And it listens
 * before it exists: the socket is made here and inherited, which also settles which of several that
 * are started at once for a pod becomes its daemon.
 *
 * A fork is all that it takes. The daemon has our argv then, by which people find in ps(1) whose
 * shim it is.
 */

#include "shim/containerd/start.h"

#include "oci/file.h"
#include "shim/bundle.h"
#include "shim/containerd/address.h"
#include "shim/containerd/bootstrap.h"
#include "shim/containerd/daemon.h"
#include "shim/containerd/group.h"
#include "shim/containerd/output.h"
#include "shim/containerd/pidfile.h"
#include "shim/containerd/runtime_options.h"
#include "shim/hierarchy.h"
#include "shim/starter.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define SAID_MAX 4096
#define OOM_SCORE "/proc/self/oom_score_adj"
#define OOM_SCORE_MAX 1000

struct start {
	const struct shim_command *command;
	struct arena arena;
	struct bootstrap bootstrap;
	struct runtime_options runtime;
	struct shim_options options;
	char bundle[PATH_MAX], address[ADDRESS_TEXT];
	int bundle_fd, listen_fd, pid_fd;
	pid_t pid;
};

/* The daemon's side */

/* Of equal ones the kernel kills the larger process, and that should not be containerd. */
static void raise_oom_score(void)
{
	char text[24];

	if (file_read_line(AT_FDCWD, OOM_SCORE, text, sizeof(text)) < 0)
		return;
	long score = strtol(text, NULL, 10);
	if (score >= OOM_SCORE_MAX)
		return;
	snprintf(text, sizeof(text), "%ld", score + 1);
	(void)file_write_text(AT_FDCWD, OOM_SCORE, text);
}

static int enter(const char *path, void *context)
{
	char procs[PATH_MAX];
	int n = snprintf(procs, sizeof(procs), "%s/cgroup.procs", path);
	int error = n < (int)sizeof(procs) ? file_write_text(AT_FDCWD, procs, "0") : -ENAMETOOLONG;

	*(bool *)context |= !error;
	return error;
}

/* Where containerd has been told to put its shims. */
static int enter_cgroup(const char *cgroup, struct fault *fault)
{
	bool entered = false;

	if (!cgroup)
		return 0;
	int error = *cgroup == '/' ? hierarchy_each(cgroup, enter, &entered) : -EINVAL;
	if (entered)
		return 0;
	return fault_errno(fault, error < 0 ? error : -ENOENT, "cgroup of the shim \"%s\"",
	                   cgroup);
}

/* containerd was told that what a shim runs shares no core with others. Without SMT nobody does. */
static int share_no_core(struct fault *fault)
{
	if (!getenv("SCHED_CORE") ||
	    prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, PR_SCHED_CORE_SCOPE_PROCESS_GROUP,
	          0) == 0 || errno == ENODEV)
		return 0;
	return fault_errno(fault, -errno, "core scheduling");
}

static _Noreturn void become_daemon(struct start *start, int ready_fd)
{
	struct starter starter = STARTER(ready_fd);
	struct fault fault = FAULT_NULL;
	const int fds[] = { start->listen_fd, start->pid_fd, ready_fd, -1 };

	int error = starter_detach(fds);
	if (error < 0)
		fault_errno(&fault, error, "leave the caller");
	else
		error = enter_cgroup(start->runtime.shim_cgroup, &fault);
	if (!error)
		error = share_no_core(&fault);
	if (error < 0) {
		starter_tell_failed(&starter, fault.text, NULL);
		_exit(EXIT_FAILURE);
	}
	raise_oom_score();
	/* Meant for a shim written in Go; what we start has its own ideas. */
	(void)unsetenv("GOMAXPROCS");
	_exit(shim_daemon(&start->options, start->listen_fd, ready_fd));
}

/* The caller's side */

static int read_runtime(struct start *start, struct fault *fault)
{
	struct runtime_options *runtime = &start->runtime;
	int error = runtime_options_parse(runtime, start->bootstrap.options, &start->arena, fault);

	if (error < 0)
		return error;
	start->options.driver = runtime->driver;
	start->options.config = runtime->config ? runtime->config : getenv("HVRUN_CONFIG");
	return group_root(runtime->root, start->command->namespace, &start->arena,
	                  &start->options.root, fault);
}

static int open_bundle(struct start *start, struct fault *fault)
{
	if (!getcwd(start->bundle, sizeof(start->bundle)))
		return fault_errno(fault, -errno, "bundle");
	start->bundle_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return start->bundle_fd < 0 ? fault_errno(fault, -errno, "bundle") : 0;
}

static int prepare(struct start *start, struct fault *fault)
{
	const struct shim_command *command = start->command;
	const struct bootstrap *bootstrap = &start->bootstrap;
	struct shim_options *options = &start->options;
	int error = bootstrap_read(&start->bootstrap, STDIN_FILENO, command, fault);

	if (!error)
		error = open_bundle(start, fault);
	if (!error)
		error = read_runtime(start, fault);
	if (!error)
		error = group_read(start->bundle_fd, command->id, &start->arena,
		                   &options->annotations, &options->group, fault);
	if (!error)
		error = address_make(bootstrap->socket_directory, command->address,
		                     command->namespace, options->group, start->address, fault);
	if (error < 0)
		return error;
	options->id = command->id;
	options->namespace = command->namespace;
	options->bundle = start->bundle;
	options->address = start->address;
	options->grpc_address = bootstrap->grpc_address;
	options->ttrpc_address = bootstrap->ttrpc_address;
	options->publish_binary = bootstrap->publish_binary;
	options->debug = bootstrap->debug || start->runtime.debug;
	options->api_version = bootstrap->version;
	return 0;
}

/* It has said why it will not be a daemon, or nothing. */
static int await_daemon(struct start *start, int ready_fd, struct fault *fault)
{
	static char said[SAID_MAX];
	int error = pidfile_write(start->pid_fd, start->pid);

	if (error < 0) {
		(void)kill(start->pid, SIGKILL);
		fault_errno(fault, error, PIDFILE);
	} else if (starter_await(ready_fd, said, sizeof(said)) == 0) {
		return 0;
	} else {
		said[strcspn(said, "\n")] = '\0';
		error = fault_set(fault, -EIO, HRESULT_FAIL, "%s",
		                  *said ? said : "the shim has died at its start");
	}
	(void)waitpid(start->pid, NULL, 0);
	return error;
}

static int link_root(const struct start *start, struct fault *fault)
{
	int error = group_link_root(start->bundle_fd, start->options.root);

	return error < 0 ? fault_errno(fault, error, GROUP_STATE) : 0;
}

static int begin_daemon(struct start *start, struct fault *fault)
{
	int fds[2];
	int error = pidfile_make(start->bundle_fd, &start->pid_fd, fault);

	if (!error)
		error = link_root(start, fault);
	if (error < 0)
		return error;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return fault_errno(fault, -errno, "pipe");
	cleanup_close int ours = fds[0], theirs = fds[1];
	start->pid = fork();
	if (!start->pid)
		become_daemon(start, take_fd(&theirs));
	if (start->pid < 0)
		return fault_errno(fault, -errno, "fork");
	close_fd(&theirs);
	return await_daemon(start, ours, fault);
}

/* What the daemon has not had the time to remove. In a bundle that another one serves, only the
 * socket is ours. */
static void clean_up(struct start *start)
{
	close_fd(&start->listen_fd);
	address_remove_stale(start->address);
	if (start->pid_fd < 0)
		return;
	close_fd(&start->pid_fd);
	pidfile_remove(start->bundle_fd);
	(void)unlinkat(start->bundle_fd, ADDRESS_FILE, 0);
	(void)unlinkat(start->bundle_fd, GROUP_STATE, 0);
}

static int print(const struct start *start, struct fault *fault)
{
	struct buf out = BUF(FAULT_TEXT);
	int error = bootstrap_answer(start->bootstrap.form, start->address, &out);

	error = error < 0 ? fault_errno(fault, error, "answer")
	                  : output_bytes(buf_head(&out), buf_length(&out), fault);
	buf_deinit(&out);
	return error;
}

/* Last, as whoever reads the answer finds what is in the bundle. */
static int publish(const struct start *start, struct fault *fault)
{
	int error = address_save(start->bundle_fd, start->address);

	if (error < 0)
		return fault_errno(fault, error, ADDRESS_FILE);
	return print(start, fault);
}

/* A daemon that nobody knows of is ended again. */
static int serve(struct start *start, struct fault *fault)
{
	int error = begin_daemon(start, fault);

	if (error < 0)
		return error;
	error = publish(start, fault);
	if (error < 0 && kill(start->pid, SIGTERM) == 0)
		(void)waitpid(start->pid, NULL, 0);
	return error;
}

static int run(struct start *start, struct fault *fault)
{
	int fd = address_listen(start->address, fault);
	int error;

	if (fd < 0)
		return fd;
	if (!fd) {
		error = link_root(start, fault);
		return error < 0 ? error : publish(start, fault);
	}
	start->listen_fd = fd;
	error = serve(start, fault);
	if (error < 0)
		clean_up(start);
	return error;
}

int start_run(const struct shim_command *command, struct fault *fault)
{
	struct start start = {
		.command = command,
		.arena = ARENA(JSON_ARENA),
		.bundle_fd = -1,
		.listen_fd = -1,
		.pid_fd = -1,
	};
	int error = prepare(&start, fault);

	if (!error)
		error = run(&start, fault);
	bootstrap_deinit(&start.bootstrap);
	arena_free(&start.arena);
	close_fd(&start.bundle_fd);
	close_fd(&start.listen_fd);
	close_fd(&start.pid_fd);
	return error;
}
