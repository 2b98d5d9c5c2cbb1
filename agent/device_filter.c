/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The device rules of a container as an eBPF program, assembled here: bpf(2) needs no library for
 * a program without maps, loops or relocations.
 *
 * The kernel runs it at every open and mknod of a device node with the type, the numbers and the
 * set of accesses wanted. The rules are tried from the last to the first. A rule that matches the
 * device and allows takes its accesses off the wanted set; the device is granted when the set is
 * empty. One that denies any access still wanted refuses. So the last rule that says something
 * about an access decides about it, as if each rule had been written in turn to devices.allow and
 * devices.deny of cgroup v1, and "r" and "w" allowed by two rules allow "rw".
 *
 * Registers: r2 type, r3 accesses still wanted, r4 major, r5 minor.
 */

#include "agent/device_filter.h"

#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define ALL_ACCESS (OCI_DEVICE_MKNOD | OCI_DEVICE_READ | OCI_DEVICE_WRITE)
_Static_assert((int)OCI_DEVICE_MKNOD == BPF_DEVCG_ACC_MKNOD &&
               (int)OCI_DEVICE_READ == BPF_DEVCG_ACC_READ &&
               (int)OCI_DEVICE_WRITE == BPF_DEVCG_ACC_WRITE, "accesses differ from the kernel's");

#define RULES_MAX 4096          /* far below the kernel's limit on instructions */
#define RULE_INSNS 7
#define FRAME_INSNS 10          /* before and behind the rules */

#define INSN(code_, dst, src, off_, imm_) \
	((struct bpf_insn) { \
		.code = (code_), .dst_reg = (dst), .src_reg = (src), .off = (off_), .imm = (imm_) \
	})
#define LOAD(dst, member) \
	INSN(BPF_LDX | BPF_MEM | BPF_W, dst, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, member), 0)
#define MOVE(dst, src) INSN(BPF_ALU | BPF_MOV | BPF_X, dst, src, 0, 0)
#define MOVE_VALUE(dst, value) INSN(BPF_ALU | BPF_MOV | BPF_K, dst, 0, 0, value)
#define AND_VALUE(dst, value) INSN(BPF_ALU | BPF_AND | BPF_K, dst, 0, 0, value)
#define SHIFT_RIGHT(dst, value) INSN(BPF_ALU | BPF_RSH | BPF_K, dst, 0, 0, value)
#define JUMP_EQUAL(dst, value, off) INSN(BPF_JMP32 | BPF_JEQ | BPF_K, dst, 0, off, value)
#define JUMP_DIFFERENT(dst, value, off) INSN(BPF_JMP32 | BPF_JNE | BPF_K, dst, 0, off, value)
#define JUMP_ANY(dst, value, off) INSN(BPF_JMP32 | BPF_JSET | BPF_K, dst, 0, off, value)
#define JUMP(off) INSN(BPF_JMP | BPF_JA, 0, 0, off, 0)
#define EXIT() INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

struct program {
	struct bpf_insn *insns;
	size_t count;
};

static const struct oci_device_rule default_rules[] = {
#define ANY { .set = false }
#define NUMBER(number) { .set = true, .value = (number) }
	{ true, 'c', ANY, ANY, OCI_DEVICE_MKNOD },
	{ true, 'b', ANY, ANY, OCI_DEVICE_MKNOD },
	{ true, 'c', NUMBER(1), NUMBER(3), ALL_ACCESS },        /* null */
	{ true, 'c', NUMBER(1), NUMBER(5), ALL_ACCESS },        /* zero */
	{ true, 'c', NUMBER(1), NUMBER(7), ALL_ACCESS },        /* full */
	{ true, 'c', NUMBER(1), NUMBER(8), ALL_ACCESS },        /* random */
	{ true, 'c', NUMBER(1), NUMBER(9), ALL_ACCESS },        /* urandom */
	{ true, 'c', NUMBER(5), NUMBER(0), ALL_ACCESS },        /* tty */
	{ true, 'c', NUMBER(5), NUMBER(2), ALL_ACCESS },        /* ptmx */
	{ true, 'c', NUMBER(136), ANY, ALL_ACCESS },            /* pts, and so the console */
};

