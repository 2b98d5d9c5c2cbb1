/* SPDX-License-Identifier: Apache-2.0 */

/*
 * config.json: the tables of what stands outside "linux", and the checks that need more than one
 * member. What can be judged from one value alone is judged by its codec, in both directions of
 * the bridge; what only matters for creating a container is judged here, by whoever creates it.
 */

#include "oci/spec_codec.h"

#include <sched.h>
#include <string.h>

#define refuse(fault, ...) fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, __VA_ARGS__)

/* Process */

static const struct json_field console_size_fields[] = {
	JSON_FIELD(struct oci_console_size, height, "height", u16),
	JSON_FIELD(struct oci_console_size, width, "width", u16),
	{ NULL },
};
static const struct json_type console_size_type =
	JSON_TYPE(struct oci_console_size, console_size_fields);

static const struct spec_range umask_range = { 0, 0777 };
static const struct json_field user_fields[] = {
	JSON_FIELD(struct oci_user, uid, "uid", u32, JSON_ALWAYS),
	JSON_FIELD(struct oci_user, gid, "gid", u32, JSON_ALWAYS),
	SPEC_FIELD(struct oci_user, umask, "umask", opt_i64_range, 0, &umask_range),
	JSON_FIELD(struct oci_user, additional_gids, "additionalGids", u32_list),
	SPEC_FIELD(struct oci_user, username, "username", text),
	{ NULL },
};
static const struct json_type user_type = JSON_TYPE(struct oci_user, user_fields);

static const struct json_field capabilities_fields[] = {
	SPEC_FIELD(struct oci_capabilities, bounding, "bounding", capabilities, 0,
	           oci_capability_names),
	SPEC_FIELD(struct oci_capabilities, effective, "effective", capabilities, 0,
	           oci_capability_names),
	SPEC_FIELD(struct oci_capabilities, inheritable, "inheritable", capabilities, 0,
	           oci_capability_names),
	SPEC_FIELD(struct oci_capabilities, permitted, "permitted", capabilities, 0,
	           oci_capability_names),
	SPEC_FIELD(struct oci_capabilities, ambient, "ambient", capabilities, 0,
	           oci_capability_names),
	{ NULL },
};
static const struct json_type capabilities_type =
	JSON_TYPE(struct oci_capabilities, capabilities_fields);

static const struct json_field rlimit_fields[] = {
	JSON_FIELD(struct oci_rlimit, type, "type", enum, JSON_REQUIRED | JSON_ALWAYS,
	           oci_rlimit_names),
	JSON_FIELD(struct oci_rlimit, hard, "hard", u64, JSON_REQUIRED | JSON_ALWAYS),
	JSON_FIELD(struct oci_rlimit, soft, "soft", u64, JSON_REQUIRED | JSON_ALWAYS),
	{ NULL },
};
static const struct json_type rlimit_type = JSON_TYPE(struct oci_rlimit, rlimit_fields);

static const struct json_name policy_names[] = {
	{ "SCHED_OTHER", SCHED_OTHER },
	{ "SCHED_FIFO", SCHED_FIFO },
	{ "SCHED_RR", SCHED_RR },
	{ "SCHED_BATCH", SCHED_BATCH },
	{ "SCHED_ISO", 4 },
	{ "SCHED_IDLE", SCHED_IDLE },
	{ "SCHED_DEADLINE", 6 },
	{ NULL },
};
/* Bit numbers of SCHED_FLAG_… in <linux/sched.h>. */
static const struct json_name scheduler_flag_names[] = {
	{ "SCHED_FLAG_RESET_ON_FORK", 0 },
	{ "SCHED_FLAG_RECLAIM", 1 },
	{ "SCHED_FLAG_DL_OVERRUN", 2 },
	{ "SCHED_FLAG_KEEP_POLICY", 3 },
	{ "SCHED_FLAG_KEEP_PARAMS", 4 },
	{ "SCHED_FLAG_UTIL_CLAMP_MIN", 5 },
	{ "SCHED_FLAG_UTIL_CLAMP_MAX", 6 },
	{ NULL },
};
static const struct spec_range nice_range = { -20, 19 };
static const struct json_field scheduler_fields[] = {
	JSON_FIELD(struct oci_scheduler, policy, "policy", enum, JSON_REQUIRED | JSON_ALWAYS,
	           policy_names),
	SPEC_FIELD(struct oci_scheduler, nice, "nice", i32_range, 0, &nice_range),
	JSON_FIELD(struct oci_scheduler, priority, "priority", i32),
	SPEC_FIELD(struct oci_scheduler, flags, "flags", bits, 0, scheduler_flag_names),
	JSON_FIELD(struct oci_scheduler, runtime, "runtime", u64),
	JSON_FIELD(struct oci_scheduler, deadline, "deadline", u64),
	JSON_FIELD(struct oci_scheduler, period, "period", u64),
	{ NULL },
};
static const struct json_type scheduler_type = JSON_TYPE(struct oci_scheduler, scheduler_fields);

