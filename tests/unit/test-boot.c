/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What of an agent's start in a VM can be tried outside one: lists of modules and their
 * compression, entropy, and that an agent without a VM of its own refuses what only such a one may
 * do.
 */

#include "agent-host.h"
#include "agent/boot.h"
#include "agent/clock.h"
#include "agent/lz4.h"
#include "agent/modules.h"

static void test_wanted(void **state)
{
	(void)state;
	/* Not process 1 here, whatever the name. */
	assert_false(boot_wanted("/init"));
	assert_false(boot_wanted(NULL));
	assert_false(booted());
	assert_int_equal(boot_finish(NULL), 0);
	assert_int_equal(boot_cgroup_fd(), -1);
	/* Anybody who may send a signal. */
	assert_true(boot_obeys(0));
	assert_true(boot_obeys(getpid()));
}

static void test_list(void **state)
{
	(void)state;
	char text[] = "\n# first\nkernel/a/a.ko\n  kernel/b-c.ko.lz4 \r\n\n\t\n#x\nlast.ko";
	char *rest = text;
	assert_string_equal(modules_next(&rest), "kernel/a/a.ko");
	assert_string_equal(modules_next(&rest), "kernel/b-c.ko.lz4");
	assert_string_equal(modules_next(&rest), "last.ko");
	assert_null(modules_next(&rest));
	assert_null(modules_next(&rest));
}

static void test_names(void **state)
{
	static const struct {
		const char *path, *name; /* NULL: refused */
	} cases[] = {
		{ "kernel/drivers/char/virtio-rng.ko", "virtio_rng" },
		{ "vsock.ko", "vsock" },
		{ "a/b-c-d.ko.lz4", "b_c_d" },
		{ "a/..b/c.ko", "c" },
		{ "", NULL },
		{ "a/", NULL },
		{ "/a.ko", NULL },
		{ "../a.ko", NULL },
		{ "a/../b.ko", NULL },
		{ ".ko", NULL },
		{ "a.k", NULL },
		{ "a.ko.xz", NULL },
		{ "a123456789012345678901234567890123456789012345678901234.ko",
		  "a123456789012345678901234567890123456789012345678901234" },
		{ "a1234567890123456789012345678901234567890123456789012345.ko", NULL },
	};
	char name[MODULE_NAME];
	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		int r = modules_name(cases[i].path, name);
		assert_int_equal(r, cases[i].name ? 0 : -EINVAL);
		if (!r)
			assert_string_equal(name, cases[i].name);
	}
}

static void test_entropy(void **state)
{
	static const struct {
		const char *text;
		int count;
		uint8_t bytes[4];
	} cases[] = {
		{ "", 0, { 0 } },
		{ "00", 1, { 0 } },
		{ "00ffA7a7", 4, { 0, 255, 0xa7, 0xa7 } },
		{ "0", -EINVAL, { 0 } },
		{ "00f", -EINVAL, { 0 } },
		{ "0g", -EINVAL, { 0 } },
		{ "0x00", -EINVAL, { 0 } },
		{ "\xff\xff", -EINVAL, { 0 } },
	};
	uint8_t bytes[ENTROPY_MAX];
	char text[2 * ENTROPY_MAX + 3];
	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		assert_int_equal(entropy_decode(cases[i].text, bytes), cases[i].count);
		if (cases[i].count > 0)
			assert_memory_equal(bytes, cases[i].bytes, cases[i].count);
	}
	memset(text, '5', sizeof(text));
	text[2 * ENTROPY_MAX] = '\0';
	assert_int_equal(entropy_decode(text, bytes), ENTROPY_MAX);
	text[2 * ENTROPY_MAX] = '5';
	text[2 * ENTROPY_MAX + 2] = '\0';
	assert_int_equal(entropy_decode(text, bytes), -EINVAL);
}

#define MAGIC "\x02\x21\x4c\x18"

