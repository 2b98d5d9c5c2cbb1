/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Operations that are one question to the agent: what it answers is handed on. Its documents are
 * decoded before that, because those who asked trust us and not the agent.
 */

#include "shim/task_private.h"

#include "shim/forms.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct json_type *request_table(uint32_t type)
{
	return message_find(type)->request;
}

/* Asks about a container; the answer is for the request. */
static int ask(struct container *container, struct task_request *request, uint32_t type,
               const void *wanted, bridge_answer_fn *answer, struct fault *fault)
{
	int r = bridge_send(container->task->bridge, &request->call, type, request_table(type),
	                    wanted, answer, fault);

	if (r >= 0)
		task_hold(request, container);
	return r;
}

static void on_done(struct bridge_call *call, const void *reply, const struct fault *fault)
{
	struct task_request *request = container_of(call, struct task_request, call);

	if (reply)
		task_done(request, NULL);
	else
		task_failed(request, fault);
}

/* Tells the agent something, and nobody is interested in the answer. */
static void on_ignored(struct bridge_call *call, const void *reply, const struct fault *fault)
{
	if (!reply)
		log_debug("%s", fault->text);
	free(call);
}

static void tell_agent(struct container *container, uint32_t type, const void *wanted)
{
	struct fault fault = FAULT_NULL;
	struct bridge_call *call = calloc(1, sizeof(*call));

	if (!call)
		return;
	if (bridge_send(container->task->bridge, call, type, request_table(type), wanted,
	                on_ignored, &fault) < 0) {
		log_debug("%s", fault.text);
		free(call);
	}
}

/* Signals and terminals */

static struct signal_request signal_form(const struct process *process, int signal,
                                         enum signal_scope scope)
{
	return (struct signal_request){
		.base.container_id = process->container->id,
		.process_id = process->pid,
		.options = { .signal = signal, .scope = (int)scope },
	};
}

int task_signal(struct process *process, int signal, enum signal_scope scope,
                struct task_request *request, struct fault *fault)
{
	struct signal_request wanted = signal_form(process, signal, scope);

	if (process->state >= PROCESS_REAPED && scope != SCOPE_CONTAINER)
		return fault_set(fault, -ESRCH, HRESULT_NOT_FOUND, "process %u is not running",
		                 process->pid);
	/* Signal 0 asks whether it is there; on the bridge it would mean SIGKILL. */
	if (!signal) {
		task_hold(request, process->container);
		task_done(request, NULL);
		return 0;
	}
	return ask(process->container, request, MESSAGE_SIGNAL_PROCESS, &wanted, on_done, fault);
}

void task_kill(struct process *process)
{
	bool init = process == process->container->init;
	struct signal_request wanted =
		signal_form(process, SIGKILL, init ? SCOPE_CONTAINER : SCOPE_PROCESS);

	if (process->pid && (process->state < PROCESS_REAPED || init))
		tell_agent(process->container, MESSAGE_SIGNAL_PROCESS, &wanted);
}

int task_resize(struct process *process, uint16_t height, uint16_t width,
                struct task_request *request, struct fault *fault)
{
	struct resize_request wanted = {
		.base.container_id = process->container->id,
		.process_id = process->pid,
		.height = height,
		.width = width,
	};

	return ask(process->container, request, MESSAGE_RESIZE_CONSOLE, &wanted, on_done, fault);
}

void task_initial_size(struct process *process)
{
	struct resize_request wanted = {
		.base.container_id = process->container->id,
		.process_id = process->pid,
		.height = process->height,
		.width = process->width,
	};

	tell_agent(process->container, MESSAGE_RESIZE_CONSOLE, &wanted);
}

/* Pause, resume, update */

static void freeze_answered(struct bridge_call *call, const void *reply, const struct fault *fault,
                            bool paused)
{
	struct task_request *request = container_of(call, struct task_request, call);
	struct container *container = request->container;

	if (reply && container->init->state < PROCESS_REAPED) {
		container->paused = paused;
		task_event(container, paused ? "pause" : "resume", NULL);
	}
	on_done(call, reply, fault);
}

static void on_paused(struct bridge_call *call, const void *reply, const struct fault *fault)
{
	freeze_answered(call, reply, fault, true);
}

static void on_resumed(struct bridge_call *call, const void *reply, const struct fault *fault)
{
	freeze_answered(call, reply, fault, false);
}

int task_pause(struct container *container, bool pause, struct task_request *request,
               struct fault *fault)
{
	struct base_request wanted = { .base.container_id = container->id };

	return ask(container, request, pause ? MESSAGE_PAUSE : MESSAGE_RESUME, &wanted,
	           pause ? on_paused : on_resumed, fault);
}

