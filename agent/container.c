/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A container's life. Creation ends when its init waits for its start, deletion when nothing is
 * left in its cgroup: both are events (a report of the child, cgroup.events), so neither blocks
 * the loop and neither polls.
 */

#include "agent/container_private.h"

#include "agent/agent.h"
#include "agent/bundle.h"
#include "oci/log.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>

#define END_BOUND 1000          /* milliseconds */

static const char *const state_names[] = {
	[CONTAINER_CREATING] = "creating",
	[CONTAINER_CREATED] = "created",
	[CONTAINER_RUNNING] = "running",
	[CONTAINER_STOPPED] = "stopped",
	[CONTAINER_DELETING] = "deleting",
};

const char *container_state_name(const struct container *container)
{
	return container->paused ? "paused" : state_names[container->state];
}

struct container *container_find(struct agent *agent, const char *id)
{
	for (struct container *c = agent->containers; c; c = c->next) {
		if (!strcmp(c->id, id))
			return c;
	}
	return NULL;
}

static void release_processes(struct container *container)
{
	struct process *next;
	for (struct process *p = container->agent->processes; p; p = next) {
		next = p->next;
		if (p->container == container)
			process_release(p);
	}
}

static void container_free(struct container *container)
{
	struct container **at = &container->agent->containers;
	while (*at != container)
		at = &(*at)->next;
	*at = container->next;
	release_processes(container);
	source_deinit(&container->events);
	source_deinit(&container->oom);
	close_fd(&container->mount_ns_fd);
	close_fd(&container->root_fd);
	remover_deinit(&container->remover);
	cgroup_free(container->cgroup);
	seccomp_deinit(&container->seccomp);
	arena_free(&container->arena);
	free(container->id);
	free(container);
}

static bool has_children(const struct container *container)
{
	for (struct process *p = container->agent->processes; p; p = p->next) {
		if (p->container == container && p->child.pid && !p->reaped)
			return true;
	}
	return false;
}

/* The id goes whatever the outcome. */
static void finish_deletion(struct container *container)
{
	struct bridge *bridge = &container->agent->bridge;
	int error = container->remains_error;
	bundle_leave(container);
	if (error < 0) {
		struct fault fault;
		fault_errno(&fault, error, "removing the cgroup of container \"%s\"",
		            container->id);
		log_warning("%s", fault.text);
		bridge_fail(bridge, &container->deleting, &fault);
	} else {
		bridge_done(bridge, &container->deleting);
	}
	bridge_fail(bridge, &container->creating, &container->failure);
	container_free(container);
}

static void remains_removed(struct remover *remover)
{
	finish_deletion(container_of(remover, struct container, remover));
}

/* What lies outside the process table: mounts, cgroup, bundle, scratch. True: it takes a while. */
static bool remove_remains(struct container *container)
{
	const struct container_config *config = container->config;
	const char *scratch = config->scratch_dir_path;
	bool ours = container->made_bundle;
	ours |= storage_take_bundle(&container->agent->storage, config->oci_bundle_path);
	const struct remains remains = {
		.mount_ns_fd = container->mount_ns_fd,
		.root_fd = container->root_fd,
		.folders = {
			ours ? config->oci_bundle_path : NULL,
			scratch && *scratch ? scratch : NULL,
		},
	};
	/* Files of a cgroup that is gone are ready for ever. */
	source_deinit(&container->events);
	source_deinit(&container->oom);
	container->remains_error = cgroup_remove(container->cgroup);
	return remover_start(&container->remover, &container->agent->loop, &remains,
	                     remains_removed);
}

/* Ends the container once nothing of it runs any more. */
static void delete_step(struct container *container)
{
	bool populated = false, frozen;
	if (remover_busy(&container->remover))
		return;
	/* Read in any case: an event stays until it is read. */
	int events = cgroup_events(container->cgroup, &populated, &frozen);
	if (has_children(container) || (events >= 0 && populated))
		return;
	if (!remove_remains(container))
		finish_deletion(container);
}

static int events_changed(struct source *source, uint32_t got)
{
	(void)got;
	struct container *container = container_of(source, struct container, events);
	if (container->freezing.type) {
		container_freeze_step(container);
	} else if (container->state == CONTAINER_DELETING) {
		delete_step(container);
	} else {
		source_want(&container->events, 0);
	}
	return 0;
}

int container_watch_events(struct container *container)
{
	if (container->events.fd >= 0)
		return source_want(&container->events, EPOLLPRI);
	return source_init(&container->events, &container->agent->loop,
	                   cgroup_events_fd(container->cgroup), EPOLLPRI, events_changed);
}

