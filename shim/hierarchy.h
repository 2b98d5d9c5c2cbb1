/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The cgroup hierarchies that are mounted: one of version 2, several of version 1, or both. */

#include "hvsocket/base.h"

/*
 * Calls it with the directory that a cgroup ("/a/b"; NULL: there is none) has in each of them,
 * whether it exists there or not. The last of its errors; -ENOENT is none.
 */
typedef int hierarchy_fn(const char *path, void *context);
int hierarchy_each(const char *cgroup, hierarchy_fn *fn, void *context);
