/* SPDX-License-Identifier: Apache-2.0 */

/* One direction of plain mode's stdio, over a real pipe or terminal and a socket; and dialling. */

#include "agent/relay.h"

#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <cmocka.h>

#define OUTPUT true
#define INPUT false

/* The relay is freed by the one who is told that it has finished, as a process may be. */
struct fixture {
	struct loop loop;
	struct timer patience;
	struct relay *relay;
	struct half_close half_close;
	int finished;
	int pipe;   /* the process's end */
	int socket; /* the host's end */
};

static struct fixture *present;

static void on_finished(struct relay *relay)
{
	assert_ptr_equal(relay, present->relay);
	assert_false(relay->active);
	present->finished++;
	free(relay);
	present->relay = NULL;
	loop_stop(&present->loop);
}

static int on_patience(struct timer *timer)
{
	loop_stop(&container_of(timer, struct fixture, patience)->loop);
	return 0;
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	assert_non_null(fixture);
	assert_int_equal(loop_init(&fixture->loop), 0);
	assert_int_equal(timer_init(&fixture->patience, &fixture->loop, on_patience), 0);
	fixture->pipe = fixture->socket = -1;
	half_close_begin(&fixture->half_close);
	signal(SIGPIPE, SIG_IGN);
	*state = present = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	if (fixture->relay)
		relay_deinit(fixture->relay);
	free(fixture->relay);
	close_fd(&fixture->pipe);
	close_fd(&fixture->socket);
	timer_deinit(&fixture->patience);
	loop_deinit(&fixture->loop);
	free(fixture);
	return 0;
}

/* Runs until the relay has finished, or for so long. */
static void run(struct fixture *fixture, uint64_t milliseconds)
{
	timer_set(&fixture->patience, milliseconds);
	assert_int_equal(loop_run(&fixture->loop), 0);
	timer_set(&fixture->patience, 0);
}

static void start(struct fixture *fixture, int ours, bool output, bool terminal)
{
	int sockets[2];
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets), 0);
	fixture->socket = sockets[0];
	fixture->relay = malloc(sizeof(*fixture->relay));
	assert_non_null(fixture->relay);
	assert_int_equal(relay_start(fixture->relay, &fixture->loop, sockets[1], ours, output,
				     terminal, &fixture->half_close, on_finished),
			 0);
}

static void start_pipe(struct fixture *fixture, bool output)
{
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	fixture->pipe = fds[output ? 1 : 0];
	start(fixture, fds[output ? 0 : 1], output, false);
}

/* A raw terminal. */
static void start_terminal(struct fixture *fixture, bool output)
{
	struct termios raw;
	int master;
	assert_int_equal(openpty(&master, &fixture->pipe, NULL, NULL, NULL), 0);
	assert_int_equal(tcgetattr(fixture->pipe, &raw), 0);
	cfmakeraw(&raw);
	assert_int_equal(tcsetattr(fixture->pipe, TCSANOW, &raw), 0);
	assert_int_equal(fcntl(master, F_SETFL, O_NONBLOCK), 0);
	start(fixture, master, output, true);
}

static void assert_read(int fd, const char *expected)
{
	char text[256] = "";
	ssize_t n = read(fd, text, sizeof(text) - 1);
	assert_int_equal(n, strlen(expected));
	assert_string_equal(text, expected);
}

