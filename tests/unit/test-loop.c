/* SPDX-License-Identifier: Apache-2.0 */

/* The event loop on real descriptors. A test that would wait for ever is ended by alarm(2). */

#include "hvsocket/loop.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cmocka.h>

/* A source that counts its calls and then does what its test wants. */
struct probe {
	struct source source;
	int calls;
	uint32_t got;
	int stop_after;                 /* 0 = never */
	struct probe *victim;           /* deinit this one at the first call */
	bool consume;
	uint32_t next_want;
	bool change_want;
	int result;
};
#define PROBE_NULL { .source = SOURCE_NULL }

static int probe_event(struct source *source, uint32_t got)
{
	struct probe *probe = container_of(source, struct probe, source);
	struct loop *loop = source->loop;
	probe->calls++;
	probe->got = got;
	if (probe->consume) {
		char byte;
		assert_int_equal(read(source->fd, &byte, 1), 1);
	}
	if (probe->victim)
		source_deinit(&probe->victim->source);
	else if (probe->change_want)
		assert_int_equal(source_want(source, probe->next_want), 0);
	if (probe->calls == probe->stop_after)
		loop_stop(loop);
	return probe->result;
}

static int stop_at_timer(struct timer *timer)
{
	loop_stop(timer->source.loop);
	return 0;
}

/* Runs for a while, so that what must not happen has time to. */
static void run_for(struct loop *loop, uint64_t milliseconds)
{
	struct timer timer;
	assert_int_equal(timer_init(&timer, loop, stop_at_timer), 0);
	assert_int_equal(timer_set(&timer, milliseconds), 0);
	assert_int_equal(loop_run(loop), 0);
	timer_deinit(&timer);
}

static void make_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

static void test_readiness(void **state)
{
	(void)state;
	struct loop loop;
	int pair[2];
	struct probe probe = { .source = SOURCE_NULL, .consume = true, .stop_after = 3 };
	assert_int_equal(loop_init(&loop), 0);
	make_pair(pair);
	assert_int_equal(source_init(&probe.source, &loop, pair[0], EPOLLIN, probe_event), 0);
	assert_int_equal(write(pair[1], "abc", 3), 3);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(probe.calls, 3);
	assert_int_equal(probe.got, EPOLLIN);

	/* Nothing more to read, always room to write. */
	probe.consume = false;
	probe.stop_after = 5;
	assert_int_equal(source_want(&probe.source, EPOLLIN | EPOLLOUT), 0);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(probe.calls, 5);
	assert_int_equal(probe.got, EPOLLOUT);

	source_close(&probe.source);
	assert_int_equal(probe.source.fd, -1);
	assert_int_equal(fcntl(pair[0], F_GETFD), -1);
	close(pair[1]);
	loop_deinit(&loop);
}

static void test_negative_ends_run(void **state)
{
	(void)state;
	struct loop loop;
	struct probe probe = { .source = SOURCE_NULL, .result = -EPROTO };
	int pair[2];
	assert_int_equal(loop_init(&loop), 0);
	make_pair(pair);
	assert_int_equal(source_init(&probe.source, &loop, pair[0], EPOLLOUT, probe_event), 0);
	assert_int_equal(loop_run(&loop), -EPROTO);
	assert_int_equal(probe.calls, 1);
	/* Level-triggered: what was dropped is reported by the next run. */
	probe.result = 0;
	probe.stop_after = 2;
	assert_int_equal(loop_run(&loop), 0);
	source_close(&probe.source);
	close(pair[1]);
	loop_deinit(&loop);
}

/* A peer that has hung up is reported to who wants something, and does not make others spin. */
static void test_hangup(void **state)
{
	(void)state;
	struct loop loop;
	struct probe probe = { .source = SOURCE_NULL, .change_want = true };
	int pair[2];
	assert_int_equal(loop_init(&loop), 0);
	make_pair(pair);
	assert_int_equal(source_init(&probe.source, &loop, pair[0], EPOLLIN, probe_event), 0);
	close(pair[1]);
	run_for(&loop, 30);
	assert_int_equal(probe.calls, 1);
	assert_true(probe.got & EPOLLHUP);
	assert_true(probe.got & EPOLLIN);
	assert_int_equal(probe.source.want, 0);

	/* It is still there: wanting again brings it back. */
	probe.change_want = false;
	probe.stop_after = 2;
	assert_int_equal(source_want(&probe.source, EPOLLOUT), 0);
	assert_int_equal(loop_run(&loop), 0);
	assert_true(probe.got & EPOLLHUP);
	source_close(&probe.source);
	loop_deinit(&loop);
}

static void test_init_with_nothing_wanted(void **state)
{
	(void)state;
	struct loop loop;
	struct probe probe = PROBE_NULL;
	int pair[2];
	assert_int_equal(loop_init(&loop), 0);
	make_pair(pair);
	close(pair[1]);
	assert_int_equal(source_init(&probe.source, &loop, pair[0], 0, probe_event), 0);
	run_for(&loop, 20);
	assert_int_equal(probe.calls, 0);
	source_close(&probe.source);
	loop_deinit(&loop);
}

