/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Callers have three ways to say that containers belong together. Kubernetes' runtimes and podman
 * name the pod's first container in annotations; ours is --pod; and all of them, docker too, say
 * which namespaces are to be shared as /proc/PID/ns/…, with the pid that we gave them for the other
 * container. That pid means nothing in a partition: it stands for the other container's init there,
 * and says that this is the partition to be in.
 */

#include "shim/pod.h"

#include "oci/log.h"
#include "shim/client.h"

#include <stdio.h>
#include <string.h>

#define OTHERS_LIMIT 2000       /* milliseconds for a partition to say whether a pid is its own */

/* Where Kubernetes' runtimes write it; podman uses CRI-O's names. */
static const struct {
	const char *type, *sandbox;
} annotations[] = {
	{ "io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id" },
	{ "io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID" },
};

static const char *annotated_pod(const struct oci_spec *spec)
{
	for (size_t i = 0; i < array_size(annotations); i++) {
		const char *type = oci_annotation(spec, annotations[i].type);
		if (type && !strcmp(type, "container"))
			return oci_annotation(spec, annotations[i].sandbox);
	}
	return NULL;
}

bool pod_is_named(const struct oci_spec *spec)
{
	/* Podman's first container of a pod says nothing, but its ids never come round again. */
	const char *manager = oci_annotation(spec, "io.container.manager");
	if (manager && !strcmp(manager, "libpod"))
		return true;
	for (size_t i = 0; i < array_size(annotations); i++) {
		if (oci_annotation(spec, annotations[i].type))
			return true;
	}
	return false;
}

static int partition_of(struct state *state, const char *id, struct arena *arena, const char **ret,
                        struct fault *fault)
{
	struct container_record record = { 0 };
	int error = state_container_load(state, id, arena, &record, fault);
	if (!error)
		*ret = record.partition;
	return error;
}

/* The first container of a pod may be one that its caller only thinks of: then it is us. */
static int find_annotated(struct state *state, const char *pod, struct arena *arena,
                          const char **ret_partition, bool *ret_exists, struct fault *fault)
{
	int error = partition_of(state, pod, arena, ret_partition, fault);
	*ret_exists = !error;
	if (error != -ENOENT)
		return error;
	*ret_partition = pod;
	return 0;
}

/* Of a container that runs. */
struct owner {
	const char *partition;
	uint32_t pid;           /* of its init in the partition; 0: none found */
};

static int find_init(struct client *client, const char *id, struct owner *owner,
                     struct fault *fault)
{
	const struct control_request request = { .id = id };
	struct control_reply reply = { 0 };
	int error = client_call(client, CONTROL_PROCESSES, &request, NULL, 0, &reply, fault);
	for (size_t i = 0; !error && i < reply.processes.count; i++) {
		if (!strcmp(reply.processes.item[i].exec, "init"))
			owner->pid = reply.processes.item[i].pid;
	}
	return error;
}

/* Callers that have a sandbox without a container know it by the pid of the partition. */
static bool is_of_partition(struct state *state, const char *partition, uint32_t pid)
{
	struct partition_record record = { 0 };
	struct arena arena = ARENA(JSON_ARENA);
	struct fault ignored;
	bool is = state_partition_load(state, partition, &arena, &record, &ignored) >= 0 &&
	          record.agent_pid == pid;
	arena_free(&arena);
	return is;
}

/*
 * Whether a container of this partition is known by that pid. Of a VM several may be, which go by
 * the pid of the VM; then it is the pod's first that is meant, the owner of its namespaces.
 */
static int ask_partition(struct state *state, const char *partition, uint32_t pid,
                         struct owner *owner, struct fault *fault)
{
	const struct control_request all = { .id = "" };
	struct control_reply reply = { 0 };
	struct client client;
	int error = client_connect(&client, state, partition, fault);
	if (error < 0)
		return error;
	client_limit(&client, OTHERS_LIMIT);
	error = client_call(&client, CONTROL_STATE, &all, NULL, 0, &reply, fault);
	const struct control_container *found = NULL;
	for (size_t i = 0; !error && i < reply.containers.count; i++) {
		const struct control_container *container = &reply.containers.item[i];
		if ((container->pid == pid || container->init_pid == pid) &&
		    (!found || !strcmp(container->id, partition)))
			found = container;
	}
	if (found)
		error = find_init(&client, found->id, owner, fault);
	else if (!error && is_of_partition(state, partition, pid))
		owner->pid = 1;
	client_close(&client);
	return error;
}

