/* SPDX-License-Identifier: Apache-2.0 */

/*
 * hvcat on Windows: a Hyper-V socket as standard input and output.
 *
 * Neither a console nor an ordinary pipe can be waited for there, so each direction has a thread
 * that does nothing but read and write: standard input to the peer in one of its own, the peer to
 * standard output in this one. Calls on both directions of a socket do not disturb each other. The
 * other thread is not waited for at the end, since it may be waiting for a key.
 */

#include "contrib/windows/arguments.h"
#include "hvsocket/hyperv.h"

#include <fcntl.h>
#include <getopt.h>
#include <io.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BUFFER_SIZE 65536

static struct hvcat {
	bool listens, again, verbose, quits;
	const char *url;
	struct hv_endpoint endpoint;
	struct hv_machine machine;
	struct hv_listener listener;
	CRITICAL_SECTION lock;  /* of peer: held while it is written to */
	SOCKET peer;
	HANDLE connected;       /* set while there is a peer */
	HANDLE input_ended;
} hvcat = { .listener = HV_LISTENER_NULL, .peer = INVALID_SOCKET };

printf_like(1, 2) static void say(const char *text, ...)
{
	va_list args;
	va_start(args, text);
	fputs("hvcat: ", stderr);
	vfprintf(stderr, text, args);
	fputc('\n', stderr);
	va_end(args);
}

static int complain(int error)
{
	enum hv_error meaning = hv_error_from_errno(HV_SCHEME_HYPERV, error);
	if (meaning == HV_OTHER)
		say("%s: unexpected error %d", hvcat.url, -error);
	else
		say("%s: %s", hvcat.url, hv_error_explain(hvcat.endpoint.scheme, error));
	return error;
}

static bool send_all(SOCKET socket, const char *bytes, int size)
{
	while (size > 0) {
		int n = send(socket, bytes, size, 0);
		if (n <= 0)
			return false;
		bytes += n;
		size -= n;
	}
	return true;
}

static void tell_end(void)
{
	(void)hv_shutdown((int)hvcat.peer, hvcat.quits ? SD_BOTH : SD_SEND);
}

/* What a peer does not take any more is lost; with -k the next one gets what follows. */
static bool forward(const char *bytes, int size)
{
	WaitForSingleObject(hvcat.connected, INFINITE);
	EnterCriticalSection(&hvcat.lock);
	bool sent = hvcat.peer != INVALID_SOCKET && send_all(hvcat.peer, bytes, size);
	LeaveCriticalSection(&hvcat.lock);
	return sent || hvcat.again;
}

static DWORD WINAPI forward_input(void *unused)
{
	static char bytes[BUFFER_SIZE];
	int n;
	(void)unused;
	do
		n = _read(STDIN_FILENO, bytes, sizeof(bytes));
	while (n > 0 && forward(bytes, n));
	EnterCriticalSection(&hvcat.lock);
	SetEvent(hvcat.input_ended);
	if (hvcat.peer != INVALID_SOCKET)
		tell_end();
	LeaveCriticalSection(&hvcat.lock);
	return 0;
}

static void set_peer(int fd)
{
	EnterCriticalSection(&hvcat.lock);
	hvcat.peer = (SOCKET)fd;
	SetEvent(hvcat.connected);
	if (WaitForSingleObject(hvcat.input_ended, 0) == WAIT_OBJECT_0)
		tell_end();
	LeaveCriticalSection(&hvcat.lock);
}

static void forget_peer(void)
{
	/* Whoever is writing to it stops. */
	(void)hv_shutdown((int)hvcat.peer, SD_BOTH);
	EnterCriticalSection(&hvcat.lock);
	ResetEvent(hvcat.connected);
	hvcat.peer = INVALID_SOCKET;
	LeaveCriticalSection(&hvcat.lock);
}

/* From the peer to standard output until its end. */
static int relay(int fd)
{
	static char bytes[BUFFER_SIZE];
	int r = hv_set_blocking(fd), n = 0;
	if (r < 0)
		return complain(r);
	set_peer(fd);
	while (r >= 0 && (n = recv((SOCKET)fd, bytes, sizeof(bytes), 0)) > 0) {
		if (_write(STDOUT_FILENO, bytes, (unsigned)n) != n) {
			say("standard output: it is closed");
			r = -EPIPE;
		}
	}
	/* The rest of the input belongs to this connection, unless someone types it. */
	if (r >= 0 && n == 0 && !hvcat.again && !_isatty(STDIN_FILENO))
		WaitForSingleObject(hvcat.input_ended, INFINITE);
	forget_peer();
	if (hvcat.verbose)
		say("closed");
	return r;
}

