/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What hvrun can do, as the runtime specification wants it told. */

#include "oci/json.h"

struct cgroup_features {
	bool v1, v2, systemd, systemd_user, rdma;
};
struct seccomp_features {
	bool enabled;
	struct str_list actions, operators, archs, known_flags, supported_flags;
};
struct switch_feature {
	bool enabled;
};
struct linux_features {
	struct str_list namespaces, capabilities;
	struct cgroup_features cgroup;
	struct seccomp_features seccomp;
	struct switch_feature apparmor, selinux, intel_rdt, idmap, net_devices;
};
struct features {
	const char *oci_version_min, *oci_version_max;
	struct str_list hooks, mount_options;
	struct linux_features linux_;
	struct str_map annotations;
	struct str_list unsafe_annotations;
};
extern const struct json_type features_type;

/* Lists live in the arena. -ENOMEM. */
int features_fill(struct features *ret, struct arena *arena);
