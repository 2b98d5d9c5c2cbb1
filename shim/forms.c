/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The tables of oci/message.c decode these requests for the agent. Here they are written with other
 * structs, in which the documents are strings: a config.json goes from the caller to the agent byte
 * for byte, and is not parsed on the way.
 */

#include "shim/forms.h"

#include <string.h>

struct host_create {
	struct request_base base;
	const char *config;
};
static const struct json_field create_fields[] = {
	JSON_FIELD(struct host_create, base.container_id, "ContainerId", str, JSON_ALWAYS),
	JSON_FIELD(struct host_create, base.activity_id, "ActivityId", str, JSON_ALWAYS),
	JSON_FIELD(struct host_create, config, "ContainerConfig", str, JSON_ALWAYS),
	{ NULL },
};
static const struct json_type create_type = JSON_TYPE(struct host_create, create_fields);

static const struct json_field streams_fields[] = {
	JSON_FIELD(struct stdio_streams, in, "StdIn", u64),
	JSON_FIELD(struct stdio_streams, out, "StdOut", u64),
	JSON_FIELD(struct stdio_streams, err, "StdErr", u64),
	JSON_FIELD(struct stdio_streams, window, "Window", u32),
	{ NULL },
};
static const struct json_type streams_type = JSON_TYPE(struct stdio_streams, streams_fields);

struct host_settings {
	const char *parameters;
	struct stdio_streams streams;
};
static const struct json_field settings_fields[] = {
	JSON_FIELD(struct host_settings, parameters, "ProcessParameters", str, JSON_ALWAYS),
	JSON_FIELD(struct host_settings, streams, "Streams", object, JSON_ALWAYS, &streams_type),
	{ NULL },
};
static const struct json_type settings_type = JSON_TYPE(struct host_settings, settings_fields);

struct host_execute {
	struct request_base base;
	struct host_settings settings;
};
static const struct json_field execute_fields[] = {
	JSON_FIELD(struct host_execute, base.container_id, "ContainerId", str, JSON_ALWAYS),
	JSON_FIELD(struct host_execute, base.activity_id, "ActivityId", str, JSON_ALWAYS),
	JSON_FIELD(struct host_execute, settings, "Settings", object, JSON_ALWAYS, &settings_type),
	{ NULL },
};
static const struct json_type execute_type = JSON_TYPE(struct host_execute, execute_fields);

struct host_modify_settings {
	const char *request_type, *resource_type;
	struct container_constraints settings;
};
static const struct json_field modify_settings_fields[] = {
	JSON_FIELD(struct host_modify_settings, request_type, "RequestType", str),
	JSON_FIELD(struct host_modify_settings, resource_type, "ResourceType", str),
	JSON_FIELD(struct host_modify_settings, settings, "Settings", object, JSON_ALWAYS,
	           &container_constraints_type),
	{ NULL },
};
static const struct json_type modify_settings_type =
	JSON_TYPE(struct host_modify_settings, modify_settings_fields);

struct host_modify {
	struct request_base base;
	struct host_modify_settings request;
};
static const struct json_field modify_fields[] = {
	JSON_FIELD(struct host_modify, base.container_id, "ContainerId", str, JSON_ALWAYS),
	JSON_FIELD(struct host_modify, base.activity_id, "ActivityId", str, JSON_ALWAYS),
	JSON_FIELD(struct host_modify, request, "Request", object, JSON_ALWAYS,
	           &modify_settings_type),
	{ NULL },
};
static const struct json_type modify_type = JSON_TYPE(struct host_modify, modify_fields);

static int give_up(struct buf *document, int error, struct fault *fault)
{
	buf_deinit(document);
	return fault_errno(fault, error, "request to the agent");
}

