/* SPDX-License-Identifier: Apache-2.0 */

/*
 * containerd.task.v2.Task, and v3, which is the same to the bit. One handler per method: it finds
 * what the request is about, refuses what makes no sense, and leaves the rest to those who know.
 */

#include "shim/containerd/front.h"

#include "oci/spec.h"
#include "shim/containerd/any.h"
#include "shim/containerd/proto/events.pb-c.h"
#include "shim/containerd/proto/runc.pb-c.h"

#include <signal.h>
#include <string.h>

/* Requests have several types, but the first member is the base of all. */
#define REQUEST(type) const Containerd__Task__V2__##type *wanted = (const void *)request

/* Documents in JSON, whose types have names like paths: the last part tells what it is. */
static int require_type(const char *what, const Google__Protobuf__Any *any, const char *type,
                        struct fault *fault)
{
	const char *slash = strrchr(any->type_url, '/');

	return !strcmp(slash ? slash + 1 : any->type_url, type) ? 0 :
		fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "%s: unknown type \"%s\"",
		          what, any->type_url);
}

static int require_container(struct front *front, const char *id, struct member **ret,
                             struct fault *fault)
{
	int r = member_require(front, id, ret, fault);

	return r < 0 ? r : front_require_awake(front, fault);
}

static int require_status(const struct member *member, const char *verb, unsigned statuses,
                          struct fault *fault)
{
	enum container_status status = container_status(member->container);

	return statuses & 1u << status ? 0 :
		fault_set(fault, -EINVAL, HRESULT_INVALID_STATE,
		          "cannot %s container \"%s\": it is %s", verb, member->id,
		          container_status_name(status));
}

/* Create, Start, Delete */

static int handle_create(struct ttrpc_call *call, const ProtobufCMessage *request,
                         struct fault *fault)
{
	return member_create(front_of(call), call, (const void *)request, fault);
}

static int handle_start(struct ttrpc_call *call, const ProtobufCMessage *request,
                        struct fault *fault)
{
	REQUEST(StartRequest);
	struct program *program;
	int r = program_require(front_of(call), wanted->id, wanted->exec_id, &program, fault);

	if (r >= 0)
		r = front_require_awake(front_of(call), fault);
	return r < 0 ? r : program_start(program, call, fault);
}

static void forget_exec(struct program *program)
{
	struct program **at = &program->member->execs;
	struct process *process = program_process(program);

	while (*at != program)
		at = &(*at)->next;
	*at = program->next;
	if (process)
		task_drop_streams(process);
	program_deinit(program);
	free(program);
}

static int delete_exec(struct program *program, struct ttrpc_call *call, struct fault *fault)
{
	Containerd__Task__V2__DeleteResponse reply = CONTAINERD__TASK__V2__DELETE_RESPONSE__INIT;
	Google__Protobuf__Timestamp exited_at = message_time(&program->exited_at);
	struct member *member = program->member;

	if (program->state == PROGRAM_STARTING || program->state == PROGRAM_RUNNING)
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
		                 "cannot delete process \"%s\" of container \"%s\": it is running",
		                 program->name, member->id);
	reply.pid = program->host_pid;
	reply.exit_status = program->exit_status;
	reply.exited_at = &exited_at;
	forget_exec(program);
	ttrpc_answer(call, &reply.base);
	return 0;
}

static int handle_delete(struct ttrpc_call *call, const ProtobufCMessage *request,
                         struct fault *fault)
{
	REQUEST(DeleteRequest);
	struct program *program;
	int r = program_require(front_of(call), wanted->id, wanted->exec_id, &program, fault);

	if (r < 0)
		return r;
	return wanted->exec_id[0] ? delete_exec(program, call, fault)
	                          : member_delete(program->member, call, fault);
}

static int handle_exec(struct ttrpc_call *call, const ProtobufCMessage *request,
                       struct fault *fault)
{
	REQUEST(ExecProcessRequest);
	Containerd__Events__TaskExecAdded event = CONTAINERD__EVENTS__TASK_EXEC_ADDED__INIT;
	struct front *front = front_of(call);
	struct program *existing;
	struct member *member;
	int r = require_container(front, wanted->id, &member, fault);

