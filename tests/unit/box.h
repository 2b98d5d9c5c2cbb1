/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Containers for tests: a busybox root in a folder of its own, and processes that are really
 * spawned. A box is the container whose init sleeps until the box is closed, to be joined by execs.
 */

#include "agent/child.h"
#include "agent/seccomp.h"
#include "oci/spec.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cmocka.h>

#define BUSYBOX "/bin/busybox"
#define PATIENCE_MS 20000

/* Members of a config.json, without a comma before or after; NULL = none. */
struct config {
	const char *args;               /* items of the array */
	const char *process;            /* more members of process */
	const char *namespaces;         /* more of them */
	bool only_those;                /* and not the usual new ones */
	const char *linux_;             /* more members of linux */
	const char *mounts;             /* more mounts */
	const char *more;               /* more members of the top */
	const char *cwd, *env;
};

/* What became of a process. */
struct outcome {
	int error;                      /* of the spawn or a FAILED report */
	struct fault fault;
	bool ready;
	int status;                     /* exit status, 128 + signal */
	char output[16384];
};

struct box {
	struct arena arena;
	struct oci_spec spec;
	struct seccomp_program seccomp;
	struct child child;
};

static char box_folder[64];

#define NEW_NAMESPACES \
	"{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"uts\"},{\"type\":\"ipc\"}," \
	"{\"type\":\"network\"},{\"type\":\"cgroup\"}"
/* The first 100000 ids of the container are 100000 … outside. */
#define USER_NAMESPACE "{\"type\":\"user\"}"
#define ID_MAPPINGS \
	"\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]," \
	"\"gidMappings\":[{\"containerID\":0,\"hostID\":200000,\"size\":65536}]"

static inline void box_write(const char *name, const char *text, mode_t mode)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", box_folder, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

/* To be asked first of all. */
static inline bool box_able(void)
{
	if (geteuid() == 0 && access(BUSYBOX, X_OK) == 0)
		return true;
	puts("1..0 # SKIP needs root and " BUSYBOX);
	return false;
}

