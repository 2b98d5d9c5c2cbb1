/* SPDX-License-Identifier: Apache-2.0 */

/* Options of the runtime: both types, and the TOML within one of them. */

#include "shim/containerd/runtime_options.h"

#include "shim/containerd/proto/runc.pb-c.h"
#include "shim/containerd/proto/runtimeoptions.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define ARENA_SIZE (4u << 20)

struct fixture {
	struct arena arena;
	struct fault fault;
	struct runtime_options options;
};

static int parse(struct fixture *fixture, const Google__Protobuf__Any *any)
{
	arena_free(&fixture->arena);
	*fixture = (struct fixture){ .arena = ARENA(ARENA_SIZE) };
	return runtime_options_parse(&fixture->options, any, &fixture->arena, &fixture->fault);
}

static int parse_message(struct fixture *fixture, const ProtobufCMessage *message)
{
	Google__Protobuf__Any any;
	assert_int_equal(any_pack(&any, message), 0);
	int r = parse(fixture, &any);
	any_deinit(&any);
	return r;
}

static int parse_toml(struct fixture *fixture, const char *path, const char *body)
{
	Runtimeoptions__V1__Options generic = RUNTIMEOPTIONS__V1__OPTIONS__INIT;
	generic.config_path = (char *)path;
	generic.config_body = (ProtobufCBinaryData){ strlen(body), (uint8_t *)body };
	return parse_message(fixture, &generic.base);
}

static void check_nothing(const struct runtime_options *options)
{
	assert_null(options->driver);
	assert_null(options->config);
	assert_null(options->root);
	assert_null(options->shim_cgroup);
	assert_false(options->debug);
}

static void test_none(void **state)
{
	struct fixture fixture = { .arena = ARENA(ARENA_SIZE) };
	uint8_t bytes[] = { 0xff };
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	Containerd__Runc__V1__Options runc = CONTAINERD__RUNC__V1__OPTIONS__INIT;

	(void)state;
	assert_int_equal(parse(&fixture, NULL), 0);
	check_nothing(&fixture.options);
	assert_int_equal(parse(&fixture, &any), 0);
	check_nothing(&fixture.options);
	/* Of another runtime: whatever is in them. */
	any.type_url = (char *)"containerd.runhcs.v1.Options";
	any.value = (ProtobufCBinaryData){ sizeof(bytes), bytes };
	assert_int_equal(parse(&fixture, &any), 0);
	check_nothing(&fixture.options);
	assert_int_equal(parse_message(&fixture, &runc.base), 0);
	check_nothing(&fixture.options);
	assert_int_equal(parse_toml(&fixture, "", ""), 0);
	check_nothing(&fixture.options);
	arena_free(&fixture.arena);
}

static void test_runc(void **state)
{
	/* root "/r", systemd_cgroup, and fields of a later version. */
	uint8_t bytes[] = { 0x3a, 2, '/', 'r', 0x48, 1, 0x62, 1, 'x', 0x68, 3 };
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	struct fixture fixture = { .arena = ARENA(ARENA_SIZE) };
	Containerd__Runc__V1__Options runc = CONTAINERD__RUNC__V1__OPTIONS__INIT;

	(void)state;
	runc.root = (char *)"/srv/state";
	runc.shim_cgroup = (char *)"/shims";
	runc.binary_name = (char *)"/usr/bin/crun";
	runc.systemd_cgroup = true;
	assert_int_equal(parse_message(&fixture, &runc.base), 0);
	assert_string_equal(fixture.options.root, "/srv/state");
	assert_string_equal(fixture.options.shim_cgroup, "/shims");
	assert_null(fixture.options.driver);
	any.type_url = (char *)"type.googleapis.com/containerd.runc.v1.Options";
	any.value = (ProtobufCBinaryData){ sizeof(bytes), bytes };
	assert_int_equal(parse(&fixture, &any), 0);
	assert_string_equal(fixture.options.root, "/r");
	any.value.len = 3;
	assert_int_equal(parse(&fixture, &any), -EINVAL);
	assert_string_equal(fixture.fault.text, "runtime options: type.googleapis.com/"
	                    "containerd.runc.v1.Options: cannot be decoded");
	runc.root = (char *)"state";
	assert_int_equal(parse_message(&fixture, &runc.base), -EINVAL);
	assert_string_equal(fixture.fault.text,
	                    "runtime options: root \"state\" is not an absolute path");
	arena_free(&fixture.arena);
}

static void test_generic(void **state)
{
	struct fixture fixture = { .arena = ARENA(ARENA_SIZE) };

	(void)state;
	assert_int_equal(parse_toml(&fixture, "/etc/c.json", ""), 0);
	assert_string_equal(fixture.options.config, "/etc/c.json");
	assert_null(fixture.options.driver);
	assert_int_equal(parse_toml(&fixture, "", "Partition = 'qemu'\nDebug = true\n"
	                            "Root = \"/r\"\nConfigPath = '/c'\nShimCgroup = '/s'\n"), 0);
	assert_string_equal(fixture.options.driver, "qemu");
	assert_string_equal(fixture.options.root, "/r");
	assert_string_equal(fixture.options.config, "/c");
	assert_string_equal(fixture.options.shim_cgroup, "/s");
	assert_true(fixture.options.debug);
	/* Case, emptiness, and what was copied from runc's table. */
	assert_int_equal(parse_toml(&fixture, "/c", "partition = 'attach=vsock://3'\nroot = ''\n"
	                            "SystemdCgroup = true\nBinaryName = ''\nIoUid = 0\n"
	                            "CriuPath = ''\nNoPivotRoot = false\nTypeUrl = ''\n"), 0);
	assert_string_equal(fixture.options.driver, "attach=vsock://3");
	assert_string_equal(fixture.options.config, "/c");
	assert_null(fixture.options.root);
	arena_free(&fixture.arena);
}

static void test_refused(void **state)
{
	static const struct { const char *text, *error; } rows[] = {
		{ "Partition = 'qemu", "line 1: Partition: a string must end on its line" },
		{ "\nPartitoin = 'qemu'", "line 2: Partitoin: unknown option" },
		{ "[qemu]\nmemory = 3", "line 2: qemu.memory: unknown option" },
		{ "Partition = true", "line 1: Partition: must be a string" },
		{ "Partition = ['qemu']", "line 1: Partition: must be a string" },
		{ "Debug = 'yes'", "line 1: Debug: must be true or false" },
		{ "IoUid = 'root'", "line 1: IoUid: must be an integer" },
		{ "Partition = 'xen'", "unknown kind of partition \"xen\"" },
		{ "Root = 'r'", "root \"r\" is not an absolute path" },
		{ "ConfigPath = 'c'", "configuration \"c\" is not an absolute path" },
	};
	struct fixture fixture = { .arena = ARENA(ARENA_SIZE) };

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		char text[200];
		snprintf(text, sizeof(text), "runtime options: %s", rows[i].error);
		assert_int_equal(parse_toml(&fixture, "", rows[i].text), -EINVAL);
		assert_string_equal(fixture.fault.text, text);
	}
	arena_free(&fixture.arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_runc),
		cmocka_unit_test(test_generic),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
