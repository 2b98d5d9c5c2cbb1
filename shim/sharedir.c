/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The share of a partition is a small file system in the mount namespace of the sandbox process.
 * What is mounted in it is seen by nobody else on the host but the daemon that serves it to the
 * guest, and goes with the processes, whatever kills them.
 *
 * Of what is removed nothing is waited for: a file system that does not answer must not hold up
 * the other containers.
 */

#include "shim/share.h"

#include "oci/log.h"
#include "oci/mountapi.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#ifndef UMOUNT_NOFOLLOW
#define UMOUNT_NOFOLLOW 8
#endif

struct share {
	char *path;             /* <partition>/share/<name>, as it is served: read-only */
	const char *name;       /* in the path */
	int parent_fd, fd;      /* the same, writable, without what is mounted there */
};

/* They become components of a path here and in the guest. */
static int check_name(const char *name, struct fault *fault)
{
	if (name && *name && strcmp(name, ".") && strcmp(name, "..") && !strchr(name, '/') &&
	    strlen(name) <= NAME_MAX)
		return 0;
	return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "share: invalid name");
}

static void destroy(struct share *share)
{
	close_fd(&share->fd);
	close_fd(&share->parent_fd);
	free(share->path);
	free(share);
}

static int make_directory(struct share *share)
{
	share->name = strrchr(share->path, '/') + 1;
	if (mkdirat(share->parent_fd, share->name, 0711) < 0)
		return -errno;
	share->fd = openat(share->parent_fd, share->name,
	                   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* A container's root may be somebody else in the VM, and goes through here. */
	return share->fd < 0 || fchmod(share->fd, 0711) < 0 ? -errno : 0;
}

int share_new(const struct partition *partition, const char *name, struct share **ret,
              struct fault *fault)
{
	char path[PATH_MAX];

	if (!partition->driver->shares)
		return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED,
		                 "this partition takes no shares");
	int r = check_name(name, fault);
	if (r < 0)
		return r;
	int n = snprintf(path, sizeof(path), "%s/" SHARE_DIRECTORY "/%s", partition->directory,
	                 name);
	if (n < 0 || (size_t)n >= sizeof(path))
		return fault_errno(fault, -ENAMETOOLONG, "share");
	struct share *share = calloc(1, sizeof(*share));
	if (!share)
		return fault_errno(fault, -ENOMEM, "share");
	*share = (struct share){
		.path = strdup(path),
		.parent_fd = fcntl(partition->share_fd, F_DUPFD_CLOEXEC, 0),
		.fd = -1,
	};
	r = share->path ? make_directory(share) : -ENOMEM;
	if (r < 0) {
		destroy(share);
		return fault_errno(fault, r, "share: make \"%s\"", path);
	}
	*ret = share;
	return 0;
}

const char *share_path_name(const struct share *share)
{
	return share->name;
}

static int entry_path(const struct share *share, const char *entry, char ret[static PATH_MAX])
{
	int n = snprintf(ret, PATH_MAX, "%s/%s", share->path, entry);

	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int make_entry(int directory_fd, const char *entry, bool file)
{
	if (file)
		return mknodat(directory_fd, entry, S_IFREG | 0600, 0) < 0 ? -errno : 0;
	return mkdirat(directory_fd, entry, 0700) < 0 ? -errno : 0;
}

int share_add(struct share *share, const char *entry, int tree_fd, bool file, struct fault *fault)
{
	char path[PATH_MAX];
	int r = check_name(entry, fault);

	if (r >= 0)
		r = entry_path(share, entry, path);
	if (r >= 0)
		r = make_entry(share->fd, entry, file);
	if (r < 0)
		return fault_errno(fault, r, "share: make \"%s/%s\"", share->path, entry);
	cleanup_close int target = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	r = target < 0 ? -errno : sys_move_mount(tree_fd, target);
	return r < 0 ? fault_errno(fault, r, "share: mount \"%s/%s\"", share->path, entry) : 0;
}

static int remove_entry(struct share *share, const char *entry, bool directory)
{
	char path[PATH_MAX];
	int r = entry_path(share, entry, path);

	if (r >= 0)
		r = sys_umount(path, MNT_DETACH | UMOUNT_NOFOLLOW);
	/* Where nothing was mounted, adding it has failed. */
	if (r < 0 && r != -EINVAL)
		return r;
	return unlinkat(share->fd, entry, directory ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;
}

static int remove_all(struct share *share)
{
	int copy = fcntl(share->fd, F_DUPFD_CLOEXEC, 0), r = 0;
	DIR *directory = copy < 0 ? NULL : fdopendir(copy);

	if (!directory) {
		r = -errno;
		close_fd(&copy);
		return r;
	}
	rewinddir(directory);
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		/* Of what is below the mounts: asking those might take for ever. */
		int error = remove_entry(share, entry->d_name, entry->d_type == DT_DIR);
		r = error < 0 ? error : r;
	}
	closedir(directory);
	if (unlinkat(share->parent_fd, share->name, AT_REMOVEDIR) < 0 && r == 0)
		r = -errno;
	return r;
}

void share_free(struct share *share)
{
	if (!share)
		return;
	int r = remove_all(share);
	/* With the partition the whole share has gone. */
	if (r < 0 && r != -ENOENT)
		log_warning("remove %s: %s", share->path, errno_text(r));
	destroy(share);
}
