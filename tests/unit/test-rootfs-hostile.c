/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Images that lead elsewhere, and specs that cannot be had. Every case must either work inside of
 * the root or fail with one line; box_deinit() sees to it that the host's folder holds what it
 * held. Needs root.
 */

#include "tests/unit/rootfs-box.h"

#include "oci/path.h"

#include <linux/magic.h>
#include <sys/sysmacros.h>

#define HOST "<host>"           /* in a link: the host's folder */

struct link {
	const char *path, *target;      /* in the root; target NULL = a folder, "" = a file */
};

/* One hostile image with one mount or device to be made in it. */
static const struct hostile {
	const char *name;
	struct link links[4];
	struct oci_mount mount;
	struct oci_device device;
	const char *fault;      /* NULL = it works, and stays inside */
	const char *inside;     /* … where this path, from the root and through no link, exists */
} hostiles[] = {
	{ "proc is a link",
	  { { "proc", HOST } },
	  .mount = { .destination = "/proc", .type = "proc" },
	  .fault = "mount \"proc\" on \"/proc\": too many levels of symbolic links "
		   "(not an ordinary directory)" },
	{ "proc is a link inside",
	  { { "proc", "/etc" } },
	  .mount = { .destination = "/proc", .type = "proc" },
	  .fault = "mount \"proc\" on \"/proc\": too many levels of symbolic links "
		   "(not an ordinary directory)" },
	{ "proc is a file",
	  { { "proc", "" } },
	  .mount = { .destination = "/proc", .type = "proc" },
	  .fault = "mount \"proc\" on \"/proc\": not a directory (not an ordinary directory)" },
	{ "sys is a link",
	  { { "sys", "/etc" } },
	  .mount = { .destination = "/sys", .type = "sysfs", .options = WORDS("ro") },
	  .fault = "mount \"sysfs\" on \"/sys\": too many levels of symbolic links "
		   "(not an ordinary directory)" },
	{ "dev is an absolute link to the host",
	  { { "dev", HOST } },
	  .mount = { .destination = "/dev", .type = "tmpfs" },
	  .inside = "<host>/null" },
	{ "dev is a relative link to the host",
	  { { "dev", "../../host" } },
	  .mount = { .destination = "/dev", .type = "tmpfs" },
	  .inside = "host/null" },
	{ "dev is the root",
	  { { "dev", "/" } },
	  .mount = { .destination = "/dev", .type = "tmpfs" },
	  .fault = "mount \"tmpfs\" on \"/dev\": invalid argument "
		   "(it is the root of the container)" },
	{ "dev is the root, from below",
	  { { "dev", "../../../../../../.." } },
	  .mount = { .destination = "/dev", .type = "tmpfs" },
	  .fault = "mount \"tmpfs\" on \"/dev\": invalid argument "
		   "(it is the root of the container)" },
	{ "dev leads to itself",
	  { { "dev", "dev" } },
	  .mount = { .destination = "/dev", .type = "tmpfs" },
	  .fault = "mount \"tmpfs\" on \"/dev\": too many levels of symbolic links" },
	{ "links in a ring, none of them whole",
	  { { "a", "/b/x" }, { "b", "/a/y" } },
	  .mount = { .destination = "/a/b", .type = "tmpfs" },
	  .fault = "mount \"tmpfs\" on \"/a/b\": too many levels of symbolic links" },
	{ "dev of the image is a link to the host",
	  { { "dev", HOST } },
	  .inside = "<host>/null" },
	{ "null is a link to the host",
	  { { "dev", NULL }, { "dev/null", HOST "/canary" } },
	  .fault = "device \"/dev/null\": the image has something else there" },
	{ "null is a file",
	  { { "dev", NULL }, { "dev/null", "" } },
	  .fault = "device \"/dev/null\": the image has something else there" },
	{ "tty is a link to null",
	  { { "dev", NULL }, { "dev/tty", "null" } },
	  .fault = "device \"/dev/tty\": the image has something else there" },
	{ "ptmx and fd are links to the host",
	  { { "dev", NULL }, { "dev/ptmx", HOST "/canary" }, { "dev/fd", HOST } },
	  .inside = "dev/null" },
	{ "console is a link to the host",
	  { { "dev", NULL }, { "dev/console", HOST "/new" } },
	  .inside = "dev/null" },
	{ "pts is a link to the host",
	  { { "dev", NULL }, { "dev/pts", HOST } },
	  .mount = { .destination = "/dev/pts", .type = "devpts",
		     .options = WORDS("newinstance", "ptmxmode=0666") },
	  .inside = "<host>/ptmx" },
	{ "a device below a link to the host",
	  { { "dev", NULL }, { "dev/sub", HOST } },
	  .device = { .type = 'c', .path = "/dev/sub/full", .major = 1, .minor = 7 },
	  .inside = "<host>/full" },
	{ "a device above the root",
	  .device = { .type = 'c', .path = "/../../../../host/full", .major = 1, .minor = 7 },
	  .inside = "host/full" },
	{ "a device without a name",
	  .device = { .type = 'c', .path = "/dev/..", .major = 1, .minor = 7 },
	  .fault = "device \"/dev/..\": invalid argument" },
	{ "a file bound through a dangling link",
	  { { "etc/resolv.conf", "../run/systemd/resolve/stub" } },
	  .mount = { .destination = "/etc/resolv.conf", .source = "data/file",
		     .options = WORDS("bind") },
	  .inside = "run/systemd/resolve/stub" },
	{ "a file bound through a link to the host",
	  { { "etc/resolv.conf", HOST "/new" } },
	  .mount = { .destination = "/etc/resolv.conf", .source = "data/file",
		     .options = WORDS("bind") },
	  .inside = "<host>/new" },
	{ "a folder bound below a link to the host",
	  { { "vol", HOST } },
	  .mount = { .destination = "/vol/sub/folder", .source = "data",
		     .options = WORDS("bind") },
	  .inside = "<host>/sub/folder/file" },
	{ "a destination above the root",
	  .mount = { .destination = "/../../../host/sub", .source = "data",
		     .options = WORDS("bind") },
	  .inside = "host/sub/file" },
	{ "tmpcopyup of a link to the host",
	  { { "copy", HOST } },
	  .mount = { .destination = "/copy", .type = "tmpfs", .options = WORDS("tmpcopyup") },
	  .inside = "<host>" },
	{ "the root itself",
	  .mount = { .destination = "/", .source = "data", .options = WORDS("bind") },
	  .fault = "mount \"data\" on \"/\": invalid argument (it is the root of the container)" },
	{ "a folder on a file",
	  { { "file", "" } },
	  .mount = { .destination = "/file", .source = "data", .options = WORDS("bind") },
	  .fault = "mount \"data\" on \"/file\": not a directory" },
	{ "a file on a folder",
	  .mount = { .destination = "/etc", .source = "data/file", .options = WORDS("bind") },
	  .fault = "mount \"data/file\" on \"/etc\": is a directory" },
	{ "a folder below a file",
	  { { "file", "" } },
	  .mount = { .destination = "/file/x", .source = "data", .options = WORDS("bind") },
	  .fault = "mount \"data\" on \"/file/x\": not a directory" },
	{ "no source",
	  .mount = { .destination = "/mnt/data", .source = "/no/such", .options = WORDS("bind") },
	  .fault = "mount \"/no/such\" on \"/mnt/data\": no such file or directory" },
	{ "no type",
	  .mount = { .destination = "/x", .source = "data" },
	  .fault = "mount \"data\" on \"/x\": invalid argument "
		   "(neither a type nor a bind mount)" },
	{ "an unknown type",
	  .mount = { .destination = "/x", .type = "nosuchfs", .source = "none" },
	  .fault = "mount \"none\" on \"/x\": no such device (unknown file system type \"nosuchfs\")" },
	{ "an unknown option",
	  .mount = { .destination = "/x", .type = "tmpfs", .options = WORDS("nosuch=1") },
	  .fault = "mount \"tmpfs\" on \"/x\": invalid argument "
		   "(tmpfs: Unknown parameter 'nosuch')" },
	{ "tmpcopyup of a bind mount",
	  .mount = { .destination = "/x", .source = "data", .options = WORDS("bind", "tmpcopyup") },
	  .fault = "mount \"data\" on \"/x\": invalid argument "
		   "(options that contradict one another)" },
	{ "something else at /proc",
	  .mount = { .destination = "/proc", .type = "tmpfs" },
	  .fault = "mount \"tmpfs\" on \"/proc\": operation not permitted "
		   "(not a proc file system)" },
	{ "something else at /proc, spelt otherwise",
	  .mount = { .destination = "//x/../proc/.", .source = "data", .options = WORDS("bind") },
	  .fault = "mount \"data\" on \"//x/../proc/.\": operation not permitted "
		   "(not a proc file system)" },
	{ "remount of what is no mount",
	  .mount = { .destination = "/etc", .options = WORDS("remount", "bind", "ro") },
	  .fault = "mount \"none\" on \"/etc\": invalid argument (not a mount of the container)" },
};
static const struct hostile *hostile;

