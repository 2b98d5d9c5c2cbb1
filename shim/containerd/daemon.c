/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Birth and death of the daemon. The partition is started at once, while containerd is still
 * preparing what it will ask for; if it cannot be started, the daemon stays to say so to whoever
 * asks, because a shim that vanishes leaves containerd with no better reason than that.
 *
 * It goes when it is told to and has nothing left. containerd going away is no reason; that there
 * was nothing to do for a minute is one.
 *
 * It has a mount namespace of its own: what it mounts for containers is gone when it is, however it
 * ends. The host's mounts come in, and what is mounted here goes on to the agent.
 */

#include "shim/containerd/front.h"

#include "shim/containerd/address.h"
#include "shim/containerd/fifo_log.h"
#include "shim/remains.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#define IDLE_LIMIT 60000        /* milliseconds without a container */
#define FLUSH_LIMIT 5000        /* milliseconds for the last events to be taken */
#define DRAIN_LIMIT 10000       /* milliseconds that an exit may be held back by its output */

/* The end */

static bool is_over(const struct front *front)
{
	return front->leaving && front->flushed && front->sandbox.ending &&
	       !front->sandbox.running;
}

static void flushed(struct front *front)
{
	front->flushed = true;
	if (is_over(front))
		loop_stop(&front->sandbox.loop);
}

static void on_loggers_ended(void *owner)
{
	flushed(owner);
}

static void on_events_taken(void *owner)
{
	streams_when_closed(on_loggers_ended, owner);
}

/*
 * The socket goes last of what has a name: who finds that it has gone, finds nothing else. From
 * then on, a shim that is started is a new one.
 */
void front_leave(struct front *front)
{
	if (front->leaving)
		return;
	front->leaving = true;
	log_debug("nothing is left to do");
	source_deinit(&front->server.accepting);
	sandbox_end(&front->sandbox);
	address_leave(front->options->address, &front->server.listener.fd);
	(void)timer_set(&front->limit, FLUSH_LIMIT);
	publisher_when_empty(front->publisher, on_events_taken, front);
}

/* What others have deleted, containerd may still ask for, or not. */
static bool is_idle(const struct front *front)
{
	bool idle = !front->sandboxed || front->exited_at.tv_sec;

	for (const struct member *m = front->members; m; m = m->next)
		idle = idle && m->container && m->container->deleted;
	return idle;
}

static int on_limit(struct timer *timer)
{
	struct front *front = container_of(timer, struct front, limit);

	if (front->leaving) {
		log_warning("containerd does not take the last events, or a logger does not end");
		streams_abandon();
		flushed(front);
	} else if (is_idle(front)) {
		log_info("nobody wants a container here");
		front_leave(front);
	}
	return 0;
}

/* What the sandbox tells */

static struct front *of(struct sandbox *sandbox)
{
	return container_of(sandbox, struct front, sandbox);
}

static void on_ready(struct sandbox *sandbox)
{
	front_partition_known(of(sandbox));
}

static void on_failed(struct sandbox *sandbox, const char *text)
{
	struct front *front = of(sandbox);

	snprintf(front->failure, sizeof(front->failure), "start the partition: %s", text);
	(void)timer_set(&front->limit, IDLE_LIMIT);
	front_partition_known(front);
}

static void on_ended(struct sandbox *sandbox)
{
	struct front *front = of(sandbox);

	/* Without a partition there may still be somebody to be told so, the first time. */
	bool stays = front->failure[0] && !front->lame;
	front->lame = true;
	if (is_over(front))
		loop_stop(&sandbox->loop);
	else if (!stays)
		front_leave(front);
}

static void on_idle(struct sandbox *sandbox)
{
	(void)on_limit(&of(sandbox)->limit);
}

/* Who asked for that will tell us to go; unless he did not ask us. */
static void on_emptied(struct sandbox *sandbox)
{
	if (sandbox->shutting_down)
		front_leave(of(sandbox));
	else
		(void)timer_set(&of(sandbox)->limit, IDLE_LIMIT);
}

static void on_died(struct sandbox *sandbox)
{
	front_sandbox_ended(of(sandbox), TASK_EXIT_KILLED);
}

static void on_event(struct sandbox *sandbox, const struct control_event *event)
{
	member_event(of(sandbox), event);
}

static void on_describe(struct sandbox *sandbox, struct buf *out)
{
	front_describe(of(sandbox), out);
}

static const struct sandbox_ops ops = {
	.ready = on_ready,
	.failed = on_failed,
	.ended = on_ended,
	.idle = on_idle,
	.event = on_event,
	.emptied = on_emptied,
	.died = on_died,
	.describe = on_describe,
};

/* Birth */

static const struct ttrpc_service *services(size_t *ret_count)
{
	static struct ttrpc_service all[] = {
		{ .name = "containerd.task.v2.Task", .methods = task_methods },
		{ .name = "containerd.task.v3.Task", .methods = task_methods },
		{ .name = "containerd.runtime.sandbox.v1.Sandbox", .methods = sandbox_methods },
	};

	all[0].count = all[1].count = task_method_count;
	all[2].count = sandbox_method_count;
	*ret_count = array_size(all);
	return all;
}

static int leave_host_mounts(struct fault *fault)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) < 0)
		return fault_errno(fault, -errno, "mount namespace");
	return 0;
}

