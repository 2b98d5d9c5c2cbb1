/* SPDX-License-Identifier: Apache-2.0 */

/*
 * When exits are told. containerd's clients rely on an order: an exec's exit after its start, and
 * the init's after those of all execs, for with it they take the container for ended. So the init's
 * is held back until nothing else runs; what does, is killed, since a container ends with its init
 * also where its processes are in somebody else's pid namespace.
 */

#include "shim/containerd/front.h"

#include "shim/containerd/proto/events.pb-c.h"
#include "shim/timetext.h"

#include <string.h>

#define EXIT_UNKNOWN 255
#define KILL_LIMIT 30000        /* milliseconds for what got SIGKILL to end */
#define GO_ZERO_TIME (-62135596800)

/* Who is there */

struct member *member_find(struct front *front, const char *id)
{
	struct member *member = front->members;

	while (member && strcmp(member->id, id))
		member = member->next;
	return member;
}

int member_require(struct front *front, const char *id, struct member **ret, struct fault *fault)
{
	*ret = member_find(front, id);
	return *ret && (*ret)->container ? 0 : fault_set(fault, -ENOENT, HRESULT_NO_SUCH_CONTAINER,
	                            "container \"%s\": not found", id);
}

static struct program *find_program(struct member *member, const char *name)
{
	struct program *program = name[0] ? member->execs : &member->init;

	while (program && strcmp(program->name, name))
		program = program->next;
	return program;
}

int program_require(struct front *front, const char *id, const char *name, struct program **ret,
                    struct fault *fault)
{
	struct member *member;
	int r = member_require(front, id, &member, fault);

	if (r < 0)
		return r;
	*ret = find_program(member, name);
	return *ret ? 0 : fault_set(fault, -ENOENT, HRESULT_NOT_FOUND,
	                            "process \"%s\" of container \"%s\": not found", name, id);
}

struct member *member_new(struct front *front, const char *id, const char *bundle)
{
	struct member *member = calloc(1, sizeof(*member));

	if (!member)
		return NULL;
	member->front = front;
	member->id = strdup(id);
	member->bundle = strdup(bundle);
	member->init.member = member;
	member->init.name = strdup("");
	member->kill = (struct timer)TIMER_NULL;
	if (member->id && member->bundle && member->init.name)
		return member;
	member_free(member);
	return NULL;
}

int program_set_streams(struct program *program, const char *in, const char *out, const char *err,
                        bool terminal)
{
	program->in = strdup(in);
	program->out = strdup(out);
	program->err = strdup(err);
	program->terminal = terminal;
	return program->in && program->out && program->err ? 0 : -ENOMEM;
}

void program_deinit(struct program *program)
{
	struct fault gone = FAULT_NULL;
	struct ttrpc_call *call;

	fault_set(&gone, 0, HRESULT_NOT_FOUND, "%s%s%scontainer \"%s\" was deleted",
	          program->name[0] ? "process \"" : "", program->name,
	          program->name[0] ? "\" of " : "", program->member->id);
	while ((call = waiter_take(&program->waiters)))
		ttrpc_refuse(call, &gone);
	if (program->call)
		ttrpc_refuse(program->call, &gone);
	program_forget_start(program);
	if (program->wait.answer && program->wait.process)
		task_cancel(&program->wait);
	if (program->streams)
		streams_close(program->streams);
	free(program->name);
	free(program->in);
	free(program->out);
	free(program->err);
	free(program->process);
}

void member_free(struct member *member)
{
	struct member **at = &member->front->members;

	while (*at && *at != member)
		at = &(*at)->next;
	if (*at)
		*at = member->next;
	while (member->execs) {
		struct program *program = member->execs;
		member->execs = program->next;
		program_deinit(program);
		free(program);
	}
	program_deinit(&member->init);
	if (member->worker)
		worker_forget(member->worker);
	if (member->wanted)
		protobuf_c_message_free_unpacked(&member->wanted->base, NULL);
	if (member->container)
		container_unref(member->container);
	timer_deinit(&member->kill);
	free(member->id);
	free(member->bundle);
	free(member);
}

/* What is told of them */

Google__Protobuf__Timestamp message_time(const struct timespec *time)
{
	Google__Protobuf__Timestamp ret = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

	ret.seconds = time->tv_sec ? (int64_t)time->tv_sec : GO_ZERO_TIME;
	ret.nanos = (int32_t)time->tv_nsec;
	return ret;
}