/* The text with the host's folder for HOST, in a buffer of its own. */
static const char *expand(const struct box *box, const char *text, char *buffer, size_t size)
{
	if (!strncmp(text, HOST, strlen(HOST)))
		snprintf(buffer, size, "%s/host%s", box->dir, text + strlen(HOST));
	else
		snprintf(buffer, size, "%s", text);
	return buffer;
}

static void make_links(struct box *box)
{
	int root_fd = open(box_path(box, "bundle/rootfs"), O_PATH | O_DIRECTORY);
	for (size_t i = 0; i < array_size(hostile->links) && hostile->links[i].path; i++) {
		const struct link *link = &hostile->links[i];
		char target[256];
		if (!link->target)
			check(mkdirat(root_fd, link->path, 0755) == 0);
		else if (!*link->target)
			check(mknodat(root_fd, link->path, S_IFREG | 0644, 0) == 0);
		else
			check(symlinkat(expand(box, link->target, target, sizeof(target)), root_fd,
			                link->path) == 0);
	}
	close(root_fd);
}

static void body_hostile(struct box *box)
{
	struct oci_mount mount = hostile->mount;
	struct oci_device device = hostile->device;
	char inside[256];
	const struct oci_spec spec = {
		.mounts = { mount.destination ? 1 : 0, &mount },
		.linux_ = { NAMESPACES(MOUNT_NS), .devices = { device.path ? 1 : 0, &device } },
		.process = &(struct oci_process){ .terminal = true },
	};
	make_links(box);
	int r = box_mount(box, spec);
	if (hostile->fault) {
		check(r < 0);
		if (strcmp(box->fault.text, hostile->fault) != 0)
			box_fail(box, __FILE__, __LINE__, hostile->fault);
		return;
	}
	check(r == 0 && rootfs_enter(&box->rootfs, &box->fault) == 0);
	const char *path = expand(box, hostile->inside, inside, sizeof(inside));
	int fd = path_open(box->rootfs.fd, path, O_PATH, RESOLVE_NO_SYMLINKS);
	check(fd >= 0);
	/* What stands there as /dev/console is bound on only if it is no link. */
	struct stat stat;
	int tty = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (lstat("/dev/console", &stat) == 0 && S_ISLNK(stat.st_mode))
		check(rootfs_console(tty, &box->fault) < 0);
	else
		check(tty < 0 || rootfs_console(tty, &box->fault) == 0);
	rootfs_deinit(&box->rootfs);
}

