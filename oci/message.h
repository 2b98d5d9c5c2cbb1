/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The messages of the bridge: numbers, structs and tables of every request, reply and notification
 * (PROTOCOL.md). The same table decodes on one side and encodes on the other.
 */

#include "hvsocket/guid.h"
#include "oci/frame.h"
#include "oci/json.h"
#include "oci/spec.h"

#define NULL_CID "00000000-0000-0000-0000-000000000000" /* the id of the VM itself */

enum message_type {
	MESSAGE_CREATE = 0x10100101,
	MESSAGE_START = 0x10100201,
	MESSAGE_SHUTDOWN_GRACEFUL = 0x10100301,
	MESSAGE_SHUTDOWN_FORCED = 0x10100401,
	MESSAGE_EXECUTE_PROCESS = 0x10100501,
	MESSAGE_WAIT_FOR_PROCESS = 0x10100601,
	MESSAGE_SIGNAL_PROCESS = 0x10100701,
	MESSAGE_RESIZE_CONSOLE = 0x10100801,
	MESSAGE_GET_PROPERTIES = 0x10100901,
	MESSAGE_MODIFY_SETTINGS = 0x10100A01,
	MESSAGE_NEGOTIATE_PROTOCOL = 0x10100B01,
	MESSAGE_DUMP_STACKS = 0x10100C01,
	MESSAGE_DELETE_CONTAINER_STATE = 0x10100D01,
	/* ours, in session mode */
	MESSAGE_PAUSE = 0x1F000101,
	MESSAGE_RESUME = 0x1F000201,
	MESSAGE_KERNEL_LOG = 0x1F000301,
	MESSAGE_CLOCK = 0x1F000401,
	MESSAGE_NOTIFICATION = 0x30100101,
};

#define MESSAGE_RESPONSE(request) (((request) & ~FRAME_KIND) | FRAME_RESPONSE)

/* One row per message, used by both sides. reply NULL: a notification. */
struct message {
	uint32_t type;
	const char *name;
	const struct json_type *request, *reply;
};
/* NULL when unknown. Accepts request and response types. */
const struct message *message_find(uint32_t type);

/* Members of every request; ours are embedded first in each request struct as `base`. */
struct request_base {
	const char *container_id;
	/* A GUID of 36 characters. Anything else, and NULL, is sent as zeros in a request and not
	 * at all in a reply or notification. */
	const char *activity_id;
};
struct error_record {
	int32_t result;
	const char *message, *stack_trace, *module_name, *file_name;
	uint32_t line;                  /* UINT32_MAX = unknown */
	const char *function_name;
};
struct reply_base {
	int32_t result;
	const char *activity_id;
	const char *error_message;
	LIST(struct error_record) error_records;
};

extern const struct json_type base_request_type, base_reply_type; /* just the base members */
struct base_request { struct request_base base; };
struct base_reply { struct reply_base base; };

/* NegotiateProtocol */
struct session_request {                /* "Hvrun" */
	uint32_t version;
	const char *session;            /* GUID text */
	uint64_t received;
	bool resume;
	uint32_t max_frame;
	/* For an agent that is the first process of a VM: */
	uint64_t time;                  /* nanoseconds since the epoch; 0 = none */
	const char *entropy;            /* hexadecimal digits; may be NULL */
	const char *secret;             /* for who has none yet, to be known by; may be NULL */
};
struct negotiate_request {
	struct request_base base;
	uint32_t minimum_version, maximum_version;
	struct session_request *hvrun;
};
struct schema_version {
	int32_t major, minor;
};
struct session_reply {                  /* "Hvrun", inside GuestDefinedCapabilities */
	uint32_t version;
	const char *session;
	bool resumed;
	uint64_t received;
	uint32_t max_frame;
	struct str_list features, containers;
	const char *secret;             /* that was given first; may be NULL */
};
struct guest_capabilities {
	bool namespace_add_request_supported, signal_process_supported, dump_stacks_supported,
		delete_container_state_supported;
	struct session_reply *hvrun;
};
struct capabilities {
	bool send_host_create_message, send_host_start_message;
	LIST(struct schema_version) supported_schema_versions;
	const char *runtime_os_type;
	struct guest_capabilities *guest_defined_capabilities;
};
struct negotiate_reply {
	struct reply_base base;
	uint32_t version;
	struct capabilities capabilities;
};

/* Create: ContainerConfig is JSON-in-string. */
struct container_config {
	struct schema_version schema_version;
	const char *oci_bundle_path;
	struct oci_spec *oci_specification;     /* may be NULL, has not passed oci_spec_check() */
	const char *scratch_dir_path;
	bool hold;                              /* session mode: see PROTOCOL.md, "hold" */
};
struct create_request {
	struct request_base base;
	struct container_config *container_config;
};
struct create_reply {
	struct reply_base base;
	uint32_t selected_protocol_version;
	uint32_t process_id;                    /* ours: the init's pid; 0 in plain mode */
};

/* ExecuteProcess */
struct process_parameters {
	const char *command_line;
	struct str_list command_args;
	const char *user, *working_directory;
	struct str_map environment;
	bool emulate_console, create_stdin_pipe, create_stdout_pipe, create_stderr_pipe;
	LIST(uint32_t) console_size;            /* height, width */
	bool create_in_utility_vm;
	struct oci_process *oci_process;
};
extern const struct json_type process_parameters_type;
struct stdio_ports {                            /* VsockStdioRelaySettings */
	uint32_t in, out, err;
};
struct stdio_streams {                          /* Streams: ids, 0 = none */
	uint64_t in, out, err;
	uint32_t window;
};
struct execute_settings {
	struct process_parameters *process_parameters;
	struct stdio_ports *ports;
	struct stdio_streams *streams;
};
struct execute_request {
	struct request_base base;
	struct execute_settings settings;
};
struct execute_reply {
	struct reply_base base;
	uint32_t process_id;
};

