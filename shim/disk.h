/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Disks that are plugged into a running VM: a file of ours, passed to QEMU as a descriptor, on
 * controller 0 of the guest under a number (LUN) that is free.
 */

#include "shim/partition.h"
#include "shim/qmp.h"

#define DISKS_MAX 255

struct disk;
struct disks {
	struct qmp *qmp;
	struct disk *first;
	uint32_t next;                  /* number to try first */
};

/* fd is borrowed. call->lun is set at once. */
int disk_attach(struct disks *disks, int fd, bool read_only, struct partition_call *call,
                struct fault *fault);
int disk_detach(struct disks *disks, uint32_t lun, struct partition_call *call,
                struct fault *fault);
/* DEVICE_DELETED: the guest has let go of a device. */
void disk_gone(struct disks *disks, const char *device);
/* After qmp_deinit(). Who still waits is answered. */
void disks_deinit(struct disks *disks);
