/* SPDX-License-Identifier: Apache-2.0 */

/*
 * containerd.runtime.sandbox.v1.Sandbox: a pod without a container that stands for it. The
 * partition is the sandbox, and it is there since `start`; what is created here is containerd's idea
 * of it.
 */

#include "shim/containerd/front.h"

#include "shim/containerd/any.h"
#include "shim/containerd/pack.h"
#include "shim/containerd/proto/cri.pb-c.h"
#include "shim/containerd/proto/sandbox.pb-c.h"

#include <string.h>
#include <sys/utsname.h>

#define REQUEST(type) const Containerd__Runtime__Sandbox__V1__##type *wanted = (const void *)request

static int require_sandbox(struct front *front, const char *id, struct fault *fault)
{
	return front->sandboxed && !strcmp(id, front->options->group) ? 0 :
		fault_set(fault, -ENOENT, HRESULT_NOT_FOUND, "sandbox \"%s\": not found", id);
}

static bool is_alive(const struct front *front)
{
	return front->sandbox.born && !front->exited_at.tv_sec && !front->sandbox.task.dead;
}

/* Create */

void front_answer_sandbox(struct front *front)
{
	struct fault fault = FAULT_NULL;
	struct ttrpc_call *call;

	while ((call = waiter_take(&front->creations))) {
		if (front->failure[0]) {
			fault_set(&fault, -ENOTCONN, HRESULT_FAIL, "%s", front->failure);
			ttrpc_refuse(call, &fault);
		} else {
			ttrpc_answer(call, NULL);
		}
	}
}

static int copy_text(char **ret, const char *text)
{
	*ret = text[0] ? strdup(text) : NULL;
	return text[0] && !*ret ? -ENOMEM : 0;
}

/* What its containers are to have in common and the partition does not know. */
static int take_properties(struct front *front,
                           const Containerd__Runtime__Sandbox__V1__CreateSandboxRequest *wanted,
                           struct fault *fault)
{
	const ProtobufCMessageDescriptor *type = &runtime__v1__pod_sandbox_config__descriptor;
	Runtime__V1__PodSandboxConfig *config = NULL;

	if (any_is(wanted->options, type->name)) {
		config = (void *)unpack_message(type, &wanted->options->value);
		if (!config)
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "sandbox \"%s\": %s cannot be read", wanted->sandbox_id,
			                 type->name);
	}
	int r = copy_text(&front->network, wanted->netns_path);
	if (r >= 0 && config)
		r = copy_text(&front->hostname, config->hostname);
	if (config)
		protobuf_c_message_free_unpacked(&config->base, NULL);
	return r < 0 ? fault_errno(fault, r, "sandbox \"%s\"", wanted->sandbox_id) : 0;
}

static int handle_create(struct ttrpc_call *call, const ProtobufCMessage *request,
                         struct fault *fault)
{
	REQUEST(CreateSandboxRequest);
	struct front *front = front_of(call);

	if (strcmp(wanted->sandbox_id, front->options->group) != 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "sandbox \"%s\": this shim is of \"%s\"", wanted->sandbox_id,
		                 front->options->group);
	if (front->sandboxed)
		return fault_set(fault, -EEXIST, HRESULT_CONTAINER_EXISTS,
		                 "sandbox \"%s\": already exists", wanted->sandbox_id);
	/* What one has left that was refused. */
	free(take_pointer(front->network));
	free(take_pointer(front->hostname));
	int r = take_properties(front, wanted, fault);
	if (r < 0)
		return r;
	r = waiter_park(&front->creations, call);
	if (r < 0)
		return fault_errno(fault, r, "sandbox \"%s\"", wanted->sandbox_id);
	front->sandboxed = true;
	if (front->sandbox.born || front->failure[0])
		front_answer_sandbox(front);
	return 0;
}

static int handle_start(struct ttrpc_call *call, const ProtobufCMessage *request,
                        struct fault *fault)
{
	REQUEST(StartSandboxRequest);
	struct front *front = front_of(call);
	Containerd__Runtime__Sandbox__V1__StartSandboxResponse reply =
		CONTAINERD__RUNTIME__SANDBOX__V1__START_SANDBOX_RESPONSE__INIT;
	int r = require_sandbox(front, wanted->sandbox_id, fault);

