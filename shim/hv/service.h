/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The services that VMs may use on a Windows host: keys below GuestCommunicationServices in its
 * registry, named by their GUID.
 */

#include "shim/hv/hv.h"

#define HV_SERVICES_KEY \
	"SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\Virtualization\\GuestCommunicationServices"
#define HV_SERVICE_NAME 256

/* Our tag: a value that marks the keys that are ours to change and to remove. */
#define HV_SERVICE_TAG "RegisteredBy"
#define HV_SERVICE_TAG_TEXT "hvrun"

struct hv_registered {
	struct hv_guid id;
	char name[HV_SERVICE_NAME];     /* ElementName, UTF-8; "" if there is none */
	bool ours;                      /* with the tag */
};

/* -ENOENT: there is none (any more), -EACCES: only an administrator may. */
struct registry {
	bool writable;                  /* else changes can only be written down */
	int (*read)(const struct hv_guid *id, struct hv_registered *ret);
	/* The index-th key. -EINVAL: its name is no GUID. */
	int (*at)(unsigned index, struct hv_registered *ret);
	int (*write)(const struct hv_registered *service);
	int (*remove)(const struct hv_guid *id);
};
/* Windows': the registry. Linux': the services of every host, for reading. */
extern const struct registry registry_system;

/* register, unregister, list, show; argv[0] is the verb. */
bool hv_is_service_verb(const char *verb);
int hv_service(const struct registry *registry, int argc, char **argv, FILE *out,
               struct fault *fault);

/* The name that Microsoft has given to a service of its own; NULL for all others. */
const char *hv_builtin_name(const struct hv_guid *id);
/* The index-th of those that are registered on every host. -ENOENT. */
int hv_builtin_at(unsigned index, struct hv_registered *ret);

/* Registry Editor's text. */
struct reg {
	FILE *out;
	bool wide;      /* UTF-16: needed for names that are not plain */
};
bool reg_is_plain(const char *name);
void reg_begin(const struct reg *reg);
void reg_service(const struct reg *reg, const struct hv_registered *service);
void reg_removal(const struct reg *reg, const struct hv_guid *id);
/* As the registry's keys are written: in upper case. */
const char *reg_key(const struct hv_guid *id, char text[static HV_GUID_TEXT]);
