/* SPDX-License-Identifier: Apache-2.0 */

/* The command line of QEMU, word by word. */

#include "shim/qemu_args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define START \
	"-nodefaults -no-user-config -display none " \
	"-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny " \
	"-M q35,memory-backend=mem,smbus=off,sata=off,hpet=off,i8042=off,vmport=off "
#define MEMORY(n) \
	"-m " #n "M -object memory-backend-memfd,id=mem,size=" #n "M,share=on -no-reboot " \
	"-chardev stdio,id=console,signal=off -serial chardev:console "
#define DEVICES \
	"-device virtio-scsi-pci,id=scsi0 -device virtio-balloon-pci,free-page-reporting=on "

static const struct qemu_config config = { .memory = 256, .cpus = 1 };
static const struct qemu_config large = {
	.memory = 1024, .cpus = 4, .kernel_arguments = "a=1 b",
};

static const struct {
	struct qemu_plan plan;
	const char *line;
} rows[] = {
	/* Emulated, with the daemons. */
	{
		{ &config, "/usr/bin/qemu", "pod,1", .kernel_fd = 5, .image_fd = 6,
		  .monitor_fd = 7, .share_fd = 8, .vsock_fd = 9, .vhost_fd = -1,
		  .port = 1073741824 },
		"/usr/bin/qemu -name pod,,1 " START
		"-accel tcg,thread=multi,tb-size=64 -cpu max,-erms,-fsrm -smp 1 " MEMORY(256)
		"-chardev socket,id=monitor,fd=7 -mon chardev=monitor,mode=control "
		"-chardev socket,id=vsock,fd=9 -device vhost-user-vsock-pci,chardev=vsock "
		"-chardev socket,id=share,fd=8 "
		"-device vhost-user-fs-pci,chardev=share,tag=hvrun " DEVICES
		"-kernel /proc/self/fd/5 -initrd /proc/self/fd/6 "
		"-append console=ttyS0 quiet panic=-1 mitigations=off "
		"tsc=reliable no_timer_check cryptomgr.notests -- --parent vsock:host --port 1073741824"
	},
	/* On KVM, with the kernel's vsock. */
	{
		{ &large, "/q", "c", .kvm = true, .debug = true, .kernel_fd = 5, .image_fd = 6,
		  .monitor_fd = 7, .share_fd = 8, .vsock_fd = -1, .vhost_fd = 10, .cid = 77,
		  .port = 1073741830 },
		"/q -name c " START "-accel kvm -cpu host -smp 4 " MEMORY(1024)
		"-chardev socket,id=monitor,fd=7 -mon chardev=monitor,mode=control "
		"-device vhost-vsock-pci,guest-cid=77,vhostfd=10 "
		"-chardev socket,id=share,fd=8 "
		"-device vhost-user-fs-pci,chardev=share,tag=hvrun " DEVICES
		"-kernel /proc/self/fd/5 -initrd /proc/self/fd/6 "
		"-append console=ttyS0 quiet panic=-1 a=1 b "
		"-- --parent vsock:host --port 1073741830 --log-level debug"
	},
	/* Does a kernel run on KVM? */
	{
		{ &config, "/q", "c", .kvm = true, .probe = true, .kernel_fd = 5, .image_fd = 6,
		  .monitor_fd = -1, .share_fd = -1, .vsock_fd = -1, .vhost_fd = -1 },
		"/q -name c " START "-accel kvm -cpu host -smp 1 " MEMORY(256)
		"-kernel /proc/self/fd/5 -initrd /proc/self/fd/6 "
		"-append console=ttyS0 loglevel=7 earlyprintk=ttyS0 panic=-1 "
		"-- --version"
	},
};

static void test_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		struct arena arena = ARENA(1u << 20);
		struct buf line = BUF(1u << 16);
		const char **args = qemu_args(&arena, &rows[i].plan);
		assert_non_null(args);
		for (const char **arg = args; *arg; arg++)
			assert_int_equal(buf_printf(&line, "%s%s", arg == args ? "" : " ", *arg), 0);
		assert_int_equal(buf_append(&line, "", 1), 0);
		assert_string_equal(buf_head(&line), rows[i].line);
		buf_deinit(&line);
		arena_free(&arena);
	}
}

static void test_fds(void **state)
{
	int fds[QEMU_FDS];

	(void)state;
	qemu_fds(&rows[0].plan, fds);
	const int all[] = { 5, 6, 7, 8, 9, -1 };
	assert_memory_equal(fds, all, sizeof(all));
	qemu_fds(&rows[2].plan, fds);
	const int few[] = { 5, 6, -1 };
	assert_memory_equal(fds, few, sizeof(few));
}

/* However little memory there is, it is noticed. */
static void test_memory(void **state)
{
	size_t all = 0;

	(void)state;
	for (size_t limit = 1u << 16; limit; limit -= 64) {
		struct arena arena = ARENA(limit);
		const char **args = qemu_args(&arena, &rows[1].plan);
		size_t count = 0;
		while (args && args[count])
			count++;
		all = all ? all : count;
		assert_true(!args || count == all);
		arena_free(&arena);
	}
	assert_true(all > 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_fds),
		cmocka_unit_test(test_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
