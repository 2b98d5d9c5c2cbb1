/* SPDX-License-Identifier: Apache-2.0 */

/* Reading logs, as logfile.c writes them, in a folder of our own. */

#include "shim/logview.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <cmocka.h>

#define T "2026-11-22T03:04:05.123456789Z"
#define T2 "2026-11-22T03:04:06.000000000Z"

struct folder {
	char path[64], log[80];
	int fd;
};

static int setup(void **state)
{
	static struct folder folder;

	snprintf(folder.path, sizeof(folder.path), "/tmp/test-logs-XXXXXX");
	if (!mkdtemp(folder.path))
		return -1;
	snprintf(folder.log, sizeof(folder.log), "%s/log", folder.path);
	folder.fd = open(folder.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = &folder;
	return folder.fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	struct folder *folder = *state;
	DIR *list = fdopendir(folder->fd);

	for (struct dirent *entry; (entry = readdir(list));)
		(void)unlinkat(folder->fd, entry->d_name, 0);
	closedir(list);
	return rmdir(folder->path);
}

static void write_file(const struct folder *folder, const char *name, const char *text)
{
	const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
	cleanup_close int fd = openat(folder->fd, name, flags, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* What a view has shown. */
struct shown {
	struct log_view view;
	char *text[LOGFILE_STREAMS];
	size_t size[LOGFILE_STREAMS];
};

static void shown_init(struct shown *shown)
{
	*shown = (struct shown){ .view.stream = -1 };
	for (int i = 0; i < LOGFILE_STREAMS; i++) {
		shown->view.out[i] = open_memstream(&shown->text[i], &shown->size[i]);
		assert_non_null(shown->view.out[i]);
	}
}

static void shown_deinit(struct shown *shown)
{
	for (int i = 0; i < LOGFILE_STREAMS; i++) {
		fclose(shown->view.out[i]);
		free(shown->text[i]);
	}
}

static void assert_shown(struct shown *shown, const char *out, const char *err)
{
	assert_int_equal(log_view_flush(&shown->view), 0);
	assert_string_equal(shown->text[LOGFILE_STDOUT], out);
	assert_string_equal(shown->text[LOGFILE_STDERR], err);
}

/* Reads everything there is, from the tail on. */
static void read_all(const struct folder *folder, uint32_t files, uint64_t tail,
                     struct shown *shown)
{
	const struct log_source source = { folder->fd, "log", files };
	struct log_reader reader = LOG_READER_NULL;

	assert_int_equal(log_reader_start(&reader, &source, &shown->view, tail), 0);
	assert_int_equal(log_reader_finish(&reader, &shown->view), 0);
	log_reader_close(&reader);
}

static void test_parse(void **state)
{
	static const struct {
		const char *line;
		bool good;
		int stream;
		bool piece;
		const char *text;
	} rows[] = {
		{ T " stdout F hello", true, LOGFILE_STDOUT, false, "hello" },
		{ T " stderr P  two ", true, LOGFILE_STDERR, true, " two " },
		{ T " stdout F ", true, LOGFILE_STDOUT, false, "" },
		{ T " stdout F", true, LOGFILE_STDOUT, false, "" },
		{ T " stdout X hello", false },
		{ T " stdout Fhello", false },
		{ T " stdin F hello", false },
		{ "2026-11-22T03:04:05Z stdout F hello", false },
		{ "2026-11-22 03:04:05.123456789Z stdout F hello", false },
		{ T, false },
		{ "", false },
	};

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		struct log_line line;
		bool good = log_line_parse(rows[i].line, strlen(rows[i].line), &line);
		assert_int_equal(good, rows[i].good);
		if (!good)
			continue;
		assert_int_equal(line.stream, rows[i].stream);
		assert_int_equal(line.piece, rows[i].piece);
		assert_int_equal(line.size, strlen(rows[i].text));
		assert_memory_equal(line.text, rows[i].text, line.size);
		assert_memory_equal(line.time, T, TIME_TEXT - 1);
	}
}

static const char mixed[] =
	T " stdout P one, \n"
	T " stderr F bad\n"
	T " stdout P two, \n"
	T2 " stdout F three\n"
	T2 " stderr P worse\n"
	"alien\n"
	T2 " stdout F four\n";

static void test_show(void **state)
{
	static const struct {
		int stream;
		bool timestamps, raw;
		const char *since, *out, *err;
	} rows[] = {
		{ -1, false, false, "", "one, two, three\nalien\nfour\n", "bad\nworse" },
		{ LOGFILE_STDOUT, false, false, "", "one, two, three\nalien\nfour\n", "" },
		{ LOGFILE_STDERR, false, false, "", "alien\n", "bad\nworse" },
		{ -1, true, false, "",
		  T " one, two, three\nalien\n" T2 " four\n", T " bad\n" T2 " worse" },
		/* The first piece decides. */
		{ -1, false, false, T2, "alien\nfour\n", "worse" },
		{ -1, false, true, "", mixed, "" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct shown shown;
		shown_init(&shown);
		shown.view.stream = rows[i].stream;
		shown.view.timestamps = rows[i].timestamps;
		shown.view.raw = rows[i].raw;
		strcpy(shown.view.since, rows[i].since);
		if (!i)
			write_file(*state, "log", mixed);
		read_all(*state, 4, UINT64_MAX, &shown);
		assert_shown(&shown, rows[i].out, rows[i].err);
		shown_deinit(&shown);
	}
}

static void test_tail(void **state)
{
	static const struct {
		uint64_t tail;
		int stream;
		const char *out, *err;
	} rows[] = {
		{ 0, -1, "", "" },
		{ 1, -1, "5\n", "" },
		{ 2, -1, "5\n", "4\n" },
		{ 3, -1, "3 in pieces\n5\n", "4\n" },
		{ 4, -1, "2\n3 in pieces\n5\n", "4\n" },
		{ 5, -1, "1\n2\n3 in pieces\n5\n", "4\n" },
		{ 99, -1, "1\n2\n3 in pieces\n5\n", "4\n" },
		{ 2, LOGFILE_STDOUT, "3 in pieces\n5\n", "" },
		{ 1, LOGFILE_STDERR, "", "4\n" },
	};

	write_file(*state, "log.2", T " stdout F 1\n");
	write_file(*state, "log.1", T " stdout F 2\n" T " stdout P 3 in \n");
	write_file(*state, "log", T " stdout F pieces\n" T " stderr F 4\n" T " stdout F 5\n");
	for (size_t i = 0; i < array_size(rows); i++) {
		struct shown shown;
		shown_init(&shown);
		shown.view.stream = rows[i].stream;
		read_all(*state, 3, rows[i].tail, &shown);
		assert_shown(&shown, rows[i].out, rows[i].err);
		shown_deinit(&shown);
	}
	/* A line that has not ended is the last line. */
	write_file(*state, "log", T " stdout P 6 and\n" T " stdout P  more\n");
	struct shown shown;
	shown_init(&shown);
	read_all(*state, 3, 2, &shown);
	assert_shown(&shown, "5\n6 and more", "");
	shown_deinit(&shown);
}

/* Around the size of the window that is read backwards. */
static void test_tail_of_long_lines(void **state)
{
	static const size_t lengths[] = { 65534, 65535, 65536, 65537, 131072, 200000 };

	for (size_t i = 0; i < array_size(lengths); i++) {
		struct folder *folder = *state;
		cleanup_free char *line = malloc(lengths[i] + 2);
		struct shown shown;
		memset(line, 'x', lengths[i]);
		strcpy(line + lengths[i], "\n");
		(void)unlinkat(folder->fd, "log", 0);
		write_file(folder, "log", "first\n");
		write_file(folder, "log", line);
		write_file(folder, "log", "last\n");
		shown_init(&shown);
		shown.view.raw = true;
		read_all(folder, 1, 1, &shown);
		assert_shown(&shown, "last\n", "");
		shown_deinit(&shown);
	}
}

/* Nothing there, and a last line without its end. */
static void test_ends(void **state)
{
	struct shown shown;

	shown_init(&shown);
	read_all(*state, 4, UINT64_MAX, &shown);
	read_all(*state, 4, 3, &shown);
	assert_shown(&shown, "", "");
	write_file(*state, "log", T " stdout F whole\n" T " stdout F cut of");
	read_all(*state, 4, 1, &shown);
	assert_shown(&shown, "cut of\n", "");
	shown_deinit(&shown);
}

/* The writer rotates while we read, in every combination of turns. */
static void test_follow(void **state)
{
	struct folder *folder = *state;
	const struct log_source source = { folder->fd, "log", 3 };
	struct log_reader reader = LOG_READER_NULL;
	struct logfile log;
	struct shown shown;
	struct buf expected = BUF(1 << 20);

	shown_init(&shown);
	assert_int_equal(logfile_open(&log, folder->log, 256, 3), 0);
	assert_int_equal(log_reader_start(&reader, &source, &shown.view, 0), 0);
	for (int i = 0; i < 500; i++) {
		char line[32];
		int length = snprintf(line, sizeof(line), "line %d\n", i);
		logfile_write(&log, LOGFILE_STDOUT, line, (size_t)length);
		assert_int_equal(buf_append(&expected, line, (size_t)length), 0);
		/* A file holds five lines: the reader never falls behind by three files. */
		if (i % 7 == 0 || i % 4 == 0)
			assert_int_equal(log_reader_drain(&reader, &shown.view), 0);
	}
	assert_int_equal(log_reader_finish(&reader, &shown.view), 0);
	assert_int_equal(buf_append(&expected, "", 1), 0);
	assert_shown(&shown, buf_head(&expected), "");
	buf_deinit(&expected);
	shown_deinit(&shown);
	log_reader_close(&reader);
	logfile_close(&log);
}

/* Only one file: it is unlinked, and a new one made. */
static void test_follow_single(void **state)
{
	struct folder *folder = *state;
	const struct log_source source = { folder->fd, "log", 1 };
	struct log_reader reader = LOG_READER_NULL;
	struct shown shown;

	shown_init(&shown);
	write_file(folder, "log", T " stdout F 1\n");
	assert_int_equal(log_reader_start(&reader, &source, &shown.view, UINT64_MAX), 0);
	assert_int_equal(log_reader_drain(&reader, &shown.view), 0);
	write_file(folder, "log", T " stdout F 2\n");
	assert_int_equal(unlinkat(folder->fd, "log", 0), 0);
	assert_int_equal(log_reader_drain(&reader, &shown.view), 0);
	write_file(folder, "log", T " stdout F 3\n");
	assert_int_equal(log_reader_drain(&reader, &shown.view), 0);
	assert_shown(&shown, "1\n2\n3\n", "");
	log_reader_close(&reader);
	shown_deinit(&shown);
}

static void write_many(const struct folder *folder, int count)
{
	struct logfile log;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (logfile_open(&log, folder->log, 300, 150) < 0)
		_exit(1);
	for (int i = 0; i < count; i++) {
		char line[32];
		int length = snprintf(line, sizeof(line), "%d\n", i);
		logfile_write(&log, LOGFILE_STDOUT, line, (size_t)length);
	}
	_exit(0);
}

/* A process writes and rotates at full speed; nothing is lost and nothing comes twice. */
static void test_race(void **state)
{
	const int count = 500;
	struct folder *folder = *state;
	const struct log_source source = { folder->fd, "log", 150 };
	struct log_reader reader = LOG_READER_NULL;
	struct shown shown;
	int status;

	shown_init(&shown);
	assert_int_equal(log_reader_start(&reader, &source, &shown.view, UINT64_MAX), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		write_many(folder, count);
	while (waitpid(pid, &status, WNOHANG) == 0)
		assert_int_equal(log_reader_drain(&reader, &shown.view), 0);
	assert_int_equal(status, 0);
	assert_int_equal(log_reader_finish(&reader, &shown.view), 0);
	assert_int_equal(log_view_flush(&shown.view), 0);
	char *at = shown.text[LOGFILE_STDOUT];
	for (int i = 0; i < count; i++) {
		assert_int_equal(strtol(at, &at, 10), i);
		assert_int_equal(*at++, '\n');
	}
	assert_int_equal(*at, '\0');
	log_reader_close(&reader);
	shown_deinit(&shown);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		TEST(test_show),
		TEST(test_tail),
		TEST(test_tail_of_long_lines),
		TEST(test_ends),
		TEST(test_follow),
		TEST(test_follow_single),
		TEST(test_race),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
