/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The tables of the control socket's messages. Names are in the bridge's PascalCase, so that one
 * who reads a capture of either need not switch; both ends are ours and of one version, so
 * nothing here is kept for strangers.
 */

#include "shim/control.h"

static const struct json_name scope_names[] = {
	{ "process", SCOPE_PROCESS },
	{ "group", SCOPE_GROUP },
	{ "session", SCOPE_SESSION },
	{ "container", SCOPE_CONTAINER },
	{ NULL },
};

static const struct json_field request_fields[] = {
	JSON_FIELD(struct control_request, id, "Id", str),
	JSON_FIELD(struct control_request, vm, "Vm", bool),
	JSON_FIELD(struct control_request, pid, "Pid", u32),
	JSON_FIELD(struct control_request, bundle, "Bundle", str),
	JSON_FIELD(struct control_request, config, "Config", str),
	JSON_FIELD(struct control_request, process, "Process", str),
	JSON_FIELD(struct control_request, std_in, "StdIn", bool),
	JSON_FIELD(struct control_request, std_out, "StdOut", bool),
	JSON_FIELD(struct control_request, std_err, "StdErr", bool),
	JSON_FIELD(struct control_request, hold, "Hold", bool),
	JSON_FIELD(struct control_request, terminal, "Terminal", bool),
	JSON_FIELD(struct control_request, height, "Height", u16),
	JSON_FIELD(struct control_request, width, "Width", u16),
	JSON_FIELD(struct control_request, log_path, "LogPath", str),
	JSON_FIELD(struct control_request, log_size, "LogSize", u64),
	JSON_FIELD(struct control_request, log_files, "LogFiles", u32),
	JSON_FIELD(struct control_request, proxy, "Proxy", u32),
	JSON_FIELD(struct control_request, signal, "Signal", i32),
	JSON_FIELD(struct control_request, scope, "Scope", enum, .of = scope_names),
	JSON_FIELD(struct control_request, force, "Force", bool),
	JSON_FIELD(struct control_request, share, "Share", str),
	JSON_FIELD(struct control_request, entry, "Entry", str),
	JSON_FIELD(struct control_request, tree, "Tree", bool),
	JSON_FIELD(struct control_request, file, "File", bool),
	JSON_FIELD(struct control_request, scratch, "Scratch", bool),
	JSON_FIELD(struct control_request, memory, "Memory", u64),
	JSON_FIELD(struct control_request, resources, "Resources", pointer,
	           .of = &oci_resources_type),
	{ NULL },
};
const struct json_type control_request_type = JSON_TYPE(struct control_request, request_fields);

static const struct json_field container_fields[] = {
	JSON_FIELD(struct control_container, id, "Id", str),
	JSON_FIELD(struct control_container, bundle, "Bundle", str),
	JSON_FIELD(struct control_container, status, "Status", str),
	JSON_FIELD(struct control_container, pid, "Pid", u32),
	JSON_FIELD(struct control_container, init_pid, "InitPid", u32),
	JSON_FIELD(struct control_container, exit_code, "ExitCode", u32),
	JSON_FIELD(struct control_container, created, "Created", str),
	JSON_FIELD(struct control_container, exited_at, "ExitedAt", str),
	JSON_FIELD(struct control_container, log_path, "LogPath", str),
	JSON_FIELD(struct control_container, log_files, "LogFiles", u32),
	{ NULL },
};
static const struct json_type container_type =
	JSON_TYPE(struct control_container, container_fields);

static const struct json_field process_fields[] = {
	JSON_FIELD(struct control_process, pid, "Pid", u32, JSON_ALWAYS),
	JSON_FIELD(struct control_process, host_pid, "HostPid", u32),
	JSON_FIELD(struct control_process, exec, "Exec", str),
	{ NULL },
};
static const struct json_type process_type = JSON_TYPE(struct control_process, process_fields);

static const struct json_field figures_fields[] = {
	JSON_FIELD(struct control_figures, rss, "Rss", u64),
	JSON_FIELD(struct control_figures, fds, "Fds", u64),
	JSON_FIELD(struct control_figures, frames_in, "FramesIn", u64),
	JSON_FIELD(struct control_figures, frames_out, "FramesOut", u64),
	JSON_FIELD(struct control_figures, bytes_in, "BytesIn", u64),
	JSON_FIELD(struct control_figures, bytes_out, "BytesOut", u64),
	{ NULL },
};
static const struct json_type figures_type = JSON_TYPE(struct control_figures, figures_fields);

static const struct json_field reply_fields[] = {
	JSON_FIELD(struct control_reply, base.result, "Result", i32, JSON_ALWAYS),
	JSON_FIELD(struct control_reply, base.error_message, "ErrorMessage", str),
	JSON_FIELD(struct control_reply, pid, "Pid", u32),
	JSON_FIELD(struct control_reply, host_pid, "HostPid", u32),
	JSON_FIELD(struct control_reply, exit_code, "ExitCode", u32),
	JSON_FIELD(struct control_reply, exited_at, "ExitedAt", str),
	JSON_FIELD(struct control_reply, reason, "Reason", str),
	JSON_FIELD(struct control_reply, containers, "Containers", list, .of = &container_type),
	JSON_FIELD(struct control_reply, processes, "Processes", list, .of = &process_type),
	JSON_FIELD(struct control_reply, statistics, "Statistics", pointer,
	           .of = &statistics_v2_type),
	JSON_FIELD(struct control_reply, sandbox, "Sandbox", object, .of = &figures_type),
	JSON_FIELD(struct control_reply, dump, "Dump", str),
	{ NULL },
};
const struct json_type control_reply_type = JSON_TYPE(struct control_reply, reply_fields);

static const struct json_field event_fields[] = {
	JSON_FIELD(struct control_event, type, "Type", str),
	JSON_FIELD(struct control_event, id, "Id", str),
	JSON_FIELD(struct control_event, pid, "Pid", u32),
	JSON_FIELD(struct control_event, exit_code, "ExitCode", u32),
	JSON_FIELD(struct control_event, count, "Count", u64),
	JSON_FIELD(struct control_event, time, "Time", str),
	{ NULL },
};
const struct json_type control_event_type = JSON_TYPE(struct control_event, event_fields);
