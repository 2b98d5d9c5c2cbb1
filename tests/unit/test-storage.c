/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests for storage in a whole agent, with a tree of devices and a folder for mounts of the
 * test's own: what is refused and how, what waits, and what happens when two things happen at once.
 */

#include "agent/storage_private.h"
#include "agent/mountpoint.h"
#include "tests/unit/agent-host.h"

#include <sched.h>

#define MODIFY MESSAGE_MODIFY_SETTINGS

static struct host host;
static char sysfs[128], dev[128], below[128];

static void shell(const char *format, ...) printf_like(1, 2);
static void shell(const char *format, ...)
{
	char command[2048];
	int n = snprintf(command, sizeof(command), "cd %s && ", host.folder);
	va_list args;
	va_start(args, format);
	vsnprintf(command + n, sizeof(command) - (size_t)n, format, args);
	va_end(args);
	assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
	(void)state;
	host_open(&host);
	snprintf(sysfs, sizeof(sysfs), "%s/sys", host.folder);
	snprintf(dev, sizeof(dev), "%s/dev", host.folder);
	snprintf(below, sizeof(below), "%s/run", host.folder);
	shell("mkdir -p sys/class/scsi_host/host5 dev run && "
	      "echo virtio_scsi >sys/class/scsi_host/host5/proc_name");
	host.agent.storage.roots = (struct device_roots){sysfs, dev};
	host.agent.storage.below = below;
	host_negotiate(&host, true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	host_close(&host);
	return 0;
}

static uint64_t send_modify(const char *operation, const char *kind, const char *settings)
{
	return host_send(&host, MODIFY,
			 "{\"ContainerId\":\"" NULL_CID "\",\"Request\":{\"RequestType\":\"%s\","
			 "\"ResourceType\":\"%s\",\"Settings\":%s}}",
			 operation, kind, settings);
}

static const char *modify(const char *operation, const char *kind, const char *settings)
{
	return host_answer(&host, MODIFY, send_modify(operation, kind, settings));
}

static void assert_says(const char *answer, const char *text)
{
	if (!strstr(answer, text))
		fail_msg("not \"%s\" but %s", text, answer);
}

static const struct {
	const char *operation, *kind, *settings; /* @ = the folder */
	int hresult;
	const char *text;
} wrong[] = {
	{"Add", "MappedVirtualDisk", "null", HRESULT_INVALID_JSON, "Settings: is required"},
	{"Add", "MappedVirtualDisk", "[]", HRESULT_INVALID_JSON, "Settings: is required"},
	{"Add", "MappedVirtualDisk", "{\"Lun\":256}", HRESULT_INVALID_JSON, "Lun: "},
	{"Add", "MappedVirtualDisk", "{\"Lun\":-1}", HRESULT_INVALID_JSON, "Lun: "},
	{"Add", "MappedVirtualDisk", "{\"Lun\":1.5}", HRESULT_INVALID_JSON, "Lun: "},
	{"Add", "MappedVirtualDisk", "{\"Options\":\"ro\"}", HRESULT_INVALID_JSON, "Options: "},
	{"Add", "MappedVirtualDisk", "{\"Controller\":4}", HRESULT_INVALID_ARGUMENT,
	 "Controller: 4 is none of 0"},
	{"Remove", "MappedVirtualDisk", "{\"Controller\":255}", HRESULT_INVALID_ARGUMENT,
	 "Controller: 255 is none of 0"},
	{"Add", "MappedVirtualDisk", "{\"MountPath\":\"m\"}", HRESULT_INVALID_ARGUMENT,
	 "MountPath: \\\"m\\\" is not an absolute path"},
	{"Add", "MappedVirtualDisk", "{\"MountPath\":\"/run\"}", HRESULT_INVALID_ARGUMENT,
	 "does not lie below"},
	{"Add", "MappedVirtualDisk", "{\"MountPath\":\"@/run/a/../b\"}", HRESULT_INVALID_ARGUMENT,
	 "superfluous"},
	{"Add", "MappedVirtualDisk", "{\"MountPath\":\"@/runner\"}", HRESULT_INVALID_ARGUMENT,
	 "does not lie below"},
	{"Add", "MappedVirtualDisk", "{\"MountPath\":\"@/run/m\",\"Encrypted\":true}",
	 HRESULT_NOT_IMPLEMENTED, "Encrypted: is not supported"},
	{"Add", "MappedVirtualDisk", "{\"MountPath\":\"@/run/m\",\"Filesystem\":\"a/b\"}",
	 HRESULT_INVALID_ARGUMENT, "is no name of a file system"},
	{"Update", "MappedVirtualDisk", "{}", HRESULT_FAIL,
	 "the RequestType \\\"Update\\\" is not supported"},
	{"Add", "SCSIDevice", "{}", HRESULT_FAIL, "the RequestType \\\"Add\\\" is not supported"},
	{"", "SCSIDevice", "{}", HRESULT_FAIL, "the RequestType \\\"Add\\\" is not supported"},
	{"Remove", "SCSIDevice", "{\"Controller\":9}", HRESULT_INVALID_ARGUMENT, "none of"},
	{"Add", "MappedDirectory", "{}", HRESULT_INVALID_JSON, "MountPath: is required"},
	{"Remove", "MappedDirectory", "{}", HRESULT_INVALID_JSON, "MountPath: is required"},
	{"Add", "MappedDirectory", "{\"MountPath\":\"@/run/m\"}", HRESULT_INVALID_ARGUMENT,
	 "Port: 0 is no port"},
	{"Add", "MappedDirectory", "{\"MountPath\":\"@/run/m\",\"Port\":4294967296}",
	 HRESULT_INVALID_JSON, "Port: "},
	{"Add", "MappedDirectory", "{\"MountPath\":\"@/run/m\",\"Transport\":\"virtiofs\"}",
	 HRESULT_INVALID_JSON, "ShareName: is required"},
	{"Add", "MappedDirectory",
	 "{\"MountPath\":\"@/run/m\",\"Transport\":\"smb\",\"ShareName\":\"x\"}",
	 HRESULT_INVALID_ARGUMENT, "Transport: \\\"smb\\\" is not known"},
	{"Add", "CombinedLayers", "{}", HRESULT_INVALID_JSON, "ContainerRootPath: is required"},
	{"Remove", "CombinedLayers", "{}", HRESULT_INVALID_JSON, "ContainerRootPath: is required"},
	{"Add", "CombinedLayers", "{\"ContainerRootPath\":\"@/run/r\"}", HRESULT_INVALID_ARGUMENT,
	 "Layers: has 0 items"},
	{"Add", "CombinedLayers", "{\"ContainerRootPath\":\"@/run/r\",\"Layers\":[{}]}",
	 HRESULT_INVALID_ARGUMENT, "Layers[0].Path: \\\"\\\" is not an absolute path"},
	{"Add", "CombinedLayers",
	 "{\"ContainerRootPath\":\"@/run/r\",\"Layers\":[{\"Path\":\"/a\"}],"
	 "\"ScratchPath\":\"/a\"}",
	 HRESULT_INVALID_ARGUMENT, "ScratchPath: \\\"/a\\\" does not lie below"},
	{"Add", "CombinedLayers",
	 "{\"ContainerRootPath\":\"@/run/r\",\"Layers\":[{\"Path\":\"/a\"}],"
	 "\"ScratchPath\":\"@/run/s\",\"ScratchType\":\"tmpfs\"}",
	 HRESULT_INVALID_ARGUMENT, "ScratchPath: a tmpfs has none"},
	/* The bundle to be bound would be the folder of all. */
	{"Add", "CombinedLayers",
	 "{\"ContainerRootPath\":\"@/run/r\",\"Layers\":[{\"Path\":\"/a\"}],"
	 "\"ScratchPath\":\"@/run/s/../../s\"}",
	 HRESULT_INVALID_ARGUMENT, "superfluous"},
	{"Add", "VPMemDevice", "{\"DeviceNumber\":0}", HRESULT_NOT_IMPLEMENTED,
	 "\\\"VPMemDevice\\\": is not supported"},
	{"Add", "Network", "{}", HRESULT_NOT_IMPLEMENTED, "\\\"Network\\\": is not supported"},
	{"Add", "VPCIDevice", "{}", HRESULT_NOT_IMPLEMENTED, "is not supported"},
	{"Add", "Nonsense", "{}", HRESULT_FAIL, "invalid ResourceType 'Nonsense'"},
	{"Update", "ContainerConstraints", "{}", HRESULT_NO_SUCH_CONTAINER, "does not exist"},
};

static void test_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(wrong); i++) {
		char settings[512] = "";
		const char *from = wrong[i].settings;
		for (size_t n = 0; *from && n < sizeof(settings) - 80; from++) {
			if (*from == '@')
				n += (size_t)snprintf(settings + n, 80, "%s", host.folder);
			else
				settings[n++] = *from;
		}
		const char *answer = modify(wrong[i].operation, wrong[i].kind, settings);
		assert_failure(answer, wrong[i].hresult);
		assert_says(answer, wrong[i].text);
	}
	shell("rmdir run");
}

