/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One row per message: what it does here and whether it needs a session. Refusal comes before
 * parsing: a message that is unknown, or not allowed in the connection's present state, is
 * answered without a look at its body. A handler gets the decoded struct and either answers,
 * keeps the request for later (taking it by clearing it), or returns an error with a fault, which
 * is then the answer.
 */

#include "agent/request.h"

#include "agent/agent.h"
#include "agent/boot.h"
#include "agent/clock.h"
#include "agent/properties.h"
#include "agent/vm.h"
#include "oci/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

struct call {
	struct agent *agent;
	struct request request;
	struct arena arena;             /* of the decoded body; may be taken */
	struct container *container;    /* NULL when the handler's row does not ask for one */
};

/* What an answer to NegotiateProtocol takes besides the ids of the containers. */
#define NEGOTIATION_REST 2048

typedef int handler_fn(struct call *call, const void *body, struct fault *fault);

struct handler {
	uint32_t type;
	handler_fn *handle;
	bool session;           /* beyond GCS v4: only in session mode */
	bool booted;            /* only by an agent that has a VM for itself */
	bool of_container;      /* looked up before the handler is called */
};

static bool is_null_cid(const char *id)
{
	return !strcmp(id, NULL_CID);
}

#define FEATURES "streams", "signal-scope", "pause", "hold", "statistics", "oom", "vm-process", \
		 "virtiofs", "scratch-type"
static const char *features[] = { FEATURES };
/* Of an agent that has a VM for itself. */
static const char *vm_features[] = { FEATURES, "clock", "kmsg", "power" };

/* Whoever comes later cannot change it. What does not fit is none. */
static void keep_secret(struct bridge *bridge, const char *secret)
{
	if (secret && !bridge->secret[0] && strlen(secret) < sizeof(bridge->secret))
		snprintf(bridge->secret, sizeof(bridge->secret), "%s", secret);
}

static void session_negotiate(struct call *call, const struct session_request *asked,
                              struct session_reply *reply)
{
	struct agent *agent = call->agent;
	/* This answer is still bound to the size of plain mode. */
	size_t count = 0, room = FRAME_PLAIN_MAX - NEGOTIATION_REST;
	for (struct container *c = agent->containers; c; c = c->next)
		count++;
	reply->containers.item = arena_array(&call->arena, count, sizeof(char *));
	for (struct container *c = agent->containers; c && reply->containers.item; c = c->next) {
		size_t size = strlen(c->id) + strlen("\"\",");
		if (size > room)
			break;
		room -= size;
		reply->containers.item[reply->containers.count++] = c->id;
	}
	uint32_t max = asked->max_frame ? asked->max_frame : FRAME_SESSION_DEFAULT;
	if (max < FRAME_SESSION_MIN)
		max = FRAME_SESSION_MIN;
	if (max > FRAME_SESSION_MAX)
		max = FRAME_SESSION_MAX;
	keep_secret(&agent->bridge, asked->secret);
	reply->secret = agent->bridge.secret[0] ? agent->bridge.secret : NULL;
	reply->version = 1;
	reply->session = asked->session;
	reply->max_frame = max;
	reply->features.item = booted() ? vm_features : features;
	reply->features.count = booted() ? array_size(vm_features) : array_size(features);
}

/* A VM that does not get them goes on with what it has. */
static void take_gifts(const struct session_request *asked)
{
	int error = asked->entropy ? entropy_add(asked->entropy) : 0;
	if (error < 0)
		log_warning("entropy from the host: %s", errno_text(error));
	error = asked->time ? clock_set(asked->time) : 0;
	if (error < 0)
		log_warning("time from the host: %s", errno_text(error));
}

