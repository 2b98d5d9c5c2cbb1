/* SPDX-License-Identifier: Apache-2.0 */

/*
 * QEMU and vhost-device-vsock are what a hostile guest talks to first, so they are what it breaks
 * into first. They find themselves as nobody, without a capability, alone in their pid, network,
 * ipc and uts namespaces, with files that can only be read and a /dev of four nodes; everything
 * that they work with came as an open descriptor. virtiofsd has to be root to keep the owners of
 * files; it has the capabilities for that, and its own sandbox.
 *
 * The order of the steps matters. Each of setuid(2) and a change of capabilities forgets the parent
 * death signal, so that comes last.
 */

#include "shim/daemon.h"

#include "oci/files_limit.h"
#include "shim/launch.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

/* The child: what it can see */

/* A device for its user alone, whatever group may use the original. */
static void make_device(const char *path, uint32_t user)
{
	char to[PATH_MAX];
	struct stat st;

	/* The new /dev is where the old one was, whose nodes are below it no more. */
	if (stat(path, &st) < 0 || !S_ISCHR(st.st_mode))
		launch_fail(path);
	snprintf(to, sizeof(to), "/proc%s", path + strlen("/dev"));
	if (mknod(to, S_IFCHR | 0600, st.st_rdev) < 0 || chown(to, user, user) < 0)
		launch_fail(path);
}

static void make_dev(const struct daemon_plan *plan)
{
	static const struct { const char *path; unsigned minor; } nodes[] = {
		{ "/proc/null", 3 }, { "/proc/zero", 5 }, { "/proc/urandom", 9 },
	};
	mode_t mask = umask(0);

	/* Made where the next /proc will be, and moved. */
	if (mount("dev", "/proc", "tmpfs", MS_NOSUID | MS_NOEXEC, "size=64k,mode=0755") < 0)
		launch_fail("a small /dev");
	for (size_t i = 0; i < array_size(nodes); i++) {
		if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(1, nodes[i].minor)) < 0)
			launch_fail("a small /dev");
	}
	if (plan->device)
		make_device(plan->device, plan->user);
	if (mount("/proc", "/dev", NULL, MS_MOVE, NULL) < 0)
		launch_fail("a small /dev");
	umask(mask);
}

static void set_attributes(const char *path, unsigned flags, uint64_t set, uint64_t clear)
{
	struct mount_attr attr = { .attr_set = set, .attr_clr = clear };

	if (syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attr, sizeof(attr)) < 0)
		launch_fail("read-only files");
}

static void make_view(const struct daemon_plan *plan)
{
	bool read_only = !plan->capabilities;
	const char *directory = plan->directory;

	/* What is unmounted outside must not be held by us. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		launch_fail("mount propagation");
	if (read_only)
		make_dev(plan);
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		launch_fail("mount /proc");
	if (read_only && directory && mount(directory, directory, NULL, MS_BIND, NULL) < 0)
		launch_fail(directory);
	if (read_only)
		set_attributes("/", AT_RECURSIVE, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0);
	if (read_only && directory)
		set_attributes(directory, 0, 0, MOUNT_ATTR_RDONLY);
	/* It may be nowhere that its user can go to by a path. */
	if (chdir(directory ? directory : "/") < 0)
		launch_fail(directory);
}

/* The child: what it may do */

/* Of those that we have ourselves: a container may have taken some from us. */
static void limit_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	for (int cap = 0; cap < 64; cap++) {
		if (!(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap) < 0 && errno != EINVAL)
			launch_fail("bounding capabilities");
	}
	if (syscall(SYS_capget, &header, data) < 0)
		launch_fail("capabilities");
	for (int i = 0; keep && i < 2; i++) {
		data[i].permitted &= (uint32_t)(keep >> 32 * i);
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &header, data) < 0)
		launch_fail("capabilities");
}

static void drop_rights(const struct daemon_plan *plan)
{
	static const struct rlimit none = { 0, 0 };

	limit_capabilities(plan->capabilities);
	if (!plan->capabilities &&
	    (setgroups(0, NULL) < 0 || setresgid(plan->user, plan->user, plan->user) < 0 ||
	     setresuid(plan->user, plan->user, plan->user) < 0))
		launch_fail("change user");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
		launch_fail("no new privileges");
}

/* A program in somebody's home is not to be reached by a path for its user. */
static _Noreturn void execute(const struct daemon_plan *plan, int program_fd)
{
	static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	static char *const environment[] = { path, NULL };
	char *const *args = (char *const *)(uintptr_t)plan->args;

	execve(args[0], args, environment);
	if (errno == EACCES && program_fd >= 0) {
		execveat(program_fd, "", args, environment, AT_EMPTY_PATH);
		errno = EACCES;
	}
	launch_fail(args[0]);
}

static _Noreturn void child(const struct daemon_plan *plan, int out_fd, int error_fd,
                            const int *reader_fds)
{
	launch_stdio(out_fd, error_fd, reader_fds);
	launch_clean();
	make_view(plan);
	int program_fd = open(plan->args[0], O_PATH | O_CLOEXEC);
	if (plan->many_files)
		files_limit_most();
	drop_rights(plan);
	launch_bind();
	launch_keep(plan->fds);
	execute(plan, program_fd);
}

/* Its words */

