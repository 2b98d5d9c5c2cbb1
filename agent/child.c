/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The child between clone and exec, as one table from top to bottom; nothing here returns to the
 * agent. Whatever fails ends it with one report that names the thing and the reason.
 *
 * What decides the order:
 * - v1 cgroups are entered while the agent's file system is still there, and before a cgroup
 *   namespace.
 * - Nothing of the agent stays open once the first steps are done, so nothing that is run or
 *   mounted later can reach it. What must be opened in the agent's /proc is opened before the
 *   container's is ours.
 * - What may be missing or wrong in the container is found before READY, so that creating it fails.
 * - Rights go last and in one run: bounding set, groups, ids, capabilities, seccomp. A filter under
 *   no_new_privs comes at the very end; without that flag it takes CAP_SYS_ADMIN and comes just
 *   before the capabilities go.
 */

#include "agent/child_private.h"

#include "agent/attributes.h"
#include "agent/caps.h"
#include "agent/cgroup.h"
#include "agent/cwd.h"
#include "agent/program.h"
#include "agent/seccomp.h"
#include "oci/hook.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define UMASK_DEFAULT 022

/* KEY_POS_ALL | KEY_USR_VIEW | KEY_USR_READ | KEY_USR_SEARCH | KEY_USR_LINK of <keyutils.h>:
 * with search, an exec finds the keyring of its container by name. */
#define KEYRING_PERMISSIONS 0x3f1b0000u

static bool has_namespace(const struct child_run *run, enum oci_namespace_type type)
{
	return run->plan->spec && oci_namespace_find(run->plan->spec, type);
}

static bool makes_namespace(const struct child_run *run, enum oci_namespace_type type)
{
	const struct oci_namespace *namespace = oci_namespace_find(run->plan->spec, type);
	return namespace && !namespace->path;
}

/* By write(2) where it can be: the one call that a seccomp filter leaves us if any. */
static void report(const struct child_run *run, enum child_report_kind kind, int error)
{
	struct child_wire wire = { .kind = (int32_t)kind, .error = error };
	size_t length = 0;
	if (kind == CHILD_FAILED) {
		wire.hresult = run->fault.hresult;
		length = strlen(run->fault.text);
		memcpy(wire.text, run->fault.text, length);
	}
	/* Without the agent there is nobody to tell. */
	if (write(run->report_fd, &wire, CHILD_WIRE_MIN + length) < 0)
		_exit(1);
}

static _Noreturn void fail(struct child_run *run, int error)
{
	if (!run->fault.text[0])
		fault_errno(&run->fault, error, "container process");
	report(run, CHILD_FAILED, error);
	_exit(1);
}

static int enter_cgroups(struct child_run *run)
{
	int r = run->plan->cgroup ? cgroup_join(run->plan->cgroup) : 0;
	return r < 0 ? fault_errno(&run->fault, r, "cgroup \"%s\"", cgroup_path(run->plan->cgroup))
		     : 0;
}

static int new_session(struct child_run *run)
{
	return setsid() < 0 ? fault_errno(&run->fault, -errno, "setsid") : 0;
}

static int initial_affinity(struct child_run *run)
{
	const struct oci_cpu_affinity *affinity = run->process->exec_cpu_affinity;
	return affinity && affinity->initial ? affinity_set(affinity->initial, &run->fault) : 0;
}

/* The end of the socket: the agent is gone, and so is the reason to go on. */
static int await_word(struct child_run *run)
{
	struct child_word word;
	ssize_t n;
	while ((n = recv(run->report_fd, &word, sizeof(word), 0)) < 0 && errno == EINTR)
		;
	if (n != (ssize_t)sizeof(word))
		_exit(1);
	return 0;
}

static int set_oom_score(struct child_run *run)
{
	return oom_score_set(0, run->process, &run->fault);
}

