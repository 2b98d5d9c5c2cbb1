/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How a container comes to be and goes. Both are done by a worker with the code of `hvrun create`
 * and `hvrun delete`, so that what containerd makes is on record like any other container, and any
 * command finds it. A worker that fails has undone what it did.
 */

#include "shim/containerd/front.h"

#include "oci/spec.h"
#include "shim/bundle.h"
#include "shim/containerd/pidfile.h"
#include "shim/containerd/proto/events.pb-c.h"
#include "shim/containerd/rootfs.h"
#include "shim/creation.h"
#include "shim/delete.h"
#include "shim/hooks.h"
#include "shim/pod.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum made { MADE, MADE_WITH_HOOKS };

/* In the worker */

static int rootfs_path(const struct member *member, char path[static PATH_MAX], struct fault *fault)
{
	int n = snprintf(path, PATH_MAX, "%s/rootfs", member->bundle);

	return n < PATH_MAX ? 0 : fault_errno(fault, -ENAMETOOLONG, "bundle \"%s\"",
	                                      member->bundle);
}

static int mount_root(const struct member *member, struct fault *fault)
{
	const Containerd__Task__V2__CreateTaskRequest *wanted = member->wanted;
	char path[PATH_MAX];
	int r = rootfs_path(member, path, fault);

	if (r < 0 || !wanted->n_rootfs)
		return r;
	if (mkdir(path, 0711) < 0 && errno != EEXIST)
		return fault_errno(fault, -errno, "%s", path);
	return rootfs_mount(path, wanted->rootfs, wanted->n_rootfs, fault);
}

static int unmount_root(const struct member *member, struct fault *fault)
{
	char path[PATH_MAX];
	int r = rootfs_path(member, path, fault);

	if (r < 0)
		return r;
	r = rootfs_unmount(path);
	return r < 0 ? fault_errno(fault, r, "unmount %s", path) : 0;
}

static int make_in(struct cli *cli, const struct member *member, struct fault *fault)
{
	const struct create_options options = { .bundle = member->bundle };
	const struct front *front = member->front;
	/* A VM cannot enter a network of the host's: then its own is the pod's. */
	const struct pod_sandbox sandbox = {
		.pid = front_pid(front, 0),
		.network = front->sandbox.partition.driver->visible ? front->network : NULL,
		.hostname = front->hostname,
	};
	struct creation creation;
	struct fault ignored;
	int r = mount_root(member, fault);

	if (r < 0)
		return r;
	creation_init(&creation, cli, &options, member->id);
	creation.home = front->options->group;
	creation.sandbox = front->sandboxed ? &sandbox : NULL;
	r = creation_make(&creation, true, fault);
	if (r < 0) {
		creation_undo(&creation);
		(void)unmount_root(member, &ignored);
	} else if (creation.bundle.spec.hooks.poststart.count) {
		r = MADE_WITH_HOOKS;
	}
	creation_deinit(&creation);
	return r;
}

static int make(void *context, struct fault *fault)
{
	const struct member *member = context;
	const struct shim_options *options = member->front->options;
	struct cli cli = {
		.root = options->root,
		.partition = member->front->sandbox.options->driver,
		.config = options->config,
		.debug = options->debug,
		.state = STATE_NULL,
	};
	int r = state_open(&cli.state, options->root, fault);

	if (r >= 0)
		r = make_in(&cli, member, fault);
	state_close(&cli.state);
	return r;
}

static int unmake(void *context, struct fault *fault)
{
	const struct member *member = context;
	struct state state = STATE_NULL;
	int r = state_open(&state, member->front->options->root, fault);

	if (r >= 0)
		r = delete_by_id(&state, member->id, true, fault);
	state_close(&state);
	return r < 0 ? r : unmount_root(member, fault);
}

static int run_hooks(void *context, struct fault *fault)
{
	const struct member *member = context;
	struct bundle bundle = BUNDLE_NULL;
	struct state state = STATE_NULL;
	int r = state_open(&state, member->front->options->root, fault);

	if (r >= 0)
		r = bundle_load_saved(&bundle, &state, member->id, member->bundle, fault);
	if (r >= 0)
		r = host_hooks_run(HOOK_POSTSTART, &bundle, member->id, member->init.host_pid,
		                   fault);
	bundle_deinit(&bundle);
	state_close(&state);
	return r;
}

static int employ(struct member *member, int (*work)(void *context, struct fault *fault),
                  int fd[static STDIO_COUNT], worker_done_fn *done, struct fault *fault)
{
	const struct worker_job job = {
		.work = work,
		.context = member,
		.fd = { fd[STDIO_IN], fd[STDIO_OUT], fd[STDIO_ERR] },
		.log_fd = member->front->log_fd,
	};
	int r;

	/* Of one before, nobody waits for the end any more. */
	if (member->worker)
		worker_forget(take_pointer(member->worker));
	r = worker_start(&member->worker, &member->front->sandbox.loop, &job, done, member, fault);
	stdio_close_fds(fd);
	return r;
}

