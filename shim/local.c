/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The local partition: no VM, but an agent that is process 1 of pid, mount, uts and ipc
 * namespaces of its own on this kernel. It needs nothing but the kernel, so it is what one tries
 * first, what runs in CI and what runs where there is no virtualisation.
 *
 * What a VM has for nothing must be seen to here. The agent and all its containers die with the
 * sandbox process (parent death signal; the rest of a pid namespace goes with its process 1), and
 * the agent's program is executed from a read-only view of its mount: a container that gets hold
 * of /proc/<agent>/exe cannot open it for writing, not even when the agent has gone and the file
 * is no longer busy (CVE-2019-5736).
 */

#include "shim/partition.h"

#include "oci/file.h"
#include "shim/launch.h"
#include "shim/locate.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef NS_GET_TGID_FROM_PIDNS
#define NS_GET_TGID_FROM_PIDNS _IOR(0xb7, 0x7, int) /* Linux 6.11 */
#endif

/* The program */

/* Beside ourselves, in the build folder, or where it is installed. */
static int find_agent(char path[static PATH_MAX], struct fault *fault)
{
	const char *given = getenv("HVRUN_AGENT");
	if (given) {
		int n = snprintf(path, PATH_MAX, "%s", given);
		return n < PATH_MAX ? 0 : fault_errno(fault, -ENAMETOOLONG, "HVRUN_AGENT");
	}
	char own[PATH_MAX];
	if (!locate_own(own))
		own[0] = '\0';
	const char *const places[][2] = {
		{ own, "hvagent" },
		{ own, "../agent/hvagent" },
		{ own, "../../agent/hvagent" }, /* the shim of containerd */
		{ HVRUN_LIBEXEC, "hvagent" },
	};
	for (size_t i = 0; i < array_size(places); i++) {
		int n = snprintf(path, PATH_MAX, "%s/%s", places[i][0], places[i][1]);
		if (n < PATH_MAX && !access(path, X_OK))
			return 0;
	}
	return fault_errno(fault, -errno, "find the agent: %s", path);
}

static int open_program(const char *path, struct fault *fault)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID };
	cleanup_close int fd = (int)syscall(SYS_open_tree, AT_FDCWD, path,
	                                    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0)
		return fault_errno(fault, -errno, "open the agent \"%s\"", path);
	if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return fault_errno(fault, -errno, "make a read-only view of the agent \"%s\"",
		                   path);
	return take_fd(&fd);
}

/* The child */

struct launch {
	int program_fd;
	int output_fd;          /* becomes 1 and 2 */
	int reader_fd;          /* its other end, the parent's */
	char *const *args;
};

