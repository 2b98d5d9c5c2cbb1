/* SPDX-License-Identifier: Apache-2.0 */

/*
 * containerd calls this when it has lost a shim, in whatever state that is: dead, stopped, healthy
 * but started in vain, or gone in peace. It waits for five seconds and then makes up an exit
 * status. So the work is done by a child, which goes on if something takes its time, and the answer
 * is given in time.
 *
 * A shim that serves others too is asked to delete the container, and stays. One that does not
 * answer is of no use to the others either; it is killed by the delete of the container in whose
 * bundle its pid is. When it has died, what ran in its partition died with it, so the rest of the
 * group is removed along with that container: not every member gets a delete of its own.
 */

#include "shim/containerd/remove.h"

#include "shim/containerd/address.h"
#include "shim/containerd/group.h"
#include "shim/containerd/output.h"
#include "shim/containerd/pidfile.h"
#include "shim/containerd/proto/task.pb-c.h"
#include "shim/containerd/rootfs.h"
#include "shim/delete.h"
#include "shim/remains.h"
#include "shim/starter.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>

/* All in milliseconds. */
#define ANSWER_LIMIT 4000       /* of the five seconds */
#define PARTITION_LIMIT 1000    /* for a partition to delete the container */
#define TERM_LIMIT 1500         /* for a shim to end by itself */
#define KILL_LIMIT 1000         /* for one to end that was killed */
#define SOCKET_LIMIT 500        /* for its socket to go with it */

#define STATUS_UNKNOWN 137      /* killed, as far as anybody can tell */

struct removal {
	const char *id;
	const char *bundle;
	const char *group, *root;
	char address[ADDRESS_TEXT];
	struct arena arena;
	struct state state;
	int bundle_fd;                  /* -1: it has gone already */
	int shim_fd;                    /* a pidfd, of the one that was started in this bundle */
};

/* Of a member, in the host's mounts. */
static int unmount_root(const char *bundle, struct fault *fault)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/rootfs", bundle);
	int error = n < (int)sizeof(path) ? rootfs_unmount(path) : -ENAMETOOLONG;

	return error < 0 ? fault_errno(fault, error, "unmount %s/rootfs", bundle) : 0;
}

/* Members */

static bool is_member(struct removal *removal, const char *id, const char **ret_bundle)
{
	struct container_record record = { 0 };
	int error = state_container_load(&removal->state, id, &removal->arena, &record, NULL);

	*ret_bundle = error < 0 ? NULL : record.bundle;
	return error >= 0 && !strcmp(record.partition, removal->group);
}

static bool has_others(struct removal *removal)
{
	struct str_list names = { 0 };
	const char *bundle;

	if (state_names(&removal->state, "containers", &removal->arena, &names) < 0)
		return false;
	for (size_t i = 0; i < names.count; i++) {
		if (strcmp(names.item[i], removal->id) != 0 &&
		    is_member(removal, names.item[i], &bundle))
			return true;
	}
	return false;
}

/* All goes as far as it can; the first error is told. */
static int remove_members(struct removal *removal, struct fault *fault)
{
	struct str_list names = { 0 };
	struct fault ignored;
	const char *bundle;
	int result = state_names(&removal->state, "containers", &removal->arena, &names);

	if (result < 0)
		return fault_errno(fault, result, "list of containers");
	for (size_t i = 0; i < names.count; i++) {
		if (!is_member(removal, names.item[i], &bundle))
			continue;
		int error = delete_soon(&removal->state, names.item[i], PARTITION_LIMIT,
		                        result ? &ignored : fault);
		result = result ? result : error;
		error = unmount_root(bundle, result ? &ignored : fault);
		result = result ? result : error;
	}
	return result;
}

/* The shim */

static bool ends(int pidfd, int signal, int limit)
{
	struct pollfd end = { .fd = pidfd, .events = POLLIN };

	(void)pidfd_send_signal(pidfd, signal, NULL, 0);
	return poll(&end, 1, limit) > 0;
}

/*
 * Whoever was killed has lost his lock before his socket, which a child of his that dies with him
 * may hold a little longer. Nobody can be asked about that but the socket.
 */
static void await_silence(const struct removal *removal)
{
	static const struct timespec step = { .tv_nsec = 5000000 };

	for (int tries = SOCKET_LIMIT / 5; tries && address_answers(removal->address); tries--)
		nanosleep(&step, NULL);
}

static int end_shim(struct removal *removal, bool gently, struct fault *fault)
{
	int pidfd = removal->shim_fd;

	if (!(gently && ends(pidfd, SIGTERM, TERM_LIMIT)) && !ends(pidfd, SIGKILL, KILL_LIMIT))
		return fault_errno(fault, -EBUSY, "kill the shim");
	close_fd(&removal->shim_fd);
	await_silence(removal);
	return 0;
}