	if (r >= 0 && (!wanted->exec_id[0] || !wanted->spec))
		r = fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "exec in container \"%s\": "
		              "%s is required", wanted->id, wanted->spec ? "exec_id" : "spec");
	if (r >= 0 && program_require(front, wanted->id, wanted->exec_id, &existing, NULL) >= 0)
		r = fault_set(fault, -EEXIST, HRESULT_CONTAINER_EXISTS,
		              "process \"%s\" of container \"%s\": already exists",
		              wanted->exec_id, wanted->id);
	if (r >= 0)
		r = oci_id_check(wanted->exec_id, fault);
	if (r >= 0)
		r = require_type("spec", wanted->spec, "Process", fault);
	if (r >= 0)
		r = program_add(member, wanted, fault);
	if (r < 0)
		return r;
	event.container_id = wanted->id;
	event.exec_id = wanted->exec_id;
	front_publish(front, "/tasks/exec-added", &event.base);
	ttrpc_answer(call, NULL);
	return 0;
}

/* State, Wait, Pids, Connect: from memory */

static int handle_state(struct ttrpc_call *call, const ProtobufCMessage *request,
                        struct fault *fault)
{
	REQUEST(StateRequest);
	Containerd__Task__V2__StateResponse reply = CONTAINERD__TASK__V2__STATE_RESPONSE__INIT;
	struct program *program;
	int r = program_require(front_of(call), wanted->id, wanted->exec_id, &program, fault);

	if (r < 0)
		return r;
	struct member *member = program->member;
	const struct timespec never = { 0 };
	Google__Protobuf__Timestamp exited_at =
		message_time(program->told ? &program->exited_at : &never);
	reply.id = program->name[0] ? program->name : member->id;
	reply.bundle = member->bundle;
	reply.pid = program->host_pid;
	reply.status = program_status(program);
	reply.stdin = program->in;
	reply.stdout = program->out;
	reply.stderr = program->err;
	reply.terminal = program->terminal;
	reply.exit_status = program->told ? program->exit_status : 0;
	reply.exited_at = &exited_at;
	reply.exec_id = program->name;
	ttrpc_answer(call, &reply.base);
	return 0;
}

static int handle_wait(struct ttrpc_call *call, const ProtobufCMessage *request,
                       struct fault *fault)
{
	REQUEST(WaitRequest);
	struct program *program;
	int r = program_require(front_of(call), wanted->id, wanted->exec_id, &program, fault);

	if (r < 0)
		return r;
	if (program->told) {
		program_wait(program, call);
		return 0;
	}
	r = waiter_park(&program->waiters, call);
	return r < 0 ? fault_errno(fault, r, "wait") : 0;
}

/* Execs are told apart by what goes with their pid. */
static int describe_exec(const struct program *program, Google__Protobuf__Any *ret)
{
	Containerd__Runc__V1__ProcessDetails details = CONTAINERD__RUNC__V1__PROCESS_DETAILS__INIT;

	details.exec_id = program->name;
	return any_pack(ret, &details.base);
}

static int list_pids(const struct member *member, Containerd__Task__V2__ProcessInfo *infos,
                     Google__Protobuf__Any *details, size_t *ret_count)
{
	size_t count = 0;

	containerd__task__v2__process_info__init(&infos[0]);
	infos[count++].pid = member->init.host_pid;
	for (const struct program *p = member->execs; p; p = p->next) {
		if (p->state != PROGRAM_RUNNING)
			continue;
		containerd__task__v2__process_info__init(&infos[count]);
		infos[count].pid = p->host_pid;
		infos[count].info = &details[count];
		int r = describe_exec(p, &details[count++]);
		if (r < 0)
			return r;
	}
	*ret_count = count;
	return 0;
}

static int handle_pids(struct ttrpc_call *call, const ProtobufCMessage *request,
                       struct fault *fault)
{
	REQUEST(PidsRequest);
	Containerd__Task__V2__PidsResponse reply = CONTAINERD__TASK__V2__PIDS_RESPONSE__INIT;
	struct member *member;
	size_t most = 1;
	int r = member_require(front_of(call), wanted->id, &member, fault);

	if (r < 0)
		return r;
	for (const struct program *p = member->execs; p; p = p->next)
		most++;
	cleanup_free Containerd__Task__V2__ProcessInfo *infos = calloc(most, sizeof(*infos));
	cleanup_free Google__Protobuf__Any *details = calloc(most, sizeof(*details));
	cleanup_free Containerd__Task__V2__ProcessInfo **list = calloc(most, sizeof(*list));
	r = infos && details && list ? list_pids(member, infos, details, &reply.n_processes)
	                             : -ENOMEM;
	for (size_t i = 0; list && i < reply.n_processes; i++)
		list[i] = &infos[i];
	reply.processes = list;
	if (r >= 0)
		ttrpc_answer(call, &reply.base);
	for (size_t i = 0; details && i < most; i++)
		any_deinit(&details[i]);
	return r < 0 ? fault_errno(fault, r, "list of processes") : 0;
}

