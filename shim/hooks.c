/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The runtime specification wants these in the runtime's namespaces, which are the host's, so the
 * command that the caller waits for runs them. createContainer and startContainer go to the agent
 * with the spec.
 */

#include "shim/hooks.h"

#include "oci/hook.h"

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
		int error = hooks_run(row->kind, list, &state, fault);
		if (error < 0)
			return error;
	}
	return 0;
}
