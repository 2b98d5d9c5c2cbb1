/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Processes that join: execs into running containers, which must find themselves under exactly the
 * restrictions of the init, and inits that join namespaces of others by path.
 */

#include "tests/unit/box.h"

#include "agent/cgroup.h"

#include <sched.h>

#define ALL_NAMESPACES "pid mnt uts ipc net cgroup user time"
/* Prints the namespaces in which it is not with pid 1. */
#define DIFFERENT_NAMESPACES \
	"for n in " ALL_NAMESPACES "; do " \
	"test $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) || echo $n; done"
#define CAPS \
	"\"capabilities\":{\"bounding\":[\"CAP_CHOWN\",\"CAP_SETUID\"]," \
	"\"permitted\":[\"CAP_CHOWN\",\"CAP_SETUID\"],\"effective\":[\"CAP_CHOWN\",\"CAP_SETUID\"]}"
#define FILTER \
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{" \
	"\"names\":[\"mkdir\",\"mkdirat\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":5}]}"

static const struct box_case {
	const char *name;
	struct config config;
} boxes[] = {
	{ "usual",
	  { .process = CAPS ",\"noNewPrivileges\":true",
	    .linux_ = FILTER,
	    .more = "\"hostname\":\"box\"" } },
	{ "filter without no_new_privs", { .process = CAPS, .linux_ = FILTER } },
	{ "time namespace",
	  { .process = CAPS,
	    .namespaces = "{\"type\":\"time\"}",
	    .linux_ = "\"timeOffsets\":{\"boottime\":{\"secs\":100000}}," FILTER } },
	{ "user namespace",
	  { .process = CAPS, .namespaces = USER_NAMESPACE, .linux_ = ID_MAPPINGS "," FILTER } },
	{ "user and time namespace",
	  { .process = CAPS,
	    .namespaces = USER_NAMESPACE ",{\"type\":\"time\"}",
	    .linux_ = ID_MAPPINGS "," FILTER } },
	{ "the agent's pid, network and ipc",
	  { .process = CAPS,
	    .only_those = true,
	    .linux_ = FILTER,
	    .namespaces = "{\"type\":\"mount\"},{\"type\":\"uts\"}" } },
};

