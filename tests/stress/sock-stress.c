/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Many connections at the same time, each of a random size in writes of random sizes, over any
 * carrier that hvsocket has. The server sends back what comes; the client reads while it writes,
 * and compares length and checksum of what went with what came. Every connection must be right.
 *
 *   sock-stress -s [-f] URL                    serves until SIGTERM
 *   sock-stress [-fg] [-n CONNECTIONS] [-p PARALLEL] [-b BYTES] [-w WRITE] [-z SILENT] [-r SEED]
 *               [-t SECONDS] URL
 *
 * The end of what the client says is a half-close. With -f, on both sides, it is told by a length
 * in front, which is sent back as well, and the client closes first: for carriers on which a
 * half-close is lost or taken for a close. -z: so many connections that say nothing are there all
 * the time.
 *
 * What a connection costs is a struct slot or a struct peer, and nothing that grows.
 */

#include "hvsocket/hvsocket.h"
#include "hvsocket/loop.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#define CHUNK 16384u
#define HEADER sizeof(uint64_t)
#define WRONG_SHOWN 10
#define WRONG_MAX 100
#define RETRY_MILLISECONDS 10

static struct {
	bool server, framed, as_guest;
	unsigned long connections, parallel, bytes, chunk, silent, seconds;
	uint64_t seed;
	const char *url;
} options = {
	.connections = 100000, .parallel = 100, .bytes = 65536, .chunk = CHUNK, .seconds = 60, .seed = 1,
};

static struct loop loop = LOOP_NULL;
static struct hv_endpoint endpoint;
static struct hv_machine machine;
static struct {
	unsigned long started, done, wrong, retries, silent, now, most;
	uint64_t bytes;
} count;

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/* xorshift64*: contents and sizes. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1du;
}

/* FNV-1a of 64 bits. */
#define SUM_START 0xcbf29ce484222325u
static uint64_t sum(uint64_t so_far, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		so_far = (so_far ^ bytes[i]) * 0x100000001b3u;
	return so_far;
}

static bool is_later(ssize_t result)
{
	return result < 0 && (errno == EAGAIN || errno == EINTR);
}

/* The server */

struct peer {
	struct source source;
	size_t filled, sent;
	uint64_t left;          /* framed: how much is still to come; known with the header */
	size_t header;          /* how much of it has come */
	bool ended;
	uint8_t bytes[CHUNK];
};

static void peer_free(struct peer *peer, const char *wrong)
{
	if (wrong) {
		if (count.wrong++ < WRONG_SHOWN)
			fprintf(stderr, "sock-stress: a peer: %s\n", wrong);
	} else {
		count.done++;
	}
	count.now--;
	source_close(&peer->source);
	free(peer);
}

/* In a frame: takes the header out of what has come; -EPROTO when more comes than was said. */
static int peer_count(struct peer *peer, const uint8_t *bytes, size_t size)
{
	for (; size && peer->header < HEADER; size--)
		peer->left |= (uint64_t)*bytes++ << (8 * peer->header++);
	if (size > peer->left)
		return -EPROTO;
	peer->left -= size;
	return 0;
}