/* All is written, then the half-close, then the host's close, then the end. */
static void test_closing_handshake(void **state)
{
	struct fixture *fixture = *state;
	char byte;
	start_pipe(fixture, OUTPUT);
	assert_int_equal(write(fixture->pipe, "last words", 10), 10);
	close_fd(&fixture->pipe);
	run(fixture, 20);
	assert_read(fixture->socket, "last words");
	assert_int_equal(read(fixture->socket, &byte, 1), 0);
	/* What the host says on an output is of no interest. */
	assert_int_equal(send(fixture->socket, "what?", 5, MSG_NOSIGNAL), 5);
	run(fixture, 20);
	assert_int_equal(fixture->finished, 0);
	close_fd(&fixture->socket);
	run(fixture, 1000);
	assert_int_equal(fixture->finished, 1);
}

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/* One that ends at once; its bytes, and whether the host was told of the end. */
static bool run_to_its_end(struct fixture *fixture)
{
	char bytes[16];
	ssize_t n;
	start_pipe(fixture, OUTPUT);
	assert_int_equal(write(fixture->pipe, "x", 1), 1);
	close_fd(&fixture->pipe);
	fixture->finished = 0;
	run(fixture, 20);
	assert_int_equal(recv(fixture->socket, bytes, 1, 0), 1);
	n = recv(fixture->socket, bytes, 1, MSG_DONTWAIT);
	assert_true(n == 0 || errno == EAGAIN);
	return n == 0;
}

/* Waits, and says for how long. */
static uint64_t run_until_finished(struct fixture *fixture)
{
	uint64_t begin = now();
	if (!fixture->finished)
		run(fixture, 5000);
	assert_int_equal(fixture->finished, 1);
	close_fd(&fixture->socket);
	return now() - begin;
}

enum { TRIAL = 60, LONG = 400 };

static void set_bounds(struct fixture *fixture, bool known)
{
	fixture->half_close.known = known;
	half_close_begin(&fixture->half_close);
	fixture->half_close.trial = TRIAL;
	fixture->half_close.patience = LONG;
}

/* The trial begins when all is written, not before; whoever comes later is closed at once. */
static void test_lost_half_close(void **state)
{
	struct fixture *fixture = *state;
	enum { SIZE = 300000 };
	char *bytes = calloc(1, SIZE);
	size_t got = 0;
	set_bounds(fixture, false);
	start_pipe(fixture, OUTPUT);
	assert_int_equal(fcntl(fixture->pipe, F_SETPIPE_SZ, SIZE), 524288);
	assert_int_equal(write(fixture->pipe, bytes, SIZE), SIZE);
	close_fd(&fixture->pipe);
	run(fixture, 2 * TRIAL);
	assert_int_equal(fixture->finished, 0);
	while (got < SIZE) {
		ssize_t n = read(fixture->socket, bytes, SIZE);
		if (n > 0)
			got += (size_t)n;
		else
			run(fixture, 1);
		assert_int_equal(fixture->finished, 0);
	}
	assert_in_range(run_until_finished(fixture), TRIAL / 2, TRIAL * 3);
	assert_int_equal(fixture->half_close.state, HALF_CLOSE_LOST);
	free(bytes);

	assert_true(run_to_its_end(fixture));
	assert_int_equal(fixture->finished, 1);
	close_fd(&fixture->socket);
	/* The next connection of the bridge is another matter. */
	set_bounds(fixture, false);
	assert_true(run_to_its_end(fixture));
	assert_int_equal(fixture->finished, 0);
	assert_in_range(run_until_finished(fixture), TRIAL / 4, TRIAL * 3);
}

/* One host that closes is proof; then others may take their time, but not for ever. */
static void test_half_close_that_arrives(void **state)
{
	struct fixture *fixture = *state;
	set_bounds(fixture, false);
	assert_true(run_to_its_end(fixture));
	assert_int_equal(fixture->finished, 0);
	close_fd(&fixture->socket);
	run_until_finished(fixture);
	assert_int_equal(fixture->half_close.state, HALF_CLOSE_ARRIVES);

	assert_true(run_to_its_end(fixture));
	run(fixture, 2 * TRIAL);
	assert_int_equal(fixture->finished, 0);
	assert_in_range(run_until_finished(fixture), LONG / 4, LONG * 2);
	/* A leak, or an error: it is tried again. */
	assert_int_equal(fixture->half_close.state, HALF_CLOSE_UNTRIED);
	assert_true(run_to_its_end(fixture));
	assert_in_range(run_until_finished(fixture), TRIAL / 4, TRIAL * 3);
	assert_int_equal(fixture->half_close.state, HALF_CLOSE_LOST);
}

