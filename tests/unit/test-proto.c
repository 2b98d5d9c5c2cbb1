/* SPDX-License-Identifier: Apache-2.0 */

/* Messages against bytes of containerd's own; Any; and strings on their way out. */

#include "shim/containerd/any.h"
#include "shim/containerd/pack.h"
#include "shim/containerd/proto/bootstrap.pb-c.h"
#include "shim/containerd/proto/events.pb-c.h"
#include "shim/containerd/proto/metrics_v1.pb-c.h"
#include "shim/containerd/proto/metrics_v2.pb-c.h"
#include "shim/containerd/proto/sandbox.pb-c.h"
#include "shim/containerd/proto/task.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void assert_packs(const ProtobufCMessage *message, const char *bytes, size_t size)
{
	ProtobufCBinaryData packed;

	assert_int_equal(pack_message(&packed, message), 0);
	assert_int_equal(packed.len, size);
	if (size)
		assert_memory_equal(packed.data, bytes, size);
	free(packed.data);
}

#define assert_bytes(message, bytes) assert_packs(&(message)->base, bytes, sizeof(bytes) - 1)

static void test_bootstrap(void **state)
{
	(void)state;
	static const char bytes[] = "\x0a\x02\x63\x31\x12\x07\x64\x65\x66\x61\x75\x6c\x74"
	                            "\x18\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x01";
	Containerd__Runtime__Bootstrap__V1__BootstrapParams *params =
		containerd__runtime__bootstrap__v1__bootstrap_params__unpack(
			NULL, sizeof(bytes) - 1, (const uint8_t *)bytes);

	assert_non_null(params);
	assert_string_equal(params->instance_id, "c1");
	assert_string_equal(params->namespace_, "default");
	assert_true(params->log_level == CONTAINERD__RUNTIME__BOOTSTRAP__V1__LOG_LEVEL__DEBUG);
	assert_int_equal(params->n_extensions, 0);
	assert_string_equal(params->socket_dir, "");
	assert_int_equal(sizeof(bytes) - 1, 24);
	assert_bytes(params, bytes);
	containerd__runtime__bootstrap__v1__bootstrap_params__free_unpacked(params, NULL);

	Containerd__Runtime__Bootstrap__V1__BootstrapResult result =
		CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_RESULT__INIT;
	char address[] = "unix:///run/containerd/s/ab", protocol[] = "ttrpc";
	result.version = 3;
	result.address = address;
	result.protocol = protocol;
	assert_bytes(&result, "\x08\x03\x12\x1b\x75\x6e\x69\x78\x3a\x2f\x2f\x2f\x72\x75\x6e\x2f"
	                      "\x63\x6f\x6e\x74\x61\x69\x6e\x65\x72\x64\x2f\x73\x2f\x61\x62"
	                      "\x1a\x05\x74\x74\x72\x70\x63");
}

static void test_delete_response(void **state)
{
	(void)state;
	Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	Containerd__Task__V2__DeleteResponse response = CONTAINERD__TASK__V2__DELETE_RESPONSE__INIT;

	time.seconds = 1700000000;
	time.nanos = 5;
	response.exit_status = 137;
	response.exited_at = &time;
	assert_bytes(&response, "\x10\x89\x01\x1a\x08\x08\x80\xe2\xcf\xaa\x06\x10\x05");
}

