/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What start and delete have to agree on without having spoken: to which group a container belongs,
 * and where its state is kept.
 */

#include "oci/json.h"

/*
 * The annotations of config.json in the bundle, and the id of the group: that of the container
 * unless they name another. Without a config.json, which is what a sandbox has that is none of the
 * containers, there are no annotations. Texts live in the arena, or are id.
 */
int group_read(int bundle_fd, const char *id, struct arena *arena, struct str_map *ret_annotations,
               const char **ret_group, struct fault *fault);

/* The state of a namespace, below `root` ("/run/containerd/hvrun" if NULL); in the arena. */
int group_root(const char *root, const char *namespace, struct arena *arena, const char **ret,
               struct fault *fault);

/* `state` in the bundle is a link to it, for delete and for people. */
#define GROUP_STATE "state"
int group_link_root(int bundle_fd, const char *root);
/* As it was linked, else the default one of the namespace. */
int group_find_root(int bundle_fd, const char *namespace, struct arena *arena, const char **ret,
                    struct fault *fault);
