/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The agent's half of a new process. An exec costs the agent a socket pair, one clone and two trips
 * between pid namespaces; everything else happens in the child, in parallel. Only an init is waited
 * for by its own child_word, because its id maps are written from outside.
 *
 * One more process is needed where a container is to live in the user namespace of somebody else:
 * its other namespaces must be made by a member of that one, but the agent could not come back from
 * it. So a middleman enters it, clones on behalf of the agent (CLONE_PARENT) and is gone.
 */

#include "agent/child_private.h"

#include "agent/attributes.h"
#include "agent/boot.h"
#include "agent/caps.h"
#include "agent/cgroup.h"
#include "oci/file.h"
#include "oci/log.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ID_MAP_MAX 4096 /* the kernel takes less than a page */

int child_init(struct fault *fault)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return fault_errno(fault, -errno, "PR_SET_DUMPABLE");
	/* Clones clear handlers, but what somebody had us ignore would be ignored by every
	 * container. */
	for (int number = 1; number < NSIG; number++) {
		if (number != SIGKILL && number != SIGSTOP)
			signal(number, number == SIGPIPE ? SIG_IGN : SIG_DFL);
	}
	return namespaces_init(fault);
}

static int check_label(const char *member, const char *label, const char *sign, struct fault *fault)
{
	if (!label || !*label || access(sign, F_OK) == 0)
		return 0;
	return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED,
			 "process.%s: \"%s\": this kernel has no such security module", member,
			 label);
}

static int check_plan(const struct child_plan *plan, struct fault *fault)
{
	const struct oci_process *process = plan->process;
	if (process->args.count == 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
				 "process.args: is empty");
	if (plan->spec && plan->spec->linux_.intel_rdt)
		return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED,
		                 "linux.intelRdt: is not supported");
	int r = 0;
	if (process->apparmor_profile && strcmp(process->apparmor_profile, "unconfined") != 0)
		r = check_label("apparmorProfile", process->apparmor_profile,
		                "/sys/kernel/security/apparmor", fault);
	if (r == 0)
		r = check_label("selinuxLabel", process->selinux_label, "/sys/fs/selinux/enforce",
				fault);
	return r;
}

static void warn_of_capabilities(const struct child_plan *plan)
{
	bool user_namespace = oci_namespace_find(plan->spec, OCI_NS_USER);
	cleanup_free char *lacking = caps_lacking(plan->process->capabilities, user_namespace);
	if (!lacking)
		return;
	log_warning("container \"%s\": %s goes without capabilities that are not to be had here, "
		    "or ambient without being permitted and inheritable: %s",
		    plan->id, plan->exec ? "an exec" : "its init", lacking);
}

static const struct oci_id_mapping *mapping_of_root(const struct oci_id_mapping *item, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (item[i].container_id == 0)
			return &item[i];
	}
	return NULL;
}

/*
 * Our pipes belong to nobody that a user namespace knows, so not even its root may open
 * /dev/stdout. They are given to that root; the child gives them to the process's user.
 */
static void give_pipes(const struct child_plan *plan)
{
	const struct oci_id_mapping *uid, *gid;
	struct stat st;
	if (!plan->spec || !oci_namespace_find(plan->spec, OCI_NS_USER))
		return;
	const struct oci_linux *linux_ = &plan->spec->linux_;
	uid = mapping_of_root(linux_->uid_mappings.item, linux_->uid_mappings.count);
	gid = mapping_of_root(linux_->gid_mappings.item, linux_->gid_mappings.count);
	for (size_t i = 0; uid && gid && i < array_size(plan->stdio); i++) {
		if (fstat(plan->stdio[i], &st) < 0 || !S_ISFIFO(st.st_mode))
			continue;
		if (fchown(plan->stdio[i], uid->host_id, gid->host_id) < 0)
			log_debug("container \"%s\": stdio: %s", plan->id, errno_text(errno));
	}
}

static pid_t clone3(struct clone_args *args)
{
	pid_t pid = (pid_t)syscall(SYS_clone3, args, sizeof(*args));
	return pid < 0 ? -errno : pid;
}

