/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Files of cgroupfs, whose texts may be of any length: they are read whole.
 */

#include "agent/cgroup_private.h"

#include <fcntl.h>
#include <string.h>

#define TEXT_FIRST 4096
#define TEXT_MAX (16u << 20)

const char *const cgroup_controller_names[CGROUP_CONTROLLERS] = {
	[CGROUP_CPU] = "cpu",
	[CGROUP_CPUSET] = "cpuset",
	[CGROUP_IO] = "io",
	[CGROUP_MEMORY] = "memory",
	[CGROUP_PIDS] = "pids",
	[CGROUP_HUGETLB] = "hugetlb",
	[CGROUP_RDMA] = "rdma",
	[CGROUP_MISC] = "misc",
	[CGROUP_DMEM] = "dmem",
	[CGROUP_NET_CLS] = "net_cls",
	[CGROUP_NET_PRIO] = "net_prio",
	[CGROUP_CORE] = "cgroup",
};

int cgroup_file_read(int dir, const char *name, char **ret)
{
	cleanup_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	cleanup_free char *text = NULL;
	size_t length = 0, size = 0;
	for (;;) {
		if (size - length < TEXT_FIRST / 2) {
			size = size ? 2 * size : TEXT_FIRST;
			if (size > TEXT_MAX)
				return -EFBIG;
			char *more = realloc(text, size);
			if (!more)
				return -ENOMEM;
			text = more;
		}
		ssize_t n = read(fd, text + length, size - length - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		length += n;
	}
	text[length] = '\0';
	*ret = take_pointer(text);
	return 0;
}

static bool parse_u64(const char *text, uint64_t *ret)
{
	if (!strncmp(text, "max", 3)) {
		*ret = UINT64_MAX;
		return true;
	}
	char *end;
	errno = 0;
	uint64_t value = strtoull(text, &end, 10);
	if (end == text || errno)
		return false;
	*ret = value;
	return true;
}

int cgroup_file_u64(int dir, const char *name, uint64_t *ret)
{
	cleanup_free char *text = NULL;
	int r = cgroup_file_read(dir, name, &text);
	if (r < 0)
		return r;
	return parse_u64(text, ret) ? 0 : -EBADMSG;
}

char *cgroup_line(char **text)
{
	char *line = *text;
	if (!line || !*line)
		return NULL;
	strsep(text, "\n");
	return line;
}

bool cgroup_text_u64(const char *text, const char *key, uint64_t *ret)
{
	size_t length = strlen(key);
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, length) && line[length] == ' ')
			return parse_u64(line + length + 1, ret);
	}
	return false;
}

static uint32_t mask_of(const char *word, size_t length)
{
	if (length == strlen("blkio") && !strncmp(word, "blkio", length))
		return CGROUP_BIT(CGROUP_IO);
	for (size_t i = 0; i < CGROUP_CONTROLLERS; i++)
		if (strlen(cgroup_controller_names[i]) == length &&
		    !strncmp(word, cgroup_controller_names[i], length))
			return CGROUP_BIT(i);
	return 0;
}

uint32_t cgroup_controller_of_file(const char *file)
{
	return mask_of(file, strcspn(file, "."));
}

uint32_t cgroup_controller_mask(const char *text)
{
	static const char separators[] = " ,\n";
	uint32_t mask = 0;
	while (*text) {
		size_t length = strcspn(text, separators);
		mask |= mask_of(text, length);
		text += length;
		text += strspn(text, separators);
	}
	return mask;
}
