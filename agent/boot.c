/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The kernel gives its first process a root that pivot_root(2) cannot leave (the initramfs), a
 * console, and nothing else. The steps from there are a table. Whatever has to be in the image
 * stays where the kernel has unpacked it: the new root is a small tmpfs with mount points, and the
 * image's /usr is bound to it.
 *
 * The agent gets a cgroup of its own, in which it cannot be reclaimed from, and is exempt from the
 * OOM killer. The VM's own processes have another, or they would hide behind that.
 */

#include "agent/boot.h"

#include "agent/modules.h"
#include "hvsocket/hvsocket.h"
#include "oci/fault.h"
#include "oci/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#define NEW_ROOT "/newroot"
#define CGROUPS "/sys/fs/cgroup"
#define HOSTNAME "hvrun"
/* A few times what the agent has been seen to need, with what the kernel keeps for it. */
#define MEMORY_MIN "8M"

#define VIRTIO_BALLOON "0x0005" /* as sysfs has it */
#define VIRTIO_VSOCK "0x0013"
#define SETTLED 1000    /* milliseconds after which the first container will be running */

#define PLAIN (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static int vm_cgroup_fd = -1;
static struct timer settling = TIMER_NULL;
static enum { NOT_BOOTED, BOOTED, FINISHED } progress;
static enum log_level level;

