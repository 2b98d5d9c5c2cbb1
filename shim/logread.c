/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading a log that is being written and rotated. A file is known by its inode, because its name
 * changes while it is read: what follows it is whatever file has the next name when ours is found
 * among them. The names are read twice until both readings agree, since a rotation renames one file
 * after the other; from the oldest on, so that at any moment the order of the names that are there
 * is the order of the files.
 *
 * The writer leaves a file for good when it opens the next. So once there is a next one, what ours
 * holds is all that it will ever hold.
 */

#include "shim/logview.h"

#include "oci/file.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define CHUNK 65536
#define ATTEMPTS 1000

struct names {
	ino_t inode[LOG_FILES_MAX + 1]; /* by number; 0 = no such file */
};

static int file_name(const struct log_source *source, uint32_t number, char name[static NAME_MAX])
{
	int n = number ? snprintf(name, NAME_MAX, "%s.%u", source->name, number)
	               : snprintf(name, NAME_MAX, "%s", source->name);
	return n < NAME_MAX ? 0 : -ENAMETOOLONG;
}

static uint32_t file_count(const struct log_source *source)
{
	return source->files > LOG_FILES_MAX ? LOG_FILES_MAX : source->files ? source->files : 1;
}

static int read_names_once(const struct log_source *source, struct names *ret)
{
	char name[NAME_MAX];
	struct stat st;
	for (uint32_t number = file_count(source); number--;) {
		int r = file_name(source, number, name);
		if (r < 0)
			return r;
		bool there = fstatat(source->directory, name, &st, 0) == 0;
		if (!there && errno != ENOENT)
			return -errno;
		ret->inode[number] = there ? st.st_ino : 0;
	}
	return 0;
}

static int read_names(const struct log_source *source, struct names *ret)
{
	struct names again;
	size_t size = file_count(source) * sizeof(*ret->inode);
	for (unsigned i = 0; i < ATTEMPTS; i++) {
		int r = read_names_once(source, ret);
		if (r >= 0)
			r = read_names_once(source, &again);
		if (r < 0 || !memcmp(ret->inode, again.inode, size))
			return r;
	}
	return -EBUSY;
}

