/* SPDX-License-Identifier: Apache-2.0 */

/* process.user against /etc/passwd and /etc/group of every kind, in a folder that stands for the
 * root. */

#include "agent/user.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static char folder[64];
static int root_fd = -1;

static const char passwd[] =
	"root:x:0:0:root:/root:/bin/sh\n"
	"# a comment\n"
	"\n"
	"broken\n"
	"bad:x:minus:0::/:\n"
	"huge:x:4294967295:0::/:\n"
	"web:x:1000:1001:Web:/home/web:/bin/sh\n"
	"1000:x:0:0:called like a number:/root:/bin/sh\n"
	"second:x:1000:5::/second:/bin/sh\n"
	"nohome:x:1002:1002\n"
	"last:x:1003:1003::/last:/bin/sh";
static const char group[] =
	"root:x:0:\n"
	"web:x:1001:\n"
	"audio:x:29:web,root,second\n"
	"video:x:44:,web,\n"
	"notme:x:45:webb,we\n"
	"audio2:x:29:web\n"
	"bad:x::web\n"
	"7:x:8:\n"
	"last:x:1003:last";

static void write_file(const char *name, const char *text, size_t size)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	remove(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, size), size);
	close(fd);
}

static int setup(void **state)
{
	char path[128];
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/hvrun-user-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/etc", folder);
	if (mkdir(path, 0755) < 0)
		return -1;
	root_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	write_file("etc/passwd", passwd, strlen(passwd));
	write_file("etc/group", group, strlen(group));
	return root_fd < 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
	(void)stat;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	close_fd(&root_fd);
	return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const struct resolved {
	struct oci_user asked;
	uid_t uid;
	gid_t gid;
	size_t count;
	gid_t groups[4];
} resolved[] = {
	{ { .uid = 5, .gid = 6 }, 5, 6, 0, { 0 } },
	/* Numbers from the spec are taken as they are. */
	{ { .uid = 1000, .gid = 0 }, 1000, 0, 0, { 0 } },
	{ { .uid = 4294967294, .gid = 4294967294 }, 4294967294, 4294967294, 0, { 0 } },
	{ { .username = "root" }, 0, 0, 1, { 29 } },
	{ { .username = "web" }, 1000, 1001, 2, { 29, 44 } },
	{ { .username = "last" }, 1003, 1003, 1, { 1003 } },
	{ { .uid = 9, .gid = 9, .username = "web" }, 1000, 1001, 2, { 29, 44 } },
	/* A number is a number, never the name of an entry; its entry gives group and
	 * memberships. */
	{ { .username = "1000" }, 1000, 1001, 2, { 29, 44 } },
	{ { .username = "0" }, 0, 0, 1, { 29 } },
	{ { .username = "1" }, 1, 0, 0, { 0 } },
	{ { .username = "4294967294" }, 4294967294, 0, 0, { 0 } },
	{ { .username = "web:audio" }, 1000, 29, 0, { 0 } },
	{ { .username = "web:7" }, 1000, 7, 0, { 0 } },
	{ { .username = "77:78" }, 77, 78, 0, { 0 } },
	{ { .username = "web:" }, 1000, 1001, 2, { 29, 44 } },
	{ { .username = ":audio" }, 0, 29, 0, { 0 } },
	{ { .username = "second" }, 1000, 5, 1, { 29 } },
};

static void test_resolved(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(resolved); i++) {
		struct user user = USER_NULL;
		struct fault fault = FAULT_NULL;
		if (user_resolve(root_fd, &resolved[i].asked, &user, &fault) < 0)
			fail_msg("%zu: %s", i, fault.text);
		assert_int_equal(user.uid, resolved[i].uid);
		assert_int_equal(user.gid, resolved[i].gid);
		assert_int_equal(user.group_count, resolved[i].count);
		if (user.group_count)
			assert_memory_equal(user.groups, resolved[i].groups,
			                    user.group_count * sizeof(gid_t));
		user_deinit(&user);
	}
}

static void test_additional_groups(void **state)
{
	uint32_t gids[] = { 5, 29, 5, 6 };
	static const gid_t expected[] = { 5, 6, 29, 44 };
	struct oci_user asked = {.username = "web", .additional_gids = {array_size(gids), gids}};
	struct user user = USER_NULL;
	(void)state;
	assert_int_equal(user_resolve(root_fd, &asked, &user, NULL), 0);
	assert_int_equal(user.group_count, array_size(expected));
	assert_memory_equal(user.groups, expected, sizeof(expected));
	user_deinit(&user);
}

