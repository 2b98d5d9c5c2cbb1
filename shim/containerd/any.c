/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Names of types may hold slashes themselves ("types.containerd.io/opencontainers/…/Process" for
 * JSON), so a prefix is not cut off at the last slash of what came: the name that is looked for has
 * to be all of it, or what follows one of its slashes up to the end.
 */

#include "shim/containerd/any.h"

#include "shim/containerd/pack.h"

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
	int r = pack_message(&ret->value, message);
	if (r >= 0)
		ret->type_url = (char *)(uintptr_t)message->descriptor->name;
	return r;
}

void any_deinit(Google__Protobuf__Any *any)
{
	free(any->value.data);
	google__protobuf__any__init(any);
}
