/* SPDX-License-Identifier: Apache-2.0 */

/*
 * libseccomp turns the profile into BPF, which is taken out through a memfd, so that the child only
 * has to make one system call.
 *
 * In front of it stands a stub. A profile lists the system calls that its author knew; for one that
 * is newer than all of them, ENOSYS is the only answer that lets a C library fall back to what the
 * profile does allow: with the profile's EPERM, programs on newer libraries fail. So a number above
 * the highest that the profile names, per architecture, is ENOSYS, as runc does it.
 *
 * libseccomp takes 15 ms for the usual profile and three architectures, several times as long as
 * all the rest of making a container, while the loop stands still. Most containers have the profile
 * of the one before, so the last program is kept, under all that went into it.
 */

#include "agent/seccomp.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define X32_BIT 0x40000000u
#define ARGS 6
#define ARCHES 8
#define STUB_MAX (1 + ARCHES * 5)
#define KEY_MAX (1u << 20)

const bool seccomp_built_in = true;

static const struct action {
	const char *name;
	uint32_t action;
	bool with_errno;
} actions[] = {
	{ "SCMP_ACT_KILL", SCMP_ACT_KILL },
	{ "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
	{ "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD },
	{ "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
	{ "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0), true },
	{ "SCMP_ACT_TRACE", SCMP_ACT_TRACE(0), true },
	{ "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW },
	{ "SCMP_ACT_LOG", SCMP_ACT_LOG },
};

static const struct json_name operators[] = {
	{ "SCMP_CMP_NE", SCMP_CMP_NE },
	{ "SCMP_CMP_LT", SCMP_CMP_LT },
	{ "SCMP_CMP_LE", SCMP_CMP_LE },
	{ "SCMP_CMP_EQ", SCMP_CMP_EQ },
	{ "SCMP_CMP_GE", SCMP_CMP_GE },
	{ "SCMP_CMP_GT", SCMP_CMP_GT },
	{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
	{ NULL },
};

/* SECCOMP_FILTER_FLAG_*. What only a listener could use is not among them. */
static const struct json_name flags[] = {
	{ "SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC },
	{ "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
	{ "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
	{ NULL },
};

/* Architectures of the machines we build for, and what the stub needs to know of them. */
static const struct arch {
	const char *name;
	uint32_t token, audit;
	bool x32_above;         /* numbers with X32_BIT are another architecture's */
} stub_arches[] = {
	{ "SCMP_ARCH_X86_64", SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64, true },
	{ "SCMP_ARCH_X86", SCMP_ARCH_X86, AUDIT_ARCH_I386 },
	{ "SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64 },
	{ "SCMP_ARCH_ARM", SCMP_ARCH_ARM, AUDIT_ARCH_ARM },
	{ "SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64, AUDIT_ARCH_RISCV64 },
	{ "SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE, AUDIT_ARCH_PPC64LE },
	{ "SCMP_ARCH_S390X", SCMP_ARCH_S390X, AUDIT_ARCH_S390X },
};

static int bad(struct fault *fault, const char *member, const char *value)
{
	return fault_set(fault, -ENOTSUP, HRESULT_INVALID_ARGUMENT,
	                 "linux.seccomp.%s: \"%s\" is not supported", member, value);
}

static void release(scmp_filter_ctx *context)
{
	if (*context)
		seccomp_release(*context);
}

static int find_action(const char *name, const struct opt_u64 *errno_ret, const char *member,
                       uint32_t *ret, struct fault *fault)
{
	for (size_t i = 0; i < array_size(actions); i++) {
		if (strcmp(actions[i].name, name) != 0)
			continue;
		uint64_t error = errno_ret->set ? errno_ret->value : EPERM;
		*ret = actions[i].action | (actions[i].with_errno ? (uint32_t)error : 0);
		return 0;
	}
	return bad(fault, member, name);
}

static int find_name(const struct json_name *names, const char *name, const char *member, int *ret,
                     struct fault *fault)
{
	for (; names->name; names++) {
		if (strcmp(names->name, name) == 0) {
			*ret = names->value;
			return 0;
		}
	}
	return bad(fault, member, name);
}

static int add_arch(scmp_filter_ctx context, const char *name, struct fault *fault)
{
	/* "SCMP_ARCH_X86_64" is "x86_64" to libseccomp. */
	static const char prefix[] = "SCMP_ARCH_";
	char lower[32] = "";
	const char *from =
		strncmp(name, prefix, strlen(prefix)) == 0 ? name + strlen(prefix) : name;
	for (size_t i = 0; from[i] && i < sizeof(lower) - 1; i++)
		lower[i] = (char)(from[i] >= 'A' && from[i] <= 'Z' ? from[i] + 'a' - 'A' : from[i]);
	uint32_t token = seccomp_arch_resolve_name(lower);
	if (!token)
		return bad(fault, "architectures", name);
	int r = seccomp_arch_add(context, token);
	return r < 0 && r != -EEXIST ? fault_errno(fault, r, "linux.seccomp: %s", name) : 0;
}

/* Conditions on the same argument are alternatives, on different ones they hold together, as in
 * runc. */
static bool argument_twice(const struct oci_syscall *rule)
{
	for (size_t i = 0; i < rule->args.count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (rule->args.item[i].index == rule->args.item[j].index)
				return true;
		}
	}
	return false;
}

static int convert_args(const struct oci_syscall *rule, struct scmp_arg_cmp args[static ARGS],
                        size_t from, size_t count, struct fault *fault)
{
	for (size_t i = 0; i < count; i++) {
		const struct oci_seccomp_arg *arg = &rule->args.item[from + i];
		int op;
		int r = find_name(operators, arg->op, "syscalls.args.op", &op, fault);
		if (r < 0)
			return r;
		args[i] = (struct scmp_arg_cmp){ arg->index, (enum scmp_compare)op, arg->value,
			                         arg->value_two };
	}
	return 0;
}

static int add_rule(scmp_filter_ctx context, const struct oci_syscall *rule, uint32_t action,
                    int number, const char *name, struct fault *fault)
{
	size_t step = argument_twice(rule) ? 1 : rule->args.count;
	size_t from = 0;
	do {
		struct scmp_arg_cmp args[ARGS] = { 0 };
		int r = convert_args(rule, args, from, step, fault);
		if (r < 0)
			return r;
		r = seccomp_rule_add_array(context, action, number, (unsigned)step, args);
		/* Kernel numbers without a meaning on this architecture are left out, as runc
		 * does. */
		if (r < 0 && r != -EEXIST && r != -EDOM)
			return fault_errno(fault, r, "linux.seccomp.syscalls: %s", name);
		from += step;
	} while (from < rule->args.count);
	return 0;
}

static int add_rules(scmp_filter_ctx context, const struct oci_seccomp *seccomp,
                     uint32_t default_action, struct fault *fault)
{
	for (size_t i = 0; i < seccomp->syscalls.count; i++) {
		const struct oci_syscall *rule = &seccomp->syscalls.item[i];
		uint32_t action;
		int r = find_action(rule->action, &rule->errno_ret, "syscalls.action", &action,
				    fault);
		if (r < 0)
			return r;
		if (action == default_action)
			continue;
		for (size_t j = 0; j < rule->names.count; j++) {
			int number = seccomp_syscall_resolve_name(rule->names.item[j]);
			if (number == __NR_SCMP_ERROR)
				continue; /* not of this libseccomp: nothing to filter */
			r = add_rule(context, rule, action, number, rule->names.item[j], fault);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* The highest number that the profile names on this architecture, -1 for none. */
static int highest(const struct oci_seccomp *seccomp, uint32_t token)
{
	int most = -1;
	for (size_t i = 0; i < seccomp->syscalls.count; i++) {
		const struct str_list *names = &seccomp->syscalls.item[i].names;
		for (size_t j = 0; j < names->count; j++) {
			int number = seccomp_syscall_resolve_name_arch(token, names->item[j]);
			if (number > most && number != __NR_SCMP_ERROR)
				most = number;
		}
	}
	return most;
}

static bool asks_for(const struct oci_seccomp *seccomp, const struct arch *arch)
{
	if (arch->token == seccomp_arch_native())
		return true;
	for (size_t i = 0; i < seccomp->architectures.count; i++) {
		if (strcmp(seccomp->architectures.item[i], arch->name) == 0)
			return true;
	}
	return false;
}

/*
 * Per architecture: is it this one? load the number; above the highest: ENOSYS. All other ways lead
 * to the filter behind, which loads what it needs anew.
 */
static size_t make_stub(const struct oci_seccomp *seccomp, struct sock_filter stub[static STUB_MAX])
{
	size_t n = 0;
	stub[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
	                                         offsetof(struct seccomp_data, arch));
	for (size_t i = 0; i < array_size(stub_arches); i++) {
		const struct arch *arch = &stub_arches[i];
		int most = asks_for(seccomp, arch) ? highest(seccomp, arch->token) : -1;
		if (most < 0)
			continue;
		uint32_t end = arch->x32_above ? X32_BIT : UINT32_MAX;
		stub[n++] =
			(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch->audit, 0, 4);
		stub[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		                                         offsetof(struct seccomp_data, nr));
		stub[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, end, 2, 0);
		stub[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)most,
							 0, 1);
		stub[n++] =
			(struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
	}
	return n;
}

static bool wants_stub(const struct oci_seccomp *seccomp, uint32_t default_action)
{
	return default_action != SCMP_ACT_ALLOW && default_action != SCMP_ACT_LOG &&
	       !(seccomp->default_errno_ret.set && seccomp->default_errno_ret.value == ENOSYS);
}

static int take_program(scmp_filter_ctx context, const struct oci_seccomp *seccomp, bool stubbed,
                        struct seccomp_program *ret)
{
	cleanup_close int fd = memfd_create("seccomp", MFD_CLOEXEC);
	struct stat st;
	if (fd < 0)
		return -errno;
	int r = seccomp_export_bpf(context, fd);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	struct sock_filter stub[STUB_MAX];
	size_t size = (size_t)st.st_size, before = stubbed ? make_stub(seccomp, stub) : 0;
	size_t count = before + size / sizeof(*stub);
	if (count > BPF_MAXINSNS)
		return -E2BIG;
	cleanup_free struct sock_filter *filter = calloc(count, sizeof(*filter));
	if (!filter)
		return -ENOMEM;
	memcpy(filter, stub, before * sizeof(*filter));
	if (pread(fd, filter + before, size, 0) != (ssize_t)size)
		return -EIO;
	ret->filter = take_pointer(filter);
	ret->count = count;
	return 0;
}

static int compile(const struct oci_seccomp *seccomp, struct seccomp_program *ret,
                   struct fault *fault)
{
	uint32_t default_action;
	/* The listener would have to be in this VM, and its caller is not. */
	if (seccomp->listener_path)
		return bad(fault, "listenerPath", seccomp->listener_path);
	int r = find_action(seccomp->default_action, &seccomp->default_errno_ret, "defaultAction",
	                    &default_action, fault);
	if (r < 0)
		return r;
	struct seccomp_program program = SECCOMP_PROGRAM_NULL;
	for (size_t i = 0; i < seccomp->flags.count; i++) {
		int flag;
		r = find_name(flags, seccomp->flags.item[i], "flags", &flag, fault);
		if (r < 0)
			return r;
		program.flags |= (unsigned)flag;
	}
	cleanup(release) scmp_filter_ctx context = seccomp_init(default_action);
	if (!context)
		return fault_errno(fault, -ENOMEM, "linux.seccomp");
	/* A tree by number instead of a list; older versions go without. */
	seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; i < seccomp->architectures.count; i++) {
		r = add_arch(context, seccomp->architectures.item[i], fault);
		if (r < 0)
			return r;
	}
	r = add_rules(context, seccomp, default_action, fault);
	if (r < 0)
		return r;
	r = take_program(context, seccomp, wants_stub(seccomp, default_action), &program);
	if (r < 0)
		return fault_errno(fault, r, "linux.seccomp: compile");
	*ret = program;
	return 0;
}

/* With their lengths, so that no two profiles look alike. */
static int key_text(struct buf *key, const char *text)
{
	return buf_printf(key, "%zu:%s,", strlen(text), text);
}

static int key_list(struct buf *key, const struct str_list *list)
{
	int r = buf_printf(key, "%zu[", list->count);
	for (size_t i = 0; i < list->count && r == 0; i++)
		r = key_text(key, list->item[i]);
	return r;
}

static int key_number(struct buf *key, const struct opt_u64 *number)
{
	return buf_printf(key, "%d %llx,", number->set, (unsigned long long)number->value);
}

static int key_arg(struct buf *key, const struct oci_seccomp_arg *arg)
{
	return buf_printf(key, "%u %llx %llx %s,", arg->index, (unsigned long long)arg->value,
	                  (unsigned long long)arg->value_two, arg->op);
}

/* Everything that compile() looks at. */
static int make_key(const struct oci_seccomp *seccomp, struct buf *key)
{
	int r = key_text(key, seccomp->default_action);
	if (r == 0)
		r = key_number(key, &seccomp->default_errno_ret);
	if (r == 0)
		r = key_list(key, &seccomp->architectures);
	if (r == 0)
		r = key_list(key, &seccomp->flags);
	for (size_t i = 0; i < seccomp->syscalls.count && r == 0; i++) {
		const struct oci_syscall *rule = &seccomp->syscalls.item[i];
		r = key_list(key, &rule->names);
		if (r == 0)
			r = key_text(key, rule->action);
		if (r == 0)
			r = key_number(key, &rule->errno_ret);
		for (size_t j = 0; j < rule->args.count && r == 0; j++)
			r = key_arg(key, &rule->args.item[j]);
	}
	return r;
}

static int copy_program(const struct seccomp_program *from, struct seccomp_program *ret)
{
	size_t size = from->count * sizeof(struct sock_filter);
	*ret = *from;
	ret->filter = malloc(size);
	if (!ret->filter)
		return -ENOMEM;
	memcpy(ret->filter, from->filter, size);
	return 0;
}

int seccomp_compile(const struct oci_seccomp *seccomp, struct seccomp_program *ret,
                    struct fault *fault)
{
	static struct buf last_key = BUF(KEY_MAX);
	static struct seccomp_program last;
	cleanup(buf_deinit) struct buf key = BUF(KEY_MAX);

	*ret = (struct seccomp_program)SECCOMP_PROGRAM_NULL;
	bool has_key = !seccomp->listener_path && make_key(seccomp, &key) == 0;
	if (!has_key || !last.filter || buf_length(&key) != buf_length(&last_key) ||
	    memcmp(buf_head(&key), buf_head(&last_key), buf_length(&key)) != 0) {
		struct seccomp_program program = SECCOMP_PROGRAM_NULL;
		int r = compile(seccomp, &program, fault);
		if (r < 0 || !has_key) {
			*ret = program;
			return r;
		}
		seccomp_deinit(&last);
		buf_deinit(&last_key);
		last = program;
		last_key = key;
		key = (struct buf)BUF(KEY_MAX);
	}
	int r = copy_program(&last, ret);
	return r < 0 ? fault_errno(fault, r, "linux.seccomp") : 0;
}

int seccomp_apply(const struct seccomp_program *program)
{
	struct sock_fprog fprog = {.len = (unsigned short)program->count,
				   .filter = program->filter};
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, program->flags, &fprog) != 0)
		return -errno;
	return 0;
}

void seccomp_deinit(struct seccomp_program *program)
{
	free_pointer(&program->filter);
	program->count = 0;
}
