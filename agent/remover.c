/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A scratch directory holds whatever a container wrote. Most of them are nearly empty when their
 * container goes, and are removed at once; but a hundred thousand files take seconds, in which no
 * other container would get a byte through. So what is large is left to a child, which has no
 * descriptor of ours and is reaped like any stranger.
 *
 * What was mounted in a mount namespace of others can only be unmounted by one who is in it. That
 * is a child too, because nobody comes back from there with the root and the directory that he had.
 */

#include "agent/remover.h"

#include "agent/tree.h"
#include "oci/fault.h"
#include "oci/log.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define AT_ONCE 256     /* entries, a few milliseconds */

static _Noreturn void unmount(int mount_ns_fd, int root_fd)
{
	bool there = setns(mount_ns_fd, CLONE_NEWNS) == 0 && fchdir(root_fd) == 0;
	syscall(SYS_close_range, 3, ~0U, 0);
	/* EINVAL: it was never mounted, or somebody else has unmounted it. */
	if (!there || (umount2(".", MNT_DETACH) < 0 && errno != EINVAL))
		log_warning("unmounting in a joined mount namespace: %s", errno_text(errno));
	_exit(0);
}

void remains_unmount(int mount_ns_fd, int root_fd)
{
	if (mount_ns_fd < 0 || root_fd < 0)
		return;
	pid_t pid = fork();
	if (pid == 0)
		unmount(mount_ns_fd, root_fd);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static bool remove_both(const char *const paths[static 2], size_t most)
{
	bool all = true;
	for (size_t i = 0; i < 2; i++) {
		int r = paths[i] ? remove_tree(paths[i], most) : 0;
		if (r == -EAGAIN)
			all = false;
		else if (r < 0)
			log_warning("removing \"%s\": %s", paths[i], errno_text(r));
	}
	return all;
}

static _Noreturn void remove_all(const struct remains *remains)
{
	remains_unmount(remains->mount_ns_fd, remains->root_fd);
	/* Or a connection that the agent closes would stay open. */
	syscall(SYS_close_range, 3, ~0U, 0);
	remove_both(remains->folders, SIZE_MAX);
	_exit(0);
}

static int on_exit_of_child(struct source *source, uint32_t got)
{
	(void)got;
	struct remover *remover = container_of(source, struct remover, source);
	source_close(source);
	remover->done(remover);
	return 0;
}

bool remover_start(struct remover *remover, struct loop *loop, const struct remains *remains,
                   void (*done)(struct remover *remover))
{
	if (remains->mount_ns_fd < 0 && remove_both(remains->folders, AT_ONCE))
		return false;
	remover->done = done;
	pid_t pid = fork();
	if (pid == 0)
		remove_all(remains);
	cleanup_close int fd = pid < 0 ? -1 : pidfd_open(pid, 0);
	if (fd < 0) {
		log_warning("removing what a container leaves: %s", errno_text(errno));
		return false;
	}
	if (source_init(&remover->source, loop, fd, EPOLLIN, on_exit_of_child) < 0)
		return false;
	take_fd(&fd);
	return true;
}

bool remover_busy(const struct remover *remover)
{
	return remover->source.fd >= 0;
}

void remover_deinit(struct remover *remover)
{
	source_close(&remover->source);
}
