/* SPDX-License-Identifier: Apache-2.0 */

/* The configuration file, and the annotations that it allows. */

#include "shim/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static int parse(struct config *config, const char *text, struct fault *fault)
{
	return config_parse(config, "c.json", text, strlen(text), fault);
}

static void test_defaults(void **state)
{
	struct config config;
	struct fault fault = FAULT_NULL;

	(void)state;
	assert_int_equal(parse(&config, "{}", &fault), 0);
	assert_int_equal(config.qemu.memory, 256);
	assert_int_equal(config.qemu.cpus, 1);
	assert_int_equal(config.qemu.user, 65534);
	assert_int_equal(config.qemu.accelerator, ACCELERATOR_AUTO);
	assert_null(config.qemu.path);
	assert_null(config.partition);
	assert_int_equal(config.annotations.count, 0);
	config_deinit(&config);
}

static void test_members(void **state)
{
	struct config config;
	struct fault fault = FAULT_NULL;

	(void)state;
	assert_int_equal(parse(&config,
	        "{\"qemu\":{\"path\":\"/q\",\"kernel\":\"/k\",\"image\":\"/i\",\"memory\":\"2G\","
	        "\"cpus\":4,\"kernelArguments\":\"a=b\",\"accelerator\":\"kvm\",\"virtiofsd\":\"/v\","
	        "\"vhostDeviceVsock\":\"/d\",\"user\":1000},\"annotations\":[\"x\"],"
	        "\"partition\":\"qemu\"}", &fault), 0);
	assert_string_equal(config.partition, "qemu");
	assert_string_equal(config.qemu.path, "/q");
	assert_string_equal(config.qemu.kernel, "/k");
	assert_string_equal(config.qemu.image, "/i");
	assert_int_equal(config.qemu.memory, 2048);
	assert_int_equal(config.qemu.cpus, 4);
	assert_string_equal(config.qemu.kernel_arguments, "a=b");
	assert_int_equal(config.qemu.accelerator, ACCELERATOR_KVM);
	assert_string_equal(config.qemu.virtiofsd, "/v");
	assert_string_equal(config.qemu.vhost_device_vsock, "/d");
	assert_int_equal(config.qemu.user, 1000);
	assert_string_equal(config.annotations.item[0], "x");
	config_deinit(&config);
}

static void test_memory(void **state)
{
	static const struct { const char *text; uint32_t value; } rows[] = {
		{ "64", 64 }, { "\"64\"", 64 }, { "\"64M\"", 64 }, { "\"64MiB\"", 64 },
		{ "\"1g\"", 1024 }, { "\"2GiB\"", 2048 },
		{ "0", 0 }, { "-1", 0 }, { "1.5", 0 }, { "\"\"", 0 }, { "\"M\"", 0 },
		{ "\"64K\"", 0 }, { "\"1e9G\"", 0 }, { "99999999999999999999", 0 },
		{ "\"99999999G\"", 0 }, { "true", 0 }, { "\" 64\"", 0 },
	};
	char text[80];

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		struct config config;
		struct fault fault = FAULT_NULL;
		snprintf(text, sizeof(text), "{\"qemu\":{\"memory\":%s}}", rows[i].text);
		int r = parse(&config, text, &fault);
		assert_int_equal(r, rows[i].value ? 0 : -EINVAL);
		if (rows[i].value)
			assert_int_equal(config.qemu.memory, rows[i].value);
		else
			assert_non_null(strstr(fault.text, "c.json: qemu.memory: "));
		config_deinit(&config);
	}
}

