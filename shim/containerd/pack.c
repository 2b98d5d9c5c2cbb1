/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The strings of a message are often borrowed, and const. They are made harmless where they are
 * ours: in the packed bytes, where a replacement of the same length changes nothing else. The
 * descriptor tells which of the length-delimited fields are strings, and which hold more of them.
 */

#include "shim/containerd/pack.h"

#include "oci/utf8.h"

struct cursor {
	uint8_t *at;
	size_t left;
};

enum wire_type { WIRE_VARINT, WIRE_FIXED64, WIRE_BYTES, WIRE_FIXED32 = 5 };

static uint64_t take_varint(struct cursor *cursor)
{
	uint64_t value = 0;
	uint8_t byte = 0x80;

	for (unsigned shift = 0; byte & 0x80 && shift < 64 && cursor->left; shift += 7) {
		byte = *cursor->at++;
		cursor->left--;
		value |= (uint64_t)(byte & 0x7f) << shift;
	}
	return value;
}

static struct cursor take(struct cursor *cursor, uint64_t size)
{
	struct cursor taken = { cursor->at, size < cursor->left ? (size_t)size : cursor->left };

	cursor->at += taken.left;
	cursor->left -= taken.left;
	return taken;
}

/* Whether all was well. */
static bool check_string(struct cursor string, bool repair)
{
	bool valid = true;

	while (string.left) {
		size_t n = utf8_length((const char *)string.at, string.left);
		if (!n && repair)
			*string.at = '?';
		valid = valid && n;
		(void)take(&string, n ? n : 1);
	}
	return valid;
}

static bool check_message(const ProtobufCMessageDescriptor *type, struct cursor message,
                          bool repair)
{
	bool valid = true;

	while (message.left) {
		uint64_t tag = take_varint(&message);
		const ProtobufCFieldDescriptor *field =
			protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));

		switch (tag & 7) {
		case WIRE_VARINT:
			(void)take_varint(&message);
			break;
		case WIRE_FIXED64:
			(void)take(&message, 8);
			break;
		case WIRE_FIXED32:
			(void)take(&message, 4);
			break;
		case WIRE_BYTES: {
			struct cursor bytes = take(&message, take_varint(&message));
			if (field && field->type == PROTOBUF_C_TYPE_STRING)
				valid = check_string(bytes, repair) && valid;
			else if (field && field->type == PROTOBUF_C_TYPE_MESSAGE)
				valid = check_message(field->descriptor, bytes, repair) && valid;
			break;
		}
		default:
			return valid;
		}
	}
	return valid;
}

ProtobufCMessage *unpack_message(const ProtobufCMessageDescriptor *type,
                                 const ProtobufCBinaryData *bytes)
{
	struct cursor packed = { bytes->data, bytes->len };
	ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, bytes->len, bytes->data);

	if (message && check_message(type, packed, false))
		return message;
	protobuf_c_message_free_unpacked(message, NULL);
	return NULL;
}

void pack_at(uint8_t *to, const ProtobufCMessage *message)
{
	struct cursor packed = { to, protobuf_c_message_pack(message, to) };

	(void)check_message(message->descriptor, packed, true);
}

int pack_message(ProtobufCBinaryData *ret, const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);

	*ret = (ProtobufCBinaryData){ 0 };
	if (!size)
		return 0;
	ret->data = malloc(size);
	if (!ret->data)
		return -ENOMEM;
	ret->len = size;
	pack_at(ret->data, message);
	return 0;
}
