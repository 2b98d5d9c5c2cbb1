/* SPDX-License-Identifier: Apache-2.0 */

/* See the header. */

#include "contrib/hvcat/say.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void say(const char *text, ...)
{
	char line[HV_PATH_MAX + 512];
	va_list args;
	va_start(args, text);
	vsnprintf(line, sizeof(line), text, args);
	va_end(args);
	fprintf(stderr, "hvcat: %s\n", line);
}

int say_error(const char *what, enum hv_scheme scheme, int error)
{
	if (hv_error_from_errno(scheme, error) == HV_OTHER)
		say("%s: %s (%d)", what, strerror(-error), -error);
	else
		say("%s: %s", what, hv_error_explain(scheme, error));
	return error;
}