/* Two sources ready in one batch: whichever comes first destroys the other. */
static void test_deinit_of_fetched(void **state)
{
	(void)state;
	struct loop loop;
	struct probe probe[2] = { PROBE_NULL, PROBE_NULL };
	int pair[2][2];
	assert_int_equal(loop_init(&loop), 0);
	for (int i = 0; i < 2; i++) {
		make_pair(pair[i]);
		probe[i].victim = &probe[1 - i];
		probe[i].stop_after = 3;
		assert_int_equal(
			source_init(&probe[i].source, &loop, pair[i][0], EPOLLOUT, probe_event), 0);
	}
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(probe[0].calls + probe[1].calls, 3);
	assert_true(probe[0].calls == 0 || probe[1].calls == 0);
	for (int i = 0; i < 2; i++) {
		source_deinit(&probe[i].source);
		close(pair[i][0]);
		close(pair[i][1]);
	}
	loop_deinit(&loop);
}

/* An event that was fetched before the source changed its mind is not delivered. */
static struct source *to_silence;
static int silence_event(struct source *source, uint32_t got)
{
	(void)got;
	assert_int_equal(source_want(to_silence, EPOLLIN), 0);
	loop_stop(source->loop);
	return 0;
}

static int must_not_be_called(struct source *source, uint32_t got)
{
	(void)source;
	(void)got;
	fail_msg("called after its wish had changed");
	return 0;
}

static void test_want_after_fetch(void **state)
{
	(void)state;
	struct loop loop;
	struct source first = SOURCE_NULL, second = SOURCE_NULL;
	int pair[2];
	assert_int_equal(loop_init(&loop), 0);
	make_pair(pair);
	assert_int_equal(source_init(&first, &loop, pair[0], EPOLLOUT, silence_event), 0);
	assert_int_equal(source_init(&second, &loop, pair[1], EPOLLOUT, must_not_be_called), 0);
	to_silence = &second;
	assert_int_equal(loop_run(&loop), 0);
	source_close(&first);
	source_close(&second);
	loop_deinit(&loop);
}

static void test_deinit_of_itself(void **state)
{
	(void)state;
	struct loop loop;
	struct probe probe = { .source = SOURCE_NULL, .stop_after = 1 };
	int pair[2];
	assert_int_equal(loop_init(&loop), 0);
	make_pair(pair);
	probe.victim = &probe;
	assert_int_equal(source_init(&probe.source, &loop, pair[0], EPOLLOUT, probe_event), 0);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(probe.source.fd, -1);
	assert_null(probe.source.loop);
	/* On what never was, and twice. */
	source_deinit(&probe.source);
	struct source never = SOURCE_NULL;
	source_deinit(&never);
	source_close(&never);
	close(pair[0]);
	close(pair[1]);
	loop_deinit(&loop);
}

/* What epoll refuses is called once in every turn while it wants anything. */
static void test_always_ready(void **state)
{
	static const char *const names[] = { "regular file", "/dev/null" };
	(void)state;
	for (size_t i = 0; i < array_size(names); i++) {
		struct loop loop;
		struct probe file = { .source = SOURCE_NULL, .stop_after = 4 };
		struct probe pipe_end = PROBE_NULL;
		int pair[2];
		int fd = i == 0 ? memfd_create("file", MFD_CLOEXEC) : open(names[i], O_RDWR | O_CLOEXEC);
		assert_true(fd >= 0);
		make_pair(pair);
		assert_int_equal(loop_init(&loop), 0);
		assert_int_equal(source_init(&file.source, &loop, fd, EPOLLIN, probe_event), 0);
		assert_int_equal(
			source_init(&pipe_end.source, &loop, pair[0], EPOLLOUT, probe_event), 0);
		assert_true(file.source.always_ready);
		assert_int_equal(loop_run(&loop), 0);
		/* It does not starve the others. */
		assert_int_equal(file.calls, 4);
		assert_int_equal(pipe_end.calls, 4);
		assert_int_equal(file.got, EPOLLIN);

		source_deinit(&pipe_end.source);
		assert_int_equal(source_want(&file.source, 0), 0);
		assert_null(loop.always_ready);
		run_for(&loop, 10);
		assert_int_equal(file.calls, 4);

		assert_int_equal(source_want(&file.source, EPOLLOUT), 0);
		file.stop_after = 6;
		assert_int_equal(loop_run(&loop), 0);
		assert_int_equal(file.got, EPOLLOUT);
		source_close(&file.source);
		assert_null(loop.always_ready);
		loop_deinit(&loop);
		close(pair[0]);
		close(pair[1]);
	}
}

