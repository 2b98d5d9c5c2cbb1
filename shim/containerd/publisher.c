/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is at the head of the queue stays there until it is told or given up, and what is behind it
 * waits: docker knows its containers by the order of their events only.
 *
 * A connection that breaks says little about the event on it: if it has carried answers before,
 * containerd has gone away and perhaps come back, and the event is sent again over a new connection
 * at once. If it was new, somebody lets us in and throws us out; that is a failure like others. An
 * event that the connection took with it may so be told twice; not telling it would be worse.
 */

#include "shim/containerd/publisher.h"

#include "oci/log.h"
#include "shim/containerd/any.h"
#include "shim/containerd/pack.h"
#include "shim/containerd/proto/forward.pb-c.h"
#include "shim/containerd/publish_run.h"
#include "shim/containerd/ttrpc_client.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define SERVICE "containerd.services.events.ttrpc.v1.Events"
#define TIMEOUT 5000
#define PAUSE 1000
#define RETRIES 5
#define SCHEME "unix://"

struct event {
	struct event *next;
	Google__Protobuf__Timestamp time;
	Google__Protobuf__Any any;
	char topic[];
};

struct publisher {
	struct loop *loop;
	char *path;                     /* of the ttrpc socket, or NULL */
	char *binary, *address;         /* or NULL */
	char *namespace;
	unsigned timeout, pause;

	struct event *first, **end;
	size_t count;
	unsigned failures;              /* of the first event */
	unsigned pauses;                /* since the last success */
	struct timer timer;
	bool waiting;                   /* for the timer */
	bool busy;                      /* with the first event */
	struct ttrpc_client client;
	bool proven;                    /* the connection has carried an answer */
	struct publish_run run;

	void (*empty)(void *owner);
	void *owner;
	uint64_t told, dropped;
	char failure[256];              /* the last one */
};

static void go_on(struct publisher *publisher);

/* The queue */

static void free_event(struct event *event)
{
	any_deinit(&event->any);
	free(event);
}

static void remove_first(struct publisher *publisher)
{
	struct event *event = publisher->first;

	publisher->first = event->next;
	if (!publisher->first)
		publisher->end = &publisher->first;
	publisher->count--;
	publisher->failures = publisher->pauses = 0;
	free_event(event);
}

static void on_told(struct publisher *publisher)
{
	if (publisher->pauses)
		log_info("containerd takes events again");
	publisher->told++;
	remove_first(publisher);
}

static void drop(struct publisher *publisher, const char *why)
{
	log_warning("event %s is lost: %s", publisher->first->topic, why);
	snprintf(publisher->failure, sizeof(publisher->failure), "%s", why);
	publisher->dropped++;
	remove_first(publisher);
}

/* Later. counts: until it has failed too often. */
static void put_off(struct publisher *publisher, const char *why, bool counts)
{
	publisher->failures += counts;
	if (publisher->failures > RETRIES) {
		drop(publisher, why);
		return;
	}
	if (!publisher->pauses)
		log_warning("event %s has to wait: %s", publisher->first->topic, why);
	snprintf(publisher->failure, sizeof(publisher->failure), "%s", why);
	publisher->pauses += publisher->pauses < RETRIES;
	int r = timer_set(&publisher->timer, (uint64_t)publisher->pauses * publisher->pause);
	if (r < 0)
		drop(publisher, errno_text(r));
	else
		publisher->waiting = true;
}

static int on_timer(struct timer *timer)
{
	struct publisher *publisher = container_of(timer, struct publisher, timer);

	publisher->waiting = false;
	go_on(publisher);
	return 0;
}

/* To the socket */

/* Another try would be answered in the same way. */
static bool is_final(enum ttrpc_code code)
{
	return code == TTRPC_INVALID_ARGUMENT || code == TTRPC_UNIMPLEMENTED;
}

static void on_answer(struct ttrpc_client *client, enum ttrpc_code code, const char *text)
{
	struct publisher *publisher = container_of(client, struct publisher, client);
	bool lost = !ttrpc_client_connected(client), was_proven = publisher->proven;

	publisher->busy = false;
	publisher->proven = !lost && code != TTRPC_DEADLINE_EXCEEDED;
	if (code == TTRPC_OK)
		on_told(publisher);
	else if (is_final(code))
		drop(publisher, text);
	else if (!lost || !was_proven)
		put_off(publisher, text, true);
	go_on(publisher);
}

static int call(struct publisher *publisher)
{
	const struct event *event = publisher->first;
	Containerd__Services__Events__Ttrpc__V1__Envelope envelope =
		CONTAINERD__SERVICES__EVENTS__TTRPC__V1__ENVELOPE__INIT;
	Containerd__Services__Events__Ttrpc__V1__ForwardRequest forward =
		CONTAINERD__SERVICES__EVENTS__TTRPC__V1__FORWARD_REQUEST__INIT;
	const struct ttrpc_request request = {
		.service = SERVICE,
		.method = "Forward",
		.message = &forward.base,
		.namespace = publisher->namespace,
		.timeout = publisher->timeout,
	};

	envelope.timestamp = (Google__Protobuf__Timestamp *)(uintptr_t)&event->time;
	envelope.namespace_ = publisher->namespace;
	envelope.topic = (char *)(uintptr_t)event->topic;
	envelope.event = (Google__Protobuf__Any *)(uintptr_t)&event->any;
	forward.envelope = &envelope;
	return ttrpc_client_call(&publisher->client, &request, on_answer);
}

