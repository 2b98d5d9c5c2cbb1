/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Profiles compiled, and the programs run by a small interpreter against calls of any architecture.
 * That they can be loaded is tested where processes are spawned.
 */

#include "agent/seccomp.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cmocka.h>

#define ALLOW SECCOMP_RET_ALLOW
#define KILL SECCOMP_RET_KILL_THREAD
#define ERROR(number) (SECCOMP_RET_ERRNO | (number))
#define NEWEST 100000

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#endif

/* The part of classic BPF that filters of system calls are made of. */
static uint32_t run(const struct seccomp_program *program, const struct seccomp_data *data)
{
	const struct sock_filter *filter = program->filter;
	uint32_t a = 0, word;
	for (size_t pc = 0; pc < program->count; pc++) {
		const struct sock_filter *at = &filter[pc];
		bool jump = false;
		switch (at->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(at->k + sizeof(word) <= sizeof(*data));
			memcpy(&word, (const char *)data + at->k, sizeof(word));
			a = word;
			continue;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= at->k;
			continue;
		case BPF_RET | BPF_K:
			return at->k;
		case BPF_JMP | BPF_JA:
			pc += at->k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			jump = a == at->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			jump = a >= at->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			jump = a > at->k;
			break;
		default:
			fail_msg("instruction %zu: %#x", pc, at->code);
		}
		pc += jump ? at->jt : at->jf;
	}
	fail_msg("no return");
	return 0;
}

static int compile(const char *text, struct seccomp_program *program, struct fault *fault)
{
	struct arena arena = ARENA(JSON_ARENA);
	/* The type of seccomp has no name of its own, so it is taken out of a spec. */
	struct oci_spec spec = { 0 };
	char *whole;
	int length = asprintf(&whole,
	                      "{\"ociVersion\":\"1.2.0\",\"root\":{\"path\":\"x\"},"
	                      "\"process\":{\"cwd\":\"/\",\"args\":[\"x\"]},"
	                      "\"linux\":{\"seccomp\":%s}}", text);
	assert_true(length > 0);
	int r = oci_spec_decode(&arena, whole, (size_t)length, &spec, fault);
	if (r == 0)
		r = seccomp_compile(spec.linux_.seccomp, program, fault);
	free(whole);
	arena_free(&arena);
	return r;
}

#define RULE(names, action, more) "{\"names\":[" names "],\"action\":\"" action "\"" more "}"
#define ARG(index, value, two, op) \
	"{\"index\":" #index ",\"value\":" #value ",\"valueTwo\":" #two \
	",\"op\":\"SCMP_CMP_" op "\"}"

#define ALLOW_IF(name, args) RULE("\"" name "\"", "SCMP_ACT_ALLOW", ",\"args\":[" args "]")

static const char allow_list[] =
	"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":1,"
	"\"architectures\":[\"SCMP_ARCH_X86_64\",\"SCMP_ARCH_X86\",\"SCMP_ARCH_X32\"],"
	"\"syscalls\":["
	RULE("\"read\",\"write\",\"openat2\",\"no_such_call\"", "SCMP_ACT_ALLOW", "") ","
	RULE("\"ptrace\"", "SCMP_ACT_KILL_PROCESS", "") ","
	RULE("\"clone3\"", "SCMP_ACT_ERRNO", ",\"errnoRet\":38") ","
	RULE("\"mkdir\",\"mkdirat\"", "SCMP_ACT_ERRNO", "") ","
	ALLOW_IF("personality", ARG(0, 8, 0, "EQ")) ","
	ALLOW_IF("socket", ARG(0, 40, 0, "NE") "," ARG(1, 1, 0, "EQ")) ","
	ALLOW_IF("ioctl", ARG(1, 1, 0, "EQ") "," ARG(1, 2, 0, "EQ")) ","
	ALLOW_IF("clone", ARG(0, 2114060288, 0, "MASKED_EQ")) "]}";

static const char allow_all[] =
	"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":["
	RULE("\"mkdirat\"", "SCMP_ACT_TRAP", "") ","
	RULE("\"read\"", "SCMP_ACT_TRACE", ",\"errnoRet\":9") ","
	RULE("\"write\"", "SCMP_ACT_LOG", "") "]}";

static const char enosys[] = "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":38}";
static const char kill_rest[] = "{\"defaultAction\":\"SCMP_ACT_KILL_PROCESS\",\"syscalls\":["
	RULE("\"read\"", "SCMP_ACT_ALLOW", "") "]}";