static int find_owner(struct state *state, uint32_t pid, struct arena *arena, struct owner *ret,
                      struct fault *fault)
{
	struct str_list names;
	struct fault ignored;
	int error = state_names(state, "partitions", arena, &names);
	if (error < 0)
		return fault_errno(fault, error, "list of partitions");
	*ret = (struct owner){ 0 };
	for (size_t i = 0; !ret->pid && i < names.count; i++) {
		/* One that is just ending is not ours to complain of. */
		ask_partition(state, names.item[i], pid, ret, &ignored);
		ret->partition = names.item[i];
	}
	return 0;
}

/* Sets *ret_pid to 0 for paths that have no process in them. */
static int parse_path(const char *path, uint32_t *ret_pid, int *ret_rest)
{
	*ret_pid = 0;
	*ret_rest = 0;
	if (strncmp(path, "/proc/", strlen("/proc/")) != 0)
		return 0;
	int found = sscanf(path, "/proc/%u%n", ret_pid, ret_rest);
	return found == 1 && *ret_pid && path[*ret_rest] == '/' ? 0 : -EINVAL;
}

void pod_enter_sandbox(struct oci_spec *spec, const struct pod_sandbox *sandbox)
{
	uint32_t pid;
	int rest;
	for (size_t i = 0; i < spec->linux_.namespaces.count; i++) {
		struct oci_namespace *namespace = &spec->linux_.namespaces.item[i];
		if (!namespace->path || parse_path(namespace->path, &pid, &rest) < 0 ||
		    pid != sandbox->pid || !pid)
			continue;
		if (namespace->type == OCI_NS_NETWORK && sandbox->network) {
			namespace->path = sandbox->network;
		} else if (namespace->type == OCI_NS_UTS && sandbox->hostname && !spec->hostname) {
			/* Each has the name, if not the namespace. */
			namespace->path = NULL;
			spec->hostname = sandbox->hostname;
		}
	}
}

static int translate(struct state *state, struct oci_namespace *namespace, struct arena *arena,
                     const char **ret_partition, bool *ret_exists, struct fault *fault)
{
	uint32_t pid;
	int rest;
	struct owner owner = { 0 };
	int error = parse_path(namespace->path, &pid, &rest);
	if (!error && !pid)
		return 0;
	if (!error)
		error = find_owner(state, pid, arena, &owner, fault);
	if (error == -EINVAL || (!error && !owner.pid))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "linux.namespaces: %s is of no container here, and a partition "
		                 "cannot enter the host's", namespace->path);
	if (error < 0)
		return error;
	if (*ret_exists && strcmp(*ret_partition, owner.partition) != 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "linux.namespaces: %s is in partition \"%s\", but the container "
		                 "belongs in partition \"%s\"", namespace->path, owner.partition,
		                 *ret_partition);
	*ret_partition = owner.partition;
	*ret_exists = true;
	namespace->path = arena_printf(arena, "/proc/%u%s", owner.pid, namespace->path + rest);
	return namespace->path ? 0 : fault_errno(fault, -ENOMEM, "linux.namespaces");
}

int pod_leave_host_namespaces(struct oci_spec *spec, struct fault *fault)
{
	uint32_t pid;
	int rest;
	for (size_t i = 0; i < spec->linux_.namespaces.count; i++) {
		struct oci_namespace *namespace = &spec->linux_.namespaces.item[i];
		/* What has a process in it has been translated. */
		if (!namespace->path || (!parse_path(namespace->path, &pid, &rest) && pid))
			continue;
		if (namespace->type != OCI_NS_NETWORK)
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "linux.namespaces: %s is of the host, which a VM cannot "
			                 "enter", namespace->path);
		log_warning("the network namespace %s is of the host: the container has one in its "
		            "VM instead, without a connection", namespace->path);
		namespace->path = NULL;
	}
	return 0;
}

int pod_find_partition(struct state *state, const char *pod, struct oci_spec *spec,
                       struct arena *arena, const char **ret_partition, bool *ret_exists,
                       struct fault *fault)
{
	const char *annotated = annotated_pod(spec);
	int error = 0;
	*ret_exists = false;
	if (pod) {
		error = partition_of(state, pod, arena, ret_partition, fault);
		*ret_exists = true;
	} else if (annotated) {
		error = find_annotated(state, annotated, arena, ret_partition, ret_exists, fault);
	}
	for (size_t i = 0; !error && i < spec->linux_.namespaces.count; i++) {
		struct oci_namespace *namespace = &spec->linux_.namespaces.item[i];
		if (namespace->path)
			error = translate(state, namespace, arena, ret_partition, ret_exists,
			                  fault);
	}
	return error;
}
