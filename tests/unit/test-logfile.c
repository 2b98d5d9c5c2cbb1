/* SPDX-License-Identifier: Apache-2.0 */

/* Log files: lines and pieces, rotation, and a disk that is full. */

#include "oci/log.h"
#include "shim/logfile.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <cmocka.h>

struct fixture {
	char directory[40], path[60];
	struct logfile log;
	char text[200000];
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/test-logfile-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->path, sizeof(fixture->path), "%s/log", fixture->directory);
	fixture->log = (struct logfile)LOGFILE_NULL;
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	char path[80];

	logfile_close(&fixture->log);
	(void)unlink(fixture->path);
	for (int i = 1; i < 10; i++) {
		snprintf(path, sizeof(path), "%s.%d", fixture->path, i);
		(void)unlink(path);
	}
	assert_int_equal(rmdir(fixture->directory), 0);
	free(fixture);
	return 0;
}

/* The file's lines without their time stamps, which are checked. */
static const char *read_log(struct fixture *fixture, int number)
{
	char path[80], line[20000];
	size_t end = 0;

	snprintf(path, sizeof(path), number ? "%s.%d" : "%s", fixture->path, number);
	FILE *file = fopen(path, "re");
	fixture->text[0] = '\0';
	if (!file)
		return "(none)";
	while (fgets(line, sizeof(line), file)) {
		size_t length = strlen(line);
		assert_in_range(length, 40, sizeof(line) - 2);
		assert_int_equal(line[length - 1], '\n');
		assert_int_equal(strcspn(line, " "), TIME_TEXT - 1);
		assert_int_equal(line[4], '-');
		assert_int_equal(line[10], 'T');
		assert_int_equal(line[29], 'Z');
		length -= TIME_TEXT;
		assert_in_range(end + length, 0, sizeof(fixture->text) - 1);
		memcpy(fixture->text + end, line + TIME_TEXT, length + 1);
		end += length;
	}
	fclose(file);
	return fixture->text;
}

static void put(struct fixture *fixture, int stream, const char *text)
{
	logfile_write(&fixture->log, stream, text, strlen(text));
}

static void test_lines(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(logfile_open(&fixture->log, fixture->path, 0, 0), 0);
	put(fixture, LOGFILE_STDOUT, "one\ntwo\n\n");
	put(fixture, LOGFILE_STDERR, "oops\n");
	put(fixture, LOGFILE_STDOUT, "thr");
	put(fixture, LOGFILE_STDERR, "in bet");
	put(fixture, LOGFILE_STDOUT, "");
	put(fixture, LOGFILE_STDOUT, "ee\nfour");
	put(fixture, LOGFILE_STDERR, "ween\n");
	assert_string_equal(read_log(fixture, 0),
	                    "stdout F one\nstdout F two\nstdout F \nstderr F oops\n"
	                    "stdout F three\nstderr F in between\n");
	logfile_flush(&fixture->log, LOGFILE_STDOUT);
	logfile_flush(&fixture->log, LOGFILE_STDOUT);
	logfile_flush(&fixture->log, LOGFILE_STDERR);
	assert_non_null(strstr(read_log(fixture, 0), "in between\nstdout P four\n"));
	put(fixture, LOGFILE_STDOUT, "ty\n");
	assert_non_null(strstr(read_log(fixture, 0), "stdout P four\nstdout F ty\n"));
	/* Nothing is kept when nothing is unfinished. */
	assert_null(fixture->log.line[0].data);
	assert_null(fixture->log.line[1].data);
}

static void test_appends(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(logfile_open(&fixture->log, fixture->path, 0, 1), 0);
	put(fixture, LOGFILE_STDOUT, "before\n");
	logfile_close(&fixture->log);
	assert_int_equal(logfile_open(&fixture->log, fixture->path, 0, 1), 0);
	put(fixture, LOGFILE_STDOUT, "after\n");
	assert_string_equal(read_log(fixture, 0), "stdout F before\nstdout F after\n");
}