static int remove_group(struct removal *removal, struct fault *fault)
{
	int error = remove_members(removal, fault);

	if (error < 0)
		return error;
	error = remains_remove_partition(&removal->state, removal->group);
	return error < 0 && error != -ENOENT
	               ? fault_errno(fault, error, "remove partition \"%s\"", removal->group)
	               : 0;
}

static int remove_container(struct removal *removal, struct fault *fault)
{
	int error = delete_soon(&removal->state, removal->id, PARTITION_LIMIT, fault);

	if (removal->shim_fd >= 0 && (error < 0 || !has_others(removal)))
		error = end_shim(removal, error == 0, fault);
	else if (removal->shim_fd >= 0 || error < 0)
		return error;
	/* Whose members they are may be somebody else's by now. */
	bool leader = !strcmp(removal->id, removal->group);
	if (error < 0 || !leader || address_answers(removal->address))
		return error;
	return remove_group(removal, fault);
}

/* The container */

static int find(struct removal *removal, const struct shim_command *command, struct fault *fault)
{
	struct str_map annotations;
	struct arena *arena = &removal->arena;

	removal->bundle = *command->bundle ? command->bundle : ".";
	removal->bundle_fd = open(removal->bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	removal->shim_fd = pidfile_find(removal->bundle_fd);
	/* One that cannot be read was no reason to be in a group either. */
	if (group_read(removal->bundle_fd, removal->id, arena, &annotations, &removal->group,
	               NULL) < 0)
		removal->group = removal->id;
	int error = group_find_root(removal->bundle_fd, command->namespace, arena, &removal->root,
	                            fault);
	if (!error && address_load(removal->bundle_fd, removal->address) < 0)
		error = address_make("", command->address, command->namespace, removal->group,
		                     removal->address, fault);
	return error;
}

static int remove_all(struct removal *removal, const struct shim_command *command,
                      struct fault *fault)
{
	struct fault ignored;
	int error = find(removal, command, fault);

	if (!error && removal->shim_fd == -ESRCH)
		await_silence(removal);
	/* Nothing is made where there was nothing. */
	if (!error && access(removal->root, F_OK) == 0) {
		error = state_open(&removal->state, removal->root, fault);
		if (!error)
			error = remove_container(removal, fault);
	} else if (!error && removal->shim_fd >= 0) {
		error = end_shim(removal, true, fault);
	}
	int unmounted = unmount_root(removal->bundle, error ? &ignored : fault);
	address_remove_stale(removal->address);
	pidfile_remove(removal->bundle_fd);
	return error ? error : unmounted;
}

/* In time */

static _Noreturn void work(const struct shim_command *command, int tell_fd)
{
	struct fault fault = FAULT_NULL;
	struct removal removal = {
		.id = command->id,
		.arena = ARENA(JSON_ARENA),
		.state = STATE_NULL,
	};

	int error = starter_detach((const int[]){ tell_fd, -1 });
	if (error < 0)
		fault_errno(&fault, error, "leave the caller");
	else
		error = remove_all(&removal, command, &fault);
	if (error < 0)
		(void)!write(tell_fd, fault.text, strlen(fault.text));
	_exit(EXIT_SUCCESS);
}

/* What is not over in time goes on. */
static int await(int fd, struct fault *fault)
{
	struct pollfd end = { .fd = fd, .events = POLLIN };
	char text[FAULT_TEXT];

	if (poll(&end, 1, ANSWER_LIMIT) <= 0)
		return 0;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return fault_set(fault, -EIO, HRESULT_FAIL, "%s", text);
}

static int answer(uint32_t pid, struct fault *fault)
{
	Containerd__Task__V2__DeleteResponse response =
		CONTAINERD__TASK__V2__DELETE_RESPONSE__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	at.seconds = now.tv_sec;
	at.nanos = (int32_t)now.tv_nsec;
	response.pid = pid;
	response.exit_status = STATUS_UNKNOWN;
	response.exited_at = &at;
	return output_message(&response.base, fault);
}

int remove_run(const struct shim_command *command, struct fault *fault)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return fault_errno(fault, -errno, "pipe");
	cleanup_close int ours = fds[0], theirs = fds[1];
	cleanup_close int bundle_fd = open(command->bundle[0] ? command->bundle : ".",
	                                   O_PATH | O_DIRECTORY | O_CLOEXEC);
	uint32_t init = bundle_fd < 0 ? 0 : init_pidfile_read(bundle_fd);
	pid_t pid = fork();
	if (!pid)
		work(command, theirs);
	if (pid < 0)
		return fault_errno(fault, -errno, "fork");
	close_fd(&theirs);
	int error = await(ours, fault);
	return error < 0 ? error : answer(init, fault);
}
