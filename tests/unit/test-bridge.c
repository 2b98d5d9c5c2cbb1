/* SPDX-License-Identifier: Apache-2.0 */

/* The host's end of the bridge against an agent that answers, errs and lies. */

#include "oci/log.h"
#include "tests/unit/fake-agent.h"

#include <sys/stat.h>

static struct fake_agent *of_bridge(struct bridge *bridge)
{
	return container_of(bridge, struct fake_agent, bridge);
}

static void on_ready(struct bridge *bridge)
{
	of_bridge(bridge)->ready++;
}

static void on_lost(struct bridge *bridge, const struct fault *fault)
{
	of_bridge(bridge)->lost++;
	of_bridge(bridge)->fault = *fault;
}

static void on_notification(struct bridge *bridge, const struct notification *notification)
{
	assert_non_null(notification->type);
	assert_non_null(notification->base.container_id);
	of_bridge(bridge)->notifications++;
}

static const struct bridge_ops ops = { on_ready, on_lost, on_notification };

struct question {
	struct bridge_call call;
	unsigned answers;
	bool failed;
	uint32_t process_id;
	struct fault fault;
};

static void on_answer(struct bridge_call *call, const void *answer, const struct fault *fault)
{
	struct question *question = container_of(call, struct question, call);
	const struct execute_reply *reply = answer;

	question->answers++;
	question->failed = !reply;
	assert_true(!reply != !fault);
	if (reply)
		question->process_id = reply->process_id;
	else
		question->fault = *fault;
}

static int ask(struct fake_agent *agent, struct question *question, struct fault *fault)
{
	struct process_parameters parameters = { .command_line = "true" };
	struct execute_request request = {
		.base.container_id = "c",
		.settings.process_parameters = &parameters,
	};

	*question = (struct question){ 0 };
	return bridge_send(&agent->bridge, &question->call, MESSAGE_EXECUTE_PROCESS,
	                   message_find(MESSAGE_EXECUTE_PROCESS)->request, &request, on_answer,
	                   fault);
}

static int setup(void **state)
{
	struct fake_agent *agent = calloc(1, sizeof(*agent));

	fake_init(agent, &ops);
	*state = agent;
	return 0;
}

static int teardown(void **state)
{
	fake_deinit(*state);
	free(*state);
	return 0;
}

static void test_negotiates(void **state)
{
	struct fake_agent *agent = *state;
	struct question question;
	struct fault fault = FAULT_NULL;

	assert_int_equal(ask(agent, &question, &fault), -ENOTCONN);
	fake_connect(agent);
	assert_non_null(strstr(agent->payload, "\"MinimumVersion\":4,\"MaximumVersion\":4"));
	assert_non_null(strstr(agent->payload, "\"Resume\":false,\"MaxFrame\":4194304"));
	assert_int_equal(ask(agent, &question, &fault), -ENOTCONN);
	fake_negotiate(agent);
	assert_int_equal(agent->ready, 1);
	assert_int_equal(agent->bridge.channel.max_out, 1048576);
	assert_true(agent->bridge.channel.streams);
}

static void answer_with_secret(struct fake_agent *agent, const char *secret)
{
	char answer[512];

	snprintf(answer, sizeof(answer),
	         "{\"Result\":0,\"Version\":4,\"Capabilities\":{\"GuestDefinedCapabilities\":{"
	         "\"Hvrun\":{\"Version\":1,\"Session\":\"%s\",\"MaxFrame\":65536%s%s%s}}}}",
	         agent->session, secret ? ",\"Secret\":\"" : "", secret ? secret : "",
	         secret ? "\"" : "");
	fake_answer(agent, MESSAGE_NEGOTIATE_PROTOCOL, agent->frame.id, answer);
}

