/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Why not mount(2): it takes paths, and between the look at a path and the mount on it a link may
 * have taken its place. It also cannot say which mount it has made. With fsopen(2), open_tree(2)
 * and move_mount(2) nothing is looked up twice, and a mount is complete before anybody can see it.
 *
 * Two things need the old call still. Linux 5.10 and 5.11 have no mount_setattr(2), and fsconfig(2)
 * takes values of 255 bytes at most, which a list of overlay layers outgrows. Both go through
 * /proc/self/fd, which is the agent's own /proc before the root is entered and the container's,
 * checked, after.
 */

#include "agent/mountfd.h"

#include "oci/mountapi.h"

#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#define DATA_VALUE_MAX 255

/* MS_* of mount(2), MOUNT_ATTR_* of the newer calls, ST_* of statvfs(3). */
static const struct {
	unsigned long flag, stat;
	uint64_t attr;
} mount_bits[] = {
	{ MS_RDONLY, ST_RDONLY, MOUNT_ATTR_RDONLY },
	{ MS_NOSUID, ST_NOSUID, MOUNT_ATTR_NOSUID },
	{ MS_NODEV, ST_NODEV, MOUNT_ATTR_NODEV },
	{ MS_NOEXEC, ST_NOEXEC, MOUNT_ATTR_NOEXEC },
	{ MS_NODIRATIME, ST_NODIRATIME, MOUNT_ATTR_NODIRATIME },
	{ MS_NOSYMFOLLOW, 0x2000 /* ST_NOSYMFOLLOW */, MOUNT_ATTR_NOSYMFOLLOW },
};

/* Flags that belong to the file system, by their fsconfig(2) names. */
static const struct {
	unsigned long flag;
	const char *name;
} superblock_flags[] = {
	{ MS_RDONLY, "ro" },
	{ MS_SYNCHRONOUS, "sync" },
	{ MS_DIRSYNC, "dirsync" },
	{ MS_MANDLOCK, "mand" },
	{ MS_LAZYTIME, "lazytime" },
	{ MS_I_VERSION, "iversion" },
};

static uint64_t flags_to_attr(unsigned long flags)
{
	uint64_t attr = flags & MS_STRICTATIME ? MOUNT_ATTR_STRICTATIME :
		flags & MS_NOATIME ? MOUNT_ATTR_NOATIME : MOUNT_ATTR_RELATIME;
	for (size_t i = 0; i < array_size(mount_bits); i++)
		if (flags & mount_bits[i].flag)
			attr |= mount_bits[i].attr;
	return attr;
}

/*
 * One "key", "key=value" or key="a,b" of the data; returns what follows it, NULL at the end. The
 * value is copied without its quotes and the backslashes before commas.
 */
static const char *data_next(const char *data, char *item, size_t size, bool *ret_fits)
{
	size_t used = 0;
	bool quoted = false;
	while (*data && (quoted || *data != ',')) {
		if (*data == '"') {
			quoted = !quoted;
			data++;
			continue;
		}
		if (data[0] == '\\' && data[1] == ',')
			data++;
		if (used + 1 < size)
			item[used] = *data;
		used++;
		data++;
	}
	*ret_fits = used < size;
	item[min_size(used, size - 1)] = '\0';
	return *data ? data + 1 : NULL;
}

bool mount_data_fits(const char *data)
{
	char item[2 * DATA_VALUE_MAX];
	while (data) {
		bool fits;
		data = data_next(data, item, sizeof(item), &fits);
		const char *value = strchr(item, '=');
		if (!fits || (value && strlen(value + 1) > DATA_VALUE_MAX))
			return false;
	}
	return true;
}

static int configure_data(int fs_fd, const char *data)
{
	char item[2 * DATA_VALUE_MAX];
	int r = 0;
	while (data && r >= 0) {
		bool fits;
		data = data_next(data, item, sizeof(item), &fits);
		if (!fits)
			return -E2BIG;
		char *value = strchr(item, '=');
		if (value)
			*value++ = '\0';
		if (*item)
			r = sys_fsconfig(fs_fd, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG,
			                 item, value);
	}
	return r;
}

static int configure(int fs_fd, const struct mount_new *new)
{
	int r = 0;
	if (new->source && *new->source)
		r = sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", new->source);
	for (size_t i = 0; i < array_size(superblock_flags) && r >= 0; i++)
		if (new->flags & superblock_flags[i].flag &&
		    !(superblock_flags[i].flag == MS_RDONLY && new->writable))
			r = sys_fsconfig(fs_fd, FSCONFIG_SET_FLAG, superblock_flags[i].name, NULL);
	if (r >= 0 && new->label)
		r = sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, "context", new->label);
	if (r >= 0)
		r = configure_data(fs_fd, new->data);
	if (r >= 0)
		r = sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL);
	return r;
}

/* The last error message of the file system, which it keeps as "e <text>\n". */
static void note_read(int fs_fd, char note[static MOUNT_NOTE])
{
	char line[4 * MOUNT_NOTE];
	ssize_t n;
	note[0] = '\0';
	while ((n = read(fs_fd, line, sizeof(line) - 1)) > 0) {
		line[n] = '\0';
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "e ", 2))
			snprintf(note, MOUNT_NOTE, "%.*s", MOUNT_NOTE - 1, line + 2);
	}
}

