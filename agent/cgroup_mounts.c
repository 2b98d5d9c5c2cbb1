/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which controller is where. /proc/self/mountinfo is the only place that tells of mounts as we
 * see them; the names of a v1 hierarchy's controllers stand among its mount options, those of v2
 * in cgroup.controllers. A controller has one home at a time, so the first mount that has it
 * serves; a hierarchy that is mounted in several places is taken once. A mount point that cannot
 * be opened (another mount may hide it) is passed over: what would have lived there counts as
 * absent.
 */

#include "agent/cgroup_private.h"

#include <fcntl.h>
#include <string.h>

/* The fields of a line of mountinfo that matter here. */
struct mount_line {
	char *point, *type, *options;
};

/* "\040" and its like. */
static void unescape(char *text)
{
	char *to = text;
	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] && from[2] && from[3]) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* "31 23 0:28 / /sys/fs/cgroup rw,relatime [shared:1 …] - tmpfs tmpfs rw,mode=755" */
static bool mount_line_parse(char *line, struct mount_line *ret)
{
	char *rest = strstr(line, " - ");
	if (!rest)
		return false;
	*rest = '\0';
	rest += 3;
	for (int i = 0; i < 4; i++)
		if (!strsep(&line, " "))
			return false;
	ret->point = strsep(&line, " ");
	ret->type = strsep(&rest, " ");
	strsep(&rest, " ");
	ret->options = rest;
	if (!ret->point || !ret->type || !ret->options)
		return false;
	unescape(ret->point);
	return true;
}

static void v2_add(struct cgroup_mounts *mounts, const char *point)
{
	cleanup_free char *text = NULL;
	cleanup_close int fd = open(point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || cgroup_file_read(fd, "cgroup.controllers", &text) < 0)
		return;
	mounts->fd[CGROUP_V2] = take_fd(&fd);
	mounts->controllers[CGROUP_V2] = cgroup_controller_mask(text);
}

/* The list is long enough: every hierarchy in it has a controller that no other has. */
static void v1_add(struct cgroup_mounts *mounts, const struct mount_line *line)
{
	uint32_t controllers = cgroup_controller_mask(line->options);
	for (size_t i = 1; i < mounts->count; i++)
		controllers &= ~mounts->controllers[i];
	if (!controllers)
		return;
	int fd = open(line->point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	mounts->fd[mounts->count] = fd;
	mounts->controllers[mounts->count++] = controllers;
}

static void homes_find(struct cgroup_mounts *mounts)
{
	for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
		mounts->home[c] = CGROUP_NOWHERE;
		for (size_t i = 0; i < mounts->count; i++)
			if (mounts->controllers[i] & CGROUP_BIT(c))
				mounts->home[c] = (int)i;
	}
	mounts->home[CGROUP_CORE] = CGROUP_V2;
}

static void free_mounts(struct cgroup_mounts **mounts)
{
	cgroup_mounts_free(*mounts);
}

int cgroup_mounts_read(const char *mountinfo, struct cgroup_mounts **ret, struct fault *fault)
{
	cleanup_free char *text = NULL;
	int r = cgroup_file_read(AT_FDCWD, mountinfo, &text);
	if (r < 0)
		return fault_errno(fault, r, "reading %s", mountinfo);
	cleanup(free_mounts) struct cgroup_mounts *mounts = calloc(1, sizeof(*mounts));
	if (!mounts)
		return fault_errno(fault, -ENOMEM, "cgroups");
	for (size_t i = 0; i < CGROUP_HIERARCHIES; i++)
		mounts->fd[i] = -1;
	mounts->count = CGROUP_V2 + 1;

	char *rest = text, *line;
	while ((line = cgroup_line(&rest))) {
		struct mount_line mount;
		if (!mount_line_parse(line, &mount))
			continue;
		if (!strcmp(mount.type, "cgroup2") && mounts->fd[CGROUP_V2] < 0)
			v2_add(mounts, mount.point);
		else if (!strcmp(mount.type, "cgroup"))
			v1_add(mounts, &mount);
	}
	if (mounts->fd[CGROUP_V2] < 0)
		return fault_set(fault, -ENOTSUP, HRESULT_FAIL,
		                 "cgroups: no cgroup2 file system is mounted");
	homes_find(mounts);
	*ret = take_pointer(mounts);
	return 0;
}

int cgroup_mounts_probe(struct cgroup_mounts **ret, struct fault *fault)
{
	return cgroup_mounts_read("/proc/self/mountinfo", ret, fault);
}

void cgroup_mounts_free(struct cgroup_mounts *mounts)
{
	if (!mounts)
		return;
	for (size_t i = 0; i < CGROUP_HIERARCHIES; i++)
		close_fd(&mounts->fd[i]);
	free(mounts);
}
