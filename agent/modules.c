/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The files of an initramfs are memory that nothing gives back, and a module is never loaded twice:
 * so a file goes when its module is in the kernel. A file that is missing is therefore no error if
 * the module is there.
 */

#include "agent/modules.h"

#include "oci/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define MODULES_FOLDER "/usr/lib/modules"
#define LIST_MAX 8192

char *modules_next(char **text)
{
	char *line;
	while ((line = strsep(text, "\n"))) {
		line += strspn(line, " \t");
		line[strcspn(line, " \t\r")] = '\0';
		if (*line && *line != '#')
			return line;
	}
	return NULL;
}

int modules_name(const char *path, char ret[static MODULE_NAME])
{
	const char *base = strrchr(path, '/');
	base = base ? base + 1 : path;
	const char *end = strstr(base, ".ko");
	size_t length = end ? (size_t)(end - base) : 0;
	if (*path == '/' || !strncmp(path, "../", 3) || strstr(path, "/../") || length == 0 ||
	    length >= MODULE_NAME || end[3])
		return -EINVAL;
	for (size_t i = 0; i < length; i++)
		ret[i] = base[i];
	ret[length] = '\0';
	for (char *c = ret; *c; c++) {
		if (*c == '-')
			*c = '_';
	}
	return 0;
}

static bool is_loaded(const char *name)
{
	char path[sizeof("/sys/module/") + MODULE_NAME];
	snprintf(path, sizeof(path), "/sys/module/%s", name);
	return access(path, F_OK) == 0;
}

static int load(int folder, const char *path)
{
	char name[MODULE_NAME];
	int error = modules_name(path, name);
	if (error < 0)
		return error;
	cleanup_close int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT && is_loaded(name) ? 0 : -errno;
	if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
		return -errno;
	log_debug("module %s", name);
	(void)unlinkat(folder, path, 0);
	return 0;
}

int modules_load(const char *name, struct fault *fault)
{
	char path[64], list[LIST_MAX];
	snprintf(path, sizeof(path), "lists/%s", name);
	cleanup_close int folder = open(MODULES_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int fd = folder < 0 ? -1 : openat(folder, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : fault_errno(fault, -errno, "modules %s", name);
	ssize_t n = read(fd, list, sizeof(list));
	if (n < 0 || n == sizeof(list))
		return fault_errno(fault, n < 0 ? -errno : -EFBIG, "modules %s", name);
	list[n] = '\0';
	char *rest = list, *file;
	while ((file = modules_next(&rest))) {
		int error = load(folder, file);
		if (error < 0)
			return fault_errno(fault, error, "modules %s: %s", name, file);
	}
	return 0;
}
