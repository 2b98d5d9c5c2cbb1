/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The reader of the FIFO is stopped, restarted, or slow, while containers go on. So nothing waits
 * for it: a line for which there is no room, or nobody to read it, is lost, and the log counts
 * those (oci/log.h). The end for writing stays the same when containerd comes back: it opens the
 * same FIFO.
 *
 * A FIFO that nobody reads at the start cannot be opened for writing alone. To hold its other end
 * as well would help, but then what nobody reads fills it, and whoever comes to read it first gets
 * that, instead of what happens.
 */

#include "shim/containerd/fifo_log.h"

#include <fcntl.h>
#include <sys/stat.h>

int fifo_log_open(int bundle_fd)
{
	struct stat st;
	cleanup_close int fd = openat(bundle_fd, "log",
	                              O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
		return take_fd(&fd);
	close_fd(&fd);
	/* Who starts a shim by hand may not have made the directory. */
	fd = openat(bundle_fd, "work/shim.log",
	            O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC,
	            0600);
	return fd < 0 ? -errno : take_fd(&fd);
}
