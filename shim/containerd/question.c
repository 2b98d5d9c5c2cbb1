/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Most of what containerd wants of a running container is the agent's to do, and its answer is
 * ours. Such a request goes on when its client has gone: what was asked for is done all the same.
 */

#include "shim/containerd/front.h"

#include "shim/containerd/metrics.h"

static void on_answer(struct task_request *request, const struct control_reply *reply,
                      const struct fault *fault)
{
	struct question *question = container_of(request, struct question, request);

	if (!reply)
		ttrpc_refuse(question->call, fault);
	else if (question->answered)
		question->answered(question, reply);
	else
		ttrpc_answer(question->call, NULL);
	free(question);
}

struct question *question_new(struct ttrpc_call *call,
                              void (*answered)(struct question *, const struct control_reply *),
                              struct fault *fault)
{
	struct question *question = malloc(sizeof(*question));

	if (question)
		*question = (struct question){
			.request.answer = on_answer,
			.call = call,
			.front = front_of(call),
			.answered = answered,
		};
	else
		fault_errno(fault, -ENOMEM, "request");
	return question;
}

int question_asked(struct question *question, int result)
{
	if (result < 0)
		free(question);
	return result;
}

int question_figures(struct question *question, const struct control_reply *reply,
                     Google__Protobuf__Any *ret)
{
	struct fault fault = FAULT_NULL;
	int r = reply->statistics ? metrics_pack(reply->statistics, metrics_host_v2(), ret)
	                          : -ENODATA;

	if (r < 0) {
		fault_set(&fault, r, HRESULT_NOT_FOUND, "figures: %s", errno_text(r));
		ttrpc_refuse(question->call, &fault);
	}
	return r;
}

int front_require_awake(const struct front *front, struct fault *fault)
{
	return front->sandbox.task.paused
		? fault_set(fault, -EBUSY, HRESULT_INVALID_STATE, "the VM is paused") : 0;
}
