/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The messages of the bridge as tables. A row is a member on the wire; the order of the rows is the
 * order in which Microsoft's halves write them, so that a recorded conversation compares byte for
 * byte. What is marked JSON_ALWAYS is what their encoders never leave out.
 *
 * One member needs care: ActivityId. Their host always sends it (all zeros), their guest echoes it,
 * and either side drops the whole connection over one that is no GUID. So requests always carry
 * one, everything that the guest sends carries a valid one or none.
 */

#include "oci/message.h"
#include "oci/utf8.h"

#include <string.h>

static bool activity_absent(const struct json_field *field, const void *from)
{
	const char *text = *(const char *const *)from;
	struct hv_guid guid;

	(void)field;
	return !text || strlen(text) != HV_GUID_TEXT - 1 || hv_guid_parse(text, &guid) < 0;
}

static int activity_get(struct json_reader *reader, const struct json *value,
                        const struct json_field *field, void *to)
{
	return json_str.get(reader, value, field, to);
}

static int activity_put(struct json_writer *writer, const struct json_field *field,
                        const void *from)
{
	static const char *const none = NULL_CID;

	if (activity_absent(field, from))
		from = &none;
	return json_str.put(writer, field, from);
}

static const struct json_codec activity = { activity_absent, activity_get, activity_put };

#define REQUEST_BASE(type) \
	JSON_FIELD(type, base.container_id, "ContainerId", str, JSON_ALWAYS), \
	JSON_FIELD_WITH(type, base.activity_id, "ActivityId", activity, JSON_ALWAYS)

static const struct json_field error_record_fields[] = {
	JSON_FIELD(struct error_record, result, "Result", i32, JSON_ALWAYS),
	JSON_FIELD(struct error_record, message, "Message", str, JSON_ALWAYS),
	JSON_FIELD(struct error_record, stack_trace, "StackTrace", str),
	JSON_FIELD(struct error_record, module_name, "ModuleName", str, JSON_ALWAYS),
	JSON_FIELD(struct error_record, file_name, "FileName", str, JSON_ALWAYS),
	JSON_FIELD(struct error_record, line, "Line", u32, JSON_ALWAYS),
	JSON_FIELD(struct error_record, function_name, "FunctionName", str),
	{ NULL },
};
static const struct json_type error_record_type =
	JSON_TYPE(struct error_record, error_record_fields);

#define REPLY_BASE(type) \
	JSON_FIELD(type, base.result, "Result", i32, JSON_ALWAYS), \
	JSON_FIELD_WITH(type, base.activity_id, "ActivityId", activity), \
	JSON_FIELD(type, base.error_message, "ErrorMessage", str), \
	JSON_FIELD(type, base.error_records, "ErrorRecords", list, 0, &error_record_type)

static const struct json_field base_request_fields[] = {
	REQUEST_BASE(struct base_request),
	{ NULL },
};
const struct json_type base_request_type = JSON_TYPE(struct base_request, base_request_fields);

static const struct json_field base_reply_fields[] = {
	REPLY_BASE(struct base_reply),
	{ NULL },
};
const struct json_type base_reply_type = JSON_TYPE(struct base_reply, base_reply_fields);

/* NegotiateProtocol */

static const struct json_field session_request_fields[] = {
	JSON_FIELD(struct session_request, version, "Version", u32, JSON_REQUIRED | JSON_ALWAYS),
	JSON_FIELD(struct session_request, session, "Session", str, JSON_REQUIRED | JSON_ALWAYS),
	JSON_FIELD(struct session_request, received, "Received", u64, JSON_ALWAYS),
	JSON_FIELD(struct session_request, resume, "Resume", bool, JSON_ALWAYS),
	JSON_FIELD(struct session_request, max_frame, "MaxFrame", u32, JSON_ALWAYS),
	JSON_FIELD(struct session_request, time, "Time", u64),
	JSON_FIELD(struct session_request, entropy, "Entropy", str),
	JSON_FIELD(struct session_request, secret, "Secret", str),
	{ NULL },
};
static const struct json_type session_request_type =
	JSON_TYPE(struct session_request, session_request_fields);

static const struct json_field negotiate_request_fields[] = {
	REQUEST_BASE(struct negotiate_request),
	JSON_FIELD(struct negotiate_request, minimum_version, "MinimumVersion", u32, JSON_ALWAYS),
	JSON_FIELD(struct negotiate_request, maximum_version, "MaximumVersion", u32, JSON_ALWAYS),
	JSON_FIELD(struct negotiate_request, hvrun, "Hvrun", pointer, 0, &session_request_type),
	{ NULL },
};
static const struct json_type negotiate_request_type =
	JSON_TYPE(struct negotiate_request, negotiate_request_fields);

