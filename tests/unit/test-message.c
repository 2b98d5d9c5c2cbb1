/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The payloads of the bridge as Microsoft's halves write them, in both directions: each vector is
 * decoded and encoded to the same bytes. They are written with ' for ", or nobody could read them.
 */

#include "oci/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ZERO "'ActivityId':'" NULL_CID "'"
#define ACTIVITY "'ActivityId':'6b29fc40-ca47-1067-b31d-00dd010662da'"

union any_message {
	struct base_request base;
	struct base_reply reply;
	struct negotiate_request negotiate;
	struct negotiate_reply negotiated;
	struct create_request create;
	struct create_reply created;
	struct execute_request execute;
	struct execute_reply executed;
	struct wait_request wait;
	struct wait_reply waited;
	struct signal_request signal;
	struct resize_request resize;
	struct properties_request properties;
	struct properties_reply property_reply;
	struct modify_request modify;
	struct kernel_log_request kernel_log;
	struct clock_request clock;
	struct dump_reply dump;
	struct notification notification;
};

static const struct json_type *table_of(uint32_t type)
{
	const struct message *message = message_find(type);

	assert_non_null(message);
	return type == message->type ? message->request : message->reply;
}

/* In a buffer that lives until the next call. */
static const char *quoted(const char *text)
{
	static char out[8192];

	assert_in_range(strlen(text), 0, sizeof(out) - 1);
	for (size_t i = 0; i <= strlen(text); i++)
		out[i] = text[i] == '\'' ? '"' : text[i];
	return out;
}

static int decode(struct arena *arena, const struct json_type *type, const char *text, void *to,
                  struct fault *fault)
{
	return json_decode(arena, type, quoted(text), strlen(text), to, fault);
}

static void check_payload(const struct buf *out, const char *want)
{
	const char *text = quoted(want);

	if (buf_length(out) != strlen(text) || memcmp(buf_head(out), text, strlen(text)))
		fail_msg("\n  got  %.*s\n  want %s", (int)buf_length(out), buf_head(out), text);
}

