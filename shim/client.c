/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A command asks one thing and ends, so here reading and writing block. The sandbox process answers
 * everything but waits at once, and when it dies the connection does, so nothing blocks for ever.
 */

#include "shim/client.h"

#include "oci/channel.h"
#include "shim/sandbox.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#define CONNECT_STEP 5          /* milliseconds */
#define CONNECT_LIMIT 2000

/* As many as may wait are waiting to be let in: nothing tells when it is our turn. */
static int connect_in_turn(struct state *state, const char *partition)
{
	static const struct timespec step = { .tv_nsec = CONNECT_STEP * 1000000 };
	int fd = sandbox_connect(state, partition);

	for (int tries = CONNECT_LIMIT / CONNECT_STEP; fd == -EAGAIN && tries; tries--) {
		nanosleep(&step, NULL);
		fd = sandbox_connect(state, partition);
	}
	return fd;
}

static int no_answer(struct fault *fault)
{
	return fault_set(fault, -ETIMEDOUT, HRESULT_FAIL, "the sandbox process does not answer");
}

int client_connect(struct client *client, struct state *state, const char *partition,
                   struct fault *fault)
{
	*client = (struct client)CLIENT_NULL;
	int fd = connect_in_turn(state, partition);
	if (fd == -EAGAIN)
		return no_answer(fault);
	if (fd < 0 && fd != -ENOENT && fd != -ECONNREFUSED)
		return fault_errno(fault, fd,
		                   "connecting to the sandbox process of partition \"%s\"",
		                   partition);
	client->fd = fd < 0 ? -1 : fd;
	return fd < 0 ? fd : 0;
}

int client_connect_container(struct client *client, struct state *state, const char *id,
                             struct container_record *ret, struct fault *fault)
{
	*client = (struct client)CLIENT_NULL;
	struct arena arena = ARENA(JSON_ARENA);
	int error = state_container_load(state, id, &arena, ret, fault);
	if (!error) {
		error = client_connect(client, state, ret->partition, fault);
		if (error == -ENOENT || error == -ECONNREFUSED)
			fault_set(fault, error, HRESULT_FAIL,
			          "the sandbox process of container \"%s\" is gone; hvrun delete "
			          "--force cleans up", id);
	}
	/* The record lives as long as the client. */
	client->arena = arena;
	return error;
}

int client_find_vm(struct state *state, const char *id, struct arena *arena,
                   const char **ret_partition, struct fault *fault)
{
	struct container_record record = { 0 };
	struct fault ignored;
	cleanup_close int directory = -1;
	int error = state_container_load(state, id, arena, &record, fault);
	if (error != -ENOENT) {
		*ret_partition = record.partition;
		return error;
	}
	*ret_partition = id;
	error = state_partition_open(state, id, &directory, &ignored);
	return error != -ENOENT ? error :
		fault_set(fault, error, HRESULT_NOT_FOUND,
		          "there is neither a container nor a partition \"%s\"", id);
}

int client_connect_vm(struct client *client, struct state *state, const char *id,
                      const char **ret_partition, struct fault *fault)
{
	*client = (struct client)CLIENT_NULL;
	struct arena arena = ARENA(JSON_ARENA);
	int error = client_find_vm(state, id, &arena, ret_partition, fault);
	if (!error) {
		error = client_connect(client, state, *ret_partition, fault);
		if (error == -ENOENT || error == -ECONNREFUSED)
			fault_set(fault, error, HRESULT_FAIL,
			          "the sandbox process of partition \"%s\" is gone",
			          *ret_partition);
	}
	client->arena = arena;
	return error;
}

void client_close(struct client *client)
{
	close_fd(&client->fd);
	close_fd(&client->end_fd);
	arena_free(&client->arena);
}