static const struct json_field schema_version_fields[] = {
	JSON_FIELD(struct schema_version, major, "Major", i32),
	JSON_FIELD(struct schema_version, minor, "Minor", i32),
	{ NULL },
};
static const struct json_type schema_version_type =
	JSON_TYPE(struct schema_version, schema_version_fields);

static const struct json_field session_reply_fields[] = {
	JSON_FIELD(struct session_reply, version, "Version", u32, JSON_REQUIRED | JSON_ALWAYS),
	JSON_FIELD(struct session_reply, session, "Session", str, JSON_REQUIRED | JSON_ALWAYS),
	JSON_FIELD(struct session_reply, resumed, "Resumed", bool, JSON_ALWAYS),
	JSON_FIELD(struct session_reply, received, "Received", u64, JSON_ALWAYS),
	JSON_FIELD(struct session_reply, max_frame, "MaxFrame", u32, JSON_ALWAYS),
	JSON_FIELD(struct session_reply, features, "Features", str_list, JSON_ALWAYS),
	JSON_FIELD(struct session_reply, containers, "Containers", str_list, JSON_ALWAYS),
	JSON_FIELD(struct session_reply, secret, "Secret", str),
	{ NULL },
};
static const struct json_type session_reply_type =
	JSON_TYPE(struct session_reply, session_reply_fields);

static const struct json_field guest_capabilities_fields[] = {
	JSON_FIELD(struct guest_capabilities, namespace_add_request_supported,
	           "NamespaceAddRequestSupported", bool),
	JSON_FIELD(struct guest_capabilities, signal_process_supported,
	           "SignalProcessSupported", bool),
	JSON_FIELD(struct guest_capabilities, dump_stacks_supported, "DumpStacksSupported", bool),
	JSON_FIELD(struct guest_capabilities, delete_container_state_supported,
	           "DeleteContainerStateSupported", bool),
	JSON_FIELD(struct guest_capabilities, hvrun, "Hvrun", pointer, 0, &session_reply_type),
	{ NULL },
};
static const struct json_type guest_capabilities_type =
	JSON_TYPE(struct guest_capabilities, guest_capabilities_fields);

static const struct json_field capabilities_fields[] = {
	JSON_FIELD(struct capabilities, send_host_create_message, "SendHostCreateMessage", bool),
	JSON_FIELD(struct capabilities, send_host_start_message, "SendHostStartMessage", bool),
	JSON_FIELD(struct capabilities, supported_schema_versions, "SupportedSchemaVersions", list,
	           0, &schema_version_type),
	JSON_FIELD(struct capabilities, runtime_os_type, "RuntimeOsType", str),
	JSON_FIELD(struct capabilities, guest_defined_capabilities, "GuestDefinedCapabilities",
	           pointer, 0, &guest_capabilities_type),
	{ NULL },
};
static const struct json_type capabilities_type =
	JSON_TYPE(struct capabilities, capabilities_fields);

static const struct json_field negotiate_reply_fields[] = {
	REPLY_BASE(struct negotiate_reply),
	JSON_FIELD(struct negotiate_reply, version, "Version", u32, JSON_ALWAYS),
	JSON_FIELD(struct negotiate_reply, capabilities, "Capabilities", object, JSON_ALWAYS,
	           &capabilities_type),
	{ NULL },
};
static const struct json_type negotiate_reply_type =
	JSON_TYPE(struct negotiate_reply, negotiate_reply_fields);

/* Create */

static const struct json_field container_config_fields[] = {
	JSON_FIELD(struct container_config, schema_version, "SchemaVersion", object, JSON_ALWAYS,
	           &schema_version_type),
	JSON_FIELD(struct container_config, oci_bundle_path, "OciBundlePath", str),
	JSON_FIELD(struct container_config, oci_specification, "OciSpecification", pointer, 0,
	           &oci_spec_type),
	JSON_FIELD(struct container_config, scratch_dir_path, "ScratchDirPath", str),
	JSON_FIELD(struct container_config, hold, "Hold", bool),
	{ NULL },
};
static const struct json_type container_config_type =
	JSON_TYPE(struct container_config, container_config_fields);

