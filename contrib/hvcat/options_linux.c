/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Options that only Linux has: there a VM is found by its CID or by the sockets of its VMM, and a
 * service by its port, so somebody has to say what belongs to which GUID.
 */

#include "contrib/hvcat/options.h"

#include <string.h>

const char *const options_urls =
	"hyperv://VM/SERVICE, vsock://CID:PORT, hybrid:///PATH:PORT, unix:///PATH";

#define PORT_MAX 4294967294u

/* "GUID=": what follows, or NULL. */
static const char *take_guid(const char *text, struct hv_guid *ret)
{
	char guid[HV_GUID_TEXT + 2]; /* with braces */
	const char *sign = strchr(text, '=');
	size_t length = sign ? (size_t)(sign - text) : sizeof(guid);
	if (length >= sizeof(guid))
		return NULL;
	memcpy(guid, text, length);
	guid[length] = '\0';
	return hv_guid_parse(guid, ret) < 0 ? NULL : sign + 1;
}

/* "/base/path[,UID]" */
static const char *take_base(struct hv_child *child, const char *text)
{
	const char *comma = strrchr(text, ',');
	unsigned long uid;
	child->uid = geteuid();
	if (comma && strcmp(comma + 1, "0") == 0)
		child->uid = 0;
	else if (comma && options_number(comma + 1, PORT_MAX, &uid))
		child->uid = (uid_t)uid;
	else if (comma)
		return "behind the comma is no user id";
	child->base = comma ? strndup(text, (size_t)(comma - text)) : strdup(text);
	return child->base ? NULL : "out of memory";
}

static const char *take_child(struct options *options, const char *value)
{
	struct hv_child *child = calloc(1, sizeof(*child));
	unsigned long cid;
	if (!child)
		return "out of memory";
	child->running = true;
	const char *why = NULL, *rest = take_guid(value, &child->vm);
	if (!rest)
		why = "not GUID=CID or GUID=/PATH[,UID]";
	else if (rest[0] == '/')
		why = take_base(child, rest);
	else if (options_number(rest, PORT_MAX, &cid))
		child->cid = (uint32_t)cid;
	else
		why = "behind the = is neither a CID nor an absolute path";
	if (!why) {
		int r = hv_children_add(&options->children, child);
		if (r >= 0)
			return NULL;
		why = r == -EEXIST ? "the VM, its CID or its path is there already"
		                   : "no VM can have this GUID or this CID";
	}
	free((char *)child->base);
	free(child);
	return why;
}

static const char *take_service(struct options *options, const char *value)
{
	struct hv_guid guid;
	unsigned long port;
	uint32_t own;
	const char *rest = take_guid(value, &guid);
	if (!rest || !options_number(rest, PORT_MAX, &port))
		return "not GUID=PORT";
	if (hv_guid_to_port(&guid, &own))
		return "this GUID is a port already";
	struct hv_service *service = malloc(sizeof(*service));
	if (!service)
		return "out of memory";
	*service = (struct hv_service){ guid, (uint32_t)port, options->services };
	options->services = service;
	return NULL;
}

const struct option_row options_of_system[] = {
	{ 'c', "CHILD", "a VM of ours: GUID=CID, or GUID=/PATH[,UID] of its VMM's sockets", 0,
	  take_child },
	{ 's', "GUID=PORT", "the port of a service that is none by itself", 0, take_service },
	{ 'g', NULL, "hybrid: dial as the guest, PATH_PORT", offsetof(struct options, as_guest) },
	{ 'H', NULL, "hybrid: half-close on the host's side, too, where -p says that it works",
	  offsetof(struct options, half_closes) },
	{ 0 },
};
