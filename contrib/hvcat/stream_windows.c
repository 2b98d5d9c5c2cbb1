/* SPDX-License-Identifier: Apache-2.0 */

/* See the header. */

#include "contrib/hvcat/stream_windows.h"

#define BUFFER_SIZE 65536

/* Of files and pipes there is nothing to tell but that nobody is at the other end. */
static int last_error(void)
{
	DWORD error = GetLastError();
	return error == ERROR_BROKEN_PIPE || error == ERROR_NO_DATA ? -EPIPE : -EIO;
}

int stream_read(const struct stream *stream, void *bytes, int size)
{
	DWORD n;
	if (stream->socket != INVALID_SOCKET) {
		int received = recv(stream->socket, bytes, size, 0);
		return received < 0 ? winsock_error() : received;
	}
	if (ReadFile(stream->in, bytes, (DWORD)size, &n, NULL))
		return (int)n;
	/* A pipe whose writers are gone. */
	int r = last_error();
	return r == -EPIPE ? 0 : r;
}

int stream_write(const struct stream *stream, const void *bytes, int size)
{
	const char *at = bytes;
	while (size > 0) {
		DWORD n = 0;
		if (stream->socket != INVALID_SOCKET) {
			int sent = send(stream->socket, at, size, 0);
			if (sent < 0)
				return winsock_error();
			n = (DWORD)sent;
		} else if (!WriteFile(stream->out, at, (DWORD)size, &n, NULL)) {
			return last_error();
		}
		at += n;
		size -= (int)n;
	}
	return 0;
}

void stream_end(struct stream *stream)
{
	if (stream->socket != INVALID_SOCKET) {
		(void)hv_shutdown((int)stream->socket, SD_SEND);
	} else if (stream->out) {
		CloseHandle(stream->out);
		stream->out = NULL;
	}
}

void stream_cut(struct stream *stream)
{
	stream_end(stream);
	if (stream->socket != INVALID_SOCKET)
		(void)hv_shutdown((int)stream->socket, SD_BOTH);
}

void flow_run(struct flow *flow)
{
	char *bytes = malloc(BUFFER_SIZE);
	int n = bytes ? stream_read(flow->from, bytes, BUFFER_SIZE) : -ENOMEM;
	int written = 0;
	while (n > 0 && (written = stream_write(flow->to, bytes, n)) == 0)
		n = stream_read(flow->from, bytes, BUFFER_SIZE);
	free(bytes);
	flow->result = n < 0 ? n : written;
	/* After a reset nothing comes from there, and nothing has to go there. */
	if (n < 0)
		stream_cut(flow->to);
	else
		stream_end(flow->to);
}

static DWORD WINAPI flow_thread(void *flow)
{
	flow_run(flow);
	return 0;
}

int flow_start(struct flow *flow)
{
	flow->thread = CreateThread(NULL, 0, flow_thread, flow, 0, NULL);
	return flow->thread ? 0 : -ENOMEM;
}

void flow_wait(struct flow *flow)
{
	WaitForSingleObject(flow->thread, INFINITE);
	CloseHandle(flow->thread);
}