/* Told until it was heard, and then never again. */
static void test_knows_the_agent_again(void **state)
{
	static const char *const others[] = { NULL, "", "0123456789abcdef0123456789abcdef" };
	struct fake_agent *agent = *state;
	char secret[BRIDGE_SECRET] = "";
	unsigned lost = 0;

	for (int i = 0; i < 2; i++) {
		fake_connect(agent);
		const char *at = strstr(agent->payload, "\"Secret\":\"");
		assert_non_null(at);
		memcpy(secret, at + strlen("\"Secret\":\""), sizeof(secret) - 1);
		assert_string_equal(secret, agent->bridge.secret);
		assert_int_equal(strspn(secret, "0123456789abcdef"), sizeof(secret) - 1);
		answer_with_secret(agent, i == 0 ? NULL : secret);
		assert_true(agent->bridge.ready);
		close_fd(&agent->fd);
		fake_spin(agent);
		assert_int_equal(agent->lost, ++lost);
	}
	for (size_t i = 0; i < array_size(others); i++) {
		fake_connect(agent);
		assert_null(strstr(agent->payload, "Secret"));
		answer_with_secret(agent, others[i]);
		assert_false(agent->bridge.connected);
		assert_int_equal(agent->lost, ++lost);
		assert_int_equal(agent->fault.hresult, HRESULT_ACCESS_DENIED);
	}
	assert_int_equal(agent->ready, 2);
	fake_connect(agent);
	answer_with_secret(agent, secret);
	assert_int_equal(agent->ready, 3);
}

static void test_refuses_others(void **state)
{
	static const char *const answers[] = {
		"{\"Result\":0,\"Version\":4}",
		"{\"Result\":0,\"Version\":3,\"Capabilities\":{}}",
		"{\"Result\":0,\"Version\":4,\"Capabilities\":{\"GuestDefinedCapabilities\":{}}}",
		"{\"Result\":0,\"Version\":4,"
		"\"Capabilities\":{\"GuestDefinedCapabilities\":{\"Hvrun\":"
		"{\"Version\":1,\"Session\":\"00000000-0000-0000-0000-000000000000\","
		"\"MaxFrame\":65536}}}}",
		"{\"Result\":-1070137076,\"ErrorMessage\":\"no\"}",
		"nonsense",
	};
	struct fake_agent *agent = *state;

	for (size_t i = 0; i < array_size(answers); i++) {
		fake_connect(agent);
		fake_answer(agent, MESSAGE_NEGOTIATE_PROTOCOL, agent->frame.id, answers[i]);
		assert_int_equal(agent->lost, i + 1);
		assert_true(agent->fault.text[0]);
		assert_false(agent->bridge.connected);
	}
	assert_int_equal(agent->ready, 0);
}

static void test_answers(void **state)
{
	struct fake_agent *agent = *state;
	struct question first, second, third;
	struct fault fault = FAULT_NULL;

	fake_negotiate(agent);
	assert_int_equal(ask(agent, &first, &fault), 0);
	assert_int_equal(ask(agent, &second, &fault), 0);
	assert_int_equal(ask(agent, &third, &fault), 0);
	uint64_t id = fake_expect(agent, MESSAGE_EXECUTE_PROCESS);
	assert_int_equal(fake_expect(agent, MESSAGE_EXECUTE_PROCESS), id + 1);
	assert_int_equal(fake_expect(agent, MESSAGE_EXECUTE_PROCESS), id + 2);

	/* In any order; a failure with and without words. */
	fake_answer(agent, MESSAGE_EXECUTE_PROCESS, id + 2, "{\"Result\":0,\"ProcessId\":33}");
	fake_answer(agent, MESSAGE_EXECUTE_PROCESS, id,
	            "{\"Result\":-2147467259,\"ErrorMessage\":\"not\\nnow\"}");
	assert_int_equal(first.answers, 1);
	assert_string_equal(first.fault.text, "not?now");
	assert_int_equal(first.fault.hresult, HRESULT_FAIL);
	assert_int_equal(second.answers, 0);
	assert_int_equal(third.process_id, 33);
	fake_answer(agent, MESSAGE_EXECUTE_PROCESS, id + 1, "{\"Result\":-2147467259}");
	assert_non_null(strstr(second.fault.text, "0x80004005"));
	assert_int_equal(agent->lost, 0);
}

