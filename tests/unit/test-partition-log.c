/* SPDX-License-Identifier: Apache-2.0 */

/* The logs in the directory of a partition. */

#include "shim/partition_log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#define LOG_MAX (1u << 20)

static char directory[] = "/tmp/hvrun-partition-log.XXXXXX";
static int directory_fd = -1;

static int setup(void **state)
{
	(void)state;
	strcpy(directory + sizeof(directory) - 7, "XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return directory_fd < 0;
}

static int teardown(void **state)
{
	(void)state;
	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	(void)unlinkat(directory_fd, "x.log", 0);
	if (unlinkat(directory_fd, "x.log.1", 0) < 0)
		(void)unlinkat(directory_fd, "x.log.1", AT_REMOVEDIR);
	close_fd(&directory_fd);
	return rmdir(directory);
}

/* -1: there is none. */
static long long size_of(const char *name)
{
	char path[sizeof(directory) + 16];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return stat(path, &st) < 0 ? -1 : (long long)st.st_size;
}

static void test_words(void **state)
{
	static char much[LOG_MAX + 1];
	struct partition_log log = PARTITION_LOG("x.log", &directory_fd);

	(void)state;
	assert_int_equal(size_of("x.log"), -1);
	partition_log_write(&log, "one", 3);
	assert_int_equal(size_of("x.log"), 3);
	partition_log_write(&log, much, sizeof(much));
	assert_int_equal(size_of("x.log.1"), -1);
	partition_log_write(&log, "two", 3);
	assert_int_equal(size_of("x.log.1"), 3 + sizeof(much));
	assert_int_equal(size_of("x.log"), 3);
	/* When the directory has gone, words go where they went. */
	int held = take_fd(&directory_fd);
	partition_log_write(&log, much, sizeof(much));
	partition_log_write(&log, "three", 5);
	assert_int_equal(size_of("x.log"), 3 + sizeof(much) + 5);
	directory_fd = held;
	close_fd(&log.fd);
}

/* What cannot be opened anew goes on where it was. */
static void test_no_way(void **state)
{
	static char much[LOG_MAX + 1];
	struct partition_log log = PARTITION_LOG("x.log", &directory_fd);
	char path[sizeof(directory) + 16];

	(void)state;
	partition_log_write(&log, much, sizeof(much));
	snprintf(path, sizeof(path), "%s/x.log.1", directory);
	assert_int_equal(mkdir(path, 0700), 0);
	partition_log_write(&log, "more", 4);
	assert_int_equal(size_of("x.log"), sizeof(much) + 4);
	close_fd(&log.fd);
}

static void test_own(void **state)
{
	struct partition_log log = PARTITION_LOG("x.log", &directory_fd);

	(void)state;
	assert_int_equal(partition_log_take(&log, LOG_LEVEL_INFO), 0);
	log_debug("nobody hears this");
	assert_int_equal(size_of("x.log"), 0);
	for (int i = 0; i < 20000; i++)
		log_info("%064d", i);
	assert_true(size_of("x.log.1") > LOG_MAX);
	assert_true(size_of("x.log") > 0);
	close_fd(&log.fd);
	int held = take_fd(&directory_fd);
	assert_true(partition_log_take(&log, LOG_LEVEL_INFO) < 0);
	directory_fd = held;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_words, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_way, setup, teardown),
		cmocka_unit_test_setup_teardown(test_own, setup, teardown),
	};
	return cmocka_run_group_tests_name("partition-log", tests, NULL, NULL);
}
