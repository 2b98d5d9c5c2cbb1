/* SPDX-License-Identifier: Apache-2.0 */

/* QEMU's monitor, played by hand at the other end of a socketpair; and disks, which are its user. */

#include "oci/log.h"
#include "shim/disk.h"
#include "shim/qmp.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

struct fixture {
	struct loop loop;
	struct qmp qmp;
	struct disks disks;
	struct timer limit;
	int server;
	unsigned events, lost, answers, failures;
	char event[64], reason[64], text[FAULT_TEXT];
};

static struct fixture *current;

static void on_event(struct qmp *qmp, const char *name, const struct json *data)
{
	(void)qmp;
	current->events++;
	snprintf(current->event, sizeof(current->event), "%s", name);
	snprintf(current->reason, sizeof(current->reason), "%s", qmp_text(data, "reason"));
	if (!strcmp(name, "DEVICE_DELETED"))
		disk_gone(&current->disks, qmp_text(data, "device"));
}

static void on_lost(struct qmp *qmp)
{
	(void)qmp;
	current->lost++;
}

static const struct qmp_ops ops = { .event = on_event, .lost = on_lost };

static void on_answer(struct qmp_call *call, const struct json *value, const struct fault *fault)
{
	(void)call;
	current->answers++;
	current->failures += fault != NULL;
	snprintf(current->text, sizeof(current->text), "%s",
	         fault ? fault->text : qmp_text(value, "status"));
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	int pair[2];

	*fixture = (struct fixture){ .loop = LOOP_NULL, .qmp = QMP_NULL };
	fixture->disks.qmp = &fixture->qmp;
	assert_int_equal(loop_init(&fixture->loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fixture->server = pair[1];
	assert_int_equal(qmp_init(&fixture->qmp, &fixture->loop, pair[0], &ops), 0);
	*state = current = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	qmp_deinit(&fixture->qmp);
	disks_deinit(&fixture->disks);
	loop_deinit(&fixture->loop);
	close_fd(&fixture->server);
	free(fixture);
	return 0;
}

/* QEMU says it; everything that is there is read. */
static void say(struct fixture *fixture, const char *text)
{
	assert_int_equal(send(fixture->server, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	qmp_drain(&fixture->qmp);
}

/* The next line that QEMU gets, and the descriptor that came with it. */
static const char *hear(struct fixture *fixture, int *ret_fd)
{
	static char line[2048];
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	size_t length = 0;

	*ret_fd = -1;
	while (length < sizeof(line) - 1) {
		struct iovec bytes = { line + length, 1 };
		struct msghdr message = {
			.msg_iov = &bytes, .msg_iovlen = 1,
			.msg_control = control.space, .msg_controllen = sizeof(control.space),
		};
		if (recvmsg(fixture->server, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1)
			break;
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		if (header)
			memcpy(ret_fd, CMSG_DATA(header), sizeof(int));
		if (line[length++] == '\n')
			break;
	}
	line[length ? length - 1 : 0] = '\0';
	return line;
}

static void expect(struct fixture *fixture, const char *line)
{
	int fd;

	assert_string_equal(hear(fixture, &fd), line);
	close_fd(&fd);
}

static void greet(struct fixture *fixture)
{
	expect(fixture, "{\"execute\":\"qmp_capabilities\",\"id\":1}");
	say(fixture, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"
	             "{\"return\": {}, \"id\": 1}\r\n");
}

static void test_commands(void **state)
{
	struct fixture *fixture = *state;
	struct qmp_call a, b;
	struct fault fault = FAULT_NULL;

	/* Before QEMU has said a word. */
	assert_int_equal(qmp_send(&fixture->qmp, &a, "query-status", NULL, -1, on_answer, &fault),
	                 0);
	greet(fixture);
	expect(fixture, "{\"execute\":\"query-status\",\"id\":2}");
	assert_int_equal(qmp_send(&fixture->qmp, &b, "stop", "{\"x\":1}", -1, on_answer, &fault), 0);
	expect(fixture, "{\"execute\":\"stop\",\"id\":3,\"arguments\":{\"x\":1}}");
	/* In any order, in pieces. */
	say(fixture, "{\"return\": {}, \"id\": 4}\r\n{\"error\": {\"class\": \"GenericError\", "
	             "\"desc\": \"no\"}, \"id\": 3}\r\n{\"return\": {\"sta");
	assert_int_equal(fixture->answers, 1);
	assert_string_equal(fixture->text, "QEMU: stop: no");
	say(fixture, "tus\": \"running\"}, \"id\": 2}\r\n");
	assert_int_equal(fixture->answers, 2);
	assert_int_equal(fixture->failures, 1);
	assert_string_equal(fixture->text, "running");
	/* Nobody waits for these. */
	say(fixture, "{\"return\": {}, \"id\": 99}\n{\"error\": {\"desc\": \"x\"}}\n{}\n\n");
	assert_int_equal(fixture->lost, 0);
}

static void test_events(void **state)
{
	struct fixture *fixture = *state;

	greet(fixture);
	say(fixture, "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": "
	             "\"guest-reset\"}, \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}\n");
	assert_string_equal(fixture->event, "SHUTDOWN");
	assert_string_equal(fixture->reason, "guest-reset");
	say(fixture, "{\"event\": \"STOP\"}\n");
	assert_string_equal(fixture->event, "STOP");
	assert_string_equal(fixture->reason, "");
	assert_int_equal(fixture->events, 2);
}

static void test_end(void **state)
{
	struct fixture *fixture = *state;
	struct qmp_call call, late;
	struct fault fault = FAULT_NULL;

	greet(fixture);
	assert_int_equal(qmp_send(&fixture->qmp, &call, "stop", NULL, -1, on_answer, &fault), 0);
	/* What was said before the end counts. */
	say(fixture, "{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"host-signal\"}}\n");
	close_fd(&fixture->server);
	qmp_drain(&fixture->qmp);
	assert_int_equal(fixture->lost, 1);
	assert_int_equal(fixture->failures, 1);
	assert_string_equal(fixture->text, "QEMU: stop: it has ended");
	assert_int_equal(qmp_send(&fixture->qmp, &late, "stop", NULL, -1, on_answer, &fault),
	                 -EPIPE);
}

static void test_nonsense(void **state)
{
	static const char *const lines[] = {
		"{\"return\": {}, \"id\": 1\n", "hello\n", "{\"event\": \"\\u0000\"}\n", "]\n",
	};

	teardown(state);
	for (size_t i = 0; i < array_size(lines); i++) {
		setup(state);
		say(*state, lines[i]);
		assert_int_equal(current->lost, 1);
		if (i + 1 < array_size(lines))
			teardown(state);
	}
}

/* A line without an end does not take all memory. */
static void test_flood(void **state)
{
	struct fixture *fixture = *state;
	char text[4096];

	memset(text, 'x', sizeof(text));
	for (int i = 0; i < 300 && !fixture->lost; i++) {
		(void)!send(fixture->server, text, sizeof(text), MSG_NOSIGNAL | MSG_DONTWAIT);
		qmp_drain(&fixture->qmp);
	}
	assert_int_equal(fixture->lost, 1);
}

/* Disks */

static void on_disk(struct partition_call *call, const struct fault *fault)
{
	(void)call;
	current->answers++;
	current->failures += fault != NULL;
	snprintf(current->text, sizeof(current->text), "%s", fault ? fault->text : "");
}

static void answer(struct fixture *fixture, unsigned id, const char *error)
{
	char text[200];

	if (error)
		snprintf(text, sizeof(text), "{\"id\":%u,\"error\":{\"desc\":\"%s\"}}\n", id, error);
	else
		snprintf(text, sizeof(text), "{\"id\":%u,\"return\":{}}\n", id);
	say(fixture, text);
}

#define ADD "{\"execute\":\"add-fd\",\"id\":%u,\"arguments\":{\"fdset-id\":%u}}"
#define NODE \
	"{\"execute\":\"blockdev-add\",\"id\":%u,\"arguments\":{\"node-name\":\"disk%u\"," \
	"\"driver\":\"raw\",\"read-only\":true,\"discard\":\"unmap\",\"file\":{\"driver\":" \
	"\"file\",\"read-only\":true,\"discard\":\"unmap\",\"filename\":\"/dev/fdset/%u\"}}}"
#define DEVICE \
	"{\"execute\":\"device_add\",\"id\":%u,\"arguments\":{\"driver\":\"scsi-hd\",\"id\":" \
	"\"disk%u\",\"bus\":\"scsi0.0\",\"channel\":0,\"scsi-id\":0,\"lun\":%u,\"drive\":\"disk%u\"}}"
#define UNPLUG "{\"execute\":\"device_del\",\"id\":%u,\"arguments\":{\"id\":\"disk%u\"}}"
#define UNNODE "{\"execute\":\"blockdev-del\",\"id\":%u,\"arguments\":{\"node-name\":\"disk%u\"}}"
#define REMOVE "{\"execute\":\"remove-fd\",\"id\":%u,\"arguments\":{\"fdset-id\":%u}}"

static void expect_step(struct fixture *fixture, const char *format, unsigned id, unsigned lun)
{
	char line[1024];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(line, sizeof(line), format, id, lun, lun, lun);
#pragma GCC diagnostic pop
	expect(fixture, line);
}

static void attach(struct fixture *fixture, struct partition_call *call, unsigned id, unsigned lun)
{
	struct fault fault = FAULT_NULL;
	cleanup_close int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	char line[256];
	int fd;

	assert_int_equal(disk_attach(&fixture->disks, file, true, call, &fault), 0);
	assert_int_equal(call->lun, lun);
	snprintf(line, sizeof(line), ADD, id, lun);
	assert_string_equal(hear(fixture, &fd), line);
	assert_true(fd >= 0);
	close_fd(&fd);
	answer(fixture, id, NULL);
	expect_step(fixture, NODE, id + 1, lun);
	answer(fixture, id + 1, NULL);
	expect_step(fixture, DEVICE, id + 2, lun);
}

static void test_disks(void **state)
{
	struct fixture *fixture = *state;
	static struct partition_call a = { .answer = on_disk }, b = { .answer = on_disk };
	struct fault fault = FAULT_NULL;

	greet(fixture);
	attach(fixture, &a, 2, 0);
	/* Not yet there. */
	assert_int_equal(disk_detach(&fixture->disks, 0, &b, &fault), -ENOENT);
	answer(fixture, 4, NULL);
	assert_int_equal(fixture->answers, 1);
	assert_int_equal(fixture->failures, 0);
	attach(fixture, &b, 5, 1);
	answer(fixture, 7, NULL);
	assert_int_equal(disk_detach(&fixture->disks, 0, &a, &fault), 0);
	expect_step(fixture, UNPLUG, 8, 0);
	/* The event may come first, and of others. */
	say(fixture, "{\"event\":\"DEVICE_DELETED\",\"data\":{\"device\":\"disk1\"}}\n");
	say(fixture, "{\"event\":\"DEVICE_DELETED\",\"data\":{\"device\":\"disk0\"}}\n");
	answer(fixture, 8, NULL);
	expect_step(fixture, UNNODE, 9, 0);
	answer(fixture, 9, NULL);
	expect_step(fixture, REMOVE, 10, 0);
	answer(fixture, 10, NULL);
	assert_int_equal(fixture->answers, 3);
	assert_int_equal(fixture->failures, 0);
	/* Its number is not used again so soon. */
	attach(fixture, &a, 11, 2);
	answer(fixture, 13, NULL);
	assert_int_equal(fixture->answers, 4);
	assert_int_equal(disk_detach(&fixture->disks, 1, &b, &fault), 0);
	expect_step(fixture, UNPLUG, 14, 1);
	answer(fixture, 14, NULL);
	expect(fixture, "");
	say(fixture, "{\"event\":\"DEVICE_DELETED\",\"data\":{\"device\":\"disk1\"}}\n");
	expect_step(fixture, UNNODE, 15, 1);
}

static void test_disk_failures(void **state)
{
	struct fixture *fixture = *state;
	struct partition_call call = { .answer = on_disk };
	struct fault fault = FAULT_NULL;

	greet(fixture);
	/* What was done is undone. */
	attach(fixture, &call, 2, 0);
	answer(fixture, 4, "no such bus");
	expect_step(fixture, UNNODE, 5, 0);
	answer(fixture, 5, NULL);
	expect_step(fixture, REMOVE, 6, 0);
	assert_int_equal(fixture->answers, 0);
	answer(fixture, 6, NULL);
	assert_int_equal(fixture->failures, 1);
	assert_string_equal(fixture->text, "QEMU: device_add: no such bus");
	/* One that stays can be detached again. */
	attach(fixture, &call, 7, 1);
	answer(fixture, 9, NULL);
	assert_int_equal(disk_detach(&fixture->disks, 1, &call, &fault), 0);
	expect_step(fixture, UNPLUG, 10, 1);
	answer(fixture, 10, "busy");
	assert_int_equal(fixture->failures, 2);
	assert_int_equal(disk_detach(&fixture->disks, 1, &call, &fault), 0);
	expect_step(fixture, UNPLUG, 11, 1);
	/* QEMU ends: answered once, and nothing of it stays. */
	close_fd(&fixture->server);
	qmp_drain(&fixture->qmp);
	assert_int_equal(fixture->failures, 3);
	assert_string_equal(fixture->text, "QEMU: device_del: it has ended");
	/* Who asks then is told at once, and not by an answer. */
	assert_int_equal(disk_attach(&fixture->disks, STDIN_FILENO, true, &call, &fault), -EPIPE);
	assert_int_equal(fixture->failures, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_events, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nonsense, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flood, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disk_failures, setup, teardown),
	};
	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
