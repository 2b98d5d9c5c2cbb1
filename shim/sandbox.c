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

#include "shim/sandbox.h"

#include "oci/files_limit.h"
#include "oci/log.h"
#include "shim/guest.h"
#include "shim/remains.h"
#include "shim/server.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define IDLE_LIMIT 10000        /* milliseconds without ever a container */
#define SHUTDOWN_LIMIT 5000     /* milliseconds for the agent to remove its containers */
#define RECONNECT_LIMIT 30000   /* milliseconds without a connection to an agent that lives */
#define OUTPUT_MAX (1u << 20)   /* bytes of agent.log; then it becomes agent.log.1 */
#define LOG_MAX (1u << 20)      /* of sandbox.log likewise, as much of it is the guest's doing */
#define LAST_LINES 12            /* shown when a start has failed */
#define DETAILS_MAX 4096        /* their bytes; a pipe takes as much at once */
#define PORT_TRIES 4096
#define ANNOTATIONS_MAX 16

struct options {
	const char *root, *driver, *id, *config;
	const char *annotations[ANNOTATIONS_MAX];       /* "name=value" */
	size_t annotation_count;
	int ready_fd;
	bool debug;
};

struct sandbox {
	const struct options *options;
	struct state state;
	int directory_fd, log_fd;
	char *directory;
	struct config config;
	struct loop loop;
	struct signals signals;
	struct partition partition;
	struct hv_children children;
	struct source exited, output;
	struct bridge bridge;
	struct guest guest;
	struct task task;
	struct server server;
	struct timer limit;             /* one of the limits above */
	int ready_fd;
	struct source starter;          /* ready_fd, until it is told */
	int output_fd;                  /* agent.log */
	uint64_t output_size;
	struct tail said;               /* by the agent, where we read its output */
	bool running;                   /* the agent */
	bool shutting_down;             /* containers are being deleted */
	bool ending;
	int status;
};

/* Ready */

/* False when whoever started us has gone. */
static bool tell_ready(struct sandbox *sandbox, const char *text, size_t size)
{
	if (sandbox->ready_fd < 0)
		return true;
	bool told = write(sandbox->ready_fd, text, size) > 0;
	source_deinit(&sandbox->starter);
	close_fd(&sandbox->ready_fd);
	return told;
}

static void tell_failed(struct sandbox *sandbox, const char *text)
{
	struct buf lines = BUF(FAULT_TEXT + DETAILS_MAX);
	int r = buf_printf(&lines, "%s\n", text);

	if (r >= 0 && sandbox->partition.said)
		r = tail_print(sandbox->partition.said, LAST_LINES, "  ", &lines);
	if (buf_length(&lines))
		(void)tell_ready(sandbox, buf_head(&lines), buf_length(&lines));
	buf_deinit(&lines);
}

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

/* Ends the loop as soon as the agent has gone. */
static void end(struct sandbox *sandbox)
{
	if (sandbox->ending)
		return;
	sandbox->ending = true;
	sandbox->server.ending = true;
	/* What a driver has mounted in the directory goes first. */
	if (sandbox->running)
		sandbox->partition.driver->stop(&sandbox->partition);
	remove_directory(sandbox);
	if (!sandbox->running)
		loop_stop(&sandbox->loop);
}

/* Whatever is in it: everybody who waits is told, while there are still connections to him. */
static void end_at_once(struct sandbox *sandbox)
{
	if (sandbox->task.containers)
		log_warning("the containers are killed with their partition");
	task_died(&sandbox->task, "was shut down");
	end(sandbox);
}

/* The agent deletes its containers first, so that nothing of them stays; asked a second time, we do
 * not wait for that. */
static void shut_down(struct sandbox *sandbox)
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
	tell_failed(sandbox, text);
	log_error("%s", text);
	sandbox->status = EXIT_FAILURE;
	end(sandbox);
}

/* When the agent has gone and the connection has been read to its end. */
static void partition_over(struct sandbox *sandbox)
{
	char how[PARTITION_DEATH], line[256], text[FAULT_TEXT];

	if (sandbox->running || sandbox->bridge.connected || sandbox->task.dead)
		return;
	sandbox->partition.driver->collect(&sandbox->partition, how, sizeof(how));
	if (sandbox->ready_fd >= 0) {
		/* A driver whose processes say much has chosen what belongs to it. */
		tail_line(&sandbox->said, NULL, line, sizeof(line));
		snprintf(text, sizeof(text), "%s%s%s", how, line[0] ? ": " : "", line);
		start_failed(sandbox, text);
		return;
	}
	log_error("%s", how);
	timer_set(&sandbox->limit, 0);
	task_died(&sandbox->task, how);
	if (!sandbox->task.containers)
		end(sandbox);
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
		loop_stop(&sandbox->loop);
	} else {
		partition_over(sandbox);
	}
	return 0;
}

