/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the soaks run inside containers: bytes that say where they belong. Byte n of the pattern is
 * always the same and the pattern does not repeat, so that a checker sees at once what is lost,
 * doubled or out of place, and both ends work at the speed of memory.
 *
 *   emit source SIZE           SIZE bytes of the pattern to stdout
 *   emit check SIZE            exactly these from stdin, or a complaint
 *   emit write OUT ERR CODE OUT_AT ERR_AT SEED [MILLISECONDS LATE]
 *                              OUT bytes of the pattern from OUT_AT on to stdout and ERR bytes to
 *                              stderr in turns of random size, and exit with CODE; a child in the
 *                              background keeps the pipes open and writes LATE more to both
 *   emit init                  waits for ever, and for every child
 */

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 65536

static uint64_t word(uint64_t n)
{
	n = (n + 1) * 0x9e3779b97f4a7c15;
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9;
	n = (n ^ n >> 27) * 0x94d049bb133111eb;
	return n ^ n >> 31;
}

/* size and at: multiples of 8. */
static void fill(uint64_t *block, uint64_t at, size_t size)
{
	for (size_t i = 0; i < size / 8; i++)
		block[i] = word(at / 8 + i);
}

static void put(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			dprintf(2, "emit: write: %s\n", strerror(errno));
			_exit(250);
		}
		data += n;
		size -= (size_t)n;
	}
}

static int source(uint64_t size)
{
	uint64_t block[BLOCK / 8];

	for (uint64_t at = 0; at < size; at += BLOCK) {
		fill(block, at, BLOCK);
		put(1, (char *)block, size - at < BLOCK ? size - at : BLOCK);
	}
	return 0;
}

static int check(uint64_t size)
{
	static uint64_t block[BLOCK / 8], expected[BLOCK / 8];
	uint64_t at = 0;

	for (;;) {
		size_t have = 0;
		ssize_t n = 1;
		while (have < BLOCK && (n = read(0, (char *)block + have, BLOCK - have)) > 0)
			have += (size_t)n;
		if (n < 0 || at + have > size) {
			printf("%s after %llu bytes\n", n < 0 ? strerror(errno) : "too much",
			       (unsigned long long)(at + have));
			return 1;
		}
		fill(expected, at, BLOCK);
		if (memcmp(block, expected, have)) {
			printf("wrong bytes after %llu\n", (unsigned long long)at);
			return 1;
		}
		at += have;
		if (!n)
			break;
	}
	printf("%llu of %llu bytes\n", (unsigned long long)at, (unsigned long long)size);
	return at != size;
}

struct output {
	const char *data;
	size_t left;
};

/* The two in turns, 1 byte to a bit more than a pipe holds. */
static void write_both(struct output output[2], uint64_t seed)
{
	for (uint64_t turn = 0; output[0].left || output[1].left; turn++) {
		uint64_t dice = word(seed * 1000003 + turn);
		struct output *o = &output[dice & 1];
		size_t n = 1 + (dice >> 8) % (dice & 2 ? 70000 : 700);
		if (n > o->left)
			n = o->left;
		put(dice & 1 ? 2 : 1, o->data, n);
		o->data += n;
		o->left -= n;
	}
}

static void write_late(struct output output[2], unsigned milliseconds, size_t late, uint64_t seed)
{
	struct timespec wait = { milliseconds / 1000, milliseconds % 1000 * 1000000L };
	struct output more[2];

	for (int i = 0; i < 2; i++)
		more[i] = (struct output){ output[i].data + output[i].left, late };
	if (fork())
		return;
	nanosleep(&wait, NULL);
	write_both(more, seed + 1);
	_exit(0);
}

static int write_pattern(int argc, char **argv)
{
	uint64_t number[8] = { 0 };

	for (int i = 0; i < argc && i < 8; i++)
		number[i] = strtoull(argv[i], NULL, 10);
	size_t late = number[7], size = 0;
	for (int i = 0; i < 2; i++) {
		size_t end = number[i] + number[3 + i] + late;
		size = end > size ? end : size;
	}
	size = (size + 7) / 8 * 8;
	uint64_t *pattern = malloc(size + 8);
	if (!pattern)
		return 251;
	fill(pattern, 0, size);
	struct output output[2];
	for (int i = 0; i < 2; i++)
		output[i] = (struct output){ (char *)pattern + number[3 + i], number[i] };
	if (late)
		write_late(output, (unsigned)number[6], late, number[5]);
	write_both(output, number[5]);
	return (int)number[2];
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "source"))
		return source(strtoull(argv[2], NULL, 10));
	if (argc == 3 && !strcmp(argv[1], "check"))
		return check(strtoull(argv[2], NULL, 10));
	if (argc >= 8 && !strcmp(argv[1], "write"))
		return write_pattern(argc - 2, argv + 2);
	if (argc == 2 && !strcmp(argv[1], "init")) {
		signal(SIGCHLD, SIG_IGN);
		for (;;)
			pause();
	}
	return 252;
}
