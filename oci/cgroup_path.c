/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The forms that linux.cgroupsPath comes in. systemd's is made into directories as systemd would
 * make them: whoever looks for a unit's cgroup finds it where it expects it.
 */

#include "oci/cgroup_path.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

struct path {
	char text[PATH_MAX];
	size_t length;
};

static int path_add(struct path *path, const char *name, size_t length)
{
	if (length > NAME_MAX || path->length + 1 + length >= sizeof(path->text))
		return -ENAMETOOLONG;
	path->text[path->length++] = '/';
	memcpy(path->text + path->length, name, length);
	path->length += length;
	path->text[path->length] = '\0';
	return 0;
}

static int path_add_plain(struct path *path, const char *text)
{
	while (*text) {
		size_t length = strcspn(text, "/");
		int r = 0;
		if (length == 2 && !strncmp(text, "..", 2))
			return -EINVAL;
		if (length > 0 && !(length == 1 && *text == '.'))
			r = path_add(path, text, length);
		if (r < 0)
			return r;
		text += length + (text[length] == '/');
	}
	return 0;
}

/* systemd nests slices by their names: "a-b.slice" is a.slice/a-b.slice; "-.slice" is the root. */
static int path_add_slice(struct path *path, const char *slice, size_t length)
{
	static const char suffix[] = ".slice";
	const size_t suffix_length = strlen(suffix);
	if (length <= suffix_length ||
	    strncmp(slice + length - suffix_length, suffix, suffix_length))
		return -EINVAL;
	size_t stem = length - suffix_length;
	if (stem == 1 && *slice == '-')
		return 0;
	if (slice[0] == '-')
		return -EINVAL;
	for (size_t i = 1; i <= stem; i++) {
		if (i < stem && slice[i] != '-')
			continue;
		char name[NAME_MAX + 1];
		if (slice[i - 1] == '-')
			return -EINVAL;
		if (i + suffix_length >= sizeof(name))
			return -ENAMETOOLONG;
		memcpy(name, slice, i);
		memcpy(name + i, suffix, sizeof(suffix));
		int r = path_add(path, name, i + suffix_length);
		if (r < 0)
			return r;
	}
	return 0;
}

/* "slice:prefix:name", of which slice and prefix may be empty. */
static int path_add_systemd(struct path *path, const char *text)
{
	const char *prefix = strchr(text, ':') + 1, *name = strchr(prefix, ':') + 1;
	size_t slice_length = prefix - 1 - text, prefix_length = name - 1 - prefix;
	int r = slice_length ? path_add_slice(path, text, slice_length)
	                     : path_add_plain(path, "system.slice");
	if (r < 0)
		return r;
	size_t length = strlen(name);
	if (length == 0)
		return -EINVAL;
	if (length > strlen(".slice") && !strcmp(name + length - strlen(".slice"), ".slice"))
		return path_add(path, name, length);
	char unit[NAME_MAX + 1];
	int n = snprintf(unit, sizeof(unit), "%.*s%s%s.scope",
	                 (int)min_size(prefix_length, sizeof(unit)), prefix,
	                 prefix_length ? "-" : "", name);
	return n < (int)sizeof(unit) ? path_add(path, unit, n) : -ENAMETOOLONG;
}

static bool is_systemd(const char *text)
{
	const char *first = strchr(text, ':');
	const char *second = first ? strchr(first + 1, ':') : NULL;
	return second && !strchr(second + 1, ':') && !strchr(text, '/');
}

int cgroup_path_resolve(const char *cgroups_path, const char *id, char **ret, struct fault *fault)
{
	struct path path = { .length = 0 };
	int r;
	if (!cgroups_path || !*cgroups_path) {
		r = path_add(&path, "hvrun", strlen("hvrun"));
		if (r == 0)
			r = path_add(&path, id, strlen(id));
	} else if (is_systemd(cgroups_path)) {
		r = path_add_systemd(&path, cgroups_path);
	} else {
		r = path_add_plain(&path, cgroups_path);
	}
	if (r == 0 && path.length == 0)
		r = -EINVAL;
	if (r < 0)
		return fault_errno(fault, r, "linux.cgroupsPath \"%s\"",
		                   cgroups_path ? cgroups_path : id);
	*ret = strdup(path.text);
	return *ret ? 0 : fault_errno(fault, -ENOMEM, "linux.cgroupsPath");
}