static void test_known_half_close(void **state)
{
	struct fixture *fixture = *state;
	set_bounds(fixture, true);
	for (int i = 0; i < 2; i++) {
		assert_true(run_to_its_end(fixture));
		assert_in_range(run_until_finished(fixture), LONG / 2, LONG * 2);
		assert_int_equal(fixture->half_close.state, HALF_CLOSE_ARRIVES);
	}
}

/* A trial goes on as a wait when another has shown meanwhile that it is one. */
static void test_half_close_proved_by_another(void **state)
{
	struct fixture *fixture = *state;
	set_bounds(fixture, false);
	assert_true(run_to_its_end(fixture));
	fixture->half_close.state = HALF_CLOSE_ARRIVES;
	run(fixture, 2 * TRIAL);
	assert_int_equal(fixture->finished, 0);
	assert_in_range(run_until_finished(fixture), LONG / 2, LONG * 2);
}

/* What becomes of an output that began to close on an earlier connection proves nothing. */
static void test_trials_of_another_connection(void **state)
{
	struct fixture *fixture = *state;
	set_bounds(fixture, false);
	for (int i = 0; i < 2; i++) {
		assert_true(run_to_its_end(fixture));
		set_bounds(fixture, false);
		if (i)
			close_fd(&fixture->socket);
		assert_in_range(run_until_finished(fixture), 0, TRIAL * 3);
		assert_int_equal(fixture->half_close.state, HALF_CLOSE_UNTRIED);
	}
}

/* Nor does a host that did not want to hear the end. */
static void test_closed_before_its_end(void **state)
{
	struct fixture *fixture = *state;
	set_bounds(fixture, false);
	start_pipe(fixture, OUTPUT);
	close_fd(&fixture->socket);
	close_fd(&fixture->pipe);
	assert_in_range(run_until_finished(fixture), 0, TRIAL / 2);
	assert_int_equal(fixture->half_close.state, HALF_CLOSE_UNTRIED);
}

/* A reader that stalls is waited for without a turn of the loop, and nothing is lost. */
static void test_slow_reader(void **state)
{
	struct fixture *fixture = *state;
	enum { TOTAL = 2000000 };
	static uint8_t bytes[65536];
	size_t written = 0, got = 0;
	start_pipe(fixture, OUTPUT);
	while (got < TOTAL) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)((written + i) * 7 >> 3);
		ssize_t n = 0;
		if (written < TOTAL)
			n = write(fixture->pipe, bytes, min_size(sizeof(bytes), TOTAL - written));
		if (n > 0)
			written += (size_t)n;
		if (written == TOTAL)
			close_fd(&fixture->pipe);
		run(fixture, 1);
		assert_in_range(buf_length(&fixture->relay->held), 0, 65536);
		if (buf_length(&fixture->relay->held))
			assert_int_equal(fixture->relay->from.want, 0);
		n = read(fixture->socket, bytes, 30011);
		for (ssize_t i = 0; i < n; i++) {
			if (bytes[i] != (uint8_t)((got + (size_t)i) * 7 >> 3))
				fail_msg("byte %zu differs", got + (size_t)i);
		}
		got += n > 0 ? (size_t)n : 0;
	}
	run(fixture, 10);
	assert_int_equal(read(fixture->socket, bytes, 1), 0);
	close_fd(&fixture->socket);
	run(fixture, 1000);
	assert_int_equal(fixture->finished, 1);
}

/* The host does not want to hear more: neither does the process get rid of it. */
static void test_host_hangs_up_on_output(void **state)
{
	struct fixture *fixture = *state;
	start_pipe(fixture, OUTPUT);
	close_fd(&fixture->socket);
	run(fixture, 10);
	assert_int_equal(fixture->finished, 0);
	assert_int_equal(write(fixture->pipe, "x", 1), 1);
	run(fixture, 1000);
	assert_int_equal(fixture->finished, 1);
	assert_int_equal(write(fixture->pipe, "x", 1), -1);
	assert_int_equal(errno, EPIPE);
}