static const struct json_field create_request_fields[] = {
	REQUEST_BASE(struct create_request),
	JSON_FIELD(struct create_request, container_config, "ContainerConfig", nested,
	           JSON_REQUIRED, &container_config_type),
	{ NULL },
};
static const struct json_type create_request_type =
	JSON_TYPE(struct create_request, create_request_fields);

static const struct json_field create_reply_fields[] = {
	REPLY_BASE(struct create_reply),
	JSON_FIELD(struct create_reply, selected_protocol_version, "SelectedProtocolVersion", u32,
	           JSON_ALWAYS),
	JSON_FIELD(struct create_reply, process_id, "ProcessId", u32),
	{ NULL },
};
static const struct json_type create_reply_type =
	JSON_TYPE(struct create_reply, create_reply_fields);

/* ExecuteProcess */

static const struct json_field process_parameters_fields[] = {
	JSON_FIELD(struct process_parameters, command_line, "CommandLine", str),
	JSON_FIELD(struct process_parameters, command_args, "CommandArgs", str_list),
	JSON_FIELD(struct process_parameters, user, "User", str),
	JSON_FIELD(struct process_parameters, working_directory, "WorkingDirectory", str),
	JSON_FIELD(struct process_parameters, environment, "Environment", str_map),
	JSON_FIELD(struct process_parameters, emulate_console, "EmulateConsole", bool),
	JSON_FIELD(struct process_parameters, create_stdin_pipe, "CreateStdInPipe", bool),
	JSON_FIELD(struct process_parameters, create_stdout_pipe, "CreateStdOutPipe", bool),
	JSON_FIELD(struct process_parameters, create_stderr_pipe, "CreateStdErrPipe", bool),
	JSON_FIELD(struct process_parameters, console_size, "ConsoleSize", u32_list),
	JSON_FIELD(struct process_parameters, create_in_utility_vm, "CreateInUtilityVM", bool),
	JSON_FIELD(struct process_parameters, oci_process, "OciProcess", pointer, 0,
	           &oci_process_type),
	{ NULL },
};
const struct json_type process_parameters_type =
	JSON_TYPE(struct process_parameters, process_parameters_fields);

static const struct json_field stdio_ports_fields[] = {
	JSON_FIELD(struct stdio_ports, in, "StdIn", u32),
	JSON_FIELD(struct stdio_ports, out, "StdOut", u32),
	JSON_FIELD(struct stdio_ports, err, "StdErr", u32),
	{ NULL },
};
static const struct json_type stdio_ports_type = JSON_TYPE(struct stdio_ports, stdio_ports_fields);

static const struct json_field stdio_streams_fields[] = {
	JSON_FIELD(struct stdio_streams, in, "StdIn", u64),
	JSON_FIELD(struct stdio_streams, out, "StdOut", u64),
	JSON_FIELD(struct stdio_streams, err, "StdErr", u64),
	JSON_FIELD(struct stdio_streams, window, "Window", u32),
	{ NULL },
};
static const struct json_type stdio_streams_type =
	JSON_TYPE(struct stdio_streams, stdio_streams_fields);

static const struct json_field execute_settings_fields[] = {
	JSON_FIELD(struct execute_settings, process_parameters, "ProcessParameters", nested,
	           JSON_REQUIRED, &process_parameters_type),
	JSON_FIELD(struct execute_settings, ports, "VsockStdioRelaySettings", pointer, 0,
	           &stdio_ports_type),
	JSON_FIELD(struct execute_settings, streams, "Streams", pointer, 0, &stdio_streams_type),
	{ NULL },
};
static const struct json_type execute_settings_type =
	JSON_TYPE(struct execute_settings, execute_settings_fields);

static const struct json_field execute_request_fields[] = {
	REQUEST_BASE(struct execute_request),
	JSON_FIELD(struct execute_request, settings, "Settings", object,
	           JSON_REQUIRED | JSON_ALWAYS, &execute_settings_type),
	{ NULL },
};
static const struct json_type execute_request_type =
	JSON_TYPE(struct execute_request, execute_request_fields);

static const struct json_field execute_reply_fields[] = {
	REPLY_BASE(struct execute_reply),
	JSON_FIELD(struct execute_reply, process_id, "ProcessId", u32, JSON_ALWAYS),
	{ NULL },
};
static const struct json_type execute_reply_type =
	JSON_TYPE(struct execute_reply, execute_reply_fields);

/* WaitForProcess, SignalProcess, ResizeConsole */

