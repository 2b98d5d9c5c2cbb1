/* SPDX-License-Identifier: Apache-2.0 */

/*
 * features: what is true of every partition, so that callers can rely on it. What is accepted but
 * left undone is not announced: CRI implementations reject a pod early for what is missing here,
 * which is better than a pod that runs without it.
 */

#include "shim/features.h"

#include "oci/features.h"
#include "oci/spec.h"
#include "shim/print.h"
#include "shim/verbs.h"

#include <linux/seccomp.h>
#include <string.h>
#include <sys/syscall.h>

static const struct json_field cgroup_fields[] = {
	JSON_FIELD(struct cgroup_features, v1, "v1", bool, JSON_ALWAYS),
	JSON_FIELD(struct cgroup_features, v2, "v2", bool, JSON_ALWAYS),
	JSON_FIELD(struct cgroup_features, systemd, "systemd", bool, JSON_ALWAYS),
	JSON_FIELD(struct cgroup_features, systemd_user, "systemdUser", bool, JSON_ALWAYS),
	JSON_FIELD(struct cgroup_features, rdma, "rdma", bool, JSON_ALWAYS),
	{ NULL },
};
static const struct json_type cgroup_type = JSON_TYPE(struct cgroup_features, cgroup_fields);

static const struct json_field seccomp_fields[] = {
	JSON_FIELD(struct seccomp_features, enabled, "enabled", bool, JSON_ALWAYS),
	JSON_FIELD(struct seccomp_features, actions, "actions", str_list),
	JSON_FIELD(struct seccomp_features, operators, "operators", str_list),
	JSON_FIELD(struct seccomp_features, archs, "archs", str_list),
	JSON_FIELD(struct seccomp_features, known_flags, "knownFlags", str_list),
	JSON_FIELD(struct seccomp_features, supported_flags, "supportedFlags", str_list),
	{ NULL },
};
static const struct json_type seccomp_type = JSON_TYPE(struct seccomp_features, seccomp_fields);

static const struct json_field switch_fields[] = {
	JSON_FIELD(struct switch_feature, enabled, "enabled", bool, JSON_ALWAYS),
	{ NULL },
};
static const struct json_type switch_type = JSON_TYPE(struct switch_feature, switch_fields);
#define SWITCH(member, name) \
	JSON_FIELD(struct linux_features, member, name, object, JSON_ALWAYS, &switch_type)

/* Of the whole, so at offset 0. */
static const struct json_field mount_fields[] = { SWITCH(idmap, "idmap"), { NULL } };
static const struct json_type mount_type = JSON_TYPE(struct linux_features, mount_fields);

static const struct json_field linux_fields[] = {
	JSON_FIELD(struct linux_features, namespaces, "namespaces", str_list),
	JSON_FIELD(struct linux_features, capabilities, "capabilities", str_list),
	JSON_FIELD(struct linux_features, cgroup, "cgroup", object, JSON_ALWAYS, &cgroup_type),
	JSON_FIELD(struct linux_features, seccomp, "seccomp", object, JSON_ALWAYS, &seccomp_type),
	SWITCH(apparmor, "apparmor"),
	SWITCH(selinux, "selinux"),
	SWITCH(intel_rdt, "intelRdt"),
	{ "mountExtensions", &json_object, 0, JSON_ALWAYS, &mount_type },
	SWITCH(net_devices, "netDevices"),
	{ NULL },
};
static const struct json_type linux_type = JSON_TYPE(struct linux_features, linux_fields);

static const struct json_field features_fields[] = {
	JSON_FIELD(struct features, oci_version_min, "ociVersionMin", str),
	JSON_FIELD(struct features, oci_version_max, "ociVersionMax", str),
	JSON_FIELD(struct features, hooks, "hooks", str_list),
	JSON_FIELD(struct features, mount_options, "mountOptions", str_list),
	JSON_FIELD(struct features, linux_, "linux", object, JSON_ALWAYS, &linux_type),
	JSON_FIELD(struct features, annotations, "annotations", str_map),
	JSON_FIELD(struct features, unsafe_annotations, "potentiallyUnsafeConfigAnnotations",
	           str_list, JSON_ALWAYS),
	{ NULL },
};
const struct json_type features_type = JSON_TYPE(struct features, features_fields);