int form_create(struct bridge *bridge, struct bridge_call *call, const char *id, const char *bundle,
                const char *config, bool hold, bridge_answer_fn *answer, struct fault *fault)
{
	struct buf document = BUF(FRAME_HOST_MAX);
	int r = buf_printf(&document, "{\"SchemaVersion\":{\"Major\":2,\"Minor\":1},"
	                   "\"OciBundlePath\":");

	if (r >= 0)
		r = json_write_string(&document, bundle, strlen(bundle), false);
	if (r >= 0)
		r = buf_printf(&document, ",\"OciSpecification\":");
	if (r >= 0)
		r = buf_append(&document, config, strlen(config));
	if (r >= 0)
		r = buf_printf(&document, "%s}", hold ? ",\"Hold\":true" : "");
	if (r >= 0)
		r = buf_append(&document, "", 1);
	if (r < 0)
		return give_up(&document, r, fault);
	struct host_create request = {
		.base = { .container_id = id, .activity_id = NULL_CID },
		.config = buf_head(&document),
	};
	r = bridge_send(bridge, call, MESSAGE_CREATE, &create_type, &request, answer, fault);
	buf_deinit(&document);
	return r;
}

static int send_execute(struct bridge *bridge, struct bridge_call *call, const char *id,
                        const char *parameters, const struct stdio_streams *streams,
                        bridge_answer_fn *answer, struct fault *fault)
{
	struct host_execute request = {
		.base = { .container_id = id, .activity_id = NULL_CID },
		.settings = { .parameters = parameters, .streams = *streams },
	};

	return bridge_send(bridge, call, MESSAGE_EXECUTE_PROCESS, &execute_type, &request, answer,
	                   fault);
}

int form_execute_vm(struct bridge *bridge, struct bridge_call *call, const char *parameters,
                    const struct stdio_streams *streams, bridge_answer_fn *answer,
                    struct fault *fault)
{
	return send_execute(bridge, call, NULL_CID, parameters, streams, answer, fault);
}

int form_execute(struct bridge *bridge, struct bridge_call *call, const char *id,
                 const char *process, const struct stdio_streams *streams,
                 bridge_answer_fn *answer, struct fault *fault)
{
	struct buf document = BUF(FRAME_HOST_MAX);
	int r = buf_printf(&document, "{\"CreateStdInPipe\":%s,\"CreateStdOutPipe\":%s,"
	                   "\"CreateStdErrPipe\":%s", streams->in ? "true" : "false",
	                   streams->out ? "true" : "false", streams->err ? "true" : "false");

	if (r >= 0 && process)
		r = buf_printf(&document, ",\"OciProcess\":");
	if (r >= 0 && process)
		r = buf_append(&document, process, strlen(process));
	if (r >= 0)
		r = buf_append(&document, "}", 2);
	if (r < 0)
		return give_up(&document, r, fault);
	r = send_execute(bridge, call, id, buf_head(&document), streams, answer, fault);
	buf_deinit(&document);
	return r;
}

int form_modify(struct bridge *bridge, struct bridge_call *call, const char *request_type,
                const char *resource_type, const struct json_type *type, const void *settings,
                bridge_answer_fn *answer, struct fault *fault)
{
	struct modify_request request = {
		.base.container_id = NULL_CID,
		.request = { .request_type = request_type, .resource_type = resource_type },
	};
	struct arena arena = ARENA(JSON_ARENA);
	struct buf text = BUF(FRAME_HOST_MAX);
	int r = json_encode(type, settings, &text, false);

	if (r >= 0)
		r = json_parse(&arena, buf_head(&text), buf_length(&text),
		               &request.request.settings, NULL);
	if (r < 0)
		fault_errno(fault, r, "request to the agent");
	else
		r = bridge_send(bridge, call, MESSAGE_MODIFY_SETTINGS,
		                message_find(MESSAGE_MODIFY_SETTINGS)->request, &request, answer,
		                fault);
	buf_deinit(&text);
	arena_free(&arena);
	return r;
}

int form_update(struct bridge *bridge, struct bridge_call *call, const char *id,
                struct oci_resources *resources, bridge_answer_fn *answer, struct fault *fault)
{
	struct host_modify request = {
		.base = { .container_id = id, .activity_id = NULL_CID },
		.request = {
			.request_type = "Update",
			.resource_type = "ContainerConstraints",
			.settings = { .linux_ = resources },
		},
	};

	return bridge_send(bridge, call, MESSAGE_MODIFY_SETTINGS, &modify_type, &request, answer,
	                   fault);
}
