/* SPDX-License-Identifier: Apache-2.0 */

/*
 * create, start, run. A failure at any step undoes the steps before it in reverse order,
 * so that nothing is left behind: the container in the partition, its state directory; the
 * partition ends by itself with its last container.
 */

#include "oci/cgroup_path.h"
#include "oci/spec.h"
#include "shim/attach.h"
#include "shim/bundle.h"
#include "shim/cli.h"
#include "shim/delete.h"
#include "shim/hooks.h"
#include "shim/image.h"
#include "shim/pod.h"
#include "shim/remains.h"
#include "shim/sandbox.h"
#include "shim/share.h"
#include "shim/terminal.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOG_FILE "log"
#define LOG_SIZE (16u << 20)
#define LOG_FILES 4

struct create_options {
	const char *bundle, *config, *pid_file, *console_socket, *pod, *log_path;
	struct opt_i64 preserve_fds, log_size, log_files;
	bool detach, keep, tty;
};

#define AT(member) offsetof(struct create_options, member)
#define CREATE_ROWS \
	{ "bundle", 'b', OPTION_STRING, AT(bundle), "DIR", "the bundle (default: this directory)" }, \
	{ "config", 'f', OPTION_STRING, AT(config), "FILE", "instead of config.json" }, \
	{ "pid-file", 0, OPTION_STRING, AT(pid_file), "FILE", "write the pid of the proxy there" }, \
	{ "console-socket", 0, OPTION_STRING, AT(console_socket), "SOCKET", \
	  "send the terminal's master there" }, \
	{ "pod", 0, OPTION_STRING, AT(pod), "ID", "into the partition of that container" }, \
	{ "preserve-fds", 0, OPTION_NUMBER, AT(preserve_fds), "N", "only 0: fds cannot enter a VM" }, \
	{ "no-pivot", 0, OPTION_IGNORED }, { "no-new-keyring", 0, OPTION_IGNORED }, \
	{ "no-subreaper", 0, OPTION_IGNORED }

static const struct option_row create_rows[] = { CREATE_ROWS, { NULL } };
static const struct option_row run_rows[] = {
	{ "detach", 'd', OPTION_FLAG, AT(detach), NULL, "in the background, output to a log file" },
	{ "tty", 't', OPTION_FLAG, AT(tty), NULL, "with a terminal, whatever the config says" },
	{ "interactive", 'i', OPTION_IGNORED },
	{ "keep", 0, OPTION_FLAG, AT(keep), NULL, "do not delete the container after its exit" },
	{ "log-path", 0, OPTION_STRING, AT(log_path), "FILE", "with -d: the log file (hvrun logs)" },
	{ "log-size", 0, OPTION_NUMBER, AT(log_size), "BYTES", "with -d: rotate at (default 16M)" },
	{ "log-files", 0, OPTION_NUMBER, AT(log_files), "N", "with -d: files to keep (default 4)" },
	CREATE_ROWS,
	{ NULL },
};

/* One container that is being made. */
struct creation {
	struct cli *cli;
	const struct create_options *options;
	const char *id;
	struct bundle bundle;
	struct container_record record;
	const char *partition;
	const char *share;              /* its directory in the partition's share, if that has one */
	bool image;                     /* its root is a disk of the VM */
	bool joins;                     /* a partition that holds other containers */
	struct arena arena;
	int directory;                  /* containers/<id> */
	struct client client;
	int slave;                      /* --console-socket */
	bool created;                   /* the partition has it */
	struct control_reply reply;
	char time[TIME_TEXT];
};

static int check_options(const struct creation *creation, bool run, struct fault *fault)
{
	const struct create_options *options = creation->options;
	bool terminal = creation->bundle.spec.process->terminal;
	const char *wrong = NULL;
	if (options->preserve_fds.value)
		wrong = "--preserve-fds: open files cannot be passed into a partition";
	else if (terminal && !options->console_socket && (!run || options->detach))
		wrong = "process.terminal needs a --console-socket";
	else if (!terminal && options->console_socket)
		wrong = "--console-socket needs process.terminal";
	else if (options->log_size.set && options->log_size.value < 4096)
		wrong = "--log-size: at least 4096";
	else if (options->log_files.set &&
	         (options->log_files.value < 1 || options->log_files.value > 1000))
		wrong = "--log-files: from 1 to 1000";
	return wrong ? fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "%s", wrong) : 0;
}

