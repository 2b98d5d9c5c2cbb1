/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Nobody may keep us waiting here: a FIFO is opened for reading and writing, which never blocks and
 * holds it for clients that come late, or come back; what a path names is looked at before it is
 * opened for good, so that no other kind of file has a say.
 *
 * A logger takes both outputs, whatever was said about the second. So does a file, unless the
 * second has a place of its own.
 */

#include "shim/containerd/streams.h"

#include "oci/path.h"
#include "shim/containerd/logger.h"
#include "shim/containerd/stdio_uri.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

struct streams {
	streams_ready_fn *ready;
	void *owner;
	int fd[STDIO_COUNT];
	struct logger *logger;          /* NULL: none */
	bool closed;
	struct streams *next;           /* among the closed ones */
};

/* Closed, and their loggers not ended. */
static struct {
	struct streams *first;
	void (*closed)(void *owner);
	void *owner;
} closing;

/* Opens again, for use, what path_fd names. held: a FIFO's end is not its clients' to make. */
static int open_named(int path_fd, bool input, bool held)
{
	char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
	struct stat st;
	int flags = input ? O_RDONLY : O_WRONLY | O_APPEND;

	if (fstat(path_fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (S_ISFIFO(st.st_mode))
		flags = held ? O_RDWR : flags & O_ACCMODE;
	else if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
		return -ENXIO;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
	int fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int make_file(const char *path)
{
	cleanup_close int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	mode_t mask = umask(022);
	int fd = root_fd < 0 ? -errno : path_make(root_fd, path, S_IFREG);

	umask(mask);
	return fd;
}

static int find_path(const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int open_stream(const struct stdio_uri *uri, bool input, bool held, int *ret,
                       struct fault *fault)
{
	if (uri->kind == STDIO_URI_NONE)
		return 0;
	bool make = uri->kind == STDIO_URI_FILE && !input;
	cleanup_close int path_fd = make ? make_file(uri->path) : find_path(uri->path);
	int fd = path_fd < 0 ? path_fd : open_named(path_fd, input, held);
	if (fd < 0)
		return fault_errno(fault, fd, "standard stream \"%s\"", uri->path);
	*ret = fd;
	return 0;
}

/* The logger */

static void streams_free(struct streams *streams)
{
	logger_free(streams->logger);
	stdio_close_fds(streams->fd);
	free(streams);
}

static void on_ready(struct logger *logger, const struct fault *fault)
{
	struct streams *streams = logger->owner;

	streams->ready(streams, fault);
}

static void on_ended(struct logger *logger)
{
	struct streams *streams = logger->owner;
	struct streams **at = &closing.first;

	if (!streams->closed)
		return;
	while (*at != streams)
		at = &(*at)->next;
	*at = streams->next;
	streams_free(streams);
	if (!closing.first && closing.closed)
		take_pointer(closing.closed)(closing.owner);
}

static const struct logger_ops logger_ops = { on_ready, on_ended };

static int start_logger(struct streams *streams, struct loop *loop, const struct stdio_uri *uri,
                        const struct streams_wish *wish, struct fault *fault)
{
	struct logger_plan plan = {
		.args = uri->args,
		.says_ready = uri->says_ready,
		.id = wish->id,
		.namespace = wish->namespace,
	};
	/* With a terminal, both ends of file come at the same time. */
	int r = logger_start(&streams->logger, loop, &plan, &logger_ops, streams->fd + STDIO_OUT,
	                     fault);

	if (r >= 0)
		streams->logger->owner = streams;
	return r;
}

/* All of them */

struct uris {
	struct stdio_uri in, out, err;
};

static int parse(struct uris *ret, const struct streams_wish *wish, struct arena *arena,
                 struct fault *fault)
{
	int r = stdio_uri_parse(&ret->in, wish->in ? wish->in : "", arena, fault);

	if (r >= 0)
		r = stdio_uri_parse(&ret->out, wish->out ? wish->out : "", arena, fault);
	ret->err = ret->out;
	bool other = ret->out.kind != STDIO_URI_LOGGER && wish->err && *wish->err;
	if (r >= 0 && (wish->terminal || (ret->out.kind != STDIO_URI_FILE && !other)))
		ret->err = (struct stdio_uri){ .kind = STDIO_URI_NONE };
	else if (r >= 0 && other)
		r = stdio_uri_parse(&ret->err, wish->err, arena, fault);
	if (r < 0)
		return r;
	if (ret->in.kind == STDIO_URI_LOGGER || ret->err.kind == STDIO_URI_LOGGER)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "standard stream \"%s\": a logger is for stdout",
		                 ret->in.kind == STDIO_URI_LOGGER ? wish->in : wish->err);
	return 0;
}

static int open_all(struct streams *streams, struct loop *loop, const struct streams_wish *wish,
                    struct fault *fault)
{
	cleanup(arena_free) struct arena arena = ARENA(STDIO_COUNT * STDIO_URI_ARENA);
	struct uris uris;
	int r = parse(&uris, wish, &arena, fault);

	if (r >= 0)
		r = open_stream(&uris.in, true, !wish->input_closed, &streams->fd[STDIO_IN],
		                fault);
	if (r >= 0 && uris.out.kind == STDIO_URI_LOGGER)
		return start_logger(streams, loop, &uris.out, wish, fault);
	if (r >= 0)
		r = open_stream(&uris.out, false, true, &streams->fd[STDIO_OUT], fault);
	if (r >= 0)
		r = open_stream(&uris.err, false, true, &streams->fd[STDIO_ERR], fault);
	return r;
}

int streams_open(struct streams **ret, struct loop *loop, const struct streams_wish *wish,
                 streams_ready_fn *ready, void *owner, struct fault *fault)
{
	struct streams *streams = malloc(sizeof(*streams));

	*ret = NULL;
	if (!streams)
		return fault_errno(fault, -ENOMEM, "standard streams");
	*streams = (struct streams){ .ready = ready, .owner = owner, .fd = { -1, -1, -1 } };
	int r = open_all(streams, loop, wish, fault);
	if (r < 0) {
		streams_free(streams);
		return r;
	}
	*ret = streams;
	if (!streams->logger)
		ready(streams, NULL);
	return 0;
}

void *streams_owner(struct streams *streams)
{
	return streams->owner;
}

void streams_take(struct streams *streams, int fd[static STDIO_COUNT])
{
	for (int i = 0; i < STDIO_COUNT; i++)
		fd[i] = take_fd(&streams->fd[i]);
}

void streams_close(struct streams *streams)
{
	if (!streams)
		return;
	stdio_close_fds(streams->fd);
	if (!streams->logger || !streams->logger->pid) {
		streams_free(streams);
		return;
	}
	streams->closed = true;
	streams->next = closing.first;
	closing.first = streams;
	logger_stop(streams->logger);
}

void streams_when_closed(void (*closed)(void *owner), void *owner)
{
	closing.closed = closing.first ? closed : NULL;
	closing.owner = owner;
	if (!closing.first)
		closed(owner);
}

void streams_abandon(void)
{
	closing.closed = NULL;
	while (closing.first) {
		struct streams *streams = closing.first;
		closing.first = streams->next;
		streams_free(streams);
	}
}
