/* SPDX-License-Identifier: Apache-2.0 */

/* hvrun-hv: what `hvrun hv` is elsewhere, as a program of its own. */

#include "contrib/windows/arguments.h"
#include "shim/hv/hv.h"

#include <fcntl.h>
#include <io.h>
#include <string.h>

int wmain(int argc, wchar_t **wide);
int wmain(int argc, wchar_t **wide)
{
	struct fault fault = FAULT_NULL;
	char **argv = utf8_arguments(argc, wide);
	if (!argv) {
		fputs("hvrun-hv: out of memory\n", stderr);
		return 1;
	}
	/* The bytes of a .reg file are the same everywhere. */
	(void)_setmode(STDOUT_FILENO, _O_BINARY);
	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		puts("usage: hvrun-hv " HV_OPERANDS "\n" HV_TEXT);
		return 0;
	}
	if (hv_run(argc - 1, argv + 1, stdout, &fault) < 0) {
		fprintf(stderr, "hvrun-hv: %s\n", fault.text);
		return 1;
	}
	return fflush(stdout) ? 1 : 0;
}