/* The fields where a number of ours could be wrong unnoticed: each has a value of its own. */
static void test_numbers(void **state)
{
	(void)state;
	Io__Containerd__Cgroups__V2__MemoryEvents events =
		IO__CONTAINERD__CGROUPS__V2__MEMORY_EVENTS__INIT;
	Io__Containerd__Cgroups__V2__Metrics v2 = IO__CONTAINERD__CGROUPS__V2__METRICS__INIT;
	events.oom_kill = 3;
	events.oom_group_kill = 4;
	v2.memory_events = &events;
	assert_bytes(&v2, "\x42\x04\x28\x03\x30\x04");
	assert_string_equal(v2.base.descriptor->name, "io.containerd.cgroups.v2.Metrics");

	Io__Containerd__Cgroups__V1__MemoryEntry usage =
		IO__CONTAINERD__CGROUPS__V1__MEMORY_ENTRY__INIT;
	Io__Containerd__Cgroups__V1__MemoryStat memory =
		IO__CONTAINERD__CGROUPS__V1__MEMORY_STAT__INIT;
	Io__Containerd__Cgroups__V1__Metrics v1 = IO__CONTAINERD__CGROUPS__V1__METRICS__INIT;
	usage.usage = 1;
	memory.total_inactive_file = 2;
	memory.total_unevictable = 3;
	memory.usage = &usage;
	v1.memory = &memory;
	/* 30, 32 and 33 need two bytes each. */
	assert_bytes(&v1, "\x22\x0b\xf0\x01\x02\x80\x02\x03\x8a\x02\x02\x10\x01");

	Containerd__Runtime__Sandbox__V1__SandboxStatusResponse status =
		CONTAINERD__RUNTIME__SANDBOX__V1__SANDBOX_STATUS_RESPONSE__INIT;
	Containerd__Runtime__Sandbox__V1__SandboxStatusResponse__InfoEntry entry =
		CONTAINERD__RUNTIME__SANDBOX__V1__SANDBOX_STATUS_RESPONSE__INFO_ENTRY__INIT;
	Containerd__Runtime__Sandbox__V1__SandboxStatusResponse__InfoEntry *info[] = { &entry };
	char ready[] = "R", key[] = "k", value[] = "v";
	entry.key = key;
	entry.value = value;
	status.state = ready;
	status.info = info;
	status.n_info = 1;
	assert_bytes(&status, "\x1a\x01R\x22\x06\x0a\x01k\x12\x01v");

	Containerd__Task__V2__StateResponse zero = CONTAINERD__TASK__V2__STATE_RESPONSE__INIT;
	Google__Protobuf__Timestamp never = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	char exec[] = "e";
	never.seconds = -62135596800;
	zero.status = CONTAINERD__TASK__V2__STATUS__PAUSED;
	zero.exited_at = &never;
	zero.exec_id = exec;
	assert_bytes(&zero, "\x20\x04\x52\x0b\x08\x80\x92\xb8\xc3\x98\xfe\xff\xff\xff\x01\x5a\x01"
	                    "e");
}

static void test_any_is(void **state)
{
	(void)state;
	static const struct {
		const char *url, *type;
		bool is;
	} cases[] = {
		{ "containerd.runc.v1.Options", "containerd.runc.v1.Options", true },
		{ "type.googleapis.com/containerd.runc.v1.Options", "containerd.runc.v1.Options",
		  true },
		{ "/containerd.runc.v1.Options", "containerd.runc.v1.Options", true },
		{ "a/b/containerd.runc.v1.Options", "containerd.runc.v1.Options", true },
		{ "xcontainerd.runc.v1.Options", "containerd.runc.v1.Options", false },
		{ "containerd.runc.v1.Options/", "containerd.runc.v1.Options", false },
		{ "containerd.runc.v1.Option", "containerd.runc.v1.Options", false },
		{ "Options", "containerd.runc.v1.Options", false },
		{ "", "containerd.runc.v1.Options", false },
		{ "types.containerd.io/opencontainers/runtime-spec/1/Process",
		  "types.containerd.io/opencontainers/runtime-spec/1/Process", true },
		{ "x.org/types.containerd.io/opencontainers/runtime-spec/1/Process",
		  "types.containerd.io/opencontainers/runtime-spec/1/Process", true },
		{ "opencontainers/runtime-spec/1/Process",
		  "types.containerd.io/opencontainers/runtime-spec/1/Process", false },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
		any.type_url = (char *)(uintptr_t)cases[i].url;
		if (any_is(&any, cases[i].type) != cases[i].is)
			fail_msg("%s is%s %s", cases[i].url, cases[i].is ? "" : " no",
			         cases[i].type);
	}
	assert_false(any_is(NULL, "x"));
}