/* An answer that does not decode is the failure of one request only. */
static void test_answer_that_does_not_decode(void **state)
{
	static const char *const answers[] = {
		"", "{", "[]", "{\"Result\":2147942405}", "{\"Result\":0,\"ProcessId\":-1}",
		"{\"Result\":0,\"ProcessId\":1.5}", "{\"Result\":0,\"ErrorMessage\":\"\\ud800\"}",
	};
	struct fake_agent *agent = *state;
	struct fault fault = FAULT_NULL;

	fake_negotiate(agent);
	for (size_t i = 0; i < array_size(answers); i++) {
		struct question question;
		assert_int_equal(ask(agent, &question, &fault), 0);
		fake_answer(agent, MESSAGE_EXECUTE_PROCESS,
		            fake_expect(agent, MESSAGE_EXECUTE_PROCESS), answers[i]);
		assert_int_equal(question.answers, 1);
		assert_true(question.failed);
		assert_int_equal(question.fault.hresult, HRESULT_INVALID_JSON);
		assert_int_equal(agent->lost, 0);
	}
}

/* Each of these ends the connection, and what was under way fails once. */
static void test_lies(void **state)
{
	static const struct {
		uint32_t type;
		int64_t id;             /* relative to the request's */
		const char *payload;
	} lies[] = {
		{ MESSAGE_RESPONSE(MESSAGE_EXECUTE_PROCESS), 1, "{\"Result\":0}" },
		{ MESSAGE_RESPONSE(MESSAGE_EXECUTE_PROCESS), -1, "{\"Result\":0}" },
		{ MESSAGE_RESPONSE(MESSAGE_CREATE), 0, "{\"Result\":0}" },
		{ MESSAGE_CREATE, 0, "{}" },
		{ MESSAGE_NOTIFICATION + 1, 0, "{}" },
		{ 0, 0, "" },
		{ 0x50000001, 0, "" },
		{ FRAME_DATA, 5, "x" },
		{ FRAME_END, 5, "twelve bytes" },
		{ FRAME_WINDOW, 5, "short" },
		{ FRAME_SESSION | 77, 5, "" },
	};
	struct fake_agent *agent = *state;
	struct fault fault = FAULT_NULL;

	for (size_t i = 0; i < array_size(lies); i++) {
		struct question question;
		fake_negotiate(agent);
		assert_int_equal(ask(agent, &question, &fault), 0);
		uint64_t id = fake_expect(agent, MESSAGE_EXECUTE_PROCESS);
		agent->lost = 0;
		fake_write(agent, lies[i].type, id + (uint64_t)lies[i].id, lies[i].payload,
		           strlen(lies[i].payload));
		assert_int_equal(agent->lost, 1);
		assert_int_equal(question.answers, 1);
		assert_true(question.failed);
		assert_string_equal(question.fault.text, agent->fault.text);
		assert_int_equal(ask(agent, &question, &fault), -ENOTCONN);
	}
}

static void test_answered_twice(void **state)
{
	struct fake_agent *agent = *state;
	struct question question;
	struct fault fault = FAULT_NULL;

	fake_negotiate(agent);
	assert_int_equal(ask(agent, &question, &fault), 0);
	uint64_t id = fake_expect(agent, MESSAGE_EXECUTE_PROCESS);
	fake_answer(agent, MESSAGE_EXECUTE_PROCESS, id, "{\"Result\":0,\"ProcessId\":1}");
	fake_answer(agent, MESSAGE_EXECUTE_PROCESS, id, "{\"Result\":0,\"ProcessId\":2}");
	assert_int_equal(question.answers, 1);
	assert_int_equal(question.process_id, 1);
	assert_int_equal(agent->lost, 1);
	assert_non_null(strstr(agent->fault.text, "nobody waits"));
}

