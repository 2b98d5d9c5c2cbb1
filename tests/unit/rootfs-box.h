/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A bundle in a temporary folder, and a child in a mount namespace of its own to build its root in.
 * What fails in the child is told on stderr and ends it; the test sees only how it ended.
 */

#include "agent/rootfs.h"
#include "oci/mountapi.h"

#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <cmocka.h>

struct box {
	char dir[64];           /* the temporary folder: bundle/, bundle/rootfs/, host/ */
	char bundle[80];
	struct oci_spec spec;
	struct rootfs rootfs;
	struct fault fault;
};

#define check(condition) \
	do { \
		if (!(condition)) \
			box_fail(box, __FILE__, __LINE__, #condition); \
	} while (0)

#define WORDS(...) \
	{ sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *), \
	  (const char *[]){ __VA_ARGS__ } }
#define MOUNTS(...) \
	.mounts = { sizeof((struct oci_mount[]){ __VA_ARGS__ }) / sizeof(struct oci_mount), \
		    (struct oci_mount[]){ __VA_ARGS__ } }
#define NAMESPACES(...) \
	.namespaces = { sizeof((struct oci_namespace[]){ __VA_ARGS__ }) / \
				sizeof(struct oci_namespace), \
			(struct oci_namespace[]){ __VA_ARGS__ } }
#define MOUNT_NS { .type = OCI_NS_MOUNT }

_Noreturn static inline void box_fail(const struct box *box, const char *file, int line,
                                      const char *what)
{
	fprintf(stderr, "%s:%d: %s: %s [%s]\n", file, line, what, strerror(errno),
	        box->fault.text);
	_exit(1);
}

/* A path in the temporary folder; the buffers go round. */
static inline const char *box_path(const struct box *box, const char *name)
{
	static char text[8][256];
	static unsigned turn;
	char *path = text[turn++ % 8];
	snprintf(path, sizeof(text[0]), "%s/%s", box->dir, name);
	return path;
}

static inline void box_write(const struct box *box, const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	check(fd >= 0);
	check(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static inline bool box_holds(const char *path, const char *text)
{
	char got[256];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof(got));
	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) && !memcmp(got, text, (size_t)n);
}

/* Is this the place for it? Needs root, and a kernel (not valgrind's) that knows mounts by fd. */
static inline bool box_possible(void)
{
	if (geteuid() == 0 && sys_open_tree(-1, 0) == -EBADF)
		return true;
	puts("1..0 # SKIP needs root and open_tree(2)");
	return false;
}

static inline void box_init(struct box *box)
{
	static const char *const folders[] = {
		"bundle", "bundle/rootfs", "bundle/rootfs/etc", "bundle/data", "host",
	};
	*box = (struct box){ .dir = "/tmp/hvrun-rootfs-XXXXXX", .rootfs = ROOTFS_NULL };
	assert_non_null(mkdtemp(box->dir));
	for (size_t i = 0; i < array_size(folders); i++)
		assert_return_code(mkdir(box_path(box, folders[i]), 0755), errno);
	snprintf(box->bundle, sizeof(box->bundle), "%s/bundle", box->dir);
	box_write(box, box_path(box, "host/canary"), "canary");
	box_write(box, box_path(box, "bundle/data/file"), "data");
}

static inline int box_remove(const char *path, const struct stat *stat, int kind, struct FTW *ftw)
{
	(void)stat;
	(void)kind;
	(void)ftw;
	return remove(path);
}

/* Is the host's folder as it was? */
static inline void box_deinit(struct box *box)
{
	assert_true(box_holds(box_path(box, "host/canary"), "canary"));
	assert_return_code(unlink(box_path(box, "host/canary")), errno);
	assert_return_code(rmdir(box_path(box, "host")), errno);
	assert_return_code(nftw(box->dir, box_remove, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT), errno);
}

/* Runs body in a child; flags are of unshare(2), besides CLONE_NEWNS. */
static inline void box_run(struct box *box, int flags, void (*body)(struct box *))
{
	fflush(NULL);
	pid_t pid = fork();
	assert_return_code(pid, errno);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		check(unshare(CLONE_NEWNS | flags) == 0);
		check(sys_mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) == 0);
		body(box);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static inline void box_use(struct box *box, struct oci_spec spec)
{
	box->spec = spec;
	box->spec.root.path = "rootfs";
	box->spec.has_root = true;
	box->rootfs = (struct rootfs)ROOTFS_NULL;
	box->fault = (struct fault)FAULT_NULL;
}

static inline int box_mount(struct box *box, struct oci_spec spec)
{
	box_use(box, spec);
	int r = rootfs_open(&box->rootfs, &box->spec, box->bundle, &box->fault);
	return r < 0 ? r : rootfs_mount(&box->rootfs, &box->fault);
}

/* All of the sequence. */
static inline void box_enter(struct box *box, struct oci_spec spec)
{
	check(box_mount(box, spec) == 0);
	check(rootfs_enter(&box->rootfs, &box->fault) == 0);
	check(rootfs_sysctl(&box->spec, &box->fault) == 0);
	check(rootfs_seal(&box->spec, &box->fault) == 0);
	rootfs_deinit(&box->rootfs);
}

static inline bool box_is_fs(const char *path, long type)
{
	struct statfs fs;
	return statfs(path, &fs) == 0 && (long)fs.f_type == type;
}

/* ST_* of the mount that path is in. */
static inline unsigned long box_flags(const char *path)
{
	struct statvfs fs;
	return statvfs(path, &fs) == 0 ? fs.f_flag : 0;
}

static inline bool box_is_device(const char *path, unsigned number)
{
	struct stat stat;
	return lstat(path, &stat) == 0 && S_ISCHR(stat.st_mode) && stat.st_rdev == number;
}
