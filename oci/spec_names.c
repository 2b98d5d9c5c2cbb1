/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Names of the kernel's numbers, as the runtime specification spells them. The tables are our own
 * rather than a library's, so that what is admitted does not depend on what a build happened to be
 * linked with; numbers that older headers lack are written out.
 */

#include "oci/spec.h"

#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>

#define NAME(name) { #name, name }

const struct json_name oci_capability_names[] = {
	NAME(CAP_CHOWN),
	NAME(CAP_DAC_OVERRIDE),
	NAME(CAP_DAC_READ_SEARCH),
	NAME(CAP_FOWNER),
	NAME(CAP_FSETID),
	NAME(CAP_KILL),
	NAME(CAP_SETGID),
	NAME(CAP_SETUID),
	NAME(CAP_SETPCAP),
	NAME(CAP_LINUX_IMMUTABLE),
	NAME(CAP_NET_BIND_SERVICE),
	NAME(CAP_NET_BROADCAST),
	NAME(CAP_NET_ADMIN),
	NAME(CAP_NET_RAW),
	NAME(CAP_IPC_LOCK),
	NAME(CAP_IPC_OWNER),
	NAME(CAP_SYS_MODULE),
	NAME(CAP_SYS_RAWIO),
	NAME(CAP_SYS_CHROOT),
	NAME(CAP_SYS_PTRACE),
	NAME(CAP_SYS_PACCT),
	NAME(CAP_SYS_ADMIN),
	NAME(CAP_SYS_BOOT),
	NAME(CAP_SYS_NICE),
	NAME(CAP_SYS_RESOURCE),
	NAME(CAP_SYS_TIME),
	NAME(CAP_SYS_TTY_CONFIG),
	NAME(CAP_MKNOD),
	NAME(CAP_LEASE),
	NAME(CAP_AUDIT_WRITE),
	NAME(CAP_AUDIT_CONTROL),
	NAME(CAP_SETFCAP),
	NAME(CAP_MAC_OVERRIDE),
	NAME(CAP_MAC_ADMIN),
	NAME(CAP_SYSLOG),
	NAME(CAP_WAKE_ALARM),
	NAME(CAP_BLOCK_SUSPEND),
	NAME(CAP_AUDIT_READ),
	{ "CAP_PERFMON", 38 },
	{ "CAP_BPF", 39 },
	{ "CAP_CHECKPOINT_RESTORE", 40 },
	{ NULL },
};

const struct json_name oci_rlimit_names[] = {
	NAME(RLIMIT_AS),
	NAME(RLIMIT_CORE),
	NAME(RLIMIT_CPU),
	NAME(RLIMIT_DATA),
	NAME(RLIMIT_FSIZE),
	NAME(RLIMIT_LOCKS),
	NAME(RLIMIT_MEMLOCK),
	NAME(RLIMIT_MSGQUEUE),
	NAME(RLIMIT_NICE),
	NAME(RLIMIT_NOFILE),
	NAME(RLIMIT_NPROC),
	NAME(RLIMIT_RSS),
	NAME(RLIMIT_RTPRIO),
	NAME(RLIMIT_RTTIME),
	NAME(RLIMIT_SIGPENDING),
	NAME(RLIMIT_STACK),
	{ NULL },
};

const char *const oci_seccomp_actions[] = {
	"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
	"SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE",
	"SCMP_ACT_TRAP", NULL,
};

const char *const oci_seccomp_operators[] = {
	"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
	"SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE", NULL,
};

/* Those that the specification names, and the four of later libseccomp that runtimes accept. */
const char *const oci_seccomp_architectures[] = {
	"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K",
	"SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL",
	"SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64",
	"SCMP_ARCH_PPC", "SCMP_ARCH_PPC64", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_RISCV64",
	"SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB", "SCMP_ARCH_X32",
	"SCMP_ARCH_X86", "SCMP_ARCH_X86_64", NULL,
};

const char *const oci_seccomp_flags[] = {
	"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
	"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", NULL,
};