/* Always-ready sources that destroy one another or themselves while the loop walks their list. */
static void test_always_ready_deinit(void **state)
{
	(void)state;
	for (int round = 0; round < 4; round++) {
		struct loop loop;
		struct probe probe[3] = { PROBE_NULL, PROBE_NULL, PROBE_NULL };
		assert_int_equal(loop_init(&loop), 0);
		for (int i = 0; i < 3; i++) {
			int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
			probe[i].stop_after = 3;
			assert_int_equal(
				source_init(&probe[i].source, &loop, fd, EPOLLIN, probe_event), 0);
		}
		/* The last to join is called first. */
		int fds[3] = { probe[0].source.fd, probe[1].source.fd, probe[2].source.fd };
		int victim = round < 3 ? round : 0;
		probe[round < 3 ? 2 : 1].victim = &probe[victim];
		assert_int_equal(loop_run(&loop), 0);
		assert_int_equal(probe[victim].source.fd, -1);
		if (round == 2)
			assert_int_equal(probe[2].calls, 1);
		else
			assert_int_equal(probe[victim].calls, 0);
		for (int i = 0; i < 3; i++) {
			source_deinit(&probe[i].source);
			close(fds[i]);
		}
		assert_null(loop.always_ready);
		loop_deinit(&loop);
	}
}

static int timer_calls;
static int count_timer(struct timer *timer)
{
	timer_calls++;
	loop_stop(timer->source.loop);
	return 0;
}

static void test_timer(void **state)
{
	(void)state;
	struct loop loop;
	struct timer timer = TIMER_NULL;
	timer_calls = 0;
	timer_deinit(&timer);
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(timer_init(&timer, &loop, count_timer), 0);
	assert_int_equal(timer.source.fd, -1);
	assert_int_equal(timer_set(&timer, 0), 0);
	assert_int_equal(timer_set(&timer, 1), 0);
	assert_int_equal(loop_run(&loop), 0);
	run_for(&loop, 20);
	assert_int_equal(timer_calls, 1);
	/* Disarmed in time, and set anew. */
	assert_int_equal(timer_set(&timer, 5), 0);
	assert_int_equal(timer_set(&timer, 0), 0);
	run_for(&loop, 20);
	assert_int_equal(timer_calls, 1);
	assert_int_equal(timer_set(&timer, 5), 0);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(timer_calls, 2);
	timer_deinit(&timer);
	loop_deinit(&loop);
}

static int caught[2];
static int count_signal(struct signals *signals, int signal)
{
	caught[signal == SIGUSR2]++;
	if (caught[0] && caught[1])
		loop_stop(signals->source.loop);
	return 0;
}

static void test_signals(void **state)
{
	(void)state;
	struct loop loop;
	struct signals signals = SIGNALS_NULL;
	sigset_t set, old;
	signals_deinit(&signals);
	sigprocmask(SIG_SETMASK, NULL, &old);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(signals_init(&signals, &loop, &set, count_signal), 0);
	raise(SIGUSR2);
	raise(SIGUSR1);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(caught[0], 1);
	assert_int_equal(caught[1], 1);
	assert_int_equal(signals.sender, getpid());
	/* What a sender may write himself is not believed. */
	siginfo_t forged = { .si_signo = SIGUSR1, .si_code = SI_QUEUE };
	forged.si_pid = 0;
	assert_int_equal(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &forged), 0);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(signals.sender, SIGNALS_ANYBODY);
	signals_deinit(&signals);
	/* Still blocked. */
	raise(SIGUSR1);
	struct timespec none = { 0 };
	assert_int_equal(sigtimedwait(&set, NULL, &none), SIGUSR1);
	sigprocmask(SIG_SETMASK, &old, NULL);
	loop_deinit(&loop);
}

static void test_pidfd(void **state)
{
	(void)state;
	struct loop loop;
	struct probe probe = { .source = SOURCE_NULL, .stop_after = 1 };
	pid_t child = fork();
	if (child == 0)
		_exit(7);
	int fd = (int)syscall(SYS_pidfd_open, child, 0);
	if (fd < 0 && errno == ENOSYS) {
		waitpid(child, NULL, 0);
		skip(); /* valgrind */
	}
	assert_true(fd >= 0);
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(source_init(&probe.source, &loop, fd, EPOLLIN, probe_event), 0);
	assert_int_equal(loop_run(&loop), 0);
	int status;
	assert_int_equal(waitpid(child, &status, WNOHANG), child);
	assert_int_equal(WEXITSTATUS(status), 7);
	source_close(&probe.source);
	loop_deinit(&loop);
}

static void test_errors(void **state)
{
	(void)state;
	struct loop loop;
	struct source source;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(source_init(&source, &loop, 1000, EPOLLIN, must_not_be_called), -EBADF);
	assert_int_equal(source.fd, -1);
	assert_null(source.loop);
	/* A stop before the run is not forgotten, and is used up by it. */
	loop_stop(&loop);
	assert_int_equal(loop_run(&loop), 0);
	run_for(&loop, 1);
	loop_deinit(&loop);
	loop_deinit(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readiness),
		cmocka_unit_test(test_negative_ends_run),
		cmocka_unit_test(test_hangup),
		cmocka_unit_test(test_init_with_nothing_wanted),
		cmocka_unit_test(test_deinit_of_fetched),
		cmocka_unit_test(test_want_after_fetch),
		cmocka_unit_test(test_deinit_of_itself),
		cmocka_unit_test(test_always_ready),
		cmocka_unit_test(test_always_ready_deinit),
		cmocka_unit_test(test_timer),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_pidfd),
		cmocka_unit_test(test_errors),
	};
	alarm(20);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
