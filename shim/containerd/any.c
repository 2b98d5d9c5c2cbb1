/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Names of types may hold slashes themselves ("types.containerd.io/opencontainers/…/Process" for
 * JSON), so a prefix is not cut off at the last slash of what came: the name that is looked for has
 * to be all of it, or what follows one of its slashes up to the end.
 */

#include "shim/containerd/any.h"

#include <string.h>

bool any_is(const Google__Protobuf__Any *any, const char *type)
{
	if (!any || !any->type_url)
		return false;
	size_t has = strlen(any->type_url), wants = strlen(type);
	if (has < wants || strcmp(any->type_url + has - wants, type) != 0)
		return false;
	return has == wants || any->type_url[has - wants - 1] == '/';
}

int any_pack(Google__Protobuf__Any *ret, const ProtobufCMessage *message)
{
	google__protobuf__any__init(ret);
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *value = size ? malloc(size) : NULL;
	if (size && !value)
		return -ENOMEM;
	ret->type_url = (char *)message->descriptor->name;
	ret->value.len = size ? protobuf_c_message_pack(message, value) : 0;
	ret->value.data = value;
	return 0;
}

void any_deinit(Google__Protobuf__Any *any)
{
	free(any->value.data);
	google__protobuf__any__init(any);
}
