/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* GUIDs as Hyper-V uses them: mixed-endian in memory, lower case without braces in text. */

#include "hvsocket/base.h"

#define HV_GUID_TEXT 37 /* 36 characters and NUL */

/* The 16 bytes as they stand in a SOCKADDR_HV: the first three groups little-endian. */
struct hv_guid {
	uint8_t byte[16];
};

/* The well-known VmIds (hvsocket.h of the Windows SDK) and the vsock service template. */
extern const struct hv_guid hv_guid_zero; /* also HV_GUID_WILDCARD */
extern const struct hv_guid hv_guid_broadcast;
extern const struct hv_guid hv_guid_children;
extern const struct hv_guid hv_guid_loopback;
extern const struct hv_guid hv_guid_parent;
extern const struct hv_guid hv_guid_silohost;
extern const struct hv_guid hv_guid_vsock_template;

/* Accepts upper and lower case, with or without braces, nothing before or after. -EINVAL. */
int hv_guid_parse(const char *text, struct hv_guid *ret);
const char *hv_guid_format(const struct hv_guid *guid, char text[static HV_GUID_TEXT]);
bool hv_guid_equal(const struct hv_guid *a, const struct hv_guid *b);
/* A random version 4 GUID. */
int hv_guid_random(struct hv_guid *ret);
/* At most 256 bytes from the system's generator. */
int hv_random(void *bytes, size_t size);

/* The service GUID of a vsock port: the port is Data1 of the template. */
struct hv_guid hv_guid_from_port(uint32_t port);
/* The inverse: false where the GUID does not follow the template. */
bool hv_guid_to_port(const struct hv_guid *guid, uint32_t *ret_port);
