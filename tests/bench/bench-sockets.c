/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a connection costs: connect, accept and close by hvsocket.h beside the bare system calls on
 * a unix socket, in turn, both ends in this process.
 *
 *   bench-sockets FOLDER ROUNDS
 *
 * FOLDER is empty and ours. Prints one line for each way: its name and the median, over the rounds,
 * of the nanoseconds of one connection.
 */

#include "hvsocket/hvsocket.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define CONNECTIONS 200 /* in a row, for a clock that is read twice */

struct way {
	const char *name, *url; /* url: before the folder; NULL = bare system calls */
	const char *service;
	struct hv_endpoint endpoint;
	struct hv_listener listener;
	uint64_t *times;
};

static struct sockaddr_un bare_address = { .sun_family = AF_UNIX };
static int bare_listener;

static void fail(const char *what, int error)
{
	fprintf(stderr, "bench-sockets: %s: %s\n", what, strerror(-error));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static int bare_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static void bare_once(void)
{
	int fd = bare_socket();
	if (fd < 0 || connect(fd, (struct sockaddr *)&bare_address, sizeof(bare_address)) < 0)
		fail("connect", -errno);
	int accepted = accept4(bare_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (accepted < 0)
		fail("accept", -errno);
	close(fd);
	close(accepted);
}

static void once(struct way *way)
{
	bool pending;
	struct hv_peer peer;
	int fd = hv_connect(&way->endpoint, NULL, true, &pending);
	if (fd < 0 || pending)
		fail(way->name, fd < 0 ? fd : -EINPROGRESS);
	int accepted = hv_accept(&way->listener, &peer);
	if (accepted < 0)
		fail(way->name, accepted);
	close(fd);
	close(accepted);
}

static uint64_t measure(struct way *way)
{
	uint64_t began = now();
	for (int i = 0; i < CONNECTIONS; i++) {
		if (way->url)
			once(way);
		else
			bare_once();
	}
	return (now() - began) / CONNECTIONS;
}

static void open_way(struct way *way, const char *folder, size_t rounds)
{
	char url[HV_PATH_MAX];
	way->times = calloc(rounds, sizeof(*way->times));
	if (!way->times)
		fail(way->name, -ENOMEM);
	if (!way->url) {
		snprintf(bare_address.sun_path, sizeof(bare_address.sun_path), "%s/bare", folder);
		bare_listener = bare_socket();
		if (bind(bare_listener, (struct sockaddr *)&bare_address, sizeof(bare_address)) < 0 ||
		    listen(bare_listener, SOMAXCONN) < 0)
			fail("listen", -errno);
		return;
	}
	snprintf(url, sizeof(url), "%s%s%s", way->url, folder, way->service);
	int r = hv_endpoint_parse(url, &way->endpoint, NULL);
	if (r >= 0)
		r = hv_listen(&way->listener, &way->endpoint, NULL, NULL);
	if (r < 0)
		fail(url, r);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	struct way ways[] = {
		{ .name = "bare" },
		{ .name = "unix", .url = "unix://", .service = "/u" },
		{ .name = "hybrid", .url = "hybrid://", .service = "/h:5000" },
	};
	if (argc != 3) {
		fprintf(stderr, "usage: bench-sockets FOLDER ROUNDS\n");
		return 2;
	}
	size_t rounds = strtoul(argv[2], NULL, 10);
	for (size_t i = 0; i < array_size(ways); i++)
		open_way(&ways[i], argv[1], rounds);
	for (size_t n = 0; n < rounds; n++) {
		for (size_t i = 0; i < array_size(ways); i++)
			ways[i].times[n] = measure(&ways[i]);
	}
	for (size_t i = 0; i < array_size(ways); i++) {
		qsort(ways[i].times, rounds, sizeof(*ways[i].times), compare);
		printf("%s %llu\n", ways[i].name, (unsigned long long)ways[i].times[rounds / 2]);
		free(ways[i].times);
		if (ways[i].url)
			hv_listener_close(&ways[i].listener);
	}
	return 0;
}
