/* SPDX-License-Identifier: Apache-2.0 */

/* Disks found in made-up trees of sysfs, and told of when they come. */

#include "agent/device_events.h"
#include "agent/scsi.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static char folder[64], sysfs[96], dev[96];
static struct device_roots roots;

static void make(const char *format, ...) printf_like(1, 2);
/* A file when there is a '=' in it (path=content), else a directory. */
static void make(const char *format, ...)
{
	char text[512], command[1200];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	char *content = strchr(text, '=');
	if (content)
		*content++ = '\0';
	if (!content) {
		snprintf(command, sizeof(command), "mkdir -p %s/%s", folder, text);
	} else {
		char *slash = strrchr(text, '/');
		snprintf(command, sizeof(command),
		         "mkdir -p %s/%.*s && printf '%%s\\n' '%s' >%s/%s", folder,
		         (int)(slash - text), text, content, folder, text);
	}
	assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/hvrun-scsi-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(sysfs, sizeof(sysfs), "%s/sys", folder);
	snprintf(dev, sizeof(dev), "%s/dev", folder);
	roots = (struct device_roots){sysfs, dev};
	return mkdir(sysfs, 0755) || mkdir(dev, 0755);
}

static int teardown(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static void test_virtio(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(scsi_host(&roots, i), i < 4 ? -ENOENT : -EINVAL);
	make("sys/class/scsi_host/host0/proc_name=ahci");
	make("sys/class/scsi_host/host10/proc_name=virtio_scsi");
	make("sys/class/scsi_host/host2/proc_name=virtio_scsi");
	make("sys/class/scsi_host/host3/proc_name=usb-storage");
	make("sys/class/scsi_host/host9/proc_name=virtio_scsi");
	make("sys/class/scsi_host/host11");
	make("sys/class/scsi_host/hostess/proc_name=virtio_scsi");
	make("sys/class/scsi_host/host1x/proc_name=virtio_scsi");
	make("sys/class/scsi_host/host99999999999999999999/proc_name=virtio_scsi");
	static const int hosts[] = {2, 9, 10, -ENOENT, -EINVAL};
	for (unsigned i = 0; i < array_size(hosts); i++)
		assert_int_equal(scsi_host(&roots, i), hosts[i]);
	assert_int_equal(scsi_host(&roots, UINT32_MAX), -EINVAL);
}

static void test_vmbus(void **state)
{
	(void)state;
	make("sys/class/scsi_host/host0/proc_name=storvsc_host");
	make("sys/bus/vmbus/devices/0110f83b-de10-5172-a266-78bca56bf50a/host0/x");
	make("sys/bus/vmbus/devices/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/host7/x");
	make("sys/bus/vmbus/devices/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/driver");
	make("sys/bus/vmbus/devices/305891a9-b251-5dfe-91a2-c25d9212275b/driver");
	static const int hosts[] = {7, 0, -ENOENT, -ENOENT, -EINVAL};
	for (unsigned i = 0; i < array_size(hosts); i++)
		assert_int_equal(scsi_host(&roots, i), hosts[i]);
}

static int find(unsigned controller, unsigned lun, uint64_t partition, const char *expected)
{
	char path[PATH_MAX] = "", wanted[PATH_MAX];
	const struct scsi_disk disk = {(uint8_t)controller, (uint8_t)lun};
	int r = scsi_find(&roots, &disk, partition, path);
	snprintf(wanted, sizeof(wanted), "%s/%s", dev, expected ? expected : "");
	if (expected)
		assert_string_equal(path, wanted);
	return r;
}

static void test_find(void **state)
{
	(void)state;
	assert_int_equal(find(0, 3, 0, NULL), -ENOENT);
	assert_int_equal(find(4, 3, 0, NULL), -EINVAL);
	make("sys/class/scsi_host/host1/proc_name=virtio_scsi");
	assert_int_equal(find(0, 3, 0, NULL), -ENOENT);
	make("sys/bus/scsi/devices/1:0:0:3/vendor=QEMU");
	make("sys/bus/scsi/devices/1:0:0:30/block/sdz/size=1");
	make("sys/bus/scsi/devices/1:0:1:3/block/sdy/size=1");
	assert_int_equal(find(0, 3, 0, NULL), -ENOENT);
	make("sys/bus/scsi/devices/1:0:0:3/block/sdab/size=1");
	/* The device file comes last. */
	assert_int_equal(find(0, 3, 0, NULL), -ENOENT);
	make("dev/sdab=");
	assert_int_equal(find(0, 3, 0, "sdab"), 0);
	assert_int_equal(find(0, 3, 2, NULL), -ENOENT);
	make("sys/bus/scsi/devices/1:0:0:3/block/sdab/queue/x=2");
	make("sys/bus/scsi/devices/1:0:0:3/block/sdab/sdab1/partition=1");
	make("sys/bus/scsi/devices/1:0:0:3/block/sdab/sdab22/partition=2");
	make("sys/bus/scsi/devices/1:0:0:3/block/sdab/sdab3/partition=13");
	assert_int_equal(find(0, 3, 2, NULL), -ENOENT);
	make("dev/sdab22=");
	make("dev/sdab3=");
	assert_int_equal(find(0, 3, 2, "sdab22"), 0);
	assert_int_equal(find(0, 3, 13, "sdab3"), 0);
	assert_int_equal(find(0, 3, 3, NULL), -ENOENT);
	assert_int_equal(find(0, 3, UINT64_MAX, NULL), -ENOENT);
	assert_int_equal(find(1, 3, 0, NULL), -ENOENT);
	assert_int_equal(find(0, 255, 0, NULL), -ENOENT);
}

static void test_delete(void **state)
{
	const struct scsi_disk disk = {0, 3}, other = {9, 3};
	char path[160], text[8] = "";
	(void)state;
	assert_int_equal(scsi_delete(&roots, &disk), -ENOENT);
	assert_int_equal(scsi_delete(&roots, &other), -EINVAL);
	make("sys/class/scsi_host/host0/proc_name=virtio_scsi");
	assert_int_equal(scsi_delete(&roots, &disk), -ENOENT);
	make("sys/bus/scsi/devices/0:0:0:3/delete=");
	assert_int_equal(scsi_delete(&roots, &disk), 0);
	snprintf(path, sizeof(path), "%s/bus/scsi/devices/0:0:0:3/delete", sysfs);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, text, sizeof(text)), 2);
	assert_string_equal(text, "1\n");
	close(fd);
}

