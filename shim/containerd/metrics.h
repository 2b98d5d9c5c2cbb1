/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The figures of a container as containerd's clients know them. They are those of the guest, so
 * what is counted does not depend on this machine; its collector of metrics for Prometheus however
 * decodes by what cgroups this machine has.
 */

#include "oci/message.h"
#include "shim/containerd/any.h"

/* As io.containerd.cgroups.v2.Metrics, else v1; any_deinit() frees the value. */
int metrics_pack(const struct statistics_v2 *statistics, bool v2, Google__Protobuf__Any *ret);
/* Whether this machine has cgroups of version 2 and no others. */
bool metrics_host_v2(void);
