/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Shares between two mount namespaces: a caller's, where the files of the host are, and one that
 * stands for the sandbox process, where the share is. One process goes back and forth.
 */

#include "oci/mountapi.h"
#include "shim/share.h"

#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <cmocka.h>

#define NAME "c1.77"

static const struct partition_driver driver = { .name = "fake", .shares = true };

struct fixture {
	char dir[64];                   /* host/, host/rootfs, partition/share */
	char directory[96];
	struct partition partition;
	struct share *share;
	struct arena arena;
	struct oci_spec spec;
	struct fault fault;
	int caller_ns, sandbox_ns;
	unsigned given;
};

#define WORDS(...) \
	{ sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *), \
	  (const char *[]){ __VA_ARGS__ } }
#define MOUNTS(...) \
	.mounts = { sizeof((struct oci_mount[]){ __VA_ARGS__ }) / sizeof(struct oci_mount), \
		    (struct oci_mount[]){ __VA_ARGS__ } }
#define DEV { .destination = "/dev", .type = "tmpfs", .source = "tmpfs" }

#define check(condition) \
	do { \
		if (!(condition)) \
			fail_in_child(fixture, __LINE__, #condition); \
	} while (0)

_Noreturn static void fail_in_child(const struct fixture *fixture, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s: %s [%s]\n", __FILE__, line, what, strerror(errno),
	        fixture->fault.text);
	_exit(1);
}

/* A path of the temporary folder; the buffers go round. */
static const char *at(const struct fixture *fixture, const char *name)
{
	static char text[8][256];
	static unsigned turn;
	char *path = text[turn++ % 8];

	snprintf(path, sizeof(text[0]), "%s/%s", fixture->dir, name);
	return path;
}

/* Where the guest would see it. */
static const char *shared(const struct fixture *fixture, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "partition/share/" NAME "/%s", name);
	return at(fixture, path);
}

static void put(const struct fixture *fixture, const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static bool holds(const char *path, const char *text)
{
	char got[64];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof(got));

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) && !memcmp(got, text, (size_t)n);
}

static bool is_dir(const char *path)
{
	struct stat stat;

	return lstat(path, &stat) == 0 && S_ISDIR(stat.st_mode);
}

static bool is_gone(const char *path)
{
	return access(path, F_OK) < 0 && errno == ENOENT;
}