static void test_hostile(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(hostiles); i++) {
		struct box box;
		hostile = &hostiles[i];
		box_init(&box);
		fprintf(stderr, "# %s\n", hostile->name);
		box_run(&box, 0, body_hostile);
		box_deinit(&box);
	}
}

/* Places inside of /proc, with a procfs there. */
static void body_inside_proc(struct box *box)
{
	static const struct { const char *destination; int error; } places[] = {
		{ "/proc/cpuinfo", 0 },
		{ "/proc/../proc//meminfo", 0 },
		{ "/proc/self/attr/exec", -EPERM },
		{ "/proc/sys/kernel/hostname", -EPERM },
		{ "/link", -EPERM },
		{ "/proc/self/root/etc/passwd", -ELOOP },
	};
	check(symlink("/proc/sys/kernel/core_pattern", box_path(box, "bundle/rootfs/link")) == 0);
	for (size_t i = 0; i < array_size(places); i++) {
		struct oci_mount mounts[] = {
			{ .destination = "/proc", .type = "proc" },
			{ .destination = places[i].destination, .source = "data/file",
			  .options = WORDS("bind") },
		};
		const struct oci_spec spec = {
			.mounts = { 2, mounts }, .linux_ = { NAMESPACES(MOUNT_NS) },
		};
		check(box_mount(box, spec) == places[i].error);
		rootfs_deinit(&box->rootfs);
	}
}

