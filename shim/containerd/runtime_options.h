/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What whoever configures containerd (or docker, or calls ctr) has set for this runtime: the Any
 * on standard input of `start`, among the bootstrap parameters, or in Create.
 */

#include "oci/arena.h"
#include "oci/fault.h"
#include "shim/containerd/any.h"

/* NULL where nothing was said. */
struct runtime_options {
	const char *driver;             /* kind of partition: "local", "qemu", "attach=…" */
	const char *config;             /* the configuration's path */
	const char *root;               /* of the state */
	const char *shim_cgroup;
	bool debug;
};

/*
 * What is in the arena afterwards. any may be NULL, and options of a type that is unknown are
 * none: whoever sets those means another runtime. -EINVAL: they cannot be read, or make no sense.
 */
int runtime_options_parse(struct runtime_options *ret, const Google__Protobuf__Any *any,
                          struct arena *arena, struct fault *fault);
