/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A sandbox process outlives whoever has started it, so it keeps nothing of his: no fd, no session,
 * no folder. Until its partition is ready it is his alone, though. Nobody else knows of it, so it
 * has to notice when he goes.
 */

#include "shim/starter.h"

#include "oci/fault.h"
#include "oci/files_limit.h"

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define LAST_LINES 12
#define DETAILS_MAX 4096        /* their bytes; a pipe takes as much at once */

int starter_options(int argc, char **argv, struct sandbox_options *ret)
{
	static const struct option names[] = {
		{ "root", required_argument, NULL, 'r' },
		{ "ready", required_argument, NULL, 'f' },
		{ "driver", required_argument, NULL, 'd' },
		{ "config", required_argument, NULL, 'c' },
		{ "annotation", required_argument, NULL, 'a' },
		{ "debug", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	*ret = (struct sandbox_options){ .driver = "local", .ready_fd = -1 };
	optind = 1;
	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 'r':
			ret->root = optarg;
			break;
		case 'f':
			ret->ready_fd = (int)strtol(optarg, NULL, 10);
			break;
		case 'd':
			ret->driver = optarg;
			break;
		case 'c':
			ret->config = optarg;
			break;
		case 'a':
			if (ret->annotation_count == STARTER_ANNOTATIONS_MAX)
				return -E2BIG;
			ret->annotations[ret->annotation_count++] = optarg;
			break;
		case 'v':
			ret->debug = true;
			break;
		default:
			return -EINVAL;
		}
	}
	if (optind != argc - 1 || ret->ready_fd <= STDERR_FILENO)
		return -EINVAL;
	ret->id = argv[optind];
	return 0;
}

/* The least of the fds (ended by -1) from there on; UINT_MAX: there is none. */
static unsigned next_kept(const int *fds, unsigned from)
{
	unsigned next = UINT_MAX;

	for (; *fds >= 0; fds++) {
		if ((unsigned)*fds >= from && (unsigned)*fds < next)
			next = (unsigned)*fds;
	}
	return next;
}

static int close_others(const int *fds)
{
	for (unsigned from = STDERR_FILENO + 1;;) {
		unsigned kept = next_kept(fds, from);
		if (kept > from && syscall(SYS_close_range, from, kept - (kept != UINT_MAX), 0) < 0)
			return -errno;
		if (kept == UINT_MAX)
			return 0;
		if (fcntl((int)kept, F_SETFD, FD_CLOEXEC) < 0)
			return -errno;
		from = kept + 1;
	}
}

int starter_detach(const int *fds)
{
	cleanup_close int null_fd = open("/dev/null", O_RDWR);

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (null_fd < 0 || dup2(null_fd, fd) < 0)
			return -errno;
	}
	if (null_fd <= STDERR_FILENO)
		take_fd(&null_fd);
	close_fd(&null_fd);
	int r = close_others(fds);
	if (r < 0)
		return r;
	(void)setsid();
	umask(077);
	files_limit_raise();
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	return 0;
}

int starter_leave(const struct sandbox_options *options)
{
	int r = starter_detach((const int[]){ options->ready_fd, -1 });

	if (r < 0)
		return r;
	return chdir("/") < 0 ? -errno : 0;
}

int starter_await(int fd, char *said, size_t size)
{
	size_t length = 0;

	while (length < size - 1) {
		ssize_t n = read(fd, said + length, size - 1 - length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		length += (size_t)n;
		if (!said[0])
			return 0;
	}
	said[length] = '\0';
	return -EIO;
}

static int on_gone(struct source *source, uint32_t got)
{
	(void)got;
	struct starter *starter = container_of(source, struct starter, source);

	source_deinit(source);
	starter->gone(starter);
	return 0;
}

int starter_watch(struct starter *starter, struct loop *loop, void (*gone)(struct starter *starter))
{
	starter->gone = gone;
	/* That a pipe has no reader any more is an error, of which everybody hears. */
	return source_init(&starter->source, loop, starter->ready_fd, EPOLLPRI, on_gone);
}

bool starter_waits(const struct starter *starter)
{
	return starter->ready_fd >= 0;
}

static bool tell(struct starter *starter, const char *text, size_t size)
{
	if (!starter_waits(starter))
		return true;
	bool told = write(starter->ready_fd, text, size) > 0;
	starter_deinit(starter);
	return told;
}

bool starter_tell_ready(struct starter *starter)
{
	return tell(starter, "", 1);
}

/* A single line of complaint, and the text ends with it. */
static bool has_said(const char *text, const struct tail *said)
{
	char line[256];

	return said->length && !memchr(said->text, '\n', said->length - 1) &&
	       strstr(text, tail_line(said, NULL, line, sizeof(line)));
}

void starter_tell_failed(struct starter *starter, const char *text, const struct tail *said)
{
	struct buf lines = BUF(FAULT_TEXT + DETAILS_MAX);

	if (buf_printf(&lines, "%s\n", text) >= 0 && said && !has_said(text, said))
		(void)tail_print(said, LAST_LINES, "  ", &lines);
	if (buf_length(&lines))
		(void)tell(starter, buf_head(&lines), buf_length(&lines));
	buf_deinit(&lines);
}

void starter_deinit(struct starter *starter)
{
	source_deinit(&starter->source);
	close_fd(&starter->ready_fd);
}
