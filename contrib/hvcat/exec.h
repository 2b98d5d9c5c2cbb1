/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A command that has a connection as its standard input and output. */

#include "hvsocket/hvsocket.h"
#include "hvsocket/loop.h"

struct command;
/* Is called once: the exit status as a shell would tell it, 128 and more for a signal. */
typedef int command_fn(struct command *command, int status);

struct command {
	struct source source;   /* its pidfd */
	pid_t pid;
	command_fn *fn;
};
#define COMMAND_NULL { .source = SOURCE_NULL }

/* The socket stays the caller's, who says by command_hang_up() that it is over. */
int command_start(struct command *command, struct loop *loop, const char *text, int fd,
                  const struct hv_peer *peer, command_fn *fn);
/* To all of its processes that have not left its process group. */
void command_signal(const struct command *command, int signal);
/* Ends the connection for whoever has it still. */
void command_hang_up(int fd);
/* Forgets it; the command goes on. */
void command_deinit(struct command *command);
