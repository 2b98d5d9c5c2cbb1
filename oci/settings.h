/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What ModifySettings can add to a VM and take from it: the Settings of each ResourceType
 * (PROTOCOL.md).
 */

#include "oci/json.h"

#define SCSI_CONTROLLERS 4      /* of a VM, 0 … 3 */

struct scsi_disk {
	uint8_t controller, lun;
};
struct scsi_device {                    /* SCSIDevice */
	struct scsi_disk disk;
};
struct mapped_virtual_disk {            /* MappedVirtualDisk */
	const char *mount_path;
	struct scsi_disk disk;
	uint64_t partition;             /* from 1; 0 = the whole disk */
	bool read_only, encrypted, block_dev, ensure_filesystem;
	struct str_list options;
	const char *filesystem;         /* NULL = what is found on the disk */
};
struct mapped_directory {               /* MappedDirectory */
	const char *mount_path;
	int32_t port;                   /* of the host's 9p server */
	const char *share_name;         /* for virtiofs its tag */
	bool read_only;
	const char *transport;          /* ours: "virtiofs"; NULL = 9p over vsock */
};
struct combined_layer {
	const char *id, *path;
};
struct combined_layers {                /* CombinedLayers */
	const char *container_id, *container_root_path;
	LIST(struct combined_layer) layers;     /* the first is on top */
	const char *scratch_path;       /* NULL and no type = read-only */
	const char *scratch_type;       /* ours: "tmpfs", which has no path */
	uint64_t scratch_size;          /* ours: of the tmpfs in bytes; 0 = the kernel's default */
};

extern const struct json_type scsi_device_type, mapped_virtual_disk_type, mapped_directory_type,
	combined_layers_type;