static int open_labels(struct child_run *run)
{
	static const char *const paths[] = {"/proc/self/attr/apparmor/exec",
					    "/proc/self/attr/exec"};
	const char *labels[] = { run->process->apparmor_profile, run->process->selinux_label };
	if (labels[0] && strcmp(labels[0], "unconfined") == 0)
		labels[0] = NULL;
	for (size_t i = 0; i < array_size(paths); i++) {
		if (!labels[i] || !*labels[i])
			continue;
		run->label_fd[i] = open(paths[i], O_WRONLY | O_CLOEXEC);
		if (run->label_fd[i] < 0)
			return fault_errno(&run->fault, -errno, "label \"%s\": %s", labels[i],
					   paths[i]);
	}
	return 0;
}

static int raise_rlimits(struct child_run *run)
{
	return has_namespace(run, OCI_NS_USER) ? rlimits_raise(0, run->process, &run->fault) : 0;
}

/* A mount namespace comes with the root that it has for everybody. */
static int join_container(struct child_run *run)
{
	int flags = namespaces_join_flags(run->plan->spec), root_fd = run->plan->root_fd;
	if (flags && setns(run->plan->init_pidfd, flags) < 0)
		return fault_errno(&run->fault, -errno, "container \"%s\": join its namespaces",
		                   run->plan->id);
	if (root_fd >= 0 && (fchdir(root_fd) < 0 || chroot(".") < 0 || chdir("/") < 0))
		return fault_errno(&run->fault, -errno, "container \"%s\": enter its root",
		                   run->plan->id);
	return 0;
}

/* The /proc of others may be of a pid namespace that we are not in: we keep ours. */
static int join_mounts(struct child_run *run)
{
	if (run->mount_ns_fd < 0)
		return 0;
	const char *path = oci_namespace_find(run->plan->spec, OCI_NS_MOUNT)->path;
	run->rootfs.proc_fd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (run->rootfs.proc_fd < 0)
		return fault_errno(&run->fault, -errno, "/proc/self");
	if (setns(run->mount_ns_fd, CLONE_NEWNS) == 0)
		return 0;
	if (errno == EPERM && has_namespace(run, OCI_NS_USER))
		return fault_set(&run->fault, -EPERM, HRESULT_INVALID_ARGUMENT,
		                 "mount namespace %s: does not belong to the user namespace that "
		                 "the container joins", path);
	return fault_errno(&run->fault, -errno, "mount namespace %s", path);
}

static int enter_cgroup_namespace(struct child_run *run)
{
	int r = 0;
	if (run->cgroup_ns_fd >= 0)
		r = setns(run->cgroup_ns_fd, CLONE_NEWCGROUP);
	else if (makes_namespace(run, OCI_NS_CGROUP))
		r = unshare(CLONE_NEWCGROUP);
	return r < 0 ? fault_errno(&run->fault, -errno, "cgroup namespace") : 0;
}

/* Whatever we are outside, what we now make must belong to the container's root. */
static int become_root(struct child_run *run)
{
	if (!has_namespace(run, OCI_NS_USER))
		return 0;
	/* A user namespace may forbid this one; the ids are then what it takes. */
	if (setgroups(0, NULL) < 0 && errno != EPERM)
		return fault_errno(&run->fault, -errno, "user namespace: setgroups");
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return fault_errno(&run->fault, -errno, "user namespace: become its root");
	return 0;
}

/* One session keyring per container; with the agent's, containers would see each other's keys. */
static int join_keyring(struct child_run *run)
{
	char name[NAME_MAX];
	snprintf(name, sizeof(name), "_ses.%s", run->plan->id);
	long key = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name);
	if (key < 0 && errno == ENOSYS)
		return 0;
	if (key >= 0 && !run->plan->exec)
		key = syscall(SYS_keyctl, KEYCTL_SETPERM, key, KEYRING_PERMISSIONS);
	return key < 0 ? fault_errno(&run->fault, -errno, "session keyring") : 0;
}

static int loopback_up(struct child_run *run)
{
	struct ifreq request = { .ifr_name = "lo" };
	if (!makes_namespace(run, OCI_NS_NETWORK))
		return 0;
	cleanup_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		return fault_errno(&run->fault, -errno, "loopback");
	request.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ?
		fault_errno(&run->fault, -errno, "loopback up") : 0;
}

