/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The qemu partition: the order of birth and death of a VM and its helpers.
 *
 * QEMU is the partition. A helper whose end is not a consequence of QEMU's takes QEMU along, and is
 * the reason then; QEMU's end takes the helpers along. Whatever the order in which the kernel tells
 * of these deaths, one reason is told: what was noticed first of what can be no consequence.
 *
 * A guest that resets has panicked: our agent powers off and never resets. The kernel's last words
 * are on the console.
 */

#include "shim/partition.h"

#include "oci/log.h"
#include "shim/disk.h"
#include "shim/kernel_file.h"
#include "shim/kvm.h"
#include "shim/locate.h"
#include "shim/qemu_args.h"
#include "shim/qmp.h"
#include "shim/virtiofs.h"
#include "shim/vsock_device.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define SPARE_MEMORY 64         /* MiB beyond the kernel: the agent, and a small container */

struct qemu {
	struct partition *partition;
	struct vsock_device vsock;
	struct virtiofs share;
	struct daemon vmm;
	struct qmp qmp;
	struct disks disks;
	bool kvm;
	uint32_t least;                 /* MiB without which the guest cannot do its work */
	uint64_t memory;                /* bytes that the guest was told to have */
	char status[32];                /* "running", "paused" */
	char reason[32];                /* of a shutdown, as QEMU says it: "guest-reset" */
	char death[PARTITION_DEATH];    /* why it had to end; "" = nothing but its own end */
	char told[PARTITION_DEATH];     /* how it has ended */
};

static struct qemu *of_partition(struct partition *partition)
{
	return partition->own;
}

/* The monitor */

static void on_event(struct qmp *qmp, const char *name, const struct json *data)
{
	struct qemu *qemu = container_of(qmp, struct qemu, qmp);

	log_debug("QEMU: %s %s", name, qmp_text(data, "reason"));
	if (!strcmp(name, "SHUTDOWN"))
		snprintf(qemu->reason, sizeof(qemu->reason), "%s", qmp_text(data, "reason"));
	else if (!strcmp(name, "GUEST_PANICKED"))
		snprintf(qemu->reason, sizeof(qemu->reason), "guest-panic");
	else if (!strcmp(name, "DEVICE_DELETED"))
		disk_gone(&qemu->disks, qmp_text(data, "device"));
}

static void on_monitor_lost(struct qmp *qmp)
{
	(void)qmp;
}

/* The other ends are QEMU's alone from now on. */
static void on_made(struct qmp *qmp)
{
	struct qemu *qemu = container_of(qmp, struct qemu, qmp);

	close_fd(&qemu->share.fd);
	close_fd(&qemu->vsock.fd);
}

static const struct qmp_ops qmp_ops = {
	.made = on_made,
	.event = on_event,
	.lost = on_monitor_lost,
};

/* What QEMU has said, to a daemon that has not read it. */
static bool is_unread(int fd)
{
	int bytes = 0;

	return fd >= 0 && ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

static const char *qemu_silent(struct partition *partition)
{
	struct qemu *qemu = of_partition(partition);

	if (!qemu->qmp.greeted)
		return "QEMU does not start";
	if (!qemu->qmp.greeting.answer)
		return "the VM has started, but its agent does not answer";
	if (is_unread(qemu->share.fd))
		return "virtiofsd does not answer QEMU";
	return is_unread(qemu->vsock.fd) ? "vhost-device-vsock does not answer QEMU"
	                                 : "QEMU does not start the VM";
}

/* The processes */

static void on_said(struct daemon *daemon, const char *text, size_t size)
{
	struct qemu *qemu = daemon->owner;

	qemu->partition->output(qemu->partition, text, size);
}

/* QEMU closes the monitor before it lets go of its helpers. */
static void on_helper_ended(struct daemon *daemon)
{
	struct qemu *qemu = daemon->owner;

	qmp_drain(&qemu->qmp);
	if (qemu->qmp.source.fd < 0 || qemu->reason[0] || qemu->death[0] ||
	    daemon_has_ended(&qemu->vmm))
		return;
	daemon_collect(daemon, qemu->death, sizeof(qemu->death));
	qemu->partition->said = &daemon->said;
	daemon_kill(&qemu->vmm);
}

/* The sandbox process hears of it too, and collects. */
static void on_vmm_ended(struct daemon *daemon)
{
	struct qemu *qemu = daemon->owner;

	daemon_kill(&qemu->share.daemon);
	daemon_kill(&qemu->vsock.daemon);
}

static const struct daemon_ops helper_ops = { .ended = on_helper_ended, .said = on_said };
static const struct daemon_ops vmm_ops = { .ended = on_vmm_ended, .said = on_said };

/* Birth */

/*
 * Kernel and image are opened by us and reopened by QEMU below /proc/self/fd, which asks for the
 * rights of its user; kernels are often for root alone. A copy in memory is everybody's.
 */
static int open_readable(const char *path, struct fault *fault)
{
	struct stat st;
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0)
		return fault_errno(fault, -errno, "%s", path);
	if (st.st_mode & S_IROTH)
		return take_fd(&fd);
	cleanup_close int copy = memfd_create("hvrun", MFD_CLOEXEC);
	for (off_t left = st.st_size; copy >= 0 && left > 0;) {
		ssize_t n = sendfile(copy, fd, NULL, (size_t)left);
		if (n <= 0)
			return fault_errno(fault, n < 0 ? -errno : -EIO, "read %s", path);
		left -= n;
	}
	return copy < 0 ? fault_errno(fault, -errno, "read %s", path) : take_fd(&copy);
}

