/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where a shim listens: a unix socket whose name is the SHA-256 of containerd's address, the
 * namespace, and the id of the container or of its group. Whoever knows the three finds the shim,
 * so starting a second one of a group is finding the first one, and `ctr shim` finds it too.
 */

#include "oci/fault.h"

#define ADDRESS_SCHEME "unix://"
#define ADDRESS_DIRECTORY "/run/containerd/s"
#define ADDRESS_NAME 64                 /* hexadecimal digits */
#define ADDRESS_DIRECTORY_MAX 42        /* as containerd has it: the path fits a socket's address */
#define ADDRESS_TEXT (sizeof(ADDRESS_SCHEME) + ADDRESS_DIRECTORY_MAX + 1 + ADDRESS_NAME)

/*
 * "unix://<directory>/<name>" of that key. directory "": the default one; absolute. grpc_address
 * may be "".
 */
int address_make(const char *directory, const char *grpc_address, const char *namespace,
                 const char *key, char ret[static ADDRESS_TEXT], struct fault *fault);
/* The socket's path; NULL for a text that address_make() would not have made. */
const char *address_path(const char *address);

/*
 * Listens there, for its owner only; makes the directory. Returns the fd, which does not block; 0:
 * somebody listens there already.
 */
int address_listen(const char *address, struct fault *fault);
/* Does anybody listen there? */
bool address_answers(const char *address);
/*
 * For who listens: removes the socket, and closes. In this order, as nobody replaces a socket on
 * which somebody listens.
 */
void address_leave(const char *address, int *listen_fd);
/* Removes the socket if nobody listens on it. */
void address_remove_stale(const char *address);

/* The file `address` in a bundle's directory, as containerd 1.x and CRI-O read it. */
#define ADDRESS_FILE "address"
int address_save(int bundle_fd, const char *address);
/* -ENOENT; -EINVAL for what was not saved by us. */
int address_load(int bundle_fd, char ret[static ADDRESS_TEXT]);
