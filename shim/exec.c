/* SPDX-License-Identifier: Apache-2.0 */

/*
 * exec: another process in a running container, described by a process.json or, starting from the
 * container's own process, by flags.
 */

#include "oci/spec.h"
#include "shim/attach.h"
#include "shim/bundle.h"
#include "shim/cli.h"
#include "shim/exec_vm.h"
#include "shim/input.h"
#include "shim/terminal.h"

#include <fcntl.h>
#include <string.h>
#include <strings.h>

#define AT(member) offsetof(struct exec_options, member)
static const struct option_row exec_rows[] = {
	{ "vm", 0, OPTION_FLAG, AT(vm), NULL, "a process of the container's VM itself" },
	{ "detach", 'd', OPTION_FLAG, AT(detach), NULL, "return when the process runs" },
	{ "tty", 't', OPTION_FLAG, AT(tty), NULL, "with a terminal" },
	{ "interactive", 'i', OPTION_IGNORED },
	{ "process", 'p', OPTION_STRING, AT(process), "FILE",
	  "an OCI process in JSON, instead of CMD" },
	{ "pid-file", 0, OPTION_STRING, AT(pid_file), "FILE", "write the pid of the proxy there" },
	{ "console-socket", 0, OPTION_STRING, AT(console_socket), "SOCKET",
	  "send the terminal's master there" },
	{ "cwd", 0, OPTION_STRING, AT(cwd), "DIR", "working directory" },
	{ "env", 'e', OPTION_LIST, AT(env), "NAME=VALUE", "set a variable; repeatable" },
	{ "user", 'u', OPTION_STRING, AT(user), "USER", "UID[:GID] or NAME[:GROUP]" },
	{ "additional-gids", 'g', OPTION_LIST, AT(gids), "GID", "repeatable" },
	{ "cap", 'c', OPTION_LIST, AT(caps), "CAP", "add a capability; repeatable" },
	{ "no-new-privs", 0, OPTION_FLAG, AT(no_new_privs), NULL, "set no_new_privs" },
	{ "process-label", 0, OPTION_STRING, AT(label), "LABEL", "SELinux label" },
	{ "apparmor", 0, OPTION_STRING, AT(apparmor), "PROFILE", "AppArmor profile" },
	{ "preserve-fds", 0, OPTION_NUMBER, AT(preserve_fds), "N",
	  "only 0: fds cannot enter a VM" },
	{ "ignore-paused", 0, OPTION_IGNORED },
	{ NULL },
};

static int parse_id(const char *text, uint32_t *ret)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value > UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)value;
	return 0;
}

/* Numbers are numbers; a name goes to the agent, which looks it up in the container's own files. */
static int set_user(struct arena *arena, const char *text, struct oci_user *user)
{
	const char *colon = strchr(text, ':');
	const char *first = colon ? arena_copy(arena, text, (size_t)(colon - text)) : text;
	struct oci_user numeric = { .umask = user->umask };
	if (!first)
		return -ENOMEM;
	bool numbers = parse_id(first, &numeric.uid) == 0 &&
	               (!colon || parse_id(colon + 1, &numeric.gid) == 0);
	*user = numbers ? numeric : (struct oci_user){ .umask = user->umask, .username = text };
	return 0;
}

static int add_env(struct arena *arena, const struct exec_options *options, struct str_list *env)
{
	struct str_list all = { 0 };
	all.item = arena_array(arena, env->count + options->env.count + 1, sizeof(*all.item));
	if (!all.item)
		return -ENOMEM;
	for (size_t i = 0; i < env->count; i++)
		all.item[all.count++] = env->item[i];
	for (size_t i = 0; i < options->env.count; i++)
		all.item[all.count++] = options->env.item[i];
	*env = all;
	return 0;
}

static int add_caps(struct arena *arena, const struct exec_options *options,
                    struct oci_process *process, struct fault *fault)
{
	struct oci_capabilities *caps = arena_alloc(arena, sizeof(*caps));
	if (!caps)
		return fault_errno(fault, -ENOMEM, "exec");
	if (process->capabilities)
		*caps = *process->capabilities;
	for (size_t i = 0; i < options->caps.count; i++) {
		const struct json_name *name = oci_capability_names;
		while (name->name && strcasecmp(name->name, options->caps.item[i]) &&
		       strcasecmp(name->name + strlen("CAP_"), options->caps.item[i]))
			name++;
		if (!name->name)
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "--cap \"%s\": no such capability", options->caps.item[i]);
		uint64_t bit = 1ull << name->value;
		caps->bounding |= bit;
		caps->effective |= bit;
		caps->permitted |= bit;
	}
	process->capabilities = caps;
	return 0;
}

