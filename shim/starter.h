/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whoever has started a sandbox process and waits for its partition (spawn.c), as that process sees
 * him: he gives a command line and a pipe, and is told once.
 */

#include "hvsocket/loop.h"
#include "shim/tail.h"

#define STARTER_ANNOTATIONS_MAX 16

/* The command line: see sandbox_main(). The texts are those of argv. */
struct sandbox_options {
	const char *root, *driver, *id, *config;
	const char *annotations[STARTER_ANNOTATIONS_MAX];       /* "name=value" */
	size_t annotation_count;
	int ready_fd;
	bool debug;
};

struct starter {
	int ready_fd;                   /* -1: told */
	struct source source;
	void (*gone)(struct starter *starter);
};
#define STARTER(fd) { .ready_fd = (fd), .source = SOURCE_NULL }

int starter_options(int argc, char **argv, struct sandbox_options *ret);
/* Nothing of the caller's is kept but these fds (ended by -1), and his folder. */
int starter_detach(const int *fds);
/* Nothing but the fd that he waits on. */
int starter_leave(const struct sandbox_options *options);
/*
 * For him: waits for the word. 0: ready. -EIO: said is the text that came, "" if there was none,
 * which is a process that died.
 */
int starter_await(int fd, char *said, size_t size);

/* gone() is called once if he goes before he is told. */
int starter_watch(struct starter *starter, struct loop *loop,
                  void (*gone)(struct starter *starter));
bool starter_waits(const struct starter *starter);
/* False when he has gone. */
bool starter_tell_ready(struct starter *starter);
/* said: by what did not start; its last lines are told along. May be NULL. */
void starter_tell_failed(struct starter *starter, const char *text, const struct tail *said);
void starter_deinit(struct starter *starter);