int task_continue(struct container *container, struct task_request *request, struct fault *fault)
{
	struct base_request wanted = { .base.container_id = container->id };

	return ask(container, request, MESSAGE_START, &wanted, on_done, fault);
}

int task_update(struct container *container, struct oci_resources *resources,
                struct task_request *request, struct fault *fault)
{
	int r = form_update(container->task->bridge, &request->call, container->id, resources,
	                    on_done, fault);

	if (r >= 0)
		task_hold(request, container);
	return r;
}

/* Processes and statistics */

/* What a Properties document may hold, of what is asked for here. */
struct properties {
	LIST(struct process_item) process_list;
	struct statistics_v2 *statistics;
};
static const struct json_field item_fields[] = {
	JSON_FIELD(struct process_item, process_id, "ProcessId", u32),
	{ NULL },
};
static const struct json_type item_type = JSON_TYPE(struct process_item, item_fields);
static const struct json_field properties_fields[] = {
	JSON_FIELD(struct properties, process_list, "ProcessList", list, 0, &item_type),
	JSON_FIELD(struct properties, statistics, "StatisticsV2", pointer, 0, &statistics_v2_type),
	{ NULL },
};
static const struct json_type properties_type = JSON_TYPE(struct properties, properties_fields);

static int ask_properties(struct container *container, const char *name,
                          struct task_request *request, bridge_answer_fn *answer,
                          struct fault *fault)
{
	struct property_query query = { .property_types = { .count = 1, .item = &name } };
	struct properties_request wanted = {
		.base.container_id = container->id,
		.query = &query,
	};

	return ask(container, request, MESSAGE_GET_PROPERTIES, &wanted, answer, fault);
}

static int decode_properties(const struct properties_reply *reply, struct arena *arena,
                             struct properties *ret, struct fault *fault)
{
	if (!reply->properties)
		return fault_set(fault, -EPROTO, HRESULT_INVALID_JSON,
		                 "the agent sent no properties");
	return json_decode(arena, &properties_type, reply->properties, strlen(reply->properties),
	                   ret, fault);
}

static const char *process_kind(struct container *container, uint32_t pid)
{
	const struct process *process = container_process(container, pid);

	if (!process || !pid)
		return "";
	return process == container->init ? "init" : "exec";
}

static int list_processes(struct container *container, const struct properties *properties,
                          struct arena *arena, struct control_reply *ret)
{
	struct partition *partition = container->task->partition;
	size_t count = properties->process_list.count;

	ret->processes.item = arena_array(arena, count, sizeof(*ret->processes.item));
	if (count && !ret->processes.item)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		uint32_t pid = properties->process_list.item[i].process_id;
		pid_t host_pid = partition->driver->host_pid(partition, pid);
		/* It has ended since the agent wrote the list. */
		if (!host_pid && partition->driver->visible)
			continue;
		ret->processes.item[ret->processes.count++] = (struct control_process){
			.pid = pid,
			.host_pid = (uint32_t)host_pid,
			.exec = process_kind(container, pid),
		};
	}
	return 0;
}

static void on_processes(struct bridge_call *call, const void *answer, const struct fault *failed)
{
	struct task_request *request = container_of(call, struct task_request, call);
	struct arena arena = ARENA(JSON_ARENA);
	struct properties properties = { 0 };
	struct control_reply reply = { 0 };
	struct fault fault = FAULT_NULL;
	int r = answer ? decode_properties(answer, &arena, &properties, &fault) : -EIO;

	if (r >= 0) {
		r = list_processes(request->container, &properties, &arena, &reply);
		if (r < 0)
			fault_errno(&fault, r, "list of processes");
	}
	if (r >= 0)
		task_done(request, &reply);
	else
		task_failed(request, answer ? &fault : failed);
	arena_free(&arena);
}

int task_processes(struct container *container, struct task_request *request,
                   struct fault *fault)
{
	return ask_properties(container, "ProcessList", request, on_processes, fault);
}

