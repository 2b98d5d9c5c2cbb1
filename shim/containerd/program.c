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

/* Also for longer than the program: who asked may be gone when the answer comes. */
struct starting {
	struct task_request request;
	struct program *program;        /* NULL: nobody waits for it */
};

void program_forget_start(struct program *program)
{
	struct starting *starting = take_pointer(program->starting);

	if (!starting)
		return;
	starting->program = NULL;
	starting->request.orphaned = true;
}

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

/* An exec that ended under this number is another one. */
static void take_number(struct program *program, uint32_t pid)
{
	for (struct program *p = program->member->execs; p; p = p->next)
		p->pid = p->pid == pid ? 0 : p->pid;
	program->pid = pid;
}

static void on_exec_started(struct program *program, const struct control_reply *reply)
{
	struct member *member = program->member;

	take_number(program, reply->pid);
	/* Docker takes an exit with the container's pid for the container's. */
	program->host_pid = reply->host_pid ? reply->host_pid : (uint32_t)getpid();
	publish_start(program);
	program_answer_start(program);
	program_watch(program);
	/* Both came while nobody could be told. */
	struct process *process = program_process(program);
	if (program->input_closed && process)
		(void)task_close_input(process);
	if (member->init.state == PROGRAM_STOPPED)
		program_kill(program);
}

static void on_init_started(struct program *program)
{
	struct fault fault = FAULT_NULL;

	publish_start(program);
	if (!program->member->started_hooks) {
		program_answer_start(program);
	} else if (member_run_hooks(program->member, &fault) < 0) {
		task_kill(program_process(program));
		ttrpc_refuse(take_pointer(program->call), &fault);
	}
}

static void on_started(struct task_request *request, const struct control_reply *reply,
                       const struct fault *fault)
{
	struct starting *starting = container_of(request, struct starting, request);
	struct program *program = starting->program;

	free(starting);
	if (!program)
		return;
	program->starting = NULL;
	if (!reply) {
		failed(program, fault);
		return;
	}
	/* A guest may tell of an end before the start. */
	if (program->state == PROGRAM_STARTING)
		program->state = PROGRAM_RUNNING;
	if (program->name[0])
		on_exec_started(program, reply);
	else
		on_init_started(program);
}

static int begin_start(struct program *program, struct fault *fault)
{
	program->starting = malloc(sizeof(*program->starting));
	if (!program->starting)
		return fault_errno(fault, -ENOMEM, "start");
	*program->starting = (struct starting){ .request.answer = on_started, .program = program };
	return 0;
}

/* Of one that was not begun: nobody will answer. */
static int end_start(struct program *program, int error)
{
	free(take_pointer(program->starting));
	return error;
}

static int ask_for_exec(struct program *program, int fd[static STDIO_COUNT], struct fault *fault)
{
	struct member *member = program->member;
	const struct control_request wanted = {
		.id = member->id,
		.process = program->process,
		.terminal = program->terminal,
		.height = program->height,
		.width = program->width,
		.std_in = fd[STDIO_IN] >= 0,
		.std_out = fd[STDIO_OUT] >= 0,
		.std_err = fd[STDIO_ERR] >= 0,
	};
	int r = begin_start(program, fault);

	if (r >= 0 && container_status(member->container) != CONTAINER_RUNNING)
		r = fault_set(fault, -EINVAL, HRESULT_CONTAINER_NOT_RUNNING,
		              "container \"%s\" is not running", member->id);
	if (r < 0) {
		stdio_close_fds(fd);
		return end_start(program, r);
	}
	r = task_exec(member->container, &wanted, fd, &program->starting->request, fault);
	return r < 0 ? end_start(program, r) : 0;
}

static void on_streams(struct streams *streams, const struct fault *fault)
{
	struct program *program = streams_owner(streams);
	int fd[STDIO_COUNT] = { -1, -1, -1 };
	struct fault why = FAULT_NULL;

	if (fault) {
		failed(program, fault);
		return;
	}
	streams_take(streams, fd);
	if (ask_for_exec(program, fd, &why) < 0)
		failed(program, &why);
}

void program_kill(struct program *program)
{
	struct process *process = program_process(program);
	struct fault ended = FAULT_NULL;

	if (process && program->state == PROGRAM_RUNNING)
		task_kill(process);
	/* What was asked of the agent, it will answer. */
	if (program->state != PROGRAM_STARTING || program->starting)
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
	int r = begin_start(program, fault);
	if (r < 0)
		return r;
	r = task_start(container, &program->starting->request, fault);
	return r < 0 ? end_start(program, r) : 0;
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
	if (r >= 0)
		return r;
	program->call = NULL;
	/* An init may be tried again; an exec that cannot be started is over for who waits. */
	if (program->name[0] && member->init.state != PROGRAM_NEW)
		program_ended(program, EXIT_NOT_STARTED);
	else
		program->state = PROGRAM_NEW;
	return r;
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
