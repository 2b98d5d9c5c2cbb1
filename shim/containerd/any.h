/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * google.protobuf.Any as containerd uses it: the type's bare name, "containerd.events.TaskExit",
 * is what it sends and looks for. Others put a prefix before it, "type.googleapis.com/".
 */

#include "hvsocket/base.h"

#include "shim/containerd/proto/google.pb-c.h"

/* Is the value of this type? With or without a prefix, which ends at a '/'. A NULL any is not. */
bool any_is(const Google__Protobuf__Any *any, const char *type);
/*
 * *ret becomes the packed message (see pack.h). The type's name is static, the value is malloc'd
 * and the caller's: any_deinit(). Empty after a failure.
 */
int any_pack(Google__Protobuf__Any *ret, const ProtobufCMessage *message);
/* Only for one that any_pack() made, or that is zero. */
void any_deinit(Google__Protobuf__Any *any);
