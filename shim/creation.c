/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The steps from a bundle to a container that waits for its start. Each looks at what it needs and
 * leaves a trace in struct creation; a failure at any step undoes the steps before it in reverse
 * order, so that nothing is left behind: the container in the partition, its state directory; the
 * partition ends by itself with its last container.
 */

#include "shim/creation.h"

#include "oci/spec.h"
#include "shim/config.h"
#include "shim/hooks.h"
#include "shim/image.h"
#include "shim/pod.h"
#include "shim/remains.h"
#include "shim/sandbox.h"
#include "shim/scratch.h"
#include "shim/share.h"
#include "shim/terminal.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define LOG_FILE "log"
#define LOG_SIZE (16u << 20)
#define LOG_FILES 4
/* Of what containerd takes, for who looks at the container with our command. */
#define COPY_SIZE (64u << 10)
#define COPY_FILES 2

void creation_init(struct creation *creation, struct cli *cli, const struct create_options *options,
                   const char *id)
{
	*creation = (struct creation){
		.cli = cli,
		.options = options,
		.id = id,
		.partition = id,
		.bundle = BUNDLE_NULL,
		.arena = ARENA(JSON_ARENA),
		.scratch = -1,
		.directory = -1,
		.client = CLIENT_NULL,
		.slave = -1,
	};
}

void creation_deinit(struct creation *creation)
{
	client_close(&creation->client);
	close_fd(&creation->scratch);
	close_fd(&creation->directory);
	close_fd(&creation->slave);
	bundle_deinit(&creation->bundle);
	arena_free(&creation->arena);
}

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
		error = state_write_file(directory, PROCESS_FILE, buf_head(&text),
		                         buf_length(&text));
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
	                       : partition_driver_find(creation->driver, &argument);
}

static int check_shares(struct creation *creation, struct fault *fault)
{
	const struct partition_driver *driver = expected_driver(creation);
	if (!driver || !driver->shares)
		return 0;
	int error = share_check(&creation->bundle.spec, fault);
	return error < 0 ? error : scratch_open(&creation->bundle.spec, creation->cli->config,
	                                        &creation->scratch, fault);
}

static int save(struct creation *creation, struct fault *fault)
{
	const struct bundle *bundle = &creation->bundle;
	struct cli *cli = creation->cli;
	int error = state_container_make(&cli->state, creation->id, &creation->directory, fault);
	if (error < 0)
		return error;
	struct container_record *record = &creation->record;
	record->id = creation->id;
	record->partition = creation->partition;
	record->bundle = bundle->path;
	record->rootfs = bundle->spec.root.path;
	record->created = time_now(creation->time);
	record->cgroups_path = bundle->spec.linux_.cgroups_path;
	const struct partition_driver *driver = expected_driver(creation);
	record->vm = driver && !driver->visible;
	record->terminal = bundle->spec.process->terminal;
	record->annotations = bundle->spec.annotations;
	record->oci_version = bundle->spec.oci_version;
	if ((creation->options->detach || creation->home) && !record->terminal) {
		const struct create_options *options = creation->options;
		record->log_path = log_path(creation);
		if (!record->log_path)
			return fault_errno(fault, -ENOMEM, "log file");
		record->log_files = options->log_files.set ? (uint32_t)options->log_files.value :
			creation->home ? COPY_FILES : LOG_FILES;
	}
	error = state_write_file(creation->directory, CONFIG_FILE, bundle->text, bundle->size);
	if (!error)
		error = save_process(creation->directory, bundle->spec.process);
	if (!error)
		error = state_container_save(creation->directory, record);
	return error < 0 ? fault_errno(fault, error, "saving the state of container \"%s\"",
	                               creation->id)
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
		.driver = creation->driver,
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
		                 "the sandbox process of partition \"%s\" is gone",
		                 creation->partition);
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
		.scratch = creation->scratch >= 0,
	};
	cleanup_close int fd = open(root->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || !creation->share)
		return fault_errno(fault, fd < 0 ? -errno : -ENOMEM, "root \"%s\"", root->path);
	struct fault inner = FAULT_NULL;
	const int fds[] = { fd, creation->scratch };
	int error = client_call(&creation->client, CONTROL_IMAGE, &request, fds,
	                        request.scratch ? 2 : 1, NULL, &inner);
	close_fd(&creation->scratch);
	if (error < 0)
		return fault_set(fault, error, inner.hresult, "root \"%s\": %s", root->path,
		                 inner.text);
	creation->image = true;
	root->path = arena_printf(&creation->arena, IMAGE_ROOT, creation->share);
	return root->path ? 0 : fault_errno(fault, -ENOMEM, "root");
}

/* What the spec says of the host becomes what it is in the partition. */
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
	if (error < 0 || share_is_moot(spec))
		return error;
	creation->share = share_name(&creation->arena, creation->id);
	/* Another kind of partition was expected. */
	if (!error && creation->scratch < 0)
		error = scratch_open(spec, creation->cli->config, &creation->scratch, fault);
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
	                           host_hooks_pid(&creation->cli->state, creation->partition,
	                                          creation->reply.host_pid), fault);
	return error < 0 ? error
	                 : client_call(&creation->client, CONTROL_CONTINUE, &request, NULL, 0, NULL,
	                               fault);
}

static int ask(struct creation *creation, struct fault *fault)
{
	const struct container_record *record = &creation->record;
	struct oci_process *process = creation->bundle.spec.process;
	bool log = record->log_path && !creation->home;
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
			? (uint64_t)creation->options->log_size.value
			: creation->home ? COPY_SIZE : LOG_SIZE,
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

void creation_undo(struct creation *creation)
{
	struct state *state = &creation->cli->state;
	const struct control_request deletion = { .id = creation->id, .force = true };
	const struct control_request shutdown = { .id = "" };
	struct fault ignored;
	if (creation->directory < 0 ||
	    !state_container_is(state, creation->id, creation->directory))
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
		/* Who looks after the failure finds nothing, not even an ending partition. */
		error = error ? error : -ECONNRESET;
	}
	if (client_lost(error))
		error = remains_remove(state, &creation->record);
	/* Without its directory nobody could find a container that is still there. */
	if (!creation->created || !error || error == -ENOENT)
		state_container_remove(state, creation->id);
}

static int stay_home(struct creation *creation, struct fault *fault)
{
	const char *home = creation->home;
	if (!home)
		return 0;
	if (creation->joins && strcmp(creation->partition, home) != 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "container \"%s\" belongs in partition \"%s\", and not in \"%s\"",
		                 creation->id, creation->partition, home);
	creation->partition = home;
	creation->joins = true;
	return 0;
}

int creation_make(struct creation *creation, bool run, struct fault *fault)
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
	if (!error && creation->sandbox)
		pod_enter_sandbox(&creation->bundle.spec, creation->sandbox);
	if (!error)
		error = pod_find_partition(&creation->cli->state, options->pod,
		                           &creation->bundle.spec, &creation->arena,
		                           &creation->partition, &creation->joins, fault);
	if (!error)
		error = stay_home(creation, fault);
	if (!error && !creation->joins)
		error = config_partition(creation->cli->partition, creation->cli->config,
		                         &creation->bundle.spec.annotations, &creation->arena,
		                         &creation->driver, fault);
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
