/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Only the marks are looked at: whether the rest makes sense is for the kernel to say. A disk that
 * has been formatted twice may carry two of them, and to guess would be to mount what somebody
 * threw away.
 */

#include "agent/superblock.h"

#include "oci/file.h"

#include <string.h>

static const struct {
	const char *type;
	size_t offset;
	uint8_t length;
	char magic[9];
} marks[] = {
	{ "ext4", 1024 + 0x38, 2, "\x53\xef" },
	{ "erofs", 1024, 4, "\xe2\xe1\xf5\xe0" },
	{ "squashfs", 0, 4, "hsqs" },
	{ "xfs", 0, 4, "XFSB" },
	{ "btrfs", 65536 + 0x40, 8, "_BHRfS_M" },
};

int superblock_type(const uint8_t *bytes, size_t size, const char **ret)
{
	*ret = NULL;
	for (size_t i = 0; i < array_size(marks); i++) {
		if (size < marks[i].offset + marks[i].length ||
		    memcmp(bytes + marks[i].offset, marks[i].magic, marks[i].length) != 0)
			continue;
		if (*ret)
			return -ENOTUNIQ;
		*ret = marks[i].type;
	}
	return 0;
}

int superblock_probe(int fd, const char **ret)
{
	cleanup_free uint8_t *bytes = malloc(SUPERBLOCK_BYTES);
	*ret = NULL;
	if (!bytes)
		return -ENOMEM;
	ssize_t n = file_read_at(fd, bytes, SUPERBLOCK_BYTES, 0);
	return n < 0 ? (int)n : superblock_type(bytes, (size_t)n, ret);
}