/* Nobody else knows yet that there is a partition. */
static int on_starter_gone(struct source *source, uint32_t got)
{
	(void)got;
	struct sandbox *sandbox = container_of(source, struct sandbox, starter);

	log_info("nobody waits for the partition any more");
	source_deinit(source);
	end(sandbox);
	return 0;
}

/* The agent's words */

static void log_output(struct sandbox *sandbox, const char *text, size_t size)
{
	if (sandbox->output_size > OUTPUT_MAX && sandbox->directory_fd >= 0) {
		(void)renameat(sandbox->directory_fd, "agent.log", sandbox->directory_fd,
		               "agent.log.1");
		close_fd(&sandbox->output_fd);
	}
	if (sandbox->output_fd < 0 && sandbox->directory_fd >= 0) {
		sandbox->output_fd = openat(sandbox->directory_fd, "agent.log",
		                            O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		sandbox->output_size = 0;
	}
	if (sandbox->output_fd >= 0 && write(sandbox->output_fd, text, size) > 0)
		sandbox->output_size += size;
}

static void on_words(struct partition *partition, const char *text, size_t size)
{
	log_output(container_of(partition, struct sandbox, partition), text, size);
}

static int on_output(struct source *source, uint32_t got)
{
	(void)got;
	struct sandbox *sandbox = container_of(source, struct sandbox, output);
	char text[4096];
	ssize_t n = read(source->fd, text, sizeof(text));

	if (n > 0) {
		if (sandbox->ready_fd >= 0)
			tail_add(&sandbox->said, text, (size_t)n);
		log_output(sandbox, text, (size_t)n);
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
	if (fault && sandbox->ready_fd >= 0) {
		start_failed(sandbox, fault->text);
		return;
	}
	if (fault)
		log_error("%s", fault->text);
	if (!sandbox->shutting_down)
		timer_set(&sandbox->limit, sandbox->task.containers ? 0 : IDLE_LIMIT);
	if (!tell_ready(sandbox, "", 1)) {
		(void)on_starter_gone(&sandbox->starter, 0);
		return;
	}
	task_connected(&sandbox->task);
}

static void on_guest_said(struct guest *guest, const char *line, size_t size)
{
	log_output(container_of(guest, struct sandbox, guest), line, size);
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
	if (sandbox->running && sandbox->ready_fd >= 0 &&
	    fault->hresult == HRESULT_NO_COMMON_VERSION)
		start_failed(sandbox, fault->text);
	else if (sandbox->running && !sandbox->shutting_down)
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
	} else if (!sandbox->bridge.ready && sandbox->ready_fd >= 0) {
		start_failed(sandbox, "the agent does not answer");
	} else if (!sandbox->bridge.ready) {
		log_error("the agent does not come back");
		sandbox->partition.driver->stop(&sandbox->partition);
	} else if (!sandbox->task.containers) {
		log_info("nobody wants a container here");
		end(sandbox);
	}
	return 0;
}

/* Task and server */

static void on_event(struct task *task, const struct control_event *event)
{
	struct sandbox *sandbox = container_of(task, struct sandbox, task);

	log_debug("container %s: %s (process %u)", event->id, event->type, event->pid);
	server_event(&sandbox->server, event);
}

static void on_emptied(struct task *task)
{
	end(container_of(task, struct sandbox, task));
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
	shut_down(container_of(server, struct sandbox, server));
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
		shut_down(sandbox);
	return 0;
}

/* Birth */

static int parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option names[] = {
		{ "root", required_argument, NULL, 'r' },
		{ "ready", required_argument, NULL, 'f' },
		{ "driver", required_argument, NULL, 'd' },
		{ "config", required_argument, NULL, 'c' },
		{ "annotation", required_argument, NULL, 'a' },
		{ "debug", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	*ret = (struct options){ .driver = "local", .ready_fd = -1 };
	optind = 1;
	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 'r':
			ret->root = optarg;
			break;
		case 'f':
			ret->ready_fd = (int)strtol(optarg, NULL, 10);
			break;
		case 'd':
			ret->driver = optarg;
			break;
		case 'c':
			ret->config = optarg;
			break;
		case 'a':
			if (ret->annotation_count == ANNOTATIONS_MAX)
				return -E2BIG;
			ret->annotations[ret->annotation_count++] = optarg;
			break;
		case 'v':
			ret->debug = true;
			break;
		default:
			return -EINVAL;
		}
	}
	if (optind != argc - 1 || ret->ready_fd <= STDERR_FILENO)
		return -EINVAL;
	ret->id = argv[optind];
	return 0;
}