static int on_negotiate(struct call *call, const void *body, struct fault *fault)
{
	const struct negotiate_request *in = body;
	struct agent *agent = call->agent;
	struct bridge *bridge = &agent->bridge;
	if (in->maximum_version < 4 || in->minimum_version > 4)
		return fault_set(fault, -EPROTONOSUPPORT, HRESULT_NO_COMMON_VERSION,
		                 "no common protocol version: %u…%u asked for, 4 supported",
		                 in->minimum_version, in->maximum_version);
	struct hv_guid guid = hv_guid_zero;
	const struct session_request *asked = in->hvrun;
	if (asked && (asked->version < 1 || !asked->session ||
	              hv_guid_parse(asked->session, &guid) < 0))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_JSON,
		                 "Hvrun: needs a Version from 1 and a Session GUID");

	struct schema_version schema = { .major = 2, .minor = 1 };
	struct session_reply session = { 0 };
	struct guest_capabilities guest = {
		.namespace_add_request_supported = true,
		.signal_process_supported = true,
		.dump_stacks_supported = true,
		.delete_container_state_supported = true,
	};
	struct negotiate_reply reply = {
		.version = 4,
		.capabilities = {
			.supported_schema_versions = { .count = 1, .item = &schema },
			.runtime_os_type = "Linux",
			.guest_defined_capabilities = &guest,
		},
	};
	/* With a session on either side, what was not answered has lost its asker. */
	if (asked || bridge->has_session)
		bridge_begin_generation(bridge);
	call->request.generation = bridge->generation;
	bridge->has_session = asked != NULL;
	bridge->session = guid;
	if (asked && booted())
		take_gifts(asked);
	if (asked) {
		session_negotiate(call, asked, &session);
		guest.hvrun = &session;
	}
	if (!bridge_reply(bridge, &call->request, &reply))
		return 0;
	if (asked) {
		bridge->channel.max_in = bridge->channel.max_out = session.max_frame;
		bridge->channel.streams = true;
	}
	bridge_negotiated(bridge);
	log_info("bridge: negotiated%s", asked ? ", with a session" : "");
	if (boot_finish(&agent->loop) < 0)
		loop_stop(&agent->loop);
	for (struct container *c = agent->containers; c; c = c->next)
		container_tell_exit(c);
	return 0;
}

static int on_create(struct call *call, const void *body, struct fault *fault)
{
	const struct create_request *in = body;
	if (!in->container_config)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_JSON,
		                 "ContainerConfig: is required");
	if (is_null_cid(in->base.container_id))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "ContainerId: is that of the VM itself");
	return container_create(call->agent, in->base.container_id, &call->arena,
	                        in->container_config, &call->request, fault);
}

/*
 * The container starts with ExecuteProcess; Microsoft's host sends this before. Ours sends it
 * only for one that was created with Hold.
 */
static int on_start(struct call *call, const void *body, struct fault *fault)
{
	const struct base_request *in = body;
	if (bridge_in_session(&call->agent->bridge)) {
		struct container *container = container_find(call->agent, in->base.container_id);
		if (!container)
			return fault_set(fault, -ENOENT, HRESULT_NO_SUCH_CONTAINER,
			                 "container \"%s\" does not exist", in->base.container_id);
		if (container->config->hold)
			return container_continue(container, &call->request, fault);
	}
	bridge_done(&call->agent->bridge, &call->request);
	return 0;
}

static int on_execute(struct call *call, const void *body, struct fault *fault)
{
	const struct execute_request *in = body;
	const struct process_parameters *parameters = in->settings.process_parameters;
	if (!parameters)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_JSON,
		                 "Settings.ProcessParameters: is required");
	if (is_null_cid(in->base.container_id) || parameters->create_in_utility_vm)
		return vm_exec(call->agent, &call->arena, &in->settings, &call->request, fault);
	struct container *container = container_find(call->agent, in->base.container_id);
	if (!container)
		return fault_set(fault, -ENOENT, HRESULT_NO_SUCH_CONTAINER,
		                 "container \"%s\" does not exist", in->base.container_id);
	if (!parameters->oci_process)
		return container_start(container, &in->settings, &call->request, fault);
	return container_exec(container, &call->arena, &in->settings, &call->request, fault);
}

/* Processes of the VM are found with the null id; GCS bridge v4 can only wait for them. */
static int find_process(struct call *call, const struct request_base *base, uint32_t pid,
                        struct process **ret, struct fault *fault)
{
	struct container *container = NULL;
	bool of_vm = is_null_cid(base->container_id) &&
	             (call->request.type == MESSAGE_WAIT_FOR_PROCESS ||
	              bridge_in_session(&call->agent->bridge));
	if (!of_vm) {
		container = container_find(call->agent, base->container_id);
		if (!container)
			return fault_set(fault, -ENOENT, HRESULT_NO_SUCH_CONTAINER,
			                 "container \"%s\" does not exist", base->container_id);
	}
	*ret = process_find(call->agent, container, pid);
	if (!*ret)
		return fault_set(fault, -ESRCH, HRESULT_NOT_FOUND, "process %u: no such process",
		                 pid);
	return 0;
}