/* Of what can be done there: -EROFS, or 0 and it is done. */
static int try_write(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static void go(const struct fixture *fixture, int namespace)
{
	check(setns(namespace, CLONE_NEWNS) == 0);
}

static int open_namespace(void)
{
	return open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
}

static void tmpfs(const struct fixture *fixture, const char *path, unsigned long propagation)
{
	check(sys_mount("tmpfs", path, "tmpfs", 0, NULL) == 0);
	check(sys_mount(NULL, path, NULL, propagation, NULL) == 0);
}

static void set_up(struct fixture *fixture)
{
	static const char *const folders[] = {
		"host", "host/rootfs", "host/rootfs/etc", "host/data", "host/data/sub", "partition",
		"partition/share",
	};

	fixture->arena = (struct arena)ARENA(JSON_ARENA);
	for (size_t i = 0; i < array_size(folders); i++)
		check(mkdir(at(fixture, folders[i]), 0755) == 0);
	put(fixture, at(fixture, "host/file"), "file");
	put(fixture, at(fixture, "host/data/file"), "data");
	put(fixture, at(fixture, "host/rootfs/etc/os"), "os");
	snprintf(fixture->directory, sizeof(fixture->directory), "%s/partition", fixture->dir);
	fixture->partition = (struct partition)PARTITION_NULL;
	fixture->partition.driver = &driver;
	fixture->partition.directory = fixture->directory;
	/* The caller's mounts are shared, as systemd has it. */
	check(unshare(CLONE_NEWNS) == 0);
	check(sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	check(sys_mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) == 0);
	fixture->caller_ns = open_namespace();
	check(unshare(CLONE_NEWNS) == 0);
	check(sys_mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0);
	fixture->sandbox_ns = open_namespace();
	check(sys_mount("tmpfs", at(fixture, "partition/share"), "tmpfs", 0, NULL) == 0);
	fixture->partition.share_fd = (int)syscall(SYS_open_tree, AT_FDCWD,
	                                           at(fixture, "partition/share"),
	                                           OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	check(fixture->partition.share_fd >= 0);
	check(sys_mount(NULL, at(fixture, "partition/share"), NULL,
	                MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0);
	check(sys_mount(NULL, at(fixture, "partition/share"), NULL, MS_SHARED, NULL) == 0);
	check(share_new(&fixture->partition, NAME, &fixture->share, &fixture->fault) == 0);
	go(fixture, fixture->caller_ns);
	fixture->spec.has_root = true;
	fixture->spec.root.path = at(fixture, "host/rootfs");
}

/* What the sandbox process does with a tree that it is sent. */
static int give(const struct share_tree *tree, void *context, struct fault *fault)
{
	struct fixture *fixture = context;

	fixture->given++;
	go(fixture, fixture->sandbox_ns);
	int r = share_add(fixture->share, tree->entry, tree->fd, tree->file, fault);
	go(fixture, fixture->caller_ns);
	return r;
}

static int share(struct fixture *fixture)
{
	return share_spec(&fixture->spec, NAME, &fixture->arena, give, fixture, &fixture->fault);
}

/* Nothing is left, and the host's files are untouched. */
static void take_down(struct fixture *fixture)
{
	go(fixture, fixture->sandbox_ns);
	share_free(fixture->share);
	check(is_gone(at(fixture, "partition/share/" NAME)));
	go(fixture, fixture->caller_ns);
	check(holds(at(fixture, "host/data/file"), "data"));
	check(holds(at(fixture, "host/rootfs/etc/os"), "os"));
	arena_free(&fixture->arena);
}

static void kinds(struct fixture *fixture)
{
	fixture->spec = (struct oci_spec){
		MOUNTS({ .destination = "/proc", .type = "proc", .source = "proc" },
		       { .destination = "/data", .type = "bind", .source = at(fixture, "host/data"),
		         .options = WORDS("bind") },
		       { .destination = "/f", .source = at(fixture, "host/file"),
		         .options = WORDS("rbind", "ro") },
		       { .destination = "/dev/null2", .source = "/dev/null",
		         .options = WORDS("bind") },
		       { .destination = "/host-proc", .type = "bind", .source = "/proc" },
		       { .destination = "/data", .options = WORDS("remount", "bind", "ro") }),
		.has_root = true,
	};
	/* A link is where it leads to. */
	check(symlink("rootfs", at(fixture, "host/link")) == 0);
	fixture->spec.root.path = at(fixture, "host/link");
	check(share_check(&fixture->spec, &fixture->fault) == 0);
	check(share(fixture) == 0);
	check(fixture->given == 3);
	check(!strcmp(fixture->spec.root.path, SHARE_GUEST "/" NAME "/rootfs"));
	check(!strcmp(fixture->spec.mounts.item[0].source, "proc"));
	check(!strcmp(fixture->spec.mounts.item[1].source, SHARE_GUEST "/" NAME "/1"));
	check(!strcmp(fixture->spec.mounts.item[2].source, SHARE_GUEST "/" NAME "/2"));
	check(!strcmp(fixture->spec.mounts.item[3].source, "/dev/null"));
	check(!strcmp(fixture->spec.mounts.item[4].source, "/proc"));
	check(!fixture->spec.mounts.item[5].source);
	check(is_gone(shared(fixture, "rootfs")));
	go(fixture, fixture->sandbox_ns);
	check(mkdir(shared(fixture, "new"), 0700) < 0 && errno == EROFS);
	check(holds(shared(fixture, "rootfs/etc/os"), "os"));
	check(holds(shared(fixture, "1/file"), "data"));
	check(holds(shared(fixture, "2"), "file"));
	check(try_write(shared(fixture, "2")) == -EROFS);
	check(try_write(shared(fixture, "1/new")) == 0);
	go(fixture, fixture->caller_ns);
	check(access(at(fixture, "host/data/new"), F_OK) == 0);
}

/* Read-only with all below, though it is not at its origin; where not recursive, without it. */
static void submounts(struct fixture *fixture)
{
	tmpfs(fixture, at(fixture, "host/data/sub"), MS_SHARED);
	put(fixture, at(fixture, "host/data/sub/below"), "below");
	fixture->spec = (struct oci_spec){
		MOUNTS({ .destination = "/a", .source = at(fixture, "host/data"),
		         .options = WORDS("rbind", "ro") },
		       { .destination = "/b", .source = at(fixture, "host/data"),
		         .options = WORDS("bind") },
		       { .destination = "/c", .source = at(fixture, "host/data"),
		         .options = WORDS("rbind") }),
	};
	check(share(fixture) == 0);
	go(fixture, fixture->sandbox_ns);
	check(holds(shared(fixture, "0/sub/below"), "below"));
	check(try_write(shared(fixture, "0/sub/below")) == -EROFS);
	check(is_gone(shared(fixture, "1/sub/below")));
	check(try_write(shared(fixture, "2/sub/below")) == 0);
	share_free(take_pointer(fixture->share));
	go(fixture, fixture->caller_ns);
	/* Unmounting the copies has not unmounted the original. */
	check(holds(at(fixture, "host/data/sub/below"), "below"));
	check(try_write(at(fixture, "host/data/sub/below")) == 0);
}

/* What is mounted on the host later. */
static void propagation(struct fixture *fixture)
{
	tmpfs(fixture, at(fixture, "host/data"), MS_SHARED);
	check(mkdir(at(fixture, "host/data/later"), 0755) == 0);
	put(fixture, at(fixture, "host/data/file"), "data");
	fixture->spec = (struct oci_spec){
		MOUNTS({ .destination = "/a", .source = at(fixture, "host/data"),
		         .options = WORDS("rbind", "rslave") },
		       { .destination = "/b", .source = at(fixture, "host/data"),
		         .options = WORDS("rbind") }),
	};
	check(share(fixture) == 0);
	tmpfs(fixture, at(fixture, "host/data/later"), MS_SHARED);
	put(fixture, at(fixture, "host/data/later/x"), "x");
	go(fixture, fixture->sandbox_ns);
	check(holds(shared(fixture, "0/later/x"), "x"));
	check(is_gone(shared(fixture, "1/later/x")));
	/* And nothing goes the other way. */
	check(sys_mount("tmpfs", shared(fixture, "0/later"), "tmpfs", 0, NULL) == 0);
	go(fixture, fixture->caller_ns);
	check(holds(at(fixture, "host/data/later/x"), "x"));
}

static void readonly_root(struct fixture *fixture)
{
	check(symlink("/outside", at(fixture, "host/rootfs/link")) == 0);
	check(symlink("../../../../../../elsewhere", at(fixture, "host/rootfs/up")) == 0);
	fixture->spec = (struct oci_spec){
		.process = &(struct oci_process){ .cwd = "/work/here" },
		.root = { .path = at(fixture, "host/rootfs"), .readonly = true },
		.has_root = true,
		MOUNTS(DEV, { .destination = "/tmp", .type = "tmpfs", .source = "tmpfs" },
		       { .destination = "/tmp/inner", .type = "tmpfs", .source = "tmpfs" },
		       { .destination = "/link/dir", .type = "bind",
		         .source = at(fixture, "host/data") },
		       { .destination = "/up/file", .type = "bind",
		         .source = at(fixture, "host/file") },
		       { .destination = "/sys", .type = "sysfs", .source = "sysfs" }),
	};
	check(share(fixture) == 0);
	check(is_dir(at(fixture, "host/rootfs/dev")));
	check(is_dir(at(fixture, "host/rootfs/tmp")));
	check(is_gone(at(fixture, "host/rootfs/tmp/inner")));
	check(is_dir(at(fixture, "host/rootfs/outside/dir")));
	check(holds(at(fixture, "host/rootfs/elsewhere/file"), ""));
	check(is_dir(at(fixture, "host/rootfs/work/here")));
	check(is_gone("/outside"));
	go(fixture, fixture->sandbox_ns);
	check(try_write(shared(fixture, "rootfs/new")) == -EROFS);
	go(fixture, fixture->caller_ns);
	check(try_write(at(fixture, "host/rootfs/new")) == 0);
}

/* Device nodes will be made in it: the guest's own read-only mount has to do. */
static void readonly_without_dev(struct fixture *fixture)
{
	fixture->spec.root.readonly = true;
	check(share(fixture) == 0);
	go(fixture, fixture->sandbox_ns);
	check(try_write(shared(fixture, "rootfs/new")) == 0);
	go(fixture, fixture->caller_ns);
}

static void refused(struct fixture *fixture, const char *source, const char *text)
{
	fixture->fault = (struct fault)FAULT_NULL;
	fixture->spec = (struct oci_spec){
		MOUNTS({ .destination = "/x", .type = "bind", .source = source }),
	};
	check(share(fixture) < 0);
	check(strstr(fixture->fault.text, text));
	fixture->fault = (struct fault)FAULT_NULL;
	check(share_check(&fixture->spec, &fixture->fault) < 0);
	check(strstr(fixture->fault.text, text));
}

static void refusals(struct fixture *fixture)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", at(fixture, "host/socket"));
	check(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	check(mkfifo(at(fixture, "host/fifo"), 0644) == 0);
	check(mknod(at(fixture, "host/node"), S_IFCHR | 0644, makedev(1, 3)) == 0);
	refused(fixture, at(fixture, "host/socket"), "is a socket of the host");
	refused(fixture, at(fixture, "host/fifo"), "is a fifo of the host");
	refused(fixture, at(fixture, "host/node"), "is a device of the host");
	refused(fixture, at(fixture, "host/nothing"), "no such file");
	check(fixture->given == 0);
	fixture->spec = (struct oci_spec){
		MOUNTS({ .destination = "/x", .type = "overlay", .source = "overlay" }),
	};
	check(share_check(&fixture->spec, &fixture->fault) == -ENOTSUP);
	fixture->spec = (struct oci_spec){ .has_root = true };
	fixture->spec.root.path = at(fixture, "host/file");
	check(share(fixture) == -ENOTDIR);
}

static void names(struct fixture *fixture)
{
	static const char *const bad[] = { "", ".", "..", "a/b", NULL };
	int tree = open("/", O_PATH | O_CLOEXEC);
	struct share *other;

	for (size_t i = 0; i < array_size(bad); i++) {
		check(share_add(fixture->share, bad[i], tree, false, &fixture->fault) == -EINVAL);
		check(share_new(&fixture->partition, bad[i], &other, &fixture->fault) == -EINVAL);
	}
	go(fixture, fixture->sandbox_ns);
	check(share_new(&fixture->partition, NAME, &other, &fixture->fault) == -EEXIST);
	/* What is no detached mount cannot be added; what was made for it goes in the end. */
	check(share_add(fixture->share, "x", tree, true, &fixture->fault) < 0);
	check(!strcmp(share_path_name(fixture->share), NAME));
	close(tree);
	go(fixture, fixture->caller_ns);
	const char *a = share_name(&fixture->arena, "c1"), *b = share_name(&fixture->arena, "c1");
	check(a && b && strcmp(a, b) && !strncmp(a, "c1.", 3));
}

static void many(struct fixture *fixture)
{
	struct oci_mount mounts[60] = { 0 };

	for (size_t i = 0; i < array_size(mounts); i++)
		mounts[i] = (struct oci_mount){
			.destination = "/x",
			.type = "bind",
			.source = i % 2 ? fixture->spec.root.path : "/etc/passwd",
		};
	fixture->spec.mounts.count = array_size(mounts);
	fixture->spec.mounts.item = mounts;
	check(share(fixture) == 0);
	check(fixture->given == array_size(mounts) + 1);
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *ftw)
{
	(void)stat;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static void run(void **state)
{
	void (*body)(struct fixture *) = *state;
	struct fixture fixture = { .dir = "/tmp/test-share-XXXXXX", .fault = FAULT_NULL };
	int status;

	assert_non_null(mkdtemp(fixture.dir));
	pid_t pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		umask(022);
		set_up(&fixture);
		body(&fixture);
		if (fixture.share)
			take_down(&fixture);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	nftw(fixture.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(status, 0);
}

#define ROW(body) { #body, run, NULL, NULL, (void *)(uintptr_t)(body) }

int main(void)
{
	if (geteuid() || sys_open_tree(-1, 0) != -EBADF) {
		puts("1..0 # SKIP needs root and open_tree(2)");
		return 0;
	}
	const struct CMUnitTest tests[] = {
		ROW(kinds), ROW(submounts), ROW(propagation), ROW(readonly_root),
		ROW(readonly_without_dev), ROW(refusals), ROW(names), ROW(many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
