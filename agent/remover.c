/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A scratch directory holds whatever a container wrote. Most of them are nearly empty when their
 * container goes, and are removed at once; but a hundred thousand files take seconds, in which no
 * other container would get a byte through. So what is large is left to a child, which has no
 * descriptor of ours and is reaped like any stranger.
 */

#include "agent/remover.h"

#include "agent/tree.h"
#include "oci/fault.h"
#include "oci/log.h"

#include <sys/pidfd.h>
#include <sys/syscall.h>

#define AT_ONCE 256     /* entries, a few milliseconds */

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

static _Noreturn void remove_all(const char *const paths[static 2])
{
	/* Or a connection that the agent closes would stay open. */
	syscall(SYS_close_range, 3, ~0U, 0);
	remove_both(paths, SIZE_MAX);
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

bool remover_start(struct remover *remover, struct loop *loop, const char *const paths[static 2],
                   void (*done)(struct remover *remover))
{
	if (remove_both(paths, AT_ONCE))
		return false;
	remover->done = done;
	pid_t pid = fork();
	if (pid == 0)
		remove_all(paths);
	cleanup_close int fd = pid < 0 ? -1 : pidfd_open(pid, 0);
	if (fd < 0) {
		log_warning("removing \"%s\" beside the loop: %s", paths[0] ? paths[0] : paths[1],
		            errno_text(errno));
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