static int on_wait(struct call *call, const void *body, struct fault *fault)
{
	const struct wait_request *in = body;
	struct process *process;
	int error = find_process(call, &in->base, in->process_id, &process, fault);
	if (error < 0)
		return error;
	error = process_wait(process, &call->request, in->timeout_in_ms);
	return error < 0 ? fault_errno(fault, error, "waiting for process %u", in->process_id) : 0;
}

static int on_signal(struct call *call, const void *body, struct fault *fault)
{
	const struct signal_request *in = body;
	int signal = in->options.signal ? in->options.signal : SIGKILL;
	struct process *process;
	int error = find_process(call, &in->base, in->process_id, &process, fault);
	if (error < 0)
		return error;
	if (signal < 0 || signal > SIGRTMAX)
		return fault_set(fault, -EINVAL, HRESULT_FAIL, "signal %d: invalid argument",
		                 signal);
	if (process->init)
		process->container->last_signal = signal;
	error = process_signal(process, signal, (enum signal_scope)in->options.scope, fault);
	if (!error)
		bridge_done(&call->agent->bridge, &call->request);
	return error;
}

static int on_resize(struct call *call, const void *body, struct fault *fault)
{
	const struct resize_request *in = body;
	struct process *process;
	int error = find_process(call, &in->base, in->process_id, &process, fault);
	if (error < 0)
		return error;
	error = stdio_resize(&process->stdio, in->height, in->width);
	if (error == -ENOTTY)
		return fault_set(fault, error, HRESULT_FAIL,
		                 "pid: %u, is not a tty and cannot be resized", in->process_id);
	if (error < 0)
		return fault_errno(fault, error, "resizing the terminal of process %u",
		                   in->process_id);
	bridge_done(&call->agent->bridge, &call->request);
	return 0;
}

static int find_container(struct call *call, const struct request_base *base,
                          struct fault *fault)
{
	if (is_null_cid(base->container_id))
		return fault_set(fault, -EINVAL, HRESULT_FAIL,
		                 "not supported against the VM itself");
	call->container = container_find(call->agent, base->container_id);
	if (!call->container)
		return fault_set(fault, -ENOENT, HRESULT_NO_SUCH_CONTAINER,
		                 "container \"%s\" does not exist", base->container_id);
	return 0;
}

static int on_properties(struct call *call, const void *body, struct fault *fault)
{
	const struct properties_request *in = body;
	struct properties_reply reply = { 0 };
	bool of_vm = is_null_cid(in->base.container_id) &&
	             bridge_in_session(&call->agent->bridge);
	int error = of_vm ? 0 : find_container(call, &in->base, fault);
	if (error < 0)
		return error;
	error = properties_answer(call->agent, call->container, in->query, &call->arena,
	                              &reply.properties, fault);
	if (!error)
		bridge_reply(&call->agent->bridge, &call->request, &reply);
	return error;
}

static int on_constraints(struct call *call, const struct json *settings, struct fault *fault)
{
	if (call->container->state == CONTAINER_STOPPED ||
	    call->container->state == CONTAINER_DELETING)
		return fault_set(fault, -ESRCH, HRESULT_CONTAINER_NOT_RUNNING,
		                 "container \"%s\" is not running", call->container->id);
	struct container_constraints constraints = { 0 };
	int error = json_decode_tree(&call->arena, &container_constraints_type, settings,
	                             &constraints, fault);
	if (!error && constraints.linux_)
		error = cgroup_update(call->container->cgroup, constraints.linux_, fault);
	return error;
}

static int on_modify(struct call *call, const void *body, struct fault *fault)
{
	const struct modify_request *in = body;
	const char *kind = in->request.resource_type ? in->request.resource_type : "";
	const char *id = in->base.container_id;
	if (is_null_cid(id) && storage_knows(kind))
		return storage_modify(&call->agent->storage, &in->request, &call->arena,
		                      &call->request, fault);
	if (strcmp(kind, "ContainerConstraints"))
		return fault_set(fault, -EINVAL, HRESULT_FAIL, "invalid ResourceType '%s'", kind);
	call->container = container_find(call->agent, id);
	if (!call->container)
		return fault_set(fault, -ENOENT, HRESULT_NO_SUCH_CONTAINER,
		                 "container \"%s\" does not exist", id);
	if (in->request.settings.kind != JSON_OBJECT)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_JSON,
		                 "Request.Settings: is required");
	int error = on_constraints(call, &in->request.settings, fault);
	if (!error)
		bridge_done(&call->agent->bridge, &call->request);
	return error;
}

