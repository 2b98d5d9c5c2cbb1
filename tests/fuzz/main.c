/* SPDX-License-Identifier: Apache-2.0 */

/* Replays a corpus: every file below the folders named on the command line, in an ordinary test. */

#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static int replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	if (!file)
		return -1;
	size_t size = 0, room = 1 << 16;
	uint8_t *bytes = malloc(room);
	size_t got;
	while (bytes && (got = fread(bytes + size, 1, room - size, file)) > 0) {
		size += got;
		if (size == room) {
			room *= 2;
			uint8_t *larger = realloc(bytes, room);
			if (!larger)
				break;
			bytes = larger;
		}
	}
	fclose(file);
	if (!bytes)
		return -1;
	/* A copy of the exact size, so that a sanitizer sees a read past its end. */
	uint8_t *exact = malloc(size ? size : 1);
	if (exact) {
		for (size_t i = 0; i < size; i++)
			exact[i] = bytes[i];
		LLVMFuzzerTestOneInput(exact, size);
	}
	free(exact);
	free(bytes);
	return exact ? 0 : -1;
}

int main(int argc, char **argv)
{
	size_t files = 0;
	for (int i = 1; i < argc; i++) {
		struct dirent **names;
		int n = scandir(argv[i], &names, NULL, alphasort);
		if (n < 0) {
			perror(argv[i]);
			return 1;
		}
		for (int k = 0; k < n; k++) {
			char path[4096];
			if (names[k]->d_name[0] != '.') {
				snprintf(path, sizeof(path), "%s/%s", argv[i], names[k]->d_name);
				if (replay(path) < 0) {
					perror(path);
					return 1;
				}
				files++;
			}
			free(names[k]);
		}
		free(names);
	}
	printf("%zu inputs\n", files);
	return files ? 0 : 1;
}