/* Where a long line is cut does not depend on how it came. */
static void test_long_lines(void **state)
{
	static const size_t lengths[] = {
		LOGFILE_LINE_MAX - 1, LOGFILE_LINE_MAX, LOGFILE_LINE_MAX + 1, 2 * LOGFILE_LINE_MAX,
		2 * LOGFILE_LINE_MAX + 1, 65535,
	};
	static const size_t chunks[] = { 1000, 16383, 16384, 16385, 65536 };
	static char line[70000];
	struct fixture *fixture = *state;

	memset(line, 'x', sizeof(line));
	for (size_t i = 0; i < array_size(lengths) * array_size(chunks); i++) {
		size_t length = lengths[i / array_size(chunks)];
		size_t chunk = chunks[i % array_size(chunks)];
		(void)unlink(fixture->path);
		assert_int_equal(logfile_open(&fixture->log, fixture->path, 0, 1), 0);
		line[length] = '\n';
		for (size_t at = 0; at <= length; at += chunk)
			logfile_write(&fixture->log, LOGFILE_STDOUT, line + at,
			              min_size(chunk, length + 1 - at));
		line[length] = 'x';
		const char *text = read_log(fixture, 0);
		for (size_t left = length; left;) {
			size_t piece = min_size(left, LOGFILE_LINE_MAX);
			left -= piece;
			assert_memory_equal(text, left ? "stdout P " : "stdout F ", 9);
			text += 9;
			assert_int_equal(strspn(text, "x"), piece);
			assert_int_equal(text[piece], '\n');
			text += piece + 1;
		}
		assert_int_equal(*text, '\0');
		logfile_close(&fixture->log);
	}
}

static void test_many_lines_at_once(void **state)
{
	static char text[60000];
	struct fixture *fixture = *state;
	size_t count = 0;

	for (size_t i = 0; i < sizeof(text); i += 3)
		memcpy(text + i, "ab\n", 3);
	assert_int_equal(logfile_open(&fixture->log, fixture->path, 0, 1), 0);
	logfile_write(&fixture->log, LOGFILE_STDERR, text, 9000);
	for (const char *at = read_log(fixture, 0); *at; at += 12, count++)
		assert_memory_equal(at, "stderr F ab\n", 12);
	assert_int_equal(count, 3000);
}

static off_t size_of(struct fixture *fixture, int number)
{
	char path[80];
	struct stat st;

	snprintf(path, sizeof(path), number ? "%s.%d" : "%s", fixture->path, number);
	return stat(path, &st) < 0 ? -1 : st.st_size;
}

static void test_rotation(void **state)
{
	struct fixture *fixture = *state;
	char line[24], expected[32];

	assert_int_equal(logfile_open(&fixture->log, fixture->path, 1000, 3), 0);
	for (int i = 0; i < 200; i++) {
		snprintf(line, sizeof(line), "line %03d\n", i);
		put(fixture, LOGFILE_STDOUT, line);
	}
	for (int i = 0; i < 3; i++)
		assert_in_range(size_of(fixture, i), 1, 1000);
	assert_int_equal(size_of(fixture, 3), -1);
	/* Together they hold the last lines without a gap. */
	int number = 199;
	for (int i = 0; i < 3; i++) {
		const char *text = read_log(fixture, i);
		for (const char *at = text + strlen(text); at > text; number--) {
			snprintf(expected, sizeof(expected), "stdout F line %03d\n", number);
			at -= strlen(expected);
			assert_memory_equal(at, expected, strlen(expected));
		}
	}
	assert_in_range(number, 130, 160);
}

/* In one batch, with a line that is longer than a file may be, and with no second file. */
static void test_rotation_of_one_file(void **state)
{
	struct fixture *fixture = *state;
	char long_line[502];

	assert_int_equal(logfile_open(&fixture->log, fixture->path, 200, 1), 0);
	put(fixture, LOGFILE_STDOUT, "a\nb\nc\nd\ne\nf\n");
	assert_string_equal(read_log(fixture, 0), "stdout F e\nstdout F f\n");
	memset(long_line, 'x', sizeof(long_line));
	long_line[500] = '\n';
	long_line[501] = '\0';
	put(fixture, LOGFILE_STDOUT, long_line);
	assert_in_range(size_of(fixture, 0), 500, 600);
	put(fixture, LOGFILE_STDOUT, "g\n");
	assert_string_equal(read_log(fixture, 0), "stdout F g\n");
	assert_int_equal(size_of(fixture, 1), -1);
}

