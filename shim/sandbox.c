/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What holds everything together: the order of birth and death.
 *
 * Birth is in the way of every `hvrun run`, so the agent is started first and everything else is
 * done while it boots. Death has three causes. The last container was deleted: the state
 * directory goes before the caller hears of it, then the agent. Somebody wants us to end:
 * everybody who waits is told first. The agent died: whoever waited is told, but the containers
 * stay, as stopped ones, until they are deleted.
 *
 * The bridge and the exit of the agent are two events of one death, in either order. What the agent
 * said last is still in the connection, so only when both have come is it over.
 */

#include "shim/sandbox_private.h"

#include "oci/log.h"
#include "shim/remains.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define SHUTDOWN_LIMIT 5000     /* milliseconds for the agent to remove its containers */
#define RECONNECT_LIMIT 30000   /* milliseconds without a connection to an agent that lives */
#define PORT_TRIES 4096

/* The end */

/* From here on the id may be in use again: nothing is removed by name any more. */
static void remove_directory(struct sandbox *sandbox)
{
	const char *id = sandbox->options->id;

	if (sandbox->directory_fd < 0)
		return;
	bool ours = state_partition_is(&sandbox->state, id, sandbox->directory_fd);
	if (!ours)
		sandbox->server.listener.owns_path = sandbox->bridge.listener.owns_path = false;
	server_close_socket(&sandbox->server);
	bridge_close_socket(&sandbox->bridge);
	close_fd(&sandbox->directory_fd);
	int r = ours ? state_partition_remove(&sandbox->state, id) : 0;
	if (r < 0)
		log_warning("remove %s: %s", sandbox->directory, errno_text(r));
}

void sandbox_end(struct sandbox *sandbox)
{
	/* What a driver has mounted in the directory goes first. */
	if (!sandbox->ending && sandbox->running)
		sandbox->partition.driver->stop(&sandbox->partition);
	sandbox->ending = true;
	sandbox->server.ending = true;
	remove_directory(sandbox);
	if (!sandbox->running)
		sandbox->ops->ended(sandbox);
}

/* Whatever is in it: everybody who waits is told, while there are still connections to him. */
static void end_at_once(struct sandbox *sandbox)
{
	if (sandbox->task.containers)
		log_warning("the containers are killed with their partition");
	task_died(&sandbox->task, "was shut down");
	sandbox_end(sandbox);
}

/* The agent deletes its containers first, so that nothing of them stays; asked a second time, we do
 * not wait for that. */
void sandbox_shut_down(struct sandbox *sandbox)
{
	if (!sandbox->bridge.ready || !sandbox->task.containers || sandbox->shutting_down) {
		end_at_once(sandbox);
		return;
	}
	log_info("shutting down");
	sandbox->shutting_down = true;
	sandbox->server.ending = true;
	timer_set(&sandbox->limit, SHUTDOWN_LIMIT);
	task_delete_all(&sandbox->task);
}

static void start_failed(struct sandbox *sandbox, const char *text)
{
	log_error("%s", text);
	sandbox->ops->failed(sandbox, text);
	sandbox_end(sandbox);
}

/* When the agent has gone and the connection has been read to its end. */
static void partition_over(struct sandbox *sandbox)
{
	char how[PARTITION_DEATH], line[256], text[FAULT_TEXT];

	if (sandbox->running || sandbox->bridge.connected || sandbox->task.dead)
		return;
	sandbox->partition.driver->collect(&sandbox->partition, how, sizeof(how));
	if (!sandbox->born) {
		/* A driver whose processes say much has chosen what belongs to it. */
		tail_line(&sandbox->said, NULL, line, sizeof(line));
		snprintf(text, sizeof(text), "%s%s%s", how, line[0] ? ": " : "", line);
		start_failed(sandbox, text);
		return;
	}
	log_error("%s", how);
	timer_set(&sandbox->limit, 0);
	task_died(&sandbox->task, how);
	sandbox->ops->died(sandbox);
}