static bool number_any(const struct opt_i64 *number)
{
	return !number->set || number->value == -1;
}

/* A rule without an access is about all of them. */
static unsigned rule_access(const struct oci_device_rule *rule)
{
	return rule->access ? rule->access : ALL_ACCESS;
}

static bool rule_of_everything(const struct oci_device_rule *rule)
{
	return rule->type == 'a' && number_any(&rule->major) && number_any(&rule->minor) &&
	       rule_access(rule) == ALL_ACCESS;
}

static void emit(struct program *program, struct bpf_insn insn)
{
	program->insns[program->count++] = insn;
}

/* At most RULE_INSNS instructions. A device that differs goes on behind the rule. */
static void emit_rule(struct program *program, const struct oci_device_rule *rule)
{
	size_t start = program->count;
	if (rule->type != 'a')
		emit(program, JUMP_DIFFERENT(BPF_REG_2, rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK
		                                                          : BPF_DEVCG_DEV_CHAR, 0));
	if (!number_any(&rule->major))
		emit(program, JUMP_DIFFERENT(BPF_REG_4, (int32_t)rule->major.value, 0));
	if (!number_any(&rule->minor))
		emit(program, JUMP_DIFFERENT(BPF_REG_5, (int32_t)rule->minor.value, 0));
	size_t matched = program->count;
	if (rule->allow) {
		emit(program, AND_VALUE(BPF_REG_3, (int32_t)(ALL_ACCESS & ~rule_access(rule))));
		emit(program, JUMP_DIFFERENT(BPF_REG_3, 0, 2));
		emit(program, MOVE_VALUE(BPF_REG_0, 1));
		emit(program, EXIT());
	} else {
		emit(program, JUMP_ANY(BPF_REG_3, (int32_t)rule_access(rule), 1));
		emit(program, JUMP(2));
		emit(program, MOVE_VALUE(BPF_REG_0, 0));
		emit(program, EXIT());
	}
	for (size_t i = start; i < matched; i++)
		program->insns[i].off = (int16_t)(program->count - i - 1);
}

static void emit_start(struct program *program)
{
	emit(program, LOAD(BPF_REG_2, access_type));
	emit(program, MOVE(BPF_REG_3, BPF_REG_2));
	emit(program, AND_VALUE(BPF_REG_2, 0xffff));
	emit(program, SHIFT_RIGHT(BPF_REG_3, 16));
	emit(program, LOAD(BPF_REG_4, major));
	emit(program, LOAD(BPF_REG_5, minor));
}

/* Refused, unless nothing was wanted that needs a rule. */
static void emit_end(struct program *program)
{
	emit(program, MOVE_VALUE(BPF_REG_0, 0));
	emit(program, JUMP_DIFFERENT(BPF_REG_3, 0, 1));
	emit(program, MOVE_VALUE(BPF_REG_0, 1));
	emit(program, EXIT());
}

static int program_load(const struct program *program, struct fault *fault)
{
	union bpf_attr attr;
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uintptr_t)program->insns;
	attr.insn_cnt = program->count;
	attr.license = (uintptr_t)"Apache-2.0";
	int fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	return fd < 0 ? fault_errno(fault, -errno, "loading the device filter") : fd;
}

/* Other programs at this cgroup and above stay: what one of them forbids is forbidden. */
static int program_attach(int cgroup_fd, int new_fd, int old_fd, struct fault *fault)
{
	union bpf_attr attr;
	memset(&attr, 0, sizeof(attr));
	attr.target_fd = cgroup_fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	int command = BPF_PROG_DETACH;
	if (new_fd >= 0) {
		command = BPF_PROG_ATTACH;
		attr.attach_bpf_fd = new_fd;
		attr.attach_flags = BPF_F_ALLOW_MULTI;
		if (old_fd >= 0) {
			attr.attach_flags |= BPF_F_REPLACE;
			attr.replace_bpf_fd = old_fd;
		}
	} else {
		attr.attach_bpf_fd = old_fd;
	}
	if (syscall(SYS_bpf, command, &attr, sizeof(attr)) < 0)
		return fault_errno(fault, -errno, "attaching the device filter");
	return 0;
}