static const struct json_field wait_request_fields[] = {
	REQUEST_BASE(struct wait_request),
	JSON_FIELD(struct wait_request, process_id, "ProcessId", u32, JSON_ALWAYS),
	JSON_FIELD(struct wait_request, timeout_in_ms, "TimeoutInMs", u32, JSON_ALWAYS),
	{ NULL },
};
static const struct json_type wait_request_type =
	JSON_TYPE(struct wait_request, wait_request_fields);

static const struct json_field stream_offsets_fields[] = {
	JSON_FIELD(struct stream_offsets, out, "StdOut", opt_u64),
	JSON_FIELD(struct stream_offsets, err, "StdErr", opt_u64),
	{ NULL },
};
static const struct json_type stream_offsets_type =
	JSON_TYPE(struct stream_offsets, stream_offsets_fields);

static const struct json_field wait_reply_fields[] = {
	REPLY_BASE(struct wait_reply),
	JSON_FIELD(struct wait_reply, exit_code, "ExitCode", u32, JSON_ALWAYS),
	JSON_FIELD(struct wait_reply, exited_at, "ExitedAt", str),
	JSON_FIELD(struct wait_reply, offsets, "Offsets", pointer, 0, &stream_offsets_type),
	{ NULL },
};
static const struct json_type wait_reply_type = JSON_TYPE(struct wait_reply, wait_reply_fields);

static const struct json_name signal_scope_names[] = {
	{ "process", SCOPE_PROCESS },
	{ "group", SCOPE_GROUP },
	{ "session", SCOPE_SESSION },
	{ "container", SCOPE_CONTAINER },
	{ NULL },
};

static const struct json_field signal_options_fields[] = {
	JSON_FIELD(struct signal_options, signal, "Signal", i32),
	JSON_FIELD(struct signal_options, scope, "Scope", enum, 0, signal_scope_names),
	{ NULL },
};
static const struct json_type signal_options_type =
	JSON_TYPE(struct signal_options, signal_options_fields);

static const struct json_field signal_request_fields[] = {
	REQUEST_BASE(struct signal_request),
	JSON_FIELD(struct signal_request, process_id, "ProcessId", u32, JSON_ALWAYS),
	JSON_FIELD(struct signal_request, options, "Options", object, 0, &signal_options_type),
	{ NULL },
};
static const struct json_type signal_request_type =
	JSON_TYPE(struct signal_request, signal_request_fields);

static const struct json_field resize_request_fields[] = {
	REQUEST_BASE(struct resize_request),
	JSON_FIELD(struct resize_request, process_id, "ProcessId", u32, JSON_ALWAYS),
	JSON_FIELD(struct resize_request, height, "Height", u16, JSON_ALWAYS),
	JSON_FIELD(struct resize_request, width, "Width", u16, JSON_ALWAYS),
	{ NULL },
};
static const struct json_type resize_request_type =
	JSON_TYPE(struct resize_request, resize_request_fields);

/* GetProperties */

/* An empty string is a query for nothing. */
static int query_get(struct json_reader *reader, const struct json *value,
                     const struct json_field *field, void *to)
{
	if (value->kind == JSON_STRING && !value->length)
		return 0;
	return json_nested.get(reader, value, field, to);
}

static bool query_absent(const struct json_field *field, const void *from)
{
	return json_nested.absent(field, from);
}

static int query_put(struct json_writer *writer, const struct json_field *field, const void *from)
{
	return json_nested.put(writer, field, from);
}

static const struct json_codec query = { query_absent, query_get, query_put };

static const struct json_field property_query_fields[] = {
	JSON_FIELD(struct property_query, property_types, "PropertyTypes", str_list),
	{ NULL },
};
static const struct json_type property_query_type =
	JSON_TYPE(struct property_query, property_query_fields);

static const struct json_field properties_request_fields[] = {
	REQUEST_BASE(struct properties_request),
	JSON_FIELD_WITH(struct properties_request, query, "Query", query, 0, &property_query_type),
	{ NULL },
};
static const struct json_type properties_request_type =
	JSON_TYPE(struct properties_request, properties_request_fields);

static const struct json_field properties_reply_fields[] = {
	REPLY_BASE(struct properties_reply),
	JSON_FIELD(struct properties_reply, properties, "Properties", nested_any),
	{ NULL },
};
static const struct json_type properties_reply_type =
	JSON_TYPE(struct properties_reply, properties_reply_fields);