static const struct exec_case {
	const char *name;
	struct config config;
	const char *input, *output;
	int status;
	const char *fault;
} execs[] = {
	{ "program", { .args = SH("echo hi; exit 7") }, NULL, "hi\n", 7 },
	{ "input", { .args = "\"cat\"" }, "in\n", "in\n", 0 },
	{ "null", { .args = SH("readlink /proc/self/fd/0") }, NULL, "/dev/null\n", 0 },
	{ "only three fds", { .args = SH("ls /proc/$$/fd; true") }, NULL, "0\n1\n2\n", 0 },
	{ "session",
	  { .args = SH("test $(cut -d' ' -f6 /proc/$$/stat) = $$ && echo leader") },
	  NULL, "leader\n", 0 },
	{ "capabilities",
	  { .args = SH("grep -E '^Cap|^NoNew' /proc/self/status"), .process = CAPS },
	  NULL, "CapInh:\t0000000000000000\nCapPrm:\t0000000000000081\nCapEff:\t0000000000000081\n"
	  "CapBnd:\t0000000000000081\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\n", 0 },
	{ "no capabilities",
	  { .args = SH("grep -E '^Cap' /proc/self/status | cut -f2 | sort -u") },
	  NULL, "0000000000000000\n", 0 },
	{ "filter",
	  { .args = SH("mkdir /tmp/x; grep -E '^Seccomp:' /proc/self/status"), .process = CAPS },
	  NULL, "mkdir: can't create directory '/tmp/x': Input/output error\nSeccomp:\t2\n", 0 },
	{ "filter with no_new_privs",
	  { .args = SH("mkdir /tmp/x; grep -E '^(NoNew.*|Seccomp):' /proc/self/status"),
	    .process = "\"noNewPrivileges\":true,\"user\":{\"uid\":1000,\"gid\":1000}" },
	  NULL, "mkdir: can't create directory '/tmp/x': Input/output "
	  "error\nNoNewPrivs:\t1\nSeccomp:\t2\n", 0 },
	{ "user",
	  { .args = SH("id -u; id -g; id -G; echo $HOME; echo again > /proc/self/fd/1; umask"),
	    .process = "\"user\":{\"uid\":1000,\"gid\":1000,\"additionalGids\":[29],\"umask\":7}" },
	  NULL, "1000\n1000\n1000 29\n/home/web\nagain\n0007\n", 0 },
	{ "user by name",
	  { .args = SH("id -u; id -G"),
	    .process = "\"user\":{\"uid\":0,\"gid\":0,\"username\":\"web:audio\"}" },
	  NULL, "1000\n29\n", 0 },
	{ "limits",
	  { .args = SH("ulimit -n; cat /proc/self/oom_score_adj"),
	    .process = "\"oomScoreAdj\":400,\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":99,"
	      "\"hard\":100}]" },
	  NULL, "99\n400\n", 0 },
	{ "processors",
	  { .args = SH("grep Cpus_allowed_list /proc/self/status"),
	    .process = "\"execCPUAffinity\":{\"initial\":\"1\",\"final\":\"0\"}" },
	  NULL, "Cpus_allowed_list:\t0\n", 0 },
	{ "cwd", { .args = "\"pwd\"", .cwd = "/tmp" }, NULL, "/tmp\n", 0 },
	{ "terminal",
	  { .args = SH("tty; stty size; echo out > /dev/tty"),
	    .process = "\"terminal\":true,\"consoleSize\":{\"height\":11,\"width\":22}" },
	  NULL, "/dev/pts/0\r\n11 22\r\nout\r\n", 0 },
	{ "not found",
	  { .args = "\"nginx\"" },
	  .fault = "exec: \"nginx\": executable file not found in $PATH" },
	{ "no path",
	  { .args = "\"/no/such\"" },
	  .fault = "exec: \"/no/such\": stat /no/such: no such file or directory" },
	{ "no program",
	  { .args = "\"/etc/passwd\"" },
	  .fault = "exec: \"/etc/passwd\": permission denied" },
	{ "folder", { .args = "\"/etc\"" }, .fault = "exec: \"/etc\": permission denied: it is a directory" },
	{ "no cwd",
	  { .args = "\"true\"", .cwd = "/nope" },
	  .fault =
	  "chdir to cwd (\"/nope\") set in config.json failed: no such file or directory" },
	{ "ghost",
	  { .args = "\"true\"",
	    .process = "\"user\":{\"uid\":0,\"gid\":0,\"username\":\"ghost\"}" },
	  .fault = "user \"ghost\": not in the container's /etc/passwd" },
};

static void test_exec(void **state)
{
	static struct outcome outcome;
	struct box box;
	int wrong = 0;
	(void)state;
	if (!seccomp_built_in)
		return;
	for (size_t i = 0; i < array_size(boxes); i++) {
		box_open(&box, &boxes[i].config, NULL);
		for (size_t j = 0; j < array_size(execs); j++) {
			const struct exec_case *exec = &execs[j];
			box_exec(&box, &exec->config, NULL, exec->input, &outcome);
			if (strcmp(outcome.fault.text, or_nothing(exec->fault)) == 0 &&
			    (exec->fault || (strcmp(outcome.output, exec->output) == 0 &&
			                     outcome.status == exec->status)))
				continue;
			print_error("%s, %s: \"%s\", exit status %d, output: %s\n", boxes[i].name,
			            exec->name, outcome.fault.text, outcome.status, outcome.output);
			wrong++;
		}
		box_close(&box);
	}
	assert_int_equal(wrong, 0);
}

