/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Kubernetes' containers say in annotations which sandbox they belong to, and start is called for
 * each of them; so a group is known before there is anything of it. What options came with start is
 * not known to delete, hence the link in the bundle.
 */

#include "shim/containerd/group.h"

#include "oci/spec.h"
#include "shim/bundle.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define ROOT_DEFAULT "/run/containerd/hvrun"

/* The first that is there counts. */
static const char *const group_annotations[] = {
	"io.containerd.runc.v2.group",
	"io.kubernetes.cri.sandbox-id",
	"io.kubernetes.cri-o.SandboxID",
};

/* All that concerns us of config.json here. */
struct annotated {
	struct str_map annotations;
};
static const struct json_field annotated_fields[] = {
	JSON_FIELD(struct annotated, annotations, "annotations", str_map),
	{ NULL },
};
static const struct json_type annotated_type = JSON_TYPE(struct annotated, annotated_fields);

static int read_annotations(int bundle_fd, struct arena *arena, struct str_map *ret,
                            struct fault *fault)
{
	struct buf text = BUF(JSON_TEXT_MAX);
	struct annotated annotated = { 0 };
	struct fault why = FAULT_NULL;
	struct stat st;
	cleanup_close int fd = openat(bundle_fd, CONFIG_FILE, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	*ret = (struct str_map){ 0 };
	if (fd < 0 && errno == ENOENT)
		return 0;
	int error = fd < 0 || fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
	if (!error)
		error = buf_read_all(&text, fd);
	if (error < 0) {
		buf_deinit(&text);
		return fault_errno(fault, error, CONFIG_FILE);
	}
	error = json_decode(arena, &annotated_type, buf_length(&text) ? buf_head(&text) : "",
	                    buf_length(&text), &annotated, &why);
	buf_deinit(&text);
	if (error < 0)
		return fault_set(fault, error, why.hresult, CONFIG_FILE ": %s", why.text);
	*ret = annotated.annotations;
	return 0;
}

static const char *find(const struct str_map *map, const char *name)
{
	for (size_t i = 0; i < map->count; i++) {
		if (!strcmp(map->item[i].name, name))
			return map->item[i].value;
	}
	return NULL;
}

int group_read(int bundle_fd, const char *id, struct arena *arena, struct str_map *ret_annotations,
               const char **ret_group, struct fault *fault)
{
	int error = read_annotations(bundle_fd, arena, ret_annotations, fault);

	*ret_group = id;
	for (size_t i = 0; !error && i < array_size(group_annotations); i++) {
		const char *group = find(ret_annotations, group_annotations[i]);
		if (!group || !*group)
			continue;
		if (oci_id_check(group, NULL) < 0)
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "annotation %s: \"%.64s\" is no id",
			                 group_annotations[i], group);
		*ret_group = group;
		break;
	}
	return error;
}

int group_root(const char *root, const char *namespace, struct arena *arena, const char **ret,
               struct fault *fault)
{
	*ret = arena_printf(arena, "%s/%s", root ? root : ROOT_DEFAULT, namespace);
	return *ret ? 0 : fault_errno(fault, -ENOMEM, "state");
}

int group_link_root(int bundle_fd, const char *root)
{
	if (unlinkat(bundle_fd, GROUP_STATE, 0) < 0 && errno != ENOENT)
		return -errno;
	return symlinkat(root, bundle_fd, GROUP_STATE) < 0 ? -errno : 0;
}

int group_find_root(int bundle_fd, const char *namespace, struct arena *arena, const char **ret,
                    struct fault *fault)
{
	char root[PATH_MAX];
	ssize_t length = readlinkat(bundle_fd, GROUP_STATE, root, sizeof(root));

	if (length <= 0 || *root != '/' || (size_t)length == sizeof(root))
		return group_root(NULL, namespace, arena, ret, fault);
	*ret = arena_copy(arena, root, (size_t)length);
	return *ret ? 0 : fault_errno(fault, -ENOMEM, "state");
}
