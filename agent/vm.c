/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A VM process is described by ProcessParameters of the bridge instead of an OCI process; it is
 * turned into one here, so that there is one way to run anything.
 */

#include "agent/vm.h"

#include "agent/agent.h"

#include <string.h>

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#define BLANKS " \t\r\n"

/* Moves one word and a NUL to *to; returns where the word ended, NULL when a quote stays open. */
static const char *take_word(const char *at, char **to)
{
	char quote = 0;
	for (; *at && (quote || !strchr(BLANKS, *at)); at++) {
		if (quote ? *at == quote : *at == '\'' || *at == '"')
			quote = quote ? 0 : *at;
		else if (*at == '\\' && quote != '\'' && at[1])
			*(*to)++ = *++at;
		else
			*(*to)++ = *at;
	}
	*(*to)++ = '\0';
	return quote ? NULL : at;
}

int split_words(struct arena *arena, const char *line, struct str_list *ret)
{
	size_t length = strlen(line);
	/* Each word takes at least one character and a separator, which makes room for its NUL. */
	ret->item = arena_array(arena, length / 2 + 1, sizeof(*ret->item));
	ret->count = 0;
	char *to = arena_alloc(arena, length + 1);
	if (!ret->item || !to)
		return -ENOMEM;
	for (const char *at = line + strspn(line, BLANKS); *at; at += strspn(at, BLANKS)) {
		char *word = to;
		at = take_word(at, &to);
		if (!at)
			return -EINVAL;
		ret->item[ret->count++] = word;
	}
	return 0;
}

static int make_environment(struct arena *arena, const struct str_map *map, struct str_list *ret)
{
	ret->item = arena_array(arena, map->count + 1, sizeof(*ret->item));
	if (!ret->item)
		return -ENOMEM;
	bool has_path = false;
	for (size_t i = 0; i < map->count; i++) {
		const struct str_pair *pair = &map->item[i];
		has_path = has_path || !strcmp(pair->name, "PATH");
		ret->item[i] = arena_printf(arena, "%s=%s", pair->name, pair->value);
		if (!ret->item[i])
			return -ENOMEM;
	}
	ret->count = map->count;
	if (!has_path)
		ret->item[ret->count++] = DEFAULT_PATH;
	return 0;
}

static int describe(struct arena *arena, const struct process_parameters *from,
                    struct oci_process *ret, struct fault *fault)
{
	ret->terminal = from->emulate_console;
	ret->cwd = from->working_directory ? from->working_directory : "/";
	ret->args = from->command_args;
	if (from->console_size.count == 2) {
		ret->console_size.height = (uint16_t)from->console_size.item[0];
		ret->console_size.width = (uint16_t)from->console_size.item[1];
	}
	int error = make_environment(arena, &from->environment, &ret->env);
	if (!error && !ret->args.count && from->command_line)
		error = split_words(arena, from->command_line, &ret->args);
	if (error == -EINVAL)
		return fault_set(fault, error, HRESULT_FAIL, "CommandLine: a quote is not closed");
	if (error < 0)
		return fault_errno(fault, error, "process parameters");
	return oci_process_check(ret, fault);
}

static void vm_connected(struct process *process, int error)
{
	struct fault fault;
	if (error < 0) {
		fault_errno(&fault, error, "connecting the standard streams");
	} else {
		struct child_plan plan = {
			.process = process->description,
			.exec = true,
			.init_pidfd = -1,
			.root_fd = -1,
		};
		for (int i = 0; i < STDIO_COUNT; i++)
			plan.stdio[i] = process->stdio.end[i].theirs;
		error = process_spawn(process, &plan, &fault);
	}
	if (error < 0)
		process_fail(process, &fault);
}

int vm_exec(struct agent *agent, struct arena *arena, const struct execute_settings *settings,
            struct request *request, struct fault *fault)
{
	struct oci_process *description = arena_alloc(arena, sizeof(*description));
	if (!description)
		return fault_errno(fault, -ENOMEM, "process parameters");
	int error = describe(arena, settings->process_parameters, description, fault);
	if (error < 0)
		return error;
	struct process *process;
	error = process_new(agent, NULL, description->terminal, &process);
	if (error < 0)
		return fault_errno(fault, error, "making the standard streams");
	process->arena = *arena;
	*arena = (struct arena){ 0 };
	process->description = description;
	process->starting = *request;
	*request = (struct request){ 0 };
	process_connect(process, settings, vm_connected);
	return 0;
}