/* exec starts from the container's process, and should not have to read the whole spec. */
static int save_process(int directory, const struct oci_process *process)
{
	struct buf text = BUF(CONFIG_ENCODED_MAX);
	int error = json_encode(&oci_process_type, process, &text, false);
	if (!error)
		error = state_write_file(directory, PROCESS_FILE, buf_head(&text), buf_length(&text));
	buf_deinit(&text);
	return error;
}

/* Absolute: the sandbox process is in another directory. */
static const char *log_path(struct creation *creation)
{
	const char *given = creation->options->log_path;
	char here[PATH_MAX];
	if (!given)
		return arena_printf(&creation->arena, "%s/containers/%s/" LOG_FILE,
		                    creation->cli->state.root, creation->id);
	if (given[0] == '/' || !getcwd(here, sizeof(here)))
		return given;
	return arena_printf(&creation->arena, "%s/%s", here, given);
}

static const struct partition_driver *find_driver(struct creation *creation)
{
	struct partition_record record = { 0 };
	struct fault ignored;
	const char *argument;
	int error = state_partition_load(&creation->cli->state, creation->partition,
	                                 &creation->arena, &record, &ignored);
	return error < 0 ? NULL : partition_driver_find(record.driver, &argument);
}

/* Unless the partition turns out to be there already, and of another kind. */
static const struct partition_driver *expected_driver(struct creation *creation)
{
	const char *argument;
	return creation->joins ? find_driver(creation)
	                       : partition_driver_find(creation->cli->partition, &argument);
}

static int check_shares(struct creation *creation, struct fault *fault)
{
	const struct partition_driver *driver = expected_driver(creation);
	return driver && driver->shares ? share_check(&creation->bundle.spec, fault) : 0;
}

static int save(struct creation *creation, struct fault *fault)
{
	const struct bundle *bundle = &creation->bundle;
	struct cli *cli = creation->cli;
	int error = state_container_make(&cli->state, creation->id, &creation->directory, fault);
	if (error < 0)
		return error;
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	struct container_record *record = &creation->record;
	record->id = creation->id;
	record->partition = creation->partition;
	record->bundle = bundle->path;
	record->rootfs = bundle->spec.root.path;
	record->created = time_format(&now, creation->time);
	record->cgroups_path = bundle->spec.linux_.cgroups_path;
	const struct partition_driver *driver = expected_driver(creation);
	record->vm = driver && !driver->visible;
	record->terminal = bundle->spec.process->terminal;
	record->annotations = bundle->spec.annotations;
	record->oci_version = bundle->spec.oci_version;
	if (creation->options->detach && !record->terminal) {
		const struct create_options *options = creation->options;
		record->log_path = log_path(creation);
		if (!record->log_path)
			return fault_errno(fault, -ENOMEM, "log file");
		record->log_files = options->log_files.set ? (uint32_t)options->log_files.value
		                                           : LOG_FILES;
	}
	error = state_write_file(creation->directory, CONFIG_FILE, bundle->text, bundle->size);
	if (!error)
		error = save_process(creation->directory, bundle->spec.process);
	if (!error)
		error = state_container_save(creation->directory, record);
	return error < 0 ? fault_errno(fault, error, "saving the state of container \"%s\"", creation->id)
	                 : 0;
}

/* It outlived the container that it was made for, and an id alone is no reason to share it. */
static int check_own(struct creation *creation, struct fault *fault)
{
	const struct control_request request = { .id = "" };
	struct control_reply reply = { 0 };
	int error = 0;
	if (creation->partition == creation->id && !pod_is_named(&creation->bundle.spec))
		error = client_call(&creation->client, CONTROL_STATE, &request, NULL, 0, &reply,
		                    fault);
	return !error && reply.containers.count
		? fault_set(fault, -EEXIST, HRESULT_INVALID_STATE,
		            "partition \"%s\" holds other containers", creation->partition)
		: error;
}

/* Joins the partition, starting it if it is not there. */
static int connect_partition(struct creation *creation, struct fault *fault)
{
	struct cli *cli = creation->cli;
	const struct sandbox_wish wish = {
		.driver = cli->partition,
		.config = cli->config,
		.annotations = &creation->bundle.spec.annotations,
		.debug = cli->debug,
	};
	int error = creation->joins ? -EEXIST
	                            : sandbox_spawn(&cli->state, creation->partition, &wish, fault);
	if (error == -EEXIST && !creation->joins) {
		/* Somebody else starts it, or it is what a killed sandbox process left behind. */
		int removed = remains_remove_partition(&cli->state, creation->partition);
		if (!removed || removed == -ENOENT)
			error = sandbox_spawn(&cli->state, creation->partition, &wish, fault);
	}
	if (error < 0 && error != -EEXIST)
		return error;
	bool existed = error == -EEXIST;
	error = client_connect(&creation->client, &cli->state, creation->partition, fault);
	if (error == -ENOENT || error == -ECONNREFUSED)
		return fault_set(fault, error, HRESULT_FAIL,
		                 "the sandbox process of partition \"%s\" is gone", creation->partition);
	return !error && existed ? check_own(creation, fault) : error;
}