static void test_abandoned(void **state)
{
	struct fake_agent *agent = *state;
	struct question question;
	struct fault fault = FAULT_NULL;

	fake_negotiate(agent);
	assert_int_equal(ask(agent, &question, &fault), 0);
	uint64_t id = fake_expect(agent, MESSAGE_EXECUTE_PROCESS);
	bridge_abandon(&agent->bridge, &question.call);
	bridge_abandon(&agent->bridge, &question.call);
	fake_answer(agent, MESSAGE_EXECUTE_PROCESS, id, "{\"Result\":0}");
	assert_int_equal(question.answers, 0);
	assert_int_equal(agent->lost, 0);
	/* Once. */
	fake_answer(agent, MESSAGE_EXECUTE_PROCESS, id, "{\"Result\":0}");
	assert_int_equal(agent->lost, 1);
}

static void test_many_abandoned(void **state)
{
	struct fake_agent *agent = *state;
	struct question questions[3 * BRIDGE_ABANDONED_MAX];
	struct fault fault = FAULT_NULL;
	uint64_t first = 0;

	fake_negotiate(agent);
	for (size_t i = 0; i < array_size(questions); i++) {
		assert_int_equal(ask(agent, &questions[i], &fault), 0);
		uint64_t id = fake_expect(agent, MESSAGE_EXECUTE_PROCESS);
		first = i ? first : id;
	}
	for (size_t i = 0; i < array_size(questions); i++)
		bridge_abandon(&agent->bridge, &questions[i].call);
	for (size_t i = 0; i < array_size(questions); i++)
		fake_answer(agent, MESSAGE_EXECUTE_PROCESS, first + i, "{\"Result\":0}");
	assert_int_equal(agent->lost, 0);
	fake_answer(agent, MESSAGE_EXECUTE_PROCESS, first + array_size(questions),
	            "{\"Result\":0}");
	assert_int_equal(agent->lost, 1);
}

static void test_notifications(void **state)
{
	static const struct {
		const char *payload;
		unsigned counted;
	} notifications[] = {
		{ "{\"ContainerId\":\"c\",\"Type\":\"OutOfMemory\",\"Operation\":\"None\","
		  "\"Count\":1}", 1 },
		{ "{\"ContainerId\":\"\",\"ActivityId\":\"\",\"Type\":\"UnexpectedExit\"}", 1 },
		{ "{}", 0 },
		{ "{\"ContainerId\":\"c\",\"Type\":7}", 0 },
		{ "nonsense", 0 },
	};
	struct fake_agent *agent = *state;

	fake_negotiate(agent);
	for (size_t i = 0; i < array_size(notifications); i++) {
		agent->notifications = 0;
		fake_write(agent, MESSAGE_NOTIFICATION, 0, notifications[i].payload,
		           strlen(notifications[i].payload));
		assert_int_equal(agent->notifications, notifications[i].counted);
		assert_int_equal(agent->lost, 0);
	}
	/* Before the negotiation they are not ours to judge. */
	fake_connect(agent);
	agent->lost = agent->notifications = 0;
	fake_write(agent, MESSAGE_NOTIFICATION, 0, notifications[0].payload,
	           strlen(notifications[0].payload));
	assert_int_equal(agent->notifications, 0);
	assert_int_equal(agent->lost, 0);
}

static void test_sizes(void **state)
{
	static const uint32_t sizes[] = { 0, 15, FRAME_SESSION_MAX + 1, UINT32_MAX };
	struct fake_agent *agent = *state;

	for (size_t i = 0; i < array_size(sizes); i++) {
		uint8_t header[FRAME_HEADER];
		struct frame frame = { MESSAGE_NOTIFICATION, sizes[i], 0 };
		fake_negotiate(agent);
		frame_encode(&frame, header);
		assert_int_equal(send(agent->fd, header, sizeof(header), 0), sizeof(header));
		fake_spin(agent);
		assert_false(agent->bridge.connected);
	}
	/* Before there is a session, answers are as small as Microsoft's. */
	uint8_t header[FRAME_HEADER];
	struct frame frame = { MESSAGE_NOTIFICATION, FRAME_PLAIN_MAX + 1, 0 };
	fake_connect(agent);
	frame_encode(&frame, header);
	assert_int_equal(send(agent->fd, header, sizeof(header), 0), sizeof(header));
	fake_spin(agent);
	assert_false(agent->bridge.connected);
}

