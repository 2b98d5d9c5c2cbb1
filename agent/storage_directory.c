/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Directories of the host: by virtiofs, which the host asks for by its name, or by 9p over a vsock
 * connection that the guest opens, as Microsoft's hosts serve them.
 */

#include "agent/storage_private.h"

#include "agent/agent.h"
#include "agent/modules.h"
#include "agent/mountfd.h"
#include "agent/mountpoint.h"
#include "oci/mountapi.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define BUFFER 65536            /* of the 9p connection, and its largest message */

static bool is_virtiofs(const struct mapped_directory *directory)
{
	return directory->transport && !strcmp(directory->transport, "virtiofs");
}

static int directory_check(const struct storage *storage, const void *settings, bool remove,
                           struct fault *fault)
{
	const struct mapped_directory *directory = settings;
	const char *transport = directory->transport, *name = directory->share_name;
	int r = mountpoint_check(storage->below, "MountPath", directory->mount_path, fault);
	if (r < 0 || remove)
		return r;
	if (transport && *transport && !is_virtiofs(directory))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "Request.Settings.Transport: \"%s\" is not known", transport);
	if (is_virtiofs(directory) && (!name || !*name))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_JSON,
		                 "Request.Settings.ShareName: is required");
	if (!is_virtiofs(directory) && directory->port <= 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "Request.Settings.Port: %d is no port", directory->port);
	/* It becomes part of mount data. */
	if (name && name[strcspn(name, ",\\\"")])
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "Request.Settings.ShareName: \"%s\" has a character that it "
		                 "cannot have", name);
	return 0;
}

static const char *directory_path(const void *settings, size_t i)
{
	const struct mapped_directory *directory = settings;
	return i == 0 ? directory->mount_path : NULL;
}

static int mount_new(const struct mapped_directory *directory, const char *type,
                     const char *source, const char *data, struct fault *fault)
{
	char note[MOUNT_NOTE];
	const struct mount_new new = {
		.type = type,
		.source = source,
		.flags = directory->read_only ? MS_RDONLY : 0,
		.data = data,
	};
	int r = modules_load(type, fault);
	if (r < 0)
		return r;
	r = mount_create(&new, note);
	return r < 0 ? fault_errno(fault, r, "%s%s%s", type, *note ? ": " : "", note) : r;
}

static int dial(const struct bridge *bridge, uint32_t port)
{
	const struct hv_endpoint endpoint = bridge_endpoint(bridge, port);
	const int size = BUFFER;
	bool pending = false;
	cleanup_close int fd = hv_connect(&endpoint, &bridge->machine, true, &pending);
	if (fd < 0)
		return fd;
	struct pollfd ready = { .fd = fd, .events = POLLOUT };
	while (pending && poll(&ready, 1, -1) < 0 && errno == EINTR)
		;
	int r = pending ? hv_connect_finish(fd) : 0;
	/* The kernel's client waits in its own way. */
	if (!r && fcntl(fd, F_SETFL, 0) < 0)
		r = -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	return r < 0 ? r : take_fd(&fd);
}

static int mount_9p(const struct storage_job *job, struct fault *fault)
{
	const struct mapped_directory *directory = job->settings;
	const char *name = directory->share_name ? directory->share_name : "";
	char data[512];
	cleanup_close int fd = dial(&job->storage->agent->bridge, (uint32_t)directory->port);
	if (fd < 0)
		return fault_errno(fault, fd, "9p: dialling port %d", directory->port);
	int n = snprintf(data, sizeof(data), "trans=fd,rfdno=%d,wfdno=%d,msize=%d%s%s", fd, fd,
	                 BUFFER, *name ? ",aname=" : "", name);
	if (n < 0 || (size_t)n >= sizeof(data))
		return fault_errno(fault, -ENAMETOOLONG, "ShareName");
	return mount_new(directory, "9p", NULL, data, fault);
}

static int add(const struct storage_job *job, struct fault *fault)
{
	const struct mapped_directory *directory = job->settings;
	cleanup(mountpoint_deinit) struct mountpoint point = MOUNTPOINT_NULL;
	cleanup_close int fd = is_virtiofs(directory)
	                               ? mount_new(directory, "virtiofs",
	                                           directory->share_name, NULL, fault)
	                               : mount_9p(job, fault);
	if (fd < 0)
		return fd;
	int r = mountpoint_make(&point, directory->mount_path, 0711);
	if (r < 0)
		return fault_errno(fault, r, "making it");
	if (mountpoint_taken(&point))
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
		                 "something is mounted there already");
	worker_begin();
	r = mount_attach(fd, point.fd);
	if (r >= 0)
		return 0;
	mountpoint_undo(&point, false);
	return fault_errno(fault, r, "mounting");
}

static int directory_add(const struct storage_job *job, struct fault *fault)
{
	const struct mapped_directory *directory = job->settings;
	int r = add(job, fault);
	if (r >= 0)
		return 0;
	const struct fault inner = *fault;
	return fault_set(fault, r, inner.hresult, "directory \"%s\": %s", directory->mount_path,
	                 inner.text);
}

static int directory_remove(const struct storage_job *job, struct fault *fault)
{
	const struct mapped_directory *directory = job->settings;
	int r = mountpoint_remove(directory->mount_path);
	return r < 0 ? fault_errno(fault, r, "directory \"%s\": unmounting",
	                           directory->mount_path) : 0;
}

const struct storage_resource storage_directory = {
	.name = "MappedDirectory",
	.type = &mapped_directory_type,
	.check = directory_check,
	.path = directory_path,
	.add = directory_add,
	.remove = directory_remove,
};