static int shut_down(struct call *call, const struct request_base *base, int signal,
                     struct fault *fault)
{
	struct agent *agent = call->agent;
	if (is_null_cid(base->container_id)) {
		/* The VM itself: no answer, by the protocol. */
		log_info("shutting down at the host's request");
		loop_stop(&agent->loop);
		call->request = (struct request){ 0 };
		return 0;
	}
	struct container *container = container_find(agent, base->container_id);
	if (!container)
		return fault_set(fault, -ENOENT, HRESULT_NO_SUCH_CONTAINER,
		                 "container \"%s\" does not exist", base->container_id);
	if (container->state != CONTAINER_RUNNING && container->state != CONTAINER_CREATED)
		return fault_set(fault, -ESRCH, HRESULT_CONTAINER_NOT_RUNNING,
		                 "container \"%s\" is not running", container->id);
	container->last_signal = signal;
	int error = process_signal(container->init, signal, SCOPE_PROCESS, fault);
	if (!error)
		bridge_done(&agent->bridge, &call->request);
	return error;
}

static int on_shutdown_graceful(struct call *call, const void *body, struct fault *fault)
{
	const struct base_request *in = body;
	return shut_down(call, &in->base, SIGTERM, fault);
}

static int on_shutdown_forced(struct call *call, const void *body, struct fault *fault)
{
	const struct base_request *in = body;
	return shut_down(call, &in->base, SIGKILL, fault);
}

static int on_delete(struct call *call, const void *body, struct fault *fault)
{
	(void)body;
	return container_delete(call->container, &call->request, fault);
}

static int on_dump(struct call *call, const void *body, struct fault *fault)
{
	(void)body;
	/* Every character may take six in JSON. */
	struct buf text = BUF((call->agent->bridge.channel.max_out - 1024) / 6);
	int error = agent_dump(call->agent, &text);
	if (error == -ENOBUFS)
		error = 0; /* what fits */
	struct dump_reply reply = {
		.guest_stacks = arena_copy(&call->arena, buf_head(&text), buf_length(&text)),
	};
	buf_deinit(&text);
	if (error < 0 || !reply.guest_stacks)
		return fault_errno(fault, error < 0 ? error : -ENOMEM, "state dump");
	bridge_reply(&call->agent->bridge, &call->request, &reply);
	return 0;
}

static int on_pause(struct call *call, const void *body, struct fault *fault)
{
	(void)body;
	return container_freeze(call->container, true, &call->request, fault);
}

static int on_resume(struct call *call, const void *body, struct fault *fault)
{
	(void)body;
	return container_freeze(call->container, false, &call->request, fault);
}

static int on_kernel_log(struct call *call, const void *body, struct fault *fault)
{
	const struct kernel_log_request *in = body;
	struct agent *agent = call->agent;
	if (!is_null_cid(in->base.container_id))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "ContainerId: only the VM itself has a kernel log");
	int error = kmsg_start(&agent->kmsg, KMSG_PATH, &agent->loop, &agent->bridge.channel,
	                       in->streams->out, in->streams->window);
	if (error == -EBUSY)
		return fault_set(fault, error, HRESULT_INVALID_STATE,
		                 "the kernel log is being sent already");
	if (error == -EINVAL || error == -EEXIST)
		return fault_set(fault, error, HRESULT_INVALID_ARGUMENT,
		                 "Streams.StdOut: needs an id that is not in use");
	if (error < 0)
		return fault_errno(fault, error, "kernel log");
	bridge_done(&agent->bridge, &call->request);
	return 0;
}

static int on_clock(struct call *call, const void *body, struct fault *fault)
{
	const struct clock_request *in = body;
	int error = clock_set(in->time);
	if (error < 0)
		return fault_set(fault, error, HRESULT_INVALID_ARGUMENT,
		                 "Time: the clock cannot be set to %llu ns",
		                 (unsigned long long)in->time);
	bridge_done(&call->agent->bridge, &call->request);
	return 0;
}