static const struct json_name io_class_names[] = {
	{ "IOPRIO_CLASS_RT", 1 },
	{ "IOPRIO_CLASS_BE", 2 },
	{ "IOPRIO_CLASS_IDLE", 3 },
	{ NULL },
};
static const struct spec_range io_priority_range = { 0, 7 };
static const struct json_field io_priority_fields[] = {
	JSON_FIELD(struct oci_io_priority, class, "class", enum, JSON_REQUIRED, io_class_names),
	SPEC_FIELD(struct oci_io_priority, priority, "priority", i32_range, JSON_ALWAYS,
	           &io_priority_range),
	{ NULL },
};
static const struct json_type io_priority_type =
	JSON_TYPE(struct oci_io_priority, io_priority_fields);

static const struct json_field cpu_affinity_fields[] = {
	SPEC_FIELD(struct oci_cpu_affinity, initial, "initial", cpu_list),
	SPEC_FIELD(struct oci_cpu_affinity, final, "final", cpu_list),
	{ NULL },
};
static const struct json_type cpu_affinity_type =
	JSON_TYPE(struct oci_cpu_affinity, cpu_affinity_fields);

static const struct spec_range oom_range = { -1000, 1000 };
static const struct json_field process_fields[] = {
	JSON_FIELD(struct oci_process, terminal, "terminal", bool),
	JSON_FIELD(struct oci_process, console_size, "consoleSize", object, 0, &console_size_type),
	JSON_FIELD(struct oci_process, user, "user", object, JSON_ALWAYS, &user_type),
	JSON_FIELD(struct oci_process, args, "args", str_list),
	SPEC_FIELD(struct oci_process, command_line, "commandLine", text),
	JSON_FIELD(struct oci_process, env, "env", str_list),
	SPEC_FIELD(struct oci_process, cwd, "cwd", path, JSON_REQUIRED),
	JSON_FIELD(struct oci_process, capabilities, "capabilities", pointer, 0,
	           &capabilities_type),
	SPEC_FIELD(struct oci_process, rlimits, "rlimits", unique_list, 0, &rlimit_type),
	JSON_FIELD(struct oci_process, no_new_privileges, "noNewPrivileges", bool),
	SPEC_FIELD(struct oci_process, apparmor_profile, "apparmorProfile", text),
	SPEC_FIELD(struct oci_process, oom_score_adj, "oomScoreAdj", opt_i64_range, 0, &oom_range),
	JSON_FIELD(struct oci_process, scheduler, "scheduler", pointer, 0, &scheduler_type),
	SPEC_FIELD(struct oci_process, selinux_label, "selinuxLabel", text),
	JSON_FIELD(struct oci_process, io_priority, "ioPriority", pointer, 0, &io_priority_type),
	JSON_FIELD(struct oci_process, exec_cpu_affinity, "execCPUAffinity", pointer, 0,
	           &cpu_affinity_type),
	{ NULL },
};
const struct json_type oci_process_type = JSON_TYPE(struct oci_process, process_fields);