/* The same while it is being waited for. */
static void test_host_hangs_up_on_a_stalled_output(void **state)
{
	struct fixture *fixture = *state;
	static char bytes[65536];
	start_pipe(fixture, OUTPUT);
	for (int i = 0; i < 20; i++) {
		(void)!write(fixture->pipe, bytes, sizeof(bytes));
		run(fixture, 1);
	}
	assert_true(buf_length(&fixture->relay->held) > 0);
	close_fd(&fixture->socket);
	run(fixture, 1000);
	assert_int_equal(fixture->finished, 1);
}

static void test_input(void **state)
{
	struct fixture *fixture = *state;
	char byte;
	start_pipe(fixture, INPUT);
	assert_int_equal(write(fixture->socket, "one ", 4), 4);
	run(fixture, 10);
	assert_int_equal(write(fixture->socket, "two", 3), 3);
	assert_int_equal(shutdown(fixture->socket, SHUT_WR), 0);
	run(fixture, 1000);
	assert_int_equal(fixture->finished, 1);
	assert_read(fixture->pipe, "one two");
	assert_int_equal(read(fixture->pipe, &byte, 1), 0);
	/* It does not wait for the host's close. */
	assert_int_equal(read(fixture->socket, &byte, 1), 0);
}

static void test_input_that_nobody_reads(void **state)
{
	struct fixture *fixture = *state;
	char byte;
	start_pipe(fixture, INPUT);
	close_fd(&fixture->pipe);
	assert_int_equal(write(fixture->socket, "x", 1), 1);
	run(fixture, 1000);
	assert_int_equal(fixture->finished, 1);
	assert_int_equal(read(fixture->socket, &byte, 1), 0);
}

