/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the host has taken out of a share. A guest goes on holding what it has ever looked up there,
 * and with it the host's daemon holds the files, and they the file system that the host may want to
 * unmount. It lets go when it finds that the name is not there any more; but for a second after
 * the last look it does not ask. Making a directory of that name does ask, at once. The host's side
 * of a share is read-only, so none is made.
 */

#include "agent/storage_private.h"

#include "agent/mountpoint.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static int entry_check(const struct storage *storage, const void *settings, bool remove,
                       struct fault *fault)
{
	const struct mapped_directory *directory = settings;
	(void)remove;
	return mountpoint_check(storage->below, "MountPath", directory->mount_path, fault);
}

static const char *entry_path(const void *settings, size_t i)
{
	const struct mapped_directory *directory = settings;
	return i == 0 ? directory->mount_path : NULL;
}

static int entry_remove(const struct storage_job *job, struct fault *fault)
{
	const struct mapped_directory *directory = job->settings;
	const char *path = directory->mount_path, *slash = strrchr(path, '/');
	cleanup_free char *parent = strndup(path, (size_t)(slash - path));
	if (!parent)
		return fault_errno(fault, -ENOMEM, "\"%s\"", path);
	cleanup_close int fd = mountpoint_open(parent);
	if (fd < 0)
		return fault_errno(fault, fd, "\"%s\"", parent);
	if (mkdirat(fd, slash + 1, 0700) == 0)
		unlinkat(fd, slash + 1, AT_REMOVEDIR);
	return 0;
}

const struct storage_resource storage_entry = {
	.name = "MappedDirectoryEntry",
	.type = &mapped_directory_type,
	.check = entry_check,
	.path = entry_path,
	.remove = entry_remove,
};