static int give_tree(const struct share_tree *tree, void *context, struct fault *fault)
{
	struct creation *creation = context;
	const struct control_request request = {
		.share = creation->share,
		.entry = tree->entry,
		.tree = true,
		.file = tree->file,
	};
	return client_call(&creation->client, CONTROL_SHARE, &request, &tree->fd, 1, NULL, fault);
}

/* What the spec says of the host becomes what it is in the partition. */
static bool is_file(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* A root file system in a file becomes a disk of the VM. */
static int give_image(struct creation *creation, struct fault *fault)
{
	struct oci_root *root = &creation->bundle.spec.root;
	const struct control_request request = {
		.share = creation->share,
		.tree = true,
	};
	cleanup_close int fd = open(root->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || !creation->share)
		return fault_errno(fault, fd < 0 ? -errno : -ENOMEM, "root \"%s\"", root->path);
	struct fault inner = FAULT_NULL;
	int error = client_call(&creation->client, CONTROL_IMAGE, &request, &fd, 1, NULL, &inner);
	if (error < 0)
		return fault_set(fault, error, inner.hresult, "root \"%s\": %s", root->path,
		                 inner.text);
	creation->image = true;
	root->path = arena_printf(&creation->arena, IMAGE_ROOT, creation->share);
	return root->path ? 0 : fault_errno(fault, -ENOMEM, "root");
}

static int translate(struct creation *creation, struct fault *fault)
{
	const struct partition_driver *driver = find_driver(creation);
	struct container_record *record = &creation->record;
	struct oci_spec *spec = &creation->bundle.spec;
	int error = 0;
	if (driver && driver->visible == record->vm) {
		record->vm = !driver->visible;
		error = state_container_save(creation->directory, record);
	}
	if (error < 0)
		return fault_errno(fault, error, "saving the state of container \"%s\"",
		                   creation->id);
	if (!driver || !driver->shares)
		return 0;
	error = pod_leave_host_namespaces(spec, fault);
	creation->share = share_name(&creation->arena, creation->id);
	if (!error && spec->has_root && is_file(spec->root.path))
		error = give_image(creation, fault);
	/* A root that the guest has already is not shared. */
	bool is_image = !error && creation->image;
	spec->has_root = spec->has_root && !is_image;
	if (!error)
		error = share_spec(spec, creation->share, &creation->arena, give_tree, creation,
		                   fault);
	spec->has_root = spec->has_root || is_image;
	return error;
}

static bool has_create_hooks(const struct creation *creation)
{
	const struct oci_hooks *hooks = &creation->bundle.spec.hooks;
	return hooks->prestart.count || hooks->create_runtime.count;
}

/* They run when the namespaces and mounts are there, and before the container's own hooks. */
static int run_create_hooks(struct creation *creation, struct fault *fault)
{
	if (!has_create_hooks(creation))
		return 0;
	const struct control_request request = { .id = creation->id };
	int error = host_hooks_run(HOOK_CREATE, &creation->bundle, creation->id,
	                           creation->reply.host_pid, fault);
	return error < 0 ? error
	                 : client_call(&creation->client, CONTROL_CONTINUE, &request, NULL, 0, NULL,
	                               fault);
}

static int ask(struct creation *creation, struct fault *fault)
{
	const struct container_record *record = &creation->record;
	struct oci_process *process = creation->bundle.spec.process;
	bool log = record->log_path != NULL;
	int fds[3], count = 0;
	cleanup_free char *config = NULL;
	int in = record->terminal && creation->slave >= 0 ? creation->slave : STDIN_FILENO;
	int out = record->terminal && creation->slave >= 0 ? creation->slave : STDOUT_FILENO;
	/* A program may look at the size before any later message could tell it. */
	if (record->terminal)
		terminal_size(out, &process->console_size.height, &process->console_size.width);
	int error = bundle_encode(&creation->bundle, &config, fault);
	if (error < 0)
		return error;
	struct control_request request = {
		.id = creation->id,
		.bundle = creation->bundle.path,
		.config = config,
		.hold = has_create_hooks(creation),
		.terminal = record->terminal,
		.height = process->console_size.height,
		.width = process->console_size.width,
		.log_path = record->log_path,
		.log_size = creation->options->log_size.set
			? (uint64_t)creation->options->log_size.value : LOG_SIZE,
		.log_files = record->log_files,
		.std_in = !log,
		.std_out = !log,
		.std_err = !log && !record->terminal,
	};
	if (request.std_in)
		fds[count++] = in;
	if (request.std_out)
		fds[count++] = out;
	if (request.std_err)
		fds[count++] = STDERR_FILENO;
	error = client_call(&creation->client, CONTROL_CREATE, &request, fds, (size_t)count,
	                    &creation->reply, fault);
	creation->created = !error;
	return error;
}

static void undo(struct creation *creation)
{
	struct state *state = &creation->cli->state;
	const struct control_request deletion = { .id = creation->id, .force = true };
	const struct control_request shutdown = { .id = "" };
	struct fault ignored;
	if (creation->directory < 0 || !state_container_is(state, creation->id, creation->directory))
		return;
	bool own = !creation->joins;
	int error = 0;
	if (creation->client.fd < 0 && creation->created) {
		/* Killed since: what it made for the container is still there. */
		error = -ECONNREFUSED;
	} else if (creation->client.fd < 0) {
		if (own)
			(void)remains_remove_partition(state, creation->partition);
	} else if (creation->created) {
		error = client_call(&creation->client, CONTROL_DELETE, &deletion, NULL, 0, NULL,
		                    &ignored);
	} else if (own) {
		error = client_call(&creation->client, CONTROL_SHUTDOWN, &shutdown, NULL, 0, NULL,
		                    &ignored);
		/* Who looks after the failure finds nothing, not even a partition that is ending. */
		error = error ? error : -ECONNRESET;
	}
	if (client_lost(error))
		error = remains_remove(state, &creation->record);
	/* Without its directory nobody could find a container that is still there. */
	if (!creation->created || !error || error == -ENOENT)
		state_container_remove(state, creation->id);
}

static void creation_deinit(struct creation *creation)
{
	client_close(&creation->client);
	close_fd(&creation->directory);
	close_fd(&creation->slave);
	bundle_deinit(&creation->bundle);
	arena_free(&creation->arena);
}

static int create(struct creation *creation, bool run, struct fault *fault)
{
	const struct create_options *options = creation->options;
	int error = oci_id_check(creation->id, fault);
	if (!error)
		error = bundle_load(&creation->bundle, options->bundle ? options->bundle : ".",
		                    options->config, fault);
	if (!error && options->tty)
		creation->bundle.spec.process->terminal = true;
	if (!error)
		error = check_options(creation, run, fault);
	if (!error)
		error = pod_find_partition(&creation->cli->state, options->pod, &creation->bundle.spec,
		                           &creation->arena, &creation->partition, &creation->joins,
		                           fault);
	if (!error)
		error = check_shares(creation, fault);
	if (!error)
		error = save(creation, fault);
	if (!error && options->console_socket)
		error = terminal_hand_out(options->console_socket, &creation->slave, fault);
	if (!error)
		error = connect_partition(creation, fault);
	if (!error)
		error = translate(creation, fault);
	if (!error)
		error = ask(creation, fault);
	if (!error)
		error = run_create_hooks(creation, fault);
	if (!error)
		state_container_made(creation->directory);
	return error;
}

static void creation_init(struct creation *creation, struct cli *cli, const void *options,
                          const char *id)
{
	*creation = (struct creation){
		.cli = cli,
		.options = options,
		.id = id,
		.partition = id,
		.bundle = BUNDLE_NULL,
		.arena = ARENA(JSON_ARENA),
		.directory = -1,
		.client = CLIENT_NULL,
		.slave = -1,
	};
}

static int leave_proxy(struct creation *creation, struct fault *fault)
{
	const struct attachment attachment = {
		.client = &creation->client,
		.id = creation->id,
		.terminal_fd = creation->slave,
	};
	struct fault ignored;
	cleanup_free char *cgroup = NULL;
	int error = creation->record.vm ? 0 : cgroup_path_resolve(creation->record.cgroups_path,
	                                                          creation->id, &cgroup, fault);
	if (error < 0)
		return error;
	error = proxy_leave(&attachment, (pid_t)creation->reply.host_pid, cgroup,
	                    creation->options->pid_file, fault);
	if (error < 0) {
		/* The connection was the proxy's; what is to be undone needs one of its own. */
		client_close(&creation->client);
		client_connect(&creation->client, &creation->cli->state, creation->partition, &ignored);
	}
	return error;
}

static int verb_create(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)argc;
	struct creation creation;
	creation_init(&creation, cli, options, argv[0]);
	int error = create(&creation, false, fault);
	if (!error)
		error = leave_proxy(&creation, fault);
	if (error < 0)
		undo(&creation);
	creation_deinit(&creation);
	return error;
}

