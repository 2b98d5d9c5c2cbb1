/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The OCI runtime specification 1.2, as far as it concerns Linux: config.json as structs. Names are
 * those of the specification in snake_case.
 *
 * The tables check meaning as well (absolute paths, known names, ranges), so what was decoded can
 * be relied on. An empty string counts as an absent one, except in lists and maps, because writers
 * in Go often do not distinguish them: texts are NULL or not empty, required ones not NULL.
 */

#include "oci/json.h"

#include <sys/types.h>

#define OCI_VERSION "1.2.0"

struct oci_user {
	uint32_t uid, gid;
	struct opt_i64 umask;
	LIST(uint32_t) additional_gids;
	const char *username;
};

struct oci_console_size {
	uint16_t height, width;
};

struct oci_rlimit {
	int type;               /* RLIMIT_* */
	uint64_t hard, soft;
};

/* Bit n = capability n of <linux/capability.h>; names we do not know are refused. */
struct oci_capabilities {
	uint64_t bounding, effective, inheritable, permitted, ambient;
};

struct oci_scheduler {
	int policy;             /* SCHED_*; from SCHED_OTHER … SCHED_DEADLINE */
	int32_t nice, priority;
	uint64_t flags;         /* SCHED_FLAG_* */
	uint64_t runtime, deadline, period;
};

struct oci_io_priority {
	int class;              /* IOPRIO_CLASS_*: 1 RT, 2 BE, 3 IDLE */
	int32_t priority;
};

struct oci_cpu_affinity {
	const char *initial, *final; /* CPU lists such as "0-3,7"; checked */
};

struct oci_process {
	bool terminal;
	struct oci_console_size console_size;
	struct oci_user user;
	struct str_list args;
	const char *command_line;               /* kept, unused on Linux */
	struct str_list env;
	const char *cwd;                        /* absolute; required */
	struct oci_capabilities *capabilities;  /* NULL = none asked */
	LIST(struct oci_rlimit) rlimits;        /* no type twice */
	bool no_new_privileges;
	const char *apparmor_profile;
	struct opt_i64 oom_score_adj;
	const char *selinux_label;
	struct oci_scheduler *scheduler;
	struct oci_io_priority *io_priority;
	struct oci_cpu_affinity *exec_cpu_affinity;
};

struct oci_root {
	const char *path;
	bool readonly;
};

struct oci_id_mapping {
	uint32_t container_id, host_id, size;
};
typedef LIST(struct oci_id_mapping) oci_id_mappings;

struct oci_mount {
	const char *destination;                /* absolute, or relative to "/" (old specs) */
	const char *type, *source;
	struct str_list options;
	oci_id_mappings uid_mappings, gid_mappings;
};

struct oci_hook {
	const char *path;                       /* absolute */
	struct str_list args, env;
	struct opt_i64 timeout;                 /* seconds, > 0 */
};
typedef LIST(struct oci_hook) oci_hook_list;

struct oci_hooks {
	oci_hook_list prestart, create_runtime, create_container, start_container, poststart,
		poststop;
};

enum oci_namespace_type {
	OCI_NS_NONE,
	OCI_NS_PID,
	OCI_NS_NETWORK,
	OCI_NS_MOUNT,
	OCI_NS_IPC,
	OCI_NS_UTS,
	OCI_NS_USER,
	OCI_NS_CGROUP,
	OCI_NS_TIME,
	OCI_NS_COUNT,
};

struct oci_namespace {
	int type;               /* enum oci_namespace_type, no type twice */
	const char *path;       /* absolute; NULL = a new one */
};

struct oci_device {
	char type;              /* 'c' (also for "u"), 'b' or 'p' */
	const char *path;
	int64_t major, minor;
	struct opt_i64 file_mode;               /* permissions only */
	uint32_t uid, gid;
};

struct oci_device_rule {        /* linux.resources.devices[] */
	bool allow;
	char type;              /* 'a' (also when absent), 'c', 'b' */
	struct opt_i64 major, minor; /* unset or -1 = any */
	unsigned access;        /* OCI_DEVICE_*; all of them when absent */
};
enum { OCI_DEVICE_MKNOD = 1, OCI_DEVICE_READ = 2, OCI_DEVICE_WRITE = 4 }; /* = BPF_DEVCG_ACC_* */

struct oci_memory {
	struct opt_i64 limit, reservation, swap, kernel, kernel_tcp; /* -1 = unlimited */
	struct opt_u64 swappiness;
	struct opt_bool disable_oom_killer, use_hierarchy, check_before_update;
};
struct oci_cpu {
	struct opt_u64 shares, burst, period, realtime_period;
	struct opt_i64 quota, realtime_runtime, idle;
	const char *cpus, *mems; /* lists, checked */
};
struct oci_pids {
	struct opt_i64 limit;   /* <= 0: unlimited */
};
struct oci_weight_device {
	int64_t major, minor;
	struct opt_u64 weight, leaf_weight;
};
struct oci_throttle_device {
	int64_t major, minor;
	uint64_t rate;
};
typedef LIST(struct oci_throttle_device) oci_throttle_list;
struct oci_block_io {
	struct opt_u64 weight, leaf_weight;
	LIST(struct oci_weight_device) weight_device;
	oci_throttle_list read_bps, write_bps, read_iops, write_iops;
};
struct oci_hugepage_limit {
	const char *page_size;  /* "2MB", "1GB", "64KB" */
	uint64_t limit;
};
struct oci_interface_priority {
	const char *name;
	uint32_t priority;
};
struct oci_network_resources {
	struct opt_u64 class_id;
	LIST(struct oci_interface_priority) priorities;
};
struct oci_rdma {
	struct opt_u64 hca_handles, hca_objects;
};

