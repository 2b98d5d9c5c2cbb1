/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Standing in for a process of a container: in the foreground (run, exec), or as the proxy that a
 * caller of create or exec --detach watches by its pid.
 */

#include "shim/client.h"

struct attachment {
	struct client *client;
	const char *id;
	bool vm;                /* a process of the VM itself */
	uint32_t pid;           /* 0 = the init */
	int terminal_fd;        /* whose size is followed; -1 = none */
	const char *root;       /* of a container in a VM: its root here; "" = nothing of it is here */
};

/*
 * Asks to be told of the exit (CONTROL_ATTACH), as `proxy`. From now on the loss of the connection
 * kills the process.
 */
int attach(const struct attachment *attachment, pid_t proxy, struct fault *fault);
/*
 * Blocks the signals that attach_wait() passes on. Before the process starts, so that none is
 * lost. Those that ask us to end also end a client_call() that is not answered.
 */
void attach_block_signals(struct client *client);
/* Passes signals on until the exit; returns its status (0…255), or a negative errno. */
int attach_wait(const struct attachment *attachment, struct fault *fault);

/*
 * Leaves a proxy behind: a child that passes signals on and exits with the process's status, in a
 * session of its own (with terminal_fd as its controlling terminal, if that is one). host_pid:
 * where it can, the proxy joins that process's namespaces, and the cgroup if there is one, or sees
 * the attachment's root alone (see shadow.h). pid_file: where its pid is written, NULL = nowhere. Returns when it is there and known
 * to the sandbox; the connection is the proxy's from then on. On failure there is no proxy, and the
 * process is killed as soon as the caller closes the connection, which is good for nothing else.
 */
int proxy_leave(const struct attachment *attachment, pid_t host_pid, const char *cgroup,
                const char *pid_file, struct fault *fault);
/* Writes a pid file: a temporary one, renamed. */
int pid_file_write(const char *path, pid_t pid, struct fault *fault);
