/* SPDX-License-Identifier: Apache-2.0 */

/* The processes that serve a VM, with the shell in their part; and what is remembered of them. */

#include "oci/log.h"
#include "shim/daemon.h"
#include "shim/kernel_file.h"
#include "shim/kvm.h"
#include "shim/locate.h"

#include <elf.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

struct fixture {
	struct loop loop;
	struct timer limit;
	struct daemon daemon;
	unsigned ended;
	char directory[40];
};

static void on_ended(struct daemon *daemon)
{
	struct fixture *fixture = container_of(daemon, struct fixture, daemon);

	fixture->ended++;
	loop_stop(&fixture->loop);
}

static void on_said(struct daemon *daemon, const char *text, size_t size)
{
	struct fixture *fixture = container_of(daemon, struct fixture, daemon);

	if (memmem(text, size, "READY", 5))
		loop_stop(&fixture->loop);
}

static const struct daemon_ops ops = { .ended = on_ended, .said = on_said };

static int on_limit(struct timer *timer)
{
	(void)timer;
	return -ETIMEDOUT;
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	*fixture = (struct fixture){ LOOP_NULL, TIMER_NULL, DAEMON_NULL };
	snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/test-daemon-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	assert_int_equal(loop_init(&fixture->loop), 0);
	assert_int_equal(timer_init(&fixture->limit, &fixture->loop, on_limit), 0);
	assert_int_equal(timer_set(&fixture->limit, 20000), 0);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	daemon_deinit(&fixture->daemon);
	timer_deinit(&fixture->limit);
	loop_deinit(&fixture->loop);
	assert_int_equal(rmdir(fixture->directory), 0);
	free(fixture);
	return 0;
}

static void start(struct fixture *fixture, const struct daemon_plan *wanted, const char *script)
{
	const char *const args[] = { "/bin/sh", "-c", script, NULL };
	struct daemon_plan plan = *wanted;
	struct fault fault = FAULT_NULL;

	plan.name = "sh";
	plan.args = args;
	plan.fds = plan.fds ? plan.fds : (const int[]){ -1 };
	if (geteuid())
		skip();
	int r = daemon_start(&fixture->daemon, &plan, &fixture->loop, &ops, &fault);
	if (r < 0)
		print_message("%s\n", fault.text);
	assert_int_equal(r, 0);
}

static const char *finish(struct fixture *fixture)
{
	static char how[600];

	assert_int_equal(loop_run(&fixture->loop), 0);
	assert_int_equal(fixture->ended, 1);
	assert_true(daemon_has_ended(&fixture->daemon));
	daemon_collect(&fixture->daemon, how, sizeof(how));
	return how;
}

static const struct daemon_plan nobody = { .user = 65534 };

static void test_end(void **state)
{
	struct fixture *fixture = *state;

	start(fixture, &nobody, "echo one; echo 'it hurts\033[31m' >&2; exit 3");
	assert_string_equal(finish(fixture), "sh ended with status 3: it hurts[31m");
}

static void test_kill(void **state)
{
	struct fixture *fixture = *state;

	start(fixture, &nobody, "echo READY; sleep 100");
	assert_int_equal(loop_run(&fixture->loop), 0);
	assert_false(daemon_has_ended(&fixture->daemon));
	daemon_kill(&fixture->daemon);
	assert_string_equal(finish(fixture), "sh was killed by signal 9");
}

static void test_console(void **state)
{
	struct fixture *fixture = *state;
	struct daemon_plan plan = nobody;
	char line[80];

	plan.speaks = true;
	start(fixture, &plan, "echo 'a panic: on the console'; echo; echo why >&2; exit 1");
	assert_string_equal(finish(fixture), "sh ended with status 1: why");
	assert_string_equal(tail_line(&fixture->daemon.console, "panic", line, sizeof(line)),
	                    "panic: on the console");
	assert_string_equal(tail_line(&fixture->daemon.console, "no such", line, sizeof(line)), "");
}

static void test_rights(void **state)
{
	struct fixture *fixture = *state;

	start(fixture, &nobody,
	      "grep -qx 'CapEff:\t0000000000000000' /proc/self/status || echo capabilities\n"
	      "grep -qx 'CapBnd:\t0000000000000000' /proc/self/status || echo bounding\n"
	      "grep -qx 'NoNewPrivs:\t1' /proc/self/status || echo privileges\n"
	      "grep -qx 'Groups:\t *' /proc/self/status || echo groups\n"
	      "[ $(id -u):$(id -g) = 65534:65534 ] || echo user\n"
	      "[ $$ = 1 ] || echo pid\n"
	      "[ \"$(ls /dev)\" = \"$(printf 'null\\nurandom\\nzero')\" ] || echo dev\n"
	      "[ \"$(ls /sys/class/net 2>/dev/null; tail -n +3 /proc/net/dev | wc -l)\" ] || echo net\n"
	      "[ $(tail -n +3 /proc/net/dev | wc -l) = 1 ] || echo network\n"
	      "touch /tmp/x 2>/dev/null && echo writes\n"
	      "ls /proc/self/fd | wc -l | grep -qx 4 || ls -l /proc/self/fd\n"
	      "[ $(ulimit -c) = 0 ] || echo core\n"
	      "read x && echo reads\n"
	      "exit 1");
	assert_string_equal(finish(fixture), "sh ended with status 1");
}

