/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of storage share. Not for others. */

#include "agent/storage.h"
#include "agent/worker.h"

#include "oci/settings.h"

/* One piece of work, as the child gets it. */
struct storage_job {
	const struct storage *storage;
	const void *settings;
	char device[PATH_MAX];          /* the disk's file; "" = none */
	bool keep_bundle;               /* a container has it still */
};

typedef int storage_fn(const struct storage_job *job, struct fault *fault);

/* One row per ResourceType. */
struct storage_resource {
	const char *name;
	const struct json_type *type;   /* of Settings; NULL: known and not supported */
	/* By looking at them alone; in the loop, as are the next two. */
	int (*check)(const struct storage *storage, const void *settings, bool remove,
	             struct fault *fault);
	/* The paths that it has to do with, by index; NULL after the last. */
	const char *(*path)(const void *settings, size_t i);
	/* The disk, NULL = none; *ret_partition: which part of it has to be there to be added. */
	const struct scsi_disk *(*disk)(const void *settings, uint64_t *ret_partition);
	/* In the child. add undoes what it has done when it fails. NULL: not supported. */
	storage_fn *add, *remove;
	/* Success of add needs no work beyond the disk's being there. */
	bool (*is_nothing)(const void *settings);
};

extern const struct storage_resource storage_disk, storage_device, storage_directory,
	storage_entry, storage_layers;

/* "disk controller 0, lun 5" */
#define DISK_TEXT 48
const char *disk_text(const struct scsi_disk *disk, char ret[static DISK_TEXT]);
/* Of a directory that may hold a bundle: its container's, by the path of that one's root. */
int layers_bundle_path(const struct combined_layers *layers, char ret[static PATH_MAX]);
/* Is the bundle directory bound from the scratch, because that lies elsewhere? */
bool layers_bind_bundle(const struct combined_layers *layers);

/* storage_bundle.c. The root of a container is there; made: its bundle directory was not. */
void storage_bundle_added(struct storage *storage, const struct combined_layers *layers, bool made);
void storage_bundle_removed(struct storage *storage, const struct combined_layers *layers);
/* Is it one that somebody will remove later? */
bool storage_bundle_known(struct storage *storage, const char *path);
/* When its root goes: it is not ours, or its container is still there. */
bool storage_bundle_stays(struct storage *storage, const char *path);
void storage_bundles_forget(struct storage *storage);