struct oci_rdma_entry {         /* of the map linux.resources.rdma */
	const char *device;
	struct oci_rdma limits;
};

struct oci_resources {
	LIST(struct oci_device_rule) devices;
	struct oci_memory memory;
	struct oci_cpu cpu;
	struct oci_pids pids;
	struct oci_block_io block_io;
	LIST(struct oci_hugepage_limit) hugepage_limits;
	struct oci_network_resources network;
	LIST(struct oci_rdma_entry) rdma;
	struct str_map unified; /* no '/' and no ".." in the names */
};

struct oci_seccomp_arg {
	uint32_t index;         /* 0…5 */
	uint64_t value, value_two;
	const char *op;         /* SCMP_CMP_*; known ones only */
};
struct oci_syscall {
	struct str_list names;  /* not empty */
	const char *action;     /* SCMP_ACT_*; known ones only */
	struct opt_u64 errno_ret;
	LIST(struct oci_seccomp_arg) args;
};
struct oci_seccomp {
	const char *default_action;
	struct opt_u64 default_errno_ret;
	struct str_list architectures;  /* SCMP_ARCH_* */
	struct str_list flags;          /* SECCOMP_FILTER_FLAG_* */
	const char *listener_path, *listener_metadata;
	LIST(struct oci_syscall) syscalls;
};

struct oci_time_offset {
	int64_t secs;
	uint32_t nanosecs;
};
struct oci_time_offsets {
	struct oci_time_offset *monotonic, *boottime;
};

struct oci_personality {
	unsigned long domain;   /* PER_LINUX or PER_LINUX32 */
};

struct oci_intel_rdt {
	const char *clos_id, *l3_cache_schema, *mem_bw_schema;
	bool enable_cmt, enable_mbm;
};

struct oci_linux {
	LIST(struct oci_namespace) namespaces;
	oci_id_mappings uid_mappings, gid_mappings;
	struct oci_time_offsets *time_offsets;
	LIST(struct oci_device) devices;
	const char *cgroups_path;
	const char *rootfs_propagation;         /* shared, slave, private, unbindable (also r…) */
	struct str_list masked_paths, readonly_paths;
	const char *mount_label;
	struct oci_personality *personality;
	struct oci_resources *resources;
	struct oci_seccomp *seccomp;
	struct str_map sysctl;
	struct oci_intel_rdt *intel_rdt;
};

struct oci_spec {
	const char *oci_version;
	struct oci_root root;
	bool has_root;
	struct oci_process *process;
	const char *hostname, *domainname;
	LIST(struct oci_mount) mounts;
	struct oci_hooks hooks;
	struct str_map annotations;
	struct oci_linux linux_;                /* an absent "linux" is an empty one */
	/* Kept as it is: with Microsoft's halves windows.network.networkNamespace names the network
	 * namespace of a Linux container too. */
	struct json windows;
};

extern const struct json_type oci_spec_type, oci_process_type, oci_resources_type;

/*
 * Decodes and checks a config.json for creation: besides the tables, `ociVersion` must be 1.x,
 * `process` with args and `root` must be there, and what contradicts itself is refused: a sysctl
 * without the namespace it belongs to, mappings without a user namespace and the reverse, hostname
 * without a uts namespace, time offsets without a time namespace, masked paths without a mount
 * namespace, an errno for a seccomp action that has none. -EINVAL with a fault as json_decode();
 * *ret is zero then.
 */
int oci_spec_decode(struct arena *arena, const char *text, size_t length, struct oci_spec *ret,
                    struct fault *fault);
/* The same for a tree or a struct that was decoded as part of a message. */
int oci_spec_check(const struct oci_spec *spec, struct fault *fault);
/* Meaning of a process of its own (exec): args not empty, cwd absolute, no soft limit above its
 * hard one. */
int oci_process_check(const struct oci_process *process, struct fault *fault);

/* NULL when the container shares this namespace with its creator. */
const struct oci_namespace *oci_namespace_find(const struct oci_spec *spec,
                                               enum oci_namespace_type type);
int oci_namespace_flag(enum oci_namespace_type type);           /* CLONE_NEW* */
const char *oci_namespace_file(enum oci_namespace_type type);   /* "pid", "net", "mnt", … */
const char *oci_namespace_name(enum oci_namespace_type type);   /* "pid", "network", … */
const char *oci_annotation(const struct oci_spec *spec, const char *name);

/* "CAP_CHOWN" ↔ 0 …, for messages and features. */
extern const struct json_name oci_capability_names[];
extern const struct json_name oci_rlimit_names[];
/* Every SCMP_ACT_, SCMP_CMP_ and SCMP_ARCH_ name and filter flag that is admitted; NULL-ended. */
extern const char *const oci_seccomp_actions[], *const oci_seccomp_operators[],
	*const oci_seccomp_architectures[], *const oci_seccomp_flags[];

#define OCI_ID_MAX 200 /* leaves room in a file's name for a prefix and a suffix */
/* An id of ours: 1…OCI_ID_MAX of [A-Za-z0-9_+.-], not "." or "..". -EINVAL. */
int oci_id_check(const char *id, struct fault *fault);
/* Names and numbers (1…64) of signals: "TERM", "SIGTERM", "15", "rtmin+3", any case. -EINVAL. */
int oci_signal_parse(const char *text, int *ret);