static uint64_t own_memory(void)
{
	unsigned long size, resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (!file)
		return 0;
	if (fscanf(file, "%lu %lu", &size, &resident) != 2)
		resident = 0;
	fclose(file);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t own_fds(void)
{
	uint64_t count = 0;
	DIR *directory = opendir("/proc/self/fd");

	if (!directory)
		return 0;
	while (readdir(directory))
		count++;
	closedir(directory);
	/* Itself, "." and "..". */
	return count - 3;
}

static void on_statistics(struct bridge_call *call, const void *answer, const struct fault *failed)
{
	struct task_request *request = container_of(call, struct task_request, call);
	const struct channel *channel = &request->container->task->bridge->channel;
	struct arena arena = ARENA(JSON_ARENA);
	struct properties properties = { 0 };
	struct fault fault = FAULT_NULL;
	int r = answer ? decode_properties(answer, &arena, &properties, &fault) : -EIO;

	if (r >= 0) {
		struct control_reply reply = {
			.statistics = properties.statistics,
			.sandbox = {
				.rss = own_memory(),
				.fds = own_fds(),
				.frames_in = channel->frames_in,
				.frames_out = channel->frames_out,
				.bytes_in = channel->bytes_in,
				.bytes_out = channel->bytes_out,
			},
		};
		task_done(request, &reply);
	} else {
		task_failed(request, answer ? &fault : failed);
	}
	arena_free(&arena);
}

int task_statistics(struct container *container, struct task_request *request,
                    struct fault *fault)
{
	return ask_properties(container, "StatisticsV2", request, on_statistics, fault);
}

/* State dumps */

static void describe_output(const struct stdio_output *output, const char *name, struct buf *out)
{
	const struct inlet *inlet = &output->inlet;

	if (fifo_watch_runs(&output->reader))
		(void)buf_printf(out, "    %s: the rest waits for a reader\n", name);
	if (!output->open)
		return;
	(void)buf_printf(out, "    %s stream %llu: received %llu delivered %llu held %zu",
	                 name, (unsigned long long)inlet->id, (unsigned long long)inlet->received,
	                 (unsigned long long)inlet->delivered, buf_length(&inlet->held));
	if (output->target.set)
		(void)buf_printf(out, " exit at %llu", (unsigned long long)output->target.value);
	(void)buf_printf(out, "\n");
}

static void describe_process(const struct process *process, const char *kind, struct buf *out)
{
	static const char *const states[] = {
		[PROCESS_NEW] = "new",
		[PROCESS_RUNNING] = "running",
		[PROCESS_REAPED] = "exited, output not delivered",
		[PROCESS_TOLD] = "exited",
	};
	unsigned waiters = 0;

	for (const struct task_request *r = process->waiters; r; r = r->next)
		waiters++;
	(void)buf_printf(out, "  %s %u: %s, host pid %d, proxy %u, exit code %u, waiters %u\n",
	                 kind, process->pid, states[process->state], (int)process->host_pid,
	                 process->proxy, process->exit_code, waiters);
	if (!process->stdio)
		return;
	if (process->stdio->in_open)
		(void)buf_printf(out, "    stdin stream %llu: sent %llu of %llu\n",
		                 (unsigned long long)process->stdio->in.id,
		                 (unsigned long long)process->stdio->in.sent,
		                 (unsigned long long)process->stdio->in.limit);
	describe_output(&process->stdio->output[0], "stdout", out);
	describe_output(&process->stdio->output[1], "stderr", out);
}

void task_describe(const struct task *task, struct buf *out)
{
	const struct channel *channel = &task->bridge->channel;
	unsigned calls = 0;

	for (const struct bridge_call *call = task->bridge->calls; call; call = call->next)
		calls++;
	(void)buf_printf(out, "bridge: %s, %u requests under way, frames in %llu out %llu, "
	                 "bytes in %llu out %llu, ghosts %zu\n", task->dead ? task->death :
	                 task->bridge->ready ? "ready" : "not connected", calls,
	                 (unsigned long long)channel->frames_in,
	                 (unsigned long long)channel->frames_out,
	                 (unsigned long long)channel->bytes_in,
	                 (unsigned long long)channel->bytes_out, channel->ghosts);
	for (const struct process *p = task->vm ? task->vm->processes : NULL; p; p = p->next)
		describe_process(p, "of the VM", out);
	for (const struct container *c = task->containers; c; c = c->next) {
		(void)buf_printf(out, "container %s: %s%s\n", c->id,
		                 container_status_name(container_status(c)),
		                 c->deleting ? ", being deleted" : "");
		describe_process(c->init, "init", out);
		for (const struct process *p = c->processes; p; p = p->next)
			describe_process(p, "exec", out);
	}
}

static void on_dump(struct bridge_call *call, const void *answer, const struct fault *fault)
{
	struct task_request *request = container_of(call, struct task_request, call);
	const struct dump_reply *reply = answer;
	struct control_reply done = {
		.dump = !reply ? fault->text : reply->guest_stacks ? reply->guest_stacks : "",
	};

	task_done(request, &done);
}

int task_dump(struct task *task, struct task_request *request, struct fault *fault)
{
	struct base_request wanted = { .base.container_id = NULL_CID };

	return bridge_send(task->bridge, &request->call, MESSAGE_DUMP_STACKS,
	                   request_table(MESSAGE_DUMP_STACKS), &wanted, on_dump, fault);
}
