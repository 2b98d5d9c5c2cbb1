/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two kernels that write to one file system destroy it, so a scratch belongs to one container at a
 * time. What says so must not outlive a crash, and must hold for every partition of every --root: a
 * lock (or, on a block device, the kernel's claim) that belongs to the open file. It goes through
 * the sandbox process to QEMU, and ends when the last of them closes it, however that comes about.
 *
 * It is opened before anything is started for the container, because most that can be wrong with it
 * is seen here.
 */

#include "shim/scratch.h"

#include "oci/log.h"
#include "shim/config.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define TRIES 100       /* of 10 ms */

static int is_allowed(const char *path, struct fault *fault)
{
	struct config config;
	int r = config_load(&config, path, fault);

	if (r >= 0)
		r = config_allows(&config, CONFIG_ANNOTATION SCRATCH_ANNOTATION);
	config_deinit(&config);
	if (!r)
		log_debug("annotation " CONFIG_ANNOTATION SCRATCH_ANNOTATION
		          ": not allowed by the configuration");
	return r;
}

/* For its kind only; other kinds of files do things when they are opened. */
static int check(const char *path, const struct oci_spec *spec, struct stat *ret,
                 struct fault *fault)
{
	struct stat root;
	const char *wrong = NULL;
	bool has_image = spec->has_root && stat(spec->root.path, &root) == 0 &&
	                 S_ISREG(root.st_mode);

	if (!has_image)
		wrong = "is only for a container whose root is an image";
	else if (*path != '/')
		wrong = "is not an absolute path";
	else if (stat(path, ret) < 0)
		return fault_errno(fault, -errno, "scratch \"%s\"", path);
	else if (!S_ISREG(ret->st_mode) && !S_ISBLK(ret->st_mode))
		wrong = "is neither a file nor a block device";
	else if (S_ISREG(ret->st_mode) && ret->st_dev == root.st_dev && ret->st_ino == root.st_ino)
		wrong = "is the image of the root";
	else if (!(ret->st_mode & 0222))
		wrong = "is read-only";
	return wrong ? fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "scratch \"%s\": %s",
	                         path, wrong) : 0;
}

/* A device that is mounted on the host is claimed too. */
static int claim(const char *path, bool device)
{
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | (device ? O_EXCL : 0));

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return take_fd(&fd);
}

int scratch_open(const struct oci_spec *spec, const char *config, int *ret_fd,
                 struct fault *fault)
{
	static const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
	const char *path = oci_annotation(spec, CONFIG_ANNOTATION SCRATCH_ANNOTATION);
	struct stat st;

	*ret_fd = -1;
	int r = path ? is_allowed(config, fault) : 0;
	if (r <= 0)
		return r;
	r = check(path, spec, &st, fault);
	if (r < 0)
		return r;
	r = claim(path, S_ISBLK(st.st_mode));
	/* A VM that was killed has it for as long as the kernel takes to end it. */
	for (int tries = TRIES; r == -EBUSY && tries; tries--) {
		nanosleep(&pause, NULL);
		r = claim(path, S_ISBLK(st.st_mode));
	}
	if (r == -EBUSY)
		return fault_set(fault, r, HRESULT_INVALID_STATE,
		                 "scratch \"%s\": another container uses it, or the host", path);
	if (r < 0)
		return fault_errno(fault, r, "scratch \"%s\"", path);
	*ret_fd = r;
	return 0;
}
