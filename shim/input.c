/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A caller's file is opened as the caller would: links are followed. What is not meant to be waited
 * for is opened without waiting, and refused once it is known what it is.
 */

#include "shim/input.h"

#include "oci/buf.h"

#include <fcntl.h>
#include <sys/stat.h>

int input_read(const char *path, bool pipes, struct arena *arena, size_t limit,
               const char **ret_text, size_t *ret_size)
{
	struct stat st;
	struct buf text = BUF(limit);
	cleanup_close int fd =
		open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (pipes ? 0 : O_NONBLOCK));
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!pipes && !S_ISREG(st.st_mode))
		return -EINVAL;
	int error = buf_read_all(&text, fd);
	if (!error) {
		*ret_size = buf_length(&text);
		*ret_text = arena_copy(arena, buf_head(&text), buf_length(&text));
		error = *ret_text ? 0 : -ENOMEM;
	}
	buf_deinit(&text);
	return error;
}
