/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Disks: MappedVirtualDisk puts the file system of one somewhere, SCSIDevice lets go of the whole
 * disk before the host takes it away.
 *
 * A disk that is only read may have a journal that was not finished. Nothing may be written to it,
 * so each file system is told in its own word to leave the journal alone.
 */

#include "agent/storage_private.h"

#include "agent/modules.h"
#include "agent/mountfd.h"
#include "agent/mountpoint.h"
#include "agent/superblock.h"
#include "oci/mountapi.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#define OPEN_TRIES 500          /* of 10 ms */
#define RELEASE_TRIES 50        /* likewise */

static const struct timespec pause_time = { .tv_nsec = 10 * 1000 * 1000 };

static const struct {
	const char *type;
	const char *read_only;          /* more data then */
	const char *make[4];            /* the program that makes one, before the device */
} filesystems[] = {
	{ "ext4", "noload", { "mkfs.ext4", "-q", "-F" } },
	{ "xfs", "norecovery", { "mkfs.xfs", "-q", "-f" } },
	{ "btrfs", "rescue=nologreplay", { "mkfs.btrfs", "-q", "-f" } },
	{ "erofs" },
	{ "squashfs" },
};

const char *disk_text(const struct scsi_disk *disk, char ret[static DISK_TEXT])
{
	snprintf(ret, DISK_TEXT, "disk controller %u, lun %u", disk->controller, disk->lun);
	return ret;
}

static int check_disk(const struct scsi_disk *disk, struct fault *fault)
{
	if (disk->controller < SCSI_CONTROLLERS)
		return 0;
	return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
	                 "Request.Settings.Controller: %u is none of 0 … %d", disk->controller,
	                 SCSI_CONTROLLERS - 1);
}

static bool is_word(const char *text)
{
	return text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static bool has_path(const struct mapped_virtual_disk *disk)
{
	return disk->mount_path && *disk->mount_path;
}

static int disk_check(const struct storage *storage, const void *settings, bool remove,
                      struct fault *fault)
{
	const struct mapped_virtual_disk *disk = settings;
	int r = check_disk(&disk->disk, fault);
	if (!r && has_path(disk))
		r = mountpoint_check(storage->below, "MountPath", disk->mount_path, fault);
	if (r < 0 || remove)
		return r;
	if (disk->encrypted)
		return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED,
		                 "Request.Settings.Encrypted: is not supported");
	if (disk->filesystem && !is_word(disk->filesystem))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "Request.Settings.Filesystem: \"%s\" is no name of a file system",
		                 disk->filesystem);
	return 0;
}

static const char *disk_path(const void *settings, size_t i)
{
	const struct mapped_virtual_disk *disk = settings;
	return i == 0 && has_path(disk) ? disk->mount_path : NULL;
}

static const struct scsi_disk *disk_of(const void *settings, uint64_t *ret_partition)
{
	const struct mapped_virtual_disk *disk = settings;
	*ret_partition = disk->partition;
	return &disk->disk;
}

static bool disk_is_nothing(const void *settings)
{
	return !has_path(settings);
}

static _Noreturn void exec_mkfs(const char *const *make, const char *device)
{
	const char *argv[6] = { NULL }, *environment[] = { NULL };
	static const char *const folders[] = { "/usr/sbin", "/sbin", "/usr/bin", "/bin" };
	size_t count = 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_DFL);
	while (make[count]) {
		argv[count] = make[count];
		count++;
	}
	argv[count] = device;
	for (size_t i = 0; i < array_size(folders); i++) {
		char path[64];
		snprintf(path, sizeof(path), "%s/%s", folders[i], make[0]);
		execve(path, (char *const *)(uintptr_t)argv,
		       (char *const *)(uintptr_t)environment);
	}
	_exit(127);
}