static int open_files(const struct qemu_config *config, struct qemu_plan *plan,
                      struct fault *fault)
{
	static const char *const kernels[] = { "vmlinux", "vmlinuz", NULL };
	static const char *const images[] = { "hvrun-guest.img", NULL };
	char path[PATH_MAX];
	int r = locate_guest("the guest's kernel", config->kernel, kernels, path, fault);

	if (r >= 0)
		r = plan->kernel_fd = open_readable(path, fault);
	if (r >= 0)
		r = locate_guest("the guest's image", config->image, images, path, fault);
	if (r >= 0)
		r = plan->image_fd = open_readable(path, fault);
	return r;
}

static int check_memory(struct qemu *qemu, const struct qemu_plan *plan, struct fault *fault)
{
	uint32_t given = plan->config->memory;
	uint64_t needed = (kernel_file_memory(plan->kernel_fd) >> 20) + 1;

	if (given < needed)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "%u MiB of memory are too few: the guest's kernel alone takes "
		                 "%llu", given, (unsigned long long)needed);
	qemu->memory = (uint64_t)given << 20;
	qemu->least = (uint32_t)min_size(given, needed + SPARE_MEMORY);
	return 0;
}

static bool choose_kvm(struct qemu *qemu, const struct qemu_plan *plan)
{
	switch (plan->config->accelerator) {
	case ACCELERATOR_KVM:
		return true;
	case ACCELERATOR_TCG:
		return false;
	default:
		return kvm_works(qemu->partition, plan);
	}
}

static int start_vmm(struct qemu *qemu, struct qemu_plan *plan, struct fault *fault)
{
	struct arena arena = ARENA(1u << 20);
	int fds[QEMU_FDS], pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return fault_errno(fault, -errno, "QEMU's monitor");
	cleanup_close int theirs = pair[1];
	int r = qmp_init(&qemu->qmp, qemu->partition->loop, pair[0], &qmp_ops);
	if (r < 0)
		return fault_errno(fault, r, "QEMU's monitor");
	plan->monitor_fd = theirs;
	qemu_fds(plan, fds);
	const char **args = qemu_args(&arena, plan);
	const struct daemon_plan vmm = {
		.name = "QEMU",
		.args = args,
		.fds = fds,
		.speaks = true,
		.user = plan->config->user,
		.device = plan->kvm ? KVM_DEVICE : NULL,
	};
	r = args ? daemon_start(&qemu->vmm, &vmm, qemu->partition->loop, &vmm_ops, fault)
		 : fault_errno(fault, -ENOMEM, "QEMU");
	qemu->vmm.owner = qemu;
	arena_free(&arena);
	return r;
}

static int start_helpers(struct qemu *qemu, struct fault *fault)
{
	struct partition *partition = qemu->partition;
	int r = vsock_device_start(&qemu->vsock, partition, &helper_ops, fault);

	qemu->vsock.daemon.owner = qemu;
	if (r < 0)
		return r;
	r = virtiofs_start(&qemu->share, partition, &helper_ops, fault);
	qemu->share.daemon.owner = qemu;
	return r;
}