static int peer_ready(struct source *source, uint32_t got)
{
	struct peer *peer = container_of(source, struct peer, source);
	if (!peer->filled && (got & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
		ssize_t n = read(source->fd, peer->bytes, sizeof(peer->bytes));
		if (n < 0 && !is_later(n))
			return peer_free(peer, strerror(errno)), 0;
		if (n == 0) {
			bool whole = !options.framed || !peer->header ||
				(peer->header == HEADER && !peer->left);
			return peer_free(peer, whole ? NULL : "ended early"), 0;
		}
		if (n > 0) {
			peer->filled = (size_t)n;
			count.bytes += (size_t)n;
			if (options.framed && peer_count(peer, peer->bytes, (size_t)n) < 0)
				return peer_free(peer, "more than was said"), 0;
		}
	}
	while (peer->sent < peer->filled) {
		ssize_t n = send(source->fd, peer->bytes + peer->sent, peer->filled - peer->sent,
		                 MSG_NOSIGNAL);
		if (is_later(n))
			break;
		if (n < 0)
			return peer_free(peer, strerror(errno)), 0;
		peer->sent += (size_t)n;
	}
	if (peer->sent == peer->filled)
		peer->sent = peer->filled = 0;
	return source_want(source, peer->filled ? EPOLLOUT : EPOLLIN);
}

struct server {
	struct source source;
	struct hv_listener listener;
	struct signals signals;
};

static int server_ready(struct source *source, uint32_t got)
{
	struct server *server = container_of(source, struct server, source);
	(void)got;
	for (;;) {
		int fd = hv_accept(&server->listener, NULL);
		if (fd == -EAGAIN)
			return 0;
		if (fd < 0)
			return fd;
		struct peer *peer = calloc(1, sizeof(*peer));
		if (!peer)
			return -ENOMEM;
		int error = source_init(&peer->source, &loop, fd, EPOLLIN, peer_ready);
		if (error < 0)
			return error;
		if (++count.now > count.most)
			count.most = count.now;
	}
}

static int server_signal(struct signals *signals, int number)
{
	(void)number;
	loop_stop(signals->source.loop);
	return 0;
}

static int serve(void)
{
	struct server server = {
		.source = SOURCE_NULL, .listener = HV_LISTENER_NULL, .signals = SIGNALS_NULL,
	};
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	int error = signals_init(&server.signals, &loop, &set, server_signal);
	if (error == 0)
		error = hv_listen(&server.listener, &endpoint, NULL, &machine);
	if (error == 0)
		error = source_init(&server.source, &loop, server.listener.fd, EPOLLIN, server_ready);
	if (error == 0)
		error = loop_run(&loop);
	source_deinit(&server.source);
	hv_listener_close(&server.listener);
	signals_deinit(&server.signals);
	if (error < 0)
		return error;
	printf("%lu connections, %lu at the same time, %" PRIu64 " bytes each way, %lu broken\n",
	       count.done, count.most, count.bytes, count.wrong);
	return 0;
}

/* The client */

enum state { SLOT_IDLE, SLOT_CONNECTING, SLOT_GREETING, SLOT_TALKING, SLOT_SILENT };

struct slot {
	struct source source;
	struct timer timer;     /* how long the connection may take; or the next attempt */
	enum state state;
	bool silent;
	struct hv_handshake handshake;
	uint64_t deadline, random, number, seed;
	uint64_t size, made, came;      /* with the header */
	uint64_t sum_made, sum_came;
	size_t filled, sent;
	uint8_t bytes[CHUNK];
};

static int slot_start(struct slot *slot);
static void slots_start(void);

static void slot_close(struct slot *slot)
{
	source_close(&slot->source);
	timer_set(&slot->timer, 0);
	slot->state = SLOT_IDLE;
}

/* The next one in its place. */
static int slot_next(struct slot *slot)
{
	if (count.wrong >= WRONG_MAX || count.done + count.wrong == options.connections) {
		loop_stop(&loop);
		return 0;
	}
	if (count.started == options.connections)
		return 0;
	slot->number = ++count.started;
	slot->deadline = now() + options.seconds * 1000;
	return slot_start(slot);
}

static int slot_wrong(struct slot *slot, const char *what)
{
	if (count.wrong++ < WRONG_SHOWN)
		fprintf(stderr, "sock-stress: %s %" PRIu64 ": %s; %" PRIu64 " of %" PRIu64
		        " bytes sent, %" PRIu64 " came\n", slot->silent ? "silent" : "connection",
		        slot->number, what, slot->made - (slot->filled - slot->sent), slot->size,
		        slot->came);
	slot_close(slot);
	return slot_next(slot);
}

static int slot_failed(struct slot *slot, int error)
{
	bool again = slot->state < SLOT_TALKING && now() < slot->deadline &&
		(error == -EAGAIN || hv_error_retryable(hv_error_from_errno(endpoint.scheme, error)));
	if (!again)
		return slot_wrong(slot, strerror(-error));
	count.retries++;
	slot_close(slot);
	return timer_set(&slot->timer, RETRY_MILLISECONDS);
}

static int slot_time(struct timer *timer)
{
	struct slot *slot = container_of(timer, struct slot, timer);
	return slot->state == SLOT_IDLE ? slot_start(slot) : slot_wrong(slot, "takes too long");
}

/* The next write: its size is as random as what is in it. */
static void slot_fill(struct slot *slot)
{
	uint64_t left = slot->size - slot->made;
	uint64_t size = 1 + next_random(&slot->random) % options.chunk;
	size_t filled = 0;
	if (options.framed && slot->made == 0)
		for (; filled < HEADER; filled++)
			slot->bytes[filled] = (uint8_t)((slot->size - HEADER) >> (8 * filled));
	if (size > left)
		size = left;
	if (size < filled)
		size = filled;
	for (; filled < size; filled += sizeof(uint64_t)) {
		uint64_t word = next_random(&slot->random);
		memcpy(slot->bytes + filled, &word, min_size(sizeof(word), (size_t)size - filled));
	}
	slot->filled = (size_t)size;
	slot->sent = 0;
	slot->made += size;
	slot->sum_made = sum(slot->sum_made, slot->bytes, slot->filled);
}

/* 1: written to the end; 0: not yet. */
static int slot_write(struct slot *slot)
{
	for (;;) {
		if (slot->sent == slot->filled) {
			if (slot->made == slot->size)
				return 1;
			slot_fill(slot);
		}
		ssize_t n = send(slot->source.fd, slot->bytes + slot->sent, slot->filled - slot->sent,
		                 MSG_NOSIGNAL);
		if (is_later(n))
			return 0;
		if (n < 0)
			return -errno;
		slot->sent += (size_t)n;
	}
}

/* 1: the connection has ended as it should; 0: not yet. */
static int slot_read(struct slot *slot, const char **wrong)
{
	static uint8_t bytes[4 * CHUNK];
	ssize_t n = recv(slot->source.fd, bytes, sizeof(bytes), 0);
	if (n < 0)
		return is_later(n) ? 0 : -errno;
	slot->sum_came = sum(slot->sum_came, bytes, (size_t)n);
	slot->came += (size_t)n;
	if (slot->came > slot->made)
		*wrong = "more came than was sent";
	else if (n == 0 && (options.framed || slot->came != slot->size))
		*wrong = "ended early";
	else if (slot->came == slot->size && slot->sum_came != slot->sum_made)
		*wrong = "the checksums differ";
	if (*wrong)
		return -EPROTO;
	return options.framed ? slot->came == slot->size : n == 0;
}

static int slot_talk(struct slot *slot, uint32_t got)
{
	const char *wrong = NULL;
	bool writing = slot->made < slot->size || slot->sent < slot->filled;
	if (writing && (got & EPOLLOUT)) {
		int done = slot_write(slot);
		if (done < 0)
			return slot_wrong(slot, strerror(-done));
		writing = !done;
		if (done && !options.framed && hv_shutdown(slot->source.fd, SHUT_WR) < 0)
			return slot_wrong(slot, "cannot be half-closed");
	}
	if (got & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		int done = slot_read(slot, &wrong);
		if (done < 0)
			return slot_wrong(slot, wrong ? wrong : strerror(-done));
		if (done) {
			count.done++;
			count.bytes += slot->came;
			slot_close(slot);
			return slot_next(slot);
		}
	}
	return source_want(&slot->source, EPOLLIN | (writing ? EPOLLOUT : 0u));
}

static int slot_connected(struct slot *slot)
{
	if (slot->silent) {
		slot->state = SLOT_SILENT;
		timer_set(&slot->timer, 0);
		if (++count.silent == options.silent)
			slots_start();
		return source_want(&slot->source, EPOLLIN);
	}
	slot->state = SLOT_TALKING;
	if (slot->size == 0 && hv_shutdown(slot->source.fd, SHUT_WR) < 0)
		return slot_wrong(slot, "cannot be half-closed");
	return source_want(&slot->source, EPOLLIN | (slot->size ? EPOLLOUT : 0u));
}

static int slot_ready(struct source *source, uint32_t got)
{
	struct slot *slot = container_of(source, struct slot, source);
	int error = 0;
	switch (slot->state) {
	case SLOT_CONNECTING:
		error = hv_connect_finish(source->fd);
		if (error < 0)
			return slot_failed(slot, error);
		slot->state = SLOT_GREETING;
		__attribute__((fallthrough));
	case SLOT_GREETING:
		error = options.as_guest ? 0 : hv_handshake(source->fd, &endpoint, &slot->handshake);
		if (error == -EAGAIN)
			return source_want(source, EPOLLIN);
		return error < 0 ? slot_failed(slot, error) : slot_connected(slot);
	case SLOT_TALKING:
		return slot_talk(slot, got);
	case SLOT_SILENT:
		return slot_wrong(slot, "was closed");
	default:
		return 0;
	}
}

static int slot_start(struct slot *slot)
{
	bool pending;
	slot->random = (options.seed << 32) + slot->number * 2654435761u + 1;
	slot->size = next_random(&slot->random) % (options.bytes + 1) + (options.framed ? HEADER : 0);
	slot->made = slot->came = 0;
	slot->sum_made = slot->sum_came = SUM_START;
	slot->filled = slot->sent = 0;
	memset(&slot->handshake, 0, sizeof(slot->handshake));
	int fd = hv_connect(&endpoint, &machine, options.as_guest, &pending);
	if (fd < 0)
		return slot_failed(slot, fd);
	slot->state = pending ? SLOT_CONNECTING : SLOT_GREETING;
	timer_set(&slot->timer, options.seconds * 1000);
	return source_init(&slot->source, &loop, fd, EPOLLOUT, slot_ready);
}

static struct slot *slots;

static int slot_init(struct slot *slot, bool silent)
{
	slot->source = (struct source)SOURCE_NULL;
	slot->timer = (struct timer)TIMER_NULL;
	slot->silent = silent;
	return timer_init(&slot->timer, &loop, slot_time);
}

/* A timer of nothing, so that no connection begins in the turn of another. */
static void slots_start(void)
{
	for (unsigned long i = 0; i < options.parallel && count.started < options.connections; i++) {
		struct slot *slot = &slots[options.silent + i];
		slot->number = ++count.started;
		slot->deadline = now() + options.seconds * 1000;
		timer_set(&slot->timer, 1);
	}
}

static int dial(void)
{
	unsigned long all = options.silent + options.parallel;
	uint64_t began = now();
	slots = calloc(all, sizeof(*slots));
	int error = slots ? 0 : -ENOMEM;
	for (unsigned long i = 0; error == 0 && i < all; i++)
		error = slot_init(&slots[i], i < options.silent);
	for (unsigned long i = 0; error == 0 && i < options.silent; i++) {
		slots[i].number = i + 1;
		slots[i].deadline = began + options.seconds * 1000;
		error = timer_set(&slots[i].timer, 1 + i / 100);
	}
	if (!options.silent)
		slots_start();
	if (error == 0)
		error = loop_run(&loop);
	for (unsigned long i = 0; slots && i < all; i++) {
		source_close(&slots[i].source);
		timer_deinit(&slots[i].timer);
	}
	free(slots);
	if (error < 0)
		return error;
	uint64_t took = now() - began;
	printf("%lu connections, %lu at the same time beside %lu silent ones, %" PRIu64
	       " bytes each way, %lu wrong, %lu attempts repeated, %" PRIu64 ".%03" PRIu64 " s\n",
	       count.done, options.parallel, count.silent, count.bytes, count.wrong, count.retries,
	       took / 1000, took % 1000);
	return count.wrong || count.done < options.connections ? -EIO : 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: sock-stress -s [-f] URL\n"
	        "       sock-stress [-fg] [-n CONNECTIONS] [-p PARALLEL] [-b BYTES] [-w WRITE]\n"
	        "                   [-z SILENT] [-r SEED] [-t SECONDS] URL\n");
	return 2;
}

