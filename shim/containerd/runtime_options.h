/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What whoever configures containerd (or docker, or ctr on its command line) has set for this
 * runtime: the Any on standard input of `start`, in Create, or among the bootstrap parameters.
 */

#include "shim/containerd/any.h"
#include "oci/arena.h"
#include "oci/fault.h"

/* NULL where nothing was said. */
struct runtime_options {
	const char *driver;             /* kind of partition: "local", "qemu", "attach=…" */
	const char *config;             /* path of the configuration file; absolute */
	const char *root;               /* of the state; absolute */
	const char *shim_cgroup;
	bool debug;
};