/* WaitForProcess */
#define WAIT_FOREVER 0xFFFFFFFFu
struct wait_request {
	struct request_base base;
	uint32_t process_id, timeout_in_ms;
};
struct stream_offsets {
	struct opt_u64 out, err;                /* "StdOut", "StdErr"; absent on a terminal */
};
struct wait_reply {
	struct reply_base base;
	uint32_t exit_code;
	const char *exited_at;                  /* session mode: RFC 3339 */
	struct stream_offsets *offsets;         /* session mode */
};

/* SignalProcess; on the wire the scope is "process", "group", "session" or "container" */
enum signal_scope { SCOPE_PROCESS, SCOPE_GROUP, SCOPE_SESSION, SCOPE_CONTAINER };
struct signal_options {
	int32_t signal;                         /* 0 = SIGKILL */
	int scope;
};
struct signal_request {
	struct request_base base;
	uint32_t process_id;
	struct signal_options options;
};

struct resize_request {
	struct request_base base;
	uint32_t process_id;
	uint16_t height, width;
};

/* GetProperties */
struct property_query {
	struct str_list property_types;
};
struct properties_request {
	struct request_base base;
	struct property_query *query;
};
struct process_item {
	uint32_t process_id;
	const char *image_name;
};
struct properties_reply {
	struct reply_base base;
	const char *properties;                 /* a JSON document */
};

/* ModifySettings: Settings is kept as a tree, decoded by ResourceType. */
struct modify_settings {
	const char *request_type, *resource_type;
	struct json settings;
};
struct modify_request {
	struct request_base base;
	struct modify_settings request;
};
struct container_constraints {                  /* Settings of ContainerConstraints */
	struct json windows;
	struct oci_resources *linux_;
};
extern const struct json_type container_constraints_type;

/* KernelLog: StdOut is the stream */
struct kernel_log_request {
	struct request_base base;
	struct stdio_streams *streams;
};

struct clock_request {
	struct request_base base;
	uint64_t time;                          /* nanoseconds since the epoch */
};

struct dump_reply {
	struct reply_base base;
	const char *guest_stacks;
};

/* Notification, guest → host */
struct notification {
	struct request_base base;
	/* UnexpectedExit, GracefulExit, ForcedExit, OutOfMemory, StreamOffset */
	const char *type;
	const char *operation;                  /* "None" */
	int32_t result;
	/* OutOfMemory, StreamOffset: which process; 0 = left out */
	uint32_t process_id;
	uint64_t count;                         /* OutOfMemory: kills so far; 0 = left out */
	uint64_t stream, offset;                /* StreamOffset */
};

/* Properties documents: what GetProperties answers with and what the host reads back. */
struct process_list {
	LIST(struct process_item) process_list;
};
extern const struct json_type process_list_type;

/* StatisticsV2: containerd's cgroup v2 metrics in JSON, plus figures of agent and guest. */
struct io_entry { uint64_t major, minor, rbytes, wbytes, rios, wios; };
struct hugetlb_entry { uint64_t current, max, failcnt; const char *pagesize; };
struct psi_line { uint64_t avg10, avg60, avg300, total; };      /* averages: in hundredths of 1 % */
struct psi { struct psi_line some, full; };
struct statistics_v2 {
	struct { uint64_t current, limit; } pids;
	struct {
		uint64_t usage_usec, user_usec, system_usec, nr_periods, nr_throttled,
			throttled_usec, nr_bursts, burst_usec;
		struct psi psi;
	} cpu;
	struct {
		uint64_t anon, file, kernel_stack, slab, sock, shmem, file_mapped, file_dirty,
			file_writeback, anon_thp, inactive_anon, active_anon, inactive_file,
			active_file, unevictable, slab_reclaimable, slab_unreclaimable, pgfault,
			pgmajfault, workingset_refault, workingset_activate,
			workingset_nodereclaim, pgrefill, pgscan, pgsteal, pgactivate,
			pgdeactivate, pglazyfree, pglazyfreed, thp_fault_alloc, thp_collapse_alloc,
			usage, usage_limit, swap_usage, swap_limit, max_usage, swap_max_usage;
		struct psi psi;
	} memory;
	struct { uint64_t low, high, max, oom, oom_kill, oom_group_kill; } memory_events;
	LIST(struct io_entry) io;
	struct psi io_psi;
	LIST(struct hugetlb_entry) hugetlb;
	struct { uint64_t rss, frames_in, frames_out, bytes_in, bytes_out; } agent;
	struct {                                /* load: averages in hundredths */
		uint64_t memory_total, memory_available, swap_total, swap_free, uptime_usec,
			load_1m, load_5m, load_15m, processes, cpus;
	} guest;
};
extern const struct json_type statistics_v2_type;
extern const struct json_type statistics_vm_type; /* the same without figures of a container */
/* Statistics (plain mode): the same as containerd's cgroup v1 metrics, under "LCOWMetrics". */
extern const struct json_type statistics_v1_type; /* of struct statistics_v2 */

/*
 * Encodes a payload as the peer expects: JSON with a final LF from the host, none and HTML-escaped
 * from the guest. -EMSGSIZE when it is longer than max - FRAME_HEADER.
 */
enum message_side { FROM_HOST, FROM_GUEST };
int message_encode(const struct json_type *type, const void *from, enum message_side side,
                   uint32_t max, struct buf *out);
/* A failed request's reply: result, message and one record, its text cut so that it fits max. */
int message_encode_fault(const struct fault *fault, const char *activity_id, uint32_t max,
                         struct buf *out);