static const struct {
	const char *name, *file;
	int flag;
} namespaces[OCI_NS_COUNT] = {
	[OCI_NS_PID] = { "pid", "pid", CLONE_NEWPID },
	[OCI_NS_NETWORK] = { "network", "net", CLONE_NEWNET },
	[OCI_NS_MOUNT] = { "mount", "mnt", CLONE_NEWNS },
	[OCI_NS_IPC] = { "ipc", "ipc", CLONE_NEWIPC },
	[OCI_NS_UTS] = { "uts", "uts", CLONE_NEWUTS },
	[OCI_NS_USER] = { "user", "user", CLONE_NEWUSER },
	[OCI_NS_CGROUP] = { "cgroup", "cgroup", CLONE_NEWCGROUP },
	[OCI_NS_TIME] = { "time", "time", 0x80 /* CLONE_NEWTIME */ },
};

int oci_namespace_flag(enum oci_namespace_type type)
{
	return namespaces[type].flag;
}

const char *oci_namespace_file(enum oci_namespace_type type)
{
	return namespaces[type].file;
}

const char *oci_namespace_name(enum oci_namespace_type type)
{
	return namespaces[type].name;
}

static const struct json_name signals[] = {
	{ "HUP", SIGHUP },
	{ "INT", SIGINT },
	{ "QUIT", SIGQUIT },
	{ "ILL", SIGILL },
	{ "TRAP", SIGTRAP },
	{ "ABRT", SIGABRT },
	{ "IOT", SIGABRT },
	{ "BUS", SIGBUS },
	{ "FPE", SIGFPE },
	{ "KILL", SIGKILL },
	{ "USR1", SIGUSR1 },
	{ "SEGV", SIGSEGV },
	{ "USR2", SIGUSR2 },
	{ "PIPE", SIGPIPE },
	{ "ALRM", SIGALRM },
	{ "TERM", SIGTERM },
	{ "STKFLT", SIGSTKFLT },
	{ "CHLD", SIGCHLD },
	{ "CLD", SIGCHLD },
	{ "CONT", SIGCONT },
	{ "STOP", SIGSTOP },
	{ "TSTP", SIGTSTP },
	{ "TTIN", SIGTTIN },
	{ "TTOU", SIGTTOU },
	{ "URG", SIGURG },
	{ "XCPU", SIGXCPU },
	{ "XFSZ", SIGXFSZ },
	{ "VTALRM", SIGVTALRM },
	{ "PROF", SIGPROF },
	{ "WINCH", SIGWINCH },
	{ "IO", SIGIO },
	{ "POLL", SIGIO },
	{ "PWR", SIGPWR },
	{ "SYS", SIGSYS },
	{ NULL },
};

/* What everybody calls RTMIN, whatever the C library of the sender keeps for itself: the receiver's
 * number counts, and glibc's is the one in use. */
#define RT_MIN 34
#define RT_MAX 64

static int parse_number(const char *text, int max, int *ret)
{
	int value = 0;

	if (!*text || strlen(text) > 3)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (*text - '0');
	}
	if (value > max)
		return -EINVAL;
	*ret = value;
	return 0;
}

/* "RTMIN", "RTMIN+3", "RTMAX-1" */
static int parse_realtime(const char *text, int *ret)
{
	bool from_min = !strncasecmp(text, "RTMIN", 5);
	int distance = 0;

	if (!from_min && strncasecmp(text, "RTMAX", 5))
		return -EINVAL;
	text += 5;
	if (*text) {
		if (*text != (from_min ? '+' : '-') ||
		    parse_number(text + 1, RT_MAX - RT_MIN, &distance) < 0)
			return -EINVAL;
	}
	*ret = from_min ? RT_MIN + distance : RT_MAX - distance;
	return 0;
}

int oci_signal_parse(const char *text, int *ret)
{
	int number;

	if (parse_number(text, RT_MAX, &number) == 0) {
		/* 0 asks kill(2) a question, but means SIGKILL on the bridge. */
		if (!number)
			return -EINVAL;
		*ret = number;
		return 0;
	}
	if (!strncasecmp(text, "SIG", 3))
		text += 3;
	for (const struct json_name *signal = signals; signal->name; signal++) {
		if (!strcasecmp(signal->name, text)) {
			*ret = signal->value;
			return 0;
		}
	}
	return parse_realtime(text, ret);
}

int oci_id_check(const char *id, struct fault *fault)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789_+.-";
	size_t length = strlen(id);

	if (!length)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "container id is empty");
	if (length > OCI_ID_MAX)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "container id \"%.32s…\" is longer than %d characters", id,
		                 OCI_ID_MAX);
	if (strspn(id, allowed) != length || !strcmp(id, ".") || !strcmp(id, ".."))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "container id \"%.64s\" is not made of letters, digits and _+.-",
		                 id);
	return 0;
}