/* What a payload decodes to must encode to the payload. */
static const struct {
	uint32_t type;
	const char *text;
} vectors[] = {
	{ MESSAGE_NEGOTIATE_PROTOCOL,
	  "{'ContainerId':''," ZERO ",'MinimumVersion':4,'MaximumVersion':4}\n" },
	{ MESSAGE_NEGOTIATE_PROTOCOL,
	  "{'ContainerId':''," ZERO ",'MinimumVersion':4,'MaximumVersion':4,'Hvrun':{'Version':1,"
	  "'Session':'8f0e2f4a-32b4-4c8e-9d5c-0a1b2c3d4e5f','Received':0,'Resume':true,"
	  "'MaxFrame':1048576}}\n" },
	{ MESSAGE_NEGOTIATE_PROTOCOL,
	  "{'ContainerId':''," ZERO ",'MinimumVersion':4,'MaximumVersion':4,'Hvrun':{'Version':1,"
	  "'Session':'8f0e2f4a-32b4-4c8e-9d5c-0a1b2c3d4e5f','Received':0,'Resume':false,"
	  "'MaxFrame':4194304,'Time':1792934400123456789,'Entropy':'00ffA7'}}\n" },
	{ MESSAGE_RESPONSE(MESSAGE_NEGOTIATE_PROTOCOL),
	  "{'Result':0," ZERO ",'Version':4,'Capabilities':{'SupportedSchemaVersions':[{"
	  "'Major':2,'Minor':1}],'RuntimeOsType':'Linux','GuestDefinedCapabilities':{"
	  "'NamespaceAddRequestSupported':true,'SignalProcessSupported':true,"
	  "'DumpStacksSupported':true,'DeleteContainerStateSupported':true}}}" },
	{ MESSAGE_RESPONSE(MESSAGE_NEGOTIATE_PROTOCOL),
	  "{'Result':0,'Version':4,'Capabilities':{'RuntimeOsType':'Linux',"
	  "'GuestDefinedCapabilities':{'SignalProcessSupported':true,'Hvrun':{'Version':1,"
	  "'Session':'8f0e2f4a-32b4-4c8e-9d5c-0a1b2c3d4e5f','Resumed':false,"
	  "'Received':18446744073709551615,'MaxFrame':1048576,'Features':['streams','oom'],"
	  "'Containers':[]}}}}" },
	{ MESSAGE_CREATE,
	  "{'ContainerId':'c1'," ZERO ",'ContainerConfig':'{\\'SchemaVersion\\':{\\'Major\\':2,"
	  "\\'Minor\\':1},\\'OciBundlePath\\':\\'/run/gcs/c/c1\\',\\'OciSpecification\\':{"
	  "\\'ociVersion\\':\\'1.2.0\\',\\'process\\':{\\'user\\':{\\'uid\\':0,\\'gid\\':0},"
	  "\\'args\\':[\\'sh\\',\\'-c\\',\\'a \\\\u003c b \\\\u0026 c\\'],\\'cwd\\':\\'/\\'},"
	  "\\'root\\':{\\'path\\':\\'rootfs\\'},\\'linux\\':{\\'resources\\':{}}},"
	  "\\'ScratchDirPath\\':\\'/run/s/c1\\'}'}\n" },
	{ MESSAGE_RESPONSE(MESSAGE_CREATE),
	  "{'Result':0," ZERO ",'SelectedProtocolVersion':0}" },
	{ MESSAGE_RESPONSE(MESSAGE_CREATE),
	  "{'Result':0," ZERO ",'SelectedProtocolVersion':0,'ProcessId':231}" },
	{ MESSAGE_START,
	  "{'ContainerId':'c1'," ZERO "}\n" },
	{ MESSAGE_RESPONSE(MESSAGE_START),
	  "{'Result':0," ZERO "}" },
	{ MESSAGE_SHUTDOWN_GRACEFUL,
	  "{'ContainerId':'c1'," ACTIVITY "}\n" },
	{ MESSAGE_RESPONSE(MESSAGE_SHUTDOWN_FORCED),
	  "{'Result':-1070137074," ZERO ",'ErrorMessage':'no \\u003cc1\\u003e','ErrorRecords':[{"
	  "'Result':-1070137074,'Message':'no c1','StackTrace':'main\\n','ModuleName':'gcs',"
	  "'FileName':'','Line':4294967295,'FunctionName':'f'}]}" },
	{ MESSAGE_EXECUTE_PROCESS,
	  "{'ContainerId':'c1'," ZERO ",'Settings':{'ProcessParameters':'{"
	  "\\'CreateStdOutPipe\\':true,\\'CreateStdErrPipe\\':true}','VsockStdioRelaySettings':{"
	  "'StdOut':1073741825,'StdErr':1073741826}}}\n" },
	{ MESSAGE_EXECUTE_PROCESS,
	  "{'ContainerId':'c1'," ZERO ",'Settings':{'ProcessParameters':'{"
	  "\\'CreateStdInPipe\\':true,\\'CreateStdOutPipe\\':true,\\'OciProcess\\':{"
	  "\\'terminal\\':true,\\'user\\':{\\'uid\\':0,\\'gid\\':0},\\'args\\':[\\'sh\\'],"
	  "\\'env\\':[\\'PATH=/bin\\'],\\'cwd\\':\\'/\\'}}','VsockStdioRelaySettings':{"
	  "'StdIn':1073741827,'StdOut':1073741828}}}\n" },
	{ MESSAGE_EXECUTE_PROCESS,
	  "{'ContainerId':'" NULL_CID "'," ZERO ",'Settings':{'ProcessParameters':'{"
	  "\\'CommandArgs\\':[\\'ls\\'],\\'WorkingDirectory\\':\\'/\\',\\'Environment\\':{"
	  "\\'A\\':\\'1\\',\\'B\\':\\'2\\'},\\'EmulateConsole\\':true,\\'ConsoleSize\\':[24,"
	  "80]}','VsockStdioRelaySettings':{}}}\n" },
	{ MESSAGE_EXECUTE_PROCESS,
	  "{'ContainerId':'c1'," ZERO ",'Settings':{'ProcessParameters':'{}','Streams':{"
	  "'StdIn':5,'StdOut':6,'StdErr':7,'Window':262144}}}\n" },
	{ MESSAGE_RESPONSE(MESSAGE_EXECUTE_PROCESS),
	  "{'Result':0," ZERO ",'ProcessId':231}" },
	{ MESSAGE_WAIT_FOR_PROCESS,
	  "{'ContainerId':'c1'," ZERO ",'ProcessId':231,'TimeoutInMs':4294967295}\n" },
	{ MESSAGE_RESPONSE(MESSAGE_WAIT_FOR_PROCESS),
	  "{'Result':0," ZERO ",'ExitCode':137}" },
	{ MESSAGE_RESPONSE(MESSAGE_WAIT_FOR_PROCESS),
	  "{'Result':0,'ExitCode':0,'ExitedAt':'2025-01-02T03:04:05.000000006Z','Offsets':{"
	  "'StdOut':0,'StdErr':7}}" },
	{ MESSAGE_SIGNAL_PROCESS,
	  "{'ContainerId':'c1'," ZERO ",'ProcessId':231}\n" },
	{ MESSAGE_SIGNAL_PROCESS,
	  "{'ContainerId':'c1'," ZERO ",'ProcessId':231,'Options':{'Signal':15}}\n" },
	{ MESSAGE_SIGNAL_PROCESS,
	  "{'ContainerId':'c1'," ZERO ",'ProcessId':231,'Options':{'Signal':9,"
	  "'Scope':'container'}}\n" },
	{ MESSAGE_RESIZE_CONSOLE,
	  "{'ContainerId':'c1'," ZERO ",'ProcessId':231,'Height':24,'Width':80}\n" },
	{ MESSAGE_GET_PROPERTIES,
	  "{'ContainerId':'c1'," ZERO ",'Query':'{\\'PropertyTypes\\':[\\'ProcessList\\']}'}\n" },
	{ MESSAGE_RESPONSE(MESSAGE_GET_PROPERTIES),
	  "{'Result':0," ZERO ",'Properties':'{\\'ProcessList\\':[{\\'ProcessId\\':231}]}'}" },
	{ MESSAGE_MODIFY_SETTINGS,
	  "{'ContainerId':'" NULL_CID "'," ZERO ",'Request':{'RequestType':'Add',"
	  "'ResourceType':'MappedVirtualDisk','Settings':{'MountPath':'/run/d','Lun':3,"
	  "'Options':[]}}}\n" },
	{ MESSAGE_DELETE_CONTAINER_STATE,
	  "{'ContainerId':'c1'," ZERO "}\n" },
	{ MESSAGE_RESPONSE(MESSAGE_DUMP_STACKS),
	  "{'Result':0," ZERO ",'GuestStacks':'a\\nb'}" },
	{ MESSAGE_PAUSE,
	  "{'ContainerId':'c1'," ZERO "}\n" },
	{ MESSAGE_RESPONSE(MESSAGE_RESUME),
	  "{'Result':0}" },
	{ MESSAGE_KERNEL_LOG,
	  "{'ContainerId':'" NULL_CID "'," ZERO ",'Streams':{'StdOut':9,'Window':262144}}\n" },
	{ MESSAGE_RESPONSE(MESSAGE_KERNEL_LOG),
	  "{'Result':0}" },
	{ MESSAGE_CLOCK,
	  "{'ContainerId':'" NULL_CID "'," ZERO ",'Time':18446744073709551615}\n" },
	{ MESSAGE_RESPONSE(MESSAGE_CLOCK),
	  "{'Result':0," ACTIVITY "}" },
	{ MESSAGE_NOTIFICATION,
	  "{'ContainerId':'c1'," ZERO ",'Type':'UnexpectedExit','Operation':'None','Result':0}" },
	{ MESSAGE_NOTIFICATION,
	  "{'ContainerId':'c1','Type':'StreamOffset','Operation':'None','Result':0,"
	  "'ProcessId':231,'Stream':6,'Offset':4096}" },
};

