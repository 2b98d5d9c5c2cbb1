/* SPDX-License-Identifier: Apache-2.0 */

/*
 * In a user namespace an init may neither reach every bind mount's source nor give it an id map, so
 * that is done for it from the agent's namespaces. Not by the agent, since a source can be on a
 * file system that does not answer: by a process that is there for nothing else, and hands over one
 * fd per mount.
 */

#include "agent/child_private.h"

#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* The kind of a message: the number of a mount, or one of these. */
enum { SOURCES_DONE = -1, SOURCES_FAILED = -2 };

static _Noreturn void open_sources(const struct child_plan *plan, int socket_fd)
{
	struct rootfs rootfs = ROOTFS_NULL;
	struct fault fault = FAULT_NULL;
	struct child_wire wire = { .kind = SOURCES_DONE };
	int r = descriptors_close_others(&socket_fd, 1);
	if (r == 0)
		r = rootfs_open_sources(&rootfs, plan->spec, plan->bundle, &fault);
	for (size_t i = 0; r == 0 && i < plan->spec->mounts.count; i++) {
		struct child_wire source = { .kind = (int32_t)i };
		if (rootfs.sources[i] >= 0)
			r = child_wire_send(socket_fd, &source, rootfs.sources[i]);
	}
	if (r < 0) {
		wire = (struct child_wire){ SOURCES_FAILED, r, fault.hresult, "" };
		memcpy(wire.text, fault.text, sizeof(wire.text));
	}
	_exit(child_wire_send(socket_fd, &wire, -1) < 0);
}

int sources_spawn(const struct child_plan *plan, int *ret, struct fault *fault)
{
	struct clone_args args = { .flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD };
	int ends[2];
	if (!plan->spec || plan->exec || !oci_namespace_find(plan->spec, OCI_NS_USER))
		return 0;
	/* Where the sources are in a mount namespace that it joins, it owns that. */
	const struct oci_namespace *mount = oci_namespace_find(plan->spec, OCI_NS_MOUNT);
	if (mount && mount->path)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return fault_errno(fault, -errno, "socketpair");
	cleanup_close int child_end = ends[0], opener_end = ends[1];
	long pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		open_sources(plan, opener_end);
	if (pid < 0)
		return fault_errno(fault, -errno, "clone3");
	*ret = take_fd(&child_end);
	return 0;
}

int sources_receive(int socket_fd, struct rootfs *rootfs, const struct oci_spec *spec,
                    struct fault *fault)
{
	size_t count = spec->mounts.count;
	rootfs->sources = calloc(count + 1, sizeof(*rootfs->sources));
	if (!rootfs->sources)
		return fault_errno(fault, -ENOMEM, "mounts");
	for (size_t i = 0; i < count; i++)
		rootfs->sources[i] = -1;
	while (true) {
		struct child_wire wire;
		int fd = -1, r = child_wire_receive(socket_fd, 0, &wire, &fd);
		if (r <= 0)
			return fault_errno(fault, r < 0 ? r : -EPIPE, "mounts: sources");
		if (wire.kind >= 0 && (size_t)wire.kind < count && rootfs->sources[wire.kind] < 0)
			rootfs->sources[wire.kind] = take_fd(&fd);
		close_fd(&fd);
		if (wire.kind == SOURCES_DONE)
			return 0;
		if (wire.kind == SOURCES_FAILED)
			return fault_set(fault, wire.error, wire.hresult, "%s", wire.text);
	}
}