/* Create */

static void create_failed(struct member *member, const struct fault *fault)
{
	struct ttrpc_call *call = take_pointer(member->init.call);

	member_free(member);
	ttrpc_refuse(call, fault);
}

static void publish_create(const struct member *member)
{
	Containerd__Events__TaskCreate event = CONTAINERD__EVENTS__TASK_CREATE__INIT;
	Containerd__Events__TaskIO io = CONTAINERD__EVENTS__TASK_IO__INIT;

	io.stdin = member->init.in;
	io.stdout = member->init.out;
	io.stderr = member->init.err;
	io.terminal = member->init.terminal;
	event.container_id = member->id;
	event.bundle = member->bundle;
	event.rootfs = member->wanted->rootfs;
	event.n_rootfs = member->wanted->n_rootfs;
	event.io = &io;
	event.pid = member->init.host_pid;
	front_publish(member->front, "/tasks/create", &event.base);
}

static void on_undone(void *owner, int result, const struct fault *fault)
{
	struct member *member = owner;
	struct fault failed = FAULT_NULL;

	member->worker = NULL;
	if (result < 0)
		log_error("what was made of container %s stays: %s", member->id, fault->text);
	fault_set(&failed, -ECHILD, HRESULT_FAIL, "container \"%s\" was killed or deleted while it "
	          "was made", member->id);
	create_failed(member, &failed);
}

/* What a worker that was killed has made, or what others have deleted after it. */
static void undo(struct member *member)
{
	int fd[STDIO_COUNT] = { -1, -1, -1 };
	struct fault fault = FAULT_NULL;

	if (employ(member, unmake, fd, on_undone, &fault) < 0)
		on_undone(member, -ECHILD, &fault);
}

/* For `delete`, when we are not there any more. */
static void note_pid(const struct member *member)
{
	cleanup_close int bundle_fd = open(member->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = bundle_fd < 0 ? -errno : init_pidfile_write(bundle_fd, member->init.host_pid);

	if (r < 0)
		log_warning("%s/" INIT_PIDFILE ": %s", member->bundle, errno_text(r));
}

static void on_made(void *owner, int result, const struct fault *fault)
{
	struct member *member = owner;
	struct front *front = member->front;
	struct container *container = task_find(&front->sandbox.task, member->id);
	Containerd__Task__V2__CreateTaskResponse reply =
		CONTAINERD__TASK__V2__CREATE_TASK_RESPONSE__INIT;

	member->worker = NULL;
	if (result == WORKER_KILLED || (result >= 0 && !container)) {
		undo(member);
		return;
	}
	if (result < 0) {
		create_failed(member, fault);
		return;
	}
	member->container = container;
	container->references++;
	member->started_hooks = result == MADE_WITH_HOOKS;
	member->init.pid = container->init->pid;
	member->init.host_pid = front_pid(front, (uint32_t)container->init->host_pid);
	note_pid(member);
	/* So that namespaces named by the pid that callers know are found to be this one's. */
	if (!container->init->host_pid)
		container->init->proxy = member->init.host_pid;
	publish_create(member);
	protobuf_c_message_free_unpacked(&take_pointer(member->wanted)->base, NULL);
	reply.pid = member->init.host_pid;
	ttrpc_answer(take_pointer(member->init.call), &reply.base);
	program_watch(&member->init);
}

static void go_on(struct member *member)
{
	struct front *front = member->front;
	int fd[STDIO_COUNT] = { -1, -1, -1 };
	struct fault fault = FAULT_NULL;

	member->waiting = false;
	if (front->failure[0]) {
		fault_set(&fault, -ENOTCONN, HRESULT_FAIL, "%s", front->failure);
		create_failed(member, &fault);
		return;
	}
	streams_take(member->init.streams, fd);
	if (employ(member, make, fd, on_made, &fault) < 0)
		create_failed(member, &fault);
}

void front_partition_known(struct front *front)
{
	struct member *next;

	front_answer_sandbox(front);
	for (struct member *m = front->members; m; m = next) {
		next = m->next;
		if (m->waiting)
			go_on(m);
	}
}

static void on_streams(struct streams *streams, const struct fault *fault)
{
	struct program *init = streams_owner(streams);
	struct member *member = init->member;
	struct front *front = member->front;

	if (fault) {
		create_failed(member, fault);
		return;
	}
	member->waiting = true;
	if (front->sandbox.born || front->failure[0])
		go_on(member);
}

static Containerd__Task__V2__CreateTaskRequest *
copy(const Containerd__Task__V2__CreateTaskRequest *request)
{
	size_t size = protobuf_c_message_get_packed_size(&request->base);
	cleanup_free uint8_t *bytes = malloc(size ? size : 1);

	if (!bytes)
		return NULL;
	protobuf_c_message_pack(&request->base, bytes);
	return (void *)protobuf_c_message_unpack(request->base.descriptor, NULL, size, bytes);
}

static int check(struct front *front, const Containerd__Task__V2__CreateTaskRequest *wanted,
                 struct fault *fault)
{
	int r = oci_id_check(wanted->id, fault);

	if (r < 0)
		return r;
	if (member_find(front, wanted->id))
		return fault_set(fault, -EEXIST, HRESULT_CONTAINER_EXISTS,
		                 "container \"%s\": already exists", wanted->id);
	if (front->stops || (front->sandboxed && front->exited_at.tv_sec))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_STATE,
		                 "container \"%s\": its sandbox was stopped", wanted->id);
	if (wanted->checkpoint[0] || wanted->parent_checkpoint[0])
		return fault_set(fault, -ENOSYS, HRESULT_NOT_IMPLEMENTED,
		                 "container \"%s\": checkpoints cannot be restored", wanted->id);
	if (wanted->bundle[0] != '/')
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "container \"%s\": bundle \"%s\" is no absolute path",
		                 wanted->id, wanted->bundle);
	return 0;
}

