/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Records of the kernel's log, and the stream made of them. A pipe in packet mode stands for
 * /dev/kmsg: each of its reads yields what one write has put in.
 */

#include "agent-host.h"

#include <fcntl.h>

#define STREAM 9

static const struct {
	const char *record, *line; /* NULL: no record */
} records[] = {
	{ "6,339,5140900,-;NET: Registered PF_VSOCK\n", "[    5.140900] NET: Registered PF_VSOCK\n" },
	{ "4,0,0,-;\n", "[    0.000000] \n" },
	{ "7,160,424069,-;pci_root PNP0A03:00: host bridge\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP\n",
	  "[    0.424069] pci_root PNP0A03:00: host bridge\n" },
	{ "14,1,99999000001,c,caller=T1;a;b, c", "[99999.000001] a;b, c\n" },
	{ "6,18446744073709551614,123456789012345678,-;\\x1b[31m\n",
	  "[123456789012.345678] \\x1b[31m\n" },
	{ "", NULL },
	{ "6", NULL },
	{ "6,1,2,-", NULL },
	{ "6,1,2;x", NULL },
	{ ",1,2,-;x", NULL },
	{ "6,,2,-;x", NULL },
	{ "-6,1,2,-;x", NULL },
	{ "6,1,18446744073709551616,-;x", NULL },
	{ "4294967296,1,2,-;x", NULL },
};

static void test_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(records); i++) {
		struct kmsg_record record;
		char line[KMSG_LINE];
		size_t size = strlen(records[i].record);
		/* A copy of that size, so that a sanitizer sees who reads on. */
		char *copy = memcpy(malloc(size + !size), records[i].record, size);
		int r = kmsg_parse(copy, size, &record);
		assert_int_equal(r, records[i].line ? 0 : -EINVAL);
		if (!r) {
			size_t length = kmsg_format(&record, line, sizeof(line));
			assert_int_equal(length, strlen(records[i].line));
			assert_memory_equal(line, records[i].line, length);
		}
		free(copy);
	}
}

static void test_long_record(void **state)
{
	(void)state;
	char text[KMSG_RECORD], line[KMSG_LINE + 1] = "";
	struct kmsg_record record;
	int start = snprintf(text, sizeof(text), "6,1,2000000,-;");
	memset(text + start, 'x', sizeof(text) - (size_t)start);
	assert_int_equal(kmsg_parse(text, sizeof(text), &record), 0);
	assert_int_equal(kmsg_format(&record, line, KMSG_LINE), KMSG_LINE);
	assert_int_equal(line[KMSG_LINE - 1], '\n');
	assert_int_equal(line[KMSG_LINE - 2], 'x');
	assert_int_equal(kmsg_format(&record, line, 64), 64);
	assert_memory_equal(line, "[    2.000000] xx", 17);
}

struct fixture {
	struct host host;
	int ends[2];
	char path[32];
};

static int setup(void **state)
{
	struct fixture *f = *state = calloc(1, sizeof(*f));
	assert_non_null(f);
	/* Before the host is, which counts what is open. */
	assert_int_equal(pipe2(f->ends, O_DIRECT | O_NONBLOCK | O_CLOEXEC), 0);
	snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->ends[0]);
	host_open(&f->host);
	host_negotiate(&f->host, true);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	host_close(&f->host);
	close_fd(&f->ends[0]);
	close_fd(&f->ends[1]);
	free(f);
	return 0;
}

static int start(struct fixture *f, uint64_t limit)
{
	struct agent *agent = &f->host.agent;
	return kmsg_start(&agent->kmsg, f->path, &agent->loop, &agent->bridge.channel, STREAM,
	                  limit);
}

static bool put(struct fixture *f, uint64_t sequence, const char *text)
{
	char record[512];
	int length = snprintf(record, sizeof(record), "6,%llu,1000000,-;%s\n",
	                      (unsigned long long)sequence, text);
	return write(f->ends[1], record, (size_t)length) == length;
}

/* What has come on the stream so far. */
static size_t received(struct fixture *f, char *text, size_t size)
{
	size_t length = 0;
	for (struct got *got = f->host.got; got; got = got->next) {
		if (got->frame.type != FRAME_DATA)
			continue;
		assert_int_equal(got->frame.id, STREAM);
		size_t n = got->frame.size - FRAME_HEADER;
		assert_true(length + n < size);
		memcpy(text + length, got->payload, n);
		length += n;
	}
	text[length] = '\0';
	return length;
}