Containerd__Task__V2__Status program_status(const struct program *program)
{
	static const Containerd__Task__V2__Status states[] = {
		[PROGRAM_NEW] = CONTAINERD__TASK__V2__STATUS__CREATED,
		[PROGRAM_STARTING] = CONTAINERD__TASK__V2__STATUS__CREATED,
		[PROGRAM_RUNNING] = CONTAINERD__TASK__V2__STATUS__RUNNING,
		[PROGRAM_STOPPED] = CONTAINERD__TASK__V2__STATUS__STOPPED,
	};
	const struct member *member = program->member;
	bool paused = member->front->sandbox.task.paused ||
	              (member->container && member->container->paused);

	/* Stopped is what has been told. */
	if (program->state == PROGRAM_STOPPED && !program->told)
		return CONTAINERD__TASK__V2__STATUS__RUNNING;
	if (program->state == PROGRAM_RUNNING && paused)
		return CONTAINERD__TASK__V2__STATUS__PAUSED;
	return states[program->state];
}

/*
 * Callers look it up: it has to be a process of this machine. Where those of the partition are not,
 * the VM stands for them.
 */
uint32_t front_pid(const struct front *front, uint32_t host_pid)
{
	pid_t vm = front->sandbox.partition.pid;

	return host_pid ? host_pid : vm > 0 ? (uint32_t)vm : (uint32_t)getpid();
}

void front_publish(struct front *front, const char *topic, const ProtobufCMessage *event)
{
	int r = publisher_send(front->publisher, topic, event->descriptor->name, event);

	if (r < 0)
		log_warning("event %s: %s", topic, errno_text(r));
}

/* Waits */

static void on_waiter_gone(struct ttrpc_call *call)
{
	struct waiter *waiter = call->parked, **at = waiter->head;

	while (*at != waiter)
		at = &(*at)->next;
	*at = waiter->next;
	free(waiter);
}

int waiter_park(struct waiter **head, struct ttrpc_call *call)
{
	struct waiter *waiter = malloc(sizeof(*waiter));

	if (!waiter)
		return -ENOMEM;
	*waiter = (struct waiter){ .call = call, .head = head, .next = *head };
	*head = waiter;
	call->parked = waiter;
	call->gone = on_waiter_gone;
	return 0;
}

struct ttrpc_call *waiter_take(struct waiter **head)
{
	struct waiter *waiter = *head;

	if (!waiter)
		return NULL;
	struct ttrpc_call *call = waiter->call;
	*head = waiter->next;
	free(waiter);
	call->gone = NULL;
	call->parked = NULL;
	return call;
}

void program_wait(struct program *program, struct ttrpc_call *call)
{
	Containerd__Task__V2__WaitResponse reply = CONTAINERD__TASK__V2__WAIT_RESPONSE__INIT;
	Google__Protobuf__Timestamp exited_at = message_time(&program->exited_at);

	reply.exit_status = program->exit_status;
	reply.exited_at = &exited_at;
	ttrpc_answer(call, &reply.base);
}

/* Exits */

static void publish_exit(struct program *program)
{
	struct member *member = program->member;
	Containerd__Events__TaskExit event = CONTAINERD__EVENTS__TASK_EXIT__INIT;
	Google__Protobuf__Timestamp exited_at = message_time(&program->exited_at);

	event.container_id = member->id;
	event.id = program->name[0] ? program->name : member->id;
	event.pid = program->host_pid;
	event.exit_status = program->exit_status;
	event.exited_at = &exited_at;
	front_publish(member->front, "/tasks/exit", &event.base);
}

static void tell_exit(struct program *program)
{
	struct ttrpc_call *call;

	program->told = true;
	/* What containerd never heard to exist has no end. */
	if (program->host_pid)
		publish_exit(program);
	while ((call = waiter_take(&program->waiters)))
		program_wait(program, call);
	if (!program->name[0])
		front_check_stopped(program->member->front);
}

static void tell_exits(struct member *member)
{
	bool others = false;

	for (struct program *p = member->execs; p; p = p->next) {
		if (p->state == PROGRAM_STOPPED && !p->told)
			tell_exit(p);
		others = others || p->state == PROGRAM_STARTING || p->state == PROGRAM_RUNNING;
	}
	if (member->init.state != PROGRAM_STOPPED || member->init.told)
		return;
	if (others)
		return;
	(void)timer_set(&member->kill, 0);
	tell_exit(&member->init);
}

