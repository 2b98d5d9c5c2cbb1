/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "oci/fault.h"

/*
 * linux.cgroupsPath → the path below the mount point of each hierarchy, malloc'd: "/a/b", or
 * systemd's "slice:prefix:name"; NULL or "" is "/hvrun/<id>". -EINVAL, -ENAMETOOLONG.
 */
int cgroup_path_resolve(const char *cgroups_path, const char *id, char **ret, struct fault *fault);
