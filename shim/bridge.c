/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The agent is on the far side of the wall. What it says is either an answer to something that was
 * asked, and decodes, or the connection ends: there is no third case that would be worth keeping a
 * confused peer for. It dials again and gets a fresh start.
 *
 * An answer that does not decode fails its request only. That may be a newer agent with one strange
 * value, and a connection holds the output of everybody.
 */

#include "shim/bridge.h"

#include "oci/log.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define SESSION_VERSION 1

/* Answers */

static void forget_call(struct bridge *bridge, struct bridge_call *call)
{
	struct bridge_call **at = &bridge->calls;

	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
	call->next = NULL;
}

/* The end of a call whose owner may be gone afterwards. */
static void finish_call(struct bridge_call *call, const void *reply, const struct fault *fault)
{
	bridge_answer_fn *answer = call->answer;

	call->answer = NULL;
	answer(call, reply, fault);
}

static bool take_abandoned(struct bridge *bridge, uint64_t id)
{
	for (size_t i = 0; i < BRIDGE_ABANDONED_MAX; i++) {
		if (id && bridge->abandoned[i] == id) {
			bridge->abandoned[i] = 0;
			return true;
		}
	}
	return id && id <= bridge->abandoned_older;
}

static void result_fault(const struct reply_base *base, struct fault *fault)
{
	if (base->error_message && *base->error_message)
		fault_set(fault, 0, base->result, "%s", base->error_message);
	else
		fault_set(fault, 0, base->result, "the agent answered with HRESULT 0x%08x",
		          (unsigned)base->result);
}

static void answer_call(struct bridge_call *call, const struct message *message,
                        const char *payload, size_t size)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct fault fault = FAULT_NULL, inner = FAULT_NULL;
	void *reply = arena_alloc(&arena, message->reply->size);
	int r = -ENOMEM;

	if (reply)
		r = json_decode(&arena, message->reply, payload, size, reply, &inner);
	if (r < 0) {
		fault_set(&fault, r, HRESULT_INVALID_JSON, "the agent's answer to %s: %s",
		          message->name, reply ? inner.text : errno_text(r));
		log_warning("%s", fault.text);
		reply = NULL;
	} else if (((const struct reply_base *)reply)->result) {
		/* Every reply struct begins with its base. */
		result_fault(reply, &fault);
		reply = NULL;
	}
	finish_call(call, reply, reply ? NULL : &fault);
	arena_free(&arena);
}

static int protocol_error(struct bridge *bridge, const char *what, uint64_t number)
{
	return fault_set(&bridge->fault, -EPROTO, HRESULT_FAIL, "the agent sent %s %#llx", what,
	                 (unsigned long long)number);
}

static int on_response(struct bridge *bridge, const struct frame *frame, const char *payload)
{
	struct bridge_call *call = bridge->calls;

	while (call && call->id != frame->id)
		call = call->next;
	if (!call)
		return take_abandoned(bridge, frame->id) ? 0 :
			protocol_error(bridge, "an answer that nobody waits for: id", frame->id);
	if (frame->type != MESSAGE_RESPONSE(call->type))
		return protocol_error(bridge, "an answer of the wrong type", frame->type);
	forget_call(bridge, call);
	answer_call(call, message_find(call->type), payload, frame->size - FRAME_HEADER);
	return 0;
}

static int on_notification(struct bridge *bridge, const struct frame *frame, const char *payload)
{
	struct arena arena = ARENA(JSON_ARENA);
	struct notification notification = { 0 };
	struct fault fault = FAULT_NULL;

	if (frame->type != MESSAGE_NOTIFICATION)
		return protocol_error(bridge, "a notification of unknown type", frame->type);
	int r = json_decode(&arena, message_find(MESSAGE_NOTIFICATION)->request, payload,
	                    frame->size - FRAME_HEADER, &notification, &fault);
	if (r < 0)
		log_warning("the agent's notification: %s", fault.text);
	else if (bridge->ready && notification.type && notification.base.container_id)
		bridge->ops->notification(bridge, &notification);
	arena_free(&arena);
	return 0;
}

