/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The configuration of those who run VMs: /etc/hvrun/config.json, or what --config or HVRUN_CONFIG
 * name. Everything in it has a default; see hvrun-config(5).
 */

#include "oci/json.h"

#define CONFIG_PATH "/etc/hvrun/config.json"

enum accelerator { ACCELERATOR_AUTO, ACCELERATOR_KVM, ACCELERATOR_TCG };

/* Paths are NULL where nothing was said. */
struct qemu_config {
	const char *path, *kernel, *image, *virtiofsd, *vhost_device_vsock;
	const char *kernel_arguments;
	uint32_t memory;        /* MiB */
	uint32_t cpus;
	uint32_t user;          /* uid and gid of QEMU and vhost-device-vsock */
	int accelerator;
};
struct config {
	const char *partition;  /* what kind new containers run in; NULL where nothing was said */
	struct qemu_config qemu;
	struct str_list annotations;    /* that containers may set */
	struct arena arena;
};

/*
 * path NULL: the default one, which need not exist. -EINVAL with a fault that names file and
 * member. To be ended with config_deinit() in any case.
 */
int config_load(struct config *ret, const char *path, struct fault *fault);
/* The same from memory; name is for messages. */
int config_parse(struct config *ret, const char *name, const char *text, size_t size,
                 struct fault *fault);
/*
 * Takes over an annotation of a container, if it is one of ours and allowed. -EINVAL: its value
 * makes no sense.
 */
int config_annotate(struct config *config, const char *name, const char *value,
                    struct fault *fault);
/* Whether config_annotate() takes annotations of this name. */
bool config_knows(const char *name);
/* Whether a container's annotation of this name counts. */
bool config_allows(const struct config *config, const char *name);
void config_deinit(struct config *config);

/*
 * What kind of partition new containers run in, for partition_driver_find(): the one that was asked
 * for, else that of an annotation of theirs, if the file (as config_load()'s path) allows it, else
 * that of the file, else "local". *ret lives as long as arena and asked.
 */
int config_partition(const char *asked, const char *path, const struct str_map *annotations,
                     struct arena *arena, const char **ret, struct fault *fault);

/* Annotations that are ours begin so. */
#define CONFIG_ANNOTATION "io.hvrun."