void container_end(struct container *container)
{
	struct pollfd events = { .fd = cgroup_events_fd(container->cgroup), .events = POLLPRI };
	bool populated = false, frozen;
	cgroup_kill(container->cgroup);
	while (cgroup_events(container->cgroup, &populated, &frozen) >= 0 && populated &&
	       poll(&events, 1, END_BOUND) > 0)
		;
	cgroup_remove(container->cgroup);
	remains_unmount(container->mount_ns_fd, container->root_fd);
	container_free(container);
}

static void begin_deletion(struct container *container)
{
	container->state = CONTAINER_DELETING;
	container_freeze_overtaken(container);
	cgroup_kill(container->cgroup);
	container_watch_events(container);
	delete_step(container);
}

static int oom_event(struct source *source, uint32_t got)
{
	(void)got;
	struct container *container = container_of(source, struct container, oom);
	container_check_oom(container);
	/* A cgroup that somebody else has removed has an event for ever. */
	if (faccessat(cgroup_fd(container->cgroup), "cgroup.procs", F_OK, 0) < 0)
		source_deinit(source);
	return 0;
}

void container_check_oom(struct container *container)
{
	if (container->oom.fd < 0)
		return;
	uint64_t count = cgroup_oom_count(container->cgroup);
	if (count <= container->oom_count)
		return;
	container->oom_count = count;
	struct notification notification = {
		.base.container_id = container->id,
		.type = "OutOfMemory",
		.operation = "None",
		.count = count,
	};
	if (bridge_in_session(&container->agent->bridge))
		bridge_notify(&container->agent->bridge, &notification);
}

static int watch_oom(struct container *container)
{
	uint32_t want = 0;
	int fd = cgroup_oom_fd(container->cgroup, &want);
	return fd < 0 ? 0
	              : source_init(&container->oom, &container->agent->loop, fd, want, oom_event);
}

static int check_config(const struct container_config *config, struct fault *fault)
{
	const struct schema_version *version = &config->schema_version;
	if (version->major < 2 || (version->major == 2 && version->minor < 1))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_JSON,
		                 "ContainerConfig.SchemaVersion: %d.%d is older than 2.1",
		                 version->major, version->minor);
	if (!config->oci_bundle_path || config->oci_bundle_path[0] != '/')
		return fault_set(fault, -EINVAL, HRESULT_INVALID_JSON,
		                 "ContainerConfig.OciBundlePath: is not an absolute path");
	if (!config->oci_specification)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_JSON,
		                 "ContainerConfig.OciSpecification: is required");
	return oci_spec_check(config->oci_specification, fault);
}

/*
 * A workload of a pod names a sandbox that is here; with a wrong one it is in the wrong VM. A host
 * with a session of ours has seen to that, and the VM itself may be the sandbox.
 */
static int check_role(struct agent *agent, const struct oci_spec *spec, struct fault *fault)
{
	static const char type_key[] = "io.kubernetes.cri.container-type";
	static const char sandbox_key[] = "io.kubernetes.cri.sandbox-id";
	const char *type = oci_annotation(spec, type_key);
	const char *sandbox = oci_annotation(spec, sandbox_key);
	if (!type || !strcmp(type, "sandbox"))
		return 0;
	if (strcmp(type, "container"))
		return fault_set(fault, -EINVAL, HRESULT_FAIL,
		                 "annotation %s: \"%s\" is neither sandbox nor container", type_key,
		                 type);
	if (!sandbox ||
	    (!bridge_in_session(&agent->bridge) && !container_find(agent, sandbox)))
		return fault_set(fault, -ENOENT, HRESULT_FAIL, "annotation %s: no sandbox \"%s\"",
		                 sandbox_key, sandbox ? sandbox : "");
	return 0;
}

static int make_cgroup(struct container *container, struct fault *fault)
{
	struct agent *agent = container->agent;
	if (!agent->cgroup_mounts) {
		int error = cgroup_mounts_probe(&agent->cgroup_mounts, fault);
		if (error < 0)
			return error;
	}
	int error = cgroup_create(agent->cgroup_mounts, container->id, container->spec,
	                          &container->cgroup, fault);
	if (error < 0)
		return error;
	error = watch_oom(container);
	return error < 0 ? fault_errno(fault, error, "watching for out-of-memory kills") : 0;
}

static void plan_for(const struct container *container, const struct process *process,
                     const struct oci_process *description, struct child_plan *ret)
{
	*ret = (struct child_plan){
		.id = container->id,
		.bundle = container->config->oci_bundle_path,
		.spec = container->spec,
		.process = description,
		.cgroup = container->cgroup,
		.seccomp = container->spec->linux_.seccomp ? &container->seccomp : NULL,
		.init_pidfd = -1,
		.root_fd = -1,
	};
	for (int i = 0; i < STDIO_COUNT; i++)
		ret->stdio[i] = process->stdio.end[i].theirs;
}

