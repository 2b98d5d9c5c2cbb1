/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two ends that are easily taken for one. The exit of a process may be told when what it wrote has
 * been delivered, which the offsets of its exit say to the byte. Its streams end later, when the
 * last of its children has let go of them, and until then the output goes on flowing. A caller's fd
 * is closed with its stream, because he takes its end of file for the end of all output.
 *
 * Of a FIFO that came as O_RDWR, stdin reads another, O_RDONLY, open file, and the first one is
 * just kept: without a writer a reader would be told of the end of file, over and over, whenever
 * the caller's program is replaced by another. When it is closed, what is in the FIFO stays there
 * to be read, and the end comes behind it.
 *
 * What is in a FIFO is lost when the last who had it open closes it. A caller's program that is
 * being replaced when a process ends finds the last words of that all the same, if they are to be
 * kept: the end for writing stays open until it has opened its own.
 */

#include "shim/stdio.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

/* FIFOs */

#define READER_LIMIT 500        /* milliseconds for what is in a FIFO to be read at the end */

#define FD_PATH (sizeof("/proc/self/fd/") + 3 * sizeof(int))

static const char *fd_path(int fd, char path[static FD_PATH])
{
	snprintf(path, FD_PATH, "/proc/self/fd/%d", fd);
	return path;
}

