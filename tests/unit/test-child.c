/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Containers' first processes, for real: each case is a config.json and what its program sees of
 * itself.
 */

#include "tests/unit/box.h"

#define CAPS_OF(set) "\"" set "\":[\"CAP_CHOWN\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"]"
/* CAP_CHOWN 0, CAP_KILL 5, CAP_NET_BIND_SERVICE 10 */
#define CAPS_TEXT "0000000000000421"
#define CAPS_NONE "0000000000000000"
#define CAPS_LINES(inherited, permitted, effective, bounding, ambient) \
	"CapInh:\t" inherited "\nCapPrm:\t" permitted "\nCapEff:\t" effective \
	"\nCapBnd:\t" bounding "\nCapAmb:\t" ambient "\n"
#define SHOW_CAPS "\"grep\",\"^Cap\",\"/proc/self/status\""
#define REFUSE_MKDIR \
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{" \
	"\"names\":[\"mkdir\",\"mkdirat\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":5}]}"

static const struct seen {
	const char *name;
	struct config config;
	const char *input, *output;
	int status;
} seen[] = {
	{ "program", { .args = SH("echo hi; exit 3") }, NULL, "hi\n", 3 },
	{ "signal",
	  { .args = SH("kill -TERM $$; trap 'exit 4' TERM; kill -TERM $$") },
	  NULL, "", 4 },
	{ "stdin", { .args = "\"cat\"" }, "what comes in\n", "what comes in\n", 0 },
	{ "no stdin", { .args = SH("cat; readlink /proc/self/fd/0") }, NULL, "/dev/null\n", 0 },
	{ "pid", { .args = SH("echo $$") }, NULL, "1\n", 0 },
	{ "session", { .args = SH("cut -d' ' -f1,5,6 /proc/1/stat") }, NULL, "1 1 1\n", 0 },
	{ "only three fds", { .args = SH("ls /proc/1/fd; true") }, NULL, "0\n1\n2\n", 0 },
	{ "names",
	  { .args = SH("hostname; cat /proc/sys/kernel/domainname"),
	    .more = "\"hostname\":\"box\",\"domainname\":\"example\"" },
	  NULL, "box\nexample\n", 0 },
	{ "loopback",
	  { .args = SH("ifconfig lo | grep -wo UP; ping -c1 127.0.0.1 >/dev/null && echo pong"),
	    .process = "\"capabilities\":{\"permitted\":[\"CAP_NET_RAW\"],"
	      "\"effective\":[\"CAP_NET_RAW\"],\"bounding\":[\"CAP_NET_RAW\"]}" },
	  NULL, "UP\npong\n", 0 },
	{ "environment",
	  { .args = "\"env\"", .env = "\"PATH=/bin\",\"A=b c\"" },
	  NULL, "PATH=/bin\nA=b c\nHOME=/root\n", 0 },
	{ "own HOME",
	  { .args = "\"env\"", .env = "\"HOME=/x\",\"PATH=/bin\"" },
	  NULL, "HOME=/x\nPATH=/bin\n", 0 },
	{ "HOME of the user",
	  { .args = "\"env\"", .process = "\"user\":{\"uid\":1000,\"gid\":7}" },
	  NULL, "PATH=/bin\nHOME=/home/web\n", 0 },
	{ "HOME of nobody",
	  { .args = "\"env\"", .process = "\"user\":{\"uid\":77,\"gid\":7}" },
	  NULL, "PATH=/bin\nHOME=/\n", 0 },
	{ "no PATH", { .args = "\"env\"", .env = "\"A=b\"" }, NULL, "A=b\nHOME=/root\n", 0 },
	{ "user",
	  { .args = SH("id -u; id -g; id -G"),
	    .process = "\"user\":{\"uid\":1000,\"gid\":1001,\"additionalGids\":[5,6,5]}" },
	  NULL, "1000\n1001\n1001 5 6\n", 0 },
	{ "user by name",
	  { .args = SH("id -u; id -g; id -G"),
	    .process = "\"user\":{\"uid\":0,\"gid\":0,\"username\":\"web\"}" },
	  NULL, "1000\n1000\n1000 29\n", 0 },
	{ "stdout of a user",
	  { .args = SH("echo again > /proc/self/fd/1; stat -L -c %u /proc/self/fd/1"),
	    .process = "\"user\":{\"uid\":1000,\"gid\":1000}" },
	  NULL, "again\n1000\n", 0 },
	{ "umask", { .args = SH("umask") }, NULL, "0022\n", 0 },
	{ "umask asked",
	  { .args = SH("umask"), .process = "\"user\":{\"uid\":0,\"gid\":0,\"umask\":63}" },
	  NULL, "0077\n", 0 },
	{ "cwd", { .args = SH("pwd"), .cwd = "/tmp" }, NULL, "/tmp\n", 0 },
	{ "cwd that is made",
	  { .args = SH("pwd; stat -c %a:%u ../../a"), .cwd = "/tmp/a/b/../c" },
	  NULL, "/tmp/a/c\n755:0\n", 0 },
	{ "root", { .args = SH("touch /x") }, NULL, "touch: /x: Read-only file system\n", 1 },
	{ "rlimits",
	  { .args = SH("ulimit -n; ulimit -Hn; ulimit -c"),
	    .process = "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":123,\"hard\":124},"
	      "{\"type\":\"RLIMIT_CORE\",\"soft\":0,\"hard\":0}]" },
	  NULL, "123\n124\n0\n", 0 },
	{ "oom score",
	  { .args = "\"cat\",\"/proc/self/oom_score_adj\"", .process = "\"oomScoreAdj\":500" },
	  NULL, "500\n", 0 },
	{ "personality",
	  { .args = "\"uname\",\"-m\"", .linux_ = "\"personality\":{\"domain\":\"LINUX32\"}" },
	  NULL, "i686\n", 0 },
	{ "nice",
	  { .args = SH("cut -d' ' -f19 /proc/self/stat"),
	    .process = "\"scheduler\":{\"policy\":\"SCHED_OTHER\",\"nice\":7}" },
	  NULL, "7\n", 0 },
	{ "batch",
	  { .args = SH("cut -d' ' -f41 /proc/self/stat"),
	    .process = "\"scheduler\":{\"policy\":\"SCHED_BATCH\"}" },
	  NULL, "3\n", 0 },
	{ "io priority",
	  { .args = "\"ionice\"",
	    .process = "\"ioPriority\":{\"class\":\"IOPRIO_CLASS_BE\",\"priority\":6}" },
	  NULL, "best-effort: prio 6\n", 0 },
	{ "signals",
	  { .args = SH("grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; true | true") },
	  NULL, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n",
	  0 },
	{ "sysctl",
	  { .args = "\"cat\",\"/proc/sys/kernel/msgmax\"",
	    .linux_ = "\"sysctl\":{\"kernel.msgmax\":\"4321\"}" },
	  NULL, "4321\n", 0 },

	{ "no capabilities",
	  { .args = SHOW_CAPS },
	  NULL, CAPS_LINES(CAPS_NONE, CAPS_NONE, CAPS_NONE, CAPS_NONE, CAPS_NONE ), 0 },
	{ "root's capabilities",
	  { .args = SHOW_CAPS,
	    .process = "\"capabilities\":{" CAPS_OF("bounding") "," CAPS_OF("permitted") ","
	      CAPS_OF("effective") "}" },
	  NULL, CAPS_LINES(CAPS_NONE, CAPS_TEXT, CAPS_TEXT, CAPS_TEXT, CAPS_NONE ), 0 },
	{ "a user's ambient capabilities",
	  { .args = SHOW_CAPS,
	    .process = "\"user\":{\"uid\":1000,\"gid\":1000},\"capabilities\":{" CAPS_OF("bounding")
	      "," CAPS_OF("permitted") "," CAPS_OF("effective") "," CAPS_OF("inheritable") ","
	      CAPS_OF("ambient") "}" },
	  NULL, CAPS_LINES(CAPS_TEXT, CAPS_TEXT, CAPS_TEXT, CAPS_TEXT, CAPS_TEXT ), 0 },
	{ "a user keeps none by itself",
	  { .args = SHOW_CAPS,
	    .process = "\"user\":{\"uid\":1000,\"gid\":1000},\"capabilities\":{" CAPS_OF("bounding")
	      "," CAPS_OF("permitted") "," CAPS_OF("effective") "}" },
	  NULL, CAPS_LINES(CAPS_NONE, CAPS_NONE, CAPS_NONE, CAPS_TEXT, CAPS_NONE ), 0 },
	{ "ambient without inheritable is left out",
	  { .args = SHOW_CAPS,
	    .process = "\"user\":{\"uid\":1000,\"gid\":1000},\"capabilities\":{" CAPS_OF("bounding")
	      "," CAPS_OF("permitted") "," CAPS_OF("ambient") "}" },
	  NULL, CAPS_LINES(CAPS_NONE, CAPS_NONE, CAPS_NONE, CAPS_TEXT, CAPS_NONE ), 0 },
	{ "no new privileges",
	  { .args = SH("grep NoNewPrivs /proc/self/status"),
	    .process = "\"noNewPrivileges\":true" },
	  NULL, "NoNewPrivs:\t1\n", 0 },

	{ "seccomp",
	  { .args = SH("mkdir /tmp/x; grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status"),
	    .linux_ = REFUSE_MKDIR,
	    .process = "\"noNewPrivileges\":true" },
	  NULL, "mkdir: can't create directory '/tmp/x': Input/output "
	  "error\nNoNewPrivs:\t1\nSeccomp:\t2\n", 0 },
	{ "seccomp of a user that may get privileges",
	  { .args = SH("mkdir /tmp/x; grep -E '^(NoNewPrivs|Seccomp|CapEff|CapPrm):' "
	      "/proc/self/status"),
	    .linux_ = REFUSE_MKDIR,
	    .process = "\"user\":{\"uid\":1000,\"gid\":1000}" },
	  NULL, "mkdir: can't create directory '/tmp/x': Input/output error\nCapPrm:\t" CAPS_NONE
	  "\nCapEff:\t" CAPS_NONE "\nNoNewPrivs:\t0\nSeccomp:\t2\n", 0 },

	{ "user namespace",
	  { .args = SH("cat /proc/self/uid_map | tr -s ' '; id -u; touch /tmp/x; stat -c %u:%g "
	      "/tmp/x;" "echo again > /proc/self/fd/1; hostname"),
	    .namespaces = USER_NAMESPACE,
	    .linux_ = ID_MAPPINGS,
	    .more = "\"hostname\":\"u\"" },
	  NULL, " 0 100000 65536\n0\n0:0\nagain\nu\n", 0 },
	{ "a mount into a user namespace",
	  { .args = "\"cat\",\"/tmp/data/file\"",
	    .namespaces = USER_NAMESPACE,
	    .linux_ = ID_MAPPINGS,
	    .mounts = "{\"destination\":\"/tmp/data\",\"type\":\"bind\","
	      "\"source\":\"private/shared\",\"options\":[\"rbind\",\"ro\"]}" },
	  NULL, "through\n", 0 },
	{ "a user of a user namespace",
	  { .args = SH("id -u; id -G; echo again > /proc/self/fd/1; ulimit -n; cat "
	      "/proc/self/oom_score_adj"),
	    .namespaces = USER_NAMESPACE,
	    .linux_ = ID_MAPPINGS,
	    .process = "\"user\":{\"uid\":1000,\"gid\":1000},\"oomScoreAdj\":300,"
	      "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":123,\"hard\":124}]" },
	  NULL, "1000\n1000\nagain\n123\n300\n", 0 },
	{ "time namespace",
	  { .args = SH("cut -d. -f1 /proc/uptime | grep -cE '^1[0-9]{9}$'; cat "
	      "/proc/self/timens_offsets | tr -s ' '"),
	    .namespaces = "{\"type\":\"time\"}",
	    .linux_ = "\"timeOffsets\":{\"monotonic\":{\"secs\":7,\"nanosecs\":8},"
	      "\"boottime\":{\"secs\":1000000000}}" },
	  NULL, "1\nmonotonic 7 8\nboottime 1000000000 0\n", 0 },
	{ "user and time namespace",
	  { .args = SH("id -u; tr -s ' ' < /proc/self/timens_offsets"),
	    .namespaces = USER_NAMESPACE ",{\"type\":\"time\"}",
	    .linux_ = ID_MAPPINGS ",\"timeOffsets\":{\"boottime\":{\"secs\":5}}" },
	  NULL, "0\nmonotonic 0 0\nboottime 5 0\n", 0 },
	{ "hooks",
	  { .args = "\"true\"",
	    .more = "\"annotations\":{\"k\":\"v\"},"
	      "\"hooks\":{\"createContainer\":[{\"path\":\"/bin/true\"}],"
	      "\"startContainer\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\","
	      "\"test $A = b && test $# = 0 && grep -q "
	      "'created.*\\\"pid\\\":[0-9].*\\\"k\\\":\\\"v\\\"'\"],"
	      "\"env\":[\"A=b\",\"PATH=/bin\"]}]}" },
	  NULL, "", 0 },
};

