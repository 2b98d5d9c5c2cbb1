/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Disks by controller and LUN, whichever bus the VM has, as sysfs shows them. */

#include "oci/settings.h"

#include <limits.h>

/* The kernel's trees, which a test may have elsewhere. */
struct device_roots {
	const char *sysfs, *dev;
};
#define DEVICE_ROOTS { "/sys", "/dev" }

/*
 * The number of the kernel's host for a controller. -ENOENT: there is none (yet); -EINVAL: no VM
 * has so many.
 */
int scsi_host(const struct device_roots *roots, unsigned controller);
/*
 * The device file of a disk, or of one of its partitions (from 1). -ENOENT: it is not there (yet);
 * -EINVAL as above.
 */
int scsi_find(const struct device_roots *roots, const struct scsi_disk *disk, uint64_t partition,
              char ret[static PATH_MAX]);
/* Has the kernel forget the disk. -ENOENT: it does not know it. */
int scsi_delete(const struct device_roots *roots, const struct scsi_disk *disk);
