/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The attach partition: a VM that somebody else has started, with an agent in it that dials us.
 * There is no process to look after and no directory that both sides see; what ends it is that the
 * agent stays away, or that nobody needs it any more. The VM goes on in either case: whoever has
 * started it ends it.
 */

#include "shim/partition.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

static int parse(const struct partition *partition, struct hv_endpoint *ret, struct fault *fault)
{
	const char *why = NULL;

	if (hv_endpoint_parse(partition->argument, ret, &why) < 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "attach=%s: %s",
		                 partition->argument, why ? why : "bad endpoint");
	if (ret->scheme != HV_SCHEME_HYBRID && ret->scheme != HV_SCHEME_VSOCK)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "attach=%s: must be hybrid: or vsock:", partition->argument);
	if (ret->scheme == HV_SCHEME_VSOCK &&
	    (ret->cid <= VMADDR_CID_HOST || ret->cid == VMADDR_CID_ANY))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "attach=%s: is the CID of no VM", partition->argument);
	return 0;
}

/* Whoever owns the directory of a VMM's sockets is who it runs as. */
static int find_owner(const char *base, uid_t *ret)
{
	char directory[HV_PATH_MAX];
	struct stat st;
	int n = snprintf(directory, sizeof(directory), "%.*s", (int)(strrchr(base, '/') - base + 1),
	                 base);

	if (n >= (int)sizeof(directory))
		return -ENAMETOOLONG;
	if (stat(directory, &st) < 0)
		return -errno;
	*ret = st.st_uid;
	return 0;
}

static int foreign_prepare(struct partition *partition, struct fault *fault)
{
	struct hv_endpoint endpoint;
	int r = parse(partition, &endpoint, fault);

	if (r < 0)
		return r;
	if (endpoint.scheme == HV_SCHEME_VSOCK) {
		partition->child.cid = endpoint.cid;
		return 0;
	}
	r = find_owner(endpoint.path, &partition->child.uid);
	return r < 0 ? fault_errno(fault, r, "attach=%s", partition->argument) : 0;
}

static int foreign_endpoint(struct partition *partition, uint32_t port, struct hv_endpoint *ret)
{
	int r = parse(partition, ret, NULL);

	if (r < 0)
		return r;
	if (ret->scheme == HV_SCHEME_VSOCK)
		ret->cid = VMADDR_CID_ANY;
	/* Where the agent was told to dial, one has to listen: another port would be no use. */
	if (port != BRIDGE_PORT)
		return -EADDRINUSE;
	if (!ret->has_port)
		ret->port = port;
	ret->has_port = true;
	ret->address = (struct hv_address){
		.vm = hv_guid_children,
		.service = hv_guid_from_port(ret->port),
	};
	return 0;
}

static int foreign_start(struct partition *partition, struct fault *fault)
{
	partition->exit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return partition->exit_fd < 0 ? fault_errno(fault, -errno, "eventfd") : 0;
}

static void foreign_stop(struct partition *partition)
{
	static const uint64_t one = 1;

	(void)!write(partition->exit_fd, &one, sizeof(one));
}

static void foreign_collect(struct partition *partition, char *text, size_t size)
{
	(void)partition;
	snprintf(text, size, "the agent of the VM stays away");
}

static pid_t foreign_host_pid(struct partition *partition, uint32_t pid)
{
	(void)partition;
	(void)pid;
	return 0;
}

const struct partition_driver partition_attach = {
	.name = "attach",
	.argued = true,
	.boots = true,
	.prepare = foreign_prepare,
	.start = foreign_start,
	.stop = foreign_stop,
	.collect = foreign_collect,
	.endpoint = foreign_endpoint,
	.host_pid = foreign_host_pid,
};