static int handle_connect(struct ttrpc_call *call, const ProtobufCMessage *request,
                          struct fault *fault)
{
	(void)fault;
	REQUEST(ConnectRequest);
	Containerd__Task__V2__ConnectResponse reply = CONTAINERD__TASK__V2__CONNECT_RESPONSE__INIT;
	const struct member *member = member_find(front_of(call), wanted->id);

	reply.shim_pid = (uint32_t)getpid();
	reply.task_pid = member ? member->init.host_pid : 0;
	reply.version = message_text(HVRUN_VERSION);
	ttrpc_answer(call, &reply.base);
	return 0;
}

/* Kill, ResizePty, CloseIO */

static int handle_kill(struct ttrpc_call *call, const ProtobufCMessage *request,
                       struct fault *fault)
{
	REQUEST(KillRequest);
	struct front *front = front_of(call);
	struct program *program;
	int r = program_require(front, wanted->id, wanted->exec_id, &program, fault);

	if (r < 0)
		return r;
	struct member *member = program->member;
	struct process *process = program_process(program);
	if (program->state == PROGRAM_STOPPED || (program->state == PROGRAM_RUNNING && !process))
		return fault_set(fault, -ESRCH, HRESULT_NOT_FOUND, "process already finished");
	if (!process || (wanted->exec_id[0] && program->state != PROGRAM_RUNNING))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_STATE,
		                 "cannot signal process \"%s\" of container \"%s\": it was not "
		                 "started", program->name, member->id);
	if (wanted->signal >= NSIG)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "no such signal: %u",
		                 wanted->signal);
	/* What is to die must not sleep. */
	if (wanted->signal == SIGKILL)
		task_unpause(&front->sandbox.task);
	else
		r = front_require_awake(front, fault);
	struct question *question = r < 0 ? NULL : question_new(call, NULL, fault);
	if (!question)
		return r < 0 ? r : -ENOMEM;
	if (wanted->signal == SIGKILL && !wanted->exec_id[0])
		member_limit_kill(member);
	bool whole = wanted->all || (wanted->signal == SIGKILL && !wanted->exec_id[0]);
	return question_asked(question, task_signal(process, (int)wanted->signal,
	                                            whole ? SCOPE_CONTAINER : SCOPE_PROCESS,
	                                            &question->request, fault));
}

static int handle_resize(struct ttrpc_call *call, const ProtobufCMessage *request,
                         struct fault *fault)
{
	REQUEST(ResizePtyRequest);
	struct program *program;
	int r = program_require(front_of(call), wanted->id, wanted->exec_id, &program, fault);

	if (r < 0)
		return r;
	uint16_t height = (uint16_t)(wanted->height > UINT16_MAX ? UINT16_MAX : wanted->height);
	uint16_t width = (uint16_t)(wanted->width > UINT16_MAX ? UINT16_MAX : wanted->width);
	struct process *process = program_process(program);
	if (program->state == PROGRAM_NEW)
		r = program_set_size(program, height, width, fault);
	if (r < 0)
		return r;
	/* Without a terminal, and for one that is over, there is nothing to do. */
	if (!process || !program->terminal || program->state == PROGRAM_STOPPED) {
		ttrpc_answer(call, NULL);
		return 0;
	}
	r = front_require_awake(front_of(call), fault);
	struct question *question = r < 0 ? NULL : question_new(call, NULL, fault);
	if (!question)
		return r < 0 ? r : -ENOMEM;
	return question_asked(question, task_resize(process, height, width, &question->request,
	                                            fault));
}

static int handle_close_io(struct ttrpc_call *call, const ProtobufCMessage *request,
                           struct fault *fault)
{
	REQUEST(CloseIORequest);
	struct program *program;
	int r = program_require(front_of(call), wanted->id, wanted->exec_id, &program, fault);

	if (r < 0)
		return r;
	struct process *process = program_process(program);
	if (wanted->stdin && program->state != PROGRAM_STOPPED) {
		program->input_closed = true;
		if (process)
			r = task_close_input(process);
	}
	if (r < 0)
		return fault_errno(fault, r, "close the input of container \"%s\"", wanted->id);
	ttrpc_answer(call, NULL);
	return 0;
}

/* Pause, Resume, Update, Stats */

static int freeze(struct ttrpc_call *call, const char *id, bool pause, struct fault *fault)
{
	struct member *member;
	int r = require_container(front_of(call), id, &member, fault);

	if (r >= 0)
		r = require_status(member, pause ? "pause" : "resume",
		                   1u << (pause ? CONTAINER_RUNNING : CONTAINER_PAUSED), fault);
	struct question *question = r < 0 ? NULL : question_new(call, NULL, fault);
	if (!question)
		return r < 0 ? r : -ENOMEM;
	return question_asked(question, task_pause(member->container, pause, &question->request,
	                                           fault));
}