/* False when there is nothing more. */
static bool hear(struct daemon *daemon, struct source *source, struct tail *tail)
{
	char text[4096];
	ssize_t n = source->fd < 0 ? 0 : read(source->fd, text, sizeof(text));

	if (n > 0) {
		tail_add(tail, text, (size_t)n);
		daemon->ops->said(daemon, text, (size_t)n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		source_close(source);
	}
	return n > 0;
}

static int on_error(struct source *source, uint32_t got)
{
	(void)got;
	struct daemon *daemon = container_of(source, struct daemon, error);

	hear(daemon, source, &daemon->said);
	return 0;
}

static int on_out(struct source *source, uint32_t got)
{
	(void)got;
	struct daemon *daemon = container_of(source, struct daemon, out);

	hear(daemon, source, &daemon->console);
	return 0;
}

#define LAST_READS 64

/* What it said before it ended is still in the pipes. */
static void hear_all(struct daemon *daemon)
{
	for (int i = 0; i < LAST_READS && hear(daemon, &daemon->error, &daemon->said); i++)
		;
	for (int i = 0; i < LAST_READS && hear(daemon, &daemon->out, &daemon->console); i++)
		;
}

/* Its life */

static int on_end(struct source *source, uint32_t got)
{
	(void)got;
	struct daemon *daemon = container_of(source, struct daemon, exited);

	source_deinit(source);
	daemon->ops->ended(daemon);
	return 0;
}

static int watch(struct daemon *daemon, struct loop *loop, int *error_fd, int *out_fd)
{
	int r = source_init(&daemon->exited, loop, daemon->pidfd, EPOLLIN, on_end);

	if (r >= 0)
		r = source_init(&daemon->error, loop, *error_fd, EPOLLIN, on_error);
	if (r < 0)
		return r;
	take_fd(error_fd);
	if (*out_fd >= 0)
		r = source_init(&daemon->out, loop, *out_fd, EPOLLIN, on_out);
	if (r >= 0)
		take_fd(out_fd);
	return r;
}

static int make_pipe(int *ret_ours, int *ret_theirs)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	*ret_ours = fd[0];
	*ret_theirs = fd[1];
	return fcntl(fd[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int daemon_start(struct daemon *daemon, const struct daemon_plan *plan, struct loop *loop,
                 const struct daemon_ops *ops, struct fault *fault)
{
	cleanup_close int error_fd = -1, their_error = -1, out_fd = -1, their_out = -1;
	uint64_t namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
	int pidfd = -1;
	int r = make_pipe(&error_fd, &their_error);

	*daemon = (struct daemon)DAEMON_NULL;
	daemon->name = plan->name;
	daemon->ops = ops;
	if (r >= 0 && plan->speaks)
		r = make_pipe(&out_fd, &their_out);
	if (r < 0)
		return fault_errno(fault, r, "pipe for what %s says", plan->name);
	struct clone_args clone = {
		.flags = CLONE_PIDFD | namespaces | (plan->capabilities ? 0 : CLONE_NEWNET),
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &clone, sizeof(clone));
	if (pid < 0)
		return fault_errno(fault, -errno, "namespaces of %s", plan->name);
	if (!pid)
		child(plan, their_out >= 0 ? their_out : their_error, their_error,
		      (const int[]){ error_fd, out_fd, -1 });
	daemon->pid = pid;
	daemon->pidfd = pidfd;
	r = watch(daemon, loop, &error_fd, &out_fd);
	return r < 0 ? fault_errno(fault, r, "event loop") : 0;
}

bool daemon_has_ended(const struct daemon *daemon)
{
	struct pollfd end = { .fd = daemon->pidfd, .events = POLLIN };

	return !daemon->pid || poll(&end, 1, 0) > 0;
}

void daemon_kill(struct daemon *daemon)
{
	if (daemon->pid)
		(void)pidfd_send_signal(daemon->pidfd, SIGKILL, NULL, 0);
}

void daemon_collect(struct daemon *daemon, char *text, size_t size)
{
	siginfo_t info = { 0 };
	bool complains = false;
	char line[256];
	int n;

	if (!daemon->pid)
		return;
	if (waitid(P_PIDFD, (id_t)daemon->pidfd, &info, WEXITED) < 0)
		n = snprintf(text, size, "%s is gone", daemon->name);
	else if (info.si_code == CLD_EXITED)
		n = snprintf(text, size, "%s ended with status %d", daemon->name, info.si_status);
	else
		n = snprintf(text, size, "%s was killed by signal %d", daemon->name,
		             info.si_status);
	/* Who was killed by somebody, or is content, has said nothing about it. */
	if (info.si_code == CLD_EXITED)
		complains = info.si_status != 0;
	else
		complains = info.si_status != SIGKILL && info.si_status != SIGTERM;
	daemon->pid = 0;
	source_deinit(&daemon->exited);
	hear_all(daemon);
	tail_line(&daemon->said, NULL, line, sizeof(line));
	if (complains && line[0] && n > 0 && (size_t)n < size)
		snprintf(text + n, size - (size_t)n, ": %s", line);
}

void daemon_deinit(struct daemon *daemon)
{
	char ignored[1];

	daemon_kill(daemon);
	daemon_collect(daemon, ignored, sizeof(ignored));
	source_deinit(&daemon->exited);
	source_close(&daemon->error);
	source_close(&daemon->out);
	close_fd(&daemon->pidfd);
}