static int set_names(struct child_run *run)
{
	const struct oci_spec *spec = run->plan->spec;
	if (!has_namespace(run, OCI_NS_UTS))
		return 0;
	if (spec->hostname && sethostname(spec->hostname, strlen(spec->hostname)) < 0)
		return fault_errno(&run->fault, -errno, "hostname \"%s\"", spec->hostname);
	if (spec->domainname && setdomainname(spec->domainname, strlen(spec->domainname)) < 0)
		return fault_errno(&run->fault, -errno, "domainname \"%s\"", spec->domainname);
	return 0;
}

/*
 * For the execs, which arrive elsewhere, and for its end: what is mounted among others' mounts has
 * to be unmounted.
 */
static int hand_over_root(struct child_run *run)
{
	const struct child_wire joined = { .kind = CHILD_JOINED }, root = { .kind = CHILD_ROOT };
	int r = 0;
	if (makes_namespace(run, OCI_NS_MOUNT))
		return 0;
	if (run->mount_ns_fd >= 0 && !run->shares_root)
		r = child_wire_send(run->report_fd, &joined, run->mount_ns_fd);
	close_fd(&run->mount_ns_fd);
	if (r >= 0)
		r = child_wire_send(run->report_fd, &root, run->rootfs.fd);
	return r < 0 ? fault_errno(&run->fault, r, "root: hand it to the agent") : 0;
}

static int mount_rootfs(struct child_run *run)
{
	int r = 0;
	if (run->sources_fd >= 0)
		r = sources_receive(run->sources_fd, &run->rootfs, run->plan->spec, &run->fault);
	if (r >= 0)
		r = rootfs_open(&run->rootfs, run->plan->spec, run->plan->bundle, &run->fault);
	run->shares_root = run->rootfs.shared;
	/* Before the mount, or one who is killed in between would leave it behind. */
	if (r >= 0)
		r = hand_over_root(run);
	return r < 0 ? r : rootfs_mount(&run->rootfs, &run->fault);
}

static int run_hooks(struct child_run *run, const char *kind, const oci_hook_list *hooks,
                     const char *status)
{
	const struct oci_spec *spec = run->plan->spec;
	struct oci_state state = {
		.oci_version = OCI_VERSION,
		.id = run->plan->id,
		.status = status,
		.pid = (uint32_t)getpid(), /* as the container sees it */
		.bundle = run->plan->bundle,
		.annotations = spec->annotations,
	};
	return hooks_run(kind, hooks, &state, &run->fault);
}

/* The host's hooks come before ours, and need to know our pid and namespaces. */
static int hold(struct child_run *run)
{
	if (!run->plan->hold)
		return 0;
	report(run, CHILD_HELD, 0);
	return await_word(run);
}

static int create_container_hooks(struct child_run *run)
{
	return run_hooks(run, "createContainer", &run->plan->spec->hooks.create_container,
			 "creating");
}

static int start_container_hooks(struct child_run *run)
{
	return run_hooks(run, "startContainer", &run->plan->spec->hooks.start_container, "created");
}

static int enter_rootfs(struct child_run *run)
{
	int r = rootfs_enter(&run->rootfs, &run->fault);
	rootfs_deinit(&run->rootfs);
	return r;
}

static int take_terminal(struct child_run *run)
{
	const struct oci_console_size *size = &run->process->console_size;
	struct winsize winsize = { .ws_row = size->height, .ws_col = size->width };
	if (!run->process->terminal)
		return 0;
	cleanup_close int master = -1, slave = -1;
	int r = rootfs_open_pty(&master, &slave, &run->fault);
	if (r < 0)
		return r;
	if (size->height && size->width && ioctl(slave, TIOCSWINSZ, &winsize) < 0)
		return fault_errno(&run->fault, -errno, "terminal: consoleSize");
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return fault_errno(&run->fault, -errno, "terminal: TIOCSCTTY");
	for (int i = 0; i < 3; i++) {
		if (dup2(slave, i) < 0)
			return fault_errno(&run->fault, -errno, "terminal: standard stream %d", i);
	}
	if (run->plan->spec && !run->plan->exec && !run->shares_root) {
		r = rootfs_console(slave, &run->fault);
		if (r < 0)
			return r;
	}
	const struct child_wire wire = { .kind = CHILD_TERMINAL };
	r = child_wire_send(run->report_fd, &wire, master);
	return r < 0 ? fault_errno(&run->fault, r, "terminal: hand it to the agent") : 0;
}