static int start_all(struct qemu *qemu, const char *program, struct qemu_plan *plan,
                     struct fault *fault)
{
	struct partition *partition = qemu->partition;
	const char *slash = strrchr(partition->directory, '/');
	int r = start_helpers(qemu, fault);

	plan->program = program;
	plan->name = slash ? slash + 1 : "hvrun";
	plan->debug = partition->debug;
	plan->cid = partition->child.cid;
	plan->port = partition->port;
	if (r >= 0)
		plan->kvm = qemu->kvm = choose_kvm(qemu, plan);
	if (r >= 0)
		r = vsock_device_connect(&qemu->vsock, partition, fault);
	if (r < 0)
		return r;
	plan->share_fd = qemu->share.fd;
	plan->vsock_fd = qemu->vsock.fd;
	plan->vhost_fd = qemu->vsock.vhost_fd;
	return start_vmm(qemu, plan, fault);
}

static int qemu_start(struct partition *partition, struct fault *fault)
{
	static const char *const places[] = {
		"/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm", NULL,
	};
	const struct qemu_config *config = &partition->config->qemu;
	struct qemu *qemu = of_partition(partition);
	struct qemu_plan plan = { config, .kernel_fd = -1, .image_fd = -1, .monitor_fd = -1,
	                          .share_fd = -1, .vsock_fd = -1, .vhost_fd = -1 };
	char program[PATH_MAX];
	int r = locate_program(config->path, places, "qemu-system-x86_64", program, fault);

	if (r >= 0)
		r = open_files(config, &plan, fault);
	if (r >= 0)
		r = check_memory(qemu, &plan, fault);
	if (r >= 0)
		r = start_all(qemu, program, &plan, fault);
	close_fd(&plan.kernel_fd);
	close_fd(&plan.image_fd);
	if (r < 0)
		return r;
	partition->exit_fd = fcntl(qemu->vmm.pidfd, F_DUPFD_CLOEXEC, 0);
	if (partition->exit_fd < 0)
		return fault_errno(fault, -errno, "QEMU");
	partition->pid = qemu->vmm.pid;
	partition->dialler = qemu->vsock.daemon.pid;
	partition->said = &qemu->vmm.console;
	return 0;
}

static int qemu_prepare(struct partition *partition, struct fault *fault)
{
	struct qemu *qemu = calloc(1, sizeof(*qemu));

	if (!qemu)
		return fault_errno(fault, -ENOMEM, "partition");
	*qemu = (struct qemu){
		.partition = partition,
		.vsock = VSOCK_DEVICE_NULL,
		.share = VIRTIOFS_NULL,
		.vmm = DAEMON_NULL,
		.qmp = QMP_NULL,
		.disks.qmp = &qemu->qmp,
		.status = "running",
	};
	partition->own = qemu;
	int r = virtiofs_prepare(&qemu->share, partition, fault);
	return r < 0 ? r : vsock_device_prepare(&qemu->vsock, partition, fault);
}

static int qemu_endpoint(struct partition *partition, uint32_t port, struct hv_endpoint *ret)
{
	return vsock_device_endpoint(&of_partition(partition)->vsock, partition, port, ret);
}

/* Death */

static void qemu_stop(struct partition *partition)
{
	struct qemu *qemu = of_partition(partition);

	daemon_kill(&qemu->vmm);
	virtiofs_unmount(&qemu->share, partition);
}

