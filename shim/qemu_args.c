/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A machine with nothing that the guest does not need, and a QEMU that finds everything open: it
 * can neither start a program nor change its rights, and of the host's files it needs the firmware
 * alone.
 *
 * The kernel's image is given as ELF where there is one (vmlinux): it starts without firmware and
 * without unpacking itself, which is a second under emulation.
 */

#include "shim/qemu_args.h"

#include "shim/partition.h"

#include <string.h>

/* When a row counts; all that are named. */
enum {
	KVM = 1 << 0,
	TCG = 1 << 1,
	PARTITION = 1 << 2,     /* no probe */
	PROBE = 1 << 3,
	SHARE = 1 << 4,
	VSOCK = 1 << 5,         /* by vhost-device-vsock */
	VHOST = 1 << 6,         /* by the kernel */
	USER = 1 << 7,          /* arguments from the configuration */
	DEBUG = 1 << 8,
};

struct row {
	unsigned when;
	const char *option;     /* NULL: there is only the text */
	const char *text;       /* with {variables}; NULL: there is only the option */
};

static const struct row options[] = {
	{ 0, "-name", "{name}" },
	{ 0, "-nodefaults", NULL },
	{ 0, "-no-user-config", NULL },
	{ 0, "-display", "none" },
	{ 0, "-sandbox",
	  "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny" },
	/* No legacy devices that a kernel would wait for. */
	{ 0, "-M", "q35,memory-backend=mem,smbus=off,sata=off,hpet=off,i8042=off,vmport=off" },
	{ KVM, "-accel", "kvm" },
	{ KVM, "-cpu", "host" },
	/* Translated code would take up to 1 GiB of the host's memory. */
	{ TCG, "-accel", "tcg,thread=multi,tb-size=64" },
	/* "Fast" string instructions are copied byte by byte by an emulator: a tenth of a boot. */
	{ TCG, "-cpu", "max,-erms,-fsrm" },
	{ 0, "-smp", "{cpus}" },
	{ 0, "-m", "{memory}M" },
	/* Shared: the daemons behind vhost-user devices read and write it. */
	{ 0, "-object", "memory-backend-memfd,id=mem,size={memory}M,share=on" },
	/* A panic ends in a reset, a reset ends the VM. */
	{ 0, "-no-reboot", NULL },
	{ 0, "-chardev", "stdio,id=console,signal=off" },
	{ 0, "-serial", "chardev:console" },
	{ PARTITION, "-chardev", "socket,id=monitor,fd={monitor}" },
	{ PARTITION, "-mon", "chardev=monitor,mode=control" },
	{ VSOCK, "-chardev", "socket,id=vsock,fd={vsock}" },
	{ VSOCK, "-device", "vhost-user-vsock-pci,chardev=vsock" },
	{ VHOST, "-device", "vhost-vsock-pci,guest-cid={cid},vhostfd={vhost}" },
	{ SHARE, "-chardev", "socket,id=share,fd={share}" },
	{ SHARE, "-device", "vhost-user-fs-pci,chardev=share,tag=" SHARE_TAG },
	/* For disks that are plugged in later. */
	{ PARTITION, "-device", "virtio-scsi-pci,id=scsi0" },
	/* Gives the host back what the guest has freed. */
	{ PARTITION, "-device", "virtio-balloon-pci,free-page-reporting=on" },
	{ 0, "-kernel", "/proc/self/fd/{kernel}" },
	{ 0, "-initrd", "/proc/self/fd/{image}" },
	{ 0, "-append", "{append}" },
};

static const struct row kernel_arguments[] = {
	{ 0, NULL, "console=ttyS0" },
	{ PARTITION, NULL, "quiet" },
	{ PROBE, NULL, "loglevel=7 earlyprintk=ttyS0" },
	{ 0, NULL, "panic=-1" },
	/*
	 * They protect a kernel on a real processor from what runs beside it. What QEMU emulates
	 * does not speculate, so there is nothing to protect from, and they cost a quarter of the
	 * time.
	 */
	{ TCG, NULL, "mitigations=off" },
	/* Calibration against clocks that an emulator keeps badly. */
	{ TCG, NULL, "tsc=reliable no_timer_check" },
	/* Ciphers that nothing here relies on would try themselves for a fifth of the boot. */
	{ TCG, NULL, "cryptomgr.notests" },
	{ USER, NULL, "{arguments}" },
	{ PARTITION, NULL, "-- --parent vsock:host --port {port}" },
	{ PARTITION | DEBUG, NULL, "--log-level debug" },
	/* A kernel that has come so far runs here. */
	{ PROBE, NULL, "-- --version" },
};