static void stopped(struct program *program, uint32_t exit_status, struct timespec when)
{
	struct member *member = program->member;

	program->state = PROGRAM_STOPPED;
	program->exit_status = exit_status;
	program->exited_at = when;
	for (struct program *p = member->execs; p && program == &member->init; p = p->next)
		program_kill(p);
	tell_exits(member);
}

void program_ended(struct program *program, uint32_t exit_status)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	stopped(program, exit_status, now);
}

static void on_exited(struct task_request *request, const struct control_reply *reply,
                    const struct fault *fault)
{
	(void)fault;
	struct program *program = container_of(request, struct program, wait);
	struct timespec when;

	request->answer = NULL;
	if (program->state == PROGRAM_STOPPED)
		return;
	if (!reply || !reply->exited_at || time_parse(reply->exited_at, &when) < 0)
		(void)clock_gettime(CLOCK_REALTIME, &when);
	stopped(program, reply ? reply->exit_code : EXIT_UNKNOWN, when);
}

void program_watch(struct program *program)
{
	struct process *process = program_process(program);

	program->wait = (struct task_request){ .answer = on_exited };
	if (process)
		(void)task_wait(process, &program->wait);
	else
		on_exited(&program->wait, NULL, NULL);
}

/* Kill */

/* A guest that does not answer is no reason to wait for ever: its VM can be killed. */
static int on_kill_limit(struct timer *timer)
{
	struct member *member = container_of(timer, struct member, kill);
	struct sandbox *sandbox = &member->front->sandbox;

	if (member->init.state == PROGRAM_STOPPED || !sandbox->running)
		return 0;
	log_error("container %s was killed, but has not ended: its partition is ended", member->id);
	sandbox->partition.driver->stop(&sandbox->partition);
	return 0;
}

void member_limit_kill(struct member *member)
{
	int r = 0;

	if (!member->kill.fn)
		r = timer_init(&member->kill, &member->front->sandbox.loop, on_kill_limit);
	if (r >= 0)
		r = timer_set(&member->kill, KILL_LIMIT);
	if (r < 0)
		log_warning("container %s: %s", member->id, errno_text(r));
}

void member_kill(struct member *member)
{
	if (!member->container || member->init.state == PROGRAM_STOPPED)
		return;
	member_limit_kill(member);
	task_kill(member->container->init);
}

/* Others than containerd may ask the sandbox for things too; containerd hears of it. */
void member_event(struct front *front, const struct control_event *event)
{
	struct member *member = member_find(front, event->id);
	Containerd__Events__TaskOOM oom = CONTAINERD__EVENTS__TASK_OOM__INIT;
	Containerd__Events__TaskPaused paused = CONTAINERD__EVENTS__TASK_PAUSED__INIT;
	Containerd__Events__TaskResumed resumed = CONTAINERD__EVENTS__TASK_RESUMED__INIT;
	const struct {
		const char *type, *topic;
		const ProtobufCMessage *event;
	} told[] = {
		{ "oom", "/tasks/oom", &oom.base },
		{ "pause", "/tasks/paused", &paused.base },
		{ "resume", "/tasks/resumed", &resumed.base },
	};

	if (!member || !member->container)
		return;
	oom.container_id = paused.container_id = resumed.container_id = member->id;
	for (size_t i = 0; i < array_size(told); i++) {
		if (!strcmp(told[i].type, event->type))
			front_publish(front, told[i].topic, told[i].event);
	}
}

void front_describe(struct front *front, struct buf *out)
{
	static const char *const states[] = {
		[PROGRAM_NEW] = "new",
		[PROGRAM_STARTING] = "being started",
		[PROGRAM_RUNNING] = "running",
		[PROGRAM_STOPPED] = "stopped",
	};

	ttrpc_server_describe(&front->server, out);
	publisher_describe(front->publisher, out);
	for (const struct member *m = front->members; m; m = m->next) {
		(void)buf_printf(out, "task %s: %s%s%s\n", m->id, states[m->init.state],
		                 m->worker ? ", a worker is at it" : "",
		                 m->deletion ? ", being deleted" : "");
		for (const struct program *p = m->execs; p; p = p->next)
			(void)buf_printf(out, "  exec %s: %s, process %u\n", p->name,
			                 states[p->state], p->pid);
	}
}
