/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Pausing and resuming. A cgroup tells that it is frozen by an event, so each is answered later;
 * the end of the container may come first. What must not be frozen in the middle is an exec on its
 * way to its program: it still has the ends of everybody's pipes in its hands.
 */

#include "agent/container_private.h"

#include "agent/agent.h"

void container_freeze_step(struct container *container)
{
	bool populated, frozen;
	int error = cgroup_events(container->cgroup, &populated, &frozen);
	if (error >= 0 && frozen != container->freeze_wanted)
		return;
	source_want(&container->events, 0);
	container->paused = container->freeze_wanted;
	bridge_done(&container->agent->bridge, &container->freezing);
}

void container_freeze_overtaken(struct container *container)
{
	struct fault fault;
	fault_set(&fault, -ESRCH, HRESULT_CONTAINER_NOT_RUNNING, "container \"%s\" has ended",
	          container->id);
	bridge_fail(&container->agent->bridge, &container->freezing, &fault);
}

/* An exec between its clone and its program, with the ends of everybody's pipes still in hand. */
static bool has_starting_exec(const struct container *container)
{
	for (struct process *p = container->agent->processes; p; p = p->next) {
		if (p->container == container && !p->init && p->child.pid && !p->running &&
		    !p->failed)
			return true;
	}
	return false;
}

/* Frozen in the middle of that, an exec of one container would hold up the others. */
static void begin_freezing(struct container *container)
{
	bool frozen = container->freeze_wanted;
	if (frozen && has_starting_exec(container))
		return;
	int error = container_watch_events(container);
	if (!error)
		error = cgroup_freeze(container->cgroup, frozen);
	if (error < 0) {
		struct fault fault;
		fault_errno(&fault, error, "%s container \"%s\"", frozen ? "pausing" : "resuming",
		            container->id);
		bridge_fail(&container->agent->bridge, &container->freezing, &fault);
		return;
	}
	container_freeze_step(container);
}

int container_freeze(struct container *container, bool frozen, struct request *request,
                     struct fault *fault)
{
	if (container->state != CONTAINER_RUNNING && container->state != CONTAINER_CREATED)
		return fault_set(fault, -ESRCH, HRESULT_CONTAINER_NOT_RUNNING,
		                 "container \"%s\" is not running", container->id);
	if (container->freezing.type || container->paused == frozen)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_STATE, "container \"%s\" is %s",
		                 container->id, container->freezing.type ? "being paused or resumed"
		                                : frozen                 ? "paused already"
		                                                         : "not paused");
	container->freeze_wanted = frozen;
	container->freezing = *request;
	*request = (struct request){ 0 };
	begin_freezing(container);
	return 0;
}

void container_exec_settled(struct container *container)
{
	if (container->freezing.type && container->freeze_wanted)
		begin_freezing(container);
}