/* Both of its ends. */
static bool holds_fifo(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
	       (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
}

static bool has_reader(int fd)
{
	struct pollfd end = { .fd = fd };

	return poll(&end, 1, 0) <= 0 || !(end.revents & POLLERR);
}

/* Outputs */

static int log_stream(const struct stdio_output *output)
{
	return output == &output->stdio->output[0] ? LOGFILE_STDOUT : LOGFILE_STDERR;
}

/* Says in the log what is missing there. */
static void log_gap(struct stdio_output *output)
{
	char text[64];
	uint64_t count = output->unlogged;

	if (!count)
		return;
	output->unlogged = 0;
	logfile_flush(output->stdio->log, log_stream(output));
	int n = snprintf(text, sizeof(text), "[%llu bytes at once are not kept here]\n",
	                 (unsigned long long)count);
	logfile_write(output->stdio->log, log_stream(output), text, (size_t)n);
}

static void output_close(struct stdio_output *output)
{
	if (output->stdio->log) {
		log_gap(output);
		logfile_flush(output->stdio->log, log_stream(output));
	}
	output->open = output->awaited = false;
	fifo_watch_stop(&output->reader);
	close_fd(&output->fd);
}

static ssize_t log_sink(struct inlet *inlet, const char *bytes, size_t size)
{
	struct stdio_output *output = container_of(inlet, struct stdio_output, inlet);

	logfile_write(output->stdio->log, log_stream(output), bytes, size);
	return (ssize_t)size;
}

static void log_copy(struct inlet *inlet, const char *bytes, size_t size)
{
	struct stdio_output *output = container_of(inlet, struct stdio_output, inlet);

	if (!bytes) {
		output->unlogged += size;
		return;
	}
	log_gap(output);
	logfile_write(output->stdio->log, log_stream(output), bytes, size);
}

static void output_progress(struct inlet *inlet)
{
	struct stdio_output *output = container_of(inlet, struct stdio_output, inlet);

	/* Only after the exit does anybody wait for a certain byte. */
	if (output->target.set)
		output->stdio->progress(output->stdio);
}

static bool has_rest(const struct stdio_output *output)
{
	int waiting = 0;

	return output->fd >= 0 && ioctl(output->fd, FIONREAD, &waiting) == 0 && waiting > 0;
}

void stdio_told(struct stdio *stdio)
{
	stdio->impatient = true;
	for (int i = 0; i < 2; i++) {
		struct stdio_output *output = &stdio->output[i];
		if (output->open || !fifo_watch_runs(&output->reader) || !has_reader(output->fd))
			continue;
		fifo_watch_stop(&output->reader);
		close_fd(&output->fd);
	}
}

static int on_patience_over(struct timer *timer)
{
	struct stdio *stdio = container_of(timer, struct stdio, patience);

	stdio_told(stdio);
	stdio->progress(stdio);
	return 0;
}

/* Whether there is some left. */
static bool be_patient(struct stdio *stdio)
{
	if (!stdio->patience.fn && !stdio->impatient)
		stdio->impatient =
			timer_init(&stdio->patience, stdio->loop, on_patience_over) < 0 ||
			timer_set(&stdio->patience, READER_LIMIT) < 0;
	return !stdio->impatient;
}

static void on_opened(struct fifo_watch *reader)
{
	struct stdio_output *output = container_of(reader, struct stdio_output, reader);

	/* Somebody had a look at what is meant for others. */
	if (!output->open && has_rest(output) && !has_reader(output->fd))
		return;
	output->awaited = false;
	if (!has_rest(output) || (output->open ? !output->stdio->exited
	                                       : output->stdio->impatient)) {
		fifo_watch_stop(reader);
		if (!output->open)
			close_fd(&output->fd);
	}
	output->stdio->progress(output->stdio);
}

/* That somebody reads from it shows, if nothing else did, that he has opened it. */
static int watch_readers(struct stdio_output *output)
{
	return fifo_watch_start(&output->reader, output->stdio->loop, output->fd, on_opened);
}

/* Opens it anew, for writing only or for both. */
static int reopen(struct stdio_output *output, int flags)
{
	char path[FD_PATH];
	int fd = open(fd_path(output->fd, path), flags | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close_fd(&output->fd);
	output->fd = fd;
	return 0;
}

/*
 * A caller may be late: his program makes a FIFO, asks for a process, and opens the FIFO when it
 * comes to it, by when the process has perhaps ended. What that said would be lost if he heard of
 * the end first.
 */
static void await_reader(struct stdio_output *output)
{
	if (!output->stdio->keeps || !holds_fifo(output->fd) || reopen(output, O_WRONLY) < 0)
		return;
	bool there = has_reader(output->fd);
	if (reopen(output, O_RDWR) >= 0 && !there)
		output->awaited = watch_readers(output) >= 0;
}

/* True if the output is not to be closed yet: it has bytes, and nobody to read them. */
static bool keep_rest(struct stdio_output *output)
{
	if (!output->stdio->keeps || !holds_fifo(output->fd) || !has_rest(output))
		return false;
	fifo_watch_stop(&output->reader);
	/* Whoever opens it from the watch on is noticed; who has before, is seen. */
	return watch_readers(output) >= 0 && reopen(output, O_WRONLY) >= 0 &&
	       (!has_reader(output->fd) || be_patient(output->stdio));
}

/*
 * Who has opened his FIFO is about to read it, and may stop doing so when he hears of the exit; so
 * he hears of it when he has read all, or has had the time for it.
 */
static bool is_unread(struct stdio_output *output)
{
	struct stdio *stdio = output->stdio;

	if (!stdio->keeps || !stdio->exited || !has_rest(output) ||
	    !(output->open ? holds_fifo(output->fd) : has_reader(output->fd)))
		return false;
	if (!fifo_watch_runs(&output->reader) && watch_readers(output) < 0)
		return false;
	return be_patient(stdio);
}

static void output_ended(struct inlet *inlet, uint32_t reason)
{
	(void)reason;
	struct stdio_output *output = container_of(inlet, struct stdio_output, inlet);

	/* When the reader went away, the inlet must still hear the rest out. */
	inlet_deinit(inlet);
	if (keep_rest(output))
		output->open = false;
	else
		output_close(output);
	output->stdio->progress(output->stdio);
}

static void output_lost(struct inlet *inlet)
{
	output_ended(inlet, END_SOURCE_FAILED);
}

static const struct inlet_ops fd_ops = {
	.progress = output_progress,
	.ended = output_ended,
	.lost = output_lost,
};
static const struct inlet_ops copied_ops = {
	.seen = log_copy,
	.progress = output_progress,
	.ended = output_ended,
	.lost = output_lost,
};
static const struct inlet_ops log_ops = {
	.write = log_sink,
	.progress = output_progress,
	.ended = output_ended,
	.lost = output_lost,
};

/* Input */

static void input_close(struct stdio *stdio)
{
	stdio->in_open = false;
	close_fd(&stdio->in_fd);
	close_fd(&stdio->in_hold);
}

static void input_ended(struct outlet *outlet, uint32_t reason)
{
	(void)reason;
	struct stdio *stdio = container_of(outlet, struct stdio, in);

	input_close(stdio);
	stdio->progress(stdio);
}

static void input_lost(struct outlet *outlet)
{
	input_ended(outlet, END_SOURCE_FAILED);
}

static const struct outlet_ops input_ops = { .ended = input_ended, .lost = input_lost };

/* Where that is refused, the FIFO serves as it is: it never ends. */
static void hold_input(int *fd, int *ret_hold)
{
	char path[FD_PATH];

	if (!holds_fifo(*fd))
		return;
	int reader = open(fd_path(*fd, path), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (reader < 0)
		return;
	*ret_hold = *fd;
	*fd = reader;
}

/* All of them */

void stdio_close_fds(int fd[static STDIO_COUNT])
{
	for (int i = 0; i < STDIO_COUNT; i++)
		close_fd(&fd[i]);
}

int stdio_new(struct stdio **ret, int fd[static STDIO_COUNT], bool terminal, struct logfile *log,
              void (*progress)(struct stdio *stdio), void *owner)
{
	struct stdio *stdio = malloc(sizeof(*stdio));
	cleanup_close int hold = -1;
	int r = stdio ? 0 : -ENOMEM;

	hold_input(&fd[STDIO_IN], &hold);
	for (int i = 0; r == 0 && i < STDIO_COUNT; i++) {
		if (fd[i] >= 0)
			r = nonblocking_fd(&fd[i], i == STDIO_IN ? O_RDONLY : O_WRONLY);
	}
	if (r < 0) {
		stdio_close_fds(fd);
		free(stdio);
		return r;
	}
	*stdio = (struct stdio){
		.progress = progress,
		.owner = owner,
		.in = OUTLET_NULL,
		.in_fd = take_fd(&fd[STDIO_IN]),
		.in_hold = take_fd(&hold),
		.terminal = terminal,
		.patience = TIMER_NULL,
		.log = log,
	};
	for (int i = 0; i < 2; i++)
		stdio->output[i] = (struct stdio_output){
			.stdio = stdio,
			.inlet = INLET_NULL,
			.reader = FIFO_WATCH_NULL,
			.fd = take_fd(&fd[STDIO_OUT + i]),
		};
	*ret = stdio;
	return 0;
}

static int attach_output(struct stdio_output *output, struct channel *channel, uint64_t id)
{
	await_reader(output);
	const struct inlet_ops *ops = output->fd < 0 ? &log_ops :
		output->stdio->log ? &copied_ops : &fd_ops;
	int r = inlet_init(&output->inlet, channel, id, output->fd, STREAM_WINDOW, false, ops);

	output->open = r >= 0;
	return r;
}

int stdio_attach(struct stdio *stdio, struct channel *channel, uint64_t first_id,
                 struct stdio_streams *ret)
{
	struct stdio_output *out = &stdio->output[0], *err = &stdio->output[1];
	int r = 0;

	*ret = (struct stdio_streams){ .window = STREAM_WINDOW };
	stdio->loop = channel->source.loop;
	if (stdio->in_fd >= 0) {
		ret->in = first_id;
		r = outlet_init(&stdio->in, channel, ret->in, stdio->in_fd, 0, stdio->terminal,
		                &input_ops);
		stdio->in_open = r >= 0;
	}
	if (r >= 0 && (out->fd >= 0 || stdio->log)) {
		ret->out = first_id + 1;
		r = attach_output(out, channel, ret->out);
	}
	/* What a terminal says goes one way. */
	if (r >= 0 && !stdio->terminal && (err->fd >= 0 || stdio->log)) {
		ret->err = first_id + 2;
		r = attach_output(err, channel, ret->err);
	}
	if (r < 0)
		stdio_forget(stdio);
	return r;
}

/* A stream that the agent does not have yet, and may never have, is not ended. */
static void end_input(struct stdio *stdio)
{
	if (!stdio->started || !stdio->exited)
		return;
	if (stdio->in_open)
		outlet_end(&stdio->in, END_SOURCE_FAILED);
	input_close(stdio);
}

void stdio_started(struct stdio *stdio)
{
	stdio->started = true;
	end_input(stdio);
	for (int i = 0; i < 2; i++)
		inlet_started(&stdio->output[i].inlet);
}

void stdio_forget(struct stdio *stdio)
{
	if (stdio->in_open)
		outlet_forget(&stdio->in);
	input_close(stdio);
	for (int i = 0; i < 2; i++) {
		struct stdio_output *output = &stdio->output[i];
		if (output->open)
			inlet_forget(&output->inlet);
		inlet_deinit(&output->inlet);
		output_close(output);
	}
}

void stdio_exited(struct stdio *stdio, const struct stream_offsets *offsets)
{
	stdio->exited = true;
	end_input(stdio);
	if (offsets) {
		stdio->output[0].target = offsets->out;
		stdio->output[1].target = offsets->err;
	}
}

void stdio_close_input(struct stdio *stdio)
{
	close_fd(&stdio->in_hold);
}

bool stdio_offset(struct stdio *stdio, uint64_t stream, uint64_t offset)
{
	for (int i = 0; i < 2; i++) {
		struct stdio_output *output = &stdio->output[i];
		if (output->open && output->inlet.id == stream) {
			output->target = (struct opt_u64){ .set = true, .value = offset };
			return true;
		}
	}
	return false;
}

bool stdio_delivered(struct stdio *stdio)
{
	for (int i = 0; i < 2; i++) {
		struct stdio_output *output = &stdio->output[i];
		if (output->awaited && has_rest(output))
			return false;
		if (!output->open)
			continue;
		if (!output->target.set || output->inlet.delivered < output->target.value)
			return false;
	}
	for (int i = 0; i < 2; i++) {
		if (is_unread(&stdio->output[i]))
			return false;
	}
	/* An unfinished line will get no end from this process. */
	for (int i = 0; stdio->log && i < 2; i++) {
		log_gap(&stdio->output[i]);
		logfile_flush(stdio->log, log_stream(&stdio->output[i]));
	}
	return true;
}

bool stdio_idle(const struct stdio *stdio)
{
	for (int i = 0; i < 2; i++) {
		if (stdio->output[i].open || fifo_watch_runs(&stdio->output[i].reader))
			return false;
	}
	return !stdio->in_open;
}

void stdio_free(struct stdio *stdio)
{
	if (!stdio)
		return;
	if (stdio->in_open)
		outlet_deinit(&stdio->in);
	close_fd(&stdio->in_fd);
	close_fd(&stdio->in_hold);
	for (int i = 0; i < 2; i++) {
		inlet_deinit(&stdio->output[i].inlet);
		fifo_watch_stop(&stdio->output[i].reader);
		close_fd(&stdio->output[i].fd);
	}
	timer_deinit(&stdio->patience);
	free(stdio);
}
