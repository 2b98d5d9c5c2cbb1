/* SPDX-License-Identifier: Apache-2.0 */

/* Trees of directories, made and removed; as root also with mounts in them. */

#include "agent/tree.h"

#include "hvsocket/base.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <cmocka.h>

static char folder[64];

static const char *in(const char *name)
{
	static char paths[8][4096];
	static unsigned next;
	char *path = paths[next++ % 8];
	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static bool exists(const char *name)
{
	struct stat st;
	return lstat(in(name), &st) == 0;
}

static void make_file(const char *name)
{
	int fd = open(in(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void make(const char *name)
{
	assert_true(make_directories(in(name), 0755) >= 0);
}

static int setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/hvrun-tree-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[96];
	(void)state;
	snprintf(command, sizeof(command), "rm -rf --one-file-system %s", folder);
	return system(command);
}

static const struct {
	const char *path;
	int result;
} made[] = {
	{"a", 1},
	{"a", 0},
	{"a/", 0},
	{"b/", 1},
	{"c//d///", 2},
	{"c/d", 0},
	{"c/./d", 0},
	{"a/b/c/d/e", 4},
	{"a/b", 0},
	{"file", -ENOTDIR},
	{"file/x", -ENOTDIR},
	{"link", 0},
	{"link/x", 1},
	{"dangling", -ENOENT},
	{"dangling/x", -ENOENT},
};

static void test_make(void **state)
{
	struct stat st;
	(void)state;
	make_file("file");
	assert_int_equal(symlink("a", in("link")), 0);
	assert_int_equal(symlink("nowhere", in("dangling")), 0);
	for (size_t i = 0; i < array_size(made); i++) {
		int r = make_directories(in(made[i].path), 0700);
		if (r != made[i].result)
			fail_msg("%s: %d", made[i].path, r);
	}
	assert_int_equal(stat(in("a/b/c"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(make_directories("/", 0700), 0);
	char longest[5000];
	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(make_directories(longest, 0700), -ENAMETOOLONG);
	assert_int_equal(remove_tree(longest, SIZE_MAX), -ENAMETOOLONG);
}

static void test_remove(void **state)
{
	(void)state;
	make("outside/kept");
	make("tree/a/b/c");
	make("tree/secret");
	make_file("tree/file");
	make_file("tree/a/b/file");
	assert_int_equal(symlink(in("outside"), in("tree/a/link")), 0);
	assert_int_equal(symlink("tree", in("name")), 0);
	assert_int_equal(mkfifo(in("tree/fifo"), 0600), 0);
	assert_int_equal(chmod(in("tree/secret"), 0700), 0);
	/* Not through a link that has the name. */
	assert_true(remove_tree(in("name"), SIZE_MAX) < 0);
	assert_true(exists("tree/file"));
	assert_int_equal(remove_tree(in("tree/"), SIZE_MAX), 0);
	assert_false(exists("tree"));
	assert_true(exists("outside/kept"));
	assert_int_equal(remove_tree(in("tree"), SIZE_MAX), 0);
	assert_int_equal(remove_tree(in("no/such/tree"), SIZE_MAX), 0);
	make_file("file");
	assert_int_equal(remove_tree(in("file"), SIZE_MAX), -ENOTDIR);
	assert_int_equal(remove_tree("/", SIZE_MAX), -EINVAL);
	assert_int_equal(remove_tree("relative", SIZE_MAX), -EINVAL);
	assert_int_equal(remove_tree("", SIZE_MAX), -EINVAL);
}

static void test_bounded(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		char name[32];
		snprintf(name, sizeof(name), "tree/%d/sub", i % 5);
		make(name);
		snprintf(name, sizeof(name), "tree/%d/sub/%d", i % 5, i);
		make_file(name);
	}
	/* 50 files and 10 directories in it. */
	int calls = 1;
	while (remove_tree(in("tree"), 7) == -EAGAIN)
		assert_in_range(++calls, 1, 60);
	assert_in_range(calls, 9, 60);
	assert_false(exists("tree"));
	make("tree/x/y");
	assert_int_equal(remove_tree(in("tree"), 1), -EAGAIN);
	assert_int_equal(remove_tree(in("tree"), 2), 0);
}

/* Too deep for us is an error, and what is beside it goes. */
static void test_deep(void **state)
{
	(void)state;
	make("tree/beside");
	int fd = open(in("tree"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 700; i++) {
		assert_int_equal(mkdirat(fd, "d", 0700), 0);
		int next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = next;
		assert_true(fd >= 0);
	}
	close(fd);
	assert_int_equal(remove_tree(in("tree"), SIZE_MAX), -ELOOP);
	assert_false(exists("tree/beside"));
}

static void test_mounts(void **state)
{
	(void)state;
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
		skip();
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	make("source/kept");
	make("tree/bound");
	make("tree/other");
	make("tree/gone");
	/* A bind mount has the device number of what surrounds it. */
	assert_int_equal(mount(in("source"), in("tree/bound"), NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount("tmpfs", in("tree/other"), "tmpfs", 0, NULL), 0);
	make_file("tree/other/file");
	assert_int_equal(remove_tree(in("tree"), SIZE_MAX), -EXDEV);
	assert_true(exists("source/kept"));
	assert_true(exists("tree/bound/kept"));
	assert_true(exists("tree/other/file"));
	assert_false(exists("tree/gone"));
	/* One that is itself a mount. */
	assert_int_equal(remove_tree(in("tree/bound"), SIZE_MAX), -EXDEV);
	assert_true(exists("source/kept"));
	assert_int_equal(umount(in("tree/bound")), 0);
	/* One on a mount. */
	make("tree/other/sub/x");
	assert_int_equal(remove_tree(in("tree/other/sub"), SIZE_MAX), 0);
	assert_int_equal(umount(in("tree/other")), 0);
	assert_int_equal(remove_tree(in("tree"), SIZE_MAX), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_make, setup, teardown),
		cmocka_unit_test_setup_teardown(test_remove, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mounts, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