static const struct {
	const char *bytes;
	size_t size;
	ssize_t result;
	const char *text;
} packed[] = {
	{ MAGIC, 4, 0, "" },
	/* Literals only; the same behind another block. */
	{ MAGIC "\x04\0\0\0\x30" "abc", 12, 3, "abc" },
	{ MAGIC "\x04\0\0\0\x30" "abc\x02\0\0\0\x10z", 18, 4, "abcz" },
	/* "ab", ten bytes from two back, "!". */
	{ MAGIC "\x07\0\0\0\x26" "ab\x02\0\x10!", 15, 13, "abababababab!" },
	/* Lengths that go on: 15 + 2 literals, a match of 4 + 15 + 1. */
	{ MAGIC "\x18\0\0\0\xff\x02" "0123456789abcdefg\x11\0\x01\x10!", 32, 38,
	  "0123456789abcdefg0123456789abcdefg012!" },
	/* Cut off everywhere. */
	{ "\x02\x21\x4c", 3, -EBADMSG, NULL },
	{ "\x03\x21\x4c\x18", 4, -EBADMSG, NULL },
	{ MAGIC "\x04\0", 6, -EBADMSG, NULL },
	{ MAGIC "\x05\0\0\0\x30" "abc", 12, -EBADMSG, NULL },
	{ MAGIC "\x03\0\0\0\x30" "ab", 11, -EBADMSG, NULL },
	{ MAGIC "\x02\0\0\0\xf0\xff", 10, -EBADMSG, NULL },
	{ MAGIC "\x04\0\0\0\x26" "ab\x02", 12, -EBADMSG, NULL },
	{ MAGIC "\x05\0\0\0\x2f" "ab\x02\0", 13, -EBADMSG, NULL },
	/* Back to before the beginning, to nowhere, and to another block. */
	{ MAGIC "\x05\0\0\0\x26" "ab\x03\0", 13, -EBADMSG, NULL },
	{ MAGIC "\x05\0\0\0\x26" "ab\0\0", 13, -EBADMSG, NULL },
	{ MAGIC "\x04\0\0\0\x30" "abc\x05\0\0\0\x10z\x02\0\0", 21, -EBADMSG, NULL },
	/* More than there is room for. */
	{ MAGIC "\x08\0\0\0\x2f" "ab\x02\0\xff\xff\x01", 16, -EFBIG, NULL },
};

static void test_lz4(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(packed); i++) {
		uint8_t out[64];
		uint8_t *copy = memcpy(malloc(packed[i].size), packed[i].bytes, packed[i].size);
		assert_int_equal(lz4_decode(copy, packed[i].size, out, sizeof(out)), packed[i].result);
		if (packed[i].result > 0) {
			assert_memory_equal(out, packed[i].text, packed[i].result);
			assert_int_equal(lz4_decode(copy, packed[i].size, out,
			                            (size_t)packed[i].result - 1), -EFBIG);
		}
		free(copy);
	}
}

static void test_refusals(void **state)
{
	struct host host;
	(void)state;
	host_open(&host);
	/* Gifts that are not for us: taken without a word, and the clock stays. */
	uint64_t id = host_send(&host, MESSAGE_NEGOTIATE_PROTOCOL,
	                        "{\"MinimumVersion\":4,\"MaximumVersion\":4,\"Hvrun\":{\"Version\":1,"
	                        "\"Session\":\"6f1c3a52-93d1-4f0e-8a53-2f5f5f7ab0c4\","
	                        "\"Time\":1000000000000000000,\"Entropy\":\"nonsense\"}}");
	const char *answer = host_answer(&host, MESSAGE_NEGOTIATE_PROTOCOL, id);
	assert_success(answer);
	assert_non_null(strstr(answer, "\"vm-process\""));
	assert_null(strstr(answer, "\"clock\""));
	assert_null(strstr(answer, "\"kmsg\""));
	assert_null(strstr(answer, "\"power\""));
	assert_true(time(NULL) > 1000000000 + 3600);

	id = host_send(&host, MESSAGE_KERNEL_LOG,
	               "{\"ContainerId\":\"" NULL_CID "\",\"Streams\":{\"StdOut\":5,\"Window\":1}}");
	answer = host_answer(&host, MESSAGE_KERNEL_LOG, id);
	assert_failure(answer, HRESULT_NOT_IMPLEMENTED);
	assert_non_null(strstr(answer, "function not supported, header type: KernelLog"));
	id = host_send(&host, MESSAGE_CLOCK, "{\"ContainerId\":\"" NULL_CID "\",\"Time\":1}");
	assert_failure(host_answer(&host, MESSAGE_CLOCK, id), HRESULT_NOT_IMPLEMENTED);
	host_close(&host);
}

static void test_absence(void **state)
{
	struct host host;
	struct bridge *bridge = &host.agent.bridge;
	(void)state;
	host_open(&host);
	/* A connection is no host yet. */
	bridge_limit_absence(bridge, 30);
	assert_int_equal(loop_run(&host.agent.loop), 0);
	assert_false(bridge->negotiated);
	/* Nothing ends while there is one. */
	bridge_limit_absence(bridge, 30);
	host_negotiate(&host, true);
	host_idle(&host, 60);
	assert_true(bridge->negotiated);
	/* It goes, and comes back in time; then it stays away. */
	bridge_limit_absence(bridge, 500);
	host_reconnect(&host, true);
	host_hang_up(&host);
	while (bridge->negotiated)
		host_idle(&host, 1);
	timer_set(&host.patience, 5000);
	bridge_limit_absence(bridge, 30);
	assert_int_equal(loop_run(&host.agent.loop), 0);
	assert_false(host.impatient && bridge->negotiated);
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wanted),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_entropy),
		cmocka_unit_test(test_lz4),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_absence),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
