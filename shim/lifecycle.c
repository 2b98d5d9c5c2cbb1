/* SPDX-License-Identifier: Apache-2.0 */

/*
 * create, start, run. Who stands for the container's process afterwards is the difference: a proxy
 * that stays behind, or the command itself. Until that is settled a failure undoes the container.
 */

#include "oci/cgroup_path.h"
#include "shim/attach.h"
#include "shim/creation.h"
#include "shim/delete.h"
#include "shim/hooks.h"
#include "shim/terminal.h"

#include <signal.h>

#define AT(member) offsetof(struct create_options, member)
#define CREATE_ROWS \
	{ "bundle", 'b', OPTION_STRING, AT(bundle), "DIR", \
	  "the bundle (default: this directory)" }, \
	{ "config", 'f', OPTION_STRING, AT(config), "FILE", "instead of config.json" }, \
	{ "pid-file", 0, OPTION_STRING, AT(pid_file), "FILE", \
	  "write the pid of the proxy there" }, \
	{ "console-socket", 0, OPTION_STRING, AT(console_socket), "SOCKET", \
	  "send the terminal's master there" }, \
	{ "pod", 0, OPTION_STRING, AT(pod), "ID", "into the partition of that container" }, \
	{ "preserve-fds", 0, OPTION_NUMBER, AT(preserve_fds), "N", \
	  "only 0: fds cannot enter a VM" }, \
	{ "no-pivot", 0, OPTION_IGNORED }, { "no-new-keyring", 0, OPTION_IGNORED }, \
	{ "no-subreaper", 0, OPTION_IGNORED }

static const struct option_row create_rows[] = { CREATE_ROWS, { NULL } };
static const struct option_row run_rows[] = {
	{ "detach", 'd', OPTION_FLAG, AT(detach), NULL, "in the background, output to a log file" },
	{ "tty", 't', OPTION_FLAG, AT(tty), NULL, "with a terminal, whatever the config says" },
	{ "interactive", 'i', OPTION_IGNORED },
	{ "keep", 0, OPTION_FLAG, AT(keep), NULL, "do not delete the container after its exit" },
	{ "log-path", 0, OPTION_STRING, AT(log_path), "FILE",
	  "with -d: the log file (hvrun logs)" },
	{ "log-size", 0, OPTION_NUMBER, AT(log_size), "BYTES", "with -d: rotate at (default 16M)" },
	{ "log-files", 0, OPTION_NUMBER, AT(log_files), "N", "with -d: files to keep (default 4)" },
	CREATE_ROWS,
	{ NULL },
};

static int leave_proxy(struct creation *creation, struct fault *fault)
{
	const struct attachment attachment = {
		.client = &creation->client,
		.id = creation->id,
		.terminal_fd = creation->slave,
		.root = !creation->record.vm ? NULL :
			creation->share && !creation->image ? creation->record.rootfs : "",
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
		client_connect(&creation->client, &creation->cli->state, creation->partition,
		               &ignored);
	}
	return error;
}

static int verb_create(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)argc;
	struct creation creation;
	creation_init(&creation, cli, options, argv[0]);
	int error = creation_make(&creation, false, fault);
	if (!error)
		error = leave_proxy(&creation, fault);
	if (error < 0)
		creation_undo(&creation);
	creation_deinit(&creation);
	return error;
}

static int start(struct state *state, const char *partition, struct client *client,
                 const struct bundle *bundle, const char *id, struct fault *fault)
{
	const struct control_request request = { .id = id };
	struct control_reply reply = { 0 };
	int error = client_call(client, CONTROL_START, &request, NULL, 0, &reply, fault);
	if (error < 0)
		return error;
	error = host_hooks_run(HOOK_POSTSTART, bundle, id,
	                       host_hooks_pid(state, partition, reply.host_pid), fault);
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
		error = start(&cli->state, record.partition, &client, &bundle, argv[0], fault);
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
	attach_block_signals(&creation->client);
	if (terminal && isatty(STDIN_FILENO))
		terminal_raw(STDIN_FILENO);
	int error = start(&creation->cli->state, creation->partition, &creation->client,
	                  &creation->bundle, creation->id, fault);
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
	int r = creation_make(&creation, true, fault);
	if (!r && asked->detach) {
		r = start(&creation.cli->state, creation.partition, &creation.client,
		          &creation.bundle, creation.id, fault);
		if (!r)
			r = leave_proxy(&creation, fault);
	} else if (!r) {
		if (asked->pid_file)
			r = pid_file_write(asked->pid_file, getpid(), fault);
		if (!r)
			r = run_foreground(&creation, fault);
	}
	if (r < 0)
		creation_undo(&creation);
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