struct variable {
	const char *name, *value;
};

static unsigned conditions(const struct qemu_plan *plan)
{
	return (plan->kvm ? KVM : TCG) | (plan->probe ? PROBE : PARTITION) |
	       (plan->share_fd >= 0 ? SHARE : 0) | (plan->vsock_fd >= 0 ? VSOCK : 0) |
	       (plan->vhost_fd >= 0 ? VHOST : 0) | (plan->debug ? DEBUG : 0) |
	       (plan->config->kernel_arguments ? USER : 0);
}

static const char *value_of(const struct variable *variables, const char *name, size_t length)
{
	while (variables->name && (strlen(variables->name) != length ||
	                           memcmp(variables->name, name, length) != 0))
		variables++;
	return variables->value;
}

/* The text with the values of its variables. */
static const char *expand(struct arena *arena, const char *text, const struct variable *variables)
{
	const char *open = strchr(text, '{'), *close = open ? strchr(open, '}') : NULL;

	if (!close)
		return text;
	const char *value = value_of(variables, open + 1, (size_t)(close - open) - 1);
	const char *rest = expand(arena, close + 1, variables);
	return !rest || !value ? NULL :
		arena_printf(arena, "%.*s%s%s", (int)(open - text), text, value, rest);
}

static const char *number(struct arena *arena, int64_t value)
{
	return arena_printf(arena, "%lld", (long long)value);
}

static const char *make_append(struct arena *arena, const struct variable *variables, unsigned have)
{
	const char *line = "";

	for (size_t i = 0; line && i < array_size(kernel_arguments); i++) {
		const struct row *row = &kernel_arguments[i];
		if ((row->when & have) != row->when)
			continue;
		const char *text = expand(arena, row->text, variables);
		line = text ? arena_printf(arena, "%s%s%s", line, *line ? " " : "", text) : NULL;
	}
	return line;
}

/* What stands in an option's list of values has its commas doubled. */
static const char *quote(struct arena *arena, const char *text)
{
	size_t length = strlen(text);
	char *quoted = arena_alloc(arena, 2 * length + 1), *at = quoted;

	for (; quoted && *text; text++) {
		*at++ = *text;
		if (*text == ',')
			*at++ = ',';
	}
	return quoted;
}

const char **qemu_args(struct arena *arena, const struct qemu_plan *plan)
{
	const struct qemu_config *config = plan->config;
	unsigned have = conditions(plan);
	struct variable variables[] = {
		{ "name", quote(arena, plan->name) },
		{ "cpus", number(arena, config->cpus) },
		{ "memory", number(arena, config->memory) },
		{ "monitor", number(arena, plan->monitor_fd) },
		{ "vsock", number(arena, plan->vsock_fd) },
		{ "vhost", number(arena, plan->vhost_fd) },
		{ "share", number(arena, plan->share_fd) },
		{ "kernel", number(arena, plan->kernel_fd) },
		{ "image", number(arena, plan->image_fd) },
		{ "cid", number(arena, plan->cid) },
		{ "port", number(arena, plan->port) },
		{ "arguments", config->kernel_arguments },
		{ "append", NULL },
		{ NULL },
	};
	const char **args = arena_array(arena, 2 * array_size(options) + 2, sizeof(*args));
	size_t count = 0;

	variables[array_size(variables) - 2].value = make_append(arena, variables, have);
	if (!args)
		return NULL;
	args[count++] = plan->program;
	for (size_t i = 0; i < array_size(options); i++) {
		const struct row *row = &options[i];
		if ((row->when & have) != row->when)
			continue;
		args[count++] = row->option;
		if (row->text && !(args[count++] = expand(arena, row->text, variables)))
			return NULL;
	}
	return args;
}

void qemu_fds(const struct qemu_plan *plan, int fds[static QEMU_FDS])
{
	const int all[] = {
		plan->kernel_fd, plan->image_fd, plan->monitor_fd, plan->share_fd, plan->vsock_fd,
		plan->vhost_fd,
	};
	size_t count = 0;

	_Static_assert(array_size(all) < QEMU_FDS, "and the end");
	for (size_t i = 0; i < array_size(all); i++) {
		if (all[i] >= 0)
			fds[count++] = all[i];
	}
	fds[count] = -1;
}