	if (r < 0)
		return r;
	if (!is_alive(front) || front->created_at.tv_sec)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_STATE, "sandbox \"%s\": %s",
		                 wanted->sandbox_id, !is_alive(front) ? "its partition does not run"
		                                                      : "already started");
	(void)clock_gettime(CLOCK_REALTIME, &front->created_at);
	Google__Protobuf__Timestamp created_at = message_time(&front->created_at);
	reply.pid = front_pid(front, 0);
	reply.created_at = &created_at;
	ttrpc_answer(call, &reply.base);
	return 0;
}

/* Platform: as Go names machines */

static const char *architecture(const char *machine)
{
	static const char *const names[][2] = {
		{ "x86_64", "amd64" },
		{ "aarch64", "arm64" },
	};

	for (size_t i = 0; i < array_size(names); i++) {
		if (!strcmp(names[i][0], machine))
			return names[i][1];
	}
	return machine;
}

static int handle_platform(struct ttrpc_call *call, const ProtobufCMessage *request,
                           struct fault *fault)
{
	REQUEST(PlatformRequest);
	Containerd__Runtime__Sandbox__V1__PlatformResponse reply =
		CONTAINERD__RUNTIME__SANDBOX__V1__PLATFORM_RESPONSE__INIT;
	Containerd__Types__Platform platform = CONTAINERD__TYPES__PLATFORM__INIT;
	struct utsname names;
	int r = require_sandbox(front_of(call), wanted->sandbox_id, fault);

	if (r < 0)
		return r;
	if (uname(&names) < 0)
		return fault_errno(fault, -errno, "platform");
	platform.os = message_text("linux");
	platform.architecture = message_text(architecture(names.machine));
	reply.platform = &platform;
	ttrpc_answer(call, &reply.base);
	return 0;
}

/* Stop and Wait */

static void answer_wait(struct front *front, struct ttrpc_call *call)
{
	Containerd__Runtime__Sandbox__V1__WaitSandboxResponse reply =
		CONTAINERD__RUNTIME__SANDBOX__V1__WAIT_SANDBOX_RESPONSE__INIT;
	Google__Protobuf__Timestamp exited_at = message_time(&front->exited_at);

	reply.exit_status = front->exit_status;
	reply.exited_at = &exited_at;
	ttrpc_answer(call, &reply.base);
}

void front_sandbox_ended(struct front *front, uint32_t exit_status)
{
	struct ttrpc_call *call;

	if (!front->sandboxed || front->exited_at.tv_sec)
		return;
	front->exit_status = exit_status;
	(void)clock_gettime(CLOCK_REALTIME, &front->exited_at);
	while ((call = waiter_take(&front->stops)))
		ttrpc_answer(call, NULL);
	while ((call = waiter_take(&front->waits)))
		answer_wait(front, call);
}

void front_check_stopped(struct front *front)
{
	bool running = false;

	for (const struct member *m = front->members; m; m = m->next)
		running = running || (m->container && !m->init.told);
	if (front->stops && !running)
		front_sandbox_ended(front, 0);
}

static int handle_stop(struct ttrpc_call *call, const ProtobufCMessage *request,
                       struct fault *fault)
{
	REQUEST(StopSandboxRequest);
	struct front *front = front_of(call);
	int r = require_sandbox(front, wanted->sandbox_id, fault);

	if (r < 0)
		return r;
	if (front->exited_at.tv_sec) {
		ttrpc_answer(call, NULL);
		return 0;
	}
	r = waiter_park(&front->stops, call);
	if (r < 0)
		return fault_errno(fault, r, "sandbox \"%s\"", wanted->sandbox_id);
	/* Its own limit is the caller's to keep: what got SIGKILL is given one of its own. */
	task_unpause(&front->sandbox.task);
	for (struct member *m = front->members; m; m = m->next)
		member_kill(m);
	front_check_stopped(front);
	return 0;
}

static int handle_wait(struct ttrpc_call *call, const ProtobufCMessage *request,
                       struct fault *fault)
{
	REQUEST(WaitSandboxRequest);
	struct front *front = front_of(call);
	int r = require_sandbox(front, wanted->sandbox_id, fault);

	if (r < 0)
		return r;
	if (front->exited_at.tv_sec) {
		answer_wait(front, call);
		return 0;
	}
	r = waiter_park(&front->waits, call);
	return r < 0 ? fault_errno(fault, r, "wait") : 0;
}