static void test_any_pack(void **state)
{
	(void)state;
	Containerd__Events__TaskOOM oom = CONTAINERD__EVENTS__TASK_OOM__INIT;
	Google__Protobuf__Any any;
	char id[] = "c\xff" "1";

	oom.container_id = id;
	assert_int_equal(any_pack(&any, &oom.base), 0);
	assert_string_equal(any.type_url, "containerd.events.TaskOOM");
	assert_int_equal(any.value.len, 5);
	assert_memory_equal(any.value.data, "\x0a\x03" "c?1", 5);
	assert_string_equal(id, "c\xff" "1");
	any_deinit(&any);
	assert_null(any.value.data);

	oom.container_id = NULL;
	assert_int_equal(any_pack(&any, &oom.base), 0);
	assert_string_equal(any.type_url, "containerd.events.TaskOOM");
	assert_int_equal(any.value.len, 0);
	any_deinit(&any);
}

static void test_strings(void **state)
{
	(void)state;
	char ok[] = "gr\xc3\xbc\xc3\x9f", cut[] = "\xe2\x82", overlong[] = "a\xc0\xaf",
	     surrogate[] = "\xed\xa0\x80z", type[] = "";
	char *options[] = { ok, cut, overlong };
	Containerd__Types__Mount mount = CONTAINERD__TYPES__MOUNT__INIT, *rootfs[] = { &mount };
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	Containerd__Task__V2__CreateTaskRequest request =
		CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;

	mount.options = options;
	mount.n_options = array_size(options);
	any.type_url = type;
	any.value = (ProtobufCBinaryData){ 2, (uint8_t *)surrogate };
	request.id = surrogate;
	request.rootfs = rootfs;
	request.n_rootfs = 1;
	request.terminal = true;
	request.options = &any;
	/* What is no string stays as it is. */
	assert_bytes(&request, "\x0a\x04???z" "\x1a\x11\x22\x06gr\xc3\xbc\xc3\x9f\x22\x02??\x22\x03"
	                       "a??" "\x20\x01\x52\x04\x12\x02\xed\xa0");
}

/* Fields that are not in our tables come through; so do all kinds of them. */
static void test_unknown(void **state)
{
	(void)state;
	static const char bytes[] = "\x0a\x01i\xa0\x06\x96\x01"
	                            "\xa9\x06\xff\xff\xff\xff\xff\xff\xff\xff"
	                            "\xb5\x06\xff\xff\xff\xff\xba\x06\x02\xff\xff";
	Containerd__Task__V2__WaitRequest *request = containerd__task__v2__wait_request__unpack(
		NULL, sizeof(bytes) - 1, (const uint8_t *)bytes);

	assert_non_null(request);
	assert_string_equal(request->id, "i");
	assert_bytes(request, bytes);
	containerd__task__v2__wait_request__free_unpacked(request, NULL);
}

static void test_strings_that_come(void **state)
{
	(void)state;
	uint8_t bytes[] = "\x0a\x02\xc3\xa4\x12\x01\xff";
	const ProtobufCBinaryData any = { .data = bytes, .len = sizeof(bytes) - 1 };
	ProtobufCMessage *message = unpack_message(&google__protobuf__any__descriptor, &any);

	assert_non_null(message);
	protobuf_c_message_free_unpacked(message, NULL);
	bytes[3] = 'x';
	assert_null(unpack_message(&google__protobuf__any__descriptor, &any));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bootstrap),
		cmocka_unit_test(test_delete_response),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_any_is),
		cmocka_unit_test(test_any_pack),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_strings_that_come),
		cmocka_unit_test(test_unknown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