static int on_message(struct channel *channel, const struct frame *frame, const char *payload)
{
	struct bridge *bridge = container_of(channel, struct bridge, channel);

	switch (frame->type & FRAME_KIND) {
	case FRAME_RESPONSE:
		return on_response(bridge, frame, payload);
	case FRAME_NOTIFICATION:
		return on_notification(bridge, frame, payload);
	default:
		return protocol_error(bridge, "a message that is no answer", frame->type);
	}
}

/* Requests */

static int send_call(struct bridge *bridge, struct bridge_call *call, uint32_t type,
                     const struct json_type *table, const void *request,
                     bridge_answer_fn *answer, struct fault *fault)
{
	struct buf payload = BUF(FRAME_HOST_MAX);
	int r = message_encode(table, request, FROM_HOST, bridge->channel.max_out, &payload);

	if (r >= 0)
		r = channel_send(&bridge->channel, type, bridge->next_id, buf_head(&payload),
		                 buf_length(&payload));
	buf_deinit(&payload);
	if (r < 0)
		return fault_errno(fault, r, "%s request to the agent", message_find(type)->name);
	*call = (struct bridge_call){
		.id = bridge->next_id++,
		.type = type,
		.answer = answer,
		.next = bridge->calls,
	};
	bridge->calls = call;
	return 0;
}

int bridge_check(const struct bridge *bridge, struct fault *fault)
{
	if (bridge->gone)
		return fault_set(fault, -ENOTCONN, HRESULT_FAIL,
		                 "the partition has ended: %s", bridge->gone);
	if (!bridge->ready)
		return fault_set(fault, -ENOTCONN, HRESULT_FAIL, "the agent is not connected");
	return 0;
}

int bridge_send(struct bridge *bridge, struct bridge_call *call, uint32_t type,
                const struct json_type *table, const void *request, bridge_answer_fn *answer,
                struct fault *fault)
{
	int r = bridge_check(bridge, fault);

	return r < 0 ? r : send_call(bridge, call, type, table, request, answer, fault);
}

void bridge_abandon(struct bridge *bridge, struct bridge_call *call)
{
	if (!call->answer)
		return;
	forget_call(bridge, call);
	call->answer = NULL;
	/* A container that goes may take hundreds of processes along that were waited for. */
	if (bridge->abandoned[bridge->abandoned_next] > bridge->abandoned_older)
		bridge->abandoned_older = bridge->abandoned[bridge->abandoned_next];
	bridge->abandoned[bridge->abandoned_next] = call->id;
	bridge->abandoned_next = (bridge->abandoned_next + 1) % BRIDGE_ABANDONED_MAX;
}

uint64_t bridge_stream_ids(struct bridge *bridge, unsigned count)
{
	uint64_t first = bridge->next_stream;

	bridge->next_stream += count;
	return first;
}

/* The connection */

static int check_session(const struct bridge *bridge, const struct negotiate_reply *reply,
                         struct fault *fault)
{
	const struct guest_capabilities *guest = reply->capabilities.guest_defined_capabilities;
	const struct session_reply *session = guest ? guest->hvrun : NULL;

	if (reply->version != 4)
		return fault_set(fault, -EPROTO, HRESULT_NO_COMMON_VERSION,
		                 "the agent speaks version %u of the bridge, not 4",
		                 reply->version);
	if (!session || session->version != SESSION_VERSION || !session->session ||
	    strcmp(session->session, bridge->session))
		return fault_set(fault, -EPROTO, HRESULT_NO_COMMON_VERSION,
		                 "the agent does not speak sessions of hvrun");
	if (bridge->known && (!session->secret || strcmp(session->secret, bridge->secret)))
		return fault_set(fault, -EACCES, HRESULT_ACCESS_DENIED,
		                 "somebody has dialled who is not the agent");
	if (session->max_frame < FRAME_SESSION_MIN)
		return fault_set(fault, -EPROTO, HRESULT_FAIL,
		                 "the agent wants frames of at most %u bytes", session->max_frame);
	return 0;
}

