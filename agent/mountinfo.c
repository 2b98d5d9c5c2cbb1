/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One line per mount, fields between spaces:
 *     31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755
 * The number of fields before the lone "-" varies. What would disturb the format is written \ooo.
 */

#include "agent/mountinfo.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

static bool is_octal(const char *text)
{
	return strspn(text, "01234567") >= 3;
}

static void unescape(char *text)
{
	char *to = text;
	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && is_octal(from + 1)) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* Takes the line apart in place. */
static bool parse(char *line, struct mountinfo *ret)
{
	char *rest = strstr(line, " - ");
	if (!rest)
		return false;
	*rest = '\0';
	rest += 3;
	const char *id = strsep(&line, " "), *parent = strsep(&line, " ");
	strsep(&line, " "); /* the device */
	char *root = strsep(&line, " "), *point = strsep(&line, " ");
	const char *type = strsep(&rest, " ");
	strsep(&rest, " "); /* the source */
	if (!point || !rest)
		return false;
	unescape(root);
	unescape(point);
	*ret = (struct mountinfo){
		.id = strtoull(id, NULL, 10),
		.parent = strtoull(parent, NULL, 10),
		.root = root,
		.point = point,
		.type = type,
		.options = rest,
	};
	return true;
}

FILE *proc_self_open(int proc_fd, const char *name)
{
	char path[NAME_MAX];
	snprintf(path, sizeof(path), "%s%s", proc_fd < 0 ? "/proc/self/" : "", name);
	cleanup_close int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	if (file)
		take_fd(&fd);
	return file;
}

int mountinfo_read(struct arena *arena, int proc_fd, const struct mountinfo **ret)
{
	FILE *file = proc_self_open(proc_fd, "mountinfo");
	if (!file)
		return -errno;
	const struct mountinfo **last = ret;
	cleanup_free char *line = NULL;
	size_t size = 0;
	ssize_t length;
	int r = 0;
	*ret = NULL;
	while (r >= 0 && (length = getline(&line, &size, file)) > 0) {
		if (line[length - 1] == '\n')
			length--;
		char *copy = arena_copy(arena, line, (size_t)length);
		struct mountinfo *mount = arena_alloc(arena, sizeof(*mount));
		if (!copy || !mount) {
			r = -ENOMEM;
		} else if (parse(copy, mount)) {
			*last = mount;
			last = &mount->next;
		}
	}
	if (r >= 0 && ferror(file))
		r = -EIO;
	fclose(file);
	return r;
}

bool mountinfo_has_option(const struct mountinfo *mount, const char *name)
{
	size_t length = strlen(name);
	const char *at = mount->options;
	while (at && *at) {
		size_t n = strcspn(at, ",");
		if (n == length && !strncmp(at, name, n))
			return true;
		at += n + (at[n] == ',');
	}
	return false;
}
