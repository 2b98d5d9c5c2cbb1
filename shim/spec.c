/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A config.json to start from. It says what runc's says, since tutorials build on that, and adds a
 * cgroup namespace and masks what runc has learnt to mask since. Being made of the structs that
 * read it, it cannot contain what hvrun does not understand.
 */

#include "shim/spec.h"

#include "shim/bundle.h"
#include "shim/print.h"
#include "shim/verbs.h"

#include <fcntl.h>
#include <sys/resource.h>

#define SPEC_MAX (1u << 20)
#define BIT(capability) (1ull << (capability))
enum { KILL = 5, NET_BIND_SERVICE = 10, AUDIT_WRITE = 29 };

/* str_list and the like hold pointers to what they may change; these are never changed. */
#define WORDS(...) \
	{ .count = sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(const char *), \
	  .item = (const char *[]){ __VA_ARGS__ } }

static struct oci_mount mounts[] = {
	{ "/proc", "proc", "proc", { 0 } },
	{ "/dev", "tmpfs", "tmpfs", WORDS("nosuid", "strictatime", "mode=755", "size=65536k") },
	{ "/dev/pts", "devpts", "devpts",
	  WORDS("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5") },
	{ "/dev/shm", "tmpfs", "shm",
	  WORDS("nosuid", "noexec", "nodev", "mode=1777", "size=65536k") },
	{ "/dev/mqueue", "mqueue", "mqueue", WORDS("nosuid", "noexec", "nodev") },
	{ "/sys", "sysfs", "sysfs", WORDS("nosuid", "noexec", "nodev", "ro") },
	{ "/sys/fs/cgroup", "cgroup", "cgroup",
	  WORDS("nosuid", "noexec", "nodev", "relatime", "ro") },
};
/* The same where we are not root: a group of the host cannot be named, sysfs cannot be mounted. */
static struct oci_mount rootless_mounts[] = {
	{ "/proc", "proc", "proc", { 0 } },
	{ "/dev", "tmpfs", "tmpfs", WORDS("nosuid", "strictatime", "mode=755", "size=65536k") },
	{ "/dev/pts", "devpts", "devpts",
	  WORDS("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620") },
	{ "/dev/shm", "tmpfs", "shm",
	  WORDS("nosuid", "noexec", "nodev", "mode=1777", "size=65536k") },
	{ "/dev/mqueue", "mqueue", "mqueue", WORDS("nosuid", "noexec", "nodev") },
	{ "/sys", "none", "/sys", WORDS("rbind", "nosuid", "noexec", "nodev", "ro") },
	{ "/sys/fs/cgroup", "cgroup", "cgroup",
	  WORDS("nosuid", "noexec", "nodev", "relatime", "ro") },
};

static struct oci_namespace namespaces[] = {
	{ OCI_NS_PID, NULL }, { OCI_NS_NETWORK, NULL }, { OCI_NS_IPC, NULL },
	{ OCI_NS_UTS, NULL }, { OCI_NS_MOUNT, NULL }, { OCI_NS_CGROUP, NULL },
};
/* Without a network of its own, which would have no way out; with a user namespace. */
static struct oci_namespace rootless_namespaces[] = {
	{ OCI_NS_PID, NULL }, { OCI_NS_IPC, NULL }, { OCI_NS_UTS, NULL }, { OCI_NS_MOUNT, NULL },
	{ OCI_NS_CGROUP, NULL }, { OCI_NS_USER, NULL },
};

static struct oci_capabilities capabilities = {
	.bounding = BIT(AUDIT_WRITE) | BIT(KILL) | BIT(NET_BIND_SERVICE),
	.effective = BIT(AUDIT_WRITE) | BIT(KILL) | BIT(NET_BIND_SERVICE),
	.permitted = BIT(AUDIT_WRITE) | BIT(KILL) | BIT(NET_BIND_SERVICE),
};
static struct oci_rlimit rlimits[] = { { RLIMIT_NOFILE, 1024, 1024 } };
static struct oci_device_rule no_devices[] = {
	{ .type = 'a', .access = OCI_DEVICE_MKNOD | OCI_DEVICE_READ | OCI_DEVICE_WRITE },
};
static struct oci_resources resources = { .devices = { array_size(no_devices), no_devices } };

static struct oci_process process = {
	.terminal = true,
	.args = WORDS("sh"),
	.env = WORDS("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	             "TERM=xterm"),
	.cwd = "/",
	.capabilities = &capabilities,
	.rlimits = { array_size(rlimits), rlimits },
	.no_new_privileges = true,
};

static const struct oci_spec defaults = {
	.oci_version = OCI_VERSION,
	.root = { .path = "rootfs", .readonly = true },
	.has_root = true,
	.process = &process,
	.hostname = "hvrun",
	.mounts = { array_size(mounts), mounts },
	.linux_ = {
		.namespaces = { array_size(namespaces), namespaces },
		.resources = &resources,
		.masked_paths = WORDS("/proc/acpi", "/proc/asound", "/proc/interrupts",
		                      "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		                      "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
		                      "/proc/timer_stats", "/sys/devices/virtual/powercap",
		                      "/sys/firmware"),
		.readonly_paths = WORDS("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
		                        "/proc/sysrq-trigger"),
	},
};

int spec_write(struct buf *out, bool rootless)
{
	struct oci_spec spec = defaults;
	struct oci_id_mapping user = { .host_id = geteuid(), .size = 1 };
	struct oci_id_mapping group = { .host_id = getegid(), .size = 1 };
	struct buf text = BUF(SPEC_MAX);
	if (rootless) {
		spec.mounts.item = rootless_mounts;
		spec.mounts.count = array_size(rootless_mounts);
		spec.linux_.namespaces.item = rootless_namespaces;
		spec.linux_.namespaces.count = array_size(rootless_namespaces);
		spec.linux_.resources = NULL;
		spec.linux_.uid_mappings.item = &user;
		spec.linux_.uid_mappings.count = 1;
		spec.linux_.gid_mappings.item = &group;
		spec.linux_.gid_mappings.count = 1;
	}
	int r = json_encode(&oci_spec_type, &spec, &text, false);
	if (r >= 0)
		r = json_indent(out, buf_head(&text), buf_length(&text), "\t");
	if (r >= 0)
		r = buf_append(out, "\n", 1);
	buf_deinit(&text);
	return r;
}

int verb_spec(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)cli;
	(void)argc;
	(void)argv;
	const struct spec_options *asked = options;
	const char *bundle = asked->bundle ? asked->bundle : ".";
	struct buf text = BUF(SPEC_MAX);
	cleanup_close int directory = open(bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return fault_errno(fault, -errno, "bundle \"%s\"", bundle);
	/* Never through a link, never over something. */
	cleanup_close int fd = openat(directory, CONFIG_FILE,
	                              O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0 && errno == EEXIST)
		return fault_set(fault, -EEXIST, HRESULT_INVALID_ARGUMENT,
		                 "%s/" CONFIG_FILE " exists; remove it first", bundle);
	if (fd < 0)
		return fault_errno(fault, -errno, "%s/" CONFIG_FILE, bundle);
	int error = spec_write(&text, asked->rootless);
	if (!error) {
		ssize_t n = write(fd, buf_head(&text), buf_length(&text));
		error = n < 0 ? -errno : (size_t)n < buf_length(&text) ? -ENOSPC : 0;
	}
	buf_deinit(&text);
	if (error < 0)
		unlinkat(directory, CONFIG_FILE, 0);
	return error < 0 ? fault_errno(fault, error, "%s/" CONFIG_FILE, bundle) : 0;
}