static unsigned known_features(const struct str_list *names)
{
	static const struct { const char *name; unsigned feature; } known[] = {
		{ "clock", FEATURE_CLOCK },
		{ "kmsg", FEATURE_KERNEL_LOG },
	};
	unsigned features = 0;

	for (size_t i = 0; i < names->count; i++) {
		for (size_t j = 0; j < array_size(known); j++)
			features |= strcmp(names->item[i], known[j].name) ? 0 : known[j].feature;
	}
	return features;
}

static void on_negotiated(struct bridge_call *call, const void *answer, const struct fault *fault)
{
	struct bridge *bridge = container_of(call, struct bridge, negotiation);
	const struct negotiate_reply *reply = answer;

	if (reply && check_session(bridge, reply, &bridge->fault) >= 0) {
		const struct session_reply *session =
			reply->capabilities.guest_defined_capabilities->hvrun;
		bridge->channel.max_in = FRAME_SESSION_MAX;
		bridge->channel.max_out = session->max_frame < FRAME_SESSION_MAX ?
			session->max_frame : FRAME_SESSION_MAX;
		bridge->channel.streams = true;
		bridge->features = known_features(&session->features);
		bridge->known |= session->secret && !strcmp(session->secret, bridge->secret);
		bridge->ready = true;
		bridge->ops->ready(bridge);
		return;
	}
	if (fault)
		bridge->fault = *fault;
	channel_fail(&bridge->channel, -EPROTO);
}

/* Two digits for each of size random bytes. */
static int random_digits(char *ret, size_t size)
{
	uint8_t bytes[64];

	if (getrandom(bytes, size, 0) != (ssize_t)size)
		return -errno;
	for (size_t i = 0; i < size; i++)
		snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

#define ENTROPY 64      /* bytes */

/* A kernel that has just been booted knows neither. */
static void greet_guest(struct session_request *session, char entropy[static 2 * ENTROPY + 1])
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	session->time = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	if (random_digits(entropy, ENTROPY) == 0)
		session->entropy = entropy;
}

static int negotiate(struct bridge *bridge)
{
	char entropy[2 * ENTROPY + 1];
	struct hv_guid guid;
	int r = hv_guid_random(&guid);

	if (r >= 0 && !bridge->secret[0])
		r = random_digits(bridge->secret, (sizeof(bridge->secret) - 1) / 2);
	if (r < 0)
		return r;
	hv_guid_format(&guid, bridge->session);
	struct session_request session = {
		.version = SESSION_VERSION,
		.session = bridge->session,
		.max_frame = FRAME_SESSION_MAX,
		/* Whoever dials later may be anybody. */
		.secret = bridge->known ? NULL : bridge->secret,
	};
	if (bridge->boots)
		greet_guest(&session, entropy);
	struct negotiate_request request = {
		.base.container_id = "",
		.minimum_version = 4,
		.maximum_version = 4,
		.hvrun = &session,
	};
	return send_call(bridge, &bridge->negotiation, MESSAGE_NEGOTIATE_PROTOCOL,
	                 message_find(MESSAGE_NEGOTIATE_PROTOCOL)->request, &request,
	                 on_negotiated, NULL);
}

/* Closes the connection; whatever was under way has failed. */
static void disconnect(struct bridge *bridge, const struct fault *fault)
{
	bridge->connected = bridge->ready = false;
	memset(bridge->abandoned, 0, sizeof(bridge->abandoned));
	bridge->abandoned_older = 0;
	channel_deinit(&bridge->channel);
	/* Nobody can add to the list now, but owners may take theirs away. */
	while (bridge->calls) {
		struct bridge_call *call = bridge->calls;
		forget_call(bridge, call);
		if (call == &bridge->negotiation)
			call->answer = NULL;
		else
			finish_call(call, NULL, fault);
	}
}

