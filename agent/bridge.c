/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The guest dials the host, never the other way round, so nothing listens in the VM. A lost
 * connection is dialled again at once, then after 100 ms, doubling to a second: the host may be
 * restarting, and there is nobody else to serve. Only whoever has negotiated is dialled again at
 * once, so that something that accepts and hangs up does not keep us busy.
 *
 * Who may be answered is kept by "generation". In plain mode an answer is good on any later
 * connection of the same host (GCS bridge v4 keeps its ids); what cannot be said now waits until
 * that one is negotiated. With a session the unanswered requests belong to that session, which
 * ends with its connection: late answers to it are dropped.
 */

#include "agent/bridge.h"

#include "agent/agent.h"
#include "agent/request.h"
#include "oci/log.h"

#define REDIAL_FIRST 100
#define REDIAL_MAX 1000
#define LATE_MAX (1u << 20)

static void bridge_redial(struct bridge *bridge)
{
	if (!bridge->redial_delay) {
		bridge->redial_delay = REDIAL_FIRST;
		timer_set(&bridge->redial, 1);
		return;
	}
	timer_set(&bridge->redial, bridge->redial_delay);
	bridge->redial_delay *= 2;
	if (bridge->redial_delay > REDIAL_MAX)
		bridge->redial_delay = REDIAL_MAX;
}

static int bridge_redial_due(struct timer *timer)
{
	bridge_dial(container_of(timer, struct bridge, redial));
	return 0;
}

static int bridge_absence_over(struct timer *timer)
{
	struct bridge *bridge = container_of(timer, struct bridge, absence);
	log_warning("ending: no host for %llu s",
	            (unsigned long long)bridge->absence_limit / 1000);
	loop_stop(&bridge->agent->loop);
	return 0;
}

void bridge_limit_absence(struct bridge *bridge, uint64_t milliseconds)
{
	bridge->absence_limit = milliseconds;
	timer_set(&bridge->absence, bridge->negotiated ? 0 : milliseconds);
}

static int bridge_message(struct channel *channel, const struct frame *frame, const char *payload)
{
	struct bridge *bridge = container_of(channel, struct bridge, channel);
	return request_handle(bridge->agent, frame, payload);
}

static void bridge_lost(struct channel *channel, int error)
{
	struct bridge *bridge = container_of(channel, struct bridge, channel);
	log_info("bridge: connection lost%s%s", error ? ": " : "",
	         error ? errno_text(error) : " (closed by the host)");
	bridge->connected = false;
	/* Whoever connects without negotiating is no host. */
	if (bridge->negotiated)
		timer_set(&bridge->absence, bridge->absence_limit);
	bridge->negotiated = false;
	if (bridge->has_session)
		bridge_begin_generation(bridge);
	channel_deinit(channel);
	bridge_redial(bridge);
}

static const struct channel_ops bridge_ops = {
	.message = bridge_message,
	.lost = bridge_lost,
};

static void bridge_connected(struct bridge *bridge, int fd)
{
	int error = channel_init(&bridge->channel, &bridge->agent->loop, fd, FRAME_HOST_MAX,
	                         FRAME_PLAIN_MAX, &bridge_ops);
	if (error < 0) {
		log_error("bridge: %s", errno_text(error));
		bridge_redial(bridge);
		return;
	}
	bridge->connected = true;
	bridge->connections++;
	half_close_begin(&bridge->half_close);
	bridge->redial_delay = REDIAL_FIRST;
	log_debug("bridge: connected");
}

static int bridge_dialled(struct source *source, uint32_t got)
{
	(void)got;
	struct bridge *bridge = container_of(source, struct bridge, dialing);
	cleanup_close int fd = source->fd;
	source_deinit(source);
	int error = hv_connect_finish(fd);
	if (error < 0) {
		log_debug("bridge: dialling the host: %s", errno_text(error));
		bridge_redial(bridge);
		return 0;
	}
	bridge_connected(bridge, take_fd(&fd));
	return 0;
}