/* Where nobody could go by a path, and with a file that nobody could open. */
static void test_directory_and_fds(void **state)
{
	struct fixture *fixture = *state;
	struct daemon_plan plan = nobody;
	char path[80], script[200];

	if (geteuid())
		skip();
	snprintf(path, sizeof(path), "%s/own", fixture->directory);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chown(path, 65534, 65534), 0);
	cleanup_close int file = memfd_create("test", MFD_CLOEXEC);
	cleanup_close int other = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(write(file, "inside", 6), 6);
	assert_int_equal(lseek(file, 0, SEEK_SET), 0);
	plan.directory = path;
	plan.fds = (const int[]){ file, -1 };
	snprintf(script, sizeof(script), "echo x > made && rm made && [ ! -e /proc/self/fd/%d ] && "
	         "cat <&%d >&2; exit 4", other, file);
	start(fixture, &plan, script);
	assert_string_equal(finish(fixture), "sh ended with status 4: inside");
	assert_int_equal(rmdir(path), 0);
}

static void test_capabilities(void **state)
{
	struct fixture *fixture = *state;
	struct daemon_plan plan = { .capabilities = 1 << 0 | 1 << 6 };

	start(fixture, &plan,
	      "grep -qx 'CapPrm:\t0000000000000041' /proc/self/status || echo permitted\n"
	      "grep -qx 'CapBnd:\t0000000000000041' /proc/self/status || echo bounding\n"
	      "[ $(id -u) = 0 ] || echo user\n"
	      "exit 1");
	assert_string_equal(finish(fixture), "sh ended with status 1");
}

static void test_no_program(void **state)
{
	struct fixture *fixture = *state;
	const char *const args[] = { "/nonexistent/x", NULL };
	const struct daemon_plan plan = {
		.name = "x", .args = args, .fds = (const int[]){ -1 }, .user = 65534,
	};

	if (geteuid())
		skip();
	assert_int_equal(daemon_start(&fixture->daemon, &plan, &fixture->loop, &ops, NULL), 0);
	assert_string_equal(finish(fixture), "x ended with status 127: /nonexistent/x: "
	                    "no such file or directory");
}