/* partitions/<group>; what a killed shim has left there goes. */
static int make_directory(const struct shim_options *options, struct fault *fault)
{
	struct state state = STATE_NULL;
	cleanup_close int fd = -1;
	int r = state_open(&state, options->root, fault);

	if (r < 0)
		return r;
	r = state_partition_make(&state, options->group, &fd, fault);
	if (r == -EEXIST && remains_remove_partition(&state, options->group) >= 0)
		r = state_partition_make(&state, options->group, &fd, fault);
	state_close(&state);
	return r;
}

/* When what was mounted in it has been taken away. */
static void remove_directory(const struct shim_options *options)
{
	struct state state = STATE_NULL;

	if (state_open(&state, options->root, NULL) >= 0)
		(void)state_partition_remove(&state, options->group);
	state_close(&state);
}

/* What the configuration may allow, in the form of the command line of a sandbox process. */
static int take_annotations(const struct str_map *annotations, struct sandbox_options *options,
                            struct arena *arena, struct fault *fault)
{
	for (size_t i = 0; i < annotations->count; i++) {
		const struct str_pair *pair = &annotations->item[i];
		if (!config_knows(pair->name) ||
		    options->annotation_count == STARTER_ANNOTATIONS_MAX)
			continue;
		const char *text = arena_printf(arena, "%s=%s", pair->name, pair->value);
		if (!text)
			return fault_errno(fault, -ENOMEM, "annotations");
		options->annotations[options->annotation_count++] = text;
	}
	return 0;
}

static void move_log(struct front *front)
{
	const struct shim_options *options = front->options;
	cleanup_close int bundle_fd = open(options->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);

	front->log_fd = bundle_fd < 0 ? -1 : fifo_log_open(bundle_fd);
	if (front->log_fd >= 0)
		log_init(front->log_fd, LOG_FORMAT_TEXT,
		         options->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
}

static int open_front(struct front *front, int *listen_fd, struct fault *fault)
{
	const struct shim_options *options = front->options;
	const struct publisher_options events = {
		.ttrpc_address = options->ttrpc_address,
		.binary = options->publish_binary,
		.grpc_address = options->grpc_address,
		.namespace = options->namespace,
	};
	struct loop *loop = &front->sandbox.loop;
	size_t count;
	const struct ttrpc_service *tables = services(&count);
	int r = timer_init(&front->limit, loop, on_limit);

	if (r >= 0)
		r = publisher_new(&front->publisher, loop, &events);
	if (r >= 0)
		r = ttrpc_server_init(&front->server, loop, take_fd(listen_fd), tables, count,
		                      front);
	return r < 0 ? fault_errno(fault, r, "serve containerd") : 0;
}

static int begin(struct front *front, struct sandbox_options *sandbox, struct arena *arena,
                 int *listen_fd, struct fault *fault)
{
	const struct shim_options *options = front->options;
	int r = config_partition(options->driver, options->config, &options->annotations, arena,
	                         &sandbox->driver, fault);

	if (r >= 0)
		r = take_annotations(&options->annotations, sandbox, arena, fault);
	if (r >= 0)
		r = leave_host_mounts(fault);
	if (r >= 0)
		r = make_directory(options, fault);
	if (r < 0)
		return r;
	front->sandbox.idle_limit = IDLE_LIMIT;
	front->sandbox.keep = true;
	r = sandbox_start(&front->sandbox, fault);
	if (r < 0)
		return r;
	front->sandbox.task.drain = DRAIN_LIMIT;
	move_log(front);
	return open_front(front, listen_fd, fault);
}

static void front_deinit(struct front *front)
{
	/* Who waits for something is told that it will not come. */
	while (front->members)
		member_free(front->members);
	ttrpc_server_deinit(&front->server);
	if (front->publisher)
		publisher_free(front->publisher);
	timer_deinit(&front->limit);
	free(front->network);
	free(front->hostname);
	sandbox_deinit(&front->sandbox);
	close_fd(&front->log_fd);
}

int shim_daemon(const struct shim_options *options, int listen_fd, int ready_fd)
{
	struct sandbox_options sandbox = {
		.root = options->root,
		.id = options->group,
		.config = options->config,
		.ready_fd = -1,
		.debug = options->debug,
	};
	struct front front = {
		.options = options,
		.server = TTRPC_SERVER_NULL,
		.limit = TIMER_NULL,
		.log_fd = -1,
	};
	struct starter starter = STARTER(ready_fd);
	struct arena arena = ARENA(JSON_ARENA);
	struct fault fault = FAULT_NULL;
	int status = EXIT_FAILURE;

	sandbox_init(&front.sandbox, &sandbox, &ops);
	int r = begin(&front, &sandbox, &arena, &listen_fd, &fault);
	if (r >= 0 && starter_tell_ready(&starter))
		status = loop_run(&front.sandbox.loop) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	if (front.server.listener.fd >= 0)
		listen_fd = take_fd(&front.server.listener.fd);
	address_leave(options->address, &listen_fd);
	front.leaving = front.flushed = true;
	/* What is still in it goes with its partition. */
	if (r < 0 || front.sandbox.running)
		sandbox_end(&front.sandbox);
	front_deinit(&front);
	/* Who hears that it failed finds nothing of it. */
	if (r < 0) {
		remove_directory(options);
		starter_tell_failed(&starter, fault.text[0] ? fault.text : errno_text(r), NULL);
	}
	starter_deinit(&starter);
	arena_free(&arena);
	return status;
}