/* /dev/null that has become something else does not end up on what was to be masked. */
static void body_false_null(struct box *box)
{
	const struct oci_spec spec = {
		.linux_ = { NAMESPACES(MOUNT_NS), .masked_paths = WORDS("/etc/secret") },
	};
	box_write(box, box_path(box, "bundle/rootfs/etc/secret"), "secret");
	check(box_mount(box, spec) == 0 && rootfs_enter(&box->rootfs, &box->fault) == 0);
	check(unlink("/dev/null") == 0 && symlink("/etc/other", "/dev/null") == 0);
	check(rootfs_seal(&box->spec, &box->fault) == -ENODEV);
	check(unlink("/dev/null") == 0);
	check(mknod("/dev/null", S_IFCHR | 0666, makedev(1, 5)) == 0);
	check(rootfs_seal(&box->spec, &box->fault) == -ENODEV);
	check(!strcmp(box->fault.text, "masked path \"/etc/secret\": null device \"/dev/null\": "
	              "no such device"));
	check(unlink("/dev/null") == 0);
	check(mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)) == 0);
	check(rootfs_seal(&box->spec, &box->fault) == 0);
	check(box_is_device("/etc/secret", makedev(1, 3)));
}

/* A terminal comes from a devpts, not from a file that is called ptmx. */
static void body_false_pts(struct box *box)
{
	const struct oci_spec spec = { .linux_ = { NAMESPACES(MOUNT_NS) } };
	int master, slave;
	check(mkdir(box_path(box, "bundle/rootfs/dev"), 0755) == 0);
	check(mkdir(box_path(box, "bundle/rootfs/dev/pts"), 0755) == 0);
	box_write(box, box_path(box, "bundle/rootfs/dev/pts/ptmx"), "");
	check(box_mount(box, spec) == 0 && rootfs_enter(&box->rootfs, &box->fault) == 0);
	check(rootfs_open_pty(&master, &slave, &box->fault) == -ENODEV);
}

static int setup(void **state)
{
	static struct box box;
	box_init(&box);
	*state = &box;
	return 0;
}

static int teardown(void **state)
{
	box_deinit(*state);
	return 0;
}

#define RUN(name) \
	static void test_##name(void **state) \
	{ \
		box_run(*state, 0, body_##name); \
	}
RUN(inside_proc)
RUN(false_null)
RUN(false_pts)

/* By the text alone. */
static void test_clean(void **state)
{
	(void)state;
	static const struct { const char *path, *clean; } rows[] = {
		{ "", "/" }, { "/", "/" }, { "a", "/a" }, { "//a//b/", "/a/b" },
		{ "/./a/./b/.", "/a/b" }, { "/a/../b", "/b" }, { "/../../a", "/a" },
		{ "/a/b/../..", "/" }, { "/..a/.b", "/..a/.b" }, { "/a/...", "/a/..." },
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		char text[32], exact[4];
		assert_int_equal(path_clean(rows[i].path, text, sizeof(text)), 0);
		assert_string_equal(text, rows[i].clean);
		assert_true(path_equal(rows[i].path, rows[i].clean));
		assert_int_equal(path_clean("/abc", exact, sizeof(exact)), -ENAMETOOLONG);
		assert_int_equal(path_clean("/ab", exact, sizeof(exact)), 0);
	}
}

int main(void)
{
#define ROW(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile), ROW(inside_proc), ROW(false_null), ROW(false_pts),
		cmocka_unit_test(test_clean),
	};
	if (!box_possible())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