static int make_filesystem(const char *const *make, const char *device, struct fault *fault)
{
	int status;
	pid_t pid = fork();
	if (pid == 0)
		exec_mkfs(make, device);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return fault_errno(fault, -errno, "%s", make[0]);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return fault_set(fault, -ENOENT, HRESULT_FAIL, "there is no %s in this VM",
		                 make[0]);
	return fault_set(fault, -EIO, HRESULT_FAIL, "%s failed with status %d", make[0],
	                 WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static size_t find_filesystem(const char *type)
{
	size_t i = 0;
	while (i < array_size(filesystems) && strcmp(filesystems[i].type, type))
		i++;
	return i;
}

static int probe(const char *device, const char **ret, struct fault *fault)
{
	cleanup_close int fd = open(device, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : superblock_probe(fd, ret);
	if (r == -ENOTUNIQ)
		return fault_set(fault, r, HRESULT_FAIL,
		                 "has the marks of several file systems: Filesystem has to say "
		                 "which");
	return r < 0 ? fault_errno(fault, r, "reading") : 0;
}

/* What is on the disk, or is to be. */
static int choose_type(const struct mapped_virtual_disk *disk, const char *device,
                       const char **ret, struct fault *fault)
{
	const char *wanted = disk->filesystem && *disk->filesystem ? disk->filesystem : NULL;
	*ret = wanted;
	if (wanted && !disk->ensure_filesystem)
		return 0;
	const char *found = NULL;
	int r = probe(device, &found, fault);
	if (r < 0 && !(r == -ENOTUNIQ && disk->ensure_filesystem))
		return r;
	if (!wanted)
		wanted = disk->ensure_filesystem ? "ext4" : found;
	*ret = wanted;
	if (!wanted)
		return fault_set(fault, -ENOENT, HRESULT_FAIL, "no known file system is on it");
	if (!disk->ensure_filesystem || (found && !strcmp(found, wanted)))
		return 0;
	size_t i = find_filesystem(wanted);
	if (disk->read_only || i == array_size(filesystems) || !filesystems[i].make[0])
		return fault_set(fault, -EINVAL, HRESULT_FAIL, "a%s file system \"%s\" is not made",
		                 disk->read_only ? " read-only" : "", wanted);
	return make_filesystem(filesystems[i].make, device, fault);
}

static int mount_type(const struct mapped_virtual_disk *disk, const char *device,
                      const char *type, struct mount_options *options, struct arena *arena,
                      struct fault *fault)
{
	char note[MOUNT_NOTE];
	size_t i = find_filesystem(type);
	if (disk->read_only && i < array_size(filesystems) && filesystems[i].read_only)
		options->data = arena_printf(arena, "%s%s%s", filesystems[i].read_only,
		                             options->data ? "," : "",
		                             options->data ? options->data : "");
	const struct mount_new new = {
		.type = type,
		.source = device,
		.flags = options->flags | (disk->read_only ? MS_RDONLY : 0),
		.data = options->data,
	};
	int r = modules_load(type, fault);
	if (r < 0)
		return r;
	r = mount_create(&new, note);
	return r < 0 ? fault_errno(fault, r, "%s%s%s", type, *note ? ": " : "", note) : r;
}

/* Nobody has looked what is there where the host has said what there should be. */
static int explain(const char *device, const char *wanted, int error, struct fault *fault)
{
	const struct fault inner = *fault;
	const char *found = NULL;
	if (probe(device, &found, NULL) < 0 || (found && !strcmp(found, wanted)))
		return error;
	return fault_set(fault, error, inner.hresult, "%s; %s is on it", inner.text,
	                 found ? found : "no known file system");
}

static int attach(const struct mapped_virtual_disk *disk, int mount_fd,
                  const struct mount_options *options, struct fault *fault)
{
	cleanup(mountpoint_deinit) struct mountpoint point = MOUNTPOINT_NULL;
	int r = mountpoint_make(&point, disk->mount_path, 0700);
	if (r < 0)
		return fault_errno(fault, r, "\"%s\"", disk->mount_path);
	if (mountpoint_taken(&point))
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
		                 "\"%s\": something is mounted there already", disk->mount_path);
	worker_begin();
	r = mount_attach(mount_fd, point.fd);
	if (r >= 0)
		r = mount_propagate(mount_fd, options->propagation);
	if (r >= 0)
		return 0;
	fault_errno(fault, r, "\"%s\"", disk->mount_path);
	mountpoint_undo(&point, true);
	return r;
}

static int add_mount(const struct mapped_virtual_disk *disk, const char *device,
                     struct fault *fault)
{
	cleanup(arena_free) struct arena arena = ARENA(JSON_ARENA);
	struct mount_options options;
	const char *type;
	int r = mount_options_parse(&arena, &disk->options, &options);
	if (r < 0)
		return fault_errno(fault, r, "Options");
	r = choose_type(disk, device, &type, fault);
	if (r < 0)
		return r;
	cleanup_close int fd = mount_type(disk, device, type, &options, &arena, fault);
	if (fd < 0)
		return type == disk->filesystem ? explain(device, type, fd, fault) : fd;
	return attach(disk, fd, &options, fault);
}

/* Says of which disk the fault is. */
static int prefix(const struct scsi_disk *disk, int error, struct fault *fault)
{
	char text[DISK_TEXT];
	const struct fault inner = *fault;
	return fault_set(fault, error, inner.hresult, "%s: %s", disk_text(disk, text), inner.text);
}

/* The kernel shows a disk and makes its file a moment before it can be opened. */
static void await_open(const char *device)
{
	for (int i = 0; i < OPEN_TRIES; i++) {
		cleanup_close int fd = open(device, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 || errno != ENXIO)
			return;
		nanosleep(&pause_time, NULL);
	}
}

static int disk_add(const struct storage_job *job, struct fault *fault)
{
	const struct mapped_virtual_disk *disk = job->settings;
	int r;
	await_open(job->device);
	if (disk->block_dev) {
		r = mountpoint_link(disk->mount_path, job->device);
		if (r < 0)
			fault_errno(fault, r, "link \"%s\"", disk->mount_path);
	} else {
		r = add_mount(disk, job->device, fault);
	}
	return r < 0 ? prefix(&disk->disk, r, fault) : 0;
}

/*
 * The mount goes at once, but the kernel would write back what it holds later, and by then the host
 * may have taken the disk away.
 */
static int write_back(const char *path)
{
	cleanup_close int place_fd = mountpoint_open(path);
	if (place_fd < 0 || !mount_is_root(place_fd))
		return 0;
	cleanup_close int fd = openat(place_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || syncfs(fd) < 0 ? -errno : 0;
}

static int disk_remove(const struct storage_job *job, struct fault *fault)
{
	const struct mapped_virtual_disk *disk = job->settings;
	if (!has_path(disk))
		return 0;
	/* What could not be written is no reason to keep it. */
	int written = disk->block_dev ? 0 : write_back(disk->mount_path);
	int r = disk->block_dev ? mountpoint_unlink(disk->mount_path)
	                        : mountpoint_remove(disk->mount_path);
	if (r < 0)
		fault_errno(fault, r, "unmounting \"%s\"", disk->mount_path);
	else if (written < 0)
		r = fault_errno(fault, written, "writing back what is on it");
	return r < 0 ? prefix(&disk->disk, r, fault) : 0;
}

const struct storage_resource storage_disk = {
	.name = "MappedVirtualDisk",
	.type = &mapped_virtual_disk_type,
	.check = disk_check,
	.path = disk_path,
	.disk = disk_of,
	.add = disk_add,
	.remove = disk_remove,
	.is_nothing = disk_is_nothing,
};

static int device_check(const struct storage *storage, const void *settings, bool remove,
                        struct fault *fault)
{
	const struct scsi_device *device = settings;
	(void)storage;
	(void)remove;
	return check_disk(&device->disk, fault);
}

static const char *device_path(const void *settings, size_t i)
{
	(void)settings;
	(void)i;
	return NULL;
}

static const struct scsi_disk *device_of(const void *settings, uint64_t *ret_partition)
{
	const struct scsi_device *device = settings;
	*ret_partition = 0;
	return &device->disk;
}

/*
 * The kernel takes a file system down some time after its last unmount, and tells nobody: as long
 * as that lasts the disk cannot be opened exclusively. One that is still in use after that goes
 * anyway: the host has decided it, and will unplug it whatever we say.
 */
static void await_release(const char *device)
{
	for (int i = 0; i < RELEASE_TRIES; i++) {
		cleanup_close int fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC);
		if (fd >= 0)
			fsync(fd);
		if (fd >= 0 || errno != EBUSY)
			return;
		nanosleep(&pause_time, NULL);
	}
}

static int device_remove(const struct storage_job *job, struct fault *fault)
{
	const struct scsi_device *device = job->settings;
	if (*job->device)
		await_release(job->device);
	int r = scsi_delete(&job->storage->roots, &device->disk);
	if (r >= 0 || r == -ENOENT)
		return 0;
	fault_errno(fault, r, "removing it");
	return prefix(&device->disk, r, fault);
}

const struct storage_resource storage_device = {
	.name = "SCSIDevice",
	.type = &scsi_device_type,
	.check = device_check,
	.path = device_path,
	.disk = device_of,
	.remove = device_remove,
};
