/* SPDX-License-Identifier: Apache-2.0 */

/* What start reads and what it answers, byte for byte. */

#include "shim/containerd/bootstrap.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

/* id c1, namespace default, level DEBUG. */
#define PARAMS "\x0a\x02" "c1" "\x12\x07" "default" "\x18\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x01"
#define ADDRESS "unix:///run/containerd/s/ab"

static const struct shim_command command = {
	.action = "start", .namespace = "default", .id = "c1", .address = "/g", .bundle = "",
	.publish_binary = "/b", .ttrpc_address = "/t",
};

static void parse(struct bootstrap *ret, const struct shim_command *from, const char *data,
                  size_t size)
{
	struct fault fault = FAULT_NULL;
	assert_int_equal(bootstrap_parse(ret, data, size, from, &fault), 0);
}

static void test_nothing(void **state)
{
	struct bootstrap got;
	struct shim_command newer = command;

	(void)state;
	parse(&got, &command, "", 0);
	assert_int_equal(got.form, BOOTSTRAP_BARE);
	assert_int_equal(got.version, 2);
	assert_null(got.options);
	assert_string_equal(got.grpc_address, "/g");
	assert_string_equal(got.ttrpc_address, "/t");
	assert_string_equal(got.publish_binary, "/b");
	assert_string_equal(got.socket_directory, "");
	assert_false(got.debug);
	bootstrap_deinit(&got);
	newer.json = newer.debug = true;
	parse(&got, &newer, "", 0);
	assert_int_equal(got.form, BOOTSTRAP_JSON);
	assert_int_equal(got.version, 2);
	assert_true(got.debug);
	bootstrap_deinit(&got);
}

static void test_any(void **state)
{
	static const char options[] = "\x0a\x1a" "containerd.runc.v1.Options" "\x12\x03:\x01" "x";
	struct bootstrap got;

	(void)state;
	parse(&got, &command, options, sizeof(options) - 1);
	assert_int_equal(got.form, BOOTSTRAP_BARE);
	assert_non_null(got.options);
	assert_string_equal(got.options->type_url, "containerd.runc.v1.Options");
	assert_int_equal(got.options->value.len, 3);
	bootstrap_deinit(&got);
}

static void test_params(void **state)
{
	static const char level[] = PARAMS;
	static const char all[] = PARAMS "\x18\x04" "\x22\x01" "9" "\x2a\x02" "/T" "\x32\x02" "/G"
		"\x3a\x02" "/B" "\x42\x05\x0a\x03\x0a\x01" "x"
		"\x42\x1f\x0a\x1d\x0a\x19" "runtimeoptions.v1.Options" "\x12\x00" "\x4a\x02" "/s";
	struct bootstrap got;

	(void)state;
	parse(&got, &command, level, sizeof(level) - 1);
	assert_int_equal(got.form, BOOTSTRAP_MESSAGE);
	assert_int_equal(got.version, 3);
	assert_true(got.debug);
	assert_null(got.options);
	/* What it does not say is where it always was. */
	assert_string_equal(got.grpc_address, "/g");
	assert_string_equal(got.ttrpc_address, "/t");
	assert_string_equal(got.publish_binary, "/b");
	bootstrap_deinit(&got);

	parse(&got, &command, all, sizeof(all) - 1);
	assert_false(got.debug);
	assert_string_equal(got.grpc_address, "/G");
	assert_string_equal(got.ttrpc_address, "/T");
	assert_string_equal(got.publish_binary, "/B");
	assert_string_equal(got.socket_directory, "/s");
	assert_non_null(got.options);
	assert_string_equal(got.options->type_url, "runtimeoptions.v1.Options");
	bootstrap_deinit(&got);
}

/* Somebody else's parameters are an Any with a strange type. */
static void test_other_params(void **state)
{
	static const char other[] = PARAMS;
	struct shim_command command_ = command;
	struct bootstrap got;

	(void)state;
	command_.id = "c2";
	parse(&got, &command_, other, sizeof(other) - 1);
	assert_int_equal(got.form, BOOTSTRAP_BARE);
	assert_string_equal(got.options->type_url, "c1");
	bootstrap_deinit(&got);
}

static void test_refused(void **state)
{
	static const char *const bad[] = { "x", "{\"version\":2}", "\x0a\x7f" "c1" };
	struct bootstrap got;
	struct fault fault = FAULT_NULL;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		assert_int_equal(bootstrap_parse(&got, bad[i], strlen(bad[i]), &command, &fault),
		                 -EINVAL);
		assert_non_null(strstr(fault.text, "no message of containerd's"));
		bootstrap_deinit(&got);
	}
}

static void test_read(void **state)
{
	static const char level[] = PARAMS;
	struct bootstrap got;
	struct fault fault = FAULT_NULL;
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], level, sizeof(level) - 1), sizeof(level) - 1);
	close(fds[1]);
	assert_int_equal(bootstrap_read(&got, fds[0], &command, &fault), 0);
	assert_int_equal(got.form, BOOTSTRAP_MESSAGE);
	bootstrap_deinit(&got);
	close(fds[0]);

	cleanup_close int endless = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	assert_int_equal(bootstrap_read(&got, endless, &command, &fault), -EFBIG);
	assert_string_equal(fault.text, "standard input: more than 10485760 bytes");
	bootstrap_deinit(&got);
}

static void test_answers(void **state)
{
	static const struct {
		const char *bytes;
		size_t size;
	} want[] = {
		[BOOTSTRAP_BARE] = { ADDRESS, sizeof(ADDRESS) - 1 },
#define JSON "{\"version\":2,\"address\":\"" ADDRESS "\",\"protocol\":\"ttrpc\"}"
		[BOOTSTRAP_JSON] = { JSON, sizeof(JSON) - 1 },
#define MESSAGE "\x08\x03\x12\x1b" ADDRESS "\x1a\x05" "ttrpc"
		[BOOTSTRAP_MESSAGE] = { MESSAGE, sizeof(MESSAGE) - 1 },
	};

	(void)state;
	for (enum bootstrap_form form = BOOTSTRAP_BARE; form <= BOOTSTRAP_MESSAGE; form++) {
		struct buf out = BUF(1024);
		assert_int_equal(bootstrap_answer(form, ADDRESS, &out), 0);
		assert_int_equal(buf_length(&out), want[form].size);
		assert_memory_equal(buf_head(&out), want[form].bytes, want[form].size);
		buf_deinit(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_any),
		cmocka_unit_test(test_params),
		cmocka_unit_test(test_other_params),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_answers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