static const struct json_field process_item_fields[] = {
	JSON_FIELD(struct process_item, process_id, "ProcessId", u32, JSON_ALWAYS),
	JSON_FIELD(struct process_item, image_name, "ImageName", str),
	{ NULL },
};
static const struct json_type process_item_type =
	JSON_TYPE(struct process_item, process_item_fields);

static const struct json_field process_list_fields[] = {
	JSON_FIELD(struct process_list, process_list, "ProcessList", list, 0, &process_item_type),
	{ NULL },
};
const struct json_type process_list_type = JSON_TYPE(struct process_list, process_list_fields);

/* ModifySettings */

static const struct json_field modify_settings_fields[] = {
	JSON_FIELD(struct modify_settings, request_type, "RequestType", str),
	JSON_FIELD(struct modify_settings, resource_type, "ResourceType", str, JSON_ALWAYS),
	JSON_FIELD(struct modify_settings, settings, "Settings", any),
	{ NULL },
};
static const struct json_type modify_settings_type =
	JSON_TYPE(struct modify_settings, modify_settings_fields);

static const struct json_field modify_request_fields[] = {
	REQUEST_BASE(struct modify_request),
	JSON_FIELD(struct modify_request, request, "Request", object, JSON_REQUIRED | JSON_ALWAYS,
	           &modify_settings_type),
	{ NULL },
};
static const struct json_type modify_request_type =
	JSON_TYPE(struct modify_request, modify_request_fields);

/* Their decoder wants an object even where there is nothing to say. */
static int constraints_put(struct json_writer *writer, const struct json_field *field,
                           const void *from)
{
	static const struct json empty = { .kind = JSON_OBJECT };
	const struct json *value = from;

	return json_any.put(writer, field, value->kind == JSON_NULL ? &empty : value);
}

static bool constraints_absent(const struct json_field *field, const void *from)
{
	return json_any.absent(field, from);
}

static int constraints_get(struct json_reader *reader, const struct json *value,
                           const struct json_field *field, void *to)
{
	return json_any.get(reader, value, field, to);
}

static const struct json_codec constraints = {
	constraints_absent, constraints_get, constraints_put
};

static const struct json_field container_constraints_fields[] = {
	JSON_FIELD_WITH(struct container_constraints, windows, "Windows", constraints, JSON_ALWAYS),
	JSON_FIELD(struct container_constraints, linux_, "Linux", pointer, 0, &oci_resources_type),
	{ NULL },
};
const struct json_type container_constraints_type =
	JSON_TYPE(struct container_constraints, container_constraints_fields);

/* KernelLog, Clock */

static const struct json_field kernel_log_request_fields[] = {
	REQUEST_BASE(struct kernel_log_request),
	JSON_FIELD(struct kernel_log_request, streams, "Streams", pointer, JSON_REQUIRED,
	           &stdio_streams_type),
	{ NULL },
};
static const struct json_type kernel_log_request_type =
	JSON_TYPE(struct kernel_log_request, kernel_log_request_fields);

static const struct json_field clock_request_fields[] = {
	REQUEST_BASE(struct clock_request),
	JSON_FIELD(struct clock_request, time, "Time", u64, JSON_REQUIRED | JSON_ALWAYS),
	{ NULL },
};
static const struct json_type clock_request_type =
	JSON_TYPE(struct clock_request, clock_request_fields);

/* DumpStacks, Notification */

static const struct json_field dump_reply_fields[] = {
	REPLY_BASE(struct dump_reply),
	JSON_FIELD(struct dump_reply, guest_stacks, "GuestStacks", str, JSON_ALWAYS),
	{ NULL },
};
static const struct json_type dump_reply_type = JSON_TYPE(struct dump_reply, dump_reply_fields);

static const struct json_field notification_fields[] = {
	JSON_FIELD(struct notification, base.container_id, "ContainerId", str, JSON_ALWAYS),
	JSON_FIELD_WITH(struct notification, base.activity_id, "ActivityId", activity),
	JSON_FIELD(struct notification, type, "Type", str, JSON_ALWAYS),
	JSON_FIELD(struct notification, operation, "Operation", str, JSON_ALWAYS),
	JSON_FIELD(struct notification, result, "Result", i32, JSON_ALWAYS),
	JSON_FIELD(struct notification, process_id, "ProcessId", u32),
	JSON_FIELD(struct notification, count, "Count", u64),
	JSON_FIELD(struct notification, stream, "Stream", u64),
	JSON_FIELD(struct notification, offset, "Offset", u64),
	{ NULL },
};
static const struct json_type notification_type =
	JSON_TYPE(struct notification, notification_fields);