static int set_sysctls(struct child_run *run)
{
	return rootfs_sysctl(run->plan->spec, &run->fault);
}

static int seal_rootfs(struct child_run *run)
{
	return rootfs_seal(run->plan->spec, &run->fault);
}

static int set_priorities(struct child_run *run)
{
	const struct oci_spec *spec = run->plan->spec;
	if (spec && spec->linux_.personality && personality(spec->linux_.personality->domain) < 0)
		return fault_errno(&run->fault, -errno, "personality");
	return priorities_set(run->process, &run->fault);
}

static int set_rlimits(struct child_run *run)
{
	return rlimits_set(run->process, &run->fault);
}

static int resolve_user(struct child_run *run)
{
	bool has_home = program_env(run->process, "HOME") != NULL;
	cleanup_close int root = -1;
	if (run->process->user.username || !has_home) {
		root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (root < 0)
			return fault_errno(&run->fault, -errno, "the container's root");
	}
	int r = user_resolve(root, &run->process->user, &run->user, &run->fault);
	if (r < 0 || has_home)
		return r;
	run->home = user_home(root, run->user.uid);
	return run->home ? 0 : -ENOMEM;
}

static int find_program(struct child_run *run)
{
	return program_find(run->process, &run->fault);
}

static int ready(struct child_run *run)
{
	report(run, CHILD_READY, 0);
	return await_word(run);
}

static int final_affinity(struct child_run *run)
{
	const struct oci_cpu_affinity *affinity = run->process->exec_cpu_affinity;
	return affinity ? affinity_set(affinity->final, &run->fault) : 0;
}

static int write_labels(struct child_run *run)
{
	char text[NAME_MAX + 8];
	const char *labels[] = { text, run->process->selinux_label };
	snprintf(text, sizeof(text), "exec %s", run->process->apparmor_profile ?: "");
	for (size_t i = 0; i < array_size(labels); i++) {
		if (run->label_fd[i] >= 0 &&
		    write(run->label_fd[i], labels[i], strlen(labels[i])) < 0)
			return fault_errno(&run->fault, -errno, "label \"%s\"", labels[i]);
	}
	return 0;
}

/* Pipes and terminals go to the user, or it could not open /dev/stdout again. */
static int give_stdio(struct child_run *run)
{
	struct stat st;
	for (int i = 0; run->user.uid != 0 && i < 3; i++) {
		if (fstat(i, &st) < 0 || st.st_uid == run->user.uid)
			continue;
		bool ours = S_ISFIFO(st.st_mode) || (run->process->terminal && S_ISCHR(st.st_mode));
		/* Refused where the owner has no place in our user namespace; the stream works
		 * all the same. */
		if (ours && fchown(i, run->user.uid, (gid_t)-1) < 0 && errno != EPERM &&
		    errno != EINVAL)
			return fault_errno(&run->fault, -errno,
					   "standard stream %d: change its owner", i);
	}
	return 0;
}

static int set_ids(struct child_run *run)
{
	const struct user *user = &run->user;
	const struct opt_i64 *asked = &run->process->user.umask;
	/* Where a user namespace forbids setgroups(2), having none is as good as dropping them. */
	if (setgroups(user->group_count, user->groups) < 0 &&
	    (errno != EPERM || user->group_count || getgroups(0, NULL) != 0))
		return fault_errno(&run->fault, -errno, "setgroups");
	if (setresgid(user->gid, user->gid, user->gid) < 0)
		return fault_errno(&run->fault, -errno, "gid %u", user->gid);
	if (setresuid(user->uid, user->uid, user->uid) < 0)
		return fault_errno(&run->fault, -errno, "uid %u", user->uid);
	umask(asked->set ? (mode_t)asked->value & 0777 : UMASK_DEFAULT);
	return 0;
}

static int make_cwd(struct child_run *run)
{
	return cwd_make(run->process->cwd, &run->fault);
}

/* What root may not enter, as on some network file systems, its owner may. */
static int enter_cwd(struct child_run *run)
{
	int r = cwd_enter(run->process->cwd, &run->fault);
	run->cwd_later = r == -EACCES && run->user.uid != 0;
	return run->cwd_later ? 0 : r;
}

