/* SPDX-License-Identifier: Apache-2.0 */

/*
 * containerd asks once for each runtime that is configured what it can do, and looks up there
 * whether user namespaces and mounts with mapped ids will work. It is told what `hvrun features`
 * prints.
 */

#include "shim/containerd/info.h"

#include "oci/buf.h"
#include "shim/containerd/bootstrap.h"
#include "shim/containerd/output.h"
#include "shim/containerd/proto/types.pb-c.h"
#include "shim/features.h"

#include <string.h>

#define RUNTIME "io.containerd.hvrun.v1"
#define FEATURES_TYPE "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
#define FEATURES_MAX (1u << 20)

/* Messages have no const members. */
#define TEXT(text) ((char *)(uintptr_t)(text))

int info_print_version(struct fault *fault)
{
	static const char text[] = "containerd-shim-hvrun-v1:\n  Version:  " HVRUN_VERSION "\n";

	return output_bytes(text, strlen(text), fault);
}

static int encode_features(struct buf *out, struct fault *fault)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct features features;
	int error = features_fill(&features, &arena);

	if (!error)
		error = json_encode(&features_type, &features, out, false);
	arena_free(&arena);
	return error < 0 ? fault_errno(fault, error, "features") : 0;
}

static int print(const struct buf *features, Google__Protobuf__Any *options, struct fault *fault)
{
	Containerd__Types__RuntimeInfo info = CONTAINERD__TYPES__RUNTIME_INFO__INIT;
	Containerd__Types__RuntimeVersion version = CONTAINERD__TYPES__RUNTIME_VERSION__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;

	version.version = TEXT(HVRUN_VERSION);
	any.type_url = TEXT(FEATURES_TYPE);
	any.value.data = (uint8_t *)TEXT(buf_head(features));
	any.value.len = buf_length(features);
	info.name = TEXT(RUNTIME);
	info.version = &version;
	info.options = options;
	info.features = &any;
	return output_message(&info.base, fault);
}

int info_print(struct fault *fault)
{
	struct buf input = BUF(BOOTSTRAP_MAX + 1), features = BUF(FEATURES_MAX);
	Google__Protobuf__Any *options = NULL;
	int error = bootstrap_read_input(STDIN_FILENO, &input, fault);

	if (!error)
		error = bootstrap_parse_options(buf_length(&input) ? buf_head(&input) : "",
		                                buf_length(&input), &options, fault);
	if (!error)
		error = encode_features(&features, fault);
	if (!error)
		error = print(&features, options, fault);
	google__protobuf__any__free_unpacked(options, NULL);
	buf_deinit(&input);
	buf_deinit(&features);
	return error;
}
