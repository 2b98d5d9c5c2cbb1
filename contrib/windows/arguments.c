/* SPDX-License-Identifier: Apache-2.0 */

/*
 * main() gets its words in the code page of the machine, which has no place for most characters.
 * Our programs begin with wmain(), and with UTF-8 behind it. The console is told the same.
 */

#include <windows.h>

#include "contrib/windows/arguments.h"

#include <stdlib.h>

static char *to_utf8(const wchar_t *text)
{
	int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
	char *out = size > 0 ? malloc((size_t)size) : NULL;
	if (out)
		WideCharToMultiByte(CP_UTF8, 0, text, -1, out, size, NULL, NULL);
	return out;
}

char **utf8_arguments(int argc, wchar_t **argv)
{
	char **words = calloc((size_t)argc + 1, sizeof(*words));
	for (int i = 0; words && i < argc; i++) {
		words[i] = to_utf8(argv[i]);
		if (!words[i])
			return NULL;
	}
	(void)SetConsoleOutputCP(CP_UTF8);
	return words;
}