static inline int box_setup(void **state)
{
	static const char *const folders[] = {"rootfs",      "rootfs/bin", "rootfs/etc",
					      "rootfs/proc", "rootfs/sys", "rootfs/dev",
					      "rootfs/tmp",  "rootfs/root"};
	char path[256];
	struct fault fault;
	(void)state;
	umask(022);
	snprintf(box_folder, sizeof(box_folder), "/tmp/hvrun-box-XXXXXX");
	if (!mkdtemp(box_folder) || chmod(box_folder, 0755) < 0)
		return -1;
	for (size_t i = 0; i < array_size(folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", box_folder, folders[i]);
		if (mkdir(path, 0755) < 0)
			return -1;
	}
	snprintf(path, sizeof(path), "cp " BUSYBOX " %s/rootfs/bin/busybox && "
	         "chroot %s/rootfs /bin/busybox --install -s /bin", box_folder, box_folder);
	if (system(path) != 0)
		return -1;
	/* Reached by who may pass a directory that is not for everybody. */
	snprintf(path, sizeof(path), "%s/private", box_folder);
	if (mkdir(path, 0700) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/private/shared", box_folder);
	if (mkdir(path, 0755) < 0)
		return -1;
	box_write("private/shared/file", "through\n", 0644);
	box_write("rootfs/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"
	          "web:x:1000:1000:Web:/home/web:/bin/sh\n", 0644);
	box_write("rootfs/etc/group", "root:x:0:\nweb:x:1000:\naudio:x:29:web,root\n", 0644);
	return child_init(&fault);
}

static inline int box_remove_one(const char *path, const struct stat *stat, int type,
				 struct FTW *ftw)
{
	(void)stat;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int box_teardown(void **state)
{
	(void)state;
	/* Leak checkers have to look into us. */
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	signal(SIGPIPE, SIG_DFL);
	return nftw(box_folder, box_remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static inline const char *or_nothing(const char *text)
{
	return text ? text : "";
}

static inline const char *comma(const char *text)
{
	return text ? "," : "";
}

static inline char *config_process(const struct config *config)
{
	char *text;
	assert_true(asprintf(&text,
		"{\"cwd\":\"%s\",\"args\":[%s],\"env\":[%s]%s%s}",
		config->cwd ? config->cwd : "/", config->args ? config->args : "\"sleep\",\"1000\"",
		config->env ? config->env : "\"PATH=/bin\"", comma(config->process),
		or_nothing(config->process)) > 0);
	return text;
}

static inline void config_decode(const struct config *config, struct arena *arena,
                                 struct oci_spec *ret)
{
	struct fault fault = FAULT_NULL;
	cleanup_free char *process = config_process(config), *text = NULL;
	int length = asprintf(
		&text,
		"{\"ociVersion\":\"1.2.0\",\"root\":{\"path\":\"rootfs\",\"readonly\":true},"
		"\"process\":%s,"
		"\"linux\":{\"namespaces\":[%s%s%s]%s%s},"
		"\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
		"{\"destination\":\"/"
		"dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"mode=755\"]},"
		"{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
		"\"options\":[\"newinstance\",\"ptmxmode=0666\",\"mode=0620\",\"gid=5\"]},"
		"{\"destination\":\"/tmp\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"}%s%s]%s%s}",
		process, config->only_those ? "" : NEW_NAMESPACES,
		config->only_those ? "" : comma(config->namespaces), or_nothing(config->namespaces),
		comma(config->linux_), or_nothing(config->linux_), comma(config->mounts),
		or_nothing(config->mounts), comma(config->more), or_nothing(config->more));
	assert_true(length > 0);
	*ret = (struct oci_spec){ 0 };
	if (oci_spec_decode(arena, text, (size_t)length, ret, &fault) < 0)
		fail_msg("%s: %s", fault.text, text);
}

/* Reads reports until the program runs, has failed or, with until_ready, waits for its start. */
static inline void follow(struct child *child, struct outcome *outcome, int *ret_master,
                          bool until_ready)
{
	struct child_report report;
	while (true) {
		struct pollfd poll_fd = { .fd = child->report_fd, .events = POLLIN };
		assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
		int r = child_report_read(child->report_fd, &report);
		if (r == -EAGAIN)
			continue;
		assert_in_range(r, 0, 1);
		if (r == 0)
			return;
		if (report.kind == CHILD_FAILED) {
			outcome->error = report.error;
			outcome->fault = report.fault;
		} else if (report.kind == CHILD_TERMINAL) {
			assert_non_null(ret_master);
			*ret_master = report.fd;
		} else if (report.kind == CHILD_JOINED || report.kind == CHILD_ROOT) {
			close_fd(&report.fd);
		} else {
			outcome->ready = true;
			if (until_ready)
				return;
			assert_int_equal(child_start(child), 0);
		}
	}
}

static inline int reap(struct child *child)
{
	siginfo_t info = { 0 };
	while (waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED) < 0)
		assert_int_equal(errno, EINTR);
	assert_int_equal(info.si_pid, child->pid);
	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

static inline void read_output(int fd, struct outcome *outcome)
{
	size_t length = 0;
	ssize_t n;
	/* EIO: the other end of a terminal is closed. */
	do {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
		n = read(fd, outcome->output + length, sizeof(outcome->output) - 1 - length);
		length += n > 0 ? (size_t)n : 0;
	} while (n > 0 || (n < 0 && errno == EINTR));
	outcome->output[length] = '\0';
}

/* Spawns with pipes, or a terminal, and waits for the end of the process and of its output.
 * input may be NULL. */
static inline void run_plan(struct child_plan *plan, const char *input, struct outcome *outcome)
{
	struct child child = CHILD_NULL;
	int in[2], out[2], master = -1;
	*outcome = (struct outcome){ 0 };
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	plan->stdio[0] = input ? in[0] : -1;
	plan->stdio[1] = plan->stdio[2] = out[1];
	outcome->error = child_spawn(plan, &child, &outcome->fault);
	close(in[0]);
	close(out[1]);
	if (outcome->error == 0) {
		if (input)
			assert_int_equal(write(in[1], input, strlen(input)), strlen(input));
		close_fd(&in[1]);
		follow(&child, outcome, &master, false);
		if (outcome->error == 0)
			read_output(master >= 0 ? master : out[0], outcome);
		outcome->status = reap(&child);
	}
	close_fd(&in[1]);
	close_fd(&master);
	close(out[0]);
	child_deinit(&child);
}

static inline void plan_init(struct child_plan *plan, const struct oci_spec *spec,
                             struct seccomp_program *seccomp)
{
	struct fault fault = FAULT_NULL;
	*plan = (struct child_plan){
		.id = "box",
		.bundle = box_folder,
		.spec = spec,
		.process = spec->process,
		.init_pidfd = -1,
		.root_fd = -1,
		.stdio = { -1, -1, -1 },
	};
	*seccomp = (struct seccomp_program)SECCOMP_PROGRAM_NULL;
	if (!spec->linux_.seccomp)
		return;
	if (seccomp_compile(spec->linux_.seccomp, seccomp, &fault) < 0)
		fail_msg("%s", fault.text);
	plan->seccomp = seccomp;
}

/* A container of one program, from its creation to its end. */
static inline void run_config(const struct config *config, const char *input,
                              struct outcome *outcome)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct oci_spec spec;
	struct seccomp_program seccomp;
	struct child_plan plan;
	config_decode(config, &arena, &spec);
	plan_init(&plan, &spec, &seccomp);
	run_plan(&plan, input, outcome);
	seccomp_deinit(&seccomp);
	arena_free(&arena);
}

static inline void box_open(struct box *box, const struct config *config, struct cgroup *cgroup)
{
	struct outcome outcome = { 0 };
	struct child_plan plan;
	*box = (struct box){ .arena = ARENA(JSON_ARENA), .child = CHILD_NULL };
	config_decode(config, &box->arena, &box->spec);
	plan_init(&plan, &box->spec, &box->seccomp);
	plan.cgroup = cgroup;
	if (child_spawn(&plan, &box->child, &outcome.fault) < 0)
		fail_msg("%s", outcome.fault.text);
	follow(&box->child, &outcome, NULL, true);
	if (!outcome.ready)
		fail_msg("%s", outcome.fault.text);
	assert_int_equal(child_start(&box->child), 0);
	follow(&box->child, &outcome, NULL, false);
	if (outcome.error < 0)
		fail_msg("%s", outcome.fault.text);
}

static inline void box_close(struct box *box)
{
	assert_int_equal(syscall(SYS_pidfd_send_signal, box->child.pidfd, SIGKILL, NULL, 0), 0);
	assert_int_equal(reap(&box->child), 128 + SIGKILL);
	child_deinit(&box->child);
	seccomp_deinit(&box->seccomp);
	arena_free(&box->arena);
}

static inline void box_exec(struct box *box, const struct config *config, struct cgroup *cgroup,
                            const char *input, struct outcome *outcome)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct oci_process process = { 0 };
	struct fault fault = FAULT_NULL;
	struct seccomp_program seccomp;
	struct child_plan plan;
	cleanup_free char *text = config_process(config);
	if (json_decode(&arena, &oci_process_type, text, strlen(text), &process, &fault) < 0)
		fail_msg("%s: %s", fault.text, text);
	plan_init(&plan, &box->spec, &seccomp);
	seccomp_deinit(&seccomp);
	plan.process = &process;
	plan.seccomp = box->seccomp.filter ? &box->seccomp : NULL;
	plan.exec = true;
	plan.init_pidfd = box->child.pidfd;
	plan.cgroup = cgroup;
	run_plan(&plan, input, outcome);
	arena_free(&arena);
}

#define SH(script) "\"sh\",\"-c\",\"" script "\""
