/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Pausing a VM with all that is in it. Its clock stands still meanwhile, so the first thing that it
 * is told afterwards is the time: before anything in it can act on the old one twice.
 */

#include "shim/task.h"

#include <time.h>

static void on_clock_set(struct bridge_call *call, const void *reply, const struct fault *fault)
{
	if (!reply)
		log_warning("set the clock of the VM: %s", fault->text);
	free(call);
}

static void set_clock(struct task *task)
{
	struct fault fault = FAULT_NULL;
	struct timespec now;

	if (!task->partition->driver->boots)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	const struct clock_request request = {
		.base = { .container_id = NULL_CID },
		.time = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
	};
	struct bridge_call *call = calloc(1, sizeof(*call));
	if (call && bridge_send(task->bridge, call, MESSAGE_CLOCK,
	                        message_find(MESSAGE_CLOCK)->request, &request, on_clock_set,
	                        &fault) < 0) {
		log_warning("set the clock of the VM: %s", fault.text);
		free(call);
	}
}

static void set_paused(struct task *task, bool paused)
{
	task->paused = paused;
	if (!paused)
		set_clock(task);
}

static void answered(struct partition_call *call, const struct fault *fault, bool paused)
{
	struct task_request *request = container_of(call, struct task_request, of_driver);
	struct task *task = request->container->task;

	task->pausing = false;
	if (fault) {
		task_failed(request, fault);
		return;
	}
	set_paused(task, paused);
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
		                 task->dead ? "has ended" : task->pausing ? "is changing its state" :
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

static void on_unpaused(struct partition_call *call, const struct fault *fault)
{
	struct task *task = container_of(call, struct task, unpausing);

	task->pausing = false;
	if (fault)
		log_warning("resume the VM: %s", fault->text);
	else
		set_paused(task, false);
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