static int forward(struct publisher *publisher)
{
	struct ttrpc_client *client = &publisher->client;
	int r = ttrpc_client_connected(client) ? call(publisher) : -ENOTCONN;

	if (r >= 0 || ttrpc_client_connected(client))
		return r;
	/* That the last one is gone may show now. */
	publisher->proven = false;
	r = ttrpc_client_connect(client, publisher->path);
	return r < 0 ? r : call(publisher);
}

/* By the program */

static void on_run(struct publish_run *run, const char *failure)
{
	struct publisher *publisher = container_of(run, struct publisher, run);
	char text[sizeof(publisher->failure)];

	publisher->busy = false;
	if (failure) {
		snprintf(text, sizeof(text), "%s %s", publisher->binary, failure);
		put_off(publisher, text, true);
	} else {
		on_told(publisher);
	}
	go_on(publisher);
}

static int run_binary(struct publisher *publisher)
{
	const struct event *event = publisher->first;
	ProtobufCBinaryData input;
	int r = pack_message(&input, &event->any.base);

	if (r < 0)
		return r;
	const struct publish_call run = {
		.binary = publisher->binary,
		.address = publisher->address,
		.namespace = publisher->namespace,
		.topic = event->topic,
		.event = input.data,
		.size = input.len,
		.timeout = publisher->timeout,
	};
	r = publish_run_start(&publisher->run, publisher->loop, &run, on_run);
	free(input.data);
	return r;
}

/* Nobody is there, or there is no room left in front of his door. */
static bool is_absence(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -EAGAIN;
}

/* The publisher may be gone after it. */
static void go_on(struct publisher *publisher)
{
	while (publisher->first && !publisher->busy && !publisher->waiting) {
		int r = publisher->path ? forward(publisher) : run_binary(publisher);
		publisher->busy = r >= 0;
		if (r == -EMSGSIZE)
			drop(publisher, errno_text(r));
		else if (r < 0)
			put_off(publisher, errno_text(r), !publisher->path || !is_absence(r));
	}
	if (!publisher->first && publisher->empty)
		take_pointer(publisher->empty)(publisher->owner);
}

int publisher_send(struct publisher *publisher, const char *topic, const char *type,
                   const ProtobufCMessage *message)
{
	size_t length = strlen(topic);
	struct timespec now;

	if (!publisher->path && !publisher->binary)
		return 0;
	if (publisher->count == PUBLISHER_EVENTS_MAX) {
		publisher->dropped++;
		return -ENOBUFS;
	}
	struct event *event = calloc(1, sizeof(*event) + length + 1);
	int r = event ? any_pack(&event->any, message) : -ENOMEM;
	if (r < 0) {
		free(event);
		publisher->dropped++;
		return r;
	}
	event->any.type_url = (char *)(uintptr_t)type;
	memcpy(event->topic, topic, length);
	clock_gettime(CLOCK_REALTIME, &now);
	google__protobuf__timestamp__init(&event->time);
	event->time.seconds = now.tv_sec;
	event->time.nanos = (int32_t)now.tv_nsec;
	*publisher->end = event;
	publisher->end = &event->next;
	publisher->count++;
	go_on(publisher);
	return 0;
}

void publisher_when_empty(struct publisher *publisher, void (*empty)(void *owner), void *owner)
{
	publisher->empty = empty;
	publisher->owner = owner;
	go_on(publisher);
}

void publisher_describe(const struct publisher *publisher, struct buf *out)
{
	(void)buf_printf(out, "events: %zu waiting, %llu told, %llu lost; to %s%s%s%s\n",
	                 publisher->count, (unsigned long long)publisher->told,
	                 (unsigned long long)publisher->dropped,
	                 publisher->path ? publisher->path :
	                 publisher->binary ? publisher->binary : "nobody",
	                 ttrpc_client_connected(&publisher->client) ? " (connected)" : "",
	                 *publisher->failure ? "; last failure: " : "", publisher->failure);
}

/* False: no memory. What is empty is nothing. */
static bool copy(char **to, const char *text)
{
	*to = text && *text ? strdup(text) : NULL;
	return !text || !*text || *to;
}

int publisher_new(struct publisher **ret, struct loop *loop,
                  const struct publisher_options *options)
{
	struct publisher *publisher = calloc(1, sizeof(*publisher));
	const char *path = options->ttrpc_address;

	*ret = NULL;
	if (!publisher)
		return -ENOMEM;
	if (path && !strncmp(path, SCHEME, strlen(SCHEME)))
		path += strlen(SCHEME);
	publisher->loop = loop;
	publisher->end = &publisher->first;
	publisher->timeout = options->timeout ? options->timeout : TIMEOUT;
	publisher->pause = options->pause ? options->pause : PAUSE;
	publisher->run = (struct publish_run)PUBLISH_RUN_NULL;
	ttrpc_client_init(&publisher->client, loop);
	(void)timer_init(&publisher->timer, loop, on_timer);
	if (!copy(&publisher->path, path) || !copy(&publisher->binary, options->binary) ||
	    !(publisher->address = strdup(options->grpc_address ? options->grpc_address : "")) ||
	    !(publisher->namespace = strdup(options->namespace ? options->namespace : ""))) {
		publisher_free(publisher);
		return -ENOMEM;
	}
	*ret = publisher;
	return 0;
}

void publisher_free(struct publisher *publisher)
{
	if (!publisher)
		return;
	ttrpc_client_deinit(&publisher->client);
	publish_run_deinit(&publisher->run);
	timer_deinit(&publisher->timer);
	while (publisher->first)
		remove_first(publisher);
	free(publisher->path);
	free(publisher->binary);
	free(publisher->address);
	free(publisher->namespace);
	free(publisher);
}
