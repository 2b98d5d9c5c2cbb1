/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is mounted into the share later has to reach virtiofsd, which has a mount namespace of its
 * own: the share is the one mount of ours that is shared, and virtiofsd's copy of it receives.
 * Everything else only comes in from outside.
 *
 * There are two programs of that name, QEMU's in C and its successor in Rust. Their own options
 * differ, but the second understands those of the first as far as they are used here. Both take a
 * socket that listens; it is connected to before they start, so there is nothing to wait for, and
 * its name is gone before anybody else could find it.
 */

#include "shim/virtiofs.h"

#include "shim/locate.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Directories of containers, and files that others are mounted on. */
#define SHARE_OPTIONS "size=4m,nr_inodes=64k,mode=0755"

static int share_path(const struct partition *partition, char path[static PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/" SHARE_DIRECTORY, partition->directory);

	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/*
 * Two mounts of one file system: the guest's is read-only, what is made there we make through the
 * other.
 */
static int split(struct partition *partition, const char *path)
{
	static const struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };

	partition->share_fd = (int)syscall(SYS_open_tree, AT_FDCWD, path,
	                                   OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (partition->share_fd < 0 ||
	    syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &readonly, sizeof(readonly)) < 0 ||
	    mount(NULL, path, NULL, MS_SHARED, NULL) < 0)
		return -errno;
	return 0;
}

int virtiofs_prepare(struct virtiofs *share, struct partition *partition, struct fault *fault)
{
	char path[PATH_MAX];
	int r = share_path(partition, path);

	if (r < 0)
		return fault_errno(fault, r, "share");
	if (geteuid())
		return fault_set(fault, -EPERM, HRESULT_FAIL, "a qemu partition needs root, who "
		                 "alone can share files with a VM and keep their owners");
	/* One of the two programs has a way to say it, but not the same as the other. */
	if (strpbrk(path, ",\\"))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "share: \"%s\" has a character that virtiofsd does not take", path);
	if (mkdir(path, 0700) < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount("hvrun", path, "tmpfs", MS_NOSUID | MS_NODEV, SHARE_OPTIONS) < 0)
		return fault_errno(fault, -errno, "share: mount \"%s\"", path);
	share->mounted = true;
	r = split(partition, path);
	return r < 0 ? fault_errno(fault, r, "share: mount \"%s\"", path) : 0;
}

static int open_sockets(struct virtiofs *share, const struct partition *partition,
                        int *ret_listener)
{
	struct hv_endpoint endpoint = { .scheme = HV_SCHEME_UNIX };
	struct hv_listener listener = HV_LISTENER_NULL;
	bool pending;

	snprintf(endpoint.path, sizeof(endpoint.path), "%s/share.sock", partition->directory);
	int r = hv_listen(&listener, &endpoint, NULL, NULL);
	if (r >= 0)
		r = share->fd = hv_connect(&endpoint, NULL, false, &pending);
	if (r >= 0)
		r = *ret_listener = fcntl(listener.fd, F_DUPFD_CLOEXEC, 0);
	if (r < 0 && share->fd >= 0)
		r = -errno;
	hv_listener_close(&listener);
	/* Accepting waits; there is somebody already. */
	return r < 0 ? r : fcntl(*ret_listener, F_SETFL, 0) < 0 ? -errno : 0;
}

#define CAP(name) (1ull << CAP_##name)
/* What it keeps, for files with all kinds of owners; what its sandbox is made with. */
#define CAPABILITIES \
	(CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) | CAP(SETGID) | CAP(SETUID) | \
	 CAP(MKNOD) | CAP(SETFCAP) | CAP(SETPCAP) | CAP(SYS_ADMIN) | CAP(SYS_RESOURCE))

int virtiofs_start(struct virtiofs *share, struct partition *partition,
                   const struct daemon_ops *ops, struct fault *fault)
{
	static const char *const places[] = {
		"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", NULL,
	};
	char program[PATH_MAX], path[PATH_MAX], fd_option[24];
	cleanup_close int listener = -1;
	struct buf options = BUF(PATH_MAX + 128);
	int r = locate_program(partition->config->qemu.virtiofsd, places, "virtiofsd", program,
	                       fault);

	if (r < 0)
		return r;
	r = open_sockets(share, partition, &listener);
	if (r >= 0)
		r = share_path(partition, path);
	/*
	 * Not announce_submounts: each container's root would be a file system of its own in the
	 * guest, and unmounting one while its last page is still being read ahead is a bug of
	 * Linux 6.1 (BUG at fs/super.c: busy inodes after unmount).
	 */
	if (r >= 0)
		r = buf_printf(&options, "source=%s,cache=auto,sandbox=namespace,xattr", path);
	if (r >= 0)
		r = buf_append(&options, "", 1);
	if (r < 0) {
		buf_deinit(&options);
		return fault_errno(fault, r, "share");
	}
	snprintf(fd_option, sizeof(fd_option), "--fd=%d", listener);
	const char *const args[] = { program, fd_option, "-o", buf_head(&options), NULL };
	const struct daemon_plan plan = {
		.name = "virtiofsd",
		.args = args,
		.fds = (const int[]){ listener, -1 },
		.capabilities = CAPABILITIES,
		/* One for every file that the guest remembers. */
		.many_files = true,
	};
	r = daemon_start(&share->daemon, &plan, partition->loop, ops, fault);
	buf_deinit(&options);
	return r;
}

void virtiofs_unmount(struct virtiofs *share, const struct partition *partition)
{
	char path[PATH_MAX];

	if (share->mounted && share_path(partition, path) == 0)
		(void)umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
	share->mounted = false;
}

void virtiofs_deinit(struct virtiofs *share, const struct partition *partition)
{
	daemon_deinit(&share->daemon);
	close_fd(&share->fd);
	virtiofs_unmount(share, partition);
}
