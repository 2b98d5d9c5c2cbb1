/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The host ends of a process's standard streams: what the caller passed, or a log file. They live
 * from the start of the process until everything it and its children had to say was delivered.
 */

#include "oci/message.h"
#include "oci/stream.h"
#include "shim/fifo_watch.h"
#include "shim/logfile.h"

enum { STDIO_IN, STDIO_OUT, STDIO_ERR, STDIO_COUNT };

/* Of streams that nobody takes. */
void stdio_close_fds(int fd[static STDIO_COUNT]);

struct stdio;

struct stdio_output {
	struct stdio *stdio;
	struct inlet inlet;
	int fd;                 /* owned; -1 without the stream, or where the log is in its place */
	uint64_t unlogged;      /* bytes since the log was last written that never came by us */
	bool open;              /* attached, and not all delivered */
	struct fifo_watch reader; /* tells when somebody opens the FIFO, or reads from it */
	bool awaited;           /* nobody has opened it yet, as somebody will */
	struct opt_u64 target;  /* what must be delivered before the exit is told */
};

struct stdio {
	/* Something was delivered or has ended. The owner may free the stdio here. */
	void (*progress)(struct stdio *stdio);
	void *owner;
	struct outlet in;
	int in_fd;
	int in_hold;            /* both ends of the FIFO that in_fd reads, or -1 */
	bool in_open;
	struct stdio_output output[2];  /* stdout (also of a terminal), stderr */
	bool started;                   /* the agent has the streams */
	bool exited;                    /* the process has */
	bool terminal;
	bool keeps;                     /* a FIFO with the rest, until somebody comes for it */
	struct timer patience;          /* with readers that are there and do not read */
	bool impatient;
	struct loop *loop;
	struct logfile *log;            /* borrowed; takes both outputs, or a copy of them */
};

/*
 * Takes the fds (-1 = none) from the array, also when it fails. A FIFO that was opened for reading
 * and writing outlives the processes at its other end: stdin has no end before
 * stdio_close_input(), and outputs wait in it for a reader. log: instead of an output without an fd;
 * of one with an fd it gets a copy, as far as that costs nothing: not of what is spliced.
 */
int stdio_new(struct stdio **ret, int fd[static STDIO_COUNT], bool terminal, struct logfile *log,
              void (*progress)(struct stdio *stdio), void *owner);
/*
 * Opens the streams on the channel and names them for ExecuteProcess, to be sent next. first_id:
 * the first of three ids.
 */
int stdio_attach(struct stdio *stdio, struct channel *channel, uint64_t first_id,
                 struct stdio_streams *ret);
/* The request that named them was granted. */
void stdio_started(struct stdio *stdio);
/* The request that named them was refused: there are no streams. */
void stdio_forget(struct stdio *stdio);
/*
 * The process has exited: input ends; output goes on to the offsets at least. NULL: none are
 * known.
 */
void stdio_exited(struct stdio *stdio, const struct stream_offsets *offsets);
/* The end of stdin is there when the last writer of its FIFO has closed it, and all is read. */
void stdio_close_input(struct stdio *stdio);
/* A StreamOffset notification: true if it was for a stream of this process. */
bool stdio_offset(struct stdio *stdio, uint64_t stream, uint64_t offset);
/* After the exit: everything that the process wrote is delivered. */
bool stdio_delivered(struct stdio *stdio);
/* Everybody knows: nobody is waited for who has only to read what is left. */
void stdio_told(struct stdio *stdio);
/* No stream is open any more. */
bool stdio_idle(const struct stdio *stdio);
void stdio_free(struct stdio *stdio);