/* What QEMU said of the end of the guest, against what the kernel says of the end of QEMU. */
static void explain(struct qemu *qemu, char *text, size_t size)
{
	static const struct { const char *reason, *text; } reasons[] = {
		{ "guest-shutdown", "the VM has powered itself off" },
		{ "guest-reset", "the guest's kernel has reset the VM" },
		{ "guest-panic", "the guest's kernel panicked" },
	};
	char line[256], how[PARTITION_DEATH - 8] = "";

	daemon_collect(&qemu->vmm, how, sizeof(how));
	if (qemu->death[0]) {
		snprintf(text, size, "%s", qemu->death);
		return;
	}
	tail_line(&qemu->vmm.console, "Kernel panic - ", line, sizeof(line));
	if (line[0] && strncmp(qemu->reason, "guest-", 6) == 0) {
		snprintf(text, size, "the guest's kernel panicked: %s", line);
		return;
	}
	for (size_t i = 0; i < array_size(reasons); i++) {
		if (!strcmp(qemu->reason, reasons[i].reason)) {
			snprintf(text, size, "%s", reasons[i].text);
			return;
		}
	}
	/* QEMU is the VM to those who do not know it; what it complains of is its own. */
	bool killed = !strncmp(how, "QEMU was", 8);
	snprintf(text, size, "%s%s", killed ? "the VM" : "", killed ? how + 4 : how);
	if (tail_line(&qemu->vmm.said, NULL, line, sizeof(line))[0])
		qemu->partition->said = &qemu->vmm.said;
}

static void qemu_collect(struct partition *partition, char *text, size_t size)
{
	struct qemu *qemu = of_partition(partition);
	char ignored[1];

	qmp_drain(&qemu->qmp);
	virtiofs_unmount(&qemu->share, partition);
	if (!qemu->told[0])
		explain(qemu, qemu->told, sizeof(qemu->told));
	snprintf(text, size, "%s", qemu->told);
	partition->pid = 0;
	daemon_kill(&qemu->share.daemon);
	daemon_kill(&qemu->vsock.daemon);
	daemon_collect(&qemu->share.daemon, ignored, sizeof(ignored));
	daemon_collect(&qemu->vsock.daemon, ignored, sizeof(ignored));
}

#define MOMENT 50       /* milliseconds */

static bool qemu_dying(struct partition *partition, char *text, size_t size)
{
	struct qemu *qemu = of_partition(partition);
	struct pollfd ends[] = {
		{ .fd = qemu->vmm.pidfd, .events = POLLIN },
		{ .fd = qemu->vsock.daemon.pidfd, .events = POLLIN },
		{ .fd = qemu->share.daemon.pidfd, .events = POLLIN },
	};

	if (!qemu->vmm.pid || poll(ends, array_size(ends), MOMENT) <= 0)
		return false;
	for (size_t i = 1; !ends[0].revents && i < array_size(ends); i++) {
		if (ends[i].revents)
			on_helper_ended(i == 1 ? &qemu->vsock.daemon : &qemu->share.daemon);
	}
	/* It was killed, or ends itself, and how is known only then. */
	if (!qemu->death[0] && poll(ends, 1, MOMENT) <= 0)
		return false;
	if (qemu->death[0])
		snprintf(text, size, "%s", qemu->death);
	else
		qemu_collect(partition, text, size);
	return true;
}

static void qemu_release(struct partition *partition)
{
	struct qemu *qemu = of_partition(partition);

	if (!qemu)
		return;
	/* Together, then one after the other. */
	daemon_kill(&qemu->vmm);
	daemon_kill(&qemu->share.daemon);
	qmp_deinit(&qemu->qmp);
	disks_deinit(&qemu->disks);
	daemon_deinit(&qemu->vmm);
	vsock_device_deinit(&qemu->vsock);
	virtiofs_deinit(&qemu->share, partition);
	partition->said = NULL;
	free(qemu);
	partition->own = NULL;
}

/* Operations */

/*
 * QEMU's own "stop" takes the rings away from the device of the sockets, which then does not always
 * go on with them (vhost-device-vsock 0.3). A process that is stopped takes nothing from anybody.
 * It is asked something harmless before it stops, and again to see that it goes on.
 */
struct pause_command {
	struct qmp_call command;
	struct partition_call *call;
	struct qemu *qemu;
	bool pause;
};

static void on_pause_answer(struct qmp_call *command, const struct json *value,
                            const struct fault *fault)
{
	struct pause_command *pause = container_of(command, struct pause_command, command);
	struct partition_call *call = pause->call;
	struct qemu *qemu = pause->qemu;
	struct fault failure = FAULT_NULL;
	bool pausing = pause->pause;

	(void)value;
	free(pause);
	if (!fault && pausing && pidfd_send_signal(qemu->vmm.pidfd, SIGSTOP, NULL, 0) < 0) {
		fault_errno(&failure, -errno, "stop QEMU");
		fault = &failure;
	}
	if (!fault)
		snprintf(qemu->status, sizeof(qemu->status), pausing ? "paused" : "running");
	call->answer(call, fault);
	if (!fault && !pausing)
		qemu->partition->resumed(qemu->partition);
}