static void test_seen(void **state)
{
	int wrong = 0;
	(void)state;
	for (size_t i = 0; i < array_size(seen); i++) {
		static struct outcome outcome;
		if (!seccomp_built_in && strstr(or_nothing(seen[i].config.linux_), "seccomp"))
			continue;
		run_config(&seen[i].config, seen[i].input, &outcome);
		if (outcome.error == 0 && strcmp(outcome.output, seen[i].output) == 0 &&
		    outcome.status == seen[i].status)
			continue;
		print_error("%s: \"%s\", exit status %d, output: %s\n", seen[i].name,
		            outcome.fault.text, outcome.status, outcome.output);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

#define HOOK(kind, script) \
	"\"hooks\":{\"" kind "\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"" script "\"]}]}"

static const struct refused {
	struct config config;
	bool ready;
	int error;
	const char *text;
} refused[] = {
	{ { .args = "\"nginx\"" },
	  false, -ENOENT, "exec: \"nginx\": executable file not found in $PATH" },
	{ { .args = "\"\"" }, false, -ENOENT, "exec: \"\": executable file not found in $PATH" },
	{ { .args = "\"passwd\"", .env = "\"PATH=/etc:/nowhere\"" },
	  false, -ENOENT, "exec: \"passwd\": executable file not found in $PATH" },
	{ { .args = "\"/no/such\"" },
	  false, -ENOENT, "exec: \"/no/such\": stat /no/such: no such file or directory" },
	{ { .args = "\"./such\"" },
	  false, -ENOENT, "exec: \"./such\": stat ./such: no such file or directory" },
	{ { .args = "\"/etc/passwd\"" },
	  false, -EACCES, "exec: \"/etc/passwd\": permission denied" },
	{ { .args = "\"/etc\"" }, false, -EACCES,
	  "exec: \"/etc\": permission denied: it is a directory" },
	{ { .args = "\"/bin/broken\"" },
	  true, -ENOENT, "exec /bin/broken: no such file or directory" },
	{ { .args = "\"broken\"" }, true, -ENOENT, "exec /bin/broken: no such file or directory" },
	{ { .args = "\"/bin/garbage\"" }, true, -ENOEXEC, "exec /bin/garbage: exec format error" },
	{ { .args = "\"/bin/private\"", .process = "\"user\":{\"uid\":1000,\"gid\":1000}" },
	  true, -EACCES, "exec: \"/bin/private\": permission denied" },
	{ { .args = "\"private\"", .process = "\"user\":{\"uid\":1000,\"gid\":1000}" },
	  true, -EACCES, "exec: \"private\": permission denied" },
	{ { .args = "\"true\"", .cwd = "/etc/passwd" },
	  false, -ENOTDIR, "chdir to cwd (\"/etc/passwd\") set in config.json failed: not a "
	  "directory" },
	{ { .args = "\"true\"",
	    .process = "\"user\":{\"uid\":0,\"gid\":0,\"username\":\"ghost\"}" },
	  false, -ENOENT, "user \"ghost\": not in the container's /etc/passwd" },
	{ { .args = "\"true\"", .process = "\"apparmorProfile\":\"docker-default\"" },
	  false, -ENOTSUP, "process.apparmorProfile: \"docker-default\": this kernel has no such "
	  "security module" },
	{ { .args = "\"true\"", .process = "\"selinuxLabel\":\"a:b:c\"" },
	  false, -ENOTSUP, "process.selinuxLabel: \"a:b:c\": this kernel has no such security "
	  "module" },
	{ { .args = "\"true\"", .process = "\"capabilities\":{\"effective\":[\"CAP_CHOWN\"]}" },
	  true, -EINVAL, "capabilities: effective has more than permitted" },
	{ { .args = "\"true\"",
	    .process = "\"scheduler\":{\"policy\":\"SCHED_FIFO\",\"priority\":1000}" },
	  false, -EINVAL, "scheduler: invalid argument" },
	{ { .args = "\"true\"", .more = HOOK("createContainer", "echo one; echo why >&2; exit 3") },
	  false, -ECHILD, "createContainer hook \"/bin/sh\" failed: exit status 3: why" },
	{ { .args = "\"true\"", .more = HOOK("startContainer", "kill -9 $$") },
	  true, -ECHILD, "startContainer hook \"/bin/sh\" failed: signal 9" },
	{ { .args = "\"true\"",
	    .more = "\"hooks\":{\"startContainer\":[{\"path\":\"/bin/sleep\",\"args\":"
	      "[\"sleep\",\"100\"],\"timeout\":1}]}" },
	  true, -ETIMEDOUT, "startContainer hook \"/bin/sleep\" failed: timed out after 1 s" },
	{ { .args = "\"true\"",
	    .more = "\"hooks\":{\"createContainer\":[{\"path\":\"/no/hook\"}]}" },
	  false, -ECHILD, "createContainer hook \"/no/hook\" failed: exit status 127: no such file "
	  "or directory" },
	{ { .args = "\"true\"",
	    .namespaces = USER_NAMESPACE,
	    .linux_ = ID_MAPPINGS,
	    .mounts = "{\"destination\":\"/tmp/x\",\"type\":\"bind\",\"source\":\"/nowhere\","
	      "\"options\":[\"bind\"]}" },
	  false, -ENOENT, "mount \"/nowhere\" on \"/tmp/x\": no such file or directory" },
	{ { .args = "\"true\"", .only_those = true, .namespaces = "{\"type\":\"pid\"}" },
	  false, -EINVAL, "mounts, devices, masked and read-only paths: need a mount namespace" },
	{ { .args = "\"true\"",
	    .only_those = true,
	    .namespaces = "{\"type\":\"mount\",\"path\":\"/proc/self/ns/mnt\"}" },
	  false, -EINVAL, "mount namespace /proc/self/ns/mnt: is the agent's, which is shared by "
	  "naming none" },
	{ { .args = "\"true\"",
	    .only_those = true,
	    .namespaces = "{\"type\":\"mount\",\"path\":\"/proc/self/ns/net\"}" },
	  false, -EINVAL, "mount namespace /proc/self/ns/net: is not a mount namespace" },
	{ { .args = "\"true\"",
	    .only_those = true,
	    .namespaces = "{\"type\":\"mount\"},{\"type\":\"network\","
	      "\"path\":\"/proc/self/ns/uts\"}" },
	  false, -EINVAL, "network namespace /proc/self/ns/uts: is not a network namespace" },
	{ { .args = "\"true\"",
	    .only_those = true,
	    .namespaces = "{\"type\":\"mount\"},{\"type\":\"network\",\"path\":\"/dev/null\"}" },
	  false, -EINVAL, "network namespace /dev/null: is not a network namespace" },
	{ { .args = "\"true\"",
	    .only_those = true,
	    .namespaces = "{\"type\":\"mount\"},{\"type\":\"ipc\",\"path\":\"/nowhere\"}" },
	  false, -ENOENT, "ipc namespace /nowhere: no such file or directory" },
};

static void test_refused(void **state)
{
	(void)state;
	box_write("rootfs/bin/broken", "#!/no/interpreter\n", 0755);
	box_write("rootfs/bin/garbage", "\177ELF is not enough", 0755);
	box_write("rootfs/bin/private", "#!/bin/sh\n", 0700);
	for (size_t i = 0; i < array_size(refused); i++) {
		static struct outcome outcome;
		run_config(&refused[i].config, NULL, &outcome);
		if (strcmp(outcome.fault.text, refused[i].text) != 0)
			fail_msg("\"%s\" instead of \"%s\"", outcome.fault.text, refused[i].text);
		assert_int_equal(outcome.error, refused[i].error);
		assert_int_equal(outcome.ready, refused[i].ready);
		assert_string_equal(outcome.output, "");
	}
}

static void test_terminal(void **state)
{
	static struct outcome outcome;
	static const struct config config = {
		.args = SH("tty; stty size; test -c /dev/console && stat -c %u /proc/self/fd/0 -L;"
		           "cut -d' ' -f7 /proc/self/stat | grep -vc '^0$'"),
		.process = "\"terminal\":true,\"consoleSize\":{\"height\":33,\"width\":77},"
		           "\"user\":{\"uid\":1000,\"gid\":1000}",
	};
	(void)state;
	run_config(&config, NULL, &outcome);
	assert_string_equal(outcome.fault.text, "");
	assert_string_equal(outcome.output, "/dev/pts/0\r\n33 77\r\n1000\r\n1\r\n");
	assert_int_equal(outcome.status, 0);
}

/* An init whose start never comes ends with the agent. */
static void test_agent_gone(void **state)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct oci_spec spec;
	struct seccomp_program seccomp;
	struct child_plan plan;
	struct child child = CHILD_NULL;
	struct outcome outcome = { 0 };
	static const struct config config = { .args = "\"true\"" };
	(void)state;
	config_decode(&config, &arena, &spec);
	plan_init(&plan, &spec, &seccomp);
	assert_int_equal(child_spawn(&plan, &child, &outcome.fault), 0);
	follow(&child, &outcome, NULL, true);
	assert_true(outcome.ready);
	close_fd(&child.report_fd);
	assert_int_equal(reap(&child), 1);
	child_deinit(&child);
	arena_free(&arena);
}

/* A process of the VM: no namespaces, no root of its own, but nothing of ours open. */
static void test_vm(void **state)
{
	static struct outcome outcome;
	struct arena arena = ARENA(JSON_ARENA);
	struct oci_process process = { 0 };
	struct fault fault;
	static const char text[] = "{\"cwd\":\"/tmp\",\"env\":[\"PATH=/bin:/usr/bin\",\"HOME=/\"],"
		"\"args\":[\"sh\",\"-c\",\"pwd; ls /proc/$$/fd; readlink /proc/self/ns/mnt\"]}";
	char expected[128] = "/tmp\n0\n1\n2\n";
	size_t length = strlen(expected);
	(void)state;
	ssize_t n = readlink("/proc/self/ns/mnt", expected + length, sizeof(expected) - length - 2);
	assert_true(n > 0);
	memcpy(expected + length + n, "\n", 2);
	assert_int_equal(json_decode(&arena, &oci_process_type, text, strlen(text), &process,
	                             &fault), 0);
	struct child_plan plan = { .process = &process, .init_pidfd = -1, .root_fd = -1 };
	run_plan(&plan, NULL, &outcome);
	assert_string_equal(outcome.fault.text, "");
	assert_string_equal(outcome.output, expected);
	arena_free(&arena);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seen),      cmocka_unit_test(test_refused),
		cmocka_unit_test(test_terminal),  cmocka_unit_test(test_agent_gone),
		cmocka_unit_test(test_vm),
	};
	return box_able() ? cmocka_run_group_tests(tests, box_setup, box_teardown) : 0;
}
