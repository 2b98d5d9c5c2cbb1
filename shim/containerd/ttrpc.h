/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * ttrpc, containerd's small RPC protocol, as far as client and server share it: frames, and the
 * codes that answers carry. A frame has a header of ten bytes, big endian, and a payload: of a
 * request a ttrpc.Request, of a response a ttrpc.Response. Requests and responses find each other
 * by the number of their stream.
 */

#include "oci/buf.h"
#include "oci/fault.h"

#include "shim/containerd/proto/ttrpc.pb-c.h"

#define TTRPC_HEADER 10
#define TTRPC_PAYLOAD_MAX (4u << 20)

enum ttrpc_type {
	TTRPC_REQUEST = 1,
	TTRPC_RESPONSE = 2,
	TTRPC_DATA = 3,         /* of a streaming call; nothing that we serve or call streams */
};

struct ttrpc_frame {
	uint32_t size;          /* of the payload */
	uint32_t stream;
	uint8_t type;
	uint8_t flags;
};

void ttrpc_frame_encode(const struct ttrpc_frame *frame, uint8_t out[static TTRPC_HEADER]);
void ttrpc_frame_decode(const uint8_t in[static TTRPC_HEADER], struct ttrpc_frame *ret);

/* The status codes of gRPC. */
enum ttrpc_code {
	TTRPC_OK = 0,
	TTRPC_CANCELED = 1,
	TTRPC_UNKNOWN = 2,
	TTRPC_INVALID_ARGUMENT = 3,
	TTRPC_DEADLINE_EXCEEDED = 4,
	TTRPC_NOT_FOUND = 5,
	TTRPC_ALREADY_EXISTS = 6,
	TTRPC_PERMISSION_DENIED = 7,
	TTRPC_RESOURCE_EXHAUSTED = 8,
	TTRPC_FAILED_PRECONDITION = 9,
	TTRPC_ABORTED = 10,
	TTRPC_OUT_OF_RANGE = 11,
	TTRPC_UNIMPLEMENTED = 12,
	TTRPC_INTERNAL = 13,
	TTRPC_UNAVAILABLE = 14,
	TTRPC_DATA_LOSS = 15,
	TTRPC_UNAUTHENTICATED = 16,
};

/* By the fault's HRESULT; TTRPC_UNKNOWN for those without a code of their own, never TTRPC_OK. */
enum ttrpc_code ttrpc_code_of(const struct fault *fault);

/*
 * Bytes of a connection become frames. Memory grows with what has come, not with what a header
 * promises, up to one frame of the largest size, and there is none while nothing is waiting.
 */
struct ttrpc_input {
	struct buf buf;
	uint32_t skip;          /* bytes of a payload that is too large, still to come */
	size_t used;            /* the frame that was given out last */
};
#define TTRPC_INPUT_NULL { .buf = { 0 } }

/* One recv(2). 0: some bytes; -EAGAIN: none now; -ENODATA: the peer has closed; other errnos. */
int ttrpc_input_receive(struct ttrpc_input *input, int fd);
/*
 * True: the next frame and its payload, which stands until the next call. Of a frame that is larger
 * than TTRPC_PAYLOAD_MAX there is the header only (the payload is NULL), and its bytes are skipped.
 */
bool ttrpc_input_next(struct ttrpc_input *input, struct ttrpc_frame *ret, const uint8_t **payload);
void ttrpc_input_deinit(struct ttrpc_input *input);

/* Queues a frame. -EMSGSIZE: too large for one; -ENOBUFS over the queue's limit, -ENOMEM. */
int ttrpc_put(struct buf *out, enum ttrpc_type type, uint32_t stream,
              const ProtobufCMessage *payload);
/* Sends what can be sent now. 0 also when some is left. */
int ttrpc_flush(struct buf *out, int fd);