static const struct message messages[] = {
	{ MESSAGE_CREATE, "Create", &create_request_type, &create_reply_type },
	{ MESSAGE_START, "Start", &base_request_type, &base_reply_type },
	{ MESSAGE_SHUTDOWN_GRACEFUL, "ShutdownGraceful", &base_request_type, &base_reply_type },
	{ MESSAGE_SHUTDOWN_FORCED, "ShutdownForced", &base_request_type, &base_reply_type },
	{ MESSAGE_EXECUTE_PROCESS, "ExecuteProcess", &execute_request_type, &execute_reply_type },
	{ MESSAGE_WAIT_FOR_PROCESS, "WaitForProcess", &wait_request_type, &wait_reply_type },
	{ MESSAGE_SIGNAL_PROCESS, "SignalProcess", &signal_request_type, &base_reply_type },
	{ MESSAGE_RESIZE_CONSOLE, "ResizeConsole", &resize_request_type, &base_reply_type },
	{ MESSAGE_GET_PROPERTIES, "GetProperties", &properties_request_type,
	  &properties_reply_type },
	{ MESSAGE_MODIFY_SETTINGS, "ModifySettings", &modify_request_type, &base_reply_type },
	{ MESSAGE_NEGOTIATE_PROTOCOL, "NegotiateProtocol", &negotiate_request_type,
	  &negotiate_reply_type },
	{ MESSAGE_DUMP_STACKS, "DumpStacks", &base_request_type, &dump_reply_type },
	{ MESSAGE_DELETE_CONTAINER_STATE, "DeleteContainerState", &base_request_type,
	  &base_reply_type },
	{ MESSAGE_PAUSE, "Pause", &base_request_type, &base_reply_type },
	{ MESSAGE_RESUME, "Resume", &base_request_type, &base_reply_type },
	{ MESSAGE_KERNEL_LOG, "KernelLog", &kernel_log_request_type, &base_reply_type },
	{ MESSAGE_CLOCK, "Clock", &clock_request_type, &base_reply_type },
	{ MESSAGE_NOTIFICATION, "Notification", &notification_type, NULL },
};

const struct message *message_find(uint32_t type)
{
	for (size_t i = 0; i < array_size(messages); i++) {
		const struct message *message = &messages[i];
		if (type == message->type ||
		    (message->reply && type == MESSAGE_RESPONSE(message->type)))
			return message;
	}
	return NULL;
}

int message_encode(const struct json_type *type, const void *from, enum message_side side,
                   uint32_t max, struct buf *out)
{
	size_t before = buf_length(out), limit = out->limit;
	size_t room = max > FRAME_HEADER ? max - FRAME_HEADER : 0;

	/* The limit is narrowed rather than the length looked at afterwards: nothing is made that
	 * could not be sent. */
	out->limit = min_size(limit, before + room);
	int r = json_encode(type, from, out, side == FROM_GUEST);
	if (r >= 0 && side == FROM_HOST)
		r = buf_append(out, "\n", 1);
	out->limit = limit;

	if (r < 0) {
		out->end = out->start + before;
		if (r == -ENOBUFS && before + room <= limit)
			return -EMSGSIZE;
		return r;
	}
	return 0;
}

/* The longest beginning of text that has at most max bytes and no broken character. */
static size_t cut_length(const char *text, size_t max)
{
	size_t length = 0, n;

	while (text[length]) {
		n = utf8_length(text + length, strlen(text + length));
		if (!n)
			n = 1;
		if (length + n > max)
			break;
		length += n;
	}
	return length;
}

int message_encode_fault(const struct fault *fault, const char *activity_id, uint32_t max,
                         struct buf *out)
{
	struct fault cut = *fault;
	struct error_record record = {
		/* A failure must not look like a success, whoever forgot to say what it was. */
		.result = fault->hresult == HRESULT_OK ? HRESULT_FAIL : fault->hresult,
		.message = cut.text,
		.module_name = "hvrun",
		.file_name = "",
		.line = UINT32_MAX,
	};
	struct base_reply reply = {
		.base = {
			.result = record.result,
			.activity_id = activity_id,
			.error_message = cut.text,
			.error_records = { 1, &record },
		},
	};

	for (;;) {
		size_t length = strlen(cut.text);
		int r = message_encode(&base_reply_type, &reply, FROM_GUEST, max, out);

		if (r != -EMSGSIZE || !length)
			return r;
		cut.text[cut_length(cut.text, length * 7 / 8)] = '\0';
	}
}