static const struct handler handlers[] = {
	{ MESSAGE_NEGOTIATE_PROTOCOL, on_negotiate },
	{ MESSAGE_CREATE, on_create },
	{ MESSAGE_START, on_start },
	{ MESSAGE_SHUTDOWN_GRACEFUL, on_shutdown_graceful },
	{ MESSAGE_SHUTDOWN_FORCED, on_shutdown_forced },
	{ MESSAGE_EXECUTE_PROCESS, on_execute },
	{ MESSAGE_WAIT_FOR_PROCESS, on_wait },
	{ MESSAGE_SIGNAL_PROCESS, on_signal },
	{ MESSAGE_RESIZE_CONSOLE, on_resize },
	{ MESSAGE_GET_PROPERTIES, on_properties },
	{ MESSAGE_MODIFY_SETTINGS, on_modify },
	{ MESSAGE_DUMP_STACKS, on_dump },
	{ MESSAGE_DELETE_CONTAINER_STATE, on_delete, .of_container = true },
	{ MESSAGE_PAUSE, on_pause, .session = true, .of_container = true },
	{ MESSAGE_RESUME, on_resume, .session = true, .of_container = true },
	{ MESSAGE_KERNEL_LOG, on_kernel_log, .session = true, .booted = true },
	{ MESSAGE_CLOCK, on_clock, .session = true, .booted = true },
};

/* NULL: unknown, or not in the present state of the connection. */
static const struct handler *find_handler(const struct bridge *bridge, uint32_t type)
{
	for (size_t i = 0; i < array_size(handlers); i++) {
		const struct handler *handler = &handlers[i];
		if (handler->type != type)
			continue;
		bool negotiation = type == MESSAGE_NEGOTIATE_PROTOCOL;
		if (negotiation == bridge->negotiated || (handler->booted && !booted()) ||
		    (handler->session && !bridge->has_session))
			return NULL;
		return handler;
	}
	return NULL;
}

static void keep_activity(struct request *request, const struct request_base *base)
{
	struct hv_guid guid;
	if (base->activity_id && !hv_guid_parse(base->activity_id, &guid))
		hv_guid_format(&guid, request->activity_id);
}

static int perform(struct call *call, const struct handler *handler, const char *payload,
                   size_t size, struct fault *fault)
{
	const struct json_type *type = message_find(handler->type)->request;
	void *body = arena_alloc(&call->arena, type->size);
	if (!body)
		return fault_errno(fault, -ENOMEM, "request");
	int error = json_decode(&call->arena, type, payload, size, body, fault);
	if (error < 0) {
		/* Maybe it says at least what it belongs to. */
		struct base_request only = { 0 };
		struct fault ignored;
		json_decode(&call->arena, &base_request_type, payload, size, &only, &ignored);
		keep_activity(&call->request, &only.base);
		return error;
	}
	/* Every request struct begins with its base. */
	struct request_base *base = body;
	keep_activity(&call->request, base);
	/* None is not the VM: that has an id. */
	if (!base->container_id)
		base->container_id = "";
	if (handler->of_container)
		error = find_container(call, base, fault);
	return error < 0 ? error : handler->handle(call, body, fault);
}

int request_handle(struct agent *agent, const struct frame *frame, const char *payload)
{
	struct bridge *bridge = &agent->bridge;
	const struct handler *handler = find_handler(bridge, frame->type);
	const struct message *message = message_find(frame->type);
	struct call call = {
		.agent = agent,
		.request = {
			/*
			 * Never 0, so that even that is answered; the answer's kind is forced
			 * anyway.
			 */
			.type = frame->type | FRAME_REQUEST,
			.connection = bridge->connections,
			.generation = bridge->generation,
			.id = frame->id,
		},
		.arena = ARENA(JSON_ARENA),
	};
	struct fault fault = FAULT_NULL;
	int error;
	if (handler) {
		error = perform(&call, handler, payload, frame->size - FRAME_HEADER, &fault);
	} else {
		char number[16];
		snprintf(number, sizeof(number), "%u", frame->type);
		error = fault_set(&fault, -ENOSYS, HRESULT_NOT_IMPLEMENTED,
		                  "bridge: function not supported, header type: %s",
		                  message && frame->type == message->type ? message->name : number);
	}
	if (error < 0)
		bridge_fail(bridge, &call.request, &fault);
	arena_free(&call.arena);
	return 0;
}