/* Without a MountPath a disk only has to be there; the kernel is not asked to mount. */
static void test_waits(void **state)
{
	(void)state;
	uint64_t first = send_modify("Add", "MappedVirtualDisk", "{\"Lun\":3}");
	uint64_t part = send_modify("Add", "MappedVirtualDisk", "{\"Lun\":3,\"Partition\":2}");
	uint64_t other = send_modify("Add", "MappedVirtualDisk", "{\"Lun\":4}");
	host_idle(&host, 100);
	assert_null(host_find(&host, MESSAGE_RESPONSE(MODIFY), first));
	shell("mkdir -p sys/bus/scsi/devices/5:0:0:3/block/sda && touch dev/sda");
	assert_success(host_answer(&host, MODIFY, first));
	assert_null(host_find(&host, MESSAGE_RESPONSE(MODIFY), part));
	shell("mkdir sys/bus/scsi/devices/5:0:0:3/block/sda/sda2 && "
	      "echo 2 >sys/bus/scsi/devices/5:0:0:3/block/sda/sda2/partition && touch dev/sda2");
	assert_success(host_answer(&host, MODIFY, part));
	shell("mkdir -p sys/bus/scsi/devices/5:0:0:4/block/sdb && touch dev/sdb");
	assert_success(host_answer(&host, MODIFY, other));
	/* Nobody waits, nothing is watched. */
	assert_int_equal(host.agent.storage.task_count, 0);
	assert_int_equal(host.agent.storage.events.source.fd, -1);
	assert_success(modify("Add", "MappedVirtualDisk", "{\"Lun\":3}"));
	assert_success(modify("Remove", "MappedVirtualDisk", "{\"Lun\":77}"));
	assert_success(modify("Remove", "SCSIDevice", "{\"Lun\":77}"));
}