static void test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(vectors); i++) {
		const char *text = vectors[i].text;
		const struct json_type *type = table_of(vectors[i].type);
		bool from_host = text[strlen(text) - 1] == '\n';
		struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
		struct buf out cleanup(buf_deinit) = BUF(JSON_TEXT_MAX);
		struct fault fault = FAULT_NULL;
		union any_message message = { 0 };

		assert_true(type->size <= sizeof(message));
		if (decode(&arena, type, text, &message, &fault) < 0)
			fail_msg("%s\n  %s", text, fault.text);
		assert_int_equal(message_encode(type, &message, from_host ? FROM_HOST : FROM_GUEST,
		                                FRAME_HOST_MAX, &out), 0);
		check_payload(&out, text);
	}
}

static void test_find(void **state)
{
	(void)state;
	assert_string_equal(message_find(0x10100101)->name, "Create");
	assert_ptr_equal(message_find(0x10100101), message_find(0x20100101));
	assert_string_equal(message_find(0x2F000201)->name, "Resume");
	assert_string_equal(message_find(0x30100101)->name, "Notification");
	assert_null(message_find(MESSAGE_NOTIFICATION)->reply);
	/* UpdateContainer, another version, another kind, a stream's frame, nothing. */
	assert_null(message_find(0x10100E01));
	assert_null(message_find(0x10100102));
	assert_null(message_find(0x30100201));
	assert_null(message_find(0x00100101));
	assert_null(message_find(FRAME_DATA));
	assert_null(message_find(0));
}

