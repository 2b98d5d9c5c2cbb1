/* SPDX-License-Identifier: Apache-2.0 */

/*
 * In a VM the path of a bundle is the host's, such as that of a directory with the container's id
 * in an engine's state, and is made with all that is above it. A VM of many containers would fill
 * with these, so they go too: whoever has made directories removes them, and what others are in by
 * then is theirs to remove.
 */

#include "agent/bundle.h"

#include "agent/agent.h"
#include "agent/container.h"
#include "agent/tree.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int bundle_make(struct container *container, struct fault *fault)
{
	const char *path = container->config->oci_bundle_path;
	int made = make_directories(path, 0700);
	if (made < 0)
		return fault_errno(fault, made, "making the bundle directory \"%s\"", path);
	container->made_bundle = (unsigned)made;
	return 0;
}

/* How many levels a path is below a directory; 0 = it is not. */
static unsigned levels_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);
	unsigned levels = 0;

	if (strncmp(path, directory, length) || path[length] != '/')
		return 0;
	for (const char *at = path + length; *at; at++)
		levels += *at == '/' && at[1] && at[1] != '/';
	return levels;
}

/* `above`: how many directories are left, with this one. */
static void bequeath(const struct container *container, const char *directory, unsigned above)
{
	for (struct container *other = container->agent->containers; other; other = other->next) {
		unsigned levels = other == container || !other->config->oci_bundle_path ? 0 :
			levels_below(other->config->oci_bundle_path, directory);
		if (!levels)
			continue;
		if (other->made_bundle < levels + above)
			other->made_bundle = levels + above;
		return;
	}
}

void bundle_leave(struct container *container)
{
	char path[PATH_MAX];

	if (container->made_bundle < 2)
		return;
	snprintf(path, sizeof(path), "%s", container->config->oci_bundle_path);
	for (unsigned left = container->made_bundle - 1; left; left--) {
		for (size_t n = strlen(path); n && path[n - 1] == '/'; n--)
			path[n - 1] = '\0';
		char *slash = strrchr(path, '/');
		if (!slash || slash == path)
			return;
		*slash = '\0';
		if (rmdir(path) < 0 && errno != ENOENT) {
			bequeath(container, path, left);
			return;
		}
	}
}