static void expect(struct fixture *f, const char *text)
{
	static char got[1 << 20];
	host_idle(&f->host, 20);
	received(f, got, sizeof(got));
	assert_string_equal(got, text);
}

static void test_lines(void **state)
{
	struct fixture *f = *state;
	assert_true(put(f, 0, "one"));
	assert_true(put(f, 1, "two"));
	assert_int_equal(start(f, 65536), 0);
	expect(f, "[    1.000000] one\n[    1.000000] two\n");
	assert_true(put(f, 2, "three"));
	assert_true(put(f, 5, "six"));
	assert_int_equal(write(f->ends[1], "nonsense", 8), 8);
	expect(f, "[    1.000000] one\n[    1.000000] two\n[    1.000000] three\n"
	          "(2 messages lost)\n[    1.000000] six\n");
	/* One at a time. */
	assert_int_equal(start(f, 65536), -EBUSY);
	/* The end of the source is that of the stream. */
	assert_int_equal(dup3(f->ends[0], f->ends[1], O_CLOEXEC), f->ends[1]);
	assert_non_null(host_await(&f->host, FRAME_END, STREAM));
	assert_int_equal(f->host.agent.kmsg.kernel_fd, -1);
}

static void stop(struct host *host)
{
	uint8_t reason[4] = { 0 };
	host_send_frame(host, FRAME_STOP, STREAM, reason, sizeof(reason));
}

static void test_stop(void **state)
{
	struct fixture *f = *state;
	assert_true(put(f, 0, "one"));
	assert_int_equal(start(f, 65536), 0);
	expect(f, "[    1.000000] one\n");
	stop(&f->host);
	struct got *got = host_await(&f->host, FRAME_END, STREAM);
	assert_non_null(got);
	assert_int_equal(got->payload[8], END_STOPPED);
	/* And again, from where the ring stands. */
	assert_true(put(f, 7, "eight"));
	assert_int_equal(start(f, 65536), 0);
	expect(f, "[    1.000000] one\n(7 messages lost)\n[    1.000000] eight\n");
}

/* A host that does not read leaves the records where they are; nothing is torn or out of order. */
static void test_stalled(void **state)
{
	struct fixture *f = *state;
	static char got[1 << 20], want[1 << 20];
	char text[401];
	uint64_t sequence = 0, limit = 100;
	uint8_t window[8];
	size_t length = 0;
	assert_int_equal(start(f, 100), 0);
	memset(text, 'y', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	/* Until neither pipe takes more. */
	for (int quiet = 0; quiet < 3; quiet++) {
		while (put(f, sequence, text)) {
			length += (size_t)sprintf(want + length, "[    1.000000] %s\n", text);
			sequence++;
			quiet = 0;
		}
		host_idle(&f->host, 10);
	}
	assert_true(sequence > 100);
	assert_int_equal(received(f, got, sizeof(got)), 100);
	while (limit < length) {
		limit += 50000;
		frame_put_u64(window, limit);
		host_send_frame(&f->host, FRAME_WINDOW, STREAM, window, sizeof(window));
		host_idle(&f->host, 10);
		assert_int_equal(received(f, got, sizeof(got)), min_size(length, limit));
	}
	assert_string_equal(got, want);
}

static void test_lost_connection(void **state)
{
	struct fixture *f = *state;
	assert_true(put(f, 0, "one"));
	assert_int_equal(start(f, 65536), 0);
	expect(f, "[    1.000000] one\n");
	host_reconnect(&f->host, true);
	assert_int_equal(f->host.agent.kmsg.kernel_fd, -1);
	assert_int_equal(start(f, 65536), 0);
}

static void test_refused(void **state)
{
	struct fixture *f = *state;
	struct agent *agent = &f->host.agent;
	assert_int_equal(kmsg_start(&agent->kmsg, "/nowhere", &agent->loop, &agent->bridge.channel,
	                            STREAM, 1), -ENOENT);
	assert_int_equal(kmsg_start(&agent->kmsg, f->path, &agent->loop, &agent->bridge.channel, 0,
	                            1), -EINVAL);
	assert_int_equal(agent->kmsg.kernel_fd, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_long_record),
		cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stalled, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