static void test_time_is_up(void **state)
{
	(void)state;
	host.agent.storage.device_limit = 200;
	const char *answer = modify("Add", "MappedVirtualDisk", "{\"Lun\":5}");
	assert_failure(answer, HRESULT_FAIL);
	assert_says(answer, "disk controller 0, lun 5: did not appear within 1 s");
	host.agent.storage.device_limit = STORAGE_DEVICE_LIMIT;
	/* Behind one that waits. */
	host.agent.storage.work_limit = 100;
	uint64_t first = send_modify("Add", "MappedVirtualDisk", "{\"Lun\":6}");
	uint64_t second = send_modify("Remove", "SCSIDevice", "{\"Lun\":6}");
	assert_says(host_answer(&host, MODIFY, second),
		    "disk controller 0, lun 6: an earlier request did not end within 1 s");
	assert_null(host_find(&host, MESSAGE_RESPONSE(MODIFY), first));
}

static void test_bounded(void **state)
{
	(void)state;
	uint64_t ids[STORAGE_TASKS_MAX];
	for (unsigned i = 0; i < STORAGE_TASKS_MAX; i++) {
		char settings[64];
		snprintf(settings, sizeof(settings), "{\"Lun\":%u}", i);
		ids[i] = send_modify("Add", "MappedVirtualDisk", settings);
	}
	assert_says(modify("Add", "MappedVirtualDisk", "{\"Lun\":0}"),
		    "256 requests are under way already");
	assert_null(host_find(&host, MESSAGE_RESPONSE(MODIFY), ids[0]));
	host_reconnect(&host, true);
	assert_int_equal(host.agent.storage.task_count, 0);
}

/* In plain mode the answer is kept for the next connection. */
static void test_lost(void **state)
{
	(void)state;
	send_modify("Add", "MappedVirtualDisk", "{\"Lun\":3}");
	host_idle(&host, 50);
	assert_int_equal(host.agent.storage.task_count, 1);
	host_reconnect(&host, false);
	assert_int_equal(host.agent.storage.task_count, 0);
	uint64_t id = send_modify("Add", "MappedVirtualDisk", "{\"Lun\":4}");
	host_idle(&host, 50);
	host_accept(&host);
	assert_int_equal(host.agent.storage.task_count, 1);
	shell("mkdir -p sys/bus/scsi/devices/5:0:0:4/block/sdb && touch dev/sdb");
	host_idle(&host, 50);
	host_negotiate(&host, false);
	assert_success(host_answer(&host, MODIFY, id));
}

