/* SPDX-License-Identifier: Apache-2.0 */

/*
 * That /dev/kvm can be opened proves nothing, nor that it makes a VM, nor that a few instructions
 * run in it: there are machines, themselves guests, whose KVM does all of that and cannot run a
 * kernel (QEMU aborts, or the kernel hangs at once). The only proof is a kernel that has come as
 * far as its first process, so the guest's own kernel is booted for it, without devices. What it
 * says tells how far it came; what it does in the end is to panic for want of a program that goes
 * on.
 *
 * The verdict is good until the machine is booted again.
 */

#include "shim/kvm.h"

#include "oci/file.h"
#include "oci/log.h"
#include "shim/daemon.h"
#include "shim/state.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define PROBE_LIMIT 10000       /* milliseconds */
#define PROOF " as init process" /* "Run /init as init process" */
#define VERDICT "kvm"           /* the file in the root: "<boot id> yes" */

/* Memory */

static int boot_id(char text[static 64])
{
	return file_read_line(AT_FDCWD, "/proc/sys/kernel/random/boot_id", text, 64);
}

int kvm_recall(const char *root)
{
	char path[PATH_MAX], boot[64], text[128];

	snprintf(path, sizeof(path), "%s/" VERDICT, root);
	if (boot_id(boot) < 0 || file_read_line(AT_FDCWD, path, text, sizeof(text)) < 0)
		return -ENOENT;
	size_t length = strlen(boot);
	if (strncmp(text, boot, length) != 0)
		return -ENOENT;
	return !strcmp(text + length, " yes") ? 1 : !strcmp(text + length, " no") ? 0 : -ENOENT;
}

void kvm_remember(const char *root, bool works)
{
	char boot[64], text[80];
	cleanup_close int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || boot_id(boot) < 0)
		return;
	int n = snprintf(text, sizeof(text), "%s %s\n", boot, works ? "yes" : "no");
	(void)state_write_file(fd, VERDICT, text, (size_t)n);
}

/* Proof */

struct probe {
	struct loop loop;
	struct daemon vmm;
	struct timer limit;
};

static void on_ended(struct daemon *daemon)
{
	struct probe *probe = container_of(daemon, struct probe, vmm);

	loop_stop(&probe->loop);
}

static bool has_proof(const struct probe *probe)
{
	char line[80];

	return tail_line(&probe->vmm.console, PROOF, line, sizeof(line))[0];
}

static void on_said(struct daemon *daemon, const char *text, size_t size)
{
	struct probe *probe = container_of(daemon, struct probe, vmm);

	(void)text;
	(void)size;
	if (has_proof(probe))
		loop_stop(&probe->loop);
}

static int on_limit(struct timer *timer)
{
	loop_stop(&container_of(timer, struct probe, limit)->loop);
	return 0;
}

static const struct daemon_ops probe_ops = { .ended = on_ended, .said = on_said };

static int run(struct probe *probe, const struct daemon_plan *plan)
{
	int r = loop_init(&probe->loop);

	if (r >= 0)
		r = timer_init(&probe->limit, &probe->loop, on_limit);
	if (r >= 0)
		r = timer_set(&probe->limit, PROBE_LIMIT);
	if (r >= 0)
		r = daemon_start(&probe->vmm, plan, &probe->loop, &probe_ops, NULL);
	return r < 0 ? r : loop_run(&probe->loop);
}

static bool prove(const struct qemu_plan *given)
{
	struct arena arena = ARENA(1u << 20);
	struct qemu_plan plan = *given;
	char how[PARTITION_DEATH] = "";
	int fds[QEMU_FDS];

	plan.kvm = plan.probe = true;
	plan.monitor_fd = plan.share_fd = plan.vsock_fd = plan.vhost_fd = -1;
	qemu_fds(&plan, fds);
	struct probe *probe = calloc(1, sizeof(*probe));
	const char **args = qemu_args(&arena, &plan);
	bool works = false;
	if (probe && args) {
		const struct daemon_plan vmm = {
			.name = "QEMU",
			.args = args,
			.fds = fds,
			.speaks = true,
			.user = plan.config->user,
			.device = KVM_DEVICE,
		};
		*probe = (struct probe){ LOOP_NULL, DAEMON_NULL, TIMER_NULL };
		int r = run(probe, &vmm);
		works = r >= 0 && has_proof(probe);
		daemon_kill(&probe->vmm);
		daemon_collect(&probe->vmm, how, sizeof(how));
		log_debug("KVM: %s", how);
		daemon_deinit(&probe->vmm);
		timer_deinit(&probe->limit);
		loop_deinit(&probe->loop);
	}
	free(probe);
	arena_free(&arena);
	return works;
}

bool kvm_works(const struct partition *partition, const struct qemu_plan *plan)
{
	cleanup_close int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return false;
	int remembered = kvm_recall(partition->root);
	if (remembered >= 0)
		return remembered;
	bool works = prove(plan);
	log_info("KVM: a guest %s", works ? "runs on it" : "does not run on it; emulating");
	kvm_remember(partition->root, works);
	return works;
}
