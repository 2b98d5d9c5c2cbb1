/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The header is little endian on the wire whatever the machine is, and it is put together byte by
 * byte because a frame may begin anywhere in a buffer; compilers make one load or store of it.
 */

#include "oci/frame.h"

#define AT_TYPE 0
#define AT_SIZE 4
#define AT_ID 8

void frame_put_u32(uint8_t out[static 4], uint32_t value)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(value >> 8 * i);
}

void frame_put_u64(uint8_t out[static 8], uint64_t value)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(value >> 8 * i);
}

uint32_t frame_get_u32(const uint8_t in[static 4])
{
	uint32_t value = 0;
	for (int i = 0; i < 4; i++)
		value |= (uint32_t)in[i] << 8 * i;
	return value;
}

uint64_t frame_get_u64(const uint8_t in[static 8])
{
	uint64_t value = 0;
	for (int i = 0; i < 8; i++)
		value |= (uint64_t)in[i] << 8 * i;
	return value;
}

void frame_encode(const struct frame *frame, uint8_t out[static FRAME_HEADER])
{
	frame_put_u32(out + AT_TYPE, frame->type);
	frame_put_u32(out + AT_SIZE, frame->size);
	frame_put_u64(out + AT_ID, frame->id);
}

int frame_decode(const uint8_t in[static FRAME_HEADER], uint32_t max, struct frame *ret)
{
	struct frame frame = {
		.type = frame_get_u32(in + AT_TYPE),
		.size = frame_get_u32(in + AT_SIZE),
		.id = frame_get_u64(in + AT_ID),
	};
	if (frame.size < FRAME_HEADER || frame.size > max)
		return -EPROTO;
	*ret = frame;
	return 0;
}