static int start(struct client *client, const struct bundle *bundle, const char *id,
                 struct fault *fault)
{
	const struct control_request request = { .id = id };
	struct control_reply reply = { 0 };
	int error = client_call(client, CONTROL_START, &request, NULL, 0, &reply, fault);
	if (error < 0)
		return error;
	error = host_hooks_run(HOOK_POSTSTART, bundle, id, reply.host_pid, fault);
	if (error < 0) {
		/* What has failed to start must not go on running. */
		const struct control_request end = { .id = id, .signal = SIGKILL };
		struct fault ignored;
		(void)client_call(client, CONTROL_SIGNAL, &end, NULL, 0, NULL, &ignored);
	}
	return error;
}

static int verb_start(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)options;
	(void)argc;
	struct client client;
	struct container_record record = { 0 };
	struct bundle bundle = BUNDLE_NULL;
	int error = client_connect_container(&client, &cli->state, argv[0], &record, fault);
	if (!error)
		error = bundle_load_saved(&bundle, &cli->state, argv[0], record.bundle, fault);
	if (!error)
		error = start(&client, &bundle, argv[0], fault);
	bundle_deinit(&bundle);
	client_close(&client);
	return error;
}

static int run_foreground(struct creation *creation, struct fault *fault)
{
	bool terminal = creation->record.terminal && creation->slave < 0;
	const struct attachment attachment = {
		.client = &creation->client,
		.id = creation->id,
		.terminal_fd = terminal ? STDOUT_FILENO : creation->slave,
	};
	attach_block_signals();
	if (terminal && isatty(STDIN_FILENO))
		terminal_raw(STDIN_FILENO);
	int error = start(&creation->client, &creation->bundle, creation->id, fault);
	if (!error)
		error = attach(&attachment, getpid(), fault);
	int status = error < 0 ? error : attach_wait(&attachment, fault);
	terminal_restore();
	if (status < 0 || creation->options->keep)
		return status;
	error = delete_container(&creation->cli->state, &creation->client, &creation->record,
	                         creation->directory, &creation->bundle, false, fault);
	return error < 0 ? error : status;
}