static int enter_cwd_as_user(struct child_run *run)
{
	return run->cwd_later ? cwd_enter(run->process->cwd, &run->fault) : 0;
}

/* A process of the VM that asks for nothing in particular has what its user has. */
static bool keeps_capabilities(const struct child_run *run)
{
	return !run->plan->spec && !run->process->capabilities;
}

static int cut_bounding_set(struct child_run *run)
{
	if (keeps_capabilities(run))
		return 0;
	return caps_bound(run->process->capabilities, &run->fault);
}

static int set_rights(struct child_run *run)
{
	const struct oci_capabilities *caps = run->process->capabilities;
	const struct seccomp_program *filter = run->plan->seccomp;
	bool no_new = run->process->no_new_privileges;
	int r = 0;
	if (filter && !no_new) {
		r = run->user.uid != 0 ? caps_regain(&run->fault) : 0;
		if (r == 0 && (r = seccomp_apply(filter)) < 0)
			return fault_errno(&run->fault, r, "seccomp filter");
	}
	if (r == 0 && !keeps_capabilities(run))
		r = caps_apply(caps, &run->fault);
	if (r == 0 && no_new && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fault_errno(&run->fault, -errno, "no_new_privs");
	if (r == 0 && filter && no_new && (r = seccomp_apply(filter)) < 0)
		return fault_errno(&run->fault, r, "seccomp filter");
	return r;
}

/* The agent ignores SIGPIPE and blocks what it reads from a signalfd; both would survive
 * execve(2). */
static int reset_signals(struct child_run *run)
{
	sigset_t none;
	sigemptyset(&none);
	if (signal(SIGPIPE, SIG_DFL) == SIG_ERR || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		return fault_errno(&run->fault, -errno, "signals");
	return 0;
}

static int execute(struct child_run *run)
{
	return program_exec(run->process, run->home, &run->fault);
}

/* Which processes take a step. */
enum { INIT = 1, EXEC = 2, VM = 4, JOINED = EXEC | VM, INSIDE = INIT | EXEC, ALL = INSIDE | VM };

static const struct step {
	int (*run)(struct child_run *run);
	unsigned when;
} steps[] = {
	{ enter_cgroups, ALL },
	{ descriptors_set, ALL },
	{ new_session, ALL },
	{ initial_affinity, JOINED },
	{ await_word, INIT },
	{ set_oom_score, JOINED }, /* an init's is set by the agent, which may lower it */
	{ open_labels, ALL },

	{ raise_rlimits, EXEC },
	{ join_container, EXEC },
	{ enter_cgroup_namespace, INIT },
	{ become_root, INSIDE },
	{ join_keyring, INSIDE },
	{ loopback_up, INIT },
	{ set_names, INIT },

	{ join_mounts, INIT },
	{ mount_rootfs, INIT },
	{ hold, INIT },
	{ create_container_hooks, INIT },
	{ enter_rootfs, INIT },
	{ descriptors_reopen_null, INSIDE },
	{ take_terminal, ALL },
	{ set_sysctls, INIT },
	{ make_cwd, INIT },
	{ seal_rootfs, INIT },

	{ set_priorities, ALL },
	{ set_rlimits, ALL },
	{ resolve_user, ALL },
	{ enter_cwd, ALL },
	{ find_program, INIT },
	{ ready, INIT },
	{ start_container_hooks, INIT },

	{ final_affinity, JOINED },
	{ reset_signals, ALL },
	{ cut_bounding_set, ALL },
	{ give_stdio, ALL },
	{ set_ids, ALL },
	{ enter_cwd_as_user, ALL },
	{ write_labels, ALL },
	{ set_rights, ALL },
	{ execute, ALL },
};

_Noreturn void child_run(struct child_run *run)
{
	unsigned what = !run->plan->spec ? VM : run->plan->exec ? EXEC : INIT;
	for (size_t i = 0; i < array_size(steps); i++) {
		int r = steps[i].when & what ? steps[i].run(run) : 0;
		if (r < 0)
			fail(run, r);
	}
	_exit(1);
}
