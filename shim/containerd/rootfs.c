/* SPDX-License-Identifier: Apache-2.0 */

/*
 * mount(2) takes one page of options, and an overlay of many layers has more. containerd's
 * snapshots all lie in one directory, so their paths are written from there.
 */

#include "shim/containerd/rootfs.h"

#include "oci/buf.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#define DATA_MAX 4096           /* bytes that mount(2) reads, with the NUL */
#define DATA_LIMIT (1u << 20)   /* and that anybody may send */

/* What is no word of these is the file system's to understand. */
static const struct {
	const char *word;
	unsigned long set, clear;
} words[] = {
	{ "async", 0, MS_SYNCHRONOUS },
	{ "atime", 0, MS_NOATIME },
	{ "bind", MS_BIND, 0 },
	{ "defaults", 0, 0 },
	{ "dev", 0, MS_NODEV },
	{ "diratime", 0, MS_NODIRATIME },
	{ "dirsync", MS_DIRSYNC, 0 },
	{ "exec", 0, MS_NOEXEC },
	{ "lazytime", MS_LAZYTIME, 0 },
	{ "noatime", MS_NOATIME, 0 },
	{ "nodev", MS_NODEV, 0 },
	{ "nodiratime", MS_NODIRATIME, 0 },
	{ "noexec", MS_NOEXEC, 0 },
	{ "norelatime", 0, MS_RELATIME },
	{ "nostrictatime", 0, MS_STRICTATIME },
	{ "nosuid", MS_NOSUID, 0 },
	{ "rbind", MS_BIND | MS_REC, 0 },
	{ "relatime", MS_RELATIME, 0 },
	{ "ro", MS_RDONLY, 0 },
	{ "rw", 0, MS_RDONLY },
	{ "strictatime", MS_STRICTATIME, 0 },
	{ "suid", 0, MS_NOSUID },
	{ "sync", MS_SYNCHRONOUS, 0 },
};

static bool take_word(const char *option, unsigned long *flags)
{
	for (size_t i = 0; i < array_size(words); i++) {
		if (!strcmp(words[i].word, option)) {
			*flags = (*flags | words[i].set) & ~words[i].clear;
			return true;
		}
	}
	return false;
}

static int parse(const Containerd__Types__Mount *mount, unsigned long *flags, struct buf *data)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < mount->n_options; i++) {
		if (!take_word(mount->options[i], flags))
			r = buf_printf(data, "%s%s", buf_length(data) ? "," : "",
			               mount->options[i]);
	}
	return r < 0 ? r : buf_append(data, "", 1);
}

/* The paths in the value of an option: "lowerdir=/a:/b", "upperdir=/c". */
static const char *paths_of(const char *option)
{
	static const char *const names[] = { "lowerdir=", "upperdir=", "workdir=" };

	for (size_t i = 0; i < array_size(names); i++) {
		if (!strncmp(option, names[i], strlen(names[i])))
			return option + strlen(names[i]);
	}
	return NULL;
}

/* How much of the path has all paths in common, up to a slash; 0: nothing. */
static size_t common_part(const Containerd__Types__Mount *mount)
{
	const char *first = NULL;
	size_t common = 0;

	for (size_t i = 0; i < mount->n_options; i++) {
		const char *at = paths_of(mount->options[i]);
		while (at && *at) {
			size_t length = strcspn(at, ":"), same = 0;
			if (*at != '/')
				return 0;
			if (!first) {
				first = at;
				common = length;
			}
			while (same < common && same < length && at[same] == first[same])
				same++;
			common = same;
			at += length + (at[length] == ':');
		}
	}
	while (common && first[common - 1] != '/')
		common--;
	return common;
}

static int shorten(const Containerd__Types__Mount *mount, struct buf *data,
                   char directory[static PATH_MAX])
{
	size_t common = common_part(mount);
	unsigned long ignored = 0;
	int r = common > 1 && common < PATH_MAX ? 0 : -E2BIG;

	buf_consume(data, buf_length(data));
	for (size_t i = 0; r >= 0 && i < mount->n_options; i++) {
		const char *option = mount->options[i], *at = paths_of(option);
		if (take_word(option, &ignored))
			continue;
		if (at)
			snprintf(directory, PATH_MAX, "%.*s", (int)common, at);
		r = buf_printf(data, "%s%.*s", buf_length(data) ? "," : "",
		               at ? (int)(at - option) : INT_MAX, option);
		while (r >= 0 && at && *at) {
			size_t length = strcspn(at, ":");
			r = buf_printf(data, "%.*s", (int)(length - common), at + common);
			at += length;
			if (r >= 0 && *at == ':')
				r = buf_append(data, at++, 1);
		}
	}
	return r < 0 ? r : buf_append(data, "", 1);
}

static int mount_one(const Containerd__Types__Mount *wanted, const char *target)
{
	struct buf data = BUF(DATA_LIMIT);
	char directory[PATH_MAX] = "";
	unsigned long flags = 0;
	int r = parse(wanted, &flags, &data);

	if (r >= 0 && buf_length(&data) > DATA_MAX)
		r = shorten(wanted, &data, directory);
	if (r >= 0 && buf_length(&data) > DATA_MAX)
		r = -E2BIG;
	if (r >= 0 && directory[0] && chdir(directory) < 0)
		r = -errno;
	if (r >= 0 && mount(wanted->source, target, flags & MS_BIND ? NULL : wanted->type,
	                    flags & MS_BIND ? flags & (MS_BIND | MS_REC) : flags,
	                    buf_head(&data)) < 0)
		r = -errno;
	/* A bind mount takes no flags but later. */
	if (r >= 0 && flags & MS_BIND && flags & ~(MS_BIND | MS_REC) &&
	    mount(NULL, target, NULL, flags | MS_REMOUNT, NULL) < 0)
		r = -errno;
	buf_deinit(&data);
	return r;
}

/* A target of its own is below the root, and no link leads out of there. */
static int mount_below(const Containerd__Types__Mount *wanted, const char *root)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	char path[40];

	if (!wanted->target[0])
		return mount_one(wanted, root);
	cleanup_close int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return -errno;
	cleanup_close int fd = (int)syscall(SYS_openat2, root_fd, wanted->target, &how,
	                                    sizeof(how));
	if (fd < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return mount_one(wanted, path);
}

int rootfs_mount(const char *target, Containerd__Types__Mount *const *mounts, size_t count,
                 struct fault *fault)
{
	for (size_t i = 0; i < count; i++) {
		int r = mount_below(mounts[i], target);
		if (r < 0) {
			(void)rootfs_unmount(target);
			return fault_errno(fault, r, "mount %s \"%s\" on the root", mounts[i]->type,
			                   mounts[i]->source);
		}
	}
	return 0;
}

int rootfs_unmount(const char *target)
{
	while (umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		;
	return errno == EINVAL || errno == ENOENT ? 0 : -errno;
}
