/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Device rules in force at a real cgroup: a child in it makes and opens nodes. Skipped without root
 * or without a cgroup2 file system that can be written.
 */

#include "agent/device_filter.h"

#include "agent/cgroup_private.h"
#include "oci/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <cmocka.h>

#define ALL (OCI_DEVICE_MKNOD | OCI_DEVICE_READ | OCI_DEVICE_WRITE)
#define READ OCI_DEVICE_READ
#define WRITE OCI_DEVICE_WRITE
#define MKNOD OCI_DEVICE_MKNOD
#define ANY { .set = false }
#define NO(number) { .set = true, .value = (number) }

static struct cgroup_mounts *mounts;
static char path[64], folder[] = "/tmp/hvrun-test-device-XXXXXX";
static struct cgroup_dir dir = { .fd = -1, .tasks_fd = -1, .made = CGROUP_NOT_MADE };

static int setup(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "/hvrun-test-%d", getpid());
	if (geteuid() != 0 || cgroup_mounts_probe(&mounts, NULL) < 0)
		return 0;
	if (!mkdtemp(folder) || cgroup_dir_make(mounts, CGROUP_V2, path, 0, &dir, NULL) < 0) {
		cgroup_mounts_free(mounts);
		mounts = NULL;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (mounts) {
		cgroup_dir_remove(mounts, CGROUP_V2, path, &dir);
		rmdir(folder);
	}
	cgroup_dir_close(&dir);
	cgroup_mounts_free(mounts);
	return 0;
}

/* In the child. Another error than EPERM comes from the driver: the filter had let us through. */
static bool attempt(const char *node, mode_t mode, dev_t number, unsigned access)
{
	if (access & MKNOD)
		return mknod(node, mode, number) == 0 || errno != EPERM;
	int flags = access == (READ | WRITE) ? O_RDWR : access == WRITE ? O_WRONLY : O_RDONLY;
	return open(node, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) >= 0 || errno != EPERM;
}