static const struct filtered {
	const char *profile;
	struct seccomp_data data;
	uint32_t action;
} filtered[] = {
	{ allow_list, { SYS_read, NATIVE }, ALLOW },
	{ allow_list, { SYS_openat2, NATIVE }, ALLOW },
	{ allow_list, { SYS_mkdirat, NATIVE }, ERROR(EPERM) },
	{ allow_list, { SYS_mount, NATIVE }, ERROR(EPERM) },
	{ allow_list, { SYS_ptrace, NATIVE }, SECCOMP_RET_KILL_PROCESS },
	{ allow_list, { SYS_clone3, NATIVE }, ERROR(ENOSYS) },
	/* newer than all that the profile names */
	{ allow_list, { SYS_openat2 + 1, NATIVE }, ERROR(ENOSYS) },
	{ allow_list, { NEWEST, NATIVE }, ERROR(ENOSYS) },
	{ allow_list, { -1, NATIVE }, ERROR(EPERM) },
	{ allow_list, { SYS_personality, NATIVE, 0, { 8 } }, ALLOW },
	{ allow_list, { SYS_personality, NATIVE, 0, { 9 } }, ERROR(EPERM) },
	{ allow_list, { SYS_personality, NATIVE, 0, { 8 | 1ULL << 32 } }, ERROR(EPERM) },
	/* both conditions, */
	{ allow_list, { SYS_socket, NATIVE, 0, { 1, 1 } }, ALLOW },
	{ allow_list, { SYS_socket, NATIVE, 0, { 40, 1 } }, ERROR(EPERM) },
	{ allow_list, { SYS_socket, NATIVE, 0, { 1, 2 } }, ERROR(EPERM) },
	/* either of two on one argument */
	{ allow_list, { SYS_ioctl, NATIVE, 0, { 0, 1 } }, ALLOW },
	{ allow_list, { SYS_ioctl, NATIVE, 0, { 0, 2 } }, ALLOW },
	{ allow_list, { SYS_ioctl, NATIVE, 0, { 0, 3 } }, ERROR(EPERM) },
	{ allow_list, { SYS_clone, NATIVE, 0, { 17 } }, ALLOW },
	{ allow_list, { SYS_clone, NATIVE, 0, { 0x10000000 } }, ERROR(EPERM) },
	{ allow_list, { SYS_read, AUDIT_ARCH_S390X }, KILL },
#if defined(__x86_64__)
	{ allow_list, { 3, AUDIT_ARCH_I386 }, ALLOW },
	{ allow_list, { 21, AUDIT_ARCH_I386 }, ERROR(EPERM) },
	{ allow_list, { NEWEST, AUDIT_ARCH_I386 }, ERROR(ENOSYS) },
	{ allow_list, { 0x40000000, AUDIT_ARCH_X86_64 }, ALLOW },
	{ allow_list, { 0x40000000 + SYS_mount, AUDIT_ARCH_X86_64 }, ERROR(EPERM) },
#endif

	{ allow_all, { SYS_mkdirat, NATIVE }, SECCOMP_RET_TRAP },
	{ allow_all, { SYS_read, NATIVE }, SECCOMP_RET_TRACE | 9 },
	{ allow_all, { SYS_write, NATIVE }, SECCOMP_RET_LOG },
	{ allow_all, { SYS_mount, NATIVE }, ALLOW },
	{ allow_all, { NEWEST, NATIVE }, ALLOW },

	{ enosys, { SYS_read, NATIVE }, ERROR(ENOSYS) },
	{ kill_rest, { SYS_read, NATIVE }, ALLOW },
	{ kill_rest, { NEWEST, NATIVE }, ERROR(ENOSYS) },
};

static void test_filtered(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(filtered); i++) {
		struct seccomp_program program;
		struct fault fault = FAULT_NULL;
		if (compile(filtered[i].profile, &program, &fault) < 0)
			fail_msg("%s", fault.text);
		uint32_t action = run(&program, &filtered[i].data);
		if (action != filtered[i].action)
			fail_msg("case %zu, call %d: %#x", i, filtered[i].data.nr, action);
		seccomp_deinit(&program);
	}
}