/* Closed with requests in every state. */
static void test_closed(void **state)
{
	(void)state;
	char settings[512];
	shell("mkdir -p a b run");
	snprintf(settings, sizeof(settings),
		 "{\"ContainerRootPath\":\"%s/r\",\"Layers\":[{\"Path\":\"%s/a\"}],"
		 "\"ScratchType\":\"tmpfs\"}", below, host.folder);
	send_modify("Add", "MappedVirtualDisk", "{\"Lun\":3}");
	send_modify("Remove", "CombinedLayers", settings);
	send_modify("Remove", "CombinedLayers", settings);
	send_modify("Remove", "SCSIDevice", "{\"Lun\":3}");
	host_idle(&host, 20);
	assert_in_range(host.agent.storage.task_count, 2, 4);
}

static char *layers_settings(const char *more)
{
	static char settings[1024];
	snprintf(settings, sizeof(settings),
		 "{\"ContainerRootPath\":\"%s/c/root\",\"Layers\":[{\"Path\":\"%s/a\"},"
		 "{\"Path\":\"%s/b\"}]%s}", below, host.folder, host.folder, more);
	return settings;
}

/* What goes on without an asker. */
static void settle(void)
{
	for (int i = 0; i < 3000 && host.agent.storage.task_count; i++)
		host_idle(&host, 1);
	assert_int_equal(host.agent.storage.task_count, 0);
}

static bool mounted(const char *name)
{
	struct stat inner, outer;
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", below, name);
	if (stat(path, &inner) < 0)
		return false;
	strcat(path, "/..");
	return stat(path, &outer) == 0 && inner.st_dev != outer.st_dev;
}

/* Ended by the kernel in the middle: what was there is undone, and whoever asked is told. */
static void test_killed(void **state)
{
	(void)state;
	shell("mkdir a b && touch a/file");
	for (unsigned microseconds = 0; microseconds < 20000; microseconds += 400) {
		uint64_t id = host_now(&host, MODIFY,
				       "{\"ContainerId\":\"" NULL_CID "\",\"Request\":{"
				       "\"ResourceType\":\"CombinedLayers\",\"Settings\":%s}}",
				       layers_settings(",\"ScratchType\":\"tmpfs\""));
		assert_int_equal(host.agent.storage.task_count, 1);
		usleep(microseconds);
		pid_t child = 0;
		char text[64], path[64];
		snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[n > 0 ? n : 0] = '\0';
		child = atoi(text);
		if (child > 0)
			kill(child, SIGKILL);
		const char *answer = host_answer(&host, MODIFY, id);
		if (!succeeded(answer)) {
			assert_says(answer, "the work on it was killed");
			settle();
			assert_false(mounted("c/root"));
		} else {
			assert_true(mounted("c/root"));
		}
		assert_success(modify("Remove", "CombinedLayers", layers_settings("")));
		assert_false(mounted("c/root"));
		assert_int_equal(host.agent.storage.task_count, 0);
	}
}

/* An answer that says that it took too long is followed by its undoing. */
static void test_too_long(void **state)
{
	(void)state;
	shell("mkdir a b");
	host.agent.storage.work_limit = 1;
	for (unsigned i = 0; i < 20; i++) {
		const char *answer = modify("Add", "CombinedLayers",
					    layers_settings(",\"ScratchType\":\"tmpfs\""));
		bool there = succeeded(answer);
		if (!there)
			assert_says(answer, "did not end within 1 s");
		settle();
		host.agent.storage.work_limit = STORAGE_WORK_LIMIT;
		assert_int_equal(there, mounted("c/root"));
		assert_success(modify("Remove", "CombinedLayers", layers_settings("")));
		host.agent.storage.work_limit = 1 + i / 2;
	}
}

static const struct {
	const char *path, *folder;
	bool below;
} nested[] = {
	{"/run/a", "/run", true},      {"/run", "/run", true},  {"/runner", "/run", false},
	{"/ru", "/run", false},        {"/run/a", "/", true},   {"/", "/", true},
	{"/run/ab/c", "/run/a", false}, {"/run/a/b/c", "/run/a/b", true},
};

static void test_below(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(nested); i++)
		assert_int_equal(mountpoint_is_below(nested[i].path, nested[i].folder),
				 nested[i].below);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_wrong, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_time_is_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_long, setup, teardown),
		cmocka_unit_test(test_below),
	};
	if (!box_able())
		return 0;
	/* What is mounted here is nobody else's. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 1;
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