static int add_gids(struct arena *arena, const struct exec_options *options, struct oci_user *user,
                    struct fault *fault)
{
	size_t count = options->gids.count;
	uint32_t *gids = arena_array(arena, count, sizeof(*gids));
	if (!gids)
		return fault_errno(fault, -ENOMEM, "exec");
	for (size_t i = 0; i < count; i++) {
		if (parse_id(options->gids.item[i], &gids[i]) < 0)
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "--additional-gids \"%s\" is not a number",
			                 options->gids.item[i]);
	}
	user->additional_gids.count = count;
	user->additional_gids.item = gids;
	return 0;
}

/* The container's own process with what the flags say. */
static int process_from_flags(struct arena *arena, const struct exec_options *options, int argc,
                              char **argv, struct oci_process *process, struct fault *fault)
{
	process->args.count = (size_t)argc;
	process->args.item = (const char **)argv;
	process->terminal = options->tty;
	if (options->cwd)
		process->cwd = options->cwd;
	if (options->no_new_privs)
		process->no_new_privileges = true;
	if (options->label)
		process->selinux_label = options->label;
	if (options->apparmor)
		process->apparmor_profile = options->apparmor;
	int error = add_env(arena, options, &process->env);
	if (!error && options->user)
		error = set_user(arena, options->user, &process->user);
	if (error < 0)
		return fault_errno(fault, error, "exec");
	if (options->gids.count)
		error = add_gids(arena, options, &process->user, fault);
	if (!error && options->caps.count)
		error = add_caps(arena, options, process, fault);
	return error;
}

static int process_from_file(struct arena *arena, const struct exec_options *options,
                             struct oci_process *process, struct fault *fault)
{
	const char *text;
	size_t size;
	struct fault why = FAULT_NULL;
	int error = input_read(options->process, true, arena, JSON_TEXT_MAX, &text, &size);
	if (error < 0)
		return fault_errno(fault, error, "--process \"%s\"", options->process);
	error = json_decode(arena, &oci_process_type, text, size, process, &why);
	if (error < 0)
		return fault_set(fault, error, why.hresult, "--process \"%s\": %s",
		                 options->process, why.text);
	if (options->tty)
		process->terminal = true;
	return 0;
}

static int describe(struct cli *cli, const struct exec_options *options, int argc, char **argv,
                    struct arena *arena, struct oci_process *ret, struct fault *fault)
{
	cleanup_close int directory = -1;
	const char *text;
	size_t size;
	if (options->process)
		return process_from_file(arena, options, ret, fault);
	int error = state_container_open(&cli->state, argv[0], &directory, fault);
	if (error < 0)
		return error;
	error = state_read_file(directory, PROCESS_FILE, arena, JSON_TEXT_MAX, &text, &size);
	if (error < 0)
		return fault_errno(fault, error, "saved process of container \"%s\"", argv[0]);
	error = json_decode(arena, &oci_process_type, text, size, ret, fault);
	return error < 0 ? error
	                 : process_from_flags(arena, options, argc - 1, argv + 1, ret, fault);
}

static int check(const struct exec_options *options, int argc, const struct oci_process *process,
                 struct fault *fault)
{
	const char *wrong = NULL;
	if (options->process && argc > 1)
		wrong = "either --process or a command, not both";
	else if (options->preserve_fds.value)
		wrong = "--preserve-fds: open files cannot be passed into a partition";
	else if (process->terminal && options->detach && !options->console_socket)
		wrong = "a detached process with a terminal needs a --console-socket";
	else if (!process->terminal && options->console_socket)
		wrong = "--console-socket needs a terminal (--tty)";
	if (wrong)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "%s", wrong);
	return oci_process_check(process, fault);
}

static int encode(const struct exec_options *options, struct oci_process *process,
                  struct arena *arena, struct buf *out)
{
	if (options->vm)
		return exec_vm_encode(process, arena, out);
	return json_encode(&oci_process_type, process, out, false);
}

