/* SPDX-License-Identifier: Apache-2.0 */

/* What start leaves in a bundle, and what it finds there: group, state, pid, log. */

#include "oci/log.h"
#include "shim/containerd/fifo_log.h"
#include "shim/containerd/group.h"
#include "shim/containerd/pidfile.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

struct box {
	char path[32];
	int fd;
};

static int setup(void **state)
{
	static struct box box;

	strcpy(box.path, "/tmp/hvbundle-XXXXXX");
	*state = &box;
	if (!mkdtemp(box.path))
		return -1;
	box.fd = open(box.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return box.fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	static const char *const files[] = {
		"config.json", "shim.pid", "state", "log", "work/shim.log",
	};
	struct box *box = *state;

	for (size_t i = 0; i < array_size(files); i++)
		(void)unlinkat(box->fd, files[i], 0);
	(void)unlinkat(box->fd, "work", AT_REMOVEDIR);
	close(box->fd);
	return rmdir(box->path);
}

static void put(const struct box *box, const char *name, const char *text)
{
	cleanup_close int fd = openat(box->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

#define CRI(sandbox) "\"io.kubernetes.cri.sandbox-id\":\"" sandbox "\""
#define CRIO(sandbox) "\"io.kubernetes.cri-o.SandboxID\":\"" sandbox "\""
#define RUNC(group) "\"io.containerd.runc.v2.group\":\"" group "\""

static void test_group(void **state)
{
	static const struct {
		const char *config, *group, *fault;
	} rows[] = {
		{ NULL, "c1" },
		{ "{}", "c1" },
		{ "{\"annotations\":null}", "c1" },
		{ "{\"annotations\":{" CRI("s1") "},\"process\":{\"args\":7}}", "s1" },
		{ "{\"annotations\":{" CRIO("s2") "}}", "s2" },
		{ "{\"annotations\":{" CRI("s1") "," RUNC("g") "}}", "g" },
		{ "{\"annotations\":{" CRI("s1") "," RUNC("") "}}", "s1" },
		{ "{\"annotations\":{" RUNC("a/b") "}}", NULL,
		  "annotation io.containerd.runc.v2.group: \"a/b\" is no id" },
		{ "{\"annotations\":[]}", NULL, "config.json: annotations: " },
		{ "{", NULL, "config.json: line 1" },
		{ "", NULL, "config.json: " },
	};
	const struct box *box = *state;

	for (size_t i = 0; i < array_size(rows); i++) {
		struct arena arena = ARENA(JSON_ARENA);
		struct str_map annotations;
		struct fault fault = FAULT_NULL;
		const char *group;
		if (rows[i].config)
			put(box, "config.json", rows[i].config);
		int r = group_read(box->fd, "c1", &arena, &annotations, &group, &fault);
		if (rows[i].fault) {
			assert_true(r < 0);
			assert_memory_equal(fault.text, rows[i].fault, strlen(rows[i].fault));
		} else {
			assert_int_equal(r, 0);
			assert_string_equal(group, rows[i].group);
		}
		arena_free(&arena);
	}
}

static void test_root(void **state)
{
	const struct box *box = *state;
	struct arena arena = ARENA(JSON_ARENA);
	const char *root;

	assert_int_equal(group_find_root(box->fd, "n", &arena, &root, NULL), 0);
	assert_string_equal(root, "/run/containerd/hvrun/n");
	assert_int_equal(group_root("/x", "n", &arena, &root, NULL), 0);
	assert_string_equal(root, "/x/n");
	assert_int_equal(group_link_root(box->fd, "/y/n"), 0);
	assert_int_equal(group_link_root(box->fd, "/x/n"), 0);
	assert_int_equal(group_find_root(box->fd, "n", &arena, &root, NULL), 0);
	assert_string_equal(root, "/x/n");
	/* Without a bundle there is no link. */
	assert_int_equal(group_find_root(-1, "n", &arena, &root, NULL), 0);
	assert_string_equal(root, "/run/containerd/hvrun/n");
	arena_free(&arena);
}

static void test_pidfile(void **state)
{
	const struct box *box = *state;
	struct fault fault = FAULT_NULL;
	struct pollfd end = { .events = POLLIN };
	int fd, other;

	assert_int_equal(pidfile_find(box->fd), -ENOENT);
	pidfile_remove(box->fd);
	assert_int_equal(pidfile_make(box->fd, &fd, &fault), 0);
	assert_int_equal(pidfile_make(box->fd, &other, &fault), -EBUSY);
	assert_string_equal(fault.text, "another shim serves this bundle already");
	pid_t pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	assert_int_equal(pidfile_write(fd, pid), 0);
	close(fd);
	/* Its copy holds the lock. */
	assert_int_equal(pidfile_make(box->fd, &other, &fault), -EBUSY);
	pidfile_remove(box->fd);
	end.fd = pidfile_find(box->fd);
	assert_true(end.fd >= 0);
	assert_int_equal(poll(&end, 1, 0), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(poll(&end, 1, 5000), 1);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(end.fd);
	assert_int_equal(pidfile_find(box->fd), -ESRCH);
	/* Somebody else has got the number. */
	put(box, PIDFILE, "1");
	assert_int_equal(pidfile_find(box->fd), -ESRCH);
	assert_int_equal(pidfile_make(box->fd, &fd, &fault), 0);
	assert_int_equal(pidfile_find(box->fd), -ESRCH);
	close(fd);
	pidfile_remove(box->fd);
	assert_int_equal(pidfile_find(box->fd), -ENOENT);
}

static void read_all(int fd, char *text, size_t size)
{
	size_t length = 0;
	ssize_t n;

	while ((n = read(fd, text + length, size - 1 - length)) > 0)
		length += (size_t)n;
	text[length] = '\0';
}

static void test_log(void **state)
{
	const struct box *box = *state;
	static char text[1 << 17];

	(void)signal(SIGPIPE, SIG_IGN);
	assert_int_equal(mkfifoat(box->fd, "log", 0700), 0);
	assert_int_equal(fifo_log_open(box->fd), -ENOENT);
	cleanup_close int reader = openat(box->fd, "log", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	cleanup_close int fd = fifo_log_open(box->fd);
	assert_true(fd >= 0);
	log_init(fd, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
	/* More than the pipe takes, and then with nobody to read: it goes on. */
	for (int i = 0; i < 2000; i++)
		log_info("line %d of many that nobody reads", i);
	read_all(reader, text, sizeof(text));
	assert_non_null(strstr(text, "line 100 "));
	assert_null(strstr(text, "line 1999 "));
	close_fd(&reader);
	log_info("to nobody");
	reader = openat(box->fd, "log", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	log_info("containerd is back");
	read_all(reader, text, sizeof(text));
	assert_non_null(strstr(text, "lines of the log were lost here"));
	assert_null(strstr(text, "to nobody"));
	assert_non_null(strstr(text, "containerd is back"));
	assert_null(strstr(strstr(text, "lost here") + 1, "lost here"));
	log_init(STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
}

static void test_log_file(void **state)
{
	const struct box *box = *state;
	char text[100];

	assert_int_equal(mkfifoat(box->fd, "log", 0700), 0);
	assert_int_equal(mkdirat(box->fd, "work", 0700), 0);
	for (int i = 0; i < 2; i++) {
		cleanup_close int fd = fifo_log_open(box->fd);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, "x", 1), 1);
	}
	cleanup_close int fd = openat(box->fd, "work/shim.log", O_RDONLY | O_CLOEXEC);
	read_all(fd, text, sizeof(text));
	assert_string_equal(text, "xx");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_group, setup, teardown),
		cmocka_unit_test_setup_teardown(test_root, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pidfile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_file, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