/* What there is to be known */

static int handle_status(struct ttrpc_call *call, const ProtobufCMessage *request,
                         struct fault *fault)
{
	REQUEST(SandboxStatusRequest);
	struct front *front = front_of(call);
	Containerd__Runtime__Sandbox__V1__SandboxStatusResponse reply =
		CONTAINERD__RUNTIME__SANDBOX__V1__SANDBOX_STATUS_RESPONSE__INIT;
	int r = require_sandbox(front, wanted->sandbox_id, fault);

	if (r < 0)
		return r;
	Google__Protobuf__Timestamp created_at = message_time(&front->created_at);
	Google__Protobuf__Timestamp exited_at = message_time(&front->exited_at);
	reply.sandbox_id = wanted->sandbox_id;
	reply.pid = front_pid(front, 0);
	bool ready = is_alive(front) && front->created_at.tv_sec;
	reply.state = message_text(ready ? "SANDBOX_READY" : "SANDBOX_NOTREADY");
	reply.created_at = &created_at;
	reply.exited_at = &exited_at;
	ttrpc_answer(call, &reply.base);
	return 0;
}

static int handle_ping(struct ttrpc_call *call, const ProtobufCMessage *request,
                       struct fault *fault)
{
	REQUEST(PingRequest);
	int r = require_sandbox(front_of(call), wanted->sandbox_id, fault);

	if (r >= 0)
		ttrpc_answer(call, NULL);
	return r;
}

static int handle_shutdown(struct ttrpc_call *call, const ProtobufCMessage *request,
                           struct fault *fault)
{
	REQUEST(ShutdownSandboxRequest);
	struct front *front = front_of(call);
	int r = require_sandbox(front, wanted->sandbox_id, fault);

	if (r < 0)
		return r;
	front_sandbox_ended(front, 0);
	ttrpc_answer(call, NULL);
	/* Whatever still runs in it ends, and is told of. */
	sandbox_shut_down(&front->sandbox);
	return 0;
}

static void on_statistics(struct question *question, const struct control_reply *reply)
{
	Containerd__Runtime__Sandbox__V1__SandboxMetricsResponse response =
		CONTAINERD__RUNTIME__SANDBOX__V1__SANDBOX_METRICS_RESPONSE__INIT;
	Containerd__Types__Metric metric = CONTAINERD__TYPES__METRIC__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	struct timespec now;

	if (question_figures(question, reply, &any) < 0)
		return;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	Google__Protobuf__Timestamp timestamp = message_time(&now);
	metric.timestamp = &timestamp;
	metric.id = message_text(question->front->options->group);
	metric.data = &any;
	response.metrics = &metric;
	ttrpc_answer(question->call, &response.base);
	any_deinit(&any);
}

static int handle_metrics(struct ttrpc_call *call, const ProtobufCMessage *request,
                          struct fault *fault)
{
	REQUEST(SandboxMetricsRequest);
	struct front *front = front_of(call);
	int r = require_sandbox(front, wanted->sandbox_id, fault);

	if (r >= 0)
		r = front_require_awake(front, fault);
	struct container *vm = r < 0 ? NULL : task_vm(&front->sandbox.task);
	struct question *question = vm ? question_new(call, on_statistics, fault) : NULL;
	if (!question)
		return r < 0 ? r : fault_errno(fault, -ENOMEM, "figures");
	return question_asked(question, task_statistics(vm, &question->request, fault));
}

#define METHOD(name, type, handler) \
	{ name, &containerd__runtime__sandbox__v1__##type##_request__descriptor, handler }

const struct ttrpc_method sandbox_methods[] = {
	METHOD("CreateSandbox", create_sandbox, handle_create),
	METHOD("StartSandbox", start_sandbox, handle_start),
	METHOD("Platform", platform, handle_platform),
	METHOD("StopSandbox", stop_sandbox, handle_stop),
	METHOD("WaitSandbox", wait_sandbox, handle_wait),
	METHOD("SandboxStatus", sandbox_status, handle_status),
	METHOD("PingSandbox", ping, handle_ping),
	METHOD("ShutdownSandbox", shutdown_sandbox, handle_shutdown),
	METHOD("SandboxMetrics", sandbox_metrics, handle_metrics),
};
const size_t sandbox_method_count = array_size(sandbox_methods);