/* Root, mounts, hooks */

static const struct json_field root_fields[] = {
	SPEC_FIELD(struct oci_root, path, "path", text, JSON_REQUIRED),
	JSON_FIELD(struct oci_root, readonly, "readonly", bool),
	{ NULL },
};
static const struct json_type root_type = JSON_TYPE(struct oci_root, root_fields);

static bool absent_root(const struct json_field *field, const void *from)
{
	return json_object.absent(field, from);
}

static int get_root(struct json_reader *reader, const struct json *value,
                    const struct json_field *field, void *to)
{
	container_of(to, struct oci_spec, root)->has_root = true;
	return json_object.get(reader, value, field, to);
}

static int put_root(struct json_writer *writer, const struct json_field *field, const void *from)
{
	return json_object.put(writer, field, from);
}
static const struct json_codec root = { absent_root, get_root, put_root };

static const struct json_field mount_fields[] = {
	SPEC_FIELD(struct oci_mount, destination, "destination", text, JSON_REQUIRED),
	SPEC_FIELD(struct oci_mount, type, "type", text),
	SPEC_FIELD(struct oci_mount, source, "source", text),
	JSON_FIELD(struct oci_mount, options, "options", str_list),
	JSON_FIELD(struct oci_mount, uid_mappings, "uidMappings", list, 0, &oci_id_mapping_type),
	JSON_FIELD(struct oci_mount, gid_mappings, "gidMappings", list, 0, &oci_id_mapping_type),
	{ NULL },
};
static const struct json_type mount_type = JSON_TYPE(struct oci_mount, mount_fields);

static const struct spec_range seconds = { 1, INT32_MAX };
static const struct json_field hook_fields[] = {
	SPEC_FIELD(struct oci_hook, path, "path", path, JSON_REQUIRED),
	JSON_FIELD(struct oci_hook, args, "args", str_list),
	JSON_FIELD(struct oci_hook, env, "env", str_list),
	SPEC_FIELD(struct oci_hook, timeout, "timeout", opt_i64_range, 0, &seconds),
	{ NULL },
};
static const struct json_type oci_hook_type = JSON_TYPE(struct oci_hook, hook_fields);

#define HOOKS(member, name) JSON_FIELD(struct oci_hooks, member, name, list, 0, &oci_hook_type)
static const struct json_field hooks_fields[] = {
	HOOKS(prestart, "prestart"),
	HOOKS(create_runtime, "createRuntime"),
	HOOKS(create_container, "createContainer"),
	HOOKS(start_container, "startContainer"),
	HOOKS(poststart, "poststart"),
	HOOKS(poststop, "poststop"),
	{ NULL },
};
static const struct json_type hooks_type = JSON_TYPE(struct oci_hooks, hooks_fields);

static const struct json_field spec_fields[] = {
	SPEC_FIELD(struct oci_spec, oci_version, "ociVersion", text, JSON_REQUIRED),
	JSON_FIELD(struct oci_spec, process, "process", pointer, 0, &oci_process_type),
	JSON_FIELD_WITH(struct oci_spec, root, "root", root, 0, &root_type),
	SPEC_FIELD(struct oci_spec, hostname, "hostname", text),
	SPEC_FIELD(struct oci_spec, domainname, "domainname", text),
	JSON_FIELD(struct oci_spec, mounts, "mounts", list, 0, &mount_type),
	JSON_FIELD(struct oci_spec, hooks, "hooks", object, 0, &hooks_type),
	JSON_FIELD(struct oci_spec, annotations, "annotations", str_map),
	/* Always there: Microsoft's guest dies without it. */
	JSON_FIELD(struct oci_spec, linux_, "linux", object, JSON_ALWAYS, &oci_linux_type),
	JSON_FIELD(struct oci_spec, windows, "windows", any),
	{ NULL },
};
const struct json_type oci_spec_type = JSON_TYPE(struct oci_spec, spec_fields);

