/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two types matter. Those of runc come from clients whose user gave options of runc: what has a
 * counterpart here is taken, the rest is passed over. The generic ones come from the CRI plugin: a
 * path, which is that of our configuration, or the options table of containerd's own configuration
 * as TOML. In that table a key that nobody knows is refused, as in our configuration, unless it is
 * one of runc's: tables are copied from those of runc, and SystemdCgroup does no harm.
 */

#include "shim/containerd/runtime_options.h"

#include "shim/containerd/proto/runc.pb-c.h"
#include "shim/containerd/proto/runtimeoptions.pb-c.h"
#include "shim/containerd/toml.h"
#include "shim/partition.h"

#include <string.h>
#include <strings.h>

/* NULL for what is empty. */
static int keep(struct arena *arena, const char *text, const char **ret)
{
	if (!text || !*text)
		return 0;
	*ret = arena_copy(arena, text, strlen(text));
	return *ret ? 0 : -ENOMEM;
}

static bool is_absolute(const char *path)
{
	return !path || *path == '/';
}

static int check(const struct runtime_options *options, struct fault *fault)
{
	const char *argument;

	if (!is_absolute(options->root))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "root \"%s\" is not an absolute path", options->root);
	if (!is_absolute(options->config))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "configuration \"%s\" is not an absolute path", options->config);
	if (options->driver && !partition_driver_find(options->driver, &argument))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "unknown kind of partition \"%s\"", options->driver);
	return 0;
}

static int take_runc(struct runtime_options *ret, const Google__Protobuf__Any *any,
                     struct arena *arena, struct fault *fault)
{
	Containerd__Runc__V1__Options *options =
		containerd__runc__v1__options__unpack(NULL, any->value.len, any->value.data);
	int r;

	if (!options)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "%s: cannot be decoded", any->type_url);
	r = keep(arena, options->root, &ret->root);
	if (r >= 0)
		r = keep(arena, options->shim_cgroup, &ret->shim_cgroup);
	containerd__runc__v1__options__free_unpacked(options, NULL);
	return r;
}

#define NOT_OURS SIZE_MAX

/* Members of struct runtime_options by their keys. */
static const struct {
	const char *key;
	enum toml_kind kind;
	size_t offset;
} keys[] = {
	{ "Partition", TOML_STRING, offsetof(struct runtime_options, driver) },
	{ "ConfigPath", TOML_STRING, offsetof(struct runtime_options, config) },
	{ "Root", TOML_STRING, offsetof(struct runtime_options, root) },
	{ "ShimCgroup", TOML_STRING, offsetof(struct runtime_options, shim_cgroup) },
	{ "Debug", TOML_BOOLEAN, offsetof(struct runtime_options, debug) },
	{ "TypeUrl", TOML_STRING, NOT_OURS },
	{ "BinaryName", TOML_STRING, NOT_OURS },
	{ "CriuImagePath", TOML_STRING, NOT_OURS },
	{ "CriuPath", TOML_STRING, NOT_OURS },
	{ "CriuWorkPath", TOML_STRING, NOT_OURS },
	{ "IoGid", TOML_INTEGER, NOT_OURS },
	{ "IoUid", TOML_INTEGER, NOT_OURS },
	{ "NoNewKeyring", TOML_BOOLEAN, NOT_OURS },
	{ "NoPivotRoot", TOML_BOOLEAN, NOT_OURS },
	{ "SystemdCgroup", TOML_BOOLEAN, NOT_OURS },
};

static int take_entry(struct runtime_options *ret, const struct toml_entry *entry,
                      struct fault *fault)
{
	static const char *const kinds[] = {
		[TOML_STRING] = "a string", [TOML_INTEGER] = "an integer",
		[TOML_BOOLEAN] = "true or false",
	};
	size_t i = 0;

	/* containerd's own decoder takes any case. */
	while (i < array_size(keys) && strcasecmp(keys[i].key, entry->key))
		i++;
	if (i == array_size(keys))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "line %u: %s: unknown option", entry->line, entry->key);
	if (keys[i].kind != entry->kind)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "line %u: %s: must be %s", entry->line, entry->key,
		                 kinds[keys[i].kind]);
	if (keys[i].offset == NOT_OURS)
		return 0;
	void *to = (char *)ret + keys[i].offset;
	if (entry->kind == TOML_BOOLEAN)
		*(bool *)to = entry->boolean;
	else
		*(const char **)to = *entry->text ? entry->text : NULL;
	return 0;
}

static int take_body(struct runtime_options *ret, const ProtobufCBinaryData *body,
                     struct arena *arena, struct fault *fault)
{
	toml_entries entries;
	int r = toml_parse(arena, (const char *)body->data, body->len, &entries, fault);

	for (size_t i = 0; r >= 0 && i < entries.count; i++)
		r = take_entry(ret, &entries.item[i], fault);
	return r;
}

static int take_generic(struct runtime_options *ret, const Google__Protobuf__Any *any,
                        struct arena *arena, struct fault *fault)
{
	Runtimeoptions__V1__Options *options =
		runtimeoptions__v1__options__unpack(NULL, any->value.len, any->value.data);
	int r;

	if (!options)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "%s: cannot be decoded", any->type_url);
	r = keep(arena, options->config_path, &ret->config);
	if (r >= 0 && options->config_body.len)
		r = take_body(ret, &options->config_body, arena, fault);
	runtimeoptions__v1__options__free_unpacked(options, NULL);
	return r;
}

int runtime_options_parse(struct runtime_options *ret, const Google__Protobuf__Any *any,
                          struct arena *arena, struct fault *fault)
{
	static const struct {
		const char *type;
		int (*take)(struct runtime_options *ret, const Google__Protobuf__Any *any,
		            struct arena *arena, struct fault *fault);
	} types[] = {
		{ "containerd.runc.v1.Options", take_runc },
		{ "runtimeoptions.v1.Options", take_generic },
	};
	struct fault inner = FAULT_NULL;
	int r = 0;

	*ret = (struct runtime_options){ 0 };
	for (size_t i = 0; i < array_size(types); i++) {
		if (any_is(any, types[i].type))
			r = types[i].take(ret, any, arena, &inner);
	}
	if (r == -ENOMEM)
		return fault_errno(fault, r, "runtime options");
	if (r >= 0)
		r = check(ret, &inner);
	if (r < 0)
		return fault_set(fault, r, HRESULT_INVALID_ARGUMENT, "runtime options: %s",
		                 inner.text);
	return 0;
}
