/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Standard input has a thread for as long as the program runs, which hands on to whatever
 * connection there is. It is not waited for at the end, since it may be waiting for a key.
 */

#include "contrib/hvcat/standard_windows.h"

#include "contrib/hvcat/say.h"
#include "contrib/hvcat/stream_windows.h"

#include <fcntl.h>
#include <inttypes.h>
#include <io.h>

#define BUFFER_SIZE 65536

static struct standard {
	CRITICAL_SECTION lock;  /* of peer: held while it is written to */
	struct stream peer;
	bool again, quits;
	HANDLE connected;       /* set while there is a peer */
	HANDLE ended;           /* set when there will be no input any more */
	int lost;               /* what the peer has not taken */
	uint64_t sent;
} standard = { .peer.socket = INVALID_SOCKET };

static void tell_end(void)
{
	if (standard.quits)
		stream_cut(&standard.peer);
	else
		stream_end(&standard.peer);
}

/* What a peer does not take any more is lost; with -k the next one gets what follows. */
static bool forward(const char *bytes, int size)
{
	int r = 0;
	WaitForSingleObject(standard.connected, INFINITE);
	EnterCriticalSection(&standard.lock);
	if (standard.peer.socket != INVALID_SOCKET) {
		r = stream_write(&standard.peer, bytes, size);
		standard.sent += r < 0 ? 0 : (uint64_t)size;
		standard.lost = r;
	}
	LeaveCriticalSection(&standard.lock);
	return r >= 0 || standard.again;
}

static DWORD WINAPI forward_input(void *unused)
{
	static char bytes[BUFFER_SIZE];
	int n;
	(void)unused;
	do
		n = _read(STDIN_FILENO, bytes, sizeof(bytes));
	while (n > 0 && forward(bytes, n));
	EnterCriticalSection(&standard.lock);
	SetEvent(standard.ended);
	if (standard.peer.socket != INVALID_SOCKET)
		tell_end();
	LeaveCriticalSection(&standard.lock);
	return 0;
}

int standard_init(const struct options *options)
{
	(void)_setmode(STDIN_FILENO, _O_BINARY);
	(void)_setmode(STDOUT_FILENO, _O_BINARY);
	standard.again = options->again;
	standard.quits = options->quits;
	InitializeCriticalSection(&standard.lock);
	standard.connected = CreateEventW(NULL, TRUE, FALSE, NULL);
	standard.ended = CreateEventW(NULL, TRUE, FALSE, NULL);
	if (!standard.connected || !standard.ended)
		return -ENOMEM;
	if (options->no_input)
		return 0;
	HANDLE thread = CreateThread(NULL, 0, forward_input, NULL, 0, NULL);
	if (!thread)
		return -ENOMEM;
	CloseHandle(thread);
	return 0;
}

static void set_peer(int fd)
{
	EnterCriticalSection(&standard.lock);
	standard.peer.socket = (SOCKET)fd;
	standard.lost = 0;
	standard.sent = 0;
	SetEvent(standard.connected);
	if (WaitForSingleObject(standard.ended, 0) == WAIT_OBJECT_0)
		tell_end();
	LeaveCriticalSection(&standard.lock);
}

/* What could not be delivered to it. */
static int forget_peer(void)
{
	/* Whoever is writing to it stops. */
	(void)hv_shutdown((int)standard.peer.socket, SD_BOTH);
	EnterCriticalSection(&standard.lock);
	ResetEvent(standard.connected);
	standard.peer.socket = INVALID_SOCKET;
	int lost = standard.lost;
	LeaveCriticalSection(&standard.lock);
	return lost;
}

int standard_serve(const struct options *options, int fd)
{
	static char bytes[BUFFER_SIZE];
	struct stream peer = { .socket = (SOCKET)fd };
	uint64_t received = 0;
	int n, r = 0;
	set_peer(fd);
	while (r >= 0 && (n = stream_read(&peer, bytes, sizeof(bytes))) > 0) {
		received += (uint64_t)n;
		if (_write(STDOUT_FILENO, bytes, (unsigned)n) != n) {
			say("standard output: it is closed");
			r = -EPIPE;
		}
	}
	/* The rest of the input belongs to this connection, unless someone types it. */
	if (r >= 0 && n == 0 && !options->again && !options->no_input && !_isatty(STDIN_FILENO))
		WaitForSingleObject(standard.ended, INFINITE);
	int lost = forget_peer();
	bool by_us = options->quits && WaitForSingleObject(standard.ended, 0) == WAIT_OBJECT_0;
	if (r >= 0 && !by_us && (n < 0 || lost < 0))
		r = say_error(options->url[0], options->endpoint[0].scheme, n < 0 ? n : lost);
	if (options->verbose)
		say("closed: %" PRIu64 " bytes received, %" PRIu64 " sent", received,
		    standard.sent);
	return r;
}