static void test_exec_is_where_its_init_is(void **state)
{
	static struct outcome outcome;
	static const struct config all = {
		.namespaces = USER_NAMESPACE ",{\"type\":\"time\"}",
		.linux_ = ID_MAPPINGS ",\"timeOffsets\":{\"boottime\":{\"secs\":100000}}",
	};
	static const struct config exec = {
		.args = SH(DIFFERENT_NAMESPACES "; cut -d. -f1 /proc/uptime | grep -c 1....."),
		.process = CAPS,
	};
	struct box box;
	(void)state;
	box_open(&box, &all, NULL);
	box_exec(&box, &exec, NULL, NULL, &outcome);
	assert_string_equal(outcome.fault.text, "");
	assert_string_equal(outcome.output, "1\n");
	box_close(&box);
}

#define LINKS(names) "cd /proc/self/ns; for n in " names "; do readlink $n; done; "

/* A second init, in namespaces of the first by path. */
static void run_sharing(struct box *box, const char *types, const struct config *asked,
                        struct outcome *outcome)
{
	char namespaces[1024] = "";
	size_t length = 0;
	static const char *const files[][2] = {
		{ "pid", "pid" },   { "network", "net" }, { "ipc", "ipc" },       { "uts", "uts" },
		{ "user", "user" }, { "time", "time" },   { "cgroup", "cgroup" },
	};
	for (size_t i = 0; i < array_size(files); i++) {
		bool shared = strstr(types, files[i][1]);
		if (shared)
			length += (size_t)snprintf(namespaces + length, sizeof(namespaces) - length,
				"{\"type\":\"%s\",\"path\":\"/proc/%d/ns/%s\"},", files[i][0],
				(int)box->child.pid, files[i][1]);
		else if (i < 4)
			length += (size_t)snprintf(namespaces + length, sizeof(namespaces) - length,
				"{\"type\":\"%s\"},", files[i][0]);
	}
	snprintf(namespaces + length, sizeof(namespaces) - length, "{\"type\":\"mount\"}%s",
	         or_nothing(asked->namespaces));
	struct config config = *asked;
	config.only_those = true;
	config.namespaces = namespaces;
	run_config(&config, NULL, outcome);
}

static void expect_namespaces(struct box *box, const char *types, const char *own,
                              const struct outcome *outcome)
{
	char path[64], link[64], expected[1024];
	size_t length = 0;
	char *position;
	cleanup_free char *copy = strdup(types);
	for (char *type = strtok_r(copy, " ", &position); type;
	     type = strtok_r(NULL, " ", &position)) {
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)box->child.pid, type);
		ssize_t n = readlink(path, link, sizeof(link) - 1);
		assert_true(n > 0);
		link[n] = '\0';
		length += (size_t)snprintf(expected + length, sizeof(expected) - length, "%s\n",
		                           link);
	}
	snprintf(expected + length, sizeof(expected) - length, "%s", own);
	assert_string_equal(outcome->fault.text, "");
	assert_string_equal(outcome->output, expected);
}

