/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Out-of-memory kills: an fd that tells of one, and their count. v2 changes memory.events when
 * the kill is counted. v1 signals an eventfd before it kills, says nothing afterwards, and also
 * signals the cgroups below the one that ran out, where nobody may die: so after an announcement
 * the eventfd stays ready, and whoever reads the count is called again, until the kill is counted
 * or enough time has passed for the kernel to print its report.
 */

#include "agent/cgroup_private.h"

#include "oci/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#define ANNOUNCED_MS 100

static uint64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void v1_watch(struct cgroup *cgroup)
{
	int dir = cgroup_controller_fd(cgroup, CGROUP_MEMORY);
	cleanup_close int control = openat(dir, "memory.oom_control", O_RDONLY | O_CLOEXEC);
	cleanup_close int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (control < 0 || event < 0)
		return;
	char registration[32];
	snprintf(registration, sizeof(registration), "%d %d", event, control);
	if (file_write_text(dir, "cgroup.event_control", registration) < 0)
		return;
	cgroup->oom_control_fd = take_fd(&control);
	cgroup->oom_fd = take_fd(&event);
}

int cgroup_oom_fd(struct cgroup *cgroup, uint32_t *ret_want)
{
	int home = cgroup->mounts->home[CGROUP_MEMORY];
	*ret_want = home > CGROUP_V2 ? EPOLLIN : EPOLLPRI;
	if (cgroup->oom_fd >= 0 || home == CGROUP_NOWHERE)
		return cgroup->oom_fd;
	if (home > CGROUP_V2)
		v1_watch(cgroup);
	else
		cgroup->oom_fd = openat(cgroup->dirs[CGROUP_V2].fd, "memory.events",
		                        O_RDONLY | O_CLOEXEC);
	return cgroup->oom_fd;
}

static uint64_t read_count(int fd)
{
	char text[1024];
	ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
	uint64_t count = 0;
	if (n <= 0)
		return 0;
	text[n] = '\0';
	cgroup_text_u64(text, "oom_kill", &count);
	return count;
}

static uint64_t v1_count(struct cgroup *cgroup)
{
	uint64_t announced = 0;
	if (read(cgroup->oom_fd, &announced, sizeof(announced)) < 0)
		announced = 0;
	uint64_t count = read_count(cgroup->oom_control_fd);
	if (count < cgroup->oom_count)
		count = cgroup->oom_count; /* the cgroup is gone */
	if (announced > 0 && count == cgroup->oom_count) {
		uint64_t now = now_ms();
		if (cgroup->oom_announced_ms == 0)
			cgroup->oom_announced_ms = now;
		const uint64_t again = 1;
		if (now - cgroup->oom_announced_ms < ANNOUNCED_MS &&
		    write(cgroup->oom_fd, &again, sizeof(again)) == sizeof(again))
			return count;
	}
	cgroup->oom_announced_ms = 0;
	cgroup->oom_count = count;
	return count;
}

uint64_t cgroup_oom_count(struct cgroup *cgroup)
{
	uint32_t want;
	if (cgroup_oom_fd(cgroup, &want) < 0)
		return 0;
	return cgroup->oom_control_fd >= 0 ? v1_count(cgroup) : read_count(cgroup->oom_fd);
}

void cgroup_oom_close(struct cgroup *cgroup)
{
	close_fd(&cgroup->oom_fd);
	close_fd(&cgroup->oom_control_fd);
}
