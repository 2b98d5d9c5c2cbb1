/* SPDX-License-Identifier: Apache-2.0 */

/* What comes on the standard input of start, down to the options of the runtime. */

#include "tests/fuzz/fuzz.h"

#include "shim/containerd/bootstrap.h"
#include "shim/containerd/runtime_options.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const struct shim_command command = {
		.id = "c1", .namespace = "default", .address = "", .publish_binary = "",
		.ttrpc_address = "",
	};
	cleanup(arena_free) struct arena arena = ARENA(1u << 20);
	struct runtime_options options;
	struct bootstrap bootstrap;

	if (bootstrap_parse(&bootstrap, bytes, size, &command, NULL) >= 0) {
		if ((bootstrap.version == 3) != (bootstrap.form == BOOTSTRAP_MESSAGE))
			abort();
		(void)runtime_options_parse(&options, bootstrap.options, &arena, NULL);
	}
	bootstrap_deinit(&bootstrap);
	return 0;
}