static int qemu_pause(struct partition *partition, bool pause, struct partition_call *call,
                      struct fault *fault)
{
	struct pause_command *command = calloc(1, sizeof(*command));
	struct qemu *qemu = of_partition(partition);

	if (!command)
		return fault_errno(fault, -ENOMEM, "pause");
	*command = (struct pause_command){ .call = call, .qemu = qemu, .pause = pause };
	int r = qmp_send(&qemu->qmp, &command->command, "query-status", NULL, -1, on_pause_answer,
	                 fault);
	if (r >= 0 && !pause)
		(void)pidfd_send_signal(qemu->vmm.pidfd, SIGCONT, NULL, 0);
	if (r < 0)
		free(command);
	return r;
}

struct memory_command {
	struct qmp_call command;
	struct partition_call *call;
	struct qemu *qemu;
	uint64_t size;
};

static void on_memory_answer(struct qmp_call *command, const struct json *value,
                             const struct fault *fault)
{
	struct memory_command *memory = container_of(command, struct memory_command, command);
	struct partition_call *call = memory->call;

	(void)value;
	if (!fault)
		memory->qemu->memory = memory->size;
	free(memory);
	call->answer(call, fault);
}

static int qemu_set_memory(struct partition *partition, uint64_t size,
                           struct partition_call *call, struct fault *fault)
{
	struct qemu *qemu = of_partition(partition);
	uint32_t most = partition->config->qemu.memory;
	char arguments[64];

	if (size < (uint64_t)qemu->least << 20 || size > (uint64_t)most << 20)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "this VM can have from %uM to %uM of memory", qemu->least, most);
	struct memory_command *command = calloc(1, sizeof(*command));
	if (!command)
		return fault_errno(fault, -ENOMEM, "memory");
	*command = (struct memory_command){ .call = call, .qemu = qemu, .size = size };
	snprintf(arguments, sizeof(arguments), "{\"value\":%llu}", (unsigned long long)size);
	int r = qmp_send(&qemu->qmp, &command->command, "balloon", arguments, -1,
	                 on_memory_answer, fault);
	if (r < 0)
		free(command);
	return r;
}

static int qemu_disk_attach(struct partition *partition, int fd, bool read_only,
                            struct partition_call *call, struct fault *fault)
{
	return disk_attach(&of_partition(partition)->disks, fd, read_only, call, fault);
}

static int qemu_disk_detach(struct partition *partition, uint32_t lun,
                            struct partition_call *call, struct fault *fault)
{
	return disk_detach(&of_partition(partition)->disks, lun, call, fault);
}

static pid_t qemu_host_pid(struct partition *partition, uint32_t pid)
{
	(void)partition;
	(void)pid;
	return 0;
}

static void qemu_describe(struct partition *partition, struct buf *out)
{
	const struct qemu *qemu = of_partition(partition);

	(void)buf_printf(out, "VM: %s, %s, %llu of %u MiB, %u cpus, virtiofsd pid %d, ",
	                 qemu->status, qemu->kvm ? "KVM" : "emulated",
	                 (unsigned long long)qemu->memory >> 20, partition->config->qemu.memory,
	                 partition->config->qemu.cpus, (int)qemu->share.daemon.pid);
	if (qemu->vsock.vhost_fd >= 0)
		(void)buf_printf(out, "CID %u, port %u\n", partition->child.cid, partition->port);
	else
		(void)buf_printf(out, "vhost-device-vsock pid %d\n", (int)qemu->vsock.daemon.pid);
}

const struct partition_driver partition_qemu = {
	.name = "qemu",
	.boots = true,
	.shares = true,
	.prepare = qemu_prepare,
	.start = qemu_start,
	.stop = qemu_stop,
	.collect = qemu_collect,
	.dying = qemu_dying,
	.silent = qemu_silent,
	.endpoint = qemu_endpoint,
	.host_pid = qemu_host_pid,
	.release = qemu_release,
	.pause = qemu_pause,
	.set_memory = qemu_set_memory,
	.disk_attach = qemu_disk_attach,
	.disk_detach = qemu_disk_detach,
	.describe = qemu_describe,
};
