/* SPDX-License-Identifier: Apache-2.0 */

/* What a booting guest dials besides the bridge, with the host's ends in this process. */

#include "agent/entropy_port.h"
#include "agent/log_port.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <cmocka.h>

#define PORT 109

struct fixture {
	struct loop loop;
	struct timer patience;
	char folder[64];
	struct hv_machine machine;
	struct hv_endpoint endpoint;
	struct log_port *log;
	struct entropy_port *entropy;
	int before;     /* where the log goes otherwise */
	int listener, fd;
	char text[1 << 20];
	size_t length;  /* of what was read from the port */
};

static int on_patience(struct timer *timer)
{
	loop_stop(&container_of(timer, struct fixture, patience)->loop);
	return 0;
}

static void run(struct fixture *fixture, uint64_t milliseconds)
{
	timer_set(&fixture->patience, milliseconds);
	assert_int_equal(loop_run(&fixture->loop), 0);
}

static void address(const struct fixture *fixture, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/b_%d", fixture->folder, PORT);
}

static void listen_there(struct fixture *fixture)
{
	struct sockaddr_un to;
	address(fixture, &to);
	fixture->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fixture->listener, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(listen(fixture->listener, 4), 0);
}

static void stop_listening(struct fixture *fixture)
{
	struct sockaddr_un at;
	address(fixture, &at);
	unlink(at.sun_path);
	close_fd(&fixture->listener);
}

