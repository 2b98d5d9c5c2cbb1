/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Standard streams as containerd's clients name them: FIFOs, files, and logging programs, which are
 * shell scripts here that live and die as theirs do.
 */

#include "oci/log.h"
#include "shim/containerd/logger.h"
#include "shim/containerd/streams.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

struct fixture {
	struct loop loop;
	struct timer tick;
	char directory[32];
	unsigned fds;                   /* that were open before */
	/* What streams_ready_fn saw. */
	unsigned answers;
	bool failed, close_at_once;
	struct fault fault;
};

static unsigned count_fds(void)
{
	unsigned count = 0;
	DIR *directory = opendir("/proc/self/fd");

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static int on_tick(struct timer *timer)
{
	loop_stop(timer->source.loop);
	return 0;
}

static void turn(struct fixture *fixture)
{
	assert_int_equal(timer_set(&fixture->tick, 5), 0);
	assert_int_equal(loop_run(&fixture->loop), 0);
}

#define TURNS_MAX 4000

static void wait_for_answer(struct fixture *fixture)
{
	for (int i = 0; !fixture->answers; i++) {
		assert_in_range(i, 0, TURNS_MAX);
		turn(fixture);
	}
}

static void on_closed(void *owner)
{
	*(bool *)owner = true;
}

static void wait_until_closed(struct fixture *fixture)
{
	bool closed = false;

	streams_when_closed(on_closed, &closed);
	for (int i = 0; !closed; i++) {
		assert_in_range(i, 0, TURNS_MAX);
		turn(fixture);
	}
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fixture->fds = count_fds();
	snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/test-streams-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	fixture->loop = (struct loop)LOOP_NULL;
	assert_int_equal(loop_init(&fixture->loop), 0);
	timer_init(&fixture->tick, &fixture->loop, on_tick);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	char command[64];

	wait_until_closed(fixture);
	timer_deinit(&fixture->tick);
	loop_deinit(&fixture->loop);
	snprintf(command, sizeof(command), "rm -r %s", fixture->directory);
	assert_int_equal(system(command), 0);
	/* Nothing is left: no descriptor, no process, no zombie. */
	assert_int_equal(count_fds(), fixture->fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	free(fixture);
	return 0;
}

static void on_ready(struct streams *streams, const struct fault *fault)
{
	struct fixture *fixture = streams_owner(streams);

	fixture->answers++;
	fixture->failed = fault != NULL;
	if (fault)
		fixture->fault = *fault;
	if (fixture->close_at_once)
		streams_close(streams);
}

static int open_with(struct fixture *fixture, struct streams **ret, const char *in, const char *out,
                     const char *err, bool terminal)
{
	struct streams_wish wish = {
		.in = in, .out = out, .err = err, .terminal = terminal, .id = "c1",
		.namespace = "ns",
	};

	fixture->answers = 0;
	fixture->failed = false;
	fixture->fault = (struct fault)FAULT_NULL;
	return streams_open(ret, &fixture->loop, &wish, on_ready, fixture, &fixture->fault);
}

static const char *path_of(struct fixture *fixture, const char *scheme, const char *name)
{
	static char paths[4][80];
	static unsigned next;
	char *path = paths[next++ % array_size(paths)];

	snprintf(path, sizeof(paths[0]), "%s%s/%s", scheme, fixture->directory, name);
	return path;
}

static const char *make_fifo(struct fixture *fixture, const char *name)
{
	const char *path = path_of(fixture, "", name);

	assert_int_equal(mkfifo(path, 0700), 0);
	return path;
}

static void read_file(const char *path, char *text, size_t size)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);

	text[n > 0 ? n : 0] = '\0';
}

static void expect_file(const char *path, const char *text)
{
	char got[1024];

	read_file(path, got, sizeof(got));
	assert_string_equal(got, text);
}

/* FIFOs */

