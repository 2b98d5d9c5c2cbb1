/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A process of the VM itself, for those who look after it. On the bridge it is not an OCI process:
 * Microsoft's guests run such processes too, from parameters of their own, which have no room for
 * users, capabilities and the like. So those options are refused.
 */

#include "shim/exec_vm.h"

#include "oci/message.h"

#include <string.h>

static int refuse(const struct exec_options *options, struct fault *fault)
{
	const struct {
		const char *name;
		bool given;
	} rows[] = {
		{ "process", options->process },
		{ "user", options->user },
		{ "additional-gids", options->gids.count },
		{ "cap", options->caps.count },
		{ "no-new-privs", options->no_new_privs },
		{ "process-label", options->label },
		{ "apparmor", options->apparmor },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		if (rows[i].given)
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "--%s: a process of the VM itself is root's, and in no "
			                 "container", rows[i].name);
	}
	return 0;
}

int exec_vm_describe(const struct exec_options *options, int argc, char **argv,
                     struct oci_process *ret, struct fault *fault)
{
	*ret = (struct oci_process){
		.terminal = options->tty,
		.args = { .count = (size_t)argc - 1, .item = (const char **)argv + 1 },
		.env = options->env,
		.cwd = options->cwd ? options->cwd : "/",
	};
	if (argc < 2)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "exec --vm needs a command");
	return refuse(options, fault);
}

/* "NAME=VALUE"; checked before. */
static int split_environment(const struct str_list *env, struct arena *arena, struct str_map *ret)
{
	ret->item = arena_array(arena, env->count + 1, sizeof(*ret->item));
	if (!ret->item)
		return -ENOMEM;
	for (size_t i = 0; i < env->count; i++) {
		const char *text = env->item[i], *equals = strchr(text, '=');
		const char *name = equals ? arena_copy(arena, text, (size_t)(equals - text)) : text;
		if (!name)
			return -ENOMEM;
		ret->item[ret->count++] = (struct str_pair){ name, equals ? equals + 1 : "" };
	}
	return 0;
}

int exec_vm_encode(const struct oci_process *process, struct arena *arena, struct buf *out)
{
	uint32_t size[] = { process->console_size.height, process->console_size.width };
	struct process_parameters parameters = {
		.command_args = process->args,
		.working_directory = process->cwd,
		.emulate_console = process->terminal,
		.create_stdin_pipe = true,
		.create_stdout_pipe = true,
		.create_stderr_pipe = !process->terminal,
		.create_in_utility_vm = true,
	};
	int r = split_environment(&process->env, arena, &parameters.environment);

	if (size[0] && size[1]) {
		parameters.console_size.count = array_size(size);
		parameters.console_size.item = size;
	}
	return r < 0 ? r : json_encode(&process_parameters_type, &parameters, out, false);
}
