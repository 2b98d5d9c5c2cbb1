/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The far end of a bridge, played by hand: the host's side runs in a loop for a few turns, what it
 * sent is read from a socket, and what an agent would answer, or never would, is written there.
 */

#include "shim/bridge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <cmocka.h>

#define FAKE_TURNS 12
#define FAKE_PAYLOAD 16384

struct fake_agent {
	struct loop loop;
	struct source turns;            /* always ready: ends a run after so many turns */
	int turns_left;
	struct bridge bridge;
	int fd;
	char session[HV_GUID_TEXT];
	struct frame frame;             /* the last that was read */
	char payload[FAKE_PAYLOAD];
	unsigned ready, lost, notifications;
	struct fault fault;
};

static int fake_turn(struct source *source, uint32_t got)
{
	struct fake_agent *agent = container_of(source, struct fake_agent, turns);

	(void)got;
	if (!agent->turns_left--)
		loop_stop(&agent->loop);
	return 0;
}

static inline void fake_spin(struct fake_agent *agent)
{
	agent->turns_left = FAKE_TURNS;
	assert_int_equal(loop_run(&agent->loop), 0);
}

static inline void fake_init(struct fake_agent *agent, const struct bridge_ops *ops)
{
	*agent = (struct fake_agent){ .loop = LOOP_NULL, .turns = SOURCE_NULL, .fd = -1 };
	assert_int_equal(loop_init(&agent->loop), 0);
	int file = memfd_create("turns", MFD_CLOEXEC);
	assert_int_equal(source_init(&agent->turns, &agent->loop, file, EPOLLIN, fake_turn), 0);
	bridge_init(&agent->bridge, &agent->loop, ops);
}

static inline void fake_deinit(struct fake_agent *agent)
{
	bridge_deinit(&agent->bridge);
	close_fd(&agent->fd);
	source_close(&agent->turns);
	loop_deinit(&agent->loop);
}

static inline bool fake_has(struct fake_agent *agent, void *to, size_t size)
{
	fake_spin(agent);
	return recv(agent->fd, to, size, MSG_DONTWAIT | MSG_PEEK) == (ssize_t)size;
}

/* The next frame, whatever it is. */
static inline void fake_read(struct fake_agent *agent)
{
	uint8_t header[FRAME_HEADER];

	for (int i = 0; !fake_has(agent, header, sizeof(header)); i++)
		assert_in_range(i, 0, 100);
	assert_int_equal(recv(agent->fd, header, sizeof(header), MSG_DONTWAIT), sizeof(header));
	assert_int_equal(frame_decode(header, FRAME_HOST_MAX, &agent->frame), 0);
	size_t size = agent->frame.size - FRAME_HEADER;
	assert_in_range(size, 0, FAKE_PAYLOAD - 1);
	for (size_t done = 0; done < size;) {
		ssize_t n = recv(agent->fd, agent->payload + done, size - done, MSG_DONTWAIT);
		if (n > 0)
			done += (size_t)n;
		else
			fake_spin(agent);
	}
	agent->payload[size] = '\0';
}

/* The next frame, which must be of this type. */
static inline uint64_t fake_expect(struct fake_agent *agent, uint32_t type)
{
	fake_read(agent);
	assert_int_equal(agent->frame.type, type);
	return agent->frame.id;
}

static inline void fake_quiet(struct fake_agent *agent)
{
	uint8_t byte;
	assert_false(fake_has(agent, &byte, 1));
}

static inline void fake_write(struct fake_agent *agent, uint32_t type, uint64_t id,
                              const void *payload, size_t size)
{
	uint8_t header[FRAME_HEADER];
	struct frame frame = { type, (uint32_t)(FRAME_HEADER + size), id };

	frame_encode(&frame, header);
	assert_int_equal(send(agent->fd, header, sizeof(header), MSG_NOSIGNAL), sizeof(header));
	if (size)
		assert_int_equal(send(agent->fd, payload, size, MSG_NOSIGNAL), size);
	fake_spin(agent);
}

static inline void fake_answer(struct fake_agent *agent, uint32_t request, uint64_t id,
                               const char *json)
{
	fake_write(agent, MESSAGE_RESPONSE(request), id, json, strlen(json));
}

static inline void fake_end(struct fake_agent *agent, uint64_t stream, uint64_t total)
{
	uint8_t payload[12] = { 0 };

	frame_put_u64(payload, total);
	fake_write(agent, FRAME_END, stream, payload, sizeof(payload));
}

/* A new connection, up to the negotiation that the host begins. */
static inline void fake_connect(struct fake_agent *agent)
{
	int fd[2];

	close_fd(&agent->fd);
	fake_spin(agent);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
	agent->fd = fd[1];
	assert_int_equal(bridge_attach(&agent->bridge, fd[0]), 0);
	fake_expect(agent, MESSAGE_NEGOTIATE_PROTOCOL);
	const char *at = strstr(agent->payload, "\"Session\":\"");
	assert_non_null(at);
	snprintf(agent->session, sizeof(agent->session), "%s", at + strlen("\"Session\":\""));
}

static inline void fake_negotiate(struct fake_agent *agent)
{
	char answer[512];

	fake_connect(agent);
	snprintf(answer, sizeof(answer),
	         "{\"Result\":0,\"Version\":4,\"Capabilities\":{\"RuntimeOsType\":\"Linux\","
	         "\"GuestDefinedCapabilities\":{\"Hvrun\":{\"Version\":1,\"Session\":\"%s\","
	         "\"Resumed\":false,\"Received\":0,\"MaxFrame\":1048576}}}}", agent->session);
	fake_answer(agent, MESSAGE_NEGOTIATE_PROTOCOL, agent->frame.id, answer);
	assert_true(agent->bridge.ready);
}