static unsigned changes;
static struct loop *changing;

static void on_change(struct device_events *events)
{
	changes++;
	device_events_close(events);
	loop_stop(changing);
}

static int on_patience(struct timer *timer)
{
	(void)timer;
	loop_stop(changing);
	return 0;
}

/* In a tree that is not the kernel's the device files are watched. */
static void test_events(void **state)
{
	struct loop loop = LOOP_NULL;
	struct timer patience = TIMER_NULL;
	struct device_events events = DEVICE_EVENTS_NULL;
	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(timer_init(&patience, &loop, on_patience), 0);
	changing = &loop;
	changes = 0;
	assert_int_equal(device_events_open(&events, &loop, &roots, on_change), 0);
	int fd = events.source.fd;
	assert_int_equal(device_events_open(&events, &loop, &roots, on_change), 0);
	assert_int_equal(events.source.fd, fd);
	timer_set(&patience, 50);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(changes, 0);
	make("dev/sda=");
	timer_set(&patience, 5000);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(changes, 1);
	/* Where there is nothing to be watched. */
	const struct device_roots none = {"/no/such", "/no/such"};
	assert_int_equal(device_events_open(&events, &loop, &none, on_change), -ENOENT);
	device_events_close(&events);
	timer_deinit(&patience);
	loop_deinit(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_virtio, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vmbus, setup, teardown),
		cmocka_unit_test_setup_teardown(test_find, setup, teardown),
		cmocka_unit_test_setup_teardown(test_delete, setup, teardown),
		cmocka_unit_test_setup_teardown(test_events, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