/* Nothing of the caller's is kept but the fd that he waits on. */
static int leave_caller(const struct options *options)
{
	unsigned ready = (unsigned)options->ready_fd;
	int null_fd = open("/dev/null", O_RDWR);

	if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0 ||
	    dup2(null_fd, STDERR_FILENO) < 0 || fcntl(options->ready_fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	if ((ready > 3 && syscall(SYS_close_range, 3u, ready - 1, 0) < 0) ||
	    syscall(SYS_close_range, ready + 1, ~0u, 0) < 0)
		return -errno;
	(void)setsid();
	umask(077);
	files_limit_raise();
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	return chdir("/") < 0 ? -errno : 0;
}

/* The log has no argument to find it by. */
static struct sandbox *logging;

static int open_log(struct sandbox *sandbox);

static void rotate_log(void)
{
	if (logging->directory_fd < 0)
		return;
	(void)renameat(logging->directory_fd, "sandbox.log", logging->directory_fd, "sandbox.log.1");
	(void)open_log(logging);
}

/* What cannot be opened anew goes on where it was. */
static int open_log(struct sandbox *sandbox)
{
	int fd = openat(sandbox->directory_fd, "sandbox.log",
	                O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd >= 0) {
		close_fd(&sandbox->log_fd);
		sandbox->log_fd = fd;
	}
	logging = sandbox;
	log_init(sandbox->log_fd, LOG_FORMAT_TEXT,
	         sandbox->options->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	log_limit(LOG_MAX, rotate_log);
	return sandbox->log_fd;
}

static int open_state(struct sandbox *sandbox, struct fault *fault)
{
	const struct options *options = sandbox->options;
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
	if (open_log(sandbox) < 0)
		return fault_errno(fault, -errno, "%s/sandbox.log", sandbox->directory);
	return 0;
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
	/* That a pipe has no reader any more is an error, which is reported to who wants anything. */
	if (r >= 0)
		r = source_init(&sandbox->starter, &sandbox->loop, sandbox->ready_fd, EPOLLPRI,
		                on_starter_gone);
	return r < 0 ? fault_errno(fault, r, "event loop") : 0;
}

static int read_config(struct sandbox *sandbox, struct fault *fault)
{
	const struct options *options = sandbox->options;
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
	const struct options *options = sandbox->options;
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

static int begin(struct sandbox *sandbox, struct fault *fault)
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
	return r < 0 ? r : server_init(&sandbox->server, &sandbox->loop, &sandbox->task,
	                               sandbox->directory, &server_ops, fault);
}

static void sandbox_deinit(struct sandbox *sandbox)
{
	server_deinit(&sandbox->server);
	guest_deinit(&sandbox->guest);
	bridge_deinit(&sandbox->bridge);
	task_deinit(&sandbox->task);
	source_deinit(&sandbox->exited);
	source_deinit(&sandbox->output);
	source_deinit(&sandbox->starter);
	timer_deinit(&sandbox->limit);
	signals_deinit(&sandbox->signals);
	hv_children_remove(&sandbox->children, &sandbox->partition.child);
	free((void *)(uintptr_t)sandbox->partition.child.base);
	partition_deinit(&sandbox->partition);
	config_deinit(&sandbox->config);
	loop_deinit(&sandbox->loop);
	close_fd(&sandbox->output_fd);
	close_fd(&sandbox->directory_fd);
	free(sandbox->directory);
	state_close(&sandbox->state);
	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	close_fd(&sandbox->log_fd);
}

int sandbox_main(int argc, char **argv)
{
	struct options options;

	if (parse_options(argc, argv, &options) < 0 || leave_caller(&options) < 0)
		return EXIT_FAILURE;
	struct sandbox sandbox = {
		.options = &options,
		.state = STATE_NULL,
		.directory_fd = -1,
		.log_fd = -1,
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
		.starter = SOURCE_NULL,
		.ready_fd = options.ready_fd,
		.output_fd = -1,
		.status = EXIT_SUCCESS,
	};
	struct fault fault = FAULT_NULL;
	int r = begin(&sandbox, &fault);
	if (r >= 0)
		r = loop_run(&sandbox.loop);
	else
		tell_failed(&sandbox, fault.text);
	if (r < 0) {
		log_error("%s", fault.text[0] ? fault.text : errno_text(r));
		sandbox.status = EXIT_FAILURE;
	}
	sandbox_deinit(&sandbox);
	return sandbox.status;
}