static void test_shared_namespaces(void **state)
{
	static const struct {
		struct config box;
		const char *types;
		struct config config;
		const char *own;        /* what the script adds */
	} shared[] = {
		{ { 0 }, "net", { .args = SH("readlink /proc/self/ns/net; echo $$") }, "1\n" },
		{ { 0 },
		  "net ipc uts",
		  { .args = SH(LINKS("net ipc uts")),
		    .more = "\"hostname\":\"x\"" },
		  "" },
		{ { 0 },
		  "pid",
		  { .args = SH("readlink /proc/self/ns/pid; test $$ != 1 && echo not first") },
		  "not first\n" },
		{ { .namespaces = "{\"type\":\"time\"}",
		    .linux_ = "\"timeOffsets\":{\"boottime\":{\"secs\":77}}" },
		  "time cgroup",
		  { .args = SH(LINKS("time cgroup")
		             "tail -n1 /proc/self/timens_offsets | tr -s ' '") },
		  "boottime 77 0\n" },
		/* A network of the agent's, in a user namespace of its own. */
		{ { 0 },
		  "net",
		  { .args = SH("readlink /proc/self/ns/net; id -u"),
		    .namespaces = "," USER_NAMESPACE,
		    .linux_ = ID_MAPPINGS },
		  "0\n" },
		/* A pod with a user namespace: everything new belongs to that one. */
		{ { .namespaces = USER_NAMESPACE, .linux_ = ID_MAPPINGS },
		  "user",
		  { .args = SH(LINKS("user")
		             "echo $$; id -u; hostname; touch /tmp/x; stat -c %u /tmp/x"),
		    .linux_ = ID_MAPPINGS,
		    .more = "\"hostname\":\"x\"" },
		  "1\n0\nx\n0\n" },
		{ { .namespaces = USER_NAMESPACE, .linux_ = ID_MAPPINGS },
		  "user net ipc uts",
		  { .args = SH(LINKS("user net ipc uts") "echo $$; id -u"),
		    .linux_ = ID_MAPPINGS,
		    .process = "\"user\":{\"uid\":1000,\"gid\":1000},"
		      "\"rlimits\":[{\"type\":\"RLIMIT_CORE\",\"soft\":0,\"hard\":0}]" },
		  "1\n1000\n" },
		{ { .namespaces = USER_NAMESPACE, .linux_ = ID_MAPPINGS },
		  "user pid",
		  { .args = SH(LINKS("user pid") "test $$ != 1 && echo not first"),
		    .linux_ = ID_MAPPINGS },
		  "not first\n" },
	};
	static struct outcome outcome;
	struct box box;
	(void)state;
	for (size_t i = 0; i < array_size(shared); i++) {
		box_open(&box, &shared[i].box, NULL);
		run_sharing(&box, shared[i].types, &shared[i].config, &outcome);
		expect_namespaces(&box, shared[i].types, shared[i].own, &outcome);
		box_close(&box);
	}
}

/* The agent is where it was, after joins that worked and joins that did not. */
static void test_agent_stays(void **state)
{
	static const char *const files[] = { "pid", "pid_for_children", "net", "ipc", "uts", "user",
		                             "time", "time_for_children", "cgroup", "mnt" };
	char path[64], before[array_size(files)][64] = { 0 }, after[64];
	static struct outcome outcome;
	static const struct config plain = { 0 }, config = { .args = "\"true\"" },
		bad = { .args = "\"true\"",
			.namespaces = ",{\"type\":\"cgroup\",\"path\":\"/dev/null\"}" };
	struct box box;
	(void)state;
	for (size_t i = 0; i < array_size(files); i++) {
		snprintf(path, sizeof(path), "/proc/self/ns/%s", files[i]);
		assert_true(readlink(path, before[i], sizeof(before[i]) - 1) > 0);
	}
	box_open(&box, &plain, NULL);
	run_sharing(&box, "pid net ipc uts time", &config, &outcome);
	assert_string_equal(outcome.fault.text, "");
	run_sharing(&box, "pid net ipc uts time", &bad, &outcome);
	assert_string_equal(outcome.fault.text,
	                    "cgroup namespace /dev/null: is not a cgroup namespace");
	box_close(&box);
	/* Its init is dead. */
	box_open(&box, &plain, NULL);
	syscall(SYS_pidfd_send_signal, box.child.pidfd, SIGKILL, NULL, 0);
	struct pollfd poll_fd = { .fd = box.child.pidfd, .events = POLLIN };
	assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
	box_exec(&box, &config, NULL, NULL, &outcome);
	assert_true(outcome.error < 0);
	assert_non_null(strstr(outcome.fault.text, "pid namespace of container \"box\""));
	box_close(&box);
	for (size_t i = 0; i < array_size(files); i++) {
		memset(after, 0, sizeof(after));
		snprintf(path, sizeof(path), "/proc/self/ns/%s", files[i]);
		assert_true(readlink(path, after, sizeof(after) - 1) > 0);
		assert_string_equal(after, before[i]);
	}
}

