/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The files of an initramfs are memory that nothing gives back, and a module is never loaded twice:
 * so a file goes when its module is in the kernel. A file that is missing is therefore no error if
 * the module is there. For the same reason those that may not be needed are compressed.
 */

#include "agent/modules.h"

#include "agent/lz4.h"
#include "oci/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define MODULES_FOLDER "/usr/lib/modules"
#define LIST_MAX 8192
#define LZ4 ".lz4"
#define MODULE_MAX (16u << 20)

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
	    length >= MODULE_NAME || (end[3] && strcmp(end + 3, LZ4) != 0))
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

static int insert_compressed(const uint8_t *in, size_t size)
{
	/* Only what the module takes becomes real memory. */
	uint8_t *out = mmap(NULL, MODULE_MAX, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (out == MAP_FAILED)
		return -errno;
	ssize_t length = lz4_decode(in, size, out, MODULE_MAX);
	int r = length < 0 ? (int)length : 0;
	if (!r && syscall(SYS_init_module, out, (size_t)length, "") < 0)
		r = -errno;
	munmap(out, MODULE_MAX);
	return r;
}

static int insert(int fd, const char *path)
{
	struct stat st;
	if (!strstr(path, LZ4))
		return syscall(SYS_finit_module, fd, "", 0) < 0 ? -errno : 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	size_t size = (size_t)st.st_size;
	uint8_t *in = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (in == MAP_FAILED)
		return -errno;
	int r = insert_compressed(in, size);
	munmap(in, size);
	return r;
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
	error = insert(fd, path);
	if (error < 0 && error != -EEXIST)
		return error;
	log_debug("module %s", name);
	(void)unlinkat(folder, path, 0);
	return 0;
}

static int forget(int folder, const char *path)
{
	(void)unlinkat(folder, path, 0);
	return 0;
}

static int each(const char *name, int (*fn)(int folder, const char *path), struct fault *fault)
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
		int error = fn(folder, file);
		if (error < 0)
			return fault_errno(fault, error, "modules %s: %s", name, file);
	}
	return 0;
}

int modules_load(const char *name, struct fault *fault)
{
	return each(name, load, fault);
}

void modules_forget(const char *name)
{
	(void)each(name, forget, NULL);
}