static void test_values(void **state)
{
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	struct negotiate_request negotiate = { 0 };
	struct signal_request signal = { 0 };
	struct execute_request execute = { 0 };
	struct properties_request properties = { 0 };
	struct create_request create = { 0 };

	(void)state;
	/* What other writers do: any case, any order, unknown members, trace context. */
	assert_int_equal(decode(&arena, table_of(MESSAGE_NEGOTIATE_PROTOCOL),
	                        " {'maximumversion':5,'otsc':{'traceparent':'00-1-2-00'},"
	                        "'MinimumVersion':3,'ActivityId':null,'New':[1.5e3]}\n\n",
	                        &negotiate, NULL), 0);
	assert_int_equal(negotiate.minimum_version, 3);
	assert_int_equal(negotiate.maximum_version, 5);
	assert_null(negotiate.base.activity_id);
	assert_null(negotiate.hvrun);

	assert_int_equal(decode(&arena, table_of(MESSAGE_SIGNAL_PROCESS),
	                        "{'ContainerId':'c','ProcessId':4294967295,'Options':{"
	                        "'Signal':15,'Scope':'group'}}", &signal, NULL), 0);
	assert_int_equal(signal.process_id, 4294967295u);
	assert_int_equal(signal.options.signal, 15);
	assert_int_equal(signal.options.scope, SCOPE_GROUP);

	assert_int_equal(decode(&arena, table_of(MESSAGE_EXECUTE_PROCESS),
	                        "{'Settings':{'ProcessParameters':'{\\'CreateStdOutPipe\\':true}',"
	                        "'VsockStdioRelaySettings':{'StdErr':7}}}", &execute, NULL), 0);
	assert_true(execute.settings.process_parameters->create_stdout_pipe);
	assert_int_equal(execute.settings.ports->err, 7);
	assert_null(execute.settings.streams);

	assert_int_equal(decode(&arena, table_of(MESSAGE_GET_PROPERTIES),
	                        "{'ContainerId':'c','Query':''}", &properties, NULL), 0);
	assert_null(properties.query);

	assert_int_equal(decode(&arena, table_of(MESSAGE_CREATE),
	                        "{'ContainerConfig':'{\\'SchemaVersion\\':{\\'Major\\':2},"
	                        "\\'OciSpecification\\':{\\'ociVersion\\':\\'\\\\u003c\\'}}'}",
	                        &create, NULL), 0);
	assert_int_equal(create.container_config->schema_version.major, 2);
	assert_string_equal(create.container_config->oci_specification->oci_version, "<");
}

