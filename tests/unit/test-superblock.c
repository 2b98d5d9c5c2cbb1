/* SPDX-License-Identifier: Apache-2.0 */

/* File systems told by their marks: made up ones, cut ones, and those of the real programs. */

#include "agent/superblock.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

static const struct {
	const char *type;
	size_t offset;
	const char *magic;
	size_t length;
} marks[] = {
	{"ext4", 1080, "\x53\xef", 2},
	{"erofs", 1024, "\xe2\xe1\xf5\xe0", 4},
	{"squashfs", 0, "hsqs", 4},
	{"xfs", 0, "XFSB", 4},
	{"btrfs", 65600, "_BHRfS_M", 8},
};

static uint8_t disk[SUPERBLOCK_BYTES];

static void mark(size_t i)
{
	memcpy(disk + marks[i].offset, marks[i].magic, marks[i].length);
}

static void test_marks(void **state)
{
	const char *type;
	(void)state;
	for (size_t i = 0; i < array_size(marks); i++) {
		memset(disk, 0, sizeof(disk));
		assert_int_equal(superblock_type(disk, sizeof(disk), &type), 0);
		assert_null(type);
		mark(i);
		assert_int_equal(superblock_type(disk, sizeof(disk), &type), 0);
		assert_string_equal(type, marks[i].type);
		/* To the byte. */
		size_t end = marks[i].offset + marks[i].length;
		assert_int_equal(superblock_type(disk, end, &type), 0);
		assert_string_equal(type, marks[i].type);
		assert_int_equal(superblock_type(disk, end - 1, &type), 0);
		assert_null(type);
		/* One bit off. */
		disk[marks[i].offset] ^= 1;
		assert_int_equal(superblock_type(disk, sizeof(disk), &type), 0);
		assert_null(type);
	}
	assert_int_equal(superblock_type(disk, 0, &type), 0);
	assert_null(type);
}

static void test_two_marks(void **state)
{
	const char *type;
	(void)state;
	for (size_t i = 0; i < array_size(marks); i++) {
		for (size_t k = 0; k < i; k++) {
			if (marks[i].offset == marks[k].offset)
				continue;
			memset(disk, 0, sizeof(disk));
			mark(i);
			mark(k);
			assert_int_equal(superblock_type(disk, sizeof(disk), &type), -ENOTUNIQ);
		}
	}
}

static void test_short_files(void **state)
{
	static const size_t sizes[] = {0, 1, 3, 4, 1024, 1081, 1082, 4096, 65607, 65608, 1 << 20};
	const char *type;
	(void)state;
	memset(disk, 0, sizeof(disk));
	mark(0);
	for (size_t i = 0; i < array_size(sizes); i++) {
		int fd = memfd_create("disk", MFD_CLOEXEC);
		size_t size = sizes[i] < sizeof(disk) ? sizes[i] : sizeof(disk);
		assert_int_equal(write(fd, disk, size), size);
		assert_int_equal(ftruncate(fd, (off_t)sizes[i]), 0);
		assert_int_equal(superblock_probe(fd, &type), 0);
		assert_int_equal(type != NULL, sizes[i] >= 1082);
		close(fd);
	}
	assert_int_equal(superblock_probe(-1, &type), -EBADF);
	int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(superblock_probe(folder, &type), -EISDIR);
	close(folder);
}

static const struct {
	const char *type, *make; /* of $1, with the folder $2 in it */
} programs[] = {
	{"ext4", "mkfs.ext4 -q -F $1 8M"},
	{"squashfs", "mksquashfs $2 $1 -noappend -quiet -no-progress"},
	{"erofs", "mkfs.erofs --quiet $1 $2"},
	{"xfs", "truncate -s 320M $1 && mkfs.xfs -q -f $1"},
	{"btrfs", "truncate -s 128M $1 && mkfs.btrfs -q -f $1"},
};

static void test_programs(void **state)
{
	char folder[] = "/tmp/hvrun-superblock-XXXXXX", command[512];
	unsigned made = 0;
	(void)state;
	assert_non_null(mkdtemp(folder));
	for (size_t i = 0; i < array_size(programs); i++) {
		const char *type;
		snprintf(command, sizeof(command),
		         "PATH=$PATH:/usr/sbin:/sbin; export PATH; set -- %s/i %s/d; rm -rf $1 $2; "
		         "mkdir $2 && echo x >$2/file && { %s; } >/dev/null 2>&1",
		         folder, folder, programs[i].make);
		if (system(command) != 0)
			continue; /* is not installed */
		made++;
		snprintf(command, sizeof(command), "%s/i", folder);
		int fd = open(command, O_RDONLY | O_CLOEXEC);
		assert_int_equal(superblock_probe(fd, &type), 0);
		assert_non_null(type);
		assert_string_equal(type, programs[i].type);
		close(fd);
	}
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
	if (!made)
		skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_two_marks),
		cmocka_unit_test(test_short_files),
		cmocka_unit_test(test_programs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
