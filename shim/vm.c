/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A VM with all that is in it: its pauses, its memory, what is shared with it. That its clock stood
 * still in a pause is the affair of guest.c, which hears from the driver when it goes on.
 */

#include "shim/task_private.h"

#include "oci/settings.h"
#include "shim/forms.h"

#include <limits.h>
#include <stdio.h>

static void answered(struct partition_call *call, const struct fault *fault, bool paused)
{
	struct task_request *request = container_of(call, struct task_request, of_driver);
	struct task *task = request->container->task;

	task->pausing = false;
	if (fault) {
		task_failed(request, fault);
		return;
	}
	task->paused = paused;
	task_done(request, NULL);
}

static void on_paused(struct partition_call *call, const struct fault *fault)
{
	answered(call, fault, true);
}

static void on_resumed(struct partition_call *call, const struct fault *fault)
{
	answered(call, fault, false);
}

int task_pause_vm(struct task *task, bool pause, struct task_request *request,
                  struct fault *fault)
{
	struct partition *partition = task->partition;

	if (!partition->driver->pause)
		return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED,
		                 "a partition of kind \"%s\" cannot be paused",
		                 partition->driver->name);
	if (task->dead || task->pausing || task->paused == pause)
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE, "the VM %s",
		                 task->dead ? "has ended" :
		                 task->pausing ? "is changing its state" :
		                 pause ? "is paused" : "is not paused");
	request->of_driver.answer = pause ? on_paused : on_resumed;
	task_hold(request, task->vm);
	int r = partition->driver->pause(partition, pause, &request->of_driver, fault);
	if (r < 0) {
		container_unref(take_pointer(request->container));
		return r;
	}
	task->pausing = true;
	return 0;
}

static void on_updated(struct partition_call *call, const struct fault *fault)
{
	struct task_request *request = container_of(call, struct task_request, of_driver);

	if (fault)
		task_failed(request, fault);
	else
		task_done(request, NULL);
}

int task_update_vm(struct task *task, uint64_t memory, struct task_request *request,
                   struct fault *fault)
{
	struct partition *partition = task->partition;

	if (!partition->driver->set_memory)
		return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED,
		                 "a partition of kind \"%s\" has no memory that could be changed",
		                 partition->driver->name);
	if (task->dead || task->pausing)
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE, "the VM %s",
		                 task->dead ? "has ended" : "is changing its state");
	request->of_driver.answer = on_updated;
	task_hold(request, task->vm);
	int r = partition->driver->set_memory(partition, memory, &request->of_driver, fault);
	if (r < 0)
		container_unref(take_pointer(request->container));
	return r;
}

static void on_unpaused(struct partition_call *call, const struct fault *fault)
{
	struct task *task = container_of(call, struct task, unpausing);

	task->pausing = false;
	if (fault)
		log_warning("resume the VM: %s", fault->text);
	else
		task->paused = false;
}

void task_unpause(struct task *task)
{
	struct partition *partition = task->partition;
	struct fault fault = FAULT_NULL;

	if (!task->paused || task->pausing || task->dead)
		return;
	task->unpausing.answer = on_unpaused;
	task->pausing = true;
	if (partition->driver->pause(partition, false, &task->unpausing, &fault) < 0) {
		log_warning("resume the VM: %s", fault.text);
		task->pausing = false;
	}
}

/* Shares */

static void on_forgotten(struct bridge_call *call, const void *reply, const struct fault *fault)
{
	if (!reply)
		log_debug("share: %s", fault->text);
	free(call);
}

/* Or it would hold the host's files as long as it remembers their names. */
static void ask_to_forget(struct task *task, const char *path)
{
	const struct mapped_directory directory = { .mount_path = path };
	struct bridge_call *call = calloc(1, sizeof(*call));
	struct fault fault = FAULT_NULL;

	if (call && form_modify(task->bridge, call, "Remove", "MappedDirectoryEntry",
	                        &mapped_directory_type, &directory, on_forgotten, &fault) < 0) {
		log_debug("share: %s", fault.text);
		free(call);
	}
}

void task_unshare(struct container *container)
{
	struct task *task = container->task;
	struct share *share = take_pointer(container->share);
	char path[PATH_MAX];

	if (!share)
		return;
	snprintf(path, sizeof(path), SHARE_GUEST "/%s", share_path_name(share));
	share_free(share);
	/* A VM without containers ends. */
	if (!task->dead && task->containers)
		ask_to_forget(task, path);
}