static const struct {
	uint32_t type;
	const char *text, *fault; /* the fault as it is */
} refused[] = {
	{ MESSAGE_NEGOTIATE_PROTOCOL, "{'MinimumVersion':-1}",
	  "MinimumVersion: is not a whole number from 0 to 4294967295" },
	{ MESSAGE_NEGOTIATE_PROTOCOL, "{'Hvrun':{'Version':1}}", "Hvrun.Session: is required" },
	{ MESSAGE_CREATE, "{'ContainerId':'c'}", "ContainerConfig: is required" },
	{ MESSAGE_CREATE, "{'ContainerConfig':''}",
	  "ContainerConfig: line 1, column 1: premature EOF" },
	{ MESSAGE_CREATE,
	  "{'ContainerConfig':'{\\'OciSpecification\\':{\\'ociVersion\\':\\'1.0\\',"
	  "\\'linux\\':{\\'namespaces\\':[{\\'type\\':\\'pidd\\'}]}}}'}",
	  "ContainerConfig.OciSpecification.linux.namespaces[0].type: unknown value \"pidd\"" },
	{ MESSAGE_EXECUTE_PROCESS, "{}", "Settings: is required" },
	{ MESSAGE_EXECUTE_PROCESS, "{'Settings':{}}", "Settings.ProcessParameters: is required" },
	{ MESSAGE_EXECUTE_PROCESS, "{'Settings':{'ProcessParameters':'{\\'OciProcess\\':{}}'}}",
	  "Settings.ProcessParameters.OciProcess.cwd: is required" },
	{ MESSAGE_SIGNAL_PROCESS, "{'Options':{'Scope':'world'}}",
	  "Options.Scope: unknown value \"world\"" },
	{ MESSAGE_RESIZE_CONSOLE, "{'Height':65536}",
	  "Height: is not a whole number from 0 to 65535" },
	{ MESSAGE_MODIFY_SETTINGS, "{}", "Request: is required" },
	{ MESSAGE_KERNEL_LOG, "{}", "Streams: is required" },
	{ MESSAGE_CLOCK, "{}", "Time: is required" },
	{ MESSAGE_CLOCK, "{'Time':-1}",
	  "Time: is not a whole number from 0 to 18446744073709551615" },
	{ MESSAGE_RESPONSE(MESSAGE_START), "{'Result':2147942405}",
	  "Result: is not a whole number from -2147483648 to 2147483647" },
	{ MESSAGE_RESPONSE(MESSAGE_GET_PROPERTIES), "{'Properties':''}",
	  "Properties: line 1, column 1: premature EOF" },
	{ MESSAGE_RESPONSE(MESSAGE_WAIT_FOR_PROCESS), "{'ExitCode':-1}",
	  "ExitCode: is not a whole number from 0 to 4294967295" },
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(refused); i++) {
		struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
		struct fault fault = FAULT_NULL;
		union any_message message = { 0 };

		assert_int_equal(decode(&arena, table_of(refused[i].type), refused[i].text,
		                        &message, &fault), -EINVAL);
		assert_string_equal(fault.text, refused[i].fault);
		assert_int_equal(fault.hresult, HRESULT_INVALID_JSON);
	}
}

