/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A disk is three things in QEMU, each on top of the one before: a set of descriptors, a block node
 * that reads them, a SCSI device that shows it. Attaching goes up these steps, detaching down, and
 * a step that fails on the way up sends it down again. QEMU may not open files, so the descriptor
 * is the only way to any.
 */

#include "shim/disk.h"

#include "oci/log.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* {n} is the LUN, {b} whether it is read-only, {d} what reads it. */
static const struct step {
	bool with_fd;           /* going up takes the descriptor along */
	bool with_event;        /* going down is over with an event, not with the answer */
	const char *up, *up_arguments;
	const char *down, *down_arguments;
} steps[] = {
	{
		true, false,
		"add-fd", "{\"fdset-id\":{n}}",
		"remove-fd", "{\"fdset-id\":{n}}",
	},
	{
		false, false, "blockdev-add",
		"{\"node-name\":\"disk{n}\",\"driver\":\"raw\",\"read-only\":{b},"
		"\"discard\":\"unmap\",\"file\":{\"driver\":\"{d}\",\"read-only\":{b},"
		"\"discard\":\"unmap\",\"filename\":\"/dev/fdset/{n}\"}}",
		"blockdev-del", "{\"node-name\":\"disk{n}\"}",
	},
	{
		false, true, "device_add",
		"{\"driver\":\"scsi-hd\",\"id\":\"disk{n}\",\"bus\":\"scsi0.0\",\"channel\":0,"
		"\"scsi-id\":0,\"lun\":{n},\"drive\":\"disk{n}\"}",
		"device_del", "{\"id\":\"disk{n}\"}",
	},
};
#define STEPS ((int)array_size(steps))

struct disk {
	struct disks *disks;
	struct disk *next;
	uint32_t lun;
	bool read_only;
	bool device;                    /* of the host, not a file */
	int fd;                         /* on the way up */
	int step;                       /* how many are done */
	bool descending;
	bool answered, deleted;         /* of a step down that has an event */
	struct fault failure;           /* why it descends, unless it was asked to */
	struct qmp_call command;
	struct partition_call *call;    /* who waits; NULL: nobody */
};

static void ascend(struct disk *disk);
static void descend(struct disk *disk);

static char *fill_in(const struct disk *disk, const char *template)
{
	struct buf text = BUF(1024);
	int r = 0;

	for (const char *at = template; r >= 0 && *at;) {
		if (!strncmp(at, "{n}", 3))
			r = buf_printf(&text, "%u", disk->lun);
		else if (!strncmp(at, "{b}", 3))
			r = buf_printf(&text, "%s", disk->read_only ? "true" : "false");
		else if (!strncmp(at, "{d}", 3))
			r = buf_printf(&text, "%s", disk->device ? "host_device" : "file");
		else
			r = buf_append(&text, at, 1);
		at += *at == '{' && at[1] && at[2] == '}' ? 3 : 1;
	}
	char *filled = r < 0 ? NULL : strndup(buf_head(&text), buf_length(&text));
	buf_deinit(&text);
	return filled;
}

static int send_step(struct disk *disk, const char *command, const char *template, int fd,
                     qmp_answer_fn *answer, struct fault *fault)
{
	cleanup_free char *arguments = fill_in(disk, template);

	if (!arguments)
		return fault_errno(fault, -ENOMEM, "%s", command);
	return qmp_send(disk->disks->qmp, &disk->command, command, arguments, fd, answer, fault);
}

static void unlist(struct disk *disk)
{
	struct disk **at = &disk->disks->first;

	while (*at != disk)
		at = &(*at)->next;
	*at = disk->next;
}

/* Tells whoever waits; the disk is gone if it is down. */
static void finish(struct disk *disk, const struct fault *fault)
{
	struct partition_call *call = take_pointer(disk->call);
	struct fault copy = fault ? *fault : (struct fault)FAULT_NULL;

	close_fd(&disk->fd);
	if (!disk->step) {
		unlist(disk);
		free(disk);
	}
	if (call)
		call->answer(call, fault ? &copy : NULL);
}

/* Down */

static void stepped_down(struct disk *disk)
{
	disk->step--;
	descend(disk);
}

static void on_down(struct qmp_call *command, const struct json *value, const struct fault *fault)
{
	struct disk *disk = container_of(command, struct disk, command);

	(void)value;
	if (fault && disk->step == STEPS) {
		/* It is still there, and can be detached again. */
		disk->descending = false;
		finish(disk, fault);
		return;
	}
	if (fault)
		log_warning("disk %u: %s", disk->lun, fault->text);
	disk->answered = true;
	if (disk->deleted || !steps[disk->step - 1].with_event)
		stepped_down(disk);
}

