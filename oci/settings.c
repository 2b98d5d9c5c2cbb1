/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order of the rows is that of Microsoft's structs, with ours at the end. What theirs has and
 * nobody uses any more (VerityInfo, Cache, PathType) is not here: unknown members are ignored.
 */

#include "oci/settings.h"

static const struct json_field scsi_device_fields[] = {
	JSON_FIELD(struct scsi_device, disk.controller, "Controller", u8),
	JSON_FIELD(struct scsi_device, disk.lun, "Lun", u8),
	{ NULL },
};
const struct json_type scsi_device_type = JSON_TYPE(struct scsi_device, scsi_device_fields);

static const struct json_field mapped_virtual_disk_fields[] = {
	JSON_FIELD(struct mapped_virtual_disk, mount_path, "MountPath", str),
	JSON_FIELD(struct mapped_virtual_disk, disk.lun, "Lun", u8),
	JSON_FIELD(struct mapped_virtual_disk, disk.controller, "Controller", u8),
	JSON_FIELD(struct mapped_virtual_disk, partition, "Partition", u64),
	JSON_FIELD(struct mapped_virtual_disk, read_only, "ReadOnly", bool),
	JSON_FIELD(struct mapped_virtual_disk, encrypted, "Encrypted", bool),
	JSON_FIELD(struct mapped_virtual_disk, options, "Options", str_list),
	JSON_FIELD(struct mapped_virtual_disk, block_dev, "BlockDev", bool),
	JSON_FIELD(struct mapped_virtual_disk, ensure_filesystem, "EnsureFilesystem", bool),
	JSON_FIELD(struct mapped_virtual_disk, filesystem, "Filesystem", str),
	{ NULL },
};
const struct json_type mapped_virtual_disk_type =
	JSON_TYPE(struct mapped_virtual_disk, mapped_virtual_disk_fields);

static const struct json_field mapped_directory_fields[] = {
	JSON_FIELD(struct mapped_directory, mount_path, "MountPath", str),
	JSON_FIELD(struct mapped_directory, port, "Port", i32),
	JSON_FIELD(struct mapped_directory, share_name, "ShareName", str),
	JSON_FIELD(struct mapped_directory, read_only, "ReadOnly", bool),
	JSON_FIELD(struct mapped_directory, transport, "Transport", str),
	{ NULL },
};
const struct json_type mapped_directory_type =
	JSON_TYPE(struct mapped_directory, mapped_directory_fields);

static const struct json_field combined_layer_fields[] = {
	JSON_FIELD(struct combined_layer, id, "Id", str),
	JSON_FIELD(struct combined_layer, path, "Path", str),
	{ NULL },
};
static const struct json_type combined_layer_type =
	JSON_TYPE(struct combined_layer, combined_layer_fields);

static const struct json_field combined_layers_fields[] = {
	JSON_FIELD(struct combined_layers, container_id, "ContainerID", str),
	JSON_FIELD(struct combined_layers, container_root_path, "ContainerRootPath", str),
	JSON_FIELD(struct combined_layers, layers, "Layers", list, 0, &combined_layer_type),
	JSON_FIELD(struct combined_layers, scratch_path, "ScratchPath", str),
	JSON_FIELD(struct combined_layers, scratch_type, "ScratchType", str),
	JSON_FIELD(struct combined_layers, scratch_size, "ScratchSize", u64),
	{ NULL },
};
const struct json_type combined_layers_type =
	JSON_TYPE(struct combined_layers, combined_layers_fields);
