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

int say_unreachable(const char *url, const struct hv_endpoint *endpoint, bool listening,
                    const struct hv_machine *machine, int error)
{
	const char *rule = NULL;
	/* Of who dials it means that nobody is there; of who listens, that the folder is not. */
	if (listening && error == -ENOENT) {
		say("%s: %s", url, strerror(-error));
		return error;
	}
	if (error == -EADDRNOTAVAIL)
		rule = hv_refusal(endpoint, listening, machine);
	if (!rule)
		return say_error(url, endpoint->scheme, error);
	say("%s: %s: %s", url, hv_error_explain(endpoint->scheme, error), rule);
	return error;
}