static int spawn_init(struct container *container, struct fault *fault)
{
	const struct oci_process *description = container->spec->process;
	struct process *init;
	int error = process_new(container->agent, container, description->terminal, &init);
	if (error < 0)
		return fault_errno(fault, error, "making the standard streams");
	init->init = true;
	container->init = init;
	struct child_plan plan;
	plan_for(container, init, description, &plan);
	plan.hold = container->config->hold && bridge_in_session(&container->agent->bridge);
	return process_spawn(init, &plan, fault);
}

static int build(struct container *container, struct fault *fault)
{
	int error = bundle_make(container, fault);
	if (!error)
		error = make_cgroup(container, fault);
	if (!error && container->spec->linux_.seccomp)
		error = seccomp_compile(container->spec->linux_.seccomp, &container->seccomp,
		                        fault);
	if (!error)
		error = spawn_init(container, fault);
	return error;
}

int container_create(struct agent *agent, const char *id, struct arena *arena,
                     const struct container_config *config, struct request *request,
                     struct fault *fault)
{
	int error = oci_id_check(id, fault);
	if (!error)
		error = check_config(config, fault);
	if (!error)
		error = check_role(agent, config->oci_specification, fault);
	if (error < 0)
		return error;
	if (container_find(agent, id))
		return fault_set(fault, -EEXIST, HRESULT_CONTAINER_EXISTS,
		                 "container \"%s\" exists already", id);
	struct container *container = calloc(1, sizeof(*container));
	if (!container)
		return fault_errno(fault, -ENOMEM, "container \"%s\"", id);
	container->agent = agent;
	container->events = container->oom = (struct source)SOURCE_NULL;
	container->remover = (struct remover)REMOVER_NULL;
	container->mount_ns_fd = container->root_fd = -1;
	container->config = config;
	container->spec = config->oci_specification;
	container->id = strdup(id);
	container->next = agent->containers;
	agent->containers = container;
	memcpy(container->activity_id, request->activity_id, sizeof(container->activity_id));

	error = container->id ? build(container, fault) : fault_errno(fault, -ENOMEM, "container");
	if (error < 0 && !has_children(container)) {
		remove_remains(container);
		bundle_leave(container);
		container_free(container);
		return error;
	}
	container->arena = *arena;
	*arena = (struct arena){ 0 };
	container->creating = *request;
	*request = (struct request){ 0 };
	if (error < 0)
		container_init_failed(container, fault);
	return 0;
}

void container_init_joined(struct container *container, int mount_ns_fd)
{
	close_fd(&container->mount_ns_fd);
	container->mount_ns_fd = mount_ns_fd;
}

void container_init_rooted(struct container *container, int root_fd)
{
	close_fd(&container->root_fd);
	container->root_fd = root_fd;
}

/* The answer to Create; what follows is told in the answer to Start. */
void container_init_held(struct container *container)
{
	container->held = true;
	struct create_reply reply = { .process_id = (uint32_t)container->init->child.pid };
	bridge_reply(&container->agent->bridge, &container->creating, &reply);
}

int container_continue(struct container *container, struct request *request, struct fault *fault)
{
	if (!container->held)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_STATE,
		                 "container \"%s\" is not held", container->id);
	int error = child_start(&container->init->child);
	if (error < 0)
		return fault_errno(fault, error, "continuing container \"%s\"", container->id);
	container->held = false;
	container->creating = *request;
	*request = (struct request){ 0 };
	return 0;
}

void container_init_ready(struct container *container)
{
	struct bridge *bridge = &container->agent->bridge;
	container->state = CONTAINER_CREATED;
	struct create_reply reply = { 0 };
	if (bridge_in_session(bridge))
		reply.process_id = (uint32_t)container->init->child.pid;
	bridge_reply(bridge, &container->creating, &reply);
}

/* In creation the container goes; at its start it becomes a stopped one when its init is reaped. */
void container_init_failed(struct container *container, const struct fault *fault)
{
	if (container->state != CONTAINER_CREATING)
		return;
	container->failure = *fault;
	begin_deletion(container);
}

void container_init_exited(struct container *container)
{
	if (container->state == CONTAINER_DELETING) {
		delete_step(container);
		return;
	}
	if (container->state == CONTAINER_CREATING) {
		begin_deletion(container);
		return;
	}
	container->state = CONTAINER_STOPPED;
	/* Whoever is in the cgroup from outside goes on. */
	if (container->paused || container->freezing.type)
		cgroup_freeze(container->cgroup, false);
	container->paused = false;
	container_freeze_overtaken(container);
	/* Only a pid namespace that was its own ends what the init has left behind. */
	const struct oci_namespace *pid = oci_namespace_find(container->spec, OCI_NS_PID);
	if (!pid || pid->path)
		cgroup_kill(container->cgroup);
	container->exit_to_tell = true;
	container_tell_exit(container);
}