static void test_fifos(void **state)
{
	struct fixture *fixture = *state;
	const char *in = make_fifo(fixture, "in"), *out = make_fifo(fixture, "out");
	struct streams *streams;
	int fd[STDIO_COUNT];

	make_fifo(fixture, "err");
	/* Nobody has opened them, and nothing blocks. */
	assert_int_equal(open_with(fixture, &streams, in, out, path_of(fixture, "fifo://", "err"),
	                           false), 0);
	assert_int_equal(fixture->answers, 1);
	assert_false(fixture->failed);
	streams_take(streams, fd);
	for (int i = 0; i < STDIO_COUNT; i++) {
		assert_int_equal(fcntl(fd[i], F_GETFL) & (O_ACCMODE | O_NONBLOCK),
		                 O_RDWR | O_NONBLOCK);
		assert_int_equal(fcntl(fd[i], F_GETFD), FD_CLOEXEC);
	}
	streams_close(streams);
	/* A client that comes late, goes, and comes again. */
	for (int i = 0; i < 2; i++) {
		char byte = 0;
		assert_int_equal(write(fd[STDIO_OUT], "x", 1), 1);
		cleanup_close int reader = open(out, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		assert_int_equal(read(reader, &byte, 1), 1);
		assert_int_equal(read(reader, &byte, 1), -1);
		cleanup_close int writer = open(in, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		assert_int_equal(write(writer, "y", 1), 1);
		assert_int_equal(read(fd[STDIO_IN], &byte, 1), 1);
	}
	stdio_close_fds(fd);
}

static void test_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct streams *streams;
	int fd[STDIO_COUNT];

	for (int terminal = 0; terminal < 2; terminal++) {
		assert_int_equal(open_with(fixture, &streams, NULL, "", "", terminal), 0);
		assert_int_equal(fixture->answers, 1);
		streams_take(streams, fd);
		for (int i = 0; i < STDIO_COUNT; i++)
			assert_int_equal(fd[i], -1);
		streams_close(streams);
	}
	streams_close(NULL);
}

static void test_closed_untaken(void **state)
{
	struct fixture *fixture = *state;
	struct streams *streams;

	fixture->close_at_once = true;
	assert_int_equal(open_with(fixture, &streams, "", make_fifo(fixture, "out"), "", false), 0);
	assert_int_equal(fixture->answers, 1);
}

/* With a terminal, everything goes where stdout goes. */
static void test_terminal(void **state)
{
	struct fixture *fixture = *state;
	struct streams *streams;
	int fd[STDIO_COUNT];

	assert_int_equal(open_with(fixture, &streams, "", path_of(fixture, "file://", "out"),
	                           path_of(fixture, "file://", "err"), true), 0);
	streams_take(streams, fd);
	assert_true(fd[STDIO_OUT] >= 0 && fd[STDIO_ERR] < 0);
	assert_int_equal(access(path_of(fixture, "", "err"), F_OK), -1);
	stdio_close_fds(fd);
	streams_close(streams);
}

/* Files */

static void test_files(void **state)
{
	static const struct { const char *err; const char *second; } cases[] = {
		{ "", "logs/new/c.log" },
		{ "logs/new/c.log", "logs/new/c.log" },
		{ "other", "other" },
	};
	struct fixture *fixture = *state;
	const char *first = "logs/new/c.log";
	mode_t mask = umask(077);

	for (size_t i = 0; i < array_size(cases); i++) {
		struct streams *streams;
		struct stat st;
		int fd[STDIO_COUNT];
		const char *err = *cases[i].err ? path_of(fixture, "file://", cases[i].err) : "";
		assert_int_equal(open_with(fixture, &streams, "", path_of(fixture, "file://", first),
		                           err, false), 0);
		streams_take(streams, fd);
		streams_close(streams);
		assert_int_equal(write(fd[STDIO_OUT], "1", 1), 1);
		assert_int_equal(write(fd[STDIO_ERR], "2", 1), 1);
		assert_int_equal(write(fd[STDIO_OUT], "3", 1), 1);
		stdio_close_fds(fd);
		assert_int_equal(stat(path_of(fixture, "", cases[i].second), &st), 0);
		assert_int_equal(st.st_mode & 07777, 0644);
		assert_int_equal(stat(path_of(fixture, "", "logs/new"), &st), 0);
		assert_int_equal(st.st_mode & 07777, 0755);
	}
	expect_file(path_of(fixture, "", first), "12312313");
	expect_file(path_of(fixture, "", "other"), "2");
	assert_int_equal(umask(mask), 077);

	/* By its path alone it has to be there, and may be read from. */
	struct streams *streams;
	int fd[STDIO_COUNT];
	char byte = 0;
	assert_int_equal(open_with(fixture, &streams, path_of(fixture, "", "other"),
	                           path_of(fixture, "", "other"), "/dev/null", false), 0);
	streams_take(streams, fd);
	streams_close(streams);
	assert_int_equal(write(fd[STDIO_OUT], "!", 1), 1);
	assert_int_equal(read(fd[STDIO_IN], &byte, 1), 1);
	assert_int_equal(write(fd[STDIO_ERR], "!", 1), 1);
	assert_int_equal(byte, '2');
	stdio_close_fds(fd);
	expect_file(path_of(fixture, "", "other"), "2!");
}

static void test_refused(void **state)
{
	static const struct { const char *in, *out, *err; int error; const char *why; } cases[] = {
		{ "", "/nowhere/fifo", "", -ENOENT, "\"/nowhere/fifo\": no such file or directory" },
		{ "/nowhere/in", "", "", -ENOENT, "/nowhere/in" },
		{ "file:///nowhere/in", "", "", -ENOENT, "/nowhere/in" },
		{ "", "", "/nowhere/err", -ENOENT, "/nowhere/err" },
		{ "", "/tmp", "", -EISDIR, "\"/tmp\": is a directory" },
		{ "", "file:///proc/self/no/such", "", -ENOENT, "no such file" },
		{ "", "npipe:///x", "", -EINVAL, "neither" },
		{ "relative", "", "", -EINVAL, "neither" },
		{ "", "", "what://x", -EINVAL, "neither" },
		{ "binary:///bin/cat", "", "", -EINVAL, "a logger is for stdout" },
		{ "", "/dev/null", "binary:///bin/cat", -EINVAL, "a logger is for stdout" },
	};
	struct fixture *fixture = *state;
	struct streams *streams;

	for (size_t i = 0; i < array_size(cases); i++) {
		assert_int_equal(open_with(fixture, &streams, cases[i].in, cases[i].out,
		                           cases[i].err, false), cases[i].error);
		assert_null(streams);
		assert_int_equal(fixture->answers, 0);
		assert_non_null(strstr(fixture->fault.text, cases[i].why));
	}
}

/* Loggers */

/* A shell is the logger, in the test's directory, with whatever is in the script. */
static int open_logger(struct fixture *fixture, struct streams **ret, const char *scheme,
                       const char *script, bool terminal)
{
	static char uri[4096];
	size_t length = (size_t)snprintf(uri, sizeof(uri), "%s/bin/sh?-c=cd+%s;", scheme,
	                                 fixture->directory);

	for (; *script; script++) {
		assert_true(length + 4 < sizeof(uri));
		length += (size_t)snprintf(uri + length, 4, "%%%02x", (unsigned char)*script);
	}
	return open_with(fixture, ret, "", uri, uri, terminal);
}

#define COPY "cat <&3 >out & cat <&4 >err; wait;"
#define READY "echo >&5; exec 5>&-;"

static void test_logger(void **state)
{
	static const char *const schemes[] = { "binary://", "binary-v2://" };
	struct fixture *fixture = *state;

	for (size_t i = 0; i < array_size(schemes); i++) {
		struct streams *streams;
		int fd[STDIO_COUNT];
		assert_int_equal(open_logger(fixture, &streams, schemes[i],
		                             READY COPY "echo end >>err", false), 0);
		assert_int_equal(fixture->answers, 0);
		wait_for_answer(fixture);
		assert_false(fixture->failed);
		streams_take(streams, fd);
		assert_int_equal(fd[STDIO_IN], -1);
		assert_int_equal(write(fd[STDIO_OUT], "out\n", 4), 4);
		assert_int_equal(write(fd[STDIO_ERR], "err\n", 4), 4);
		stdio_close_fds(fd);
		streams_close(streams);
		wait_until_closed(fixture);
		expect_file(path_of(fixture, "", "out"), "out\n");
		expect_file(path_of(fixture, "", "err"), "err\nend\n");
		assert_int_equal(fixture->answers, 1);
	}
}

/* What it finds when it begins. */
static void test_logger_surroundings(void **state)
{
	struct fixture *fixture = *state;
	struct streams *streams;
	char text[512];

	/* Something that it could inherit. The shell itself just waits while it is looked at. */
	int stray = dup(STDOUT_FILENO);
	assert_int_equal(open_logger(fixture, &streams, "binary://",
	                             "(cat /proc/$$/environ >env;"
	                             "ls /proc/$$/fd | sort -n | tr -d '\\n' >fds;"
	                             "grep -E '^Sig(Blk|Ign)' /proc/$$/status >signals;"
	                             "readlink /proc/$$/fd/0 /proc/$$/fd/1 | cat >null;"
	                             "ls -l /proc/$$/fd/[345] | cut -c 1-10 >modes;"
	                             "echo >&5) & wait", true), 0);
	wait_for_answer(fixture);
	assert_false(fixture->failed);
	cleanup_close int fd = open(path_of(fixture, "", "env"), O_RDONLY | O_CLOEXEC);
	static const char environment[] = "CONTAINER_ID=c1\0CONTAINER_NAMESPACE=ns";
	assert_int_equal(read(fd, text, sizeof(text)), sizeof(environment));
	assert_memory_equal(text, environment, sizeof(environment));
	expect_file(path_of(fixture, "", "fds"), "012345");
	expect_file(path_of(fixture, "", "null"), "/dev/null\n/dev/null\n");
	expect_file(path_of(fixture, "", "modes"), "lr-x------\nlr-x------\nl-wx------\n");
	read_file(path_of(fixture, "", "signals"), text, sizeof(text));
	assert_non_null(strstr(text, "SigBlk:\t0000000000000000"));
	assert_non_null(strstr(text, "SigIgn:\t0000000000000000"));
	close(stray);
	streams_close(streams);
}

/* With a terminal it gets both ends of file at the same time. */
static void test_logger_of_terminal(void **state)
{
	struct fixture *fixture = *state;
	struct streams *streams;
	int fd[STDIO_COUNT];

	assert_int_equal(open_logger(fixture, &streams, "binary://", READY COPY, true), 0);
	wait_for_answer(fixture);
	streams_take(streams, fd);
	assert_true(fd[STDIO_OUT] >= 0 && fd[STDIO_ERR] >= 0);
	stdio_close_fds(fd);
	streams_close(streams);
}

static void test_logger_arguments(void **state)
{
	struct fixture *fixture = *state;
	struct streams *streams;
	char uri[300];

	/* sh -c 'script' --name 'a b&c' flag */
	snprintf(uri, sizeof(uri), "binary:///bin/sh?-c=for+a+in+%%22%%240%%22+%%22%%24@%%22;"
	         "do+echo+%%22%%24a%%22;done+%%3e%s/args&--name=a%%20b%%26c&flag&empty=",
	         fixture->directory);
	assert_int_equal(open_with(fixture, &streams, "", uri, "", false), 0);
	wait_for_answer(fixture);
	assert_false(fixture->failed);
	streams_close(streams);
	wait_until_closed(fixture);
	expect_file(path_of(fixture, "", "args"), "--name\na b&c\nflag\nempty\n");
}

/* The end of file on descriptor 5: one kind of logger is ready then, and the other has failed. */
static void test_logger_without_a_word(void **state)
{
	static const struct { const char *scheme, *script; bool fails; const char *why; } cases[] = {
		{ "binary://", "exec 5>&-;" COPY, false, "" },
		{ "binary://", "exit 0", false, "" },
		{ "binary-v2://", "exec 5>&-;" COPY, true, "does not say that it is ready" },
		{ "binary-v2://", "exit 0", true, "does not say that it is ready" },
		{ "binary-v2://", "echo first >&2; echo no disk >&2; exit 3", true, ": no disk" },
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < array_size(cases); i++) {
		struct streams *streams;
		assert_int_equal(open_logger(fixture, &streams, cases[i].scheme, cases[i].script,
		                             false), 0);
		wait_for_answer(fixture);
		assert_int_equal(fixture->failed, cases[i].fails);
		assert_non_null(strstr(fixture->fault.text, cases[i].why));
		if (i % 2)
			turn(fixture);
		streams_close(streams);
		wait_until_closed(fixture);
		assert_int_equal(fixture->answers, 1);
	}
}

static void test_logger_that_cannot_run(void **state)
{
	static const struct { const char *path, *why; } cases[] = {
		{ "/nowhere/logger", "logger /nowhere/logger: no such file or directory" },
		{ "/etc/passwd", "logger /etc/passwd: permission denied" },
		{ "/tmp", "logger /tmp: permission denied" },
	};
	static const char *const schemes[] = { "binary://", "binary-v2://" };
	struct fixture *fixture = *state;

	for (size_t i = 0; i < array_size(cases) * array_size(schemes); i++) {
		struct streams *streams;
		char uri[80];
		snprintf(uri, sizeof(uri), "%s%s", schemes[i % 2], cases[i / 2].path);
		fixture->close_at_once = i / 2 == 0;
		assert_int_equal(open_with(fixture, &streams, "", uri, uri, false), 0);
		wait_for_answer(fixture);
		assert_true(fixture->failed);
		assert_string_equal(fixture->fault.text, cases[i / 2].why);
		if (!fixture->close_at_once)
			streams_close(streams);
		wait_until_closed(fixture);
	}
}

/* It never gets ready. Its container may be deleted all the same, and it may end itself. */
static void test_logger_that_is_never_ready(void **state)
{
	struct fixture *fixture = *state;
	struct streams *streams;

	assert_int_equal(open_logger(fixture, &streams, "binary://", "exec sleep 100", false), 0);
	for (int i = 0; i < 20; i++)
		turn(fixture);
	assert_int_equal(fixture->answers, 0);
	streams_close(streams);
	wait_until_closed(fixture);
	assert_int_equal(fixture->answers, 0);

	/* Somebody else holds descriptor 5. */
	fixture->close_at_once = true;
	assert_int_equal(open_logger(fixture, &streams, "binary://",
	                             "sleep 0.3 & echo lost >&2; exit 7", false), 0);
	wait_for_answer(fixture);
	assert_true(fixture->failed);
	assert_string_equal(fixture->fault.text, "logger \"/bin/sh\" ended with status 7: lost");
}

/* Whoever writes to it is told as by any pipe; nothing else happens. */
static void test_logger_dies(void **state)
{
	struct fixture *fixture = *state;
	struct streams *streams;
	int fd[STDIO_COUNT];

	assert_int_equal(open_logger(fixture, &streams, "binary-v2://", READY "kill -9 $$", false),
	                 0);
	wait_for_answer(fixture);
	assert_false(fixture->failed);
	streams_take(streams, fd);
	for (int i = 0; write(fd[STDIO_OUT], "x", 1) == 1; i++) {
		assert_in_range(i, 0, TURNS_MAX);
		turn(fixture);
	}
	assert_int_equal(errno, EPIPE);
	turn(fixture);
	stdio_close_fds(fd);
	streams_close(streams);
}

static unsigned ended;

static void on_logger_ready(struct logger *logger, const struct fault *fault)
{
	(void)logger;
	assert_null(fault);
	ended = 0;
}

static void on_logger_ended(struct logger *logger)
{
	(void)logger;
	ended++;
}

/* Its patience: a signal that can be answered, and one that cannot. */
static void test_logger_that_does_not_end(void **state)
{
	static const struct logger_ops ops = { on_logger_ready, on_logger_ended };
	static const struct { const char *trap; bool told; } cases[] = {
		{ "trap 'echo told >told; exit' TERM", true }, { "trap '' TERM", false },
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < array_size(cases); i++) {
		char script[200];
		snprintf(script, sizeof(script), "cd %s; rm -f told; %s; " READY
		         "while :; do sleep 0.02; done", fixture->directory, cases[i].trap);
		const char *const args[] = { "/bin/sh", "-c", script, NULL };
		struct logger_plan plan = { .args = args, .id = "c1", .namespace = "ns" };
		struct logger *logger;
		int fd[2];
		ended = 1;
		assert_int_equal(logger_start(&logger, &fixture->loop, &plan, &ops, fd, NULL), 0);
		logger->end = 30;
		logger->term = cases[i].told ? 20000 : 30;
		while (ended)
			turn(fixture);
		close(fd[0]);
		close(fd[1]);
		logger_stop(logger);
		logger_stop(logger);
		while (!ended)
			turn(fixture);
		assert_int_equal(logger->pid, 0);
		logger_free(logger);
		assert_int_equal(access(path_of(fixture, "", "told"), F_OK), cases[i].told ? 0 : -1);
	}
}

/* The program ends, and waits no more. */
static void test_abandon(void **state)
{
	struct fixture *fixture = *state;
	struct streams *streams;
	int status = 0;

	assert_int_equal(open_logger(fixture, &streams, "binary://", READY "exec sleep 100", false),
	                 0);
	wait_for_answer(fixture);
	streams_close(streams);
	turn(fixture);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), 0);
	streams_abandon();
	assert_true(waitpid(-1, &status, 0) > 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_fifos),
		TEST(test_nothing),
		TEST(test_closed_untaken),
		TEST(test_terminal),
		TEST(test_files),
		TEST(test_refused),
		TEST(test_logger),
		TEST(test_logger_surroundings),
		TEST(test_logger_of_terminal),
		TEST(test_logger_arguments),
		TEST(test_logger_without_a_word),
		TEST(test_logger_that_cannot_run),
		TEST(test_logger_that_is_never_ready),
		TEST(test_logger_dies),
		TEST(test_logger_that_does_not_end),
		TEST(test_abandon),
	};

	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