static void accept_there(struct fixture *fixture)
{
	close_fd(&fixture->fd);
	for (int i = 0; i < 400 && fixture->fd < 0; i++) {
		fixture->fd = accept4(fixture->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		run(fixture, 5);
	}
	assert_true(fixture->fd >= 0);
	fixture->length = 0;
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	char url[128];
	assert_non_null(fixture);
	assert_int_equal(loop_init(&fixture->loop), 0);
	assert_int_equal(timer_init(&fixture->patience, &fixture->loop, on_patience), 0);
	snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/hvrun-ports-XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	snprintf(url, sizeof(url), "hybrid://%s/b:%d", fixture->folder, PORT);
	assert_int_equal(hv_endpoint_parse(url, &fixture->endpoint, NULL), 0);
	fixture->before = memfd_create("log", MFD_CLOEXEC);
	fixture->listener = fixture->fd = -1;
	log_init(fixture->before, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	log_port_free(fixture->log);
	entropy_port_free(fixture->entropy);
	log_init(STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
	stop_listening(fixture);
	close_fd(&fixture->fd);
	close_fd(&fixture->before);
	timer_deinit(&fixture->patience);
	loop_deinit(&fixture->loop);
	assert_int_equal(rmdir(fixture->folder), 0);
	free(fixture);
	return 0;
}

static bool was_logged_before(struct fixture *fixture, const char *words)
{
	static char text[1 << 20];
	ssize_t n = pread(fixture->before, text, sizeof(text) - 1, 0);
	assert_true(n >= 0);
	text[n] = '\0';
	return strstr(text, words) != NULL;
}

/* What has come over the port since it was accepted. */
static const char *received(struct fixture *fixture)
{
	ssize_t n;
	do {
		run(fixture, 2);
		n = recv(fixture->fd, fixture->text + fixture->length,
		         sizeof(fixture->text) - 1 - fixture->length, 0);
		fixture->length += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	fixture->text[fixture->length] = '\0';
	return fixture->text;
}

static void start_log(struct fixture *fixture, enum log_format format, bool redial)
{
	assert_int_equal(log_port_start(&fixture->log, &fixture->loop, &fixture->machine,
	                                &fixture->endpoint, format, redial), 0);
}

static void test_log(void **state)
{
	struct fixture *fixture = *state;
	listen_there(fixture);
	start_log(fixture, LOG_FORMAT_JSON, false);
	log_info("too early");
	accept_there(fixture);
	log_info("in time");
	const char *text = received(fixture);
	assert_non_null(strstr(text, "{\"level\":\"info\",\"msg\":\"version "));
	assert_non_null(strstr(text, "\"msg\":\"in time\",\"time\":\"2"));
	assert_null(strstr(text, "too early"));
	assert_true(was_logged_before(fixture, "too early"));
	assert_false(was_logged_before(fixture, "in time"));
	/* What the host says is of no interest. */
	assert_int_equal(send(fixture->fd, "hello", 5, 0), 5);
	run(fixture, 5);
	/* What can be sent at the end is sent. */
	log_info("last words");
	log_port_free(fixture->log);
	assert_null(fixture->log);
	log_info("afterwards");
	assert_non_null(strstr(received(fixture), "last words"));
	assert_true(was_logged_before(fixture, "afterwards"));
}

static void test_log_as_text(void **state)
{
	struct fixture *fixture = *state;
	listen_there(fixture);
	start_log(fixture, LOG_FORMAT_TEXT, false);
	accept_there(fixture);
	assert_non_null(strstr(received(fixture), "level=info msg=\"version "));
}

static void test_log_without_a_host(void **state)
{
	struct fixture *fixture = *state;
	start_log(fixture, LOG_FORMAT_JSON, false);
	assert_non_null(fixture->log);
	run(fixture, 50);
	assert_null(fixture->log);
	assert_true(was_logged_before(fixture, "cannot be dialled"));
	log_info("here");
	assert_true(was_logged_before(fixture, "msg=here") || was_logged_before(fixture, "\"here\""));
}

static void test_log_that_is_lost(void **state)
{
	struct fixture *fixture = *state;
	listen_there(fixture);
	start_log(fixture, LOG_FORMAT_JSON, false);
	accept_there(fixture);
	close_fd(&fixture->fd);
	run(fixture, 20);
	assert_null(fixture->log);
	assert_true(was_logged_before(fixture, "the connection was lost"));
}

/* Lines of numbers, each whole, in their order; the last number. */
static long check_lines(const char *text, long last)
{
	for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
		const char *number = strstr(text, "\"msg\":\"number ");
		assert_memory_equal(text, "{\"level\":\"", 10);
		assert_memory_equal(end - 2, "\"}", 2);
		if (!number || number > end)
			continue;
		long n = strtol(number + strlen("\"msg\":\"number "), NULL, 10);
		assert_true(n > last);
		last = n;
	}
	assert_int_equal(*text, '\0');
	return last;
}

/* The host stalls until a line is cut, and goes: the next one gets it whole, and all behind it. */
static void test_redial(void **state)
{
	struct fixture *fixture = *state;
	enum { LINES = 4000 };
	char filler[301];
	memset(filler, 'x', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	start_log(fixture, LOG_FORMAT_JSON, true);
	run(fixture, 150);
	assert_non_null(fixture->log);
	listen_there(fixture);
	accept_there(fixture);
	received(fixture);
	fixture->length = 0;
	for (int i = 1; i <= LINES; i++) {
		log_info("number %d %s", i, filler);
		if (i % 100 == 0)
			run(fixture, 1);
	}
	assert_true(fixture->log->held > 0);
	/* Half of what the socket holds, from which the cut line is missing at least. */
	fixture->length = (size_t)recv(fixture->fd, fixture->text, 50000, 0);
	stop_listening(fixture);
	close_fd(&fixture->fd);
	run(fixture, 150);
	log_info("nobody is there");
	assert_true(was_logged_before(fixture, "nobody is there"));
	listen_there(fixture);
	accept_there(fixture);
	log_info("number %d", LINES + 1);
	assert_int_equal(check_lines(received(fixture), 0), LINES + 1);
	assert_non_null(strstr(fixture->text, "lines of the log were lost here"));
}

static void start_entropy(struct fixture *fixture)
{
	assert_int_equal(entropy_port_start(&fixture->entropy, &fixture->loop, &fixture->machine,
	                                    &fixture->endpoint), 0);
}

/* Without the right to credit it, that is said, too. */
static void test_entropy(void **state)
{
	struct fixture *fixture = *state;
	char bytes[ENTROPY_PORT_MAX] = { 0 };
	listen_there(fixture);
	start_entropy(fixture);
	accept_there(fixture);
	assert_int_equal(send(fixture->fd, bytes, 512, 0), 512);
	run(fixture, 10);
	assert_non_null(fixture->entropy);
	assert_int_equal(fixture->entropy->count, 512);
	close_fd(&fixture->fd);
	run(fixture, 10);
	assert_null(fixture->entropy);
	assert_true(was_logged_before(fixture, "entropy from the host: 512 bytes") ||
	            was_logged_before(fixture, "the kernel does not take it"));

	start_entropy(fixture);
	accept_there(fixture);
	assert_int_equal(send(fixture->fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	run(fixture, 10);
	assert_null(fixture->entropy);

	start_entropy(fixture);
	accept_there(fixture);
	entropy_port_free(fixture->entropy);
	assert_null(fixture->entropy);
}

static void test_entropy_without_a_host(void **state)
{
	struct fixture *fixture = *state;
	start_entropy(fixture);
	run(fixture, 20);
	assert_null(fixture->entropy);
	assert_true(was_logged_before(fixture, "entropy from the host: "));
	listen_there(fixture);
	start_entropy(fixture);
	accept_there(fixture);
	close_fd(&fixture->fd);
	run(fixture, 20);
	assert_null(fixture->entropy);
	assert_true(was_logged_before(fixture, "entropy from the host: none"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_log, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_as_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_without_a_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_that_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_redial, setup, teardown),
		cmocka_unit_test_setup_teardown(test_entropy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_entropy_without_a_host, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
