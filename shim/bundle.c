/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Everything in config.json is read at create; what changes in the file later has no effect.
 * Relative paths start from the bundle, which a partition need not know, so they become absolute
 * here.
 */

#include "shim/bundle.h"

#include "shim/input.h"
#include "shim/state.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

static int read_config(struct bundle *bundle, const char *file, struct fault *fault)
{
	const char *name = file ? file : CONFIG_FILE;
	const char *path = file ? file : arena_printf(&bundle->arena, "%s/%s", bundle->path, name);
	int error = path ? input_read(path, false, &bundle->arena, JSON_TEXT_MAX, &bundle->text,
	                              &bundle->size)
	                 : -ENOMEM;
	if (error == -E2BIG || error == -EFBIG)
		return fault_set(fault, error, HRESULT_FAIL, "%s: is larger than %u bytes", path,
		                 JSON_TEXT_MAX);
	if (error == -EINVAL)
		return fault_set(fault, error, HRESULT_FAIL, "%s: is not a regular file", path);
	if (error < 0)
		return fault_errno(fault, error, "%s", path ? path : name);
	return 0;
}

static const char *absolute(struct bundle *bundle, const char *path)
{
	if (!path || path[0] == '/')
		return path;
	return arena_printf(&bundle->arena, "%s/%s", bundle->path, path);
}

static bool is_bind(const struct oci_mount *mount)
{
	if (mount->type && !strcmp(mount->type, "bind"))
		return true;
	for (size_t i = 0; i < mount->options.count; i++) {
		const char *option = mount->options.item[i];
		if (!strcmp(option, "bind") || !strcmp(option, "rbind"))
			return true;
	}
	return false;
}

static int make_absolute(struct bundle *bundle, struct fault *fault)
{
	struct oci_spec *spec = &bundle->spec;
	spec->root.path = absolute(bundle, spec->root.path);
	if (!spec->root.path)
		return fault_errno(fault, -ENOMEM, "bundle");
	for (size_t i = 0; i < spec->mounts.count; i++) {
		struct oci_mount *mount = &spec->mounts.item[i];
		if (!is_bind(mount) || !mount->source)
			continue;
		mount->source = absolute(bundle, mount->source);
		if (!mount->source)
			return fault_errno(fault, -ENOMEM, "bundle");
	}
	return 0;
}

static int decode(struct bundle *bundle, struct fault *fault)
{
	struct fault why = FAULT_NULL;
	int error =
		oci_spec_decode(&bundle->arena, bundle->text, bundle->size, &bundle->spec, &why);
	if (error < 0)
		return fault_set(fault, error, why.hresult, "%s/" CONFIG_FILE ": %s", bundle->path,
		                 why.text);
	return make_absolute(bundle, fault);
}

int bundle_load(struct bundle *ret, const char *path, const char *file, struct fault *fault)
{
	char resolved[PATH_MAX];
	*ret = (struct bundle)BUNDLE_NULL;
	if (!realpath(path, resolved))
		return fault_errno(fault, -errno, "bundle \"%s\"", path);
	ret->path = arena_copy(&ret->arena, resolved, strlen(resolved));
	if (!ret->path)
		return fault_errno(fault, -ENOMEM, "bundle");
	int error = read_config(ret, file, fault);
	return error < 0 ? error : decode(ret, fault);
}

int bundle_load_saved(struct bundle *ret, struct state *state, const char *id, const char *path,
                      struct fault *fault)
{
	cleanup_close int directory = -1;
	*ret = (struct bundle)BUNDLE_NULL;
	int error = state_container_open(state, id, &directory, fault);
	if (error < 0)
		return error;
	ret->path = arena_copy(&ret->arena, path, strlen(path));
	error = state_read_file(directory, CONFIG_FILE, &ret->arena, JSON_TEXT_MAX, &ret->text,
	                        &ret->size);
	if (error < 0)
		return fault_errno(fault, error, "saved " CONFIG_FILE " of container \"%s\"", id);
	return decode(ret, fault);
}

int bundle_encode(const struct bundle *bundle, char **ret, struct fault *fault)
{
	struct oci_spec spec = bundle->spec;
	struct buf out = BUF(CONFIG_ENCODED_MAX);
	memset(&spec.hooks.prestart, 0, sizeof(spec.hooks.prestart));
	memset(&spec.hooks.create_runtime, 0, sizeof(spec.hooks.create_runtime));
	memset(&spec.hooks.poststart, 0, sizeof(spec.hooks.poststart));
	memset(&spec.hooks.poststop, 0, sizeof(spec.hooks.poststop));
	int error = json_encode(&oci_spec_type, &spec, &out, false);
	if (!error)
		error = buf_append(&out, "", 1);
	if (error < 0) {
		buf_deinit(&out);
		return fault_errno(fault, error, "%s/" CONFIG_FILE, bundle->path);
	}
	*ret = out.data; /* nothing was consumed, so it begins at start = 0 */
	return 0;
}

void bundle_deinit(struct bundle *bundle)
{
	arena_free(&bundle->arena);
	*bundle = (struct bundle)BUNDLE_NULL;
}
