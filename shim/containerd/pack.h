/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Messages become bytes, and bytes messages. Our readers are written in Go, which refuses a whole
 * message for one string that is no UTF-8; paths and names are any bytes. So every byte of a string
 * that is in no character becomes '?' on its way out, and what comes in is refused as they would.
 */

#include "hvsocket/base.h"

#include <protobuf-c/protobuf-c.h>

/* Writes protobuf_c_message_get_packed_size() bytes. */
void pack_at(uint8_t *to, const ProtobufCMessage *message);
/* The same into memory of the caller's: free ret->data, which is NULL when there are no bytes. */
int pack_message(ProtobufCBinaryData *ret, const ProtobufCMessage *message);
/* For protobuf_c_message_free_unpacked(). NULL: not a message of this type, or no memory. */
ProtobufCMessage *unpack_message(const ProtobufCMessageDescriptor *type,
                                 const ProtobufCBinaryData *bytes);
