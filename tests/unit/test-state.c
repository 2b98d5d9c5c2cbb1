/* SPDX-License-Identifier: Apache-2.0 */

/* The state directory on a real file system. */

#include "shim/state.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

struct fixture {
	char directory[40], root[60];
	struct state state;
	struct fault fault;
	struct arena arena;
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/test-state-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->root, sizeof(fixture->root), "%s/a/root", fixture->directory);
	assert_int_equal(state_open(&fixture->state, fixture->root, &fixture->fault), 0);
	fixture->arena = (struct arena)ARENA(1 << 20);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	static const char *const folders[] = {
		"/a/root/containers", "/a/root/partitions", "/a/root", "/a", "",
	};
	char path[100];

	for (size_t i = 0; i < array_size(folders); i++) {
		snprintf(path, sizeof(path), "%s%s", fixture->directory, folders[i]);
		assert_int_equal(rmdir(path), 0);
	}
	state_close(&fixture->state);
	arena_free(&fixture->arena);
	free(fixture);
	return 0;
}

static mode_t mode_of(const char *path)
{
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

static void test_open(void **state)
{
	struct fixture *fixture = *state;
	struct state other = STATE_NULL;
	char path[100];

	assert_string_equal(fixture->state.root, fixture->root);
	assert_int_equal(mode_of(fixture->root), 0700);
	snprintf(path, sizeof(path), "%s/containers", fixture->root);
	assert_int_equal(mode_of(path), 0700);
	/* Again, by another spelling; the root is what it really is. */
	snprintf(path, sizeof(path), "%s/./../root", fixture->root);
	assert_int_equal(state_open(&other, path, &fixture->fault), 0);
	assert_string_equal(other.root, fixture->root);
	state_close(&other);
	state_close(&other);

	assert_int_equal(chmod(fixture->root, 0770), 0);
	assert_int_equal(state_open(&other, fixture->root, &fixture->fault), -EPERM);
	assert_non_null(strstr(fixture->fault.text, "others can write"));
	assert_int_equal(chmod(fixture->root, 0700), 0);
	assert_int_equal(state_open(&other, "/proc/nowhere", &fixture->fault), -ENOENT);
	assert_int_equal(state_open(&other, "/dev/null", &fixture->fault), -ENOTDIR);
	assert_int_equal(state_open(&other, "", &fixture->fault), -ENOENT);
}

static void test_ids(void **state)
{
	static const char *const bad[] = {
		"", ".", "..", "a/b", "../a", "/a", "a b", "a\n", "\xc3\xa4", "a%", "*",
	};
	static const char *const good[] = { "a", "A-b_c.d+1", "...", "-x", ".a" };
	struct fixture *fixture = *state;
	char longest[300];
	int fd;

	for (size_t i = 0; i < array_size(bad); i++) {
		assert_int_equal(state_container_make(&fixture->state, bad[i], &fd,
		                                      &fixture->fault), -EINVAL);
		assert_int_equal(state_partition_open(&fixture->state, bad[i], &fd,
		                                      &fixture->fault), -EINVAL);
		assert_int_equal(state_container_remove(&fixture->state, bad[i]), -EINVAL);
	}
	for (size_t i = 0; i < array_size(good); i++) {
		assert_int_equal(state_container_make(&fixture->state, good[i], &fd,
		                                      &fixture->fault), 0);
		close(fd);
		assert_int_equal(state_container_remove(&fixture->state, good[i]), 0);
	}
	memset(longest, 'x', sizeof(longest));
	longest[201] = '\0';
	assert_int_equal(state_container_make(&fixture->state, longest, &fd, NULL), -EINVAL);
	longest[200] = '\0';
	assert_int_equal(state_container_make(&fixture->state, longest, &fd, NULL), 0);
	close(fd);
	assert_int_equal(state_container_remove(&fixture->state, longest), 0);
}

static void test_containers(void **state)
{
	struct fixture *fixture = *state;
	struct str_pair annotation = { "key", "value" };
	struct container_record record = {
		.id = "c1", .partition = "p1", .bundle = "/b", .rootfs = "/b/rootfs",
		.created = "2026-11-22T00:00:00Z", .log_path = "/l", .log_files = 4,
		.cgroups_path = "/x", .terminal = true, .oci_version = "1.2.0",
		.annotations = { 1, &annotation },
	}, read = { 0 };
	struct state *st = &fixture->state;
	int fd, again;

	assert_int_equal(state_container_open(st, "c1", &fd, &fixture->fault), -ENOENT);
	assert_string_equal(fixture->fault.text, "container \"c1\" does not exist");
	assert_int_equal(fixture->fault.hresult, HRESULT_NO_SUCH_CONTAINER);
	assert_int_equal(state_container_make(st, "c1", &fd, &fixture->fault), 0);
	assert_int_equal(state_container_make(st, "c1", &again, &fixture->fault), -EEXIST);
	assert_string_equal(fixture->fault.text, "container \"c1\" exists already");
	assert_int_equal(fixture->fault.hresult, HRESULT_CONTAINER_EXISTS);

	/* Between its folder and its record. */
	assert_int_equal(state_container_load(st, "c1", &fixture->arena, &read, &fixture->fault),
	                 -ENOENT);
	assert_int_equal(state_container_save(fd, &record), 0);
	assert_int_equal(state_container_load(st, "c1", &fixture->arena, &read, &fixture->fault),
	                 0);
	assert_string_equal(read.partition, "p1");
	assert_string_equal(read.annotations.item[0].value, "value");
	assert_int_equal(read.log_files, 4);
	assert_true(read.terminal);
	assert_null(read.owner);

	assert_int_equal(state_write_file(fd, "state.json", "{\"Id\":", 6), 0);
	assert_int_equal(state_container_load(st, "c1", &fixture->arena, &read, &fixture->fault),
	                 -EINVAL);
	assert_non_null(strstr(fixture->fault.text, "container \"c1\": state.json: "));
	assert_int_equal(state_write_file(fd, "config.json", "{}", 2), 0);
	close(fd);
	assert_int_equal(state_container_remove(st, "c1"), 0);
	assert_int_equal(state_container_remove(st, "c1"), -ENOENT);
}

static void test_partitions(void **state)
{
	struct fixture *fixture = *state;
	struct partition_record record = {
		.driver = "local", .pid = 17, .start_time = 1ull << 60, .agent_pid = 18,
	}, read = { 0 };
	struct str_list names;
	int fd;

	assert_int_equal(state_partition_make(&fixture->state, "p1", &fd, &fixture->fault), 0);
	assert_int_equal(state_partition_save(fd, &record), 0);
	close(fd);
	assert_int_equal(state_partition_make(&fixture->state, "a", &fd, &fixture->fault), 0);
	close(fd);
	assert_int_equal(state_partition_load(&fixture->state, "p1", &fixture->arena, &read,
	                                      &fixture->fault), 0);
	assert_true(read.start_time == 1ull << 60);
	assert_int_equal(state_names(&fixture->state, "partitions", &fixture->arena, &names), 0);
	assert_int_equal(names.count, 2);
	assert_string_equal(names.item[0], "a");
	assert_string_equal(names.item[1], "p1");
	assert_int_equal(state_names(&fixture->state, "containers", &fixture->arena, &names), 0);
	assert_int_equal(names.count, 0);
	assert_int_equal(state_partition_remove(&fixture->state, "p1"), 0);
	assert_int_equal(state_partition_remove(&fixture->state, "a"), 0);
}

/* Files are whole, and nothing is followed. */
static void test_files(void **state)
{
	struct fixture *fixture = *state;
	const char *text;
	size_t size;
	int fd;

	assert_int_equal(state_container_make(&fixture->state, "c", &fd, NULL), 0);
	assert_int_equal(state_write_file(fd, "f", "first", 5), 0);
	assert_int_equal(state_write_file(fd, "f", "2", 1), 0);
	assert_int_equal(state_read_file(fd, "f", &fixture->arena, 10, &text, &size), 0);
	assert_int_equal(size, 1);
	assert_string_equal(text, "2");
	assert_int_equal(state_read_file(fd, "f", &fixture->arena, 0, &text, &size), -EFBIG);
	assert_int_equal(symlinkat("/etc/passwd", fd, "link"), 0);
	assert_int_equal(state_read_file(fd, "link", &fixture->arena, 1 << 16, &text, &size),
	                 -ELOOP);
	assert_int_equal(mkdirat(fd, "d", 0700), 0);
	assert_int_equal(state_read_file(fd, "d", &fixture->arena, 10, &text, &size), -EINVAL);
	assert_int_equal(unlinkat(fd, "d", AT_REMOVEDIR), 0);
	close(fd);
	assert_int_equal(state_container_remove(&fixture->state, "c"), 0);
}

static void test_start_time(void **state)
{
	bool zombie = true;
	(void)state;

	uint64_t own = process_start_time(getpid(), &zombie);
	assert_true(own > 0);
	assert_false(zombie);
	assert_true(own == process_start_time(getpid(), NULL));
	pid_t child = fork();
	if (!child)
		_exit(0);
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	assert_true(process_start_time(child, &zombie) >= own);
	assert_true(zombie);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(process_start_time(child, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_open, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ids, setup, teardown),
		cmocka_unit_test_setup_teardown(test_containers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_partitions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test(test_start_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