static void test_too_many_groups(void **state)
{
	cleanup_free uint32_t *gids = calloc(USER_GROUPS_MAX + 1, sizeof(*gids));
	struct oci_user asked = { .additional_gids = { USER_GROUPS_MAX + 1, gids } };
	struct user user = USER_NULL;
	struct fault fault = FAULT_NULL;
	(void)state;
	assert_int_equal(user_resolve(root_fd, &asked, &user, &fault), -E2BIG);
	assert_string_equal(fault.text, "user: 65537 additional groups: argument list too long");
	asked.additional_gids.count--;
	assert_int_equal(user_resolve(root_fd, &asked, &user, &fault), 0);
	assert_int_equal(user.group_count, 1);
	user_deinit(&user);
}

static const struct refused {
	struct oci_user asked;
	const char *text;
} refused[] = {
	{{.username = "ghost"}, "user \"ghost\": not in the container's /etc/passwd"},
	{{.username = "we"}, "user \"we\": not in the container's /etc/passwd"},
	{{.username = "huge"}, "user \"huge\": not in the container's /etc/passwd"},
	{{.username = "bad"}, "user \"bad\": not in the container's /etc/passwd"},
	{{.username = "-1"}, "user \"-1\": not in the container's /etc/passwd"},
	{{.username = "0x0"}, "user \"0x0\": not in the container's /etc/passwd"},
	{{.username = "4294967295"}, "user \"4294967295\": not a user id"},
	{{.username = "4294967296"}, "user \"4294967296\": not a user id"},
	{{.username = "99999999999999999999999999"},
	 "user \"99999999999999999999999999\": not a user id"},
	{{.username = "web:ghost"}, "group \"ghost\": not in the container's /etc/group"},
	{{.username = "web:4294967296"}, "group \"4294967296\": not in the container's /etc/group"},
	{{.uid = UINT32_MAX}, "user 4294967295:0: not an id"},
	{{.gid = UINT32_MAX}, "user 0:4294967295: not an id"},
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(refused); i++) {
		struct user user = USER_NULL;
		struct fault fault = FAULT_NULL;
		assert_true(user_resolve(root_fd, &refused[i].asked, &user, &fault) < 0);
		assert_string_equal(fault.text, refused[i].text);
	}
}

static void test_home(void **state)
{
	static const struct {
		uid_t uid;
		const char *home;
	} homes[] = {{0, "/root"}, {1000, "/home/web"}, {1002, "/"}, {1003, "/last"}, {5, "/"}};
	(void)state;
	for (size_t i = 0; i < array_size(homes); i++) {
		cleanup_free char *home = user_home(root_fd, homes[i].uid);
		assert_string_equal(home, homes[i].home);
	}
}

/* Files that an image may have instead. */
static void test_odd_files(void **state)
{
	struct oci_user name = { .username = "web" }, number = { .username = "5" };
	struct user user = USER_NULL;
	struct fault fault = FAULT_NULL;
	char path[128];
	(void)state;
	snprintf(path, sizeof(path), "%s/etc/passwd", folder);

	assert_int_equal(remove(path), 0);
	assert_int_equal(user_resolve(root_fd, &name, &user, &fault), -ENOENT);
	assert_int_equal(user_resolve(root_fd, &number, &user, &fault), 0);
	assert_int_equal(user.uid, 5);

	/* A link out of the root ends inside of it. */
	write_file("outside", "web:x:4:4::/:\n", 14);
	assert_int_equal(symlink("../../../../../outside", path), 0);
	assert_int_equal(user_resolve(root_fd, &name, &user, &fault), 0);
	assert_int_equal(user.uid, 4);
	user_deinit(&user);

	assert_int_equal(remove(path), 0);
	assert_int_equal(symlink("/proc/self/root/etc/passwd", path), 0);
	assert_true(user_resolve(root_fd, &name, &user, &fault) < 0);

	assert_int_equal(remove(path), 0);
	assert_int_equal(mkfifo(path, 0644), 0);
	assert_int_equal(user_resolve(root_fd, &name, &user, &fault), -EINVAL);
	assert_string_equal(fault.text,
			    "user \"web\": the container's /etc/passwd: invalid argument");

	assert_int_equal(remove(path), 0);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(user_resolve(root_fd, &name, &user, &fault), -EINVAL);

	write_file("etc/passwd", "", 0);
	assert_int_equal(truncate(path, (off_t)1 << 40), 0);
	assert_int_equal(user_resolve(root_fd, &name, &user, &fault), -EFBIG);
	cleanup_free char *home = user_home(root_fd, 0);
	assert_string_equal(home, "/");

	/* NUL bytes end what is read. */
	static const char nul[] = "a:x:1:1::/:\n\0web:x:4:4::/:\n";
	write_file("etc/passwd", nul, sizeof(nul));
	assert_int_equal(user_resolve(root_fd, &name, &user, &fault), -ENOENT);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resolved),
		cmocka_unit_test(test_additional_groups),
		cmocka_unit_test(test_too_many_groups),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_home),
		cmocka_unit_test(test_odd_files),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
