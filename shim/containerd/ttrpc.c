/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How much is read at once: a piece that holds any usual request while no frame has begun, and as
 * much again as is there already while a large one is coming. So a peer has to send what it makes
 * us keep. Of what follows a frame that came in pieces nothing is read along with it: then nothing
 * is left after it, and its memory is given back.
 */

#include "shim/containerd/ttrpc.h"

#include "shim/containerd/pack.h"

#include <string.h>
#include <sys/socket.h>

#define READ_SIZE 16384
#define INPUT_MAX (TTRPC_HEADER + TTRPC_PAYLOAD_MAX + READ_SIZE)

static void put_u32(uint8_t out[static 4], uint32_t value)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t get_u32(const uint8_t in[static 4])
{
	uint32_t value = 0;

	for (int i = 0; i < 4; i++)
		value = value << 8 | in[i];
	return value;
}

void ttrpc_frame_encode(const struct ttrpc_frame *frame, uint8_t out[static TTRPC_HEADER])
{
	put_u32(out, frame->size);
	put_u32(out + 4, frame->stream);
	out[8] = frame->type;
	out[9] = frame->flags;
}

void ttrpc_frame_decode(const uint8_t in[static TTRPC_HEADER], struct ttrpc_frame *ret)
{
	*ret = (struct ttrpc_frame){ get_u32(in), get_u32(in + 4), in[8], in[9] };
}

enum ttrpc_code ttrpc_code_of(const struct fault *fault)
{
	static const struct {
		int hresult;
		enum ttrpc_code code;
	} codes[] = {
		{ HRESULT_NO_SUCH_CONTAINER, TTRPC_NOT_FOUND },
		{ HRESULT_NOT_FOUND, TTRPC_NOT_FOUND },
		{ HRESULT_CONTAINER_EXISTS, TTRPC_ALREADY_EXISTS },
		{ HRESULT_INVALID_STATE, TTRPC_FAILED_PRECONDITION },
		{ HRESULT_CONTAINER_NOT_RUNNING, TTRPC_FAILED_PRECONDITION },
		{ HRESULT_INVALID_ARGUMENT, TTRPC_INVALID_ARGUMENT },
		{ HRESULT_INVALID_JSON, TTRPC_INVALID_ARGUMENT },
		{ HRESULT_NOT_IMPLEMENTED, TTRPC_UNIMPLEMENTED },
		{ HRESULT_WAIT_TIMEOUT, TTRPC_DEADLINE_EXCEEDED },
	};

	for (size_t i = 0; i < array_size(codes); i++) {
		if (codes[i].hresult == fault->hresult)
			return codes[i].code;
	}
	return TTRPC_UNKNOWN;
}

/* Drops the frame that was given out, and what is to be skipped. */
static void advance(struct ttrpc_input *input)
{
	buf_consume(&input->buf, input->used);
	input->used = 0;
	size_t size = min_size(input->skip, buf_length(&input->buf));
	buf_consume(&input->buf, size);
	input->skip -= (uint32_t)size;
}

/* How many bytes to ask for. */
static size_t read_size(const struct ttrpc_input *input)
{
	size_t has = buf_length(&input->buf);
	struct ttrpc_frame frame;

	if (has < TTRPC_HEADER)
		return READ_SIZE;
	ttrpc_frame_decode((const uint8_t *)buf_head(&input->buf), &frame);
	size_t whole = TTRPC_HEADER + (size_t)frame.size;
	size_t most = has > READ_SIZE ? has : READ_SIZE;
	return whole > has ? min_size(whole - has, most) : READ_SIZE;
}

int ttrpc_input_receive(struct ttrpc_input *input, int fd)
{
	input->buf.limit = INPUT_MAX;
	advance(input);
	size_t size = read_size(input);
	char *to = buf_reserve(&input->buf, size);
	if (!to)
		return -ENOMEM;
	ssize_t n = recv(fd, to, size, MSG_DONTWAIT);
	int r = n < 0 ? -errno : n == 0 ? -ENODATA : 0;
	if (n > 0)
		buf_commit(&input->buf, (size_t)n);
	else
		buf_consume(&input->buf, 0);    /* gives back what was reserved for nothing */
	return r == -EINTR ? -EAGAIN : r;
}

bool ttrpc_input_next(struct ttrpc_input *input, struct ttrpc_frame *ret, const uint8_t **payload)
{
	advance(input);
	if (buf_length(&input->buf) < TTRPC_HEADER)
		return false;
	const uint8_t *head = (const uint8_t *)buf_head(&input->buf);
	ttrpc_frame_decode(head, ret);
	bool too_large = ret->size > TTRPC_PAYLOAD_MAX;
	if (!too_large && buf_length(&input->buf) - TTRPC_HEADER < ret->size)
		return false;
	input->used = TTRPC_HEADER + (too_large ? 0 : (size_t)ret->size);
	input->skip = too_large ? ret->size : 0;
	*payload = too_large ? NULL : head + TTRPC_HEADER;
	return true;
}

void ttrpc_input_deinit(struct ttrpc_input *input)
{
	buf_deinit(&input->buf);
	*input = (struct ttrpc_input)TTRPC_INPUT_NULL;
}

int ttrpc_put(struct buf *out, enum ttrpc_type type, uint32_t stream,
              const ProtobufCMessage *payload)
{
	size_t size = protobuf_c_message_get_packed_size(payload);

	if (size > TTRPC_PAYLOAD_MAX)
		return -EMSGSIZE;
	struct ttrpc_frame frame = { (uint32_t)size, stream, (uint8_t)type, 0 };
	if (TTRPC_HEADER + size > buf_room(out))
		return -ENOBUFS;
	uint8_t *to = (uint8_t *)buf_reserve(out, TTRPC_HEADER + size);
	if (!to)
		return -ENOMEM;
	ttrpc_frame_encode(&frame, to);
	pack_at(to + TTRPC_HEADER, payload);
	buf_commit(out, TTRPC_HEADER + size);
	return 0;
}

int ttrpc_flush(struct buf *out, int fd)
{
	while (buf_length(out)) {
		ssize_t n = send(fd, buf_head(out), buf_length(out), MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0)
			buf_consume(out, (size_t)n);
		else if (errno != EINTR)
			return errno == EAGAIN ? 0 : -errno;
	}
	return 0;
}