static void test_refused(void **state)
{
	static const struct { const char *text, *error; } rows[] = {
		{ "", "c.json: " },
		{ "[]", "c.json: " },
		{ "{\"qemu\":3}", "c.json: qemu: " },
		{ "{\"quemu\":{}}", "c.json: quemu: unknown member" },
		{ "{\"qemu\":{\"memroy\":1}}", "c.json: qemu.memroy: unknown member" },
		{ "{\"qemu\":{\"cpus\":0}}", "c.json: qemu.cpus: " },
		{ "{\"qemu\":{\"cpus\":256}}", "c.json: qemu.cpus: " },
		{ "{\"qemu\":{\"user\":0}}", "c.json: qemu.user: " },
		{ "{\"qemu\":{\"kernel\":\"vmlinux\"}}", "c.json: qemu.kernel: " },
		{ "{\"qemu\":{\"accelerator\":\"xen\"}}", "c.json: qemu.accelerator: " },
		{ "{\"qemu\":{\"kernelArguments\":\"a -- b\"}}", "c.json: qemu.kernelArguments: " },
		{ "{\"qemu\":{\"kernelArguments\":\"a\\nb\"}}", "c.json: qemu.kernelArguments: " },
		{ "{\"annotations\":[1]}", "c.json: annotations[0]: " },
		{ "{\"partition\":1}", "c.json: partition: " },
		{ "{\"partition\":\"xen\"}", "c.json: partition: unknown kind \"xen\"" },
		{ "{\"partition\":\"\"}", "c.json: partition: unknown kind \"\"" },
		{ "{\"partition\":\"qemu=x\"}", "c.json: partition: unknown kind \"qemu=x\"" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		struct config config;
		struct fault fault = FAULT_NULL;
		assert_true(parse(&config, rows[i].text, &fault) < 0);
		assert_non_null(strstr(fault.text, rows[i].error));
		config_deinit(&config);
	}
}

static void test_annotations(void **state)
{
	struct config config;
	struct fault fault = FAULT_NULL;

	(void)state;
	assert_int_equal(parse(&config, "{\"qemu\":{\"kernelArguments\":\"a\"},\"annotations\":["
	                       "\"io.hvrun.memory\",\"io.hvrun.kernel-arguments\"]}", &fault), 0);
	assert_int_equal(config_annotate(&config, "io.hvrun.memory", "1G", &fault), 0);
	assert_int_equal(config.qemu.memory, 1024);
	assert_int_equal(config_annotate(&config, "io.hvrun.memory", "much", &fault), -EINVAL);
	assert_string_equal(fault.text, "annotation io.hvrun.memory: bad value \"much\"");
	assert_int_equal(config_annotate(&config, "io.hvrun.kernel-arguments", "b", &fault), 0);
	assert_string_equal(config.qemu.kernel_arguments, "a b");
	assert_int_equal(config_annotate(&config, "io.hvrun.kernel-arguments", "x --", &fault),
	                 -EINVAL);
	/* Not allowed, not known. */
	assert_int_equal(config_annotate(&config, "io.hvrun.cpus", "8", &fault), 0);
	assert_int_equal(config_annotate(&config, "io.hvrun.more", "8", &fault), 0);
	assert_int_equal(config.qemu.cpus, 1);
	assert_true(config_allows(&config, "io.hvrun.memory"));
	assert_false(config_allows(&config, "io.hvrun.cpus"));
	assert_false(config_allows(&config, "io.hvrun.memor"));
	config_deinit(&config);
}

/* What was asked for, the annotation, the file, the default: the first of them that there is. */
static void test_partition(void **state)
{
	static const struct {
		const char *asked, *annotation, *file, *kind, *error;
	} rows[] = {
		{ NULL, NULL, "{}", "local" },
		{ NULL, NULL, "{\"partition\":\"qemu\"}", "qemu" },
		{ NULL, "local", "{\"partition\":\"qemu\"}", "qemu" },
		{ NULL, "qemu", "{\"annotations\":[\"io.hvrun.partition\"]}", "qemu" },
		{ NULL, "attach=vsock://3",
		  "{\"partition\":\"qemu\",\"annotations\":[\"io.hvrun.partition\"]}",
		  "attach=vsock://3" },
		{ NULL, "xen", "{\"annotations\":[\"io.hvrun.partition\"]}", NULL,
		  "annotation io.hvrun.partition: bad value \"xen\"" },
		{ NULL, "xen", "{\"annotations\":[\"io.hvrun.memory\"]}", "local" },
		{ NULL, NULL, "{\"partition\":\"xen\"}", NULL, "unknown kind \"xen\"" },
		{ "qemu", "local", "{\"annotations\":[\"io.hvrun.partition\"]}", "qemu" },
		{ "qemu", NULL, "broken", "qemu" },
		{ NULL, NULL, "broken", NULL, "/tmp/hvrun-config.json." },
	};

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		char path[] = "/tmp/hvrun-config.json.XXXXXX";
		struct arena arena = ARENA(1 << 16);
		struct fault fault = FAULT_NULL;
		struct str_pair pairs[] = {
			{ "io.hvrun.cpus", "many" },
			{ "io.hvrun.partition", rows[i].annotation },
		};
		const struct str_map annotations = { rows[i].annotation ? 2 : 1, pairs };
		const char *kind;
		cleanup_close int fd = mkstemp(path);
		assert_int_equal(write(fd, rows[i].file, strlen(rows[i].file)),
		                 strlen(rows[i].file));
		int r = config_partition(rows[i].asked, path, &annotations, &arena, &kind, &fault);
		unlink(path);
		assert_int_equal(r, rows[i].kind ? 0 : -EINVAL);
		if (rows[i].kind)
			assert_string_equal(kind, rows[i].kind);
		else
			assert_non_null(strstr(fault.text, rows[i].error));
		arena_free(&arena);
	}
}

static void test_files(void **state)
{
	struct config config;
	struct fault fault = FAULT_NULL;

	(void)state;
	assert_int_equal(config_load(&config, "/nonexistent/c.json", &fault), -ENOENT);
	assert_string_equal(fault.text, "/nonexistent/c.json: no such file or directory");
	config_deinit(&config);
	assert_true(config_load(&config, "/proc/self/environ", &fault) < 0);
	config_deinit(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_annotations),
		cmocka_unit_test(test_partition),
		cmocka_unit_test(test_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