static int on_partition_exit(struct source *source, uint32_t got)
{
	(void)got;
	struct sandbox *sandbox = container_of(source, struct sandbox, exited);
	char how[PARTITION_DEATH];

	source_deinit(&sandbox->exited);
	sandbox->running = false;
	if (sandbox->ending) {
		if (sandbox->partition.pid)
			sandbox->partition.driver->collect(&sandbox->partition, how, sizeof(how));
		sandbox->ops->ended(sandbox);
	} else {
		partition_over(sandbox);
	}
	return 0;
}

/* The agent's words */

static void on_words(struct partition *partition, const char *text, size_t size)
{
	partition_log_write(&container_of(partition, struct sandbox, partition)->agent_log, text,
	                    size);
}

static int on_output(struct source *source, uint32_t got)
{
	(void)got;
	struct sandbox *sandbox = container_of(source, struct sandbox, output);
	char text[4096];
	ssize_t n = read(source->fd, text, sizeof(text));

	if (n > 0) {
		if (!sandbox->born)
			tail_add(&sandbox->said, text, (size_t)n);
		partition_log_write(&sandbox->agent_log, text, (size_t)n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		source_deinit(source);
	}
	return 0;
}

/* Bridge */

static struct sandbox *of_bridge(struct bridge *bridge)
{
	return container_of(bridge, struct sandbox, bridge);
}

static void on_guest_ready(struct guest *guest, const struct fault *fault)
{
	struct sandbox *sandbox = container_of(guest, struct sandbox, guest);

	/* Lost meanwhile: who noticed that says more. */
	if (!sandbox->bridge.ready || sandbox->ending)
		return;
	if (fault && !sandbox->born) {
		start_failed(sandbox, fault->text);
		return;
	}
	if (fault)
		log_error("%s", fault->text);
	if (!sandbox->shutting_down)
		timer_set(&sandbox->limit, sandbox->task.containers ? 0 : sandbox->idle_limit);
	bool first = !sandbox->born;
	sandbox->born = true;
	task_connected(&sandbox->task);
	if (first)
		sandbox->ops->ready(sandbox);
}

static void on_guest_said(struct guest *guest, const char *line, size_t size)
{
	partition_log_write(&container_of(guest, struct sandbox, guest)->agent_log, line, size);
}

static const struct guest_ops guest_ops = { .ready = on_guest_ready, .said = on_guest_said };

static void on_resumed(struct partition *partition)
{
	guest_set_clock(&container_of(partition, struct sandbox, partition)->guest);
}

static void on_ready(struct bridge *bridge)
{
	struct sandbox *sandbox = of_bridge(bridge);

	log_debug("the agent has answered");
	if (bridge->boots)
		guest_connected(&sandbox->guest);
	else
		on_guest_ready(&sandbox->guest, NULL);
}

static void on_bridge_failing(struct bridge *bridge, struct fault *fault)
{
	struct sandbox *sandbox = of_bridge(bridge);
	struct partition *partition = &sandbox->partition;
	char how[PARTITION_DEATH];

	if (!sandbox->ending && partition->driver->dying &&
	    partition->driver->dying(partition, how, sizeof(how)))
		fault_set(fault, -ENOTCONN, HRESULT_FAIL, "the partition has ended: %s", how);
}

static void on_bridge_lost(struct bridge *bridge, const struct fault *fault)
{
	struct sandbox *sandbox = of_bridge(bridge);

	if (sandbox->ending)
		return;
	if (sandbox->running && !sandbox->born &&
	    fault->hresult == HRESULT_NO_COMMON_VERSION)
		start_failed(sandbox, fault->text);
	else if (sandbox->running && !sandbox->shutting_down &&
	         fault->hresult != HRESULT_ACCESS_DENIED)
		timer_set(&sandbox->limit, RECONNECT_LIMIT);
	else if (!sandbox->running)
		partition_over(sandbox);
}

static void on_notification(struct bridge *bridge, const struct notification *notification)
{
	task_notification(&of_bridge(bridge)->task, notification);
}

static const struct bridge_ops bridge_ops = {
	.ready = on_ready,
	.lost = on_bridge_lost,
	.notification = on_notification,
	.why = on_bridge_failing,
};

static int on_limit(struct timer *timer)
{
	struct sandbox *sandbox = container_of(timer, struct sandbox, limit);

	if (sandbox->shutting_down) {
		end_at_once(sandbox);
	} else if (!sandbox->bridge.ready && !sandbox->born) {
		const struct partition_driver *driver = sandbox->partition.driver;
		start_failed(sandbox, driver->silent ? driver->silent(&sandbox->partition)
		                                     : "the agent does not answer");
	} else if (!sandbox->bridge.ready) {
		log_error("the agent does not come back");
		sandbox->partition.driver->stop(&sandbox->partition);
	} else if (!sandbox->task.containers) {
		sandbox->ops->idle(sandbox);
	}
	return 0;
}

/* Task and server */

static void on_event(struct task *task, const struct control_event *event)
{
	struct sandbox *sandbox = container_of(task, struct sandbox, task);

	log_debug("container %s: %s (process %u)", event->id, event->type, event->pid);
	server_event(&sandbox->server, event);
	if (sandbox->ops->event)
		sandbox->ops->event(sandbox, event);
}

static void on_emptied(struct task *task)
{
	struct sandbox *sandbox = container_of(task, struct sandbox, task);

	sandbox->ops->emptied(sandbox);
}

static void on_remains(struct task *task, const char *id)
{
	struct sandbox *sandbox = container_of(task, struct sandbox, task);
	struct arena arena = ARENA(JSON_ARENA);
	struct container_record record = { 0 };
	struct fault fault = FAULT_NULL;
	int r = state_container_load(&sandbox->state, id, &arena, &record, &fault);

	/* Containers that others manage have no record here: their cgroups are not known. */
	if (r >= 0) {
		r = remains_remove_cgroups(&record);
		if (r < 0)
			log_warning("remove the cgroups of container %s: %s", id, errno_text(r));
	}
	arena_free(&arena);
}

static const struct task_ops task_ops = {
	.event = on_event,
	.emptied = on_emptied,
	.remains = on_remains,
};

static void on_shutdown(struct server *server)
{
	sandbox_shut_down(container_of(server, struct sandbox, server));
}

static void on_describe(struct server *server, struct buf *out)
{
	struct sandbox *sandbox = container_of(server, struct sandbox, server);

	(void)buf_printf(out, "partition %s (%s): pid %d, refused connections %llu%s\n",
	                 sandbox->options->id, sandbox->partition.driver->name,
	                 (int)sandbox->partition.pid,
	                 (unsigned long long)sandbox->bridge.listener.refused,
	                 sandbox->ending ? ", ending" : "");
	if (sandbox->partition.driver->describe)
		sandbox->partition.driver->describe(&sandbox->partition, out);
	if (sandbox->ops->describe)
		sandbox->ops->describe(sandbox, out);
}

static const struct server_ops server_ops = { .shutdown = on_shutdown, .describe = on_describe };

static void dump_to_log(struct sandbox *sandbox)
{
	struct buf text = BUF(1u << 20);

	server_describe(&sandbox->server, &text);
	const char *at = buf_head(&text), *stop = at + buf_length(&text);
	while (at < stop) {
		const char *newline = memchr(at, '\n', (size_t)(stop - at));
		const char *next = newline ? newline : stop;
		log_info("%.*s", (int)(next - at), at);
		at = next + 1;
	}
	buf_deinit(&text);
}

static int on_signal(struct signals *signals, int signal)
{
	struct sandbox *sandbox = container_of(signals, struct sandbox, signals);

	if (signal == SIGUSR1)
		dump_to_log(sandbox);
	else
		sandbox_shut_down(sandbox);
	return 0;
}

/* Birth */

static int open_state(struct sandbox *sandbox, struct fault *fault)
{
	const struct sandbox_options *options = sandbox->options;
	int r = state_open(&sandbox->state, options->root, fault);

	if (r >= 0)
		r = state_partition_open(&sandbox->state, options->id, &sandbox->directory_fd,
		                         fault);
	if (r < 0)
		return r;
	size_t size = strlen(sandbox->state.root) + strlen(options->id) + sizeof("/partitions/");
	sandbox->directory = malloc(size);
	if (!sandbox->directory)
		return fault_errno(fault, -ENOMEM, "partition");
	snprintf(sandbox->directory, size, "%s/partitions/%s", sandbox->state.root, options->id);
	r = partition_log_take(&sandbox->own_log,
	                       options->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	return r < 0 ? fault_errno(fault, r, "%s/sandbox.log", sandbox->directory) : 0;
}

static int start_loop(struct sandbox *sandbox, struct fault *fault)
{
	sigset_t set;
	int r = loop_init(&sandbox->loop);

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	if (r >= 0)
		r = signals_init(&sandbox->signals, &sandbox->loop, &set, on_signal);
	if (r >= 0)
		r = timer_init(&sandbox->limit, &sandbox->loop, on_limit);
	return r < 0 ? fault_errno(fault, r, "event loop") : 0;
}

static int read_config(struct sandbox *sandbox, struct fault *fault)
{
	const struct sandbox_options *options = sandbox->options;
	int r = config_load(&sandbox->config, options->config, fault);

	for (size_t i = 0; r >= 0 && i < options->annotation_count; i++) {
		const char *value = strchr(options->annotations[i], '=');
		cleanup_free char *name = strndup(options->annotations[i],
		                                  strcspn(options->annotations[i], "="));
		r = !name ? fault_errno(fault, -ENOMEM, "annotations") :
			config_annotate(&sandbox->config, name, value ? value + 1 : "", fault);
	}
	return r;
}

static int prepare_partition(struct sandbox *sandbox, struct fault *fault)
{
	const struct sandbox_options *options = sandbox->options;
	struct partition *partition = &sandbox->partition;
	int r = read_config(sandbox, fault);

	if (r < 0)
		return r;
	partition->driver = partition_driver_find(options->driver, &partition->argument);
	if (!partition->driver)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "unknown kind of partition \"%s\"", options->driver);
	partition->directory = sandbox->directory;
	partition->root = sandbox->state.root;
	partition->debug = options->debug;
	partition->config = &sandbox->config;
	partition->loop = &sandbox->loop;
	partition->output = on_words;
	partition->resumed = on_resumed;
	partition->child.uid = geteuid();
	partition->child.running = true;
	r = hv_guid_random(&partition->child.vm);
	if (r < 0)
		return fault_errno(fault, r, "partition");
	return partition->driver->prepare ? partition->driver->prepare(partition, fault) : 0;
}

/* On vsock the ports are those of the whole machine; hybrid sockets are the partition's alone. */
static int listen_somewhere(struct sandbox *sandbox, struct fault *fault)
{
	struct partition *partition = &sandbox->partition;
	struct hv_endpoint endpoint;
	int r;

	for (uint32_t i = 0; i < PORT_TRIES; i++) {
		partition->port = BRIDGE_PORT + i;
		r = partition->driver->endpoint(partition, partition->port, &endpoint);
		if (r < 0)
			return fault_errno(fault, r, "where the agent is to connect");
		r = bridge_listen(&sandbox->bridge, &endpoint, &sandbox->children, fault);
		if (r != -EADDRINUSE || endpoint.scheme != HV_SCHEME_VSOCK)
			break;
	}
	return r;
}

static int listen_for_agent(struct sandbox *sandbox, struct fault *fault)
{
	struct partition *partition = &sandbox->partition;
	struct hv_endpoint endpoint;
	int r = partition->driver->endpoint(partition, BRIDGE_PORT, &endpoint);

	if (r >= 0 && endpoint.scheme == HV_SCHEME_HYBRID) {
		partition->child.base = strdup(endpoint.path);
		r = partition->child.base ? 0 : -ENOMEM;
	}
	if (r >= 0)
		r = hv_children_add(&sandbox->children, &partition->child);
	if (r < 0)
		return fault_errno(fault, r, "partition");
	bridge_init(&sandbox->bridge, &sandbox->loop, &bridge_ops);
	sandbox->bridge.boots = partition->driver->boots;
	if (partition->driver->boots)
		r = guest_init(&sandbox->guest, &sandbox->bridge, partition, &guest_ops, fault);
	return r < 0 ? r : listen_somewhere(sandbox, fault);
}

static int start_partition(struct sandbox *sandbox, struct fault *fault)
{
	struct partition *partition = &sandbox->partition;
	int r = partition->driver->start(partition, fault);

	if (r < 0)
		return r;
	sandbox->running = true;
	sandbox->bridge.peer_pid = partition->dialler;
	r = source_init(&sandbox->exited, &sandbox->loop, partition->exit_fd, EPOLLIN,
	                on_partition_exit);
	if (r >= 0 && partition->output_fd >= 0)
		r = source_init(&sandbox->output, &sandbox->loop, partition->output_fd, EPOLLIN,
		                on_output);
	if (r >= 0)
		r = timer_set(&sandbox->limit, RECONNECT_LIMIT);
	return r < 0 ? fault_errno(fault, r, "event loop") : 0;
}

static int save_record(struct sandbox *sandbox, struct fault *fault)
{
	const struct partition_record record = {
		.driver = sandbox->options->driver,
		.pid = (uint32_t)getpid(),
		.start_time = process_start_time(getpid(), NULL),
		.agent_pid = (uint32_t)sandbox->partition.pid,
		.agent_start_time = process_start_time(sandbox->partition.pid, NULL),
	};
	int r = state_partition_save(sandbox->directory_fd, &record);

	return r < 0 ? fault_errno(fault, r, "%s/sandbox.json", sandbox->directory) : 0;
}

int sandbox_start(struct sandbox *sandbox, struct fault *fault)
{
	int r = open_state(sandbox, fault);

	if (r >= 0)
		r = start_loop(sandbox, fault);
	if (r >= 0)
		r = prepare_partition(sandbox, fault);
	if (r >= 0)
		r = listen_for_agent(sandbox, fault);
	if (r >= 0)
		r = start_partition(sandbox, fault);
	if (r < 0)
		return r;
	task_init(&sandbox->task, &sandbox->bridge, &sandbox->partition, &task_ops);
	/* Who can connect to us can read who we are. */
	r = save_record(sandbox, fault);
	if (r >= 0)
		r = server_init(&sandbox->server, &sandbox->loop, &sandbox->task,
		                sandbox->directory, &server_ops, fault);
	sandbox->server.keep = sandbox->keep;
	return r;
}

void sandbox_init(struct sandbox *sandbox, const struct sandbox_options *options,
                  const struct sandbox_ops *ops)
{
	*sandbox = (struct sandbox){
		.options = options,
		.ops = ops,
		.state = STATE_NULL,
		.directory_fd = -1,
		.own_log = PARTITION_LOG("sandbox.log", &sandbox->directory_fd),
		.agent_log = PARTITION_LOG("agent.log", &sandbox->directory_fd),
		.loop = LOOP_NULL,
		.signals = SIGNALS_NULL,
		.partition = PARTITION_NULL,
		.exited = SOURCE_NULL,
		.output = SOURCE_NULL,
		.bridge = { .listener = HV_LISTENER_NULL, .accepting = SOURCE_NULL,
		            .channel = CHANNEL_NULL },
		.guest = GUEST_NULL,
		.server = SERVER_NULL,
		.limit = TIMER_NULL,
	};
}

void sandbox_deinit(struct sandbox *sandbox)
{
	server_deinit(&sandbox->server);
	guest_deinit(&sandbox->guest);
	bridge_deinit(&sandbox->bridge);
	task_deinit(&sandbox->task);
	source_deinit(&sandbox->exited);
	source_deinit(&sandbox->output);
	timer_deinit(&sandbox->limit);
	signals_deinit(&sandbox->signals);
	hv_children_remove(&sandbox->children, &sandbox->partition.child);
	free((void *)(uintptr_t)sandbox->partition.child.base);
	partition_deinit(&sandbox->partition);
	config_deinit(&sandbox->config);
	loop_deinit(&sandbox->loop);
	close_fd(&sandbox->agent_log.fd);
	close_fd(&sandbox->directory_fd);
	free(sandbox->directory);
	state_close(&sandbox->state);
	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	close_fd(&sandbox->own_log.fd);
}
