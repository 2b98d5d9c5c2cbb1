/* SPDX-License-Identifier: Apache-2.0 */

/* Frames, codes, and bytes that arrive in any pieces. */

#include "shim/containerd/ttrpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

static void test_header(void **state)
{
	(void)state;
	static const uint8_t bytes[] = { 0x00, 0x40, 0x00, 0x01, 0xfe, 0xdc, 0xba, 0x98, 1, 2 };
	struct ttrpc_frame frame;
	uint8_t again[TTRPC_HEADER];

	ttrpc_frame_decode(bytes, &frame);
	assert_int_equal(frame.size, TTRPC_PAYLOAD_MAX + 1);
	assert_int_equal(frame.stream, 0xfedcba98);
	assert_int_equal(frame.type, TTRPC_REQUEST);
	assert_int_equal(frame.flags, 2);
	ttrpc_frame_encode(&frame, again);
	assert_memory_equal(again, bytes, sizeof(bytes));
}

static void test_codes(void **state)
{
	(void)state;
	static const struct {
		int hresult, code;
	} cases[] = {
		{ HRESULT_NO_SUCH_CONTAINER, 5 }, { HRESULT_NOT_FOUND, 5 },
		{ HRESULT_CONTAINER_EXISTS, 6 }, { HRESULT_INVALID_STATE, 9 },
		{ HRESULT_CONTAINER_NOT_RUNNING, 9 }, { HRESULT_INVALID_ARGUMENT, 3 },
		{ HRESULT_INVALID_JSON, 3 }, { HRESULT_NOT_IMPLEMENTED, 12 },
		{ HRESULT_WAIT_TIMEOUT, 4 }, { HRESULT_FAIL, 2 }, { HRESULT_OK, 2 }, { -1, 2 },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct fault fault = { .hresult = cases[i].hresult };
		assert_int_equal(ttrpc_code_of(&fault), cases[i].code);
	}
}

/* Sends all of it in pieces, and checks the frames that come out: sizes and streams. */
static void assert_frames(const uint8_t *bytes, size_t size, size_t piece,
                          const struct ttrpc_frame *frames, size_t count)
{
	struct ttrpc_input input = TTRPC_INPUT_NULL;
	struct ttrpc_frame frame;
	const uint8_t *payload;
	size_t got = 0;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	assert_int_equal(ttrpc_input_receive(&input, fd[1]), -EAGAIN);
	assert_null(input.buf.data);
	for (size_t at = 0; at < size; at += piece) {
		size_t n = min_size(piece, size - at);
		assert_int_equal(send(fd[0], bytes + at, n, MSG_NOSIGNAL), n);
		while (ttrpc_input_receive(&input, fd[1]) == 0) {
			while (ttrpc_input_next(&input, &frame, &payload)) {
				assert_true(got < count);
				assert_int_equal(frame.size, frames[got].size);
				assert_int_equal(frame.stream, frames[got].stream);
				if (frame.size > TTRPC_PAYLOAD_MAX)
					assert_null(payload);
				else if (frame.size)
					assert_int_equal(payload[frame.size - 1], 'x');
				got++;
			}
		}
		assert_true(input.buf.size <= 4 * buf_length(&input.buf) + 32768);
	}
	assert_int_equal(got, count);
	assert_null(input.buf.data);
	close(fd[0]);
	assert_int_equal(ttrpc_input_receive(&input, fd[1]), -ENODATA);
	ttrpc_input_deinit(&input);
	close(fd[1]);
}

static void test_input(void **state)
{
	(void)state;
	static const struct ttrpc_frame frames[] = {
		{ 5, 1, 1, 0 }, { 0, 3, 1, 0 }, { TTRPC_PAYLOAD_MAX, 5, 1, 0 },
		{ TTRPC_PAYLOAD_MAX + 1, 7, 1, 0 }, { 100000, 9, 1, 0 }, { 1, 11, 1, 0 },
		{ 3 * TTRPC_PAYLOAD_MAX, 13, 1, 0 }, { 0, 15, 1, 0 },
	};
	static const size_t pieces[] = { 1, 7, 4096, 65536, 100000 };
	size_t size = 0, at = 0, few = 2 * TTRPC_HEADER + 5;

	for (size_t i = 0; i < array_size(frames); i++)
		size += TTRPC_HEADER + frames[i].size;
	cleanup_free uint8_t *bytes = malloc(size);
	assert_non_null(bytes);
	memset(bytes, 'x', size);
	for (size_t i = 0; i < array_size(frames); i++) {
		ttrpc_frame_encode(&frames[i], bytes + at);
		at += TTRPC_HEADER + frames[i].size;
	}
	for (size_t i = 0; i < array_size(pieces); i++) {
		if (pieces[i] < 4096)
			assert_frames(bytes, few, pieces[i], frames, 2);
		else
			assert_frames(bytes, size, pieces[i], frames, array_size(frames));
	}
}

/* A promise costs nothing. */
static void test_promise(void **state)
{
	(void)state;
	static const struct ttrpc_frame promised = { TTRPC_PAYLOAD_MAX, 1, 1, 0 };
	struct ttrpc_input input = TTRPC_INPUT_NULL;
	struct ttrpc_frame frame;
	const uint8_t *payload;
	uint8_t header[TTRPC_HEADER];
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	ttrpc_frame_encode(&promised, header);
	assert_int_equal(send(fd[0], header, sizeof(header), MSG_NOSIGNAL), sizeof(header));
	assert_int_equal(ttrpc_input_receive(&input, fd[1]), 0);
	assert_false(ttrpc_input_next(&input, &frame, &payload));
	assert_true(input.buf.size <= 16384);
	ttrpc_input_deinit(&input);
	close(fd[0]);
	close(fd[1]);
}

static void test_put(void **state)
{
	(void)state;
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;
	struct buf out = BUF(TTRPC_HEADER + TTRPC_PAYLOAD_MAX);
	cleanup_free uint8_t *bytes = calloc(1, TTRPC_PAYLOAD_MAX);

	assert_int_equal(ttrpc_put(&out, TTRPC_RESPONSE, 5, &response.base), 0);
	assert_int_equal(buf_length(&out), TTRPC_HEADER);
	assert_memory_equal(buf_head(&out), "\0\0\0\0\0\0\0\5\2\0", TTRPC_HEADER);
	buf_deinit(&out);
	/* A tag and a length of four bytes go along. */
	response.payload = (ProtobufCBinaryData){ TTRPC_PAYLOAD_MAX - 4, bytes };
	assert_int_equal(ttrpc_put(&out, TTRPC_RESPONSE, 5, &response.base), -EMSGSIZE);
	assert_null(out.data);
	response.payload.len--;
	assert_int_equal(ttrpc_put(&out, TTRPC_RESPONSE, 5, &response.base), 0);
	assert_int_equal(buf_room(&out), 0);
	assert_int_equal(ttrpc_put(&out, TTRPC_RESPONSE, 7, &response.base), -ENOBUFS);
	assert_int_equal(buf_length(&out), TTRPC_HEADER + TTRPC_PAYLOAD_MAX);
	buf_deinit(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header), cmocka_unit_test(test_codes),
		cmocka_unit_test(test_input),  cmocka_unit_test(test_promise),
		cmocka_unit_test(test_put),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
