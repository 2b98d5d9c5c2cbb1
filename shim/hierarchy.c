/* SPDX-License-Identifier: Apache-2.0 */

/* What is mounted where is for the machine's administrator to say, so /proc is asked. */

#include "shim/hierarchy.h"

#include <stdio.h>
#include <string.h>

static void close_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

int hierarchy_each(const char *cgroup, hierarchy_fn *fn, void *context)
{
	char line[8192];
	if (!cgroup)
		return 0;
	cleanup(close_file) FILE *mounts = fopen("/proc/self/mounts", "re");
	if (!mounts)
		return -errno;
	int result = 0;
	while (fgets(line, sizeof(line), mounts)) {
		char mount[2048], type[64], full[6200];
		if (sscanf(line, "%*s %2047s %63s", mount, type) != 2 ||
		    strncmp(type, "cgroup", 6) != 0)
			continue;
		snprintf(full, sizeof(full), "%s%s", mount, cgroup);
		int error = fn(full, context);
		if (error < 0 && error != -ENOENT)
			result = error;
	}
	return result;
}