static int rules_check(const struct oci_device_rule *rules, size_t count, struct fault *fault)
{
	if (count > RULES_MAX)
		return fault_set(fault, -E2BIG, HRESULT_INVALID_ARGUMENT,
		                 "linux.resources.devices: more than %d rules", RULES_MAX);
	for (size_t i = 0; i < count; i++) {
		const struct opt_i64 *major = &rules[i].major, *minor = &rules[i].minor;
		if ((!number_any(major) && (major->value < 0 || major->value > UINT32_MAX)) ||
		    (!number_any(minor) && (minor->value < 0 || minor->value > UINT32_MAX)))
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "linux.resources.devices[%zu]: no such device number", i);
	}
	return 0;
}

/* What stands before a rule about everything has nothing left to say. */
static size_t rules_first(const struct oci_device_rule *rules, size_t count)
{
	for (size_t i = count; i > 0; i--)
		if (rule_of_everything(&rules[i - 1]))
			return i - 1;
	return 0;
}

static bool rules_forbid(const struct oci_device_rule *rules, size_t count)
{
	if (count == 0 || !rule_of_everything(&rules[0]))
		return true;
	for (size_t i = 0; i < count; i++)
		if (!rules[i].allow)
			return true;
	return false;
}

static int program_build(const struct oci_device_rule *rules, size_t rule_count,
                         const struct oci_device *devices, size_t device_count,
                         struct program *program)
{
	size_t most = array_size(default_rules) + rule_count + device_count;
	program->insns = calloc(most * RULE_INSNS + FRAME_INSNS, sizeof(*program->insns));
	if (!program->insns)
		return -ENOMEM;
	emit_start(program);
	for (size_t i = array_size(default_rules); i > 0; i--)
		emit_rule(program, &default_rules[i - 1]);
	for (size_t i = rule_count; i > 0; i--)
		emit_rule(program, &rules[i - 1]);
	for (size_t i = 0; i < device_count; i++) {
		const struct oci_device_rule rule = {
			true, devices[i].type, NUMBER(devices[i].major), NUMBER(devices[i].minor), ALL_ACCESS,
		};
		if (rule.type == 'c' || rule.type == 'b')
			emit_rule(program, &rule);
	}
	emit_end(program);
	return 0;
}

int device_filter_set(int cgroup_fd, const struct oci_device_rule *rules, size_t rule_count,
                      const struct oci_device *devices, size_t device_count, int *filter_fd,
                      struct fault *fault)
{
	int r = rules_check(rules, rule_count, fault);
	if (r < 0)
		return r;
	if (device_count > RULES_MAX)
		return fault_set(fault, -E2BIG, HRESULT_INVALID_ARGUMENT,
		                 "linux.devices: more than %d devices", RULES_MAX);
	size_t first = rules_first(rules, rule_count);
	rules += first;
	rule_count -= first;
	if (rule_count > 0 && rule_of_everything(&rules[0]))
		device_count = 0;

	cleanup_close int new_fd = -1;
	if (rules_forbid(rules, rule_count)) {
		struct program program = { .count = 0 };
		r = program_build(rules, rule_count, devices, device_count, &program);
		if (r < 0)
			return fault_errno(fault, r, "the device filter");
		new_fd = program_load(&program, fault);
		free(program.insns);
		if (new_fd < 0)
			return new_fd;
	}
	if (new_fd >= 0 || *filter_fd >= 0) {
		r = program_attach(cgroup_fd, new_fd, *filter_fd, fault);
		if (r < 0)
			return r;
	}
	close_fd(filter_fd);
	*filter_fd = take_fd(&new_fd);
	return 0;
}
