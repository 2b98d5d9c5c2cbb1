/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A bundle: config.json read, checked, and made independent of where it lies. */

#include "oci/spec.h"

#define CONFIG_FILE "config.json"
#define PROCESS_FILE "process.json" /* saved beside it: what exec starts from */
#define CONFIG_ENCODED_MAX (5u << 20)

struct bundle {
	struct arena arena;
	const char *path;       /* absolute, links resolved */
	const char *text;       /* config.json as it was */
	size_t size;
	struct oci_spec spec;   /* paths absolute; hooks as in the file */
};
#define BUNDLE_NULL { .arena = ARENA(JSON_ARENA) }

/* file: instead of config.json of the bundle; NULL usually. */
int bundle_load(struct bundle *ret, const char *path, const char *file, struct fault *fault);
/*
 * The spec for the partition: the host's hooks are left out, since they run here. malloc'd.
 */
int bundle_encode(const struct bundle *bundle, char **ret, struct fault *fault);
void bundle_deinit(struct bundle *bundle);

/* The spec of a container as it was at its creation, from its state directory. */
struct state;
int bundle_load_saved(struct bundle *ret, struct state *state, const char *id, const char *path,
                      struct fault *fault);