/* The pid as we see it, of a process that another has cloned for us. */
static int pid_of_pidfd(int pidfd, pid_t *ret)
{
	char path[40], text[512];
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	ssize_t n = file_read_text(AT_FDCWD, path, text, sizeof(text));
	if (n < 0)
		return (int)n;
	const char *line = strstr(text, "\nPid:");
	*ret = line ? (pid_t)strtol(line + strlen("\nPid:"), NULL, 10) : 0;
	return *ret > 0 ? 0 : -ESRCH;
}

/* Its messages go the way of the reports: nothing else can be there before the child has its
 * word. */
static void middleman(int user_fd, struct clone_args *args, struct child_run *run)
{
	int32_t pidfd = -1;
	args->flags |= CLONE_PARENT;
	args->exit_signal = 0;
	args->pidfd = (uintptr_t)&pidfd;
	int32_t r = setns(user_fd, CLONE_NEWUSER) < 0 ? -errno : clone3(args);
	if (r == 0)
		child_run(run);
	int32_t answer = r < 0 ? r : pidfd;
	_exit(send(run->report_fd, &answer, sizeof(answer), MSG_NOSIGNAL) < 0);
}

/* Shares our fds, for the pidfd, and runs while we wait, for some microseconds. */
static int clone_through(int user_fd, struct clone_args *args, struct child_run *run,
                         struct child *child)
{
	struct clone_args between = { .flags = CLONE_VFORK | CLONE_FILES, .exit_signal = SIGCHLD };
	int32_t answer = -EIO;
	pid_t pid = clone3(&between);
	if (pid == 0)
		middleman(user_fd, args, run);
	if (pid < 0)
		return pid;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (recv(child->report_fd, &answer, sizeof(answer), MSG_DONTWAIT) < 0)
		return -errno;
	if (answer < 0)
		return answer;
	child->pidfd = answer;
	return pid_of_pidfd(child->pidfd, &child->pid);
}

static int clone_fault(const struct child_plan *plan, int error, struct fault *fault)
{
	bool cgroup =
		error == -EBUSY || error == -EOPNOTSUPP || error == -EACCES || error == -ENODEV;
	if (plan->cgroup && cgroup)
		return fault_errno(fault, error, "clone3 into cgroup \"%s\"",
				   cgroup_path(plan->cgroup));
	if (plan->exec && error == -ENOMEM)
		return fault_errno(fault, error, "clone3: the container's init may be gone");
	if (error == -ENOSPC)
		return fault_errno(fault, error, "clone3: limit of namespaces");
	return fault_errno(fault, error, "clone3");
}

static int clone_child(const struct child_plan *plan, const struct namespaces *namespaces,
                       int report_fd, int sources_fd, struct child *child, struct fault *fault)
{
	struct child_run run = {
		.plan = plan,
		.process = plan->process,
		.report_fd = report_fd,
		.cgroup_ns_fd = namespaces->cgroup_fd,
		.mount_ns_fd = namespaces->mount_fd,
		.sources_fd = sources_fd,
		.label_fd = { -1, -1 },
		.user = USER_NULL,
		.rootfs = ROOTFS_NULL,
	};
	run.rootfs.cgroup = plan->cgroup;
	struct clone_args args = {
		.flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND | namespaces->clone_flags,
		.pidfd = (uintptr_t)&child->pidfd,
		.exit_signal = SIGCHLD,
	};
	int cgroup = plan->cgroup ? cgroup_fd(plan->cgroup) : boot_cgroup_fd();
	if (cgroup >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (unsigned)cgroup;
	}
	int r;
	if (namespaces->user_fd >= 0) {
		r = clone_through(namespaces->user_fd, &args, &run, child);
	} else {
		r = clone3(&args);
		if (r == 0)
			child_run(&run);
		child->pid = r;
	}
	return r < 0 ? clone_fault(plan, r, fault) : 0;
}

