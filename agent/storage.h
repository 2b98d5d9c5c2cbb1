/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the host adds to the VM and removes again: disks, directories of the host, and layers that
 * make a container's root. A request waits for its device and is worked on beside the loop; those
 * that have to do with the same path or disk are done one after the other, as they came.
 */

#include "agent/bridge.h"
#include "agent/device_events.h"

struct storage_task;
struct storage_bundle;

struct storage {
	struct agent *agent;
	/* May be changed by tests until the first request. */
	struct device_roots roots;
	const char *below;              /* the folder that all mount points lie in */
	uint64_t device_limit;          /* milliseconds: until a disk has appeared */
	uint64_t work_limit;            /* … until the rest is done */

	struct device_events events;    /* while somebody waits for a device */
	struct storage_task *tasks;     /* in the order of their coming */
	size_t task_count;
	bool disks_ready;               /* the kernel has its modules for disks */
	struct storage_bundle *bundles; /* directories that lie on a scratch disk */
};
#define STORAGE_DEVICE_LIMIT 10000
#define STORAGE_WORK_LIMIT 60000
#define STORAGE_TASKS_MAX 256           /* under way at the same time */

void storage_init(struct storage *storage, struct agent *agent);
/* What is mounted stays. */
void storage_deinit(struct storage *storage);
/* Is this a ResourceType of the VM's? */
bool storage_knows(const char *resource_type);
/*
 * ModifySettings of the VM itself. Takes arena and request when it returns 0; they are answered
 * later.
 */
int storage_modify(struct storage *storage, const struct modify_settings *modify,
                   struct arena *arena, struct request *request, struct fault *fault);
/*
 * Nobody waits for answers to earlier requests any more: what was not begun is not done, and what
 * was being added is removed when it is there.
 */
void storage_forget(struct storage *storage);
/*
 * A container is deleted. True: its bundle directory is ours, and there is a mount on it, both of
 * which are to be removed with it by the caller.
 */
bool storage_take_bundle(struct storage *storage, const char *path);
