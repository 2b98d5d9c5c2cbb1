/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The command line of a containerd shim, in the syntax of Go's package flag, and what the
 * environment says beside it:
 *
 *   -namespace NS -address GRPC_SOCKET -publish-binary CONTAINERD -id ID [-debug] start
 *   -namespace NS … -id ID -bundle PATH [-debug] delete
 *   -info
 *   -v
 */

#include "oci/fault.h"

/* Texts are those of argv and of the environment; "" when absent. */
struct shim_command {
	const char *action;             /* "start", "delete" */
	const char *namespace, *id;     /* checked, if there is an action */
	const char *address;            /* of containerd's gRPC socket */
	const char *publish_binary;
	const char *bundle;
	const char *socket, *debug_socket; /* of other shims' daemons; accepted, unused */
	bool debug, version, info, help;
	const char *ttrpc_address;      /* TTRPC_ADDRESS */
	bool json;                      /* the caller reads JSON: GRPC_ADDRESS, MAX_SHIM_VERSION */
};

/*
 * Flags until the first word that is none, which is the action; what follows it does not count.
 * -EINVAL: a flag that is not known, or lacks its value; an action that is not known; an action
 * without namespace or id, or with one that can be no name of a file.
 */
int options_parse(int argc, char **argv, struct shim_command *ret, struct fault *fault);
/* What -help prints. */
extern const char options_usage[];
