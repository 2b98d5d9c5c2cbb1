/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Most of the modules in the image are never loaded, but lie in memory as long as the VM lives; so
 * they lie there compressed. The kernels in question cannot decompress a module, and this is all
 * that it takes.
 *
 * A file is a magic number and blocks, each with its length in front. A block is a row of
 * sequences: a token, literal bytes, and a match, which is a distance back and a length. Lengths
 * that do not fit the token go on in bytes of 255 and one less. The last sequence has no match.
 */

#include "agent/lz4.h"

#include "oci/frame.h"

#include <string.h>

#define MAGIC 0x184C2102u
#define MATCH_LEAST 4
#define NIBBLE 15

struct decoder {
	const uint8_t *in, *in_end;
	uint8_t *out, *out_start, *out_end;
};

static bool take_length(struct decoder *d, size_t *length)
{
	if (*length < NIBBLE)
		return true;
	while (d->in < d->in_end) {
		uint8_t more = *d->in++;
		*length += more;
		if (more != 255)
			return true;
	}
	return false;
}

static int copy_literals(struct decoder *d, size_t length)
{
	if (length > (size_t)(d->in_end - d->in))
		return -EBADMSG;
	if (length > (size_t)(d->out_end - d->out))
		return -EFBIG;
	memcpy(d->out, d->in, length);
	d->in += length;
	d->out += length;
	return 0;
}

/* Byte by byte, since a match may overlap what it makes. */
static int copy_match(struct decoder *d, size_t distance, size_t length)
{
	if (!distance || distance > (size_t)(d->out - d->out_start))
		return -EBADMSG;
	if (length > (size_t)(d->out_end - d->out))
		return -EFBIG;
	for (; length; length--, d->out++)
		*d->out = *(d->out - distance);
	return 0;
}

static int decode_block(struct decoder *d)
{
	while (d->in < d->in_end) {
		uint8_t token = *d->in++;
		size_t length = token >> 4;
		if (!take_length(d, &length))
			return -EBADMSG;
		int error = copy_literals(d, length);
		if (error < 0)
			return error;
		if (d->in == d->in_end)
			return 0;
		if (d->in_end - d->in < 2)
			return -EBADMSG;
		size_t distance = (size_t)(d->in[0] | d->in[1] << 8);
		d->in += 2;
		length = token & NIBBLE;
		if (!take_length(d, &length))
			return -EBADMSG;
		error = copy_match(d, distance, length + MATCH_LEAST);
		if (error < 0)
			return error;
	}
	return 0;
}

ssize_t lz4_decode(const uint8_t *in, size_t size, uint8_t *out, size_t room)
{
	const uint8_t *end = in + size;
	struct decoder d = { .out = out, .out_start = out, .out_end = out + room };
	if (size < 4 || frame_get_u32(in) != MAGIC)
		return -EBADMSG;
	for (in += 4; end - in >= 4; in = d.in_end) {
		uint32_t length = frame_get_u32(in);
		in += 4;
		if (length > (size_t)(end - in))
			return -EBADMSG;
		d.in = in;
		d.in_end = in + length;
		/* Blocks do not refer to each other. */
		d.out_start = d.out;
		int error = decode_block(&d);
		if (error < 0)
			return error;
	}
	return in == end ? d.out - out : -EBADMSG;
}