static int verb_run(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)argc;
	struct creation creation;
	const struct create_options *asked = options;
	creation_init(&creation, cli, options, argv[0]);
	int r = create(&creation, true, fault);
	if (!r && asked->detach) {
		r = start(&creation.client, &creation.bundle, creation.id, fault);
		if (!r)
			r = leave_proxy(&creation, fault);
	} else if (!r) {
		if (asked->pid_file)
			r = pid_file_write(asked->pid_file, getpid(), fault);
		if (!r)
			r = run_foreground(&creation, fault);
	}
	if (r < 0)
		undo(&creation);
	creation_deinit(&creation);
	return r;
}

const struct verb verbs_lifecycle[] = {
	{
		.name = "run",
		.operands = "ID",
		.summary = "create and start a container, wait for it and delete it",
		.text = "Standard input, output and error are the container's; the exit status is that of\n"
		        "its process. With -d the command returns at once, the output goes to a log file\n"
		        "(hvrun logs), and the container stays until hvrun delete.",
		.options = run_rows,
		.options_size = sizeof(struct create_options),
		.least = 1, .most = 1,
		.run = verb_run,
	},
	{
		.name = "create",
		.operands = "ID",
		.summary = "create a container that waits for its start",
		.text = "A proxy process stays behind, whose pid is in --pid-file and in the state: signals\n"
		        "to it go to the container's process, and it exits with its status.",
		.options = create_rows,
		.options_size = sizeof(struct create_options),
		.least = 1, .most = 1,
		.run = verb_create,
	},
	{
		.name = "start",
		.operands = "ID",
		.summary = "start the process of a created container",
		.least = 1, .most = 1,
		.run = verb_start,
	},
	{ NULL },
};
