/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An image chooses its working directory, so it may be "/proc/<pid>/root/etc" or a link to such a
 * place, outside of the container (CVE-2024-21626 and others). Nothing is made through magic links,
 * and where chdir(2) has led us is asked of the kernel, not concluded from the path: for what lies
 * outside of the root, getcwd(2) says "(unreachable)".
 */

#include "agent/cwd.h"

#include "oci/path.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>

int cwd_make(const char *cwd, struct fault *fault)
{
	struct stat st;
	if (stat(cwd, &st) == 0 || errno != ENOENT)
		return 0;
	cleanup_close int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int fd = root_fd < 0 ? -errno : path_make(root_fd, cwd, S_IFDIR);
	return fd < 0 ? fault_errno(fault, fd, "mkdir of cwd (\"%s\") set in config.json failed",
				    cwd)
		      : 0;
}

int cwd_enter(const char *cwd, struct fault *fault)
{
	char reached[PATH_MAX];
	if (chdir(cwd) < 0)
		return fault_errno(fault, -errno, "chdir to cwd (\"%s\") set in config.json failed",
				   cwd);
	/* The system call: some C libraries hide the mark. */
	if (syscall(SYS_getcwd, reached, sizeof(reached)) < 0)
		return fault_errno(fault, -errno, "cwd \"%s\": where it is", cwd);
	if (reached[0] != '/')
		return fault_set(fault, -EPERM, HRESULT_FAIL,
		                 "cwd \"%s\": is outside of the container's root", cwd);
	return 0;
}