static bool parse(int argc, char **argv)
{
	unsigned long seed = 1;
	unsigned long *const number[128] = {
		['n'] = &options.connections, ['p'] = &options.parallel, ['b'] = &options.bytes,
		['w'] = &options.chunk, ['z'] = &options.silent, ['r'] = &seed,
		['t'] = &options.seconds,
	};
	bool *const flag[128] = {
		['s'] = &options.server, ['f'] = &options.framed, ['g'] = &options.as_guest,
	};
	for (int option; (option = getopt(argc, argv, "sfgn:p:b:w:z:r:t:")) != -1;) {
		if (option == '?')
			return false;
		if (flag[option])
			*flag[option] = true;
		else
			*number[option] = strtoul(optarg, NULL, 10);
	}
	options.seed = seed;
	options.url = argv[optind];
	return optind + 1 == argc && options.parallel && options.connections && options.chunk &&
		options.chunk <= CHUNK;
}

int main(int argc, char **argv)
{
	const char *why = NULL;
	struct rlimit files;
	if (!parse(argc, argv))
		return usage();
	if (hv_endpoint_parse(options.url, &endpoint, &why) < 0) {
		fprintf(stderr, "sock-stress: %s: %s\n", options.url, why);
		return 2;
	}
	/* Two for each connection: it and its timer. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	hv_machine_probe(&machine);
	int error = loop_init(&loop);
	if (error == 0)
		error = options.server ? serve() : dial();
	loop_deinit(&loop);
	if (error < 0 && !count.wrong)
		fprintf(stderr, "sock-stress: %s: %s\n", options.url,
		        hv_error_explain(endpoint.scheme, error));
	return error < 0 || count.wrong;
}