static void lost(struct bridge *bridge, int error)
{
	struct fault fault = bridge->fault;

	if (!fault.text[0] && error)
		fault_errno(&fault, error, "the connection to the agent was lost");
	else if (!fault.text[0])
		fault_set(&fault, 0, HRESULT_FAIL, "the agent closed the connection");
	if (bridge->ops->why)
		bridge->ops->why(bridge, &fault);
	log_info("bridge: %s", fault.text);
	bridge->fault = (struct fault)FAULT_NULL;
	disconnect(bridge, &fault);
	if (bridge->accepting.fd >= 0)
		(void)source_want(&bridge->accepting, EPOLLIN);
	bridge->ops->lost(bridge, &fault);
}

static void on_lost(struct channel *channel, int error)
{
	lost(container_of(channel, struct bridge, channel), error);
}

static const struct channel_ops channel_ops = { .message = on_message, .lost = on_lost };

int bridge_attach(struct bridge *bridge, int fd)
{
	int r = channel_init(&bridge->channel, bridge->loop, fd, FRAME_PLAIN_MAX, FRAME_HOST_MAX,
	                     &channel_ops);
	if (r < 0)
		return r;
	bridge->connected = true;
	r = negotiate(bridge);
	if (r < 0)
		channel_fail(&bridge->channel, r);
	return 0;
}

/* The agent may have dialled anew before we have read the last of what it said before. */
static bool is_over(const struct bridge *bridge)
{
	struct pollfd end = { .fd = bridge->channel.source.fd, .events = POLLRDHUP };

	return poll(&end, 1, 0) > 0;
}

/*
 * In a VM anybody can dial, containers too, and while connections wait to be accepted a VMM whose
 * thread waits with them serves nobody. So none waits, but the agent's next one for its last one.
 */
static int on_connection(struct source *source, uint32_t got)
{
	(void)got;
	struct bridge *bridge = container_of(source, struct bridge, accepting);
	struct hv_peer peer;

	if (bridge->connected && is_over(bridge))
		return source_want(source, 0);

	int fd = hv_accept(&bridge->listener, &peer);
	if (fd < 0) {
		if (fd != -EAGAIN)
			log_warning("bridge: accept: %s", errno_text(fd));
		return 0;
	}
	if (bridge->peer_pid && peer.pid != bridge->peer_pid) {
		log_warning("bridge: process %d is not the agent: connection refused",
		            (int)peer.pid);
		close(fd);
		return 0;
	}
	if (bridge->connected) {
		bridge->listener.refused++;
		close(fd);
		return 0;
	}
	int r = bridge_attach(bridge, fd);
	if (r < 0)
		log_warning("bridge: %s", errno_text(r));
	return 0;
}

void bridge_init(struct bridge *bridge, struct loop *loop, const struct bridge_ops *ops)
{
	*bridge = (struct bridge){
		.loop = loop,
		.ops = ops,
		.listener = HV_LISTENER_NULL,
		.accepting = SOURCE_NULL,
		.channel = CHANNEL_NULL,
		.next_stream = 1,
	};
}

int bridge_listen(struct bridge *bridge, const struct hv_endpoint *endpoint,
                  struct hv_children *children, struct fault *fault)
{
	int r = hv_listen(&bridge->listener, endpoint, children, NULL);

	if (r >= 0)
		r = source_init(&bridge->accepting, bridge->loop, bridge->listener.fd, EPOLLIN,
		                on_connection);
	return r < 0 ? fault_errno(fault, r, "listen for the agent at %s", endpoint->path) : 0;
}

void bridge_close_socket(struct bridge *bridge)
{
	source_deinit(&bridge->accepting);
	hv_listener_close(&bridge->listener);
}

void bridge_deinit(struct bridge *bridge)
{
	struct fault fault = FAULT_NULL;

	bridge_close_socket(bridge);
	fault_set(&fault, 0, HRESULT_FAIL, "the partition is ending");
	disconnect(bridge, &fault);
}