static void test_comes_back(void **state)
{
	struct fake_agent *agent = *state;
	struct question question, next;
	struct fault fault = FAULT_NULL;
	char session[HV_GUID_TEXT];

	fake_negotiate(agent);
	snprintf(session, sizeof(session), "%s", agent->session);
	assert_int_equal(ask(agent, &question, &fault), 0);
	uint64_t id = fake_expect(agent, MESSAGE_EXECUTE_PROCESS);
	uint64_t stream = bridge_stream_ids(&agent->bridge, 3);
	close_fd(&agent->fd);
	fake_spin(agent);
	assert_int_equal(agent->lost, 1);
	assert_int_equal(question.answers, 1);
	assert_string_equal(question.fault.text, "the agent closed the connection");

	/* A new session, and no number is used again. */
	fake_negotiate(agent);
	assert_string_not_equal(session, agent->session);
	assert_int_equal(agent->ready, 2);
	assert_int_equal(ask(agent, &next, &fault), 0);
	assert_true(fake_expect(agent, MESSAGE_EXECUTE_PROCESS) > id);
	fake_answer(agent, MESSAGE_EXECUTE_PROCESS, agent->frame.id, "{\"Result\":0}");
	assert_int_equal(next.answers, 1);
	assert_true(bridge_stream_ids(&agent->bridge, 3) >= stream + 3);

	agent->bridge.gone = "the agent was killed by signal 9";
	assert_int_equal(ask(agent, &question, &fault), -ENOTCONN);
	assert_non_null(strstr(fault.text, "was killed by signal 9"));
}

/* Two agents: the real one, known by its pid, and somebody who found the socket. */
static void test_admits_the_agent_only(void **state)
{
	struct fake_agent *agent = *state;
	char directory[] = "/tmp/test-bridge-XXXXXX";
	struct hv_endpoint endpoint = {
		.scheme = HV_SCHEME_HYBRID, .port = 0x40000000, .has_port = true,
	};
	struct fault fault = FAULT_NULL;
	bool pending;
	char byte;

	assert_non_null(mkdtemp(directory));
	snprintf(endpoint.path, sizeof(endpoint.path), "%s/vm", directory);
	assert_int_equal(bridge_listen(&agent->bridge, &endpoint, NULL, &fault), 0);
	agent->bridge.peer_pid = 1;
	int fd = hv_connect(&endpoint, NULL, true, &pending);
	assert_true(fd >= 0);
	fake_spin(agent);
	assert_false(agent->bridge.connected);
	close(fd);
	agent->bridge.peer_pid = getpid();
	agent->fd = hv_connect(&endpoint, NULL, true, &pending);
	fake_expect(agent, MESSAGE_NEGOTIATE_PROTOCOL);
	assert_true(agent->bridge.connected);
	/* Anybody in the VM can dial: the second is turned away, and does not wait. */
	fd = hv_connect(&endpoint, NULL, true, &pending);
	fake_spin(agent);
	assert_int_equal(read(fd, &byte, 1), 0);
	assert_true(agent->bridge.connected);
	assert_int_equal(agent->bridge.listener.refused, 1);
	close(fd);
	/* One that comes with the end of the first is the agent's next. */
	fd = hv_connect(&endpoint, NULL, true, &pending);
	close(agent->fd);
	agent->fd = fd;
	fake_expect(agent, MESSAGE_NEGOTIATE_PROTOCOL);
	/* Given up, the name is the next one's, and stays when we end. */
	bridge_close_socket(&agent->bridge);
	assert_int_equal(rmdir(directory), 0);
	assert_int_equal(mkdir(directory, 0700), 0);
	struct hv_listener next;
	assert_int_equal(hv_listen(&next, &endpoint, NULL, NULL), 0);
	bridge_deinit(&agent->bridge);
	assert_int_equal(rmdir(directory), -1);
	hv_listener_close(&next);
	assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_negotiates, setup, teardown),
		cmocka_unit_test_setup_teardown(test_knows_the_agent_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answer_that_does_not_decode, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answered_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abandoned, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_abandoned, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notifications, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_admits_the_agent_only, setup, teardown),
	};

	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