/* The program of the profile before is kept; it must be none but that. */
static void test_kept(void **state)
{
	static const char *const like[] = {
		"{\"defaultAction\":\"SCMP_ACT_ERRNO\"}",
		"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":0}",
		"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":["
		RULE("\"read\"", "SCMP_ACT_ALLOW", "") "]}",
		"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":["
		RULE("\"read\",\"write\"", "SCMP_ACT_ALLOW", "") "]}",
		"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":["
		RULE("\"read,5:write\"", "SCMP_ACT_ALLOW", "") "]}",
		"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":["
		RULE("\"read\"", "SCMP_ACT_ALLOW", ",\"args\":[" ARG(0, 1, 0, "EQ") "]") "]}",
		"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":["
		RULE("\"read\"", "SCMP_ACT_ALLOW", ",\"args\":[" ARG(0, 2, 0, "EQ") "]") "]}",
	};
	struct seccomp_program programs[array_size(like)], again;
	struct fault fault;
	(void)state;
	for (size_t i = 0; i < array_size(like); i++) {
		assert_int_equal(compile(like[i], &programs[i], &fault), 0);
		assert_int_equal(compile(like[i], &again, &fault), 0);
		assert_ptr_not_equal(again.filter, programs[i].filter);
		assert_int_equal(again.count, programs[i].count);
		assert_memory_equal(again.filter, programs[i].filter,
		                    again.count * sizeof(struct sock_filter));
		seccomp_deinit(&again);
	}
	for (size_t i = 1; i < array_size(like); i++) {
		size_t size = programs[i].count * sizeof(struct sock_filter);
		if (programs[i].count == programs[i - 1].count)
			assert_memory_not_equal(programs[i].filter, programs[i - 1].filter, size);
	}
	for (size_t i = 0; i < array_size(like); i++)
		seccomp_deinit(&programs[i]);
}

static void test_flags(void **state)
{
	struct seccomp_program program;
	struct fault fault = FAULT_NULL;
	(void)state;
	assert_int_equal(compile("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":["
	                         "\"SECCOMP_FILTER_FLAG_LOG\",\"SECCOMP_FILTER_FLAG_SPEC_ALLOW\"]}",
	                         &program, &fault), 0);
	assert_int_equal(program.flags, SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW);
	seccomp_deinit(&program);
	seccomp_deinit(&program);
}

static void test_refused(void **state)
{
	static const struct {
		const char *profile, *text;
	} refused[] = {
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/run/x\",\"syscalls\":["
		  RULE("\"read\"", "SCMP_ACT_NOTIFY", "") "]}",
		  "linux.seccomp.listenerPath: \"/run/x\" is not supported" },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\","
		  "\"architectures\":[\"SCMP_ARCH_LOONGARCH64\"]}",
		  "linux.seccomp.architectures: \"SCMP_ARCH_LOONGARCH64\" is not supported" },
	};
	(void)state;
	for (size_t i = 0; i < array_size(refused); i++) {
		struct seccomp_program program = SECCOMP_PROGRAM_NULL;
		struct fault fault = FAULT_NULL;
		assert_true(compile(refused[i].profile, &program, &fault) < 0);
		assert_string_equal(fault.text, refused[i].text);
		assert_null(program.filter);
	}
}

static void test_applied(void **state)
{
	struct seccomp_program program;
	struct fault fault = FAULT_NULL;
	int status;
	(void)state;
	assert_int_equal(compile("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":["
	                         RULE("\"getppid\"", "SCMP_ACT_ERRNO", ",\"errnoRet\":77") "]}",
	                         &program, &fault), 0);
	pid_t pid = fork();
	if (pid == 0) {
		errno = 0;
		int r = seccomp_apply(&program);
		if (r < 0)
			_exit(r != -EACCES); /* not root: no CAP_SYS_ADMIN */
		_exit(syscall(SYS_getppid) >= 0 || errno != 77);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	seccomp_deinit(&program);
}

/* The other build. */
static void test_not_built_in(void **state)
{
	struct seccomp_program program;
	struct fault fault = FAULT_NULL;
	(void)state;
	assert_int_equal(compile(allow_all, &program, &fault), -ENOTSUP);
	assert_string_equal(fault.text, "linux.seccomp: this agent was built without seccomp");
	assert_int_equal(seccomp_apply(&program), -ENOTSUP);
	seccomp_deinit(&program);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filtered),
		cmocka_unit_test(test_kept),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_applied),
	};
	static const struct CMUnitTest without[] = {
		cmocka_unit_test(test_not_built_in),
	};
	if (!seccomp_built_in)
		return cmocka_run_group_tests(without, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