static int ask(const struct exec_options *options, struct client *client, const char *id,
               struct oci_process *process, int slave, struct control_reply *ret,
               struct fault *fault)
{
	struct buf text = BUF(CONFIG_ENCODED_MAX);
	bool terminal = process->terminal;
	/* A program may look at the size before any later message could tell it. */
	if (terminal)
		terminal_size(slave >= 0 ? slave : STDOUT_FILENO, &process->console_size.height,
		              &process->console_size.width);
	int error = encode(options, process, &client->arena, &text);
	if (!error)
		error = buf_append(&text, "", 1);
	if (error < 0) {
		buf_deinit(&text);
		return fault_errno(fault, error, "exec");
	}
	const int fds[] = {
		terminal && slave >= 0 ? slave : STDIN_FILENO,
		terminal && slave >= 0 ? slave : STDOUT_FILENO,
		STDERR_FILENO,
	};
	struct control_request request = {
		.id = id,
		.vm = options->vm,
		.process = buf_head(&text),
		.std_in = true,
		.std_out = true,
		.std_err = !terminal,
		.terminal = terminal,
		.height = process->console_size.height,
		.width = process->console_size.width,
	};
	error = client_call(client, CONTROL_EXEC, &request, fds, terminal ? 2 : 3, ret, fault);
	buf_deinit(&text);
	return error;
}

static int foreground(const struct attachment *attachment, struct fault *fault)
{
	int error = attach(attachment, getpid(), fault);
	int status = error < 0 ? error : attach_wait(attachment, fault);
	terminal_restore();
	return status;
}

static int background(const struct attachment *attachment, const struct exec_options *options,
                      pid_t host_pid, struct fault *fault)
{
	return proxy_leave(attachment, host_pid, NULL, options->pid_file, fault);
}

/* Runs the process; slave: the terminal to use instead of the caller's, or -1. */
static int perform(const struct exec_options *options, struct client *client, const char *id,
                   struct oci_process *process, int slave, struct fault *fault)
{
	bool own_terminal = process->terminal && slave < 0;
	struct control_reply reply = { 0 };
	if (!options->detach)
		attach_block_signals(client);
	if (own_terminal && isatty(STDIN_FILENO))
		terminal_raw(STDIN_FILENO);
	int error = ask(options, client, id, process, slave, &reply, fault);
	if (error < 0) {
		terminal_restore();
		return error;
	}
	const struct attachment attachment = {
		.client = client,
		.id = id,
		.vm = options->vm,
		.pid = reply.pid,
		.terminal_fd = own_terminal ? STDOUT_FILENO : slave,
	};
	if (options->detach)
		return background(&attachment, options, (pid_t)reply.host_pid, fault);
	if (options->pid_file)
		error = pid_file_write(options->pid_file, getpid(), fault);
	if (error < 0) {
		/* It runs; attached, it goes with us. */
		struct fault ignored;
		attach(&attachment, getpid(), &ignored);
		return error;
	}
	return foreground(&attachment, fault);
}

static int verb_exec(struct cli *cli, void *asked, int argc, char **argv, struct fault *fault)
{
	const struct exec_options *options = asked;
	struct arena arena = ARENA(JSON_ARENA);
	struct oci_process process = { 0 };
	struct container_record record = { 0 };
	struct client client;
	const char *partition;
	cleanup_close int slave = -1;
	int r = options->vm ? client_connect_vm(&client, &cli->state, argv[0], &partition, fault)
	                    : client_connect_container(&client, &cli->state, argv[0], &record,
	                                               fault);
	if (!r)
		r = options->vm ? exec_vm_describe(options, argc, argv, &process, fault)
		                : describe(cli, options, argc, argv, &arena, &process, fault);
	if (!r)
		r = check(options, argc, &process, fault);
	if (!r && options->console_socket)
		r = terminal_hand_out(options->console_socket, &slave, fault);
	if (!r)
		r = perform(options, &client, argv[0], &process, slave, fault);
	client_close(&client);
	arena_free(&arena);
	return r;
}

const struct verb verbs_exec[] = {
	{
		.name = "exec",
		.operands = "ID [CMD [ARG…]]",
		.summary = "run another process in a running container",
		.text = "Without --process the process is like the container's own: its environment, user,\n"
		        "capabilities and limits, as far as no option says otherwise. The exit status is the\n"
		        "process's, 255 when it could not be run.\n"
		        "With --vm, ID is a partition or a container in it, and the process is root's and in\n"
		        "no container: it sees the whole VM. It goes with the partition.",
		.options = exec_rows,
		.options_size = sizeof(struct exec_options),
		.least = 1, .most = -1,
		.run = verb_exec,
		.failure = 255,
	},
	{ NULL },
};
