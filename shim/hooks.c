/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The runtime specification wants these in the runtime's namespaces, which are the host's, so the
 * command that the caller waits for runs them. createContainer and startContainer go to the agent
 * with the spec.
 */

#include "shim/hooks.h"

#include "oci/hook.h"
#include "oci/log.h"

struct hook_row {
	const char *kind, *status;
	size_t offset;
};

static const struct hook_row rows[][2] = {
	[HOOK_CREATE] = {
		{ "prestart", "creating", offsetof(struct oci_hooks, prestart) },
		{ "createRuntime", "creating", offsetof(struct oci_hooks, create_runtime) },
	},
	[HOOK_POSTSTART] = { { "poststart", "running", offsetof(struct oci_hooks, poststart) } },
	[HOOK_POSTSTOP] = { { "poststop", "stopped", offsetof(struct oci_hooks, poststop) } },
};

/* After the end there is nothing to be saved by stopping at the first that fails. */
static int run_all(const char *kind, const oci_hook_list *list, const struct oci_state *state,
                   struct fault *fault)
{
	struct fault later;
	int error = 0;
	for (size_t i = 0; i < list->count; i++) {
		int r = hook_run(kind, &list->item[i], state, error ? &later : fault);
		if (r < 0 && error)
			log_warning("%s", later.text);
		error = error ? error : r;
	}
	return error;
}

uint32_t host_hooks_pid(struct state *state, const char *partition, uint32_t pid)
{
	struct partition_record record = { 0 };
	struct arena arena = ARENA(JSON_ARENA);
	struct fault ignored;

	if (!pid && state_partition_load(state, partition, &arena, &record, &ignored) >= 0)
		pid = record.agent_pid;
	arena_free(&arena);
	return pid;
}

int host_hooks_run(enum host_hook which, const struct bundle *bundle, const char *id, uint32_t pid,
                   struct fault *fault)
{
	for (size_t i = 0; i < array_size(rows[which]) && rows[which][i].kind; i++) {
		const struct hook_row *row = &rows[which][i];
		const struct oci_state state = {
			.oci_version = bundle->spec.oci_version,
			.id = id,
			.status = row->status,
			.pid = pid,
			.bundle = bundle->path,
			.annotations = bundle->spec.annotations,
		};
		const oci_hook_list *list =
			(const void *)((const char *)&bundle->spec.hooks + row->offset);
		int error = (which == HOOK_POSTSTOP ? run_all : hooks_run)(row->kind, list, &state,
		                                                           fault);
		if (error < 0)
			return error;
	}
	return 0;
}
