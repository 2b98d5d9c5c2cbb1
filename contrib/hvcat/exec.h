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

/* The socket stays the caller's, to be closed at once: then it lives as long as its users. */
int command_start(struct command *command, struct loop *loop, const char *text, int fd,
                  const struct hv_peer *peer, command_fn *fn);
void command_signal(const struct command *command, int signal);
/* Forgets it; the command goes on. */
void command_deinit(struct command *command);