void client_limit(struct client *client, unsigned milliseconds)
{
	const struct timeval limit = {
		.tv_sec = milliseconds / 1000,
		.tv_usec = milliseconds % 1000 * 1000,
	};
	(void)setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

bool client_lost(int error)
{
	return error == -ECONNREFUSED || error == -ECONNRESET || error == -EPIPE;
}

static int lost(struct fault *fault, int error)
{
	if (error == -EAGAIN)
		return no_answer(fault);
	return fault_set(fault, error, HRESULT_FAIL, "the sandbox process has ended unexpectedly");
}

int client_send(struct client *client, enum control_type type,
                const struct control_request *request, const int *fds, size_t fd_count,
                struct fault *fault)
{
	struct buf out = BUF(CONTROL_FRAME_MAX);
	struct frame frame = { .type = type, .id = ++client->last_id };
	uint8_t header[FRAME_HEADER] = { 0 };
	int error = buf_append(&out, header, sizeof(header));
	if (!error)
		error = json_encode(&control_request_type, request, &out, false);
	if (error < 0) {
		buf_deinit(&out);
		return fault_errno(fault, error, "request");
	}
	frame.size = (uint32_t)buf_length(&out);
	frame_encode(&frame, (uint8_t *)out.data + out.start);
	error = fds_send(client->fd, buf_head(&out), buf_length(&out), fds, fd_count);
	buf_deinit(&out);
	return error < 0 ? lost(fault, error) : 0;
}

#define LAST_WAIT 2000           /* milliseconds for an answer when we are to end */

/* The signal is not taken: once there is an answer, it is for the container. */
static int wait_for_answer(const struct client *client)
{
	struct pollfd wait[] = {
		{ .fd = client->fd, .events = POLLIN },
		{ .fd = client->end_fd, .events = POLLIN },
	};

	while (poll(wait, array_size(wait), -1) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	if (wait[0].revents)
		return 0;
	int n = poll(wait, 1, LAST_WAIT);
	return n < 0 ? -errno : n ? 0 : -EINTR;
}

static int receive_all(int fd, void *to, size_t size)
{
	char *at = to;
	while (size) {
		ssize_t n = recv(fd, at, size, MSG_WAITALL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

/* A failed reply as an errno: what callers tell apart. */
static int error_of(int hresult)
{
	switch (hresult) {
	case HRESULT_NO_SUCH_CONTAINER:
		return -ENOENT;
	case HRESULT_NOT_FOUND:
	case HRESULT_CONTAINER_NOT_RUNNING:
		return -ESRCH;
	case HRESULT_CONTAINER_EXISTS:
		return -EEXIST;
	case HRESULT_INVALID_STATE:
		return -EBUSY;
	case HRESULT_INVALID_JSON:
	case HRESULT_INVALID_ARGUMENT:
		return -EINVAL;
	default:
		return -EIO;
	}
}

int client_receive(struct client *client, uint32_t *ret_type, struct control_reply *reply,
                   struct control_event *event, struct fault *fault)
{
	uint8_t header[FRAME_HEADER];
	struct frame frame;
	struct control_reply own = { 0 };
	int error = receive_all(client->fd, header, sizeof(header));
	if (!error)
		error = frame_decode(header, CONTROL_FRAME_MAX, &frame);
	if (error < 0)
		return lost(fault, error);
	size_t size = frame.size - FRAME_HEADER;
	cleanup_free char *text = malloc(size + 1);
	if (!text)
		return fault_errno(fault, -ENOMEM, "reply");
	error = receive_all(client->fd, text, size);
	if (error < 0)
		return lost(fault, error);
	if (ret_type)
		*ret_type = frame.type;
	if ((frame.type & FRAME_KIND) == FRAME_NOTIFICATION)
		return event ? json_decode(&client->arena, &control_event_type, text, size, event,
		                           fault)
		             : 0;
	if (!reply)
		reply = &own;
	error = json_decode(&client->arena, &control_reply_type, text, size, reply, fault);
	if (!error && reply->base.result)
		error = fault_set(fault, error_of(reply->base.result), reply->base.result, "%s",
		                  reply->base.error_message ? reply->base.error_message : "failed");
	return error;
}

int client_call(struct client *client, enum control_type type,
                const struct control_request *request, const int *fds, size_t fd_count,
                struct control_reply *ret, struct fault *fault)
{
	int error = client_send(client, type, request, fds, fd_count, fault);
	if (!error && client->end_fd >= 0 && (error = wait_for_answer(client)) < 0)
		return fault_set(fault, error, HRESULT_FAIL,
		                 "ended by a signal before there was an answer");
	return error < 0 ? error : client_receive(client, NULL, ret, NULL, fault);
}
