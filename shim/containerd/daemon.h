/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The daemon of the containerd shim: a sandbox process that serves containerd's Task and Sandbox
 * APIs over ttrpc, besides its control socket. One serves a container, or a pod.
 */

#include "oci/json.h"

struct shim_options {           /* texts live as long as the process */
	const char *id, *namespace;
	const char *bundle;             /* absolute */
	const char *group;              /* the sandbox's id, else id: names the partition */
	const char *address;            /* unix://…, as it was printed */
	const char *grpc_address, *ttrpc_address, *publish_binary;     /* may be "" */
	const char *root;               /* of the state, with the namespace */
	const char *driver, *config;    /* NULL: the default */
	struct str_map annotations;     /* of config.json */
	bool debug;
	int api_version;                /* 2 or 3 */
};

/*
 * Serves until Shutdown, or until nobody has wanted a container for a minute; returns the exit
 * status. listen_fd: bound and listening, taken. ready_fd, taken: gets one NUL byte when requests
 * are served, else a line of text that says why they never will be. The socket's file goes at the
 * end.
 */
int shim_daemon(const struct shim_options *options, int listen_fd, int ready_fd);
