/* SPDX-License-Identifier: Apache-2.0 */

/*
 * hvcat on Windows: the same as on Linux, by threads instead of an event loop.
 *
 * This thread is the way to a connection to the first URL, dialled or accepted. Standard input and
 * output serve one connection at a time, here; commands and relays have a thread each, and as many
 * of them as there may be at the same time are counted by a semaphore.
 */

#include "contrib/hvcat/exec_windows.h"
#include "contrib/hvcat/probe.h"
#include "contrib/hvcat/say.h"
#include "contrib/hvcat/standard_windows.h"
#include "contrib/hvcat/stream_windows.h"
#include "contrib/hvcat/wire.h"
#include "contrib/windows/arguments.h"

#include <limits.h>
#include <stdio.h>

static struct hvcat {
	struct options options;
	struct hv_machine machine;
	struct hv_listener listener;
	HANDLE places; /* how many more connections there may be */
} hvcat = { .listener = HV_LISTENER_NULL };

struct visit {
	int fd;
	struct hv_peer peer;
};

static int complain(unsigned i, int error)
{
	const struct options *options = &hvcat.options;
	return say_unreachable(options->url[i], &options->endpoint[i],
	                       options->listens && i == 0, &hvcat.machine, error);
}

static int relay(int fd)
{
	const struct options *options = &hvcat.options;
	int second = wire_dial(options, &options->endpoint[1], &hvcat.machine);
	if (second < 0)
		return complain(1, second);
	if (options->verbose)
		say("connected to %s", options->url[1]);
	struct stream ends[2] = { { .socket = (SOCKET)fd }, { .socket = (SOCKET)second } };
	struct flow there = { .from = &ends[0], .to = &ends[1] };
	struct flow back = { .from = &ends[1], .to = &ends[0] };
	int r = hv_set_blocking(second);
	if (r >= 0)
		r = flow_start(&there);
	if (r >= 0) {
		flow_run(&back);
		flow_wait(&there);
		r = there.result < 0 ? complain(0, there.result)
		    : back.result < 0 ? complain(1, back.result) : 0;
	}
	wire_close(second);
	return r;
}

static int run_command(int fd, const struct hv_peer *peer)
{
	int status = command_run(hvcat.options.command, (SOCKET)fd, peer);
	if (status < 0)
		say("cmd.exe: it cannot be run");
	else if (hvcat.options.verbose)
		say("the command has ended: exit status %d", status);
	return status;
}

/* A connection until its end: 0, the status of the command, or a negative error. */
static int serve(int fd, const struct hv_peer *peer)
{
	int r = hv_set_blocking(fd);
	if (r < 0)
		return complain(0, r);
	if (hvcat.options.command)
		r = run_command(fd, peer);
	else if (hvcat.options.urls > 1)
		r = relay(fd);
	else
		r = standard_serve(&hvcat.options, fd);
	wire_close(fd);
	return r;
}

static DWORD WINAPI serve_one_of_many(void *argument)
{
	struct visit *visit = argument;
	(void)serve(visit->fd, &visit->peer);
	free(visit);
	ReleaseSemaphore(hvcat.places, 1, NULL);
	return 0;
}

static int begin(int fd, const struct hv_peer *peer)
{
	struct visit *visit = malloc(sizeof(*visit));
	if (visit)
		*visit = (struct visit){ fd, *peer };
	HANDLE thread = visit ? CreateThread(NULL, 0, serve_one_of_many, visit, 0, NULL) : NULL;
	if (thread) {
		CloseHandle(thread);
		return 0;
	}
	free(visit);
	wire_close(fd);
	return complain(0, -ENOMEM);
}

/* The next connection, or a negative error. */
static int take_peer(struct hv_peer *ret)
{
	for (;;) {
		WaitForSingleObject(hv_listener_event(&hvcat.listener), INFINITE);
		uint64_t refused = hvcat.listener.refused;
		int fd = hv_accept(&hvcat.listener, ret);
		if (hvcat.options.verbose && hvcat.listener.refused > refused)
			say("refused a peer that may not come in");
		if (fd == -EAGAIN)
			continue;
		if (fd >= 0 && hvcat.options.verbose) {
			char text[HV_PEER_TEXT];
			(void)hv_peer_format(ret, text, sizeof(text));
			say("connection from %s", text);
		}
		return fd < 0 ? complain(0, fd) : fd;
	}
}

/* Returns where nobody else is to come: with the result of the last connection. */
static int serve_all(void)
{
	const struct options *options = &hvcat.options;
	bool many = options->command || options->urls > 1;
	for (;;) {
		struct hv_peer peer;
		WaitForSingleObject(hvcat.places, INFINITE);
		int fd = take_peer(&peer);
		if (fd < 0)
			return fd;
		if (options->probes) {
			bool last = probe_serve(fd, &peer);
			wire_close(fd);
			if (last && !options->again)
				return 0;
		} else if (!options->again) {
			hv_listener_close(&hvcat.listener);
			return serve(fd, &peer);
		} else if (many) {
			(void)begin(fd, &peer);
			continue;
		} else if (serve(fd, &peer) == -EPIPE) {
			return -EPIPE;
		}
		ReleaseSemaphore(hvcat.places, 1, NULL);
	}
}

static int start_listening(void)
{
	int r = hv_listen(&hvcat.listener, &hvcat.options.endpoint[0], NULL, &hvcat.machine);
	if (r < 0)
		return complain(0, r);
	if (hvcat.options.verbose)
		say("listening on %s", hvcat.options.url[0]);
	return serve_all();
}

static int start_dialling(void)
{
	const struct hv_endpoint *endpoint = &hvcat.options.endpoint[0];
	struct hv_peer peer = { .kind = hv_vm_kind(&endpoint->address.vm),
		                .address = endpoint->address };
	int fd = wire_dial(&hvcat.options, endpoint, &hvcat.machine);
	if (fd < 0)
		return complain(0, fd);
	if (hvcat.options.verbose)
		say("connected to %s", hvcat.options.url[0]);
	return serve(fd, &peer);
}

static int run(void)
{
	const struct options *options = &hvcat.options;
	hv_machine_probe(&hvcat.machine);
	hyperv_connect_milliseconds = options->wait;
	if (options->probes && !options->listens)
		return probe_dial(options, &hvcat.machine);
	hvcat.places = CreateSemaphoreW(NULL, (LONG)options->most, (LONG)options->most, NULL);
	bool many = options->command || options->urls > 1;
	if (!hvcat.places || (!many && !options->probes && standard_init(options) < 0)) {
		say("out of memory");
		return -ENOMEM;
	}
	return options->listens ? start_listening() : start_dialling();
}

int wmain(int argc, wchar_t **wide);
int wmain(int argc, wchar_t **wide)
{
	char **argv = utf8_arguments(argc, wide);
	if (!argv)
		return 1;
	int status = options_parse(&hvcat.options, argc, argv);
	if (status < 0)
		status = run();
	return status < 0 ? 1 : status;
}