/* Changes of user and capabilities make the kernel forget the parent death signal. */
static void test_parent_dies(void **state)
{
	struct fixture *fixture = *state;
	static const struct daemon_plan plans[] = { { .user = 65534 }, { .capabilities = 1 } };

	if (geteuid())
		skip();
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	for (size_t i = 0; i < array_size(plans); i++) {
		int pipe_fd[2];
		siginfo_t info = { 0 };
		assert_int_equal(pipe2(pipe_fd, O_CLOEXEC), 0);
		pid_t parent = fork(), daemon = 0;
		if (!parent) {
			start(fixture, &plans[i], "echo READY; exec sleep 100");
			(void)loop_run(&fixture->loop);
			(void)!write(pipe_fd[1], &fixture->daemon.pid, sizeof(pid_t));
			raise(SIGKILL);
		}
		assert_int_equal(read(pipe_fd[0], &daemon, sizeof(daemon)), sizeof(daemon));
		assert_int_equal(waitpid(parent, NULL, 0), parent);
		/* It is ours now. */
		assert_int_equal(waitid(P_PID, (id_t)daemon, &info, WEXITED), 0);
		assert_int_equal(info.si_code, CLD_KILLED);
		assert_int_equal(info.si_status, SIGKILL);
		close(pipe_fd[0]);
		close(pipe_fd[1]);
	}
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

/* Small things */

static void test_tail(void **state)
{
	struct tail *tail = calloc(1, sizeof(*tail));
	struct buf out = BUF(1u << 16);
	char line[16];

	(void)state;
	assert_string_equal(tail_line(tail, NULL, line, sizeof(line)), "");
	assert_int_equal(tail_print(tail, 3, "> ", &out), 0);
	assert_int_equal(buf_length(&out), 0);
	for (int i = 0; i < 5000; i++) {
		int n = snprintf(line, sizeof(line), "line %d\r\n", i);
		tail_add(tail, line, (size_t)n);
	}
	tail_add(tail, " \r\n\n", 4);
	assert_int_equal(tail->length, TAIL_SIZE);
	assert_string_equal(tail_line(tail, NULL, line, sizeof(line)), "line 4999");
	assert_string_equal(tail_line(tail, "997", line, sizeof(line)), "997");
	assert_string_equal(tail_line(tail, NULL, line, 5), "line");
	assert_int_equal(tail_print(tail, 2, "> ", &out), 0);
	assert_int_equal(buf_append(&out, "", 1), 0);
	assert_string_equal(buf_head(&out), "> line 4998\n> line 4999\n");
	/* More at once than there is room for. */
	char *flood = malloc(3 * TAIL_SIZE);
	memset(flood, 'y', 3 * TAIL_SIZE);
	tail_add(tail, flood, 3 * TAIL_SIZE);
	assert_int_equal(tail->length, TAIL_SIZE);
	assert_string_equal(tail_line(tail, NULL, line, 4), "yyy");
	free(flood);
	free(tail);
	buf_deinit(&out);
}

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void test_kvm(void **state)
{
	struct fixture *fixture = *state;
	char path[80];

	snprintf(path, sizeof(path), "%s/kvm", fixture->directory);
	assert_int_equal(kvm_recall(fixture->directory), -ENOENT);
	kvm_remember(fixture->directory, true);
	assert_int_equal(kvm_recall(fixture->directory), 1);
	kvm_remember(fixture->directory, false);
	assert_int_equal(kvm_recall(fixture->directory), 0);
	/* Of another boot, or nothing of the kind. */
	write_text(path, "00000000-0000-0000-0000-000000000000 yes\n");
	assert_int_equal(kvm_recall(fixture->directory), -ENOENT);
	write_text(path, "");
	assert_int_equal(kvm_recall(fixture->directory), -ENOENT);
	assert_int_equal(unlink(path), 0);
}

static void test_locate(void **state)
{
	struct fixture *fixture = *state;
	static const char *const names[] = { "vmlinux", "vmlinuz", NULL };
	static const char *const none[] = { "/nonexistent/a", "/nonexistent/b", NULL };
	struct fault fault = FAULT_NULL;
	char path[80], found[PATH_MAX], text[200];

	snprintf(path, sizeof(path), "%s/vmlinuz", fixture->directory);
	assert_int_equal(setenv("HVRUN_GUEST", fixture->directory, 1), 0);
	assert_int_equal(locate_guest("the kernel", NULL, names, found, &fault), -ENOENT);
	snprintf(text, sizeof(text), "the kernel is missing: there is no vmlinux in %s; ",
	         fixture->directory);
	assert_memory_equal(fault.text, text, strlen(text));
	write_text(path, "x");
	assert_int_equal(locate_guest("the kernel", NULL, names, found, &fault), 0);
	assert_string_equal(found, path);
	assert_int_equal(locate_guest("the kernel", "/nonexistent/k", names, found, &fault),
	                 -ENOENT);
	assert_string_equal(fault.text, "the kernel \"/nonexistent/k\": no such file or directory");
	assert_int_equal(unlink(path), 0);

	assert_int_equal(locate_program(NULL, none, "sh", found, &fault), 0);
	assert_int_equal(access(found, X_OK), 0);
	assert_int_equal(locate_program(NULL, none, "no-such-program", found, &fault), -ENOENT);
	assert_string_equal(fault.text, "no-such-program is not installed "
	                    "(tried /nonexistent/a, /nonexistent/b, PATH)");
	assert_int_equal(locate_program("/bin/sh", none, "x", found, &fault), 0);
	assert_string_equal(found, "/bin/sh");
}

static void test_kernel_file(void **state)
{
	cleanup_close int fd = memfd_create("kernel", MFD_CLOEXEC);
	Elf64_Ehdr file = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64 },
		.e_phoff = 64, .e_phnum = 2, .e_phentsize = sizeof(Elf64_Phdr),
	};
	const Elf64_Phdr headers[] = {
		{ .p_type = PT_LOAD, .p_paddr = 16 << 20, .p_memsz = 1 << 20 },
		{ .p_type = PT_NOTE, .p_paddr = 99 << 20, .p_memsz = 1 << 20 },
	};
	uint8_t setup_header[0x300] = { 0 };

	(void)state;
	assert_int_equal(kernel_file_memory(fd), 0);
	assert_int_equal(pwrite(fd, setup_header, sizeof(setup_header), 0), sizeof(setup_header));
	assert_int_equal(kernel_file_memory(fd), 0);
	assert_int_equal(pwrite(fd, &file, sizeof(file), 0), sizeof(file));
	assert_int_equal(pwrite(fd, headers, sizeof(headers), 64), sizeof(headers));
	assert_int_equal(kernel_file_memory(fd), 17 << 20);
	file.e_phoff = UINT64_MAX - 8;
	assert_int_equal(pwrite(fd, &file, sizeof(file), 0), sizeof(file));
	assert_int_equal(kernel_file_memory(fd), 0);

	memcpy(setup_header + 0x202, "HdrS", 4);
	setup_header[0x25b] = 1;        /* 16 MiB */
	setup_header[0x262] = 0x20;     /* 2 MiB */
	assert_int_equal(pwrite(fd, setup_header, sizeof(setup_header), 0), sizeof(setup_header));
	assert_int_equal(kernel_file_memory(fd), 18 << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
		cmocka_unit_test_setup_teardown(test_console, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rights, setup, teardown),
		cmocka_unit_test_setup_teardown(test_directory_and_fds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_capabilities, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_program, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parent_dies, setup, teardown),
		cmocka_unit_test(test_tail),
		cmocka_unit_test_setup_teardown(test_kvm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_locate, setup, teardown),
		cmocka_unit_test(test_kernel_file),
	};
	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