int member_create(struct front *front, struct ttrpc_call *call,
                  const Containerd__Task__V2__CreateTaskRequest *wanted, struct fault *fault)
{
	const struct streams_wish wish = {
		.in = wanted->stdin,
		.out = wanted->stdout,
		.err = wanted->stderr,
		.terminal = wanted->terminal,
		.id = wanted->id,
		.namespace = front->options->namespace,
	};
	int r = check(front, wanted, fault);

	if (r < 0)
		return r;
	struct member *member = member_new(front, wanted->id, wanted->bundle);
	if (!member)
		return fault_errno(fault, -ENOMEM, "container \"%s\"", wanted->id);
	member->wanted = copy(wanted);
	r = !member->wanted ? -ENOMEM :
		program_set_streams(&member->init, wanted->stdin, wanted->stdout, wanted->stderr,
		                    wanted->terminal);
	if (r < 0) {
		member_free(member);
		return fault_errno(fault, r, "container \"%s\"", wanted->id);
	}
	member->next = front->members;
	front->members = member;
	member->init.call = call;
	r = streams_open(&member->init.streams, &front->sandbox.loop, &wish, on_streams,
	                 &member->init, fault);
	if (r < 0) {
		member->init.call = NULL;
		member_free(member);
	}
	return r;
}

/* Hooks after the start */

static void on_hooks_run(void *owner, int result, const struct fault *fault)
{
	struct member *member = owner;

	member->worker = NULL;
	if (result < 0) {
		/* What has failed to start must not go on running. */
		task_kill(member->container->init);
		ttrpc_refuse(take_pointer(member->init.call), fault);
		return;
	}
	program_answer_start(&member->init);
}

int member_run_hooks(struct member *member, struct fault *fault)
{
	int fd[STDIO_COUNT] = { -1, -1, -1 };

	return employ(member, run_hooks, fd, on_hooks_run, fault);
}

/* Delete */

static void on_unmade(void *owner, int result, const struct fault *fault)
{
	struct member *member = owner;
	struct front *front = member->front;
	struct ttrpc_call *call = take_pointer(member->deletion);
	Containerd__Task__V2__DeleteResponse reply = CONTAINERD__TASK__V2__DELETE_RESPONSE__INIT;
	Containerd__Events__TaskDelete event = CONTAINERD__EVENTS__TASK_DELETE__INIT;
	Google__Protobuf__Timestamp exited_at;

	member->worker = NULL;
	if (result < 0) {
		ttrpc_refuse(call, fault);
		return;
	}
	exited_at = message_time(&member->init.exited_at);
	event.container_id = member->id;
	event.pid = reply.pid = member->init.host_pid;
	event.exit_status = reply.exit_status = member->init.exit_status;
	event.exited_at = reply.exited_at = &exited_at;
	front_publish(front, "/tasks/delete", &event.base);
	ttrpc_answer(call, &reply.base);
	member_free(member);
}

int member_delete(struct member *member, struct ttrpc_call *call, struct fault *fault)
{
	/* It has ended when that was told, and nothing in it runs any more. */
	bool ended = member->init.told || member->init.state == PROGRAM_NEW;
	int fd[STDIO_COUNT] = { -1, -1, -1 };

	if (!ended || member->deletion)
		return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
		                 "cannot delete container \"%s\": it is %s", member->id,
		                 member->deletion ? "being deleted" : "running");
	int r = employ(member, unmake, fd, on_unmade, fault);
	if (r >= 0)
		member->deletion = call;
	return r;
}
