/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A start has two halves that may both wait: the caller's ends of the standard streams, of which
 * one may be a logger that has yet to say that it is ready, and the agent. An exec's streams are
 * opened now and not when it is registered, because its client makes them as late as that.
 */

#include "shim/containerd/front.h"

#include "oci/spec.h"
#include "shim/bundle.h"
#include "shim/containerd/proto/events.pb-c.h"

#include <string.h>

#define EXIT_NOT_STARTED 127

struct process *program_process(const struct program *program)
{
	struct container *container = program->member->container;

	if (!container)
		return NULL;
	if (!program->name[0])
		return container->init;
	return program->pid ? container_process(container, program->pid) : NULL;
}

/* Start */

static void publish_start(const struct program *program)
{
	struct member *member = program->member;
	Containerd__Events__TaskStart init = CONTAINERD__EVENTS__TASK_START__INIT;
	Containerd__Events__TaskExecStarted exec = CONTAINERD__EVENTS__TASK_EXEC_STARTED__INIT;

	init.container_id = exec.container_id = member->id;
	init.pid = exec.pid = program->host_pid;
	exec.exec_id = program->name;
	if (program->name[0])
		front_publish(member->front, "/tasks/exec-started", &exec.base);
	else
		front_publish(member->front, "/tasks/start", &init.base);
}

void program_answer_start(struct program *program)
{
	Containerd__Task__V2__StartResponse reply = CONTAINERD__TASK__V2__START_RESPONSE__INIT;

	reply.pid = program->host_pid;
	ttrpc_answer(take_pointer(program->call), &reply.base);
}

static void failed(struct program *program, const struct fault *fault)
{
	struct ttrpc_call *call = take_pointer(program->call);

	/* How the init has ended, the sandbox says. */
	if (program->name[0])
		program_ended(program, EXIT_NOT_STARTED);
	else if (program->state == PROGRAM_STARTING)
		program->state = PROGRAM_NEW;
	ttrpc_refuse(call, fault);
}

static void on_started(struct task_request *request, const struct control_reply *reply,
                       const struct fault *fault)
{
	struct program *program = container_of(request, struct program, start);
	bool init = !program->name[0];

	request->answer = NULL;
	if (!reply) {
		failed(program, fault);
		return;
	}
	program->state = PROGRAM_RUNNING;
	if (!init) {
		program->pid = reply->pid;
		program->host_pid = front_pid(program->member->front, reply->host_pid);
	}
	publish_start(program);
	if (init && program->member->started_hooks) {
		struct fault refused = FAULT_NULL;
		if (member_run_hooks(program->member, &refused) < 0)
			ttrpc_refuse(take_pointer(program->call), &refused);
		return;
	}
	program_answer_start(program);
	if (!init)
		program_watch(program);
	/* Asked for while nobody could be told. */
	struct process *process = program_process(program);
	if (program->input_closed && process)
		(void)task_close_input(process);
}

static void on_streams(struct streams *streams, const struct fault *fault)
{
	struct program *program = streams_owner(streams);
	struct member *member = program->member;
	struct control_request wanted = {
		.id = member->id,
		.process = program->process,
		.terminal = program->terminal,
		.height = program->height,
		.width = program->width,
	};
	int fd[STDIO_COUNT] = { -1, -1, -1 };
	struct fault why = FAULT_NULL;

	if (fault) {
		failed(program, fault);
		return;
	}
	streams_take(streams, fd);
	wanted.std_in = fd[STDIO_IN] >= 0;
	wanted.std_out = fd[STDIO_OUT] >= 0;
	wanted.std_err = fd[STDIO_ERR] >= 0;
	program->start = (struct task_request){ .answer = on_started };
	if (container_status(member->container) != CONTAINER_RUNNING) {
		stdio_close_fds(fd);
		fault_set(&why, -EINVAL, HRESULT_CONTAINER_NOT_RUNNING,
		          "container \"%s\" is not running", member->id);
	} else if (task_exec(member->container, &wanted, fd, &program->start, &why) >= 0) {
		return;
	}
	program->start.answer = NULL;
	failed(program, &why);
}

void program_abort(struct program *program)
{
	struct fault ended = FAULT_NULL;

	/* The agent will say. */
	if (program->start.answer)
		return;
	fault_set(&ended, 0, HRESULT_CONTAINER_NOT_RUNNING, "container \"%s\" is not running",
	          program->member->id);
	streams_close(take_pointer(program->streams));
	failed(program, &ended);
}