void bridge_dial(struct bridge *bridge)
{
	bool pending = false;
	cleanup_close int fd = hv_connect(&bridge->parent, &bridge->machine, true, &pending);
	if (fd < 0) {
		log_debug("bridge: dialling the host: %s", errno_text(fd));
		bridge_redial(bridge);
		return;
	}
	if (!pending) {
		bridge_connected(bridge, take_fd(&fd));
		return;
	}
	int error =
		source_init(&bridge->dialing, &bridge->agent->loop, fd, EPOLLOUT, bridge_dialled);
	if (error < 0) {
		bridge_redial(bridge);
		return;
	}
	take_fd(&fd); /* bridge_dialled() has it from the source */
}

/* hv_sock has it, and is known by having no CID. */
static bool carries_half_close(const struct bridge *bridge)
{
	const struct hv_machine *machine = &bridge->machine;
	bool hv_sock = machine->is_guest &&
	               (machine->cid == VMADDR_CID_ANY || machine->cid <= VMADDR_CID_HOST);
	return hv_capabilities(bridge->parent.scheme)->half_close ||
	       (bridge->parent.scheme == HV_SCHEME_VSOCK && hv_sock);
}

int bridge_init(struct bridge *bridge, struct agent *agent, const struct hv_endpoint *parent)
{
	*bridge = (struct bridge){
		.agent = agent,
		.parent = *parent,
		.dialing = SOURCE_NULL,
		.redial = TIMER_NULL,
		.absence = TIMER_NULL,
		.channel = CHANNEL_NULL,
		.late = BUF(LATE_MAX),
	};
	hv_machine_probe(&bridge->machine);
	bridge->half_close.known = carries_half_close(bridge);
	int error = timer_init(&bridge->redial, &agent->loop, bridge_redial_due);
	return error ? error : timer_init(&bridge->absence, &agent->loop, bridge_absence_over);
}

void bridge_deinit(struct bridge *bridge)
{
	source_close(&bridge->dialing);
	timer_deinit(&bridge->redial);
	timer_deinit(&bridge->absence);
	if (bridge->connected)
		channel_deinit(&bridge->channel);
	bridge->connected = bridge->negotiated = false;
	buf_deinit(&bridge->late);
	bridge->late.limit = 0;
}

void bridge_begin_generation(struct bridge *bridge)
{
	bridge->generation++;
	buf_deinit(&bridge->late);
	for (struct process *p = bridge->agent->processes; p; p = p->next)
		process_forget_waiters(p);
	storage_forget(&bridge->agent->storage);
}

/* False also when the connection is dead, but not buried. */
static bool bridge_up(const struct bridge *bridge)
{
	return bridge->connected && !bridge->channel.failed && !bridge->channel.send_error;
}

/* Whoever asked is at the other end, and may be answered now. */
static bool bridge_reaches(const struct bridge *bridge, const struct request *request)
{
	if (!bridge_up(bridge) || request->generation != bridge->generation)
		return false;
	return request->connection == bridge->connections || bridge->negotiated;
}

static bool bridge_keeps(const struct bridge *bridge, const struct request *request)
{
	return !bridge->has_session && request->generation == bridge->generation;
}

static bool bridge_keep(struct bridge *bridge, uint32_t type, uint64_t id,
                        const struct buf *payload)
{
	struct frame frame = { type, (uint32_t)(FRAME_HEADER + buf_length(payload)), id };
	uint8_t header[FRAME_HEADER];
	if (frame.size > buf_room(&bridge->late))
		return false;
	frame_encode(&frame, header);
	return !buf_append(&bridge->late, header, sizeof(header)) &&
	       !buf_append(&bridge->late, buf_head(payload), buf_length(payload));
}

static bool bridge_send(struct bridge *bridge, const struct request *request,
                        const struct buf *payload)
{
	uint32_t type = MESSAGE_RESPONSE(request->type);
	if (!bridge_reaches(bridge, request))
		return bridge_keep(bridge, type, request->id, payload);
	int error = channel_send(&bridge->channel, type, request->id, buf_head(payload),
	                         buf_length(payload));
	if (error < 0)
		log_error("bridge: answer to request %#x: %s", request->type, errno_text(error));
	return error >= 0;
}