static int write_map(pid_t pid, const char *name, const struct oci_id_mapping *item, size_t count,
                     struct fault *fault)
{
	char path[40], text[ID_MAP_MAX];
	size_t length = 0;
	if (count == 0)
		return 0;
	for (size_t i = 0; i < count; i++) {
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%u %u %u\n",
		                           item[i].container_id, item[i].host_id, item[i].size);
		if (length >= sizeof(text))
			return fault_set(fault, -E2BIG, HRESULT_INVALID_ARGUMENT,
					 "user namespace: %s: %zu mappings are too many", name,
					 count);
	}
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	int r = file_write_text(AT_FDCWD, path, text);
	return r < 0 ? fault_errno(fault, r, "user namespace: %s", name) : 0;
}

/* What an init needs from outside before it may go on. */
static int settle(const struct child_plan *plan, const struct namespaces *namespaces,
                  const struct child *child, struct fault *fault)
{
	bool new_user = namespaces->clone_flags & CLONE_NEWUSER;
	bool user_namespace = new_user || namespaces->user_fd >= 0;
	const struct oci_linux *linux_ = &plan->spec->linux_;
	int r = 0;
	if (new_user) {
		r = write_map(child->pid, "uid_map", linux_->uid_mappings.item,
		              linux_->uid_mappings.count, fault);
		if (r == 0)
			r = write_map(child->pid, "gid_map", linux_->gid_mappings.item,
			              linux_->gid_mappings.count, fault);
	}
	if (r == 0 && user_namespace)
		r = rlimits_raise(child->pid, plan->process, fault);
	if (r == 0)
		r = oom_score_set(child->pid, plan->process, fault);
	if (r < 0)
		return r;
	struct child_word word = { .go = 1 };
	/* One that is dead already: its report or its end tells. */
	send(child->report_fd, &word, sizeof(word), MSG_DONTWAIT | MSG_NOSIGNAL);
	return 0;
}

static void abandon(const struct child *child)
{
	siginfo_t info;
	if (child->pidfd < 0)
		return;
	syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
	while (waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED) < 0 && errno == EINTR)
		;
}

int child_spawn(const struct child_plan *plan, struct child *ret, struct fault *fault)
{
	cleanup(child_deinit) struct child child = CHILD_NULL;
	cleanup(namespaces_deinit) struct namespaces namespaces = NAMESPACES_NULL;
	int r = check_plan(plan, fault), ends[2];
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return fault_errno(fault, -errno, "socketpair");
	child.report_fd = ends[0];
	cleanup_close int report_fd = ends[1], sources_fd = -1;
	give_pipes(plan);

	r = sources_spawn(plan, &sources_fd, fault);
	if (r == 0)
		r = namespaces_enter(plan, &namespaces, fault);
	if (r == 0)
		r = clone_child(plan, &namespaces, report_fd, sources_fd, &child, fault);
	int returned = namespaces_return(&namespaces, fault);
	if (r == 0)
		r = returned;
	if (r == 0 && plan->spec)
		warn_of_capabilities(plan);
	if (r == 0 && plan->spec && !plan->exec)
		r = settle(plan, &namespaces, &child, fault);
	if (r < 0) {
		abandon(&child);
		return r;
	}
	*ret = child;
	child = (struct child)CHILD_NULL;
	return 0;
}

int child_start(struct child *child)
{
	struct child_word word = { .go = 1 };
	if (send(child->report_fd, &word, sizeof(word), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

void child_deinit(struct child *child)
{
	close_fd(&child->pidfd);
	close_fd(&child->report_fd);
}

int child_report_read(int report_fd, struct child_report *ret)
{
	struct child_wire wire;
	cleanup_close int fd = -1;
	int r = child_wire_receive(report_fd, MSG_DONTWAIT, &wire, &fd);
	if (r <= 0)
		return r;
	bool terminal = wire.kind == CHILD_TERMINAL;
	bool passes = terminal || wire.kind == CHILD_JOINED || wire.kind == CHILD_ROOT;
	if (wire.kind < CHILD_JOINED || wire.kind > CHILD_FAILED || passes != (fd >= 0))
		return -EBADMSG;
	if (terminal && fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return -errno;
	*ret = (struct child_report){
		.kind = (enum child_report_kind)wire.kind,
		.error = wire.error,
	};
	if (wire.kind == CHILD_FAILED)
		fault_set(&ret->fault, wire.error, wire.hresult, "%s", wire.text);
	ret->fd = take_fd(&fd);
	return 1;
}