static void describe(const struct hv_peer *peer)
{
	char vm[HV_GUID_TEXT], service[HV_GUID_TEXT];
	say("connection from %s, VmId %s, ServiceId %s", hv_vm_kind_name(peer->kind),
	    hv_guid_format(&peer->address.vm, vm), hv_guid_format(&peer->address.service, service));
}

static int serve(void)
{
	struct hv_peer peer;
	int r = hv_listen(&hvcat.listener, &hvcat.endpoint, NULL, &hvcat.machine);
	if (r < 0)
		return complain(r);
	if (hvcat.verbose)
		say("listening on %s", hvcat.url);
	do {
		WaitForSingleObject(hv_listener_event(&hvcat.listener), INFINITE);
		uint64_t refused = hvcat.listener.refused;
		int fd = hv_accept(&hvcat.listener, &peer);
		if (hvcat.verbose && hvcat.listener.refused > refused)
			say("refused a peer that may not come in");
		if (fd == -EAGAIN)
			continue;
		if (fd < 0)
			return complain(fd);
		if (hvcat.verbose)
			describe(&peer);
		r = relay(fd);
		hv_close(fd);
		if (!hvcat.again)
			break;
	} while (r >= 0);
	hv_listener_close(&hvcat.listener);
	return r;
}

static int call(void)
{
	bool pending;
	int fd = hv_connect(&hvcat.endpoint, &hvcat.machine, false, &pending);
	if (fd < 0)
		return complain(fd);
	int r = hv_wait(fd, HV_WRITABLE, HYPERV_CONNECT_MILLISECONDS);
	r = r ? hv_connect_finish(fd) : -ETIMEDOUT;
	if (r < 0) {
		hv_close(fd);
		return complain(r);
	}
	if (hvcat.verbose)
		say("connected to %s", hvcat.url);
	r = relay(fd);
	hv_close(fd);
	return r;
}

static int run(void)
{
	(void)_setmode(STDIN_FILENO, _O_BINARY);
	(void)_setmode(STDOUT_FILENO, _O_BINARY);
	hv_machine_probe(&hvcat.machine);
	InitializeCriticalSection(&hvcat.lock);
	hvcat.connected = CreateEventW(NULL, TRUE, FALSE, NULL);
	hvcat.input_ended = CreateEventW(NULL, TRUE, FALSE, NULL);
	HANDLE thread = CreateThread(NULL, 0, forward_input, NULL, 0, NULL);
	if (!hvcat.connected || !hvcat.input_ended || !thread) {
		say("out of memory");
		return -ENOMEM;
	}
	return hvcat.listens ? serve() : call();
}

static int usage(void)
{
	fputs("usage: hvcat [-qv] URL       connect\n"
	      "       hvcat -l [-kqv] URL   listen for one connection; -k: for one after another\n"
	      "  -q  close when standard input ends\n"
	      "  -v  say what happens on standard error\n"
	      "URL: hyperv://VM/SERVICE\n",
	      stderr);
	return 2;
}

int wmain(int argc, wchar_t **wide);
int wmain(int argc, wchar_t **wide)
{
	const char *why;
	char **argv = utf8_arguments(argc, wide);
	if (!argv)
		return 1;
	for (int option; (option = getopt(argc, argv, "lkvq")) != -1;) {
		hvcat.listens |= option == 'l';
		hvcat.again |= option == 'k';
		hvcat.verbose |= option == 'v';
		hvcat.quits |= option == 'q';
		if (option == '?')
			return usage();
	}
	if (argc - optind != 1 || (hvcat.again && !hvcat.listens))
		return usage();
	hvcat.url = argv[optind];
	if (hv_endpoint_parse(hvcat.url, &hvcat.endpoint, &why) < 0) {
		say("%s: %s", hvcat.url, why);
		return 2;
	}
	return run() < 0 ? 1 : 0;
}