/* The size of the frame that will carry the answer; 0 = there will be none. */
static uint32_t answer_max(const struct bridge *bridge, const struct request *request)
{
	if (!request->type)
		return 0;
	if (bridge_reaches(bridge, request))
		return bridge->channel.max_out;
	return bridge_keeps(bridge, request) ? FRAME_PLAIN_MAX : 0;
}

void bridge_negotiated(struct bridge *bridge)
{
	struct buf *late = &bridge->late;
	struct frame frame;
	bridge->negotiated = true;
	bridge->redial_delay = 0;
	timer_set(&bridge->absence, 0);
	while (buf_length(late) &&
	       !frame_decode((const uint8_t *)buf_head(late), FRAME_PLAIN_MAX, &frame)) {
		int error = channel_send(&bridge->channel, frame.type, frame.id,
		                         buf_head(late) + FRAME_HEADER, frame.size - FRAME_HEADER);
		if (error < 0)
			break;
		buf_consume(late, frame.size);
	}
}

void bridge_fail(struct bridge *bridge, struct request *request, const struct fault *fault)
{
	uint32_t max = answer_max(bridge, request);
	if (max) {
		struct buf payload = BUF(FRAME_PLAIN_MAX);
		const char *activity = request->activity_id[0] ? request->activity_id : NULL;
		log_debug("bridge: request %#x failed: %s", request->type, fault->text);
		int error = message_encode_fault(fault, activity, max, &payload);
		if (error < 0)
			log_error("bridge: encoding a fault: %s", errno_text(error));
		else
			bridge_send(bridge, request, &payload);
		buf_deinit(&payload);
	}
	*request = (struct request){ 0 };
}

bool bridge_reply(struct bridge *bridge, struct request *request, void *reply)
{
	uint32_t max = answer_max(bridge, request);
	bool sent = false;
	if (!max) {
		*request = (struct request){ 0 };
		return false;
	}
	/* Every reply struct begins with its base. */
	struct reply_base *base = reply;
	base->activity_id = request->activity_id[0] ? request->activity_id : NULL;
	const struct message *message = message_find(request->type);
	/* Before negotiation, and for an unknown message, there are only the base members. */
	const struct json_type *type =
		message && message->reply ? message->reply : &base_reply_type;
	struct buf payload = BUF(max);
	int error = message_encode(type, reply, FROM_GUEST, max, &payload);
	if (error < 0) {
		struct fault fault;
		fault_errno(&fault, error, "encoding the answer");
		bridge_fail(bridge, request, &fault);
	} else {
		sent = bridge_send(bridge, request, &payload);
	}
	buf_deinit(&payload);
	*request = (struct request){ 0 };
	return sent;
}

void bridge_done(struct bridge *bridge, struct request *request)
{
	struct base_reply reply = { 0 };
	bridge_reply(bridge, request, &reply);
}

bool bridge_notify(struct bridge *bridge, const struct notification *notification)
{
	if (!bridge->negotiated || !bridge_up(bridge))
		return false;
	const struct message *message = message_find(MESSAGE_NOTIFICATION);
	struct buf payload = BUF(bridge->channel.max_out);
	int error = message_encode(message->request, notification, FROM_GUEST,
	                           bridge->channel.max_out, &payload);
	if (!error)
		error = channel_send(&bridge->channel, MESSAGE_NOTIFICATION, 0, buf_head(&payload),
		                     buf_length(&payload));
	buf_deinit(&payload);
	if (error < 0)
		log_error("bridge: notification %s: %s", notification->type, errno_text(error));
	return error >= 0;
}

bool bridge_in_session(const struct bridge *bridge)
{
	return bridge->negotiated && bridge->has_session;
}

struct hv_endpoint bridge_endpoint(const struct bridge *bridge, uint32_t port)
{
	struct hv_endpoint endpoint = bridge->parent;
	endpoint.port = port;
	endpoint.has_port = true;
	endpoint.address.service = hv_guid_from_port(port);
	return endpoint;
}