static void test_full_disk(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(logfile_open(&fixture->log, fixture->path, 0, 1), 0);
	int file = fixture->log.fd;
	fixture->log.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	put(fixture, LOGFILE_STDOUT, "lost\nalso lost\n");
	assert_true(fixture->log.failed);
	close(fixture->log.fd);
	fixture->log.fd = file;
	put(fixture, LOGFILE_STDOUT, "back\n");
	assert_false(fixture->log.failed);
	assert_string_equal(read_log(fixture, 0), "stdout F back\n");
}

/* The limit of a file's size stands for the end of the disk. */
static void limit_size(rlim_t size)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_disk_full_within_a_line(void **state)
{
	static const char line[] = "something to fill a disk with\n";
	struct fixture *fixture = *state;
	char lines[100 * sizeof(line)] = "", text[sizeof(fixture->text)];

	(void)signal(SIGXFSZ, SIG_IGN);
	for (int i = 0; i < 100; i++)
		strcat(lines, line);
	for (rlim_t room = 500; room < 700; room += 7) {
		assert_int_equal(logfile_open(&fixture->log, fixture->path, 0, 1), 0);
		limit_size(room);
		put(fixture, LOGFILE_STDOUT, lines);
		limit_size(RLIM_INFINITY);
		assert_true(fixture->log.failed);
		assert_in_range(size_of(fixture, 0), room - 80, room);
		put(fixture, LOGFILE_STDOUT, "back\n");
		logfile_close(&fixture->log);
		strcpy(text, read_log(fixture, 0));
		const char *at = text;
		for (; !strncmp(at, "stdout F something", 18); at = strchr(at, '\n') + 1)
			assert_memory_equal(at + 9, line, strlen(line));
		assert_string_equal(at, "stdout F back\n");
		assert_int_equal(unlink(fixture->path), 0);
	}
}

static void test_rotation_fails(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(logfile_open(&fixture->log, fixture->path, 100, 3), 0);
	put(fixture, LOGFILE_STDOUT, "one\n");
	put(fixture, LOGFILE_STDOUT, "two\n");
	put(fixture, LOGFILE_STDOUT, "three\n");
	assert_string_equal(read_log(fixture, 1), "stdout F one\nstdout F two\n");
	/* Nothing can be opened; the older lines stay where they are, rotated once more at most. */
	struct rlimit before, none = { 0 };
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	put(fixture, LOGFILE_STDOUT, "four\n");
	put(fixture, LOGFILE_STDOUT, "five\n");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_string_equal(read_log(fixture, 2), "stdout F one\nstdout F two\n");
	assert_string_equal(read_log(fixture, 1), "stdout F three\nstdout F four\nstdout F five\n");
}

static void test_no_place(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(logfile_open(&fixture->log, "/nonexistent/log", 0, 1), -ENOENT);
	assert_int_equal(symlink("/dev/null", fixture->path), 0);
	assert_int_equal(logfile_open(&fixture->log, fixture->path, 0, 1), -ELOOP);
	assert_int_equal(logfile_open(&fixture->log, fixture->directory, 0, 1), -EISDIR);
	assert_int_equal(logfile_open(&fixture->log, "/dev/null", 0, 1), -EOPNOTSUPP);
	/* A pipe, with a reader or without, would stop the whole sandbox process. */
	assert_int_equal(unlink(fixture->path), 0);
	assert_int_equal(mkfifo(fixture->path, 0600), 0);
	assert_int_equal(logfile_open(&fixture->log, fixture->path, 0, 1), -ENXIO);
	cleanup_close int reader = open(fixture->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(reader >= 0);
	assert_int_equal(logfile_open(&fixture->log, fixture->path, 0, 1), -EOPNOTSUPP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_appends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_lines_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotation_of_one_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disk_full_within_a_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotation_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_place, setup, teardown),
	};

	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
