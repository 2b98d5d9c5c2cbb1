/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Times whole commands, in turn, so that a noisy machine is noisy for all of them alike.
 *
 *   bench-spawn turns N  CMD… ::: CMD… ::: …   N rounds; each command once a round
 *   bench-spawn burst N  CMD…                  N copies at once
 *
 * Prints one line per command: median, minimum, maximum in microseconds, failures (exit status not 0).
 */

#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COMMANDS 8

extern char **environ;

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static pid_t start(char **argv, const posix_spawn_file_actions_t *actions)
{
	pid_t pid;
	int error = posix_spawnp(&pid, argv[0], actions, NULL, argv, environ);
	if (error) {
		fprintf(stderr, "bench-spawn: %s: %s\n", argv[0], strerror(error));
		exit(1);
	}
	return pid;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void print(uint64_t *times, size_t n, size_t failures)
{
	qsort(times, n, sizeof(*times), compare);
	printf("%llu %llu %llu %zu\n", (unsigned long long)times[n / 2],
	       (unsigned long long)times[0], (unsigned long long)times[n - 1], failures);
}

static void turns(size_t n, char **argv, const posix_spawn_file_actions_t *actions)
{
	char **command[COMMANDS];
	uint64_t *times[COMMANDS];
	size_t failures[COMMANDS] = { 0 }, count = 0;
	for (char **start_of = argv; *start_of && count < COMMANDS;) {
		command[count] = start_of;
		times[count++] = calloc(n, sizeof(uint64_t));
		while (*start_of && strcmp(*start_of, ":::"))
			start_of++;
		if (*start_of)
			*start_of++ = NULL;
	}
	for (size_t i = 0; i < n; i++) {
		for (size_t c = 0; c < count; c++) {
			int status;
			uint64_t before = now();
			waitpid(start(command[c], actions), &status, 0);
			times[c][i] = now() - before;
			failures[c] += status != 0;
		}
	}
	for (size_t c = 0; c < count; c++)
		print(times[c], n, failures[c]);
}

static void burst(size_t n, char **argv, const posix_spawn_file_actions_t *actions)
{
	pid_t *pids = calloc(n, sizeof(*pids));
	uint64_t *times = calloc(n, sizeof(*times)), *begun = calloc(n, sizeof(*begun));
	size_t failures = 0;
	for (size_t i = 0; i < n; i++) {
		begun[i] = now();
		pids[i] = start(argv, actions);
	}
	for (size_t left = n; left; left--) {
		int status;
		pid_t pid = wait(&status);
		for (size_t i = 0; i < n; i++) {
			if (pids[i] == pid)
				times[i] = now() - begun[i];
		}
		failures += status != 0;
	}
	print(times, n, failures);
}

int main(int argc, char **argv)
{
	size_t n = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
	if (!n) {
		fputs("usage: bench-spawn turns|burst N CMD…\n", stderr);
		return 2;
	}
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	if (!strcmp(argv[1], "turns"))
		turns(n, argv + 3, &actions);
	else
		burst(n, argv + 3, &actions);
	return 0;
}