static int handle_pause(struct ttrpc_call *call, const ProtobufCMessage *request,
                        struct fault *fault)
{
	REQUEST(PauseRequest);
	return freeze(call, wanted->id, true, fault);
}

static int handle_resume(struct ttrpc_call *call, const ProtobufCMessage *request,
                         struct fault *fault)
{
	REQUEST(ResumeRequest);
	return freeze(call, wanted->id, false, fault);
}

static int handle_update(struct ttrpc_call *call, const ProtobufCMessage *request,
                         struct fault *fault)
{
	REQUEST(UpdateTaskRequest);
	struct arena arena = ARENA(JSON_ARENA);
	struct oci_resources resources = { 0 };
	struct member *member;
	int r = require_container(front_of(call), wanted->id, &member, fault);

	if (r >= 0)
		r = require_status(member, "update", 1u << CONTAINER_CREATED |
		                   1u << CONTAINER_RUNNING | 1u << CONTAINER_PAUSED, fault);
	if (r >= 0 && !wanted->resources)
		r = fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		              "update of container \"%s\": resources are required", wanted->id);
	if (r >= 0)
		r = require_type("resources", wanted->resources, "LinuxResources", fault);
	if (r >= 0)
		r = json_decode(&arena, &oci_resources_type,
		                (const char *)wanted->resources->value.data,
		                wanted->resources->value.len, &resources, fault);
	struct question *question = r < 0 ? NULL : question_new(call, NULL, fault);
	if (question)
		r = question_asked(question, task_update(member->container, &resources,
		                                         &question->request, fault));
	arena_free(&arena);
	return r >= 0 && !question ? -ENOMEM : r;
}

static void on_statistics(struct question *question, const struct control_reply *reply)
{
	Containerd__Task__V2__StatsResponse response = CONTAINERD__TASK__V2__STATS_RESPONSE__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;

	if (question_figures(question, reply, &any) < 0)
		return;
	response.stats = &any;
	ttrpc_answer(question->call, &response.base);
	any_deinit(&any);
}

static int handle_stats(struct ttrpc_call *call, const ProtobufCMessage *request,
                        struct fault *fault)
{
	REQUEST(StatsRequest);
	struct member *member;
	int r = require_container(front_of(call), wanted->id, &member, fault);
	struct question *question = r < 0 ? NULL : question_new(call, on_statistics, fault);

	if (!question)
		return r < 0 ? r : -ENOMEM;
	return question_asked(question, task_statistics(member->container, &question->request,
	                                                fault));
}

/* Checkpoint, Shutdown */

static int handle_checkpoint(struct ttrpc_call *call, const ProtobufCMessage *request,
                             struct fault *fault)
{
	REQUEST(CheckpointTaskRequest);
	struct member *member;
	int r = member_require(front_of(call), wanted->id, &member, fault);

	return r < 0 ? r : fault_set(fault, -ENOSYS, HRESULT_NOT_IMPLEMENTED,
	                             "containers in a partition cannot be checkpointed");
}

/* Asked for after the deletion of each container, it is meant when the last has gone. */
static int handle_shutdown(struct ttrpc_call *call, const ProtobufCMessage *request,
                           struct fault *fault)
{
	(void)request;
	(void)fault;
	struct front *front = front_of(call);
	bool wanted = front->members || (front->sandboxed && !front->exited_at.tv_sec);

	ttrpc_answer(call, NULL);
	if (!wanted)
		front_leave(front);
	return 0;
}

#define METHOD(name, type, handler) \
	{ name, &containerd__task__v2__##type##_request__descriptor, handler }

const struct ttrpc_method task_methods[] = {
	METHOD("State", state, handle_state),
	METHOD("Create", create_task, handle_create),
	METHOD("Start", start, handle_start),
	METHOD("Delete", delete, handle_delete),
	METHOD("Pids", pids, handle_pids),
	METHOD("Pause", pause, handle_pause),
	METHOD("Resume", resume, handle_resume),
	METHOD("Checkpoint", checkpoint_task, handle_checkpoint),
	METHOD("Kill", kill, handle_kill),
	METHOD("Exec", exec_process, handle_exec),
	METHOD("ResizePty", resize_pty, handle_resize),
	{ "CloseIO", &containerd__task__v2__close_iorequest__descriptor, handle_close_io },
	METHOD("Update", update_task, handle_update),
	METHOD("Wait", wait, handle_wait),
	METHOD("Stats", stats, handle_stats),
	METHOD("Connect", connect, handle_connect),
	METHOD("Shutdown", shutdown, handle_shutdown),
};
const size_t task_method_count = array_size(task_methods);
