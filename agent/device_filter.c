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
 * Registers: r1 the context, r2 what is compared, r3 the accesses still wanted. Each comparison
 * loads its field afresh, so that the verifier forgets what the last one taught it: with the fields
 * kept in registers it follows every rule with every outcome of those before, in quadratic time.
 */

#include "agent/device_filter.h"

#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>

#define ALL_ACCESS (OCI_DEVICE_MKNOD | OCI_DEVICE_READ | OCI_DEVICE_WRITE)
_Static_assert((int)OCI_DEVICE_MKNOD == BPF_DEVCG_ACC_MKNOD &&
               (int)OCI_DEVICE_READ == BPF_DEVCG_ACC_READ &&
               (int)OCI_DEVICE_WRITE == BPF_DEVCG_ACC_WRITE, "accesses differ from the kernel's");

#define RULES_MAX 1024          /* more is a mistake, and costs the verifier long */
#define RULE_INSNS 10
#define FRAME_INSNS 6          /* before and behind the rules */

#define INSN(code_, dst, src, off_, imm_) \
	((struct bpf_insn) { \
		.code = (code_), .dst_reg = (dst), .src_reg = (src), .off = (off_), .imm = (imm_) \
	})
#define LOAD(size, dst, member) \
	INSN(BPF_LDX | BPF_MEM | (size), dst, BPF_REG_1, \
	     offsetof(struct bpf_cgroup_dev_ctx, member), 0)
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
	{ true, 'a', ANY, ANY, OCI_DEVICE_MKNOD },
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

static bool number_same(const struct opt_i64 *a, const struct opt_i64 *b)
{
	return number_any(a) ? number_any(b) : !number_any(b) && a->value == b->value;
}

/* How many rules differ in nothing but their minor number. */
static size_t group_count(const struct oci_device_rule *rules, size_t count)
{
	size_t n = 1;
	while (n < count && !number_any(&rules[0].minor) && !number_any(&rules[n].minor) &&
	       rules[n].allow == rules[0].allow && rules[n].type == rules[0].type &&
	       number_same(&rules[n].major, &rules[0].major) &&
	       rule_access(&rules[n]) == rule_access(&rules[0]))
		n++;
	return n;
}

/* What the rule says of a device that it matches; falls through when that decides nothing yet. */
static void emit_verdict(struct program *program, const struct oci_device_rule *rule)
{
	unsigned access = rule_access(rule);
	if (access != ALL_ACCESS && rule->allow) {
		emit(program, AND_VALUE(BPF_REG_3, (int32_t)(ALL_ACCESS & ~access)));
		emit(program, JUMP_DIFFERENT(BPF_REG_3, 0, 2));
	} else if (access != ALL_ACCESS) {
		emit(program, JUMP_ANY(BPF_REG_3, (int32_t)access, 1));
		emit(program, JUMP(2));
	}
	emit(program, MOVE_VALUE(BPF_REG_0, rule->allow));
	emit(program, EXIT());
}

/* At most RULE_INSNS instructions per rule. A device that differs goes on behind the group. */
static void emit_group(struct program *program, const struct oci_device_rule *rules, size_t count)
{
	size_t differs[3], n = 0;
	if (rules->type != 'a') {
		int type = rules->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;
		emit(program, LOAD(BPF_H, BPF_REG_2, access_type)); /* low half, little-endian */
		differs[n++] = program->count;
		emit(program, JUMP_DIFFERENT(BPF_REG_2, type, 0));
	}
	if (!number_any(&rules->major)) {
		emit(program, LOAD(BPF_W, BPF_REG_2, major));
		differs[n++] = program->count;
		emit(program, JUMP_DIFFERENT(BPF_REG_2, (int32_t)rules->major.value, 0));
	}
	if (!number_any(&rules->minor)) {
		emit(program, LOAD(BPF_W, BPF_REG_2, minor));
		for (size_t i = 0; i + 1 < count; i++)
			emit(program, JUMP_EQUAL(BPF_REG_2, (int32_t)rules[i].minor.value,
			                         (int16_t)(count - 1 - i)));
		differs[n++] = program->count;
		emit(program, JUMP_DIFFERENT(BPF_REG_2, (int32_t)rules[count - 1].minor.value, 0));
	}
	emit_verdict(program, rules);
	for (size_t i = 0; i < n; i++)
		program->insns[differs[i]].off = (int16_t)(program->count - differs[i] - 1);
}

static void emit_start(struct program *program)
{
	emit(program, LOAD(BPF_W, BPF_REG_3, access_type));
	emit(program, SHIFT_RIGHT(BPF_REG_3, 16));
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

static int rules_check(const struct oci_device_rule *rules, size_t count, size_t device_count,
                       struct fault *fault)
{
	if (count > RULES_MAX || device_count > RULES_MAX - count)
		return fault_set(fault, -E2BIG, HRESULT_INVALID_ARGUMENT,
		                 "linux.resources.devices: more than %d rules and devices",
		                 RULES_MAX);
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

/* In the order in which they are tried: the last first, linux.devices at the end. */
static size_t rules_collect(const struct oci_device_rule *rules, size_t rule_count,
                            const struct oci_device *devices, size_t device_count,
                            struct oci_device_rule *ret)
{
	size_t count = 0;
	for (size_t i = array_size(default_rules); i > 0; i--)
		ret[count++] = default_rules[i - 1];
	for (size_t i = rule_count; i > 0; i--)
		ret[count++] = rules[i - 1];
	for (size_t i = 0; i < device_count; i++)
		if (devices[i].type == 'c' || devices[i].type == 'b')
			ret[count++] = (struct oci_device_rule) {
				true, devices[i].type, NUMBER(devices[i].major),
				NUMBER(devices[i].minor), ALL_ACCESS,
			};
	return count;
}

static int program_build(const struct oci_device_rule *rules, size_t rule_count,
                         const struct oci_device *devices, size_t device_count,
                         struct program *program)
{
	size_t most = array_size(default_rules) + rule_count + device_count;
	cleanup_free struct oci_device_rule *tried = calloc(most, sizeof(*tried));
	program->insns = calloc(most * RULE_INSNS + FRAME_INSNS, sizeof(*program->insns));
	if (!program->insns || !tried)
		return -ENOMEM;
	size_t count = rules_collect(rules, rule_count, devices, device_count, tried);
	emit_start(program);
	for (size_t i = 0; i < count; ) {
		size_t group = group_count(&tried[i], count - i);
		emit_group(program, &tried[i], group);
		if (rule_of_everything(&tried[i]))
			return 0; /* it returns in any case; the verifier takes no dead code */
		i += group;
	}
	emit_end(program);
	return 0;
}

int device_filter_set(int cgroup_fd, const struct oci_device_rule *rules, size_t rule_count,
                      const struct oci_device *devices, size_t device_count, int *filter_fd,
                      struct fault *fault)
{
	int r = rules_check(rules, rule_count, device_count, fault);
	if (r < 0)
		return r;
	size_t first = rules_first(rules, rule_count);
	if (rule_count > 0) {
		rules += first;
		rule_count -= first;
		if (rule_of_everything(&rules[0]))
			device_count = 0;
	}

	cleanup_close int new_fd = -1;
	if (rules_forbid(rules, rule_count)) {
		struct program program = { .count = 0 };
		r = program_build(rules, rule_count, devices, device_count, &program);
		if (r < 0)
			fault_errno(fault, r, "the device filter");
		else
			r = new_fd = program_load(&program, fault);
		free(program.insns);
		if (r < 0)
			return r;
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