/* What a container may try on those that come in. */
static void test_hostile(void **state)
{
	static struct outcome outcome;
	char outside[64];
	struct box box;
	const struct config shared = { .only_those = true, .namespaces = "{\"type\":\"mount\"}" },
		spoil = { .args = SH("rm /dev/null; echo mine > /dev/null") },
		plain = { .args = "\"true\"" }, leaving = { .args = "\"pwd\"", .cwd = outside },
		leaving_init = { .args = "\"pwd\"", .cwd = outside, .only_those = true,
			         .namespaces = "{\"type\":\"mount\"}" };
	(void)state;
	box_open(&box, &shared, NULL);
	snprintf(outside, sizeof(outside), "/proc/%d/root/tmp", (int)getpid());
	box_exec(&box, &leaving, NULL, NULL, &outcome);
	assert_int_equal(outcome.error, -EPERM);
	assert_non_null(strstr(outcome.fault.text, "is outside of the container's root"));
	run_config(&leaving_init, NULL, &outcome);
	assert_int_equal(outcome.error, -EPERM);
	assert_non_null(strstr(outcome.fault.text, "is outside of the container's root"));
	/* Nothing is made out there. */
	snprintf(outside, sizeof(outside), "/proc/%d/root/tmp/hvrun-made/x", (int)getpid());
	run_config(&leaving_init, NULL, &outcome);
	assert_true(outcome.error < 0);
	assert_int_equal(access("/tmp/hvrun-made", F_OK), -1);

	box_exec(&box, &spoil, NULL, "", &outcome);
	assert_int_equal(outcome.status, 0);
	box_exec(&box, &plain, NULL, NULL, &outcome);
	assert_int_equal(outcome.error, -ENODEV);
	assert_string_equal(outcome.fault.text, "the container's /dev/null: no such device");
	box_close(&box);
}

static int count_fds(void)
{
	int count = 0;
	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void test_cgroup(void **state)
{
	static struct outcome outcome;
	static const struct config plain = { 0 },
		exec = { .args = SH("grep ^0:: /proc/self/cgroup; cat /proc/1/cgroup > /tmp/1;"
		                    "cat /proc/self/cgroup | diff - /tmp/1 && echo same") };
	struct arena arena = ARENA(JSON_ARENA);
	struct cgroup_mounts *mounts;
	struct cgroup *cgroup;
	struct fault fault;
	struct oci_spec spec;
	struct box box;
	(void)state;
	if (cgroup_mounts_probe(&mounts, &fault) < 0)
		return;
	config_decode(&plain, &arena, &spec);
	if (cgroup_create(mounts, "hvrun-test-exec", &spec, &cgroup, &fault) < 0)
		fail_msg("%s", fault.text);
	box_open(&box, &plain, cgroup);
	box_exec(&box, &exec, cgroup, NULL, &outcome);
	assert_string_equal(outcome.fault.text, "");
	assert_string_equal(outcome.output, "0::/\nsame\n");
	int before = count_fds();
	for (int i = 0; i < 20; i++)
		box_exec(&box, &exec, cgroup, NULL, &outcome);
	assert_int_equal(count_fds(), before);
	box_close(&box);
	for (int i = 0; i < 100 && cgroup_remove(cgroup) == -EBUSY; i++)
		poll(NULL, 0, 20);
	cgroup_free(cgroup);
	cgroup_mounts_free(mounts);
	arena_free(&arena);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exec),
		cmocka_unit_test(test_exec_is_where_its_init_is),
		cmocka_unit_test(test_shared_namespaces),
		cmocka_unit_test(test_agent_stays),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_cgroup),
	};
	return box_able() ? cmocka_run_group_tests(tests, box_setup, box_teardown) : 0;
}
