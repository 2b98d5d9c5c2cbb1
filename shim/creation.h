/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A container on its way into its partition: `create`, and the first half of `run`. */

#include "oci/log.h"
#include "shim/bundle.h"
#include "shim/cli.h"
#include "shim/client.h"

struct create_options {
	const char *bundle, *config, *pid_file, *console_socket, *pod, *log_path;
	struct opt_i64 preserve_fds, log_size, log_files;
	bool detach, keep, tty;
};

/* One container that is being made. */
struct creation {
	struct cli *cli;
	const struct create_options *options;
	const char *id;
	struct bundle bundle;
	struct container_record record;
	const char *partition;
	const char *home;               /* the only one it may be in, which is there; or NULL */
	const struct pod_sandbox *sandbox; /* that it belongs to, if that is no container; or NULL */
	const char *driver;             /* that a new partition gets; NULL when it joins one */
	const char *share;              /* its directory in the partition's share, or NULL */
	bool image;                     /* its root is a disk of the VM */
	int scratch;                    /* another for what it writes, until that is given; or -1 */
	bool joins;                     /* a partition that holds other containers */
	struct arena arena;
	int directory;                  /* containers/<id> */
	struct client client;
	int slave;                      /* --console-socket */
	bool created;                   /* the partition has it */
	struct control_reply reply;
	char time[TIME_TEXT];
};

void creation_init(struct creation *creation, struct cli *cli, const struct create_options *options,
                   const char *id);
/* run: the caller stays and has the terminal. What fails is to be undone. */
int creation_make(struct creation *creation, bool run, struct fault *fault);
/* Nothing of it stays, however far it has come. */
void creation_undo(struct creation *creation);
void creation_deinit(struct creation *creation);
