/* SPDX-License-Identifier: Apache-2.0 */

/* The log, into a memfd. */

#include "oci/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <cmocka.h>

static const char digits[] = "dddd-dd-ddTdd:dd:dd.dddddddddZ";

static int setup(void **state)
{
	*state = (void *)(intptr_t)memfd_create("log", MFD_CLOEXEC);
	return (int)(intptr_t)*state < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	log_init(STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
	return close((int)(intptr_t)*state);
}

/* What was logged since the last call, with the time made comparable. */
static const char *logged(int fd)
{
	static char text[1 << 16];
	ssize_t size = pread(fd, text, sizeof(text) - 1, 0);

	assert_true(size >= 0);
	text[size] = '\0';
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	char *when = strstr(text, "\"20");
	for (size_t i = 0; when && digits[i]; i++) {
		if (digits[i] == 'd') {
			assert_true(when[1 + i] >= '0' && when[1 + i] <= '9');
			when[1 + i] = 'd';
		}
	}
	return text;
}

static void test_text(void **state)
{
	int fd = (int)(intptr_t)*state;

	log_init(fd, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
	errno = EBADF;
	log_error("cannot open \"%s\": \\ %s", "a\nb", "\x1b\xff\xc3\xa9<&>");
	assert_int_equal(errno, EBADF);
	assert_string_equal(logged(fd),
	                    "time=\"dddd-dd-ddTdd:dd:dd.dddddddddZ\" level=error "
	                    "msg=\"cannot open \\\"a\\nb\\\": \\\\ \\u001b\\ufffd\xc3\xa9<&>\"\n");
	log_warning("%s", "");
	assert_string_equal(logged(fd),
	                    "time=\"dddd-dd-ddTdd:dd:dd.dddddddddZ\" level=warning msg=\"\"\n");
}

static void test_json(void **state)
{
	int fd = (int)(intptr_t)*state;

	log_init(fd, LOG_FORMAT_JSON, LOG_LEVEL_DEBUG);
	log_debug("say \"%d\"", 1);
	assert_string_equal(logged(fd), "{\"level\":\"debug\",\"msg\":\"say \\\"1\\\"\","
	                                "\"time\":\"dddd-dd-ddTdd:dd:dd.dddddddddZ\"}\n");
}

static void test_kernel(void **state)
{
	int fd = (int)(intptr_t)*state;
	char text[3000];

	log_init(fd, LOG_FORMAT_KERNEL, LOG_LEVEL_DEBUG);
	log_error("a \"%d\"", 1);
	assert_string_equal(logged(fd), "<3>hvagent: a \"1\"\n");
	log_warning("b");
	assert_string_equal(logged(fd), "<4>hvagent: b\n");
	log_info("%s", "");
	assert_string_equal(logged(fd), "<6>hvagent: \n");
	/* The kernel takes no more than 976 bytes. */
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_debug("%s", text);
	assert_int_equal(strlen(logged(fd)), strlen("<7>hvagent: \n") + 960);
}

static void test_long(void **state)
{
	int fd = (int)(intptr_t)*state;
	char text[10000];

	/* The longest line there can be: everything is escaped to six bytes. */
	memset(text, 1, sizeof(text));
	text[sizeof(text) - 1] = '\0';
	log_init(fd, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
	log_info("%s", text);
	const char *line = logged(fd);
	assert_in_range(strlen(line), 12000, 13000);
	assert_string_equal(line + strlen(line) - 8, "\\u0001\"\n");
}

static int fulls, other_fd;

static void full(void)
{
	fulls++;
	log_init(other_fd, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
	log_limit(500, full);
	log_info("goes on here");
}

static void test_limit(void **state)
{
	int fd = (int)(intptr_t)*state;

	other_fd = memfd_create("other", MFD_CLOEXEC);
	log_init(fd, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
	log_limit(200, full);
	fulls = 0;
	for (int i = 0; i < 3; i++)
		log_info("twenty bytes of text");
	assert_int_equal(fulls, 1);
	assert_null(strstr(logged(fd), "goes on here"));
	assert_non_null(strstr(logged(other_fd), "goes on here"));
	close(other_fd);
}

static void test_lost(void **state)
{
	int fds[2];
	char text[1 << 17];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	log_init(fds[1], LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
	log_limit(1 << 20, full);
	int size;
	for (int i = 0; i < 2000; i++)
		log_info("line %d.", i);
	assert_true((size = (int)read(fds[0], text, sizeof(text) - 1)) > 0);
	text[size] = '\0';
	assert_non_null(strstr(text, "line 800."));
	assert_null(strstr(text, "line 1999."));
	assert_null(strstr(text, "lost"));
	errno = EBADF;
	log_info("z");
	log_info("z");
	assert_int_equal(errno, EBADF);
	assert_true((size = (int)read(fds[0], text, sizeof(text) - 1)) > 0);
	text[size] = '\0';
	const char *told = strstr(text, "level=warning msg=\"");
	assert_non_null(told);
	assert_in_range(strtol(told + strlen("level=warning msg=\""), NULL, 10), 1, 1200);
	assert_non_null(strstr(told, " lines of the log were lost here\"\n"));
	assert_null(strstr(told + 1, "level=warning"));
	assert_non_null(strstr(told, "msg=\"z\"\n"));
	close(fds[0]);
	close(fds[1]);
}

static void test_levels(void **state)
{
	static const struct {
		const char *text;
		enum log_level level;
	} cases[] = {
		{ "error", LOG_LEVEL_ERROR }, { "warning", LOG_LEVEL_WARNING },
		{ "warn", LOG_LEVEL_WARNING }, { "info", LOG_LEVEL_INFO },
		{ "debug", LOG_LEVEL_DEBUG }, { "trace", LOG_LEVEL_DEBUG },
		{ "fatal", LOG_LEVEL_ERROR }, { "panic", LOG_LEVEL_ERROR },
	};
	int fd = (int)(intptr_t)*state;
	enum log_level level;

	for (size_t i = 0; i < array_size(cases); i++) {
		assert_int_equal(log_level_parse(cases[i].text, &level), 0);
		assert_int_equal(level, cases[i].level);
		log_init(fd, LOG_FORMAT_TEXT, level);
		for (enum log_level k = LOG_LEVEL_ERROR; k <= LOG_LEVEL_DEBUG; k++) {
			assert_int_equal(log_wants(k), k <= level);
			log_write(k, "x");
			assert_int_equal(*logged(fd) != '\0', k <= level);
		}
	}
	assert_int_equal(log_level_parse("loud", &level), -EINVAL);
	assert_int_equal(log_level_parse("", &level), -EINVAL);
	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_DEBUG);
	assert_false(log_wants(LOG_LEVEL_ERROR));
	log_error("nobody hears this");
}

static void test_time(void **state)
{
	char text[TIME_TEXT], expected[64];

	(void)state;
	assert_string_equal(time_format(&(struct timespec){ 1787419311, 123456789 }, text),
	                    "2026-08-22T17:21:51.123456789Z");
	assert_string_equal(time_format(&(struct timespec){ 951782399, 1 }, text),
	                    "2000-02-28T23:59:59.000000001Z");
	assert_string_equal(time_format(&(struct timespec){ -5, 0 }, text),
	                    "1970-01-01T00:00:00.000000000Z");
	/* Steps of nearly half a day, to the year 2500. */
	for (time_t now = 0; now < 16725225600; now += 43001) {
		struct tm parts;
		assert_non_null(gmtime_r(&now, &parts));
		strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S.000000000Z", &parts);
		assert_string_equal(time_format(&(struct timespec){ now, 0 }, text), expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_json, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kernel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_levels, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
		cmocka_unit_test(test_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
