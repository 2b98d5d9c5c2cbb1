/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Entering the root. pivot_root(".", ".") puts the old root on top of the new one, where it is
 * detached with all that it held; no directory is needed for it in the new one.
 *
 * The initramfs cannot be pivoted away from. There the root is moved over "/", from where no ".."
 * leads back below it, and chroot(2) goes in. The other mounts of the initramfs would stay, out of
 * reach but alive: a full procfs among them would let a user namespace inside mount another one
 * without our masks. So they are unmounted, relative to the covered root.
 *
 * A mount namespace that was joined is never pivoted: pivot_root(2) changes the root of the
 * namespace and of every process in it that stands there, so that the container whose namespace it
 * is would find itself in the root of the newcomer. There it is chroot(2), which concerns nobody
 * else.
 */

#include "agent/mountfd.h"
#include "agent/mountinfo.h"
#include "agent/rootfs.h"
#include "oci/mountapi.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define MOUNTINFO_ARENA (16u << 20)

static int pivot(int root_fd)
{
	cleanup_close int old_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (old_fd < 0 || fchdir(root_fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    fchdir(old_fd) < 0)
		return -errno;
	/* Unmounting must not reach those that share their mounts with us. */
	int r = sys_mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL);
	if (r >= 0)
		r = sys_umount(".", MNT_DETACH);
	if (r >= 0 && chdir("/") < 0)
		r = -errno;
	return r;
}

static bool on_initramfs(void)
{
	struct statfs fs;
	return statfs("/", &fs) == 0 && (fs.f_type == RAMFS_MAGIC || fs.f_type == TMPFS_MAGIC);
}

static int mount_id(int fd, uint64_t *ret)
{
	struct statx stat;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stat) < 0)
		return -errno;
	*ret = stat.stx_mnt_id;
	return 0;
}

static void unmount_all_at(const char *path)
{
	while (sys_mount(NULL, path, NULL, MS_SLAVE | MS_REC, NULL) >= 0 &&
	       sys_umount(path, MNT_DETACH) >= 0)
		;
}

/* Every mount on base_fd's own one but the new root. What a user namespace has locked stays. */
static int unmount_below(int base_fd, uint64_t root_id, const struct mountinfo *mounts)
{
	uint64_t base_id;
	int r = mount_id(base_fd, &base_id);
	if (r < 0)
		return r;
	if (fchdir(base_fd) < 0)
		return -errno;
	for (; mounts; mounts = mounts->next) {
		const char *path = mounts->point + strspn(mounts->point, "/");
		if (mounts->parent == base_id && mounts->id != root_id && *path)
			unmount_all_at(path);
	}
	return 0;
}

static int move_root(int root_fd, int proc_fd)
{
	uint64_t root_id;
	const struct mountinfo *mounts;
	cleanup(arena_free) struct arena arena = ARENA(MOUNTINFO_ARENA);
	cleanup_close int base_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (base_fd < 0)
		return -errno;
	int r = mount_id(root_fd, &root_id);
	if (r >= 0)
		r = mountinfo_read(&arena, proc_fd, &mounts);
	if (r >= 0)
		r = mount_attach(root_fd, base_fd);
	if (r < 0)
		return r;
	if (fchdir(root_fd) < 0 || chroot(".") < 0)
		return -errno;
	r = unmount_below(base_fd, root_id, mounts);
	return r < 0 ? r : chdir("/") < 0 ? -errno : 0;
}

/* Without a mount namespace of its own. */
static int change_root(int root_fd)
{
	return fchdir(root_fd) < 0 || chroot(".") < 0 || chdir("/") < 0 ? -errno : 0;
}

int rootfs_enter(struct rootfs *rootfs, struct fault *fault)
{
	const struct oci_namespace *namespace = oci_namespace_find(rootfs->spec, OCI_NS_MOUNT);
	int r = 0;
	for (size_t i = 0; i < rootfs->late.count && r >= 0; i++)
		r = mount_change(rootfs->late.item[i], MOUNT_ATTR_RDONLY, 0, false);
	if (r < 0)
		return fault_errno(fault, r, "make a mount read-only");
	if (!namespace || namespace->path) {
		r = change_root(rootfs->fd);
		return r < 0 ? fault_errno(fault, r, "chroot to the root file system") : 0;
	}
	r = pivot(rootfs->fd);
	if (r == -EINVAL && on_initramfs())
		r = move_root(rootfs->fd, rootfs->proc_fd);
	return r < 0 ? fault_errno(fault, r, "pivot to the root file system") : 0;
}