const struct oci_namespace *oci_namespace_find(const struct oci_spec *spec,
                                               enum oci_namespace_type type)
{
	for (size_t i = 0; i < spec->linux_.namespaces.count; i++) {
		if (spec->linux_.namespaces.item[i].type == (int)type)
			return &spec->linux_.namespaces.item[i];
	}
	return NULL;
}

const char *oci_annotation(const struct oci_spec *spec, const char *name)
{
	for (size_t i = 0; i < spec->annotations.count; i++) {
		if (!strcmp(spec->annotations.item[i].name, name))
			return spec->annotations.item[i].value;
	}
	return NULL;
}

/* Checks */

int oci_process_check(const struct oci_process *process, struct fault *fault)
{
	if (!process->args.count)
		return refuse(fault, "process.args: must not be empty");
	if (!process->cwd || *process->cwd != '/')
		return refuse(fault, "process.cwd: must be an absolute path");
	for (size_t i = 0; i < process->rlimits.count; i++) {
		if (process->rlimits.item[i].soft > process->rlimits.item[i].hard)
			return refuse(fault, "process.rlimits[%zu]: soft exceeds hard", i);
	}
	return 0;
}

/* sysctl(8) takes dots and slashes for each other. */
static bool sysctl_begins(const char *name, const char *prefix)
{
	for (; *prefix; name++, prefix++) {
		if (*name != *prefix && !(*prefix == '.' && *name == '/'))
			return false;
	}
	return prefix[-1] == '.' ? *name != '\0' : *name == '\0';
}

/* Everything else is the kernel's own and so not a container's to set. A dot at the end: and
 * whatever is below. */
static const struct {
	const char *name;
	enum oci_namespace_type type;
} namespaced_sysctls[] = {
	{ "fs.mqueue.", OCI_NS_IPC },
	{ "kernel.domainname", OCI_NS_UTS },
	{ "kernel.hostname", OCI_NS_UTS },
	{ "kernel.msgmax", OCI_NS_IPC },
	{ "kernel.msgmnb", OCI_NS_IPC },
	{ "kernel.msgmni", OCI_NS_IPC },
	{ "kernel.sem", OCI_NS_IPC },
	{ "kernel.shm_rmid_forced", OCI_NS_IPC },
	{ "kernel.shmall", OCI_NS_IPC },
	{ "kernel.shmmax", OCI_NS_IPC },
	{ "kernel.shmmni", OCI_NS_IPC },
	{ "net.", OCI_NS_NETWORK },
	{ "user.", OCI_NS_USER },
};

static int check_sysctl(const struct oci_spec *spec, const char *name, struct fault *fault)
{
	if (strstr(name, ".."))
		return refuse(fault, "linux.sysctl[\"%.64s\"]: is not the name of a sysctl", name);
	for (size_t i = 0; i < array_size(namespaced_sysctls); i++) {
		enum oci_namespace_type type = namespaced_sysctls[i].type;

		if (!sysctl_begins(name, namespaced_sysctls[i].name))
			continue;
		if (oci_namespace_find(spec, type))
			return 0;
		return refuse(fault, "linux.sysctl[\"%.64s\"]: needs a namespace of type %s", name,
		              oci_namespace_name(type));
	}
	return refuse(fault, "linux.sysctl[\"%.64s\"]: belongs to no namespace", name);
}