int mount_create(const struct mount_new *new, char note[static MOUNT_NOTE])
{
	note[0] = '\0';
	cleanup_close int fs_fd = sys_fsopen(new->type);
	if (fs_fd == -ENODEV)
		snprintf(note, MOUNT_NOTE, "unknown file system type \"%.64s\"", new->type);
	if (fs_fd < 0)
		return fs_fd;
	unsigned long flags = new->flags & ~(new->writable ? (unsigned long)MS_RDONLY : 0);
	int r = configure(fs_fd, new);
	if (r >= 0)
		r = sys_fsmount(fs_fd, flags_to_attr(flags));
	if (r < 0)
		note_read(fs_fd, note);
	return r;
}

#define FD_PATH 32

static void fd_path(int fd, char path[static FD_PATH])
{
	snprintf(path, FD_PATH, "/proc/self/fd/%d", fd);
}

/* mount(2) on a place that is open. Without a true /proc there is no way to name it. */
static int mount_on_fd(int fd, const char *source, const char *type, unsigned long flags,
                       const char *data)
{
	struct statfs fs;
	char path[FD_PATH];
	if (statfs("/proc", &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC)
		return -ENOSYS;
	fd_path(fd, path);
	return sys_mount(source, path, type, flags, data);
}

int mount_classic(int target_fd, const struct mount_new *new)
{
	unsigned long flags = new->flags & ~(new->writable ? (unsigned long)MS_RDONLY : 0);
	return mount_on_fd(target_fd, new->source ? new->source : "none", new->type, flags,
	                   new->data);
}

int mount_clone(int fd, bool recursive)
{
	return sys_open_tree(fd, OPEN_TREE_CLONE | (recursive ? AT_RECURSIVE : 0));
}

int mount_attach(int mount_fd, int target_fd)
{
	return sys_move_mount(mount_fd, target_fd);
}

/* The same by mount(2), which replaces all flags of the mount: the others are read first. */
static int change_by_remount(int fd, uint64_t set, uint64_t clear)
{
	struct statvfs now;
	if (fstatvfs(fd, &now) < 0)
		return -errno;
	unsigned long flags = MS_REMOUNT | MS_BIND;
	for (size_t i = 0; i < array_size(mount_bits); i++)
		if (set & mount_bits[i].attr ||
		    (now.f_flag & mount_bits[i].stat && !(clear & mount_bits[i].attr)))
			flags |= mount_bits[i].flag;
	if (clear & MOUNT_ATTR__ATIME)
		flags |= (set & MOUNT_ATTR__ATIME) == MOUNT_ATTR_NOATIME ? MS_NOATIME :
			(set & MOUNT_ATTR__ATIME) == MOUNT_ATTR_STRICTATIME ? MS_STRICTATIME :
			MS_RELATIME;
	else
		flags |= now.f_flag & ST_NOATIME ? MS_NOATIME :
			now.f_flag & ST_RELATIME ? MS_RELATIME : MS_STRICTATIME;
	return mount_on_fd(fd, NULL, NULL, flags, NULL);
}

static int change_once(int fd, uint64_t set, uint64_t clear, bool recursive)
{
	struct mount_attr attr = { .attr_set = set, .attr_clr = clear };
	int r = sys_mount_setattr(fd, recursive ? AT_RECURSIVE : 0, &attr);
	if (r != -ENOSYS)
		return r;
	return recursive ? -ENOTSUP : change_by_remount(fd, set, clear);
}

int mount_change(int fd, uint64_t set, uint64_t clear, bool recursive)
{
	if (!set && !clear)
		return 0;
	int r = change_once(fd, set, clear, recursive);
	if (r != -EPERM || !clear)
		return r;
	/*
	 * A user namespace locks what it has not set itself: only more restriction is left to
	 * ask.
	 */
	set &= ~(uint64_t)MOUNT_ATTR__ATIME;
	return set ? change_once(fd, set, 0, recursive) : 0;
}

int mount_change_options(int fd, const struct mount_options *options)
{
	const unsigned long atime = MS_NOATIME | MS_RELATIME | MS_STRICTATIME;
	uint64_t set = flags_to_attr(options->flags);
	uint64_t clear = flags_to_attr(options->clear & ~atime);
	if ((options->flags | options->clear) & atime)
		clear |= MOUNT_ATTR__ATIME;
	int r = mount_change(fd, set, clear, false);
	if (r >= 0)
		r = mount_change(fd, options->attr_set, options->attr_clear, true);
	return r;
}

int mount_seal(int fd)
{
	int r = mount_change(fd, MOUNT_ATTR_RDONLY, 0, true);
	return r == -ENOTSUP ? mount_change(fd, MOUNT_ATTR_RDONLY, 0, false) : r;
}

int mount_propagate(int fd, unsigned long propagation)
{
	if (!propagation)
		return 0;
	struct mount_attr attr = { .propagation = propagation & ~(unsigned long)MS_REC };
	int r = sys_mount_setattr(fd, propagation & MS_REC ? AT_RECURSIVE : 0, &attr);
	return r == -ENOSYS ? mount_on_fd(fd, NULL, NULL, propagation, NULL) : r;
}

bool mount_is_root(int fd)
{
	struct statx stat;
	return statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &stat) == 0 &&
		stat.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}