static _Noreturn void child(const struct launch *launch)
{
	static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	static char *const environment[] = { path, NULL };

	launch_stdio(launch->output_fd, launch->output_fd, (const int[]){ launch->reader_fd, -1 });
	launch_bind();
	launch_clean();
	/* Mounts made here stay here; those made outside, such as volumes, come in. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		launch_fail("start the agent: mount propagation");
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		launch_fail("start the agent: mount /proc");
	launch_keep((const int[]){ -1 });
	syscall(SYS_execveat, launch->program_fd, "", launch->args, environment, AT_EMPTY_PATH);
	launch_fail("start the agent: exec");
}

/* The driver */

static int local_endpoint(struct partition *partition, uint32_t port, struct hv_endpoint *ret)
{
	*ret = (struct hv_endpoint){
		.scheme = HV_SCHEME_HYBRID,
		.address = { .vm = hv_guid_children, .service = hv_guid_from_port(port) },
		.port = port,
		.has_port = true,
	};
	int n = snprintf(ret->path, sizeof(ret->path), "%s/vm", partition->directory);
	return n < 0 || (size_t)n >= sizeof(ret->path) ? -ENAMETOOLONG : 0;
}

static int local_start(struct partition *partition, struct fault *fault)
{
	char path[PATH_MAX], url[HV_PATH_MAX + 64];
	struct hv_endpoint endpoint;
	int pipe_fd[2], pidfd = -1;
	int r = find_agent(path, fault);

	if (r < 0)
		return r;
	cleanup_close int program = open_program(path, fault);
	if (program < 0)
		return program;
	r = local_endpoint(partition, BRIDGE_PORT, &endpoint);
	if (r < 0)
		return fault_errno(fault, r, "%s", partition->directory);
	snprintf(url, sizeof(url), "hybrid:%s", endpoint.path);
	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return fault_errno(fault, -errno, "pipe for the agent's log");
	cleanup_close int ours = pipe_fd[0], theirs = pipe_fd[1];
	if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
		return fault_errno(fault, -errno, "pipe for the agent's log");

	char name[] = "hvagent", parent[] = "--parent", log[] = "--log-level", debug[] = "debug";
	char *const args[] = { name, parent, url, partition->debug ? log : NULL, debug, NULL };
	struct launch launch = {
		.program_fd = program,
		.output_fd = theirs,
		.reader_fd = ours,
		.args = args,
	};
	struct clone_args clone = {
		.flags = CLONE_PIDFD | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC,
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &clone, sizeof(clone));
	if (pid < 0)
		return fault_errno(fault, -errno, "namespaces of a local partition");
	if (!pid)
		child(&launch);
	partition->pid = partition->dialler = pid;
	partition->exit_fd = pidfd;
	partition->output_fd = take_fd(&ours);
	return 0;
}

static void local_stop(struct partition *partition)
{
	if (partition->exit_fd >= 0)
		(void)syscall(SYS_pidfd_send_signal, partition->exit_fd, SIGKILL, NULL, 0);
}

static void local_collect(struct partition *partition, char *text, size_t size)
{
	siginfo_t info = { 0 };

	if (waitid(P_PIDFD, (id_t)partition->exit_fd, &info, WEXITED) < 0)
		snprintf(text, size, "the agent is gone (%s)", errno_text(errno));
	else if (info.si_code == CLD_EXITED)
		snprintf(text, size, "the agent ended with status %d", info.si_status);
	else
		snprintf(text, size, "the agent was killed by signal %d", info.si_status);
	partition->pid = 0;
}

/* Pids */

/* "NSpid:	4711	12": ours, then the one in the namespace below. */
static bool is_process(pid_t pid, uint32_t inner)
{
	char path[40], text[4096];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (file_read_text(AT_FDCWD, path, text, sizeof(text)) < 0)
		return false;
	const char *at = strstr(text, "\nNSpid:");
	int outer, in;
	return at && sscanf(at, "\nNSpid: %d %d", &outer, &in) == 2 && (uint32_t)in == inner;
}

#define DEPTH_MAX 32

/* Everything in the partition descends from the agent: who is orphaned becomes its child. */
static pid_t find_below(pid_t pid, uint32_t inner, int depth)
{
	char path[60];
	pid_t found = 0;
	int next;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	FILE *children = depth < DEPTH_MAX ? fopen(path, "re") : NULL;
	if (!children)
		return 0;
	while (!found && fscanf(children, "%d", &next) == 1)
		found = is_process(next, inner) ? next : find_below(next, inner, depth + 1);
	fclose(children);
	return found;
}

static pid_t local_host_pid(struct partition *partition, uint32_t pid)
{
	char path[40];

	if (!partition->pid || !pid || pid > INT_MAX)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)partition->pid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		int outer = ioctl(fd, NS_GET_TGID_FROM_PIDNS, (unsigned long)pid);
		if (outer > 0 || errno == ESRCH)
			return outer > 0 ? outer : 0;
	}
	return find_below(partition->pid, pid, 0);
}

const struct partition_driver partition_local = {
	.name = "local",
	.visible = true,
	.start = local_start,
	.stop = local_stop,
	.collect = local_collect,
	.endpoint = local_endpoint,
	.host_pid = local_host_pid,
};
