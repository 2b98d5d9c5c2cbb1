/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The host speaks of "controller 0, LUN 3"; the kernel numbers its SCSI hosts as it finds them, and
 * names disks in the order of their coming. On Hyper-V the controllers are known by the instance
 * ids that Microsoft's host gives them; on virtio the first controller is the first host of that
 * driver, whatever other hosts (of SATA, of USB) were found before.
 */

#include "agent/scsi.h"

#include "oci/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static const char *const vmbus_ids[SCSI_CONTROLLERS] = {
	"df6d0690-79e5-55b6-a5ec-c1e2f77f580a",
	"0110f83b-de10-5172-a266-78bca56bf50a",
	"b5d2d8d4-3a75-51bf-945b-3444dc6b8579",
	"305891a9-b251-5dfe-91a2-c25d9212275b",
};

static void close_directory(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}
#define cleanup_directory cleanup(close_directory)

/* N of "hostN". */
static int host_number(const char *name)
{
	char *end;
	if (strncmp(name, "host", 4) || name[4] < '0' || name[4] > '9')
		return -EINVAL;
	unsigned long number = strtoul(name + 4, &end, 10);
	return *end || number > INT_MAX ? -EINVAL : (int)number;
}

static int vmbus_host(const struct device_roots *roots, unsigned controller)
{
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "%s/bus/vmbus/devices/%s", roots->sysfs,
	         vmbus_ids[controller]);
	cleanup_directory DIR *directory = opendir(path);
	const struct dirent *entry;
	while (directory && (entry = readdir(directory))) {
		int number = host_number(entry->d_name);
		if (number >= 0)
			return number;
	}
	return -ENOENT;
}

static bool is_virtio(const struct device_roots *roots, const char *host)
{
	char path[PATH_MAX], driver[64];
	snprintf(path, sizeof(path), "%s/class/scsi_host/%s/proc_name", roots->sysfs, host);
	return file_read_line(AT_FDCWD, path, driver, sizeof(driver)) == 0 &&
	       !strcmp(driver, "virtio_scsi");
}

/* The lowest number above `last` of a virtio host. */
static int next_virtio_host(const struct device_roots *roots, int last)
{
	char path[PATH_MAX];
	int found = -ENOENT;
	snprintf(path, sizeof(path), "%s/class/scsi_host", roots->sysfs);
	cleanup_directory DIR *directory = opendir(path);
	const struct dirent *entry;
	while (directory && (entry = readdir(directory))) {
		int number = host_number(entry->d_name);
		if (number > last && (found < 0 || number < found) &&
		    is_virtio(roots, entry->d_name))
			found = number;
	}
	return found;
}

int scsi_host(const struct device_roots *roots, unsigned controller)
{
	if (controller >= SCSI_CONTROLLERS)
		return -EINVAL;
	int host = vmbus_host(roots, controller);
	if (host >= 0)
		return host;
	host = -1;
	for (unsigned i = 0; i <= controller; i++) {
		host = next_virtio_host(roots, host);
		if (host < 0)
			break;
	}
	return host;
}

/* "<sysfs>/bus/scsi/devices/H:0:0:L" and what is below it. */
static int device_path(const struct device_roots *roots, const struct scsi_disk *disk,
                       const char *below, char ret[static PATH_MAX])
{
	int host = scsi_host(roots, disk->controller);
	if (host < 0)
		return host;
	int n = snprintf(ret, PATH_MAX, "%s/bus/scsi/devices/%d:0:0:%u/%s", roots->sysfs, host,
	                 disk->lun, below);
	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/*
 * The one directory below path, or that of the partition, added to path. The kernel says which
 * number a partition has; its name says it too, but not in the same way for every driver.
 */
static int enter(char path[static PATH_MAX], uint64_t partition, char *name, size_t name_size)
{
	size_t length = strlen(path);
	cleanup_directory DIR *directory = opendir(path);
	if (!directory)
		return -errno;
	const struct dirent *entry;
	while ((entry = readdir(directory))) {
		char number[32];
		int n = snprintf(path + length, PATH_MAX - length, "/%s/partition", entry->d_name);
		if (entry->d_name[0] == '.' || n < 0 || (size_t)n >= PATH_MAX - length ||
		    strlen(entry->d_name) >= name_size)
			continue;
		if (partition && (file_read_line(AT_FDCWD, path, number, sizeof(number)) < 0 ||
		                  strtoull(number, NULL, 10) != partition))
			continue;
		path[length + 1 + strlen(entry->d_name)] = '\0';
		snprintf(name, name_size, "%s", entry->d_name);
		return 0;
	}
	path[length] = '\0';
	return -ENOENT;
}

int scsi_find(const struct device_roots *roots, const struct scsi_disk *disk, uint64_t partition,
              char ret[static PATH_MAX])
{
	char path[PATH_MAX], name[NAME_MAX + 1];
	int r = device_path(roots, disk, "block", path);
	if (r >= 0)
		r = enter(path, 0, name, sizeof(name));
	if (r >= 0 && partition)
		r = enter(path, partition, name, sizeof(name));
	if (r < 0)
		return r;
	int n = snprintf(ret, PATH_MAX, "%s/%s", roots->dev, name);
	if (n < 0 || n >= PATH_MAX)
		return -ENAMETOOLONG;
	return access(ret, F_OK) < 0 ? -errno : 0;
}

int scsi_delete(const struct device_roots *roots, const struct scsi_disk *disk)
{
	char path[PATH_MAX];
	int r = device_path(roots, disk, "delete", path);
	return r < 0 ? r : file_write_text(AT_FDCWD, path, "1\n");
}
