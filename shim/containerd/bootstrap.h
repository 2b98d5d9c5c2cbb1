/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What `start` reads from its standard input, and what it answers. Both have changed with the
 * versions of containerd, and neither side says its own: what came tells what is understood.
 */

#include "oci/buf.h"
#include "shim/containerd/options.h"
#include "shim/containerd/proto/bootstrap.pb-c.h"

#define BOOTSTRAP_MAX (10u << 20)

enum bootstrap_form {
	BOOTSTRAP_BARE,                 /* the address; everybody understands it */
	BOOTSTRAP_JSON,                 /* version 2 */
	BOOTSTRAP_MESSAGE,              /* BootstrapResult, version 3 */
};

/* Texts are those of the command or of the message; "" when absent. */
struct bootstrap {
	enum bootstrap_form form;       /* of the answer */
	int version;                    /* of the task API */
	bool debug;
	const char *grpc_address, *ttrpc_address, *publish_binary;
	const char *socket_directory;
	const Google__Protobuf__Any *options;   /* of the runtime; NULL: none */
	/* private */
	Containerd__Runtime__Bootstrap__V1__BootstrapParams *params;
	Google__Protobuf__Any *any;
};

/* -EINVAL: what came is no message of either kind. */
int bootstrap_parse(struct bootstrap *ret, const void *data, size_t size,
                    const struct shim_command *command, struct fault *fault);
/* From the fd, to its end. -EFBIG. */
int bootstrap_read(struct bootstrap *ret, int fd, const struct shim_command *command,
                   struct fault *fault);
void bootstrap_deinit(struct bootstrap *bootstrap);

/* Appends the answer. */
int bootstrap_answer(enum bootstrap_form form, const char *address, struct buf *out);

/* Reads standard input or the like to its end; nothing where it is not open. */
int bootstrap_read_input(int fd, struct buf *ret, struct fault *fault);
/* *ret is NULL for no bytes at all: there are no options. Free it with
 * google__protobuf__any__free_unpacked(). */
int bootstrap_parse_options(const void *data, size_t size, Google__Protobuf__Any **ret,
                            struct fault *fault);