/* An ActivityId that is none would cost the connection. */
static void test_activity(void **state)
{
	static const char *const bad[] = { NULL, "", "x", "{" NULL_CID "}", NULL_CID "0" };

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		struct base_request request = { .base = { "c1", bad[i] } };
		struct base_reply reply = { .base = { .activity_id = bad[i] } };
		struct buf out cleanup(buf_deinit) = BUF(4096);

		assert_int_equal(message_encode(&base_request_type, &request, FROM_HOST,
		                                FRAME_PLAIN_MAX, &out), 0);
		check_payload(&out, "{'ContainerId':'c1'," ZERO "}\n");
		buf_consume(&out, buf_length(&out));
		assert_int_equal(message_encode(&base_reply_type, &reply, FROM_GUEST,
		                                FRAME_PLAIN_MAX, &out), 0);
		check_payload(&out, "{'Result':0}");
	}
}

static void test_size(void **state)
{
	static const char want[] = "{'Result':0}";
	struct base_reply reply = { 0 };
	struct buf out cleanup(buf_deinit) = BUF(64);

	(void)state;
	assert_int_equal(buf_append(&out, "before", 6), 0);
	assert_int_equal(message_encode(&base_reply_type, &reply, FROM_GUEST,
	                                FRAME_HEADER + sizeof(want) - 1, &out), 0);
	check_payload(&out, "before{'Result':0}");
	buf_consume(&out, 6);
	/* One byte less; the same with the host's LF; no room for a header at all. */
	assert_int_equal(message_encode(&base_reply_type, &reply, FROM_GUEST,
	                                FRAME_HEADER + sizeof(want) - 2, &out), -EMSGSIZE);
	assert_int_equal(message_encode(&base_reply_type, &reply, FROM_HOST,
	                                FRAME_HEADER + sizeof(want) - 1, &out), -EMSGSIZE);
	assert_int_equal(message_encode(&base_reply_type, &reply, FROM_HOST, 3, &out), -EMSGSIZE);
	check_payload(&out, want);
	assert_int_equal(out.limit, 64);
	/* The buffer's own limit is another matter. */
	while (buf_room(&out) >= sizeof(want))
		assert_int_equal(buf_append(&out, " ", 1), 0);
	assert_int_equal(message_encode(&base_reply_type, &reply, FROM_HOST, 4096, &out), -ENOBUFS);
}

static void test_fault(void **state)
{
	struct fault fault = FAULT_NULL;
	struct buf out cleanup(buf_deinit) = BUF(1 << 20);

	(void)state;
	fault_set(&fault, -ENOENT, HRESULT_NO_SUCH_CONTAINER, "container \"%s\": <gone>", "c1");
	assert_int_equal(message_encode_fault(&fault, NULL_CID, FRAME_PLAIN_MAX, &out), 0);
	check_payload(&out,
	              "{'Result':-1070137074," ZERO ",'ErrorMessage':'container \\'c1\\': "
	              "\\u003cgone\\u003e','ErrorRecords':[{'Result':-1070137074,'Message':"
	              "'container \\'c1\\': \\u003cgone\\u003e','ModuleName':'hvrun',"
	              "'FileName':'','Line':4294967295}]}");
	buf_consume(&out, buf_length(&out));

	/* Never a success, whatever the fault says. */
	fault = (struct fault)FAULT_NULL;
	assert_int_equal(message_encode_fault(&fault, NULL, FRAME_PLAIN_MAX, &out), 0);
	check_payload(&out, "{'Result':-2147467259,'ErrorMessage':'','ErrorRecords':[{"
	                    "'Result':-2147467259,'Message':'','ModuleName':'hvrun',"
	                    "'FileName':'','Line':4294967295}]}");
}

