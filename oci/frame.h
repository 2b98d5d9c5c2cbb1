/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The 16-byte header of every frame (PROTOCOL.md, "Frames"). */

#include "hvsocket/base.h"

#define FRAME_HEADER 16
#define FRAME_PLAIN_MAX 65536           /* guest → host without a session, header included */
#define FRAME_HOST_MAX (4u << 20)       /* the most we accept from a host, header included */
#define FRAME_SESSION_MIN 4096          /* bounds of the negotiable MaxFrame */
#define FRAME_SESSION_MAX (4u << 20)
#define FRAME_SESSION_DEFAULT (1u << 20)
#define FRAME_DATA_MAX 65536            /* payload of a DATA frame */

/* Type = kind | category | number | version */
#define FRAME_KIND 0xF0000000u
#define FRAME_REQUEST 0x10000000u
#define FRAME_RESPONSE 0x20000000u
#define FRAME_NOTIFICATION 0x30000000u
#define FRAME_SESSION 0x40000000u       /* our kind: streams and acknowledgements */

#define FRAME_ACK 0x40000101u
#define FRAME_DATA 0x40100101u
#define FRAME_WINDOW 0x40100201u
#define FRAME_END 0x40100301u
#define FRAME_STOP 0x40100401u

enum frame_end_reason { END_OF_FILE = 0, END_SOURCE_FAILED = 1, END_STOPPED = 2 };

struct frame {
	uint32_t type;
	uint32_t size;  /* of the whole frame, header included */
	uint64_t id;
};

void frame_encode(const struct frame *frame, uint8_t out[static FRAME_HEADER]);
/* -EPROTO when size is not in FRAME_HEADER…max. */
int frame_decode(const uint8_t in[static FRAME_HEADER], uint32_t max, struct frame *ret);
uint32_t frame_get_u32(const uint8_t in[static 4]);
uint64_t frame_get_u64(const uint8_t in[static 8]);
void frame_put_u32(uint8_t out[static 4], uint32_t value);
void frame_put_u64(uint8_t out[static 8], uint64_t value);