static void descend(struct disk *disk)
{
	struct fault fault = FAULT_NULL;

	disk->descending = true;
	disk->answered = disk->deleted = false;
	if (disk->step) {
		const struct step *step = &steps[disk->step - 1];
		if (send_step(disk, step->down, step->down_arguments, -1, on_down, &fault) < 0)
			on_down(&disk->command, NULL, &fault);
		return;
	}
	finish(disk, disk->failure.text[0] ? &disk->failure : NULL);
}

/* Up */

static void on_up(struct qmp_call *command, const struct json *value, const struct fault *fault)
{
	struct disk *disk = container_of(command, struct disk, command);

	(void)value;
	if (fault) {
		disk->failure = *fault;
		descend(disk);
		return;
	}
	disk->step++;
	if (disk->step < STEPS)
		ascend(disk);
	else
		finish(disk, NULL);
}

static int send_up(struct disk *disk, struct fault *fault)
{
	const struct step *step = &steps[disk->step];

	return send_step(disk, step->up, step->up_arguments, step->with_fd ? disk->fd : -1, on_up,
	                 fault);
}

static void ascend(struct disk *disk)
{
	struct fault fault = FAULT_NULL;

	if (send_up(disk, &fault) < 0)
		on_up(&disk->command, NULL, &fault);
}

static struct disk *find(const struct disks *disks, uint32_t lun)
{
	struct disk *disk = disks->first;

	while (disk && disk->lun != lun)
		disk = disk->next;
	return disk;
}

int disk_attach(struct disks *disks, int fd, bool read_only, struct partition_call *call,
                struct fault *fault)
{
	uint32_t lun = disks->next, tries = 0;

	/* Not one that a guest may still be busy to forget. */
	while (tries < DISKS_MAX && find(disks, lun)) {
		lun = (lun + 1) % DISKS_MAX;
		tries++;
	}
	if (tries == DISKS_MAX)
		return fault_set(fault, -ENOSPC, HRESULT_FAIL, "the VM has %d disks already",
		                 DISKS_MAX);
	struct disk *disk = calloc(1, sizeof(*disk));
	struct stat st;
	int copy = dup(fd);
	if (!disk || copy < 0 || fstat(fd, &st) < 0) {
		int error = disk ? -errno : -ENOMEM;
		close_fd(&copy);
		free(disk);
		return fault_errno(fault, error, "disk");
	}
	*disk = (struct disk){
		.disks = disks,
		.next = disks->first,
		.lun = lun,
		.read_only = read_only,
		.device = S_ISBLK(st.st_mode),
		.fd = copy,
		.call = call,
	};
	disks->first = disk;
	disks->next = (lun + 1) % DISKS_MAX;
	call->lun = lun;
	/* Nobody is answered while he asks. */
	int r = send_up(disk, fault);
	if (r < 0) {
		disk->call = NULL;
		finish(disk, NULL);
	}
	return r;
}

int disk_detach(struct disks *disks, uint32_t lun, struct partition_call *call,
                struct fault *fault)
{
	struct disk *disk = find(disks, lun);

	if (!disk || disk->step < STEPS || disk->descending)
		return fault_set(fault, -ENOENT, HRESULT_NOT_FOUND, "the VM has no disk %u", lun);
	disk->call = call;
	disk->failure.text[0] = '\0';
	descend(disk);
	return 0;
}

void disk_gone(struct disks *disks, const char *device)
{
	char name[16];

	for (struct disk *disk = disks->first; disk; disk = disk->next) {
		snprintf(name, sizeof(name), "disk%u", disk->lun);
		if (strcmp(name, device) || !disk->descending || disk->step != STEPS)
			continue;
		disk->deleted = true;
		if (disk->answered)
			stepped_down(disk);
		return;
	}
}

void disks_deinit(struct disks *disks)
{
	struct fault fault = FAULT_NULL;

	while (disks->first) {
		struct disk *disk = disks->first;
		disks->first = disk->next;
		fault_set(&fault, -EPIPE, HRESULT_FAIL, "disk %u: the VM has ended", disk->lun);
		if (disk->call)
			disk->call->answer(disk->call, &fault);
		close_fd(&disk->fd);
		free(disk);
	}
}