static int start_exec(struct program *program, struct fault *fault)
{
	struct member *member = program->member;
	struct front *front = member->front;
	const struct streams_wish wish = {
		.in = program->in,
		.out = program->out,
		.err = program->err,
		.terminal = program->terminal,
		.input_closed = program->input_closed,
		.id = member->id,
		.namespace = front->options->namespace,
	};

	if (member->init.state != PROGRAM_RUNNING)
		return fault_set(fault, -EINVAL, HRESULT_CONTAINER_NOT_RUNNING,
		                 "container \"%s\" is not running", member->id);
	program->input_closed = false;
	return streams_open(&program->streams, &front->sandbox.loop, &wish, on_streams, program,
	                    fault);
}

static int start_init(struct program *program, struct fault *fault)
{
	struct container *container = program->member->container;

	if (container_status(container) != CONTAINER_CREATED)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_STATE,
		                 "cannot start container \"%s\": it is %s", container->id,
		                 container_status_name(container_status(container)));
	program->start = (struct task_request){ .answer = on_started };
	int r = task_start(container, &program->start, fault);
	if (r < 0)
		program->start.answer = NULL;
	return r;
}

int program_start(struct program *program, struct ttrpc_call *call, struct fault *fault)
{
	struct member *member = program->member;

	if (!member->container || program->state != PROGRAM_NEW || member->deletion)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_STATE,
		                 "cannot start process \"%s\" of container \"%s\": it %s",
		                 program->name, member->id, !member->container ?
		                 "is being created" : member->deletion ? "is being deleted" :
		                 "was started already");
	program->call = call;
	program->state = PROGRAM_STARTING;
	int r = program->name[0] ? start_exec(program, fault) : start_init(program, fault);
	/* Whoever was told within the call is not told twice. */
	if (r < 0 && program->call) {
		program->call = NULL;
		program->state = PROGRAM_NEW;
		return r;
	}
	return 0;
}

/* Execs */

static int write_process(struct program *program, const struct oci_process *process)
{
	struct buf text = BUF(CONFIG_ENCODED_MAX);
	int r = json_encode(&oci_process_type, process, &text, false);

	if (r >= 0)
		r = buf_append(&text, "", 1);
	free(program->process);
	program->process = r < 0 ? NULL : strdup(buf_head(&text));
	program->height = process->console_size.height;
	program->width = process->console_size.width;
	buf_deinit(&text);
	return r < 0 ? r : program->process ? 0 : -ENOMEM;
}

int program_set_size(struct program *program, uint16_t height, uint16_t width,
                     struct fault *fault)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct oci_process process = { 0 };
	int r = 0;

	program->height = height;
	program->width = width;
	if (program->process) {
		r = json_decode(&arena, &oci_process_type, program->process,
		                strlen(program->process), &process, fault);
		process.console_size.height = height;
		process.console_size.width = width;
	}
	if (r >= 0 && program->process)
		r = write_process(program, &process);
	arena_free(&arena);
	return r < 0 ? fault_errno(fault, r, "process \"%s\"", program->name) : 0;
}

/* The document is containerd's client's: it is checked here, and written anew for the agent. */
static int take_process(struct program *program, const Google__Protobuf__Any *spec,
                        struct fault *fault)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct oci_process process = { 0 };
	int r = json_decode(&arena, &oci_process_type, (const char *)spec->value.data,
	                    spec->value.len, &process, fault);

	if (r >= 0) {
		process.terminal = program->terminal;
		r = oci_process_check(&process, fault);
	}
	if (r >= 0) {
		r = write_process(program, &process);
		if (r < 0)
			fault_errno(fault, r, "process \"%s\"", program->name);
	}
	arena_free(&arena);
	return r;
}

static int fill(struct program *program, const Containerd__Task__V2__ExecProcessRequest *wanted,
                struct fault *fault)
{
	program->name = strdup(wanted->exec_id);
	int r = !program->name ? -ENOMEM :
		program_set_streams(program, wanted->stdin, wanted->stdout, wanted->stderr,
	                            wanted->terminal);
	return r < 0 ? fault_errno(fault, r, "process \"%s\"", wanted->exec_id)
	             : take_process(program, wanted->spec, fault);
}

int program_add(struct member *member, const Containerd__Task__V2__ExecProcessRequest *wanted,
                struct fault *fault)
{
	struct program *program = calloc(1, sizeof(*program));

	if (!program)
		return fault_errno(fault, -ENOMEM, "process \"%s\"", wanted->exec_id);
	program->member = member;
	int r = fill(program, wanted, fault);
	if (r < 0) {
		program_deinit(program);
		free(program);
		return r;
	}
	program->next = member->execs;
	member->execs = program;
	return 0;
}