/* Opens a file by number, if it is still the one of that inode; -EAGAIN if it is not. */
static int open_file(const struct log_source *source, uint32_t number, ino_t inode)
{
	char name[NAME_MAX];
	struct stat st;
	int r = file_name(source, number, name);
	if (r < 0)
		return r;
	cleanup_close int fd = openat(source->directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return st.st_ino == inode ? take_fd(&fd) : -EAGAIN;
}

/* The number of the oldest file that is newer than ours, -ENOENT if there is none. */
static int find_next(const struct log_source *source, const struct names *names, int fd)
{
	struct stat st = { 0 };
	int number = (int)file_count(source);
	if (fd >= 0 && fstat(fd, &st) < 0)
		return -errno;
	/* Ours may be gone: then it was older than all that are there. */
	for (int i = 0; fd >= 0 && i < (int)file_count(source); i++) {
		if (names->inode[i] == st.st_ino)
			number = i;
	}
	while (number--) {
		if (names->inode[number])
			return number;
	}
	return -ENOENT;
}

/* The file behind ours, opened; -ENOENT. */
static int open_next(const struct log_reader *reader)
{
	for (unsigned i = 0; i < ATTEMPTS; i++) {
		struct names names;
		int r = read_names(reader->source, &names);
		if (r >= 0)
			r = find_next(reader->source, &names, reader->fd);
		if (r >= 0)
			r = open_file(reader->source, (uint32_t)r, names.inode[r]);
		if (r != -EAGAIN)
			return r;
	}
	return -EBUSY;
}

/* Backwards, for the tail */

struct tail {
	const struct log_view *view;
	uint64_t wanted, found;
};

/* One line, from behind: true when it is one too many. */
static bool count_line(struct tail *tail, const char *line, size_t length)
{
	bool piece;
	if (!log_view_wants(tail->view, line, length, &piece))
		return false;
	/* Pieces belong to the line that ends behind them, or to one that has not ended. */
	if (!piece || !tail->found) {
		if (tail->found == tail->wanted)
			return true;
		tail->found++;
	}
	return false;
}

/* Where in a file the tail begins; *ret_start 0 also when it begins before it. */
static int tail_file(struct tail *tail, int fd, off_t *ret_start)
{
	struct stat st;
	cleanup_free char *window = malloc(CHUNK);
	if (!window || fstat(fd, &st) < 0)
		return window ? -errno : -ENOMEM;
	for (off_t end = st.st_size; end > 0;) {
		size_t n = min_size(CHUNK, (size_t)end), stop = n;
		off_t base = end - (off_t)n;
		ssize_t got = file_read_at(fd, window, n, base);
		if (got != (ssize_t)n)
			return got < 0 ? (int)got : -EIO;
		while (stop) {
			size_t length = window[stop - 1] == '\n' ? stop - 1 : stop;
			char *newline = memrchr(window, '\n', length);
			size_t start = newline ? (size_t)(newline - window) + 1 : 0;
			/* Its beginning is further up; or it is longer than any line should be. */
			if (!newline && base && stop < n)
				break;
			if (count_line(tail, window + start, length - start)) {
				*ret_start = base + (off_t)stop;
				return 1;
			}
			stop = start;
		}
		end = base + (off_t)stop;
	}
	*ret_start = 0;
	return 0;
}

/* From the newest file to where the tail begins. */
static int seek_tail(struct log_reader *reader, const struct log_view *view, uint64_t wanted)
{
	struct tail tail = { .view = view, .wanted = wanted };
	struct names names;
	int r = read_names(reader->source, &names);
	close_fd(&reader->fd);
	for (uint32_t i = 0; !r && i < file_count(reader->source); i++) {
		off_t start;
		if (!names.inode[i])
			continue;
		int fd = open_file(reader->source, i, names.inode[i]);
		if (fd < 0)
			return fd;
		close_fd(&reader->fd);
		reader->fd = fd;
		r = tail_file(&tail, fd, &start);
		if (r >= 0 && lseek(fd, start, SEEK_SET) < 0)
			r = -errno;
	}
	return r < 0 ? r : 0;
}

int log_reader_start(struct log_reader *reader, const struct log_source *source,
                     const struct log_view *view, uint64_t tail)
{
	int r = -EAGAIN;
	reader->source = source;
	if (tail == UINT64_MAX)
		return 0;
	for (unsigned i = 0; r == -EAGAIN && i < ATTEMPTS; i++)
		r = seek_tail(reader, view, tail);
	return r;
}

/* Forwards */

static void show_lines(struct buf *line, struct log_view *view)
{
	const char *newline;
	while (buf_length(line) && (newline = memchr(buf_head(line), '\n', buf_length(line)))) {
		size_t length = (size_t)(newline - buf_head(line));
		log_view_line(view, buf_head(line), length);
		buf_consume(line, length + 1);
	}
	if (!buf_room(line)) { /* not a line of ours */
		log_view_line(view, buf_head(line), buf_length(line));
		buf_consume(line, buf_length(line));
	}
}

static int drain_file(struct log_reader *reader, struct log_view *view)
{
	while (reader->fd >= 0) {
		size_t room = min_size(buf_room(&reader->line), CHUNK);
		char *to = buf_reserve(&reader->line, room);
		if (!to)
			return -ENOMEM;
		ssize_t n = read(reader->fd, to, room);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (!n)
			break;
		if (n > 0) {
			buf_commit(&reader->line, (size_t)n);
			show_lines(&reader->line, view);
		}
		if (view->error)
			break; /* log_view_flush() tells */
	}
	return 0;
}

int log_reader_drain(struct log_reader *reader, struct log_view *view)
{
	for (;;) {
		int r = drain_file(reader, view);
		if (r < 0)
			return r;
		cleanup_close int next = open_next(reader);
		if (next == -ENOENT)
			return 0;
		if (next < 0)
			return next;
		/* Now nothing is added to ours any more. */
		r = drain_file(reader, view);
		if (r < 0)
			return r;
		close_fd(&reader->fd);
		reader->fd = take_fd(&next);
	}
}

int log_reader_finish(struct log_reader *reader, struct log_view *view)
{
	int r = log_reader_drain(reader, view);
	if (buf_length(&reader->line))
		log_view_line(view, buf_head(&reader->line), buf_length(&reader->line));
	buf_consume(&reader->line, buf_length(&reader->line));
	return r;
}

void log_reader_close(struct log_reader *reader)
{
	close_fd(&reader->fd);
	buf_deinit(&reader->line);
}