/* Members that mean something only inside a namespace of the container's own. */
static int check_namespaces(const struct oci_spec *spec, struct fault *fault)
{
	const struct oci_linux *linux_ = &spec->linux_;
	const struct oci_namespace *user = oci_namespace_find(spec, OCI_NS_USER);
	const struct {
		const char *path;
		bool present;
		enum oci_namespace_type type;
	} needs[] = {
		{ "hostname", spec->hostname, OCI_NS_UTS },
		{ "domainname", spec->domainname, OCI_NS_UTS },
		{ "linux.uidMappings", linux_->uid_mappings.count, OCI_NS_USER },
		{ "linux.gidMappings", linux_->gid_mappings.count, OCI_NS_USER },
		{ "linux.timeOffsets", linux_->time_offsets, OCI_NS_TIME },
		{ "linux.maskedPaths", linux_->masked_paths.count, OCI_NS_MOUNT },
		{ "linux.readonlyPaths", linux_->readonly_paths.count, OCI_NS_MOUNT },
	};

	for (size_t i = 0; i < array_size(needs); i++) {
		if (needs[i].present && !oci_namespace_find(spec, needs[i].type))
			return refuse(fault, "%s: needs a namespace of type %s", needs[i].path,
			              oci_namespace_name(needs[i].type));
	}
	/* Without a mapping nobody in there would have an id, not even the one who starts it. */
	if (user && !user->path && !linux_->uid_mappings.count)
		return refuse(fault, "linux.uidMappings: is required for a new user namespace");
	if (user && !user->path && !linux_->gid_mappings.count)
		return refuse(fault, "linux.gidMappings: is required for a new user namespace");
	if (linux_->time_offsets && oci_namespace_find(spec, OCI_NS_TIME)->path)
		return refuse(fault, "linux.timeOffsets: cannot be set in an existing namespace");
	for (size_t i = 0; i < linux_->sysctl.count; i++) {
		int r = check_sysctl(spec, linux_->sysctl.item[i].name, fault);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool action_has_errno(const char *action)
{
	return !strcmp(action, "SCMP_ACT_ERRNO") || !strcmp(action, "SCMP_ACT_TRACE");
}

static int check_seccomp(const struct oci_seccomp *seccomp, struct fault *fault)
{
	static const char notify[] = "SCMP_ACT_NOTIFY";

	if (!strcmp(seccomp->default_action, notify))
		return refuse(fault, "linux.seccomp.defaultAction: must not be %s", notify);
	if (seccomp->default_errno_ret.set && !action_has_errno(seccomp->default_action))
		return refuse(fault, "linux.seccomp.defaultErrnoRet: %s has no errno",
		              seccomp->default_action);
	for (size_t i = 0; i < seccomp->syscalls.count; i++) {
		const struct oci_syscall *rule = &seccomp->syscalls.item[i];

		if (!rule->names.count)
			return refuse(fault, "linux.seccomp.syscalls[%zu].names: must not be empty",
			              i);
		if (rule->errno_ret.set && !action_has_errno(rule->action))
			return refuse(fault,
			              "linux.seccomp.syscalls[%zu].errnoRet: %s has no errno", i,
			              rule->action);
		if (!strcmp(rule->action, notify) && !seccomp->listener_path)
			return refuse(fault, "linux.seccomp.listenerPath: is required for %s",
			              notify);
	}
	return 0;
}

int oci_spec_check(const struct oci_spec *spec, struct fault *fault)
{
	const char *version = spec->oci_version;

	if (!version || strncmp(version, "1.", 2) || version[2] < '0' || version[2] > '9')
		return refuse(fault, "ociVersion: \"%.64s\" is not supported, only 1.x",
		              version ? version : "");
	if (!spec->process)
		return refuse(fault, "process: is required");
	if (!spec->has_root)
		return refuse(fault, "root: is required");

	int r = oci_process_check(spec->process, fault);
	if (r < 0)
		return r;
	for (size_t i = 0; i < spec->mounts.count; i++) {
		const struct oci_mount *mount = &spec->mounts.item[i];
		if (!mount->uid_mappings.count != !mount->gid_mappings.count)
			return refuse(fault, "mounts[%zu]: has only one of uidMappings and "
			                     "gidMappings", i);
	}
	r = check_namespaces(spec, fault);
	if (r < 0 || !spec->linux_.seccomp)
		return r;
	return check_seccomp(spec->linux_.seccomp, fault);
}

int oci_spec_decode(struct arena *arena, const char *text, size_t length, struct oci_spec *ret,
                    struct fault *fault)
{
	int r = json_decode(arena, &oci_spec_type, text, length, ret, fault);

	if (r < 0)
		return r;
	r = oci_spec_check(ret, fault);
	if (r < 0)
		*ret = (struct oci_spec){ 0 };
	return r;
}
