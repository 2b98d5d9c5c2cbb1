/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Plain system calls, one per wish. The kernel's own names are used in the texts, so that they can
 * be looked up.
 */

#include "agent/attributes.h"

#include "agent/boot.h"
#include "oci/file.h"
#include "oci/files_limit.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define CPUS_MAX 8192
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_CLASS_SHIFT 13

/* struct sched_attr of the kernel, first version; libc has neither it nor the call. */
struct scheduling {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static const char *rlimit_name(int type)
{
	for (const struct json_name *n = oci_rlimit_names; n->name; n++) {
		if (n->value == type)
			return n->name;
	}
	return "rlimit";
}

int rlimits_raise(pid_t pid, const struct oci_process *process, struct fault *fault)
{
	for (size_t i = 0; i < process->rlimits.count; i++) {
		const struct oci_rlimit *asked = &process->rlimits.item[i];
		struct rlimit limit;
		if (prlimit(pid, (enum __rlimit_resource)asked->type, NULL, &limit) < 0)
			return fault_errno(fault, -errno, "%s", rlimit_name(asked->type));
		if (limit.rlim_max >= asked->hard)
			continue;
		limit.rlim_max = asked->hard;
		if (prlimit(pid, (enum __rlimit_resource)asked->type, &limit, NULL) < 0)
			return fault_errno(fault, -errno, "%s: raise to %llu",
					   rlimit_name(asked->type),
					   (unsigned long long)asked->hard);
	}
	return 0;
}

int rlimits_set(const struct oci_process *process, struct fault *fault)
{
	bool files = false;

	for (size_t i = 0; i < process->rlimits.count; i++) {
		const struct oci_rlimit *asked = &process->rlimits.item[i];
		files |= asked->type == RLIMIT_NOFILE;
		struct rlimit limit = { .rlim_cur = asked->soft, .rlim_max = asked->hard };
		if (setrlimit((enum __rlimit_resource)asked->type, &limit) < 0)
			return fault_errno(
				fault, -errno, "%s: set to %llu:%llu", rlimit_name(asked->type),
				(unsigned long long)asked->soft, (unsigned long long)asked->hard);
	}
	if (!files)
		files_limit_restore();
	return 0;
}

int oom_score_set(pid_t pid, const struct oci_process *process, struct fault *fault)
{
	char path[48], text[24];
	/* As the first process of a VM the agent has exempted itself, but nobody else. */
	long long score = 0;
	if (process->oom_score_adj.set)
		score = process->oom_score_adj.value;
	else if (!booted())
		return 0;
	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
	else
		snprintf(path, sizeof(path), "/proc/self/oom_score_adj");
	snprintf(text, sizeof(text), "%lld", score);
	int r = file_write_text(AT_FDCWD, path, text);
	return r < 0 ? fault_errno(fault, r, "oomScoreAdj: set to %s", text) : 0;
}

int priorities_set(const struct oci_process *process, struct fault *fault)
{
	const struct oci_scheduler *scheduler = process->scheduler;
	const struct oci_io_priority *io = process->io_priority;
	if (scheduler) {
		struct scheduling attr = {
			.size = sizeof(attr),
			.policy = (uint32_t)scheduler->policy,
			.flags = scheduler->flags,
			.nice = scheduler->nice,
			.priority = (uint32_t)scheduler->priority,
			.runtime = scheduler->runtime,
			.deadline = scheduler->deadline,
			.period = scheduler->period,
		};
		if (syscall(SYS_sched_setattr, 0, &attr, 0) < 0)
			return fault_errno(fault, -errno, "scheduler");
	}
	if (io && syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
	                  io->class << IOPRIO_CLASS_SHIFT | io->priority) < 0)
		return fault_errno(fault, -errno, "ioPriority");
	return 0;
}

/* oci_process_check() has seen to it that a list is one; numbers too big for us are refused. */
static int parse_cpus(const char *list, unsigned char cpus[static CPUS_MAX / 8])
{
	while (*list) {
		char *end;
		unsigned long first = strtoul(list, &end, 10), last = first;
		if (end == list)
			return -EINVAL;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (last >= CPUS_MAX || first > last || (*end && *end != ','))
			return -EINVAL;
		for (unsigned long cpu = first; cpu <= last; cpu++)
			cpus[cpu / 8] |= (unsigned char)(1u << cpu % 8);
		list = *end ? end + 1 : end;
	}
	return 0;
}

int affinity_set(const char *list, struct fault *fault)
{
	/* As the kernel reads it: words, of which it ignores those for processors that it has
	 * not. */
	union {
		unsigned char bytes[CPUS_MAX / 8];
		unsigned long words[CPUS_MAX / 8 / sizeof(unsigned long)];
	} cpus;
	memset(&cpus, list ? 0 : 0xff, sizeof(cpus));
	int r = list ? parse_cpus(list, cpus.bytes) : 0;
	if (r == 0 && syscall(SYS_sched_setaffinity, 0, sizeof(cpus), &cpus) < 0)
		r = -errno;
	return r < 0 ? fault_errno(fault, r, "execCPUAffinity: \"%s\"", list ? list : "all") : 0;
}