/* Maps to strings are what annotations are, lists within them too. */
static const struct str_pair annotations[] = {
	{ "org.hvrun.version", HVRUN_VERSION },
	{ "org.hvrun.partitions", "[\"local\"]" },
	{ "org.hvrun.partition.local",
	  "no virtual machine: containers share this kernel and are isolated by namespaces only" },
	{ "org.hvrun.cgroup.systemd",
	  "slice:prefix:name paths are understood, but the cgroups are made without systemd" },
	{ "org.hvrun.checkpoint.enabled", "false" },
};

static int copy_names(struct arena *arena, const char *const *names, struct str_list *ret)
{
	size_t count = 0;
	while (names[count])
		count++;
	ret->item = arena_array(arena, count, sizeof(*ret->item));
	if (!ret->item)
		return -ENOMEM;
	memcpy(ret->item, names, count * sizeof(*ret->item));
	ret->count = count;
	return 0;
}

static int copy_capabilities(struct arena *arena, struct str_list *ret)
{
	size_t count = 0;
	while (oci_capability_names[count].name)
		count++;
	ret->item = arena_array(arena, count, sizeof(*ret->item));
	for (size_t i = 0; ret->item && i < count; i++)
		ret->item[ret->count++] = oci_capability_names[i].name;
	return ret->item ? 0 : -ENOMEM;
}

/* Would this kernel take the flag? It refuses unknown ones before it misses the filter. */
static bool flag_works(const char *name)
{
	static const struct json_name flags[] = {
		{ "SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC },
		{ "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
		{ "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
		{ NULL },
	};
	const struct json_name *flag = flags;
	while (flag->name && strcmp(flag->name, name))
		flag++;
	return flag->name &&
	       syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flag->value, NULL) < 0 &&
	       errno == EFAULT;
}

static int fill_seccomp(struct arena *arena, struct seccomp_features *seccomp)
{
	size_t kept = 0;
	*seccomp = (struct seccomp_features){ .enabled = HVRUN_SECCOMP };
	if (!seccomp->enabled)
		return 0;
	if (copy_names(arena, oci_seccomp_actions_supported, &seccomp->actions) < 0 ||
	    copy_names(arena, oci_seccomp_operators, &seccomp->operators) < 0 ||
	    copy_names(arena, oci_seccomp_architectures, &seccomp->archs) < 0 ||
	    copy_names(arena, oci_seccomp_flags, &seccomp->known_flags) < 0 ||
	    copy_names(arena, oci_seccomp_flags_supported, &seccomp->supported_flags) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < seccomp->supported_flags.count; i++) {
		const char *name = seccomp->supported_flags.item[i];
		if (flag_works(name))
			seccomp->supported_flags.item[kept++] = name;
	}
	seccomp->supported_flags.count = kept;
	return 0;
}

int features_fill(struct features *ret, struct arena *arena)
{
	struct linux_features *linux_ = &ret->linux_;
	*ret = (struct features){
		.oci_version_min = "1.0.0",
		.oci_version_max = OCI_VERSION,
		.linux_ = {
			.cgroup = { .v1 = true, .v2 = true, .rdma = true },
			.apparmor.enabled = true,
			.selinux.enabled = true,
			.idmap.enabled = true,
		},
	};
	ret->annotations.item = arena_array(arena, array_size(annotations), sizeof(*annotations));
	if (!ret->annotations.item)
		return -ENOMEM;
	memcpy(ret->annotations.item, annotations, sizeof(annotations));
	ret->annotations.count = array_size(annotations);
	if (copy_names(arena, oci_hook_kinds, &ret->hooks) < 0 ||
	    copy_names(arena, oci_mount_words, &ret->mount_options) < 0 ||
	    copy_names(arena, oci_namespace_names, &linux_->namespaces) < 0 ||
	    copy_capabilities(arena, &linux_->capabilities) < 0)
		return -ENOMEM;
	return fill_seccomp(arena, &linux_->seccomp);
}

int verb_features(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)cli;
	(void)options;
	(void)argc;
	(void)argv;
	struct features features;
	struct arena arena = ARENA(JSON_ARENA);
	int error = features_fill(&features, &arena);
	error = error < 0 ? fault_errno(fault, error, "features")
	                  : print_json(&features_type, &features, "  ", fault);
	arena_free(&arena);
	return error;
}