static void test_input_of_a_slow_process(void **state)
{
	struct fixture *fixture = *state;
	enum { TOTAL = 1000000 };
	static char bytes[65536];
	size_t written = 0, got = 0;
	start_pipe(fixture, INPUT);
	while (got < TOTAL) {
		ssize_t n = 0;
		if (written < TOTAL)
			n = write(fixture->socket, bytes, min_size(sizeof(bytes), TOTAL - written));
		written += n > 0 ? (size_t)n : 0;
		if (written == TOTAL)
			shutdown(fixture->socket, SHUT_WR);
		run(fixture, 1);
		if (fixture->relay)
			assert_in_range(buf_length(&fixture->relay->held), 0, 65536);
		n = read(fixture->pipe, bytes, 20011);
		got += n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(got, TOTAL);
	if (!fixture->finished)
		run(fixture, 1000);
	assert_int_equal(fixture->finished, 1);
}

/* The master reads EIO behind the last byte; there is no handshake. */
static void test_terminal_output(void **state)
{
	struct fixture *fixture = *state;
	char byte;
	start_terminal(fixture, OUTPUT);
	assert_int_equal(write(fixture->pipe, "tty", 3), 3);
	run(fixture, 20);
	close_fd(&fixture->pipe);
	run(fixture, 1000);
	assert_int_equal(fixture->finished, 1);
	assert_read(fixture->socket, "tty");
	assert_int_equal(read(fixture->socket, &byte, 1), 0);
}

/* The end of the input is nothing to the terminal. */
static void test_terminal_input(void **state)
{
	struct fixture *fixture = *state;
	int keep;
	start_terminal(fixture, INPUT);
	keep = dup(fixture->relay->pipe_fd);
	assert_int_equal(fcntl(fixture->pipe, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(write(fixture->socket, "keys", 4), 4);
	run(fixture, 20);
	assert_int_equal(shutdown(fixture->socket, SHUT_WR), 0);
	run(fixture, 1000);
	assert_int_equal(fixture->finished, 1);
	assert_read(fixture->pipe, "keys");
	char byte;
	assert_int_equal(read(fixture->pipe, &byte, 1), -1);
	assert_int_equal(errno, EAGAIN);
	close(keep);
}

static void test_deinit(void **state)
{
	struct fixture *fixture = *state;
	char byte;
	start_pipe(fixture, INPUT);
	assert_int_equal(write(fixture->socket, "x", 1), 1);
	relay_deinit(fixture->relay);
	assert_false(fixture->relay->active);
	run(fixture, 5);
	assert_int_equal(fixture->finished, 0);
	assert_int_equal(read(fixture->pipe, &byte, 1), 0);
	relay_deinit(fixture->relay);
}

/* Dialling */

struct dialling {
	struct dialer dialer;
	struct fixture *fixture;
	int fd[DIALER_MAX];
	int done, error;
};

static void on_dialled(struct dialer *dialer, int error)
{
	struct dialling *dialling = container_of(dialer, struct dialling, dialer);
	dialling->done++;
	dialling->error = error;
	dialer_deinit(dialer);
	loop_stop(&dialling->fixture->loop);
}

static int listen_on(const char *base, uint32_t port)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s_%u", base, port);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static void test_dialer(void **state)
{
	struct fixture *fixture = *state;
	struct hv_machine machine = {0};
	/* How many of three ports are listened to. */
	for (size_t heard = 0; heard <= DIALER_MAX; heard++) {
		char folder[] = "/tmp/hvrun-dial-XXXXXX", base[64], url[96], command[64];
		int listener[DIALER_MAX] = {-1, -1, -1};
		struct dialling dialling = {
			.dialer = DIALER_NULL, .fixture = fixture, .fd = {-1, -1, -1}};
		assert_non_null(mkdtemp(folder));
		snprintf(base, sizeof(base), "%s/b", folder);
		for (size_t i = 0; i < DIALER_MAX; i++) {
			snprintf(url, sizeof(url), "hybrid://%s:%zu", base, 10 + i);
			assert_int_equal(hv_endpoint_parse(url, &dialling.dialer.endpoint[i], NULL),
					 0);
			dialling.dialer.fd[i] = &dialling.fd[i];
			if (i < heard)
				listener[i] = listen_on(base, (uint32_t)(10 + i));
		}
		dialling.dialer.count = DIALER_MAX;
		assert_int_equal(
			dialer_start(&dialling.dialer, &fixture->loop, &machine, on_dialled), 0);
		assert_int_equal(dialling.done, 0);
		run(fixture, 1000);
		assert_int_equal(dialling.done, 1);
		assert_int_equal(dialling.error < 0, heard < DIALER_MAX);
		for (size_t i = 0; i < DIALER_MAX; i++) {
			assert_int_equal(dialling.fd[i] >= 0, i < heard);
			if (i < heard) {
				int fd = accept4(listener[i], NULL, NULL, SOCK_CLOEXEC);
				assert_true(fd >= 0);
				close(fd);
			}
			close_fd(&dialling.fd[i]);
			close_fd(&listener[i]);
		}
		run(fixture, 5);
		assert_int_equal(dialling.done, 1);
		snprintf(command, sizeof(command), "rm -rf %s", folder);
		assert_int_equal(system(command), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_closing_handshake, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_half_close, setup, teardown),
		cmocka_unit_test_setup_teardown(test_half_close_that_arrives, setup, teardown),
		cmocka_unit_test_setup_teardown(test_known_half_close, setup, teardown),
		cmocka_unit_test_setup_teardown(test_half_close_proved_by_another, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_trials_of_another_connection, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_closed_before_its_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_hangs_up_on_output, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_hangs_up_on_a_stalled_output, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_input, setup, teardown),
		cmocka_unit_test_setup_teardown(test_input_that_nobody_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_input_of_a_slow_process, setup, teardown),
		cmocka_unit_test_setup_teardown(test_terminal_output, setup, teardown),
		cmocka_unit_test_setup_teardown(test_terminal_input, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deinit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dialer, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