/* The text is cut to what fits, between characters, and what comes out can be read. */
static void test_fault_cut(void **state)
{
	struct fault fault = { .hresult = HRESULT_FAIL };

	(void)state;
	for (size_t i = 0; i + 4 < FAULT_TEXT; i += 4)
		memcpy(fault.text + i, i % 8 ? "<<<<" : "\xf0\x9f\x90\xb3", 5);
	for (uint32_t max = 64; max < 16384; max += 37) {
		struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
		struct buf out cleanup(buf_deinit) = BUF(1 << 20);
		struct base_reply reply = { 0 };
		int r = message_encode_fault(&fault, NULL_CID, max, &out);

		if (max < 250 && r == -EMSGSIZE) {
			assert_int_equal(buf_length(&out), 0);
			continue;
		}
		assert_int_equal(r, 0);
		assert_true(buf_length(&out) + FRAME_HEADER <= max);
		assert_int_equal(json_decode(&arena, &base_reply_type, buf_head(&out),
		                             buf_length(&out), &reply, NULL), 0);
		assert_int_equal(reply.base.error_records.count, 1);
		size_t length = strlen(reply.base.error_message);
		assert_memory_equal(reply.base.error_message, fault.text, length);
		/* Both copies, up to six bytes for each of the text's. */
		assert_true(length >= min_size(strlen(fault.text), max / 16) || max < 512);
	}
}

static void test_documents(void **state)
{
	static const char lcow[] =
		"{'LCOWMetrics':{'pids':{'current':3},'cpu':{'usage':{'total':7000,"
		"'per_cpu':[1,2]}},'memory':{'rss':1,'total_rss':2,'usage':{'usage':9}},"
		"'blkio':{},'hugetlb':[{'usage':4,'max':8,'pagesize':'2MB'}]}}";
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	struct buf out cleanup(buf_deinit) = BUF(1 << 20);
	struct statistics_v2 figures = { 0 }, again = { 0 };
	struct container_constraints constraints = { 0 };
	struct oci_resources resources = { .pids.limit = { true, 5 } };

	(void)state;
	assert_int_equal(decode(&arena, &statistics_v1_type, lcow, &figures, NULL), 0);
	assert_int_equal(figures.pids.current, 3);
	assert_int_equal(figures.cpu.usage_usec, 7);
	assert_int_equal(figures.memory.anon, 2);
	assert_int_equal(figures.memory.usage, 9);
	assert_int_equal(figures.hugetlb.item[0].current, 4);

	/* Version 2 loses nothing, version 1 what it has no place for. */
	figures.cpu.throttled_usec = UINT64_MAX / 1000;
	figures.cpu.psi.some.avg10 = 150;
	figures.memory.psi.full.total = 7;
	figures.memory.pgscan = 8;
	figures.io_psi.some.avg300 = 9;
	figures.hugetlb.item[0].failcnt = 10;
	figures.memory.usage_limit = UINT64_MAX;
	figures.agent.frames_in = 12;
	assert_int_equal(json_encode(&statistics_v2_type, &figures, &out, true), 0);
	assert_int_equal(json_decode(&arena, &statistics_v2_type, buf_head(&out), buf_length(&out),
	                             &again, NULL), 0);
	assert_int_equal(again.hugetlb.item[0].failcnt, 10);
	again.hugetlb.item = figures.hugetlb.item;
	assert_memory_equal(&again, &figures, sizeof(figures));
	buf_consume(&out, buf_length(&out));
	again = (struct statistics_v2){ 0 };
	assert_int_equal(json_encode(&statistics_v1_type, &figures, &out, true), 0);
	assert_int_equal(json_decode(&arena, &statistics_v1_type, buf_head(&out), buf_length(&out),
	                             &again, NULL), 0);
	again.hugetlb.item = figures.hugetlb.item;
	again.agent.frames_in = 12;
	again.cpu.psi = figures.cpu.psi;
	again.memory.psi = figures.memory.psi;
	again.memory.pgscan = figures.memory.pgscan;
	again.io_psi = figures.io_psi;
	assert_memory_equal(&again, &figures, sizeof(figures));
	buf_consume(&out, buf_length(&out));

	constraints.linux_ = &resources;
	assert_int_equal(json_encode(&container_constraints_type, &constraints, &out, false), 0);
	check_payload(&out, "{'Windows':{},'Linux':{'pids':{'limit':5}}}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_activity),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_fault),
		cmocka_unit_test(test_fault_cut),
		cmocka_unit_test(test_documents),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
