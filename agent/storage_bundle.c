/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A container's bundle directory lies on its scratch disk, above its root: who mounts the root
 * makes the directory as well, or binds it from the scratch. It has to outlive the root where its
 * container is still there, because that one's deletion looks for it. So these directories are
 * remembered, and go with their root or with their container, whichever goes last; what is bound
 * goes with its container.
 */

#include "agent/storage_private.h"

#include "agent/agent.h"
#include "oci/mountapi.h"

#include <string.h>

#ifndef UMOUNT_NOFOLLOW
#define UMOUNT_NOFOLLOW 8
#endif

struct storage_bundle {
	struct storage_bundle *next;
	bool bound;                     /* a mount is on it */
	bool has_root;                  /* CombinedLayers are in it */
	char path[];
};

static struct storage_bundle **find(struct storage *storage, const char *path)
{
	struct storage_bundle **at = &storage->bundles;
	while (*at && strcmp((*at)->path, path))
		at = &(*at)->next;
	return *at ? at : NULL;
}

static void drop(struct storage_bundle **at)
{
	struct storage_bundle *bundle = *at;
	*at = bundle->next;
	free(bundle);
}

static bool has_container(const struct storage *storage, const char *bundle)
{
	for (struct container *c = storage->agent->containers; c; c = c->next) {
		if (!strcmp(c->config->oci_bundle_path, bundle))
			return true;
	}
	return false;
}

void storage_bundle_added(struct storage *storage, const struct combined_layers *layers, bool made)
{
	char path[PATH_MAX];
	if (layers_bundle_path(layers, path) < 0)
		return;
	bool bound = layers_bind_bundle(layers);
	struct storage_bundle **at = find(storage, path);
	struct storage_bundle *bundle = at ? *at : NULL;
	if (!bundle && !bound && !made)
		return;
	if (!bundle) {
		bundle = calloc(1, sizeof(*bundle) + strlen(path) + 1);
		if (!bundle)
			return; /* it stays when its container goes */
		memcpy(bundle->path, path, strlen(path) + 1);
		bundle->next = storage->bundles;
		storage->bundles = bundle;
	}
	bundle->bound |= bound;
	bundle->has_root = true;
}

void storage_bundle_removed(struct storage *storage, const struct combined_layers *layers)
{
	char path[PATH_MAX];
	if (layers_bundle_path(layers, path) < 0)
		return;
	struct storage_bundle **at = find(storage, path);
	if (at && has_container(storage, path))
		(*at)->has_root = false;
	else if (at)
		drop(at);
}

bool storage_bundle_stays(struct storage *storage, const char *path)
{
	return !find(storage, path) || has_container(storage, path);
}

bool storage_bundle_known(struct storage *storage, const char *path)
{
	return find(storage, path) != NULL;
}

bool storage_take_bundle(struct storage *storage, const char *path)
{
	struct storage_bundle **at = find(storage, path);
	if (!at || (!(*at)->bound && (*at)->has_root))
		return false;
	if ((*at)->bound)
		sys_umount(path, MNT_DETACH | UMOUNT_NOFOLLOW);
	drop(at);
	return true;
}

void storage_bundles_forget(struct storage *storage)
{
	while (storage->bundles)
		drop(&storage->bundles);
}