/* A cgroup is empty as soon as all in it are dead, which may be before all are reaped. */
void container_exec_exited(struct container *container)
{
	if (container->state == CONTAINER_DELETING)
		delete_step(container);
}

void container_tell_exit(struct container *container)
{
	if (!container->exit_to_tell || container->exit_told ||
	    !process_exit_tellable(container->init))
		return;
	struct notification notification = {
		.base.container_id = container->id,
		.base.activity_id = container->activity_id[0] ? container->activity_id : NULL,
		.type = container->last_signal == SIGTERM   ? "GracefulExit"
		        : container->last_signal == SIGKILL ? "ForcedExit"
		                                            : "UnexpectedExit",
		.operation = "None",
	};
	container->exit_told = bridge_notify(&container->agent->bridge, &notification);
}

static void start_connected(struct process *init, int error)
{
	struct fault fault;
	if (error < 0) {
		fault_errno(&fault, error, "connecting the standard streams");
	} else if (init->running) {
		error = fault_set(&fault, -ESRCH, HRESULT_CONTAINER_NOT_RUNNING,
		                  "the container's init was killed before its start");
	} else if ((error = child_start(&init->child)) < 0) {
		fault_errno(&fault, error, "starting the container's init");
	}
	init->started = !error;
	if (error < 0) {
		stdio_detach_ports(&init->stdio);
		bridge_fail(&init->agent->bridge, &init->starting, &fault);
	}
}

int container_start(struct container *container, const struct execute_settings *settings,
                    struct request *request, struct fault *fault)
{
	struct process *init = container->init;
	if (container->state != CONTAINER_CREATED || init->starting.type)
		return fault_set(fault, -EINVAL,
		                 container->state == CONTAINER_STOPPED
		                         ? HRESULT_CONTAINER_NOT_RUNNING
		                         : HRESULT_INVALID_STATE,
		                 "cannot start a container that is %s",
		                 container->state == CONTAINER_CREATED
		                         ? "starting"
		                         : container_state_name(container));
	init->starting = *request;
	*request = (struct request){ 0 };
	process_connect(init, settings, start_connected);
	return 0;
}

static int check_exec(const struct container *container, struct fault *fault)
{
	if (container->state != CONTAINER_RUNNING)
		return fault_set(fault, -ESRCH, HRESULT_CONTAINER_NOT_RUNNING,
		                 "cannot exec in a container that is %s",
		                 container_state_name(container));
	if (container->paused || (container->freezing.type && container->freeze_wanted))
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
		                 "cannot exec in a paused container");
	return 0;
}

/* Time may have passed since the request. */
static void exec_connected(struct process *process, int error)
{
	struct container *container = process->container;
	struct fault fault;
	if (error < 0) {
		fault_errno(&fault, error, "connecting the standard streams");
	} else if ((error = check_exec(container, &fault)) == 0) {
		struct child_plan plan;
		plan_for(container, process, process->description, &plan);
		plan.exec = true;
		plan.init_pidfd = container->init->child.pidfd;
		plan.root_fd = container->root_fd;
		error = process_spawn(process, &plan, &fault);
	}
	if (error < 0)
		process_fail(process, &fault);
}

/*
 * Plain mode: the limits are the container's, and so is the user unless one is named (GCS bridge
 * v4).
 */
static void inherit_as_gcs(const struct container *container, struct oci_process *process)
{
	const struct oci_process *init = container->spec->process;
	process->rlimits.count = init->rlimits.count;
	process->rlimits.item = init->rlimits.item;
	if (!process->user.username && init->user.username)
		process->user = init->user;
}

int container_exec(struct container *container, struct arena *arena,
                   const struct execute_settings *settings, struct request *request,
                   struct fault *fault)
{
	struct oci_process *description = settings->process_parameters->oci_process;
	int error = check_exec(container, fault);
	if (!error)
		error = oci_process_check(description, fault);
	if (error < 0)
		return error;
	if (!bridge_in_session(&container->agent->bridge))
		inherit_as_gcs(container, description);
	struct process *process;
	error = process_new(container->agent, container, description->terminal, &process);
	if (error < 0)
		return fault_errno(fault, error, "making the standard streams");
	process->arena = *arena;
	*arena = (struct arena){ 0 };
	process->description = description;
	process->starting = *request;
	*request = (struct request){ 0 };
	process_connect(process, settings, exec_connected);
	return 0;
}

int container_delete(struct container *container, struct request *request, struct fault *fault)
{
	if (container->state != CONTAINER_STOPPED && container->state != CONTAINER_CREATED &&
	    !container->held)
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
		                 "cannot delete container \"%s\" while it is %s", container->id,
		                 container_state_name(container));
	container->deleting = *request;
	*request = (struct request){ 0 };
	begin_deletion(container);
	return 0;
}