static int make_folder(const char *path)
{
	return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* From here on the log is the kernel's: one ring, in the order of events, kept for whoever asks for
 * it later, and shown on the console as far as the kernel's log level lets it. */
static int open_log(struct fault *fault)
{
	(void)make_folder("/dev");
	(void)mknod("/dev/kmsg", S_IFCHR | 0600, makedev(1, 11));
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return fault_errno(fault, -errno, "/dev/kmsg");
	log_init(fd, LOG_FORMAT_KERNEL, level);
	log_info("version " HVRUN_VERSION);
	return 0;
}

static int make_root(struct fault *fault)
{
	static const char *const links[][2] = {
		{ "usr/bin", "bin" }, { "usr/bin", "sbin" }, { "usr/lib", "lib" },
	};
	if (make_folder(NEW_ROOT) < 0 ||
	    mount("root", NEW_ROOT, "tmpfs", 0, "mode=0755,size=16m,nr_inodes=16k") < 0 ||
	    chdir(NEW_ROOT) < 0)
		return fault_errno(fault, -errno, "tmpfs");
	if (make_folder("usr") < 0 || mount("/usr", "usr", NULL, MS_BIND, NULL) < 0)
		return fault_errno(fault, -errno, "/usr of the image");
	for (size_t i = 0; i < array_size(links); i++) {
		if (symlink(links[i][0], links[i][1]) < 0)
			return fault_errno(fault, -errno, "/%s", links[i][1]);
	}
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return fault_errno(fault, -errno, "moving");
	return 0;
}

struct boot_mount {
	const char *target, *type;
	unsigned long flags;
	const char *data;
};

static int mount_one(const struct boot_mount *one, struct fault *fault)
{
	int error = make_folder(one->target);
	if (!error && mount(one->type, one->target, one->type, one->flags, one->data) < 0)
		error = -errno;
	return error < 0 ? fault_errno(fault, error, "%s", one->target) : 0;
}

static int mount_rest(struct fault *fault)
{
	static const struct boot_mount mounts[] = {
		{ "/dev", "devtmpfs", MS_NOSUID, "mode=0755,size=1m" },
		{ "/proc", "proc", PLAIN, NULL },
		{ "/sys", "sysfs", PLAIN, NULL },
		{ "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=25%" },
		{ "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=25%" },
		{ "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666" },
		{ "/dev/shm", "tmpfs", PLAIN, "mode=1777,size=25%" },
		{ "/dev/mqueue", "mqueue", PLAIN, NULL },
		{ CGROUPS, "cgroup2", PLAIN, "nsdelegate,memory_recursiveprot" },
	};
	static const char *const links[][2] = {
		{ "/proc/self/fd", "/dev/fd" },
		{ "/proc/self/fd/0", "/dev/stdin" },
		{ "/proc/self/fd/1", "/dev/stdout" },
		{ "/proc/self/fd/2", "/dev/stderr" },
	};
	for (size_t i = 0; i < array_size(mounts); i++) {
		int error = mount_one(&mounts[i], fault);
		if (error < 0)
			return error;
	}
	for (size_t i = 0; i < array_size(links); i++) {
		if (symlink(links[i][0], links[i][1]) < 0)
			return fault_errno(fault, -errno, "%s", links[i][1]);
	}
	return 0;
}

/* What a kernel of the user's own may not have is asked for all the same. */
static int set_up_kernel(struct fault *fault)
{
	static const char *const settings[][2] = {
		/* Or the kernel would drop lines of the agent's own log. */
		{ "/proc/sys/kernel/printk_devkmsg", "on\n" },
		{ "/proc/sys/kernel/core_pattern", "core\n" },
		/* To wait for a few CPUs is quicker than to wait for their turn: a cgroup that
		 * a process moves to, a mount that goes. */
		{ "/sys/kernel/rcu_expedited", "1\n" },
	};
	struct rlimit no_core = { .rlim_cur = 0, .rlim_max = RLIM_INFINITY };
	(void)fault;
	for (size_t i = 0; i < array_size(settings); i++) {
		int error = file_write_text(AT_FDCWD, settings[i][0], settings[i][1]);
		if (error < 0)
			log_warning("boot: %s: %s", settings[i][0], errno_text(error));
	}
	if (setrlimit(RLIMIT_CORE, &no_core) < 0)
		log_warning("boot: limit of core dumps: %s", errno_text(errno));
	return 0;
}

/* "cpu io memory" → "+cpu +io +memory" */
static int delegate_controllers(void)
{
	char have[512], wanted[1024];
	int error = file_read_line(AT_FDCWD, CGROUPS "/cgroup.controllers", have, sizeof(have));
	if (error < 0)
		return error;
	size_t length = 0;
	char *rest = have, *word;
	while ((word = strsep(&rest, " ")) && length < sizeof(wanted)) {
		if (*word)
			length += (size_t)snprintf(wanted + length, sizeof(wanted) - length,
			                           "%s+%s", length ? " " : "", word);
	}
	return length ? file_write_text(AT_FDCWD, CGROUPS "/cgroup.subtree_control", wanted) : 0;
}

static int make_cgroups(struct fault *fault)
{
	int error = delegate_controllers();
	if (error < 0)
		return fault_errno(fault, error, "controllers");
	if ((error = make_folder(CGROUPS "/hvagent")) < 0 ||
	    (error = file_write_text(AT_FDCWD, CGROUPS "/hvagent/cgroup.procs", "0")) < 0 ||
	    (error = make_folder(CGROUPS "/vm")) < 0)
		return fault_errno(fault, error, "making them");
	if (file_write_text(AT_FDCWD, CGROUPS "/hvagent/memory.min", MEMORY_MIN) < 0)
		log_warning("boot: no memory is kept for the agent: %s", errno_text(errno));
	error = file_write_text(AT_FDCWD, "/proc/self/oom_score_adj", "-1000");
	if (error < 0)
		return fault_errno(fault, error, "oom_score_adj");
	vm_cgroup_fd = open(CGROUPS "/vm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return vm_cgroup_fd < 0 ? fault_errno(fault, -errno, "opening them") : 0;
}

static bool is_guest(void)
{
	struct hv_machine machine;
	hv_machine_probe(&machine);
	return machine.is_guest;
}

static bool is_device(int folder, const char *name, const char *kind)
{
	char path[NAME_MAX + sizeof("/device")], text[16];
	snprintf(path, sizeof(path), "%s/device", name);
	return file_read_line(folder, path, text, sizeof(text)) == 0 && !strcmp(text, kind);
}

static bool has_device(const char *kind)
{
	DIR *folder = opendir("/sys/bus/virtio/devices");
	const struct dirent *entry;
	bool found = false;
	while (folder && !found && (entry = readdir(folder)))
		found = is_device(dirfd(folder), entry->d_name, kind);
	if (folder)
		closedir(folder);
	return found;
}

/*
 * The way to the host; the rest is loaded when it is asked for. A kernel takes one such way, the
 * first that is loaded: virtio's would keep Hyper-V's out, even where there is no such device.
 */
static int load_modules(struct fault *fault)
{
	int error = modules_load("virtio", fault);
	if (!error && has_device(VIRTIO_VSOCK))
		error = modules_load("vsock", fault);
	if (error < 0)
		return error;
	if (is_guest()) {
		modules_forget("hyperv");
		return 0;
	}
	error = modules_load("hyperv", fault);
	if ((!error || error == -ENODEV) && !is_guest())
		error = fault_set(fault, -ENODEV, HRESULT_FAIL,
		                  "the VM has no vsock device and no Hyper-V sockets");
	return error;
}

/*
 * Nobody asks for it by name: the host moves memory with it if the VM has one. It keeps no container
 * waiting: whatever the host has wished until then, the balloon finds in its device.
 */
static int load_balloon(struct timer *timer)
{
	struct fault fault = FAULT_NULL;
	(void)timer;
	if (has_device(VIRTIO_BALLOON) && modules_load("balloon", &fault) < 0)
		log_error("boot: balloon: %s", fault.text);
	return 0;
}

static int raise_loopback(struct fault *fault)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	cleanup_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		return fault_errno(fault, -errno, "lo");
	return 0;
}

/* The kernel's command line may have named it. */
static int set_hostname(struct fault *fault)
{
	struct utsname name;
	if (uname(&name) == 0 && strcmp(name.nodename, "(none)") != 0)
		return 0;
	if (sethostname(HOSTNAME, strlen(HOSTNAME)) < 0)
		return fault_errno(fault, -errno, HOSTNAME);
	return 0;
}

struct step {
	const char *what;
	int (*run)(struct fault *fault);
};

static const struct step first_steps[] = {
	{ "log", open_log },
	{ "root file system", make_root },
	{ "file systems", mount_rest },
	{ "kernel settings", set_up_kernel },
	{ "modules", load_modules },
};

static const struct step last_steps[] = {
	{ "cgroups", make_cgroups },
	{ "loopback", raise_loopback },
	{ "host name", set_hostname },
};

static int run_steps(const struct step *steps, size_t count)
{
	struct fault fault = FAULT_NULL;
	for (size_t i = 0; i < count; i++) {
		int error = steps[i].run(&fault);
		if (error < 0) {
			log_error("boot: %s: %s", steps[i].what, fault.text);
			return error;
		}
		log_debug("boot: %s", steps[i].what);
	}
	return 0;
}

bool boot_wanted(const char *name)
{
	const char *base = name ? strrchr(name, '/') : NULL;
	base = base ? base + 1 : name;
	return getpid() == 1 && base && !strcmp(base, "init");
}

int boot(enum log_level wanted)
{
	level = wanted;
	umask(022);
	clearenv();
	int error = run_steps(first_steps, array_size(first_steps));
	progress = error ? NOT_BOOTED : BOOTED;
	return error;
}

int boot_finish(struct loop *loop)
{
	if (progress != BOOTED)
		return 0;
	progress = FINISHED;
	int error = timer_init(&settling, loop, load_balloon);
	if (!error)
		error = timer_set(&settling, SETTLED);
	return error < 0 ? error : run_steps(last_steps, array_size(last_steps));
}

bool booted(void)
{
	return progress != NOT_BOOTED;
}

/* One that has ended already is still in its cgroup, unless somebody else has reaped it. */
bool boot_obeys(pid_t sender)
{
	char path[40], text[64];
	if (!booted() || sender == 0)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)sender);
	return file_read_text(AT_FDCWD, path, text, sizeof(text)) > 0 &&
	       !strcmp(text, "0::/vm\n");
}

int boot_cgroup_fd(void)
{
	return vm_cgroup_fd;
}
