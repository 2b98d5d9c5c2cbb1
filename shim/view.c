/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The sandbox process knows best, but two things it cannot say: that it is dead, and that the
 * process which callers watch was killed a moment ago and is still to be noticed, or to be reaped
 * by a parent that does not. A caller that sees the pid dead must not be told that it runs.
 */

#include "shim/view.h"

#include <string.h>

static bool is_gone(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -ECONNRESET ||
	       error == -EPIPE;
}

static bool is_dead(pid_t pid)
{
	bool zombie = false;
	return !process_start_time(pid, &zombie) || zombie;
}

static int no_answer(const char *partition, const char *id, struct fault *fault)
{
	return fault_set(fault, -ETIMEDOUT, HRESULT_FAIL,
	                 "container \"%s\": no answer from partition \"%s\"", id, partition);
}

static void set_stopped(struct view *view)
{
	view->container.status = "stopped";
	view->container.pid = 0;
	view->container.init_pid = 0;
}

int view_refresh(struct view *view, struct fault *fault)
{
	const struct control_request request = { .id = view->record.id };
	struct control_reply reply = { 0 };
	int error = view->client.fd < 0 ? -ENOENT
	                                : client_call(&view->client, CONTROL_STATE, &request, NULL,
	                                              0, &reply, fault);
	if (error < 0 && !is_gone(error))
		return error;
	if (!error && reply.containers.count)
		view->container = reply.containers.item[0];
	if (error || !view->container.status ||
	    (view->container.pid && is_dead((pid_t)view->container.pid)))
		set_stopped(view);
	return 0;
}

int view_connect(struct view *ret, struct state *state, const char *id, struct fault *fault)
{
	ret->container = (struct control_container){ 0 };
	ret->record = (struct container_record){ 0 };
	int error = client_connect_container(&ret->client, state, id, &ret->record, fault);
	return ret->record.partition && is_gone(error) ? 0 : error;
}

int view_open(struct view *ret, struct state *state, const char *id, unsigned limit,
              struct fault *fault)
{
	int error = view_connect(ret, state, id, fault);
	if (!error) {
		client_limit(&ret->client, limit);
		error = view_refresh(ret, fault);
	}
	return error == -ETIMEDOUT ? no_answer(ret->record.partition, id, fault) : error;
}

void view_close(struct view *view)
{
	client_close(&view->client);
}

bool view_stopped(const struct view *view)
{
	return !strcmp(view->container.status, "stopped");
}

int running_call(struct state *state, struct client *ret_client, const char *id,
                 enum control_type type, const struct control_request *request,
                 struct control_reply *ret, struct fault *fault)
{
	struct container_record record = { 0 };
	int error = client_connect_container(ret_client, state, id, &record, fault);
	if (error < 0 && !record.partition)
		return error;
	if (!error) {
		client_limit(ret_client, ANSWER_LIMIT);
		error = client_call(ret_client, type, request, NULL, 0, ret, fault);
	}
	if (error == -ETIMEDOUT)
		return no_answer(record.partition, id, fault);
	if (error == -ESRCH || is_gone(error))
		return fault_set(fault, -ESRCH, HRESULT_CONTAINER_NOT_RUNNING,
		                 "container not running: \"%s\"", id);
	return error;
}
