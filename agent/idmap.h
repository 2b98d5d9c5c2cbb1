/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Mounts whose files show other owners than they have (mount_setattr(2) with MOUNT_ATTR_IDMAP). */

#include "oci/spec.h"

/*
 * A user namespace with these maps, as an fd. Needs the capabilities for both ids. proc_fd: as for
 * proc_self_open().
 */
int idmap_open(const oci_id_mappings *uids, const oci_id_mappings *gids, int proc_fd);
/* Maps a detached mount. -ENOTSUP before Linux 5.12, -EINVAL where the file system cannot. */
int idmap_mount(int mount_fd, int userns_fd, bool recursive);
