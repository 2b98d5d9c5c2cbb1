/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The usual soft limit of 1024 is for programs that select(2), and a container with its streams
 * takes half a dozen of it. Process 1 of a VM starts with a hard limit of 4096, but may have more.
 */

#include "oci/files_limit.h"

#include "oci/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>

#define FILES_WANTED 65536

static struct rlimit before;
static bool raised;

void files_limit_raise(void)
{
	if (getrlimit(RLIMIT_NOFILE, &before) < 0)
		return;
	struct rlimit wanted = before;
	if (wanted.rlim_max < FILES_WANTED)
		wanted.rlim_max = FILES_WANTED;
	wanted.rlim_cur = wanted.rlim_max;
	raised = setrlimit(RLIMIT_NOFILE, &wanted) == 0;
	if (raised)
		return;
	wanted.rlim_cur = wanted.rlim_max = before.rlim_max;
	raised = setrlimit(RLIMIT_NOFILE, &wanted) == 0;
}

void files_limit_restore(void)
{
	if (raised)
		(void)setrlimit(RLIMIT_NOFILE, &before);
}

void files_limit_most(void)
{
	char text[24];
	struct rlimit now, wanted;

	if (getrlimit(RLIMIT_NOFILE, &now) < 0)
		return;
	if (file_read_line(AT_FDCWD, "/proc/sys/fs/nr_open", text, sizeof(text)) == 0) {
		wanted.rlim_cur = wanted.rlim_max = strtoul(text, NULL, 10);
		if (wanted.rlim_max >= now.rlim_max && setrlimit(RLIMIT_NOFILE, &wanted) == 0)
			return;
	}
	now.rlim_cur = now.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &now);
}
