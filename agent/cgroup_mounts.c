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

#include "agent/mountinfo.h"

#include <fcntl.h>
#include <string.h>

#define MOUNTINFO_ARENA (4u << 20)

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
static void v1_add(struct cgroup_mounts *mounts, const struct mountinfo *mount)
{
	uint32_t controllers = cgroup_controller_mask(mount->options);
	for (size_t i = 1; i < mounts->count; i++)
		controllers &= ~mounts->controllers[i];
	if (!controllers)
		return;
	int fd = open(mount->point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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

int cgroup_mounts_find(const struct mountinfo *mountinfo, struct cgroup_mounts **ret,
                       struct fault *fault)
{
	cleanup(free_mounts) struct cgroup_mounts *mounts = calloc(1, sizeof(*mounts));
	if (!mounts)
		return fault_errno(fault, -ENOMEM, "cgroups");
	for (size_t i = 0; i < CGROUP_HIERARCHIES; i++)
		mounts->fd[i] = -1;
	mounts->count = CGROUP_V2 + 1;
	for (; mountinfo; mountinfo = mountinfo->next) {
		if (!strcmp(mountinfo->type, "cgroup2") && mounts->fd[CGROUP_V2] < 0)
			v2_add(mounts, mountinfo->point);
		else if (!strcmp(mountinfo->type, "cgroup"))
			v1_add(mounts, mountinfo);
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
	cleanup(arena_free) struct arena arena = ARENA(MOUNTINFO_ARENA);
	const struct mountinfo *mountinfo;
	int r = mountinfo_read(&arena, -1, &mountinfo);
	if (r < 0)
		return fault_errno(fault, r, "reading /proc/self/mountinfo");
	return cgroup_mounts_find(mountinfo, ret, fault);
}

void cgroup_mounts_free(struct cgroup_mounts *mounts)
{
	if (!mounts)
		return;
	for (size_t i = 0; i < CGROUP_HIERARCHIES; i++)
		close_fd(&mounts->fd[i]);
	free(mounts);
}