/* mknod needs leave of its own, so the parent makes the node that the child opens. */
static bool allowed(char type, unsigned major, unsigned minor, unsigned access)
{
	char node[64];
	snprintf(node, sizeof(node), "%s/node", folder);
	mode_t mode = (type == 'b' ? S_IFBLK : S_IFCHR) | 0600;
	if (!(access & MKNOD))
		assert_int_equal(mknod(node, mode, makedev(major, minor)), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(file_write_text(dir.fd, "cgroup.procs", "0") < 0 ? 99 :
		      attempt(node, mode, makedev(major, minor), access));
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
	unlink(node);
	return WEXITSTATUS(status);
}

struct row {
	struct oci_device_rule rules[4];
	size_t rule_count;
	struct oci_device device;       /* of linux.devices; type 0: none */
	struct {
		char type;
		unsigned major, minor, access;
		bool allowed;
	} tries[8];
};

#define NOTHING { false, 'a', ANY, ANY, ALL }
#define EVERYTHING { true, 'a', ANY, ANY, ALL }
#define MEM 1           /* /dev/mem is 1:1, /dev/kmsg 1:11 */
#define KMSG 11
#define ALLOW(minor, access) { true, 'c', NO(1), NO(minor), access }
#define DENY(minor, access) { false, 'c', NO(1), NO(minor), access }

static const struct row rows[] = {
	/* no rule: the default devices and mknod */
	{ .tries = {
		{ 'c', 1, 3, READ | WRITE, true }, { 'c', 1, 5, READ | WRITE, true },
		{ 'c', 1, 7, READ, true }, { 'c', 1, 9, READ, true },
		{ 'c', 5, 2, READ | WRITE, true }, { 'c', 1, KMSG, READ, false },
		{ 'b', 7, 0, READ, false }, { 'c', 1, KMSG, MKNOD, true },
	} },
	{ .rules = { NOTHING }, .rule_count = 1, .tries = {
		{ 'c', 1, 8, READ, true }, { 'c', 5, 0, READ, true }, { 'b', 7, 0, MKNOD, true },
		{ 'c', 1, KMSG, READ, false }, { 'c', 136, 77, READ, true },
	} },
	/* the default devices cannot be taken away */
	{ .rules = { EVERYTHING, DENY(3, ALL), DENY(KMSG, ALL) },
	  .rule_count = 3, .tries = {
		{ 'c', 1, 3, READ, true }, { 'c', 1, KMSG, READ, false }, { 'b', 7, 0, READ, true },
	} },
	{ .rules = { NOTHING, EVERYTHING }, .rule_count = 2, .tries = {
		{ 'c', 1, KMSG, READ, true }, { 'b', 7, 0, READ | WRITE, true },
	} },
	/* the last rule decides, for each access by itself */
	{ .rules = { NOTHING, ALLOW(KMSG, READ), ALLOW(KMSG, WRITE) },
	  .rule_count = 3, .tries = {
		{ 'c', 1, KMSG, READ, true }, { 'c', 1, KMSG, WRITE, true },
		{ 'c', 1, KMSG, READ | WRITE, true }, { 'b', 1, KMSG, READ, false },
		{ 'c', 1, MEM, READ, false },
	} },
	{ .rules = { NOTHING, ALLOW(KMSG, ALL), { false, 'c', NO(1), ANY, WRITE } },
	  .rule_count = 3, .tries = {
		{ 'c', 1, KMSG, READ, true }, { 'c', 1, KMSG, WRITE, false },
		{ 'c', 1, KMSG, READ | WRITE, false },
	} },
	{ .rules = { NOTHING, { false, 'c', NO(1), ANY, ALL }, ALLOW(KMSG, READ) },
	  .rule_count = 3, .tries = {
		{ 'c', 1, KMSG, READ, true }, { 'c', 1, KMSG, WRITE, false },
		{ 'c', 1, MEM, READ, false },
	} },
	/* wildcards: of one number, of the type, written -1, an access left out */
	{ .rules = { NOTHING, { true, 'c', ANY, NO(KMSG), READ } }, .rule_count = 2, .tries = {
		{ 'c', 1, KMSG, READ, true }, { 'c', 1, MEM, READ, false },
	} },
	{ .rules = { NOTHING, { true, 'a', NO(7), NO(-1), 0 } }, .rule_count = 2, .tries = {
		{ 'b', 7, 0, READ | WRITE, true }, { 'c', 7, 1, READ, true },
		{ 'b', 8, 0, READ, false },
	} },
	/* rules that differ in the minor number only, which are tried together */
	{ .rules = { NOTHING, DENY(KMSG, WRITE), DENY(MEM, WRITE),
	             ALLOW(KMSG, READ) }, .rule_count = 4, .tries = {
		{ 'c', 1, KMSG, READ, true }, { 'c', 1, KMSG, WRITE, false },
		{ 'c', 1, MEM, READ, false },
	} },
	{ .rules = { NOTHING, { true, 'b', NO(7), NO(0), ALL }, { true, 'b', NO(7), NO(1), ALL },
	             { true, 'b', NO(7), NO(3), ALL } }, .rule_count = 4, .tries = {
		{ 'b', 7, 0, READ, true }, { 'b', 7, 1, READ, true }, { 'b', 7, 2, READ, false },
		{ 'b', 7, 3, READ, true }, { 'c', 7, 1, READ, false }, { 'b', 8, 1, READ, false },
	} },
	/* linux.devices, unless a rule forbids */
	{ .device = { .type = 'c', .major = 1, .minor = KMSG }, .tries = {
		{ 'c', 1, KMSG, READ | WRITE, true }, { 'c', 1, MEM, READ, false },
	} },
	{ .device = { .type = 'c', .major = 1, .minor = KMSG }, .rules = { NOTHING },
	  .rule_count = 1, .tries = { { 'c', 1, KMSG, READ, false }, { 'c', 1, 3, READ, true } } },
};

static void test_rules(void **state)
{
	(void)state;
	if (!mounts)
		skip();
	/* One filter after the other at the same cgroup: each takes the place of the last. */
	cleanup_close int filter = -1;
	for (size_t i = 0; i < array_size(rows); i++) {
		const struct row *row = &rows[i];
		struct fault fault = FAULT_NULL;
		device_filter_set(dir.fd, row->rules, row->rule_count, &row->device,
		                  row->device.type ? 1 : 0, &filter, &fault);
		assert_string_equal(fault.text, "");
		for (size_t k = 0; k < array_size(row->tries) && row->tries[k].type; k++) {
			bool got = allowed(row->tries[k].type, row->tries[k].major,
			                   row->tries[k].minor, row->tries[k].access);
			if (got != row->tries[k].allowed)
				print_message("row %zu, try %zu\n", i, k);
			assert_int_equal(got, row->tries[k].allowed);
		}
	}
}

static void test_everything(void **state)
{
	(void)state;
	if (!mounts)
		skip();
	static const struct oci_device_rule everything[] = { NOTHING, EVERYTHING };
	cleanup_close int filter = -1;
	assert_int_equal(device_filter_set(dir.fd, everything, 2, NULL, 0, &filter, NULL), 0);
	assert_int_equal(filter, -1);
	assert_int_equal(device_filter_set(dir.fd, everything, 1, NULL, 0, &filter, NULL), 0);
	assert_true(filter >= 0);
	assert_int_equal(device_filter_set(dir.fd, everything, 2, NULL, 0, &filter, NULL), 0);
	assert_int_equal(filter, -1);
}

static void test_limits(void **state)
{
	(void)state;
	if (!mounts)
		skip();
	cleanup_close int filter = -1;
	struct fault fault = FAULT_NULL;
	static struct oci_device_rule many[1025];
	for (size_t i = 0; i < array_size(many); i++)
		many[i] = (struct oci_device_rule) { true, 'c', NO(300), NO((int64_t)i), READ };
	assert_int_equal(device_filter_set(dir.fd, many, 1025, NULL, 0, &filter, &fault), -E2BIG);
	assert_string_equal(fault.text,
	                    "linux.resources.devices: more than 1024 rules and devices");
	assert_int_equal(device_filter_set(dir.fd, many, 1024, NULL, 0, &filter, NULL), 0);
	many[5].major.value = 1ll << 32;
	assert_int_equal(device_filter_set(dir.fd, many, 6, NULL, 0, &filter, &fault), -EINVAL);
	assert_string_equal(fault.text, "linux.resources.devices[5]: no such device number");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
