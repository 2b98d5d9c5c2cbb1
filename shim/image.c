/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Steps up, each of which is undone by one down: a disk in the machine, its file system in the
 * guest, the same of the scratch, the layers on top. It is alone with its callbacks: whoever does
 * not need it any more lets go of it at once, and it looks after the rest of its life itself. When
 * the VM has ended every step down fails at once, and that is as good.
 */

#include "shim/image.h"

#include "oci/log.h"
#include "oci/settings.h"
#include "shim/forms.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum medium { ROOT, SCRATCH, MEDIA };

static const struct {
	const char *suffix;             /* of where it is mounted */
	const char *prefix;             /* of what is said of it */
	bool read_only;
	const char *filesystem;         /* NULL: any */
} media[] = {
	[ROOT] = { "-disk", "", true, NULL },
	/* Nobody else's file system is written to because its path was mistyped. */
	[SCRATCH] = { "-scratch", "scratch: ", false, "ext4" },
};

struct image {
	struct partition *partition;
	struct bridge *bridge;
	image_answer_fn *answer;        /* NULL: nobody waits */
	image_gone_fn *gone;            /* likewise */
	void *context;
	bool unneeded;
	bool busy;                      /* a step is under way */
	bool descending;
	size_t step;                    /* how many are done */
	enum medium medium;             /* of the one under way */
	struct fault failure;           /* why it descends */
	bool has_scratch;
	int fd[MEDIA];                  /* until it is attached */
	uint8_t lun[MEDIA];
	struct partition_call disk;
	struct bridge_call call;
	char name[];
};

static void move(struct image *image);

static void stepped(struct image *image, const struct fault *fault)
{
	image->busy = false;
	if (fault && !image->descending) {
		fault_set(&image->failure, -EIO, fault->hresult, "%s%s",
		          media[image->medium].prefix, fault->text);
		image->descending = true;
	} else if (image->descending) {
		/* What was to be kept may be lost. */
		if (fault && image->has_scratch)
			log_warning("image %s: %s", image->name, fault->text);
		else if (fault)
			log_debug("image %s: %s", image->name, fault->text);
		image->step--;
	} else {
		image->step++;
	}
	move(image);
}

static void on_disk(struct partition_call *call, const struct fault *fault)
{
	stepped(container_of(call, struct image, disk), fault);
}

static void on_modified(struct bridge_call *call, const void *reply, const struct fault *fault)
{
	stepped(container_of(call, struct image, call), reply ? NULL : fault);
}

/* The steps */

static bool is_missing(const struct image *image, enum medium medium)
{
	return medium == SCRATCH && !image->has_scratch;
}

static int move_disk(struct image *image, enum medium medium, bool up, struct fault *fault)
{
	const struct partition_driver *driver = image->partition->driver;

	if (is_missing(image, medium))
		return 1;
	image->disk.answer = on_disk;
	if (!up)
		return driver->disk_detach(image->partition, image->lun[medium], &image->disk,
		                           fault);
	int r = driver->disk_attach(image->partition, image->fd[medium], media[medium].read_only,
	                            &image->disk, fault);
	image->lun[medium] = (uint8_t)image->disk.lun;
	close_fd(&image->fd[medium]);
	return r;
}

/* The guest finds a disk by itself, but has to be told to let go of it. */
static int move_device(struct image *image, enum medium medium, bool up, struct fault *fault)
{
	const struct scsi_device device = { .disk.lun = image->lun[medium] };

	return up || is_missing(image, medium) ? 1 :
		form_modify(image->bridge, &image->call, "Remove", "SCSIDevice",
		            &scsi_device_type, &device, on_modified, fault);
}

static void place(const struct image *image, enum medium medium, char path[static PATH_MAX])
{
	snprintf(path, PATH_MAX, IMAGE_ROOT "%s", image->name, media[medium].suffix);
}

static int move_mount(struct image *image, enum medium medium, bool up, struct fault *fault)
{
	char path[PATH_MAX];
	const struct mapped_virtual_disk disk = {
		.mount_path = path,
		.disk.lun = image->lun[medium],
		.read_only = media[medium].read_only,
		.filesystem = media[medium].filesystem,
	};

	if (is_missing(image, medium))
		return 1;
	place(image, medium, path);
	return form_modify(image->bridge, &image->call, up ? "Add" : "Remove",
	                   "MappedVirtualDisk", &mapped_virtual_disk_type, &disk, on_modified,
	                   fault);
}

static int move_layers(struct image *image, enum medium medium, bool up, struct fault *fault)
{
	char lower[PATH_MAX], scratch[PATH_MAX], root[PATH_MAX];
	struct combined_layer layer = { .id = "0", .path = lower };
	const struct combined_layers layers = {
		.container_root_path = root,
		.layers = { 1, &layer },
		.scratch_path = image->has_scratch ? scratch : NULL,
		.scratch_type = image->has_scratch ? NULL : "tmpfs",
	};

	place(image, medium, lower);
	place(image, SCRATCH, scratch);
	snprintf(root, sizeof(root), IMAGE_ROOT, image->name);
	return form_modify(image->bridge, &image->call, up ? "Add" : "Remove", "CombinedLayers",
	                   &combined_layers_type, &layers, on_modified, fault);
}

static const struct step {
	/* Positive: there is nothing to do. */
	int (*move)(struct image *image, enum medium medium, bool up, struct fault *fault);
	enum medium medium;
} steps[] = {
	{ move_disk, ROOT }, { move_device, ROOT }, { move_mount, ROOT },
	{ move_disk, SCRATCH }, { move_device, SCRATCH }, { move_mount, SCRATCH },
	{ move_layers, ROOT },
};

static void answer(struct image *image, const struct fault *fault)
{
	image_answer_fn *fn = image->answer;

	image->answer = NULL;
	if (fn)
		fn(image->context, fault);
}

static void release(struct image *image)
{
	for (size_t i = 0; i < MEDIA; i++)
		close_fd(&image->fd[i]);
	free(image);
}

static void finish(struct image *image)
{
	image_gone_fn *gone = image->gone;
	void *context = image->context;

	release(image);
	if (gone)
		gone(context);
}

/* The next step in either direction, or the end of them. May free the image. */
static void move(struct image *image)
{
	struct fault fault = FAULT_NULL;

	if (image->unneeded && !image->descending) {
		fault_set(&image->failure, -ECANCELED, HRESULT_FAIL, "nobody waits any more");
		image->descending = true;
	}
	/* Whoever is answered may let go of it. */
	image->busy = true;
	if (!image->descending && image->step == array_size(steps)) {
		answer(image, NULL);
		image->busy = false;
		if (image->unneeded)
			move(image);
		return;
	}
	if (image->descending && !image->step) {
		answer(image, &image->failure);
		image->busy = false;
		if (image->unneeded)
			finish(image);
		return;
	}
	const struct step *step = &steps[image->descending ? image->step - 1 : image->step];
	image->medium = step->medium;
	int r = step->move(image, step->medium, !image->descending, &fault);
	if (r)
		stepped(image, r < 0 ? &fault : NULL);
}

static int keep_fd(struct image *image, enum medium medium, int fd)
{
	image->fd[medium] = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return fd >= 0 && image->fd[medium] < 0 ? -errno : 0;
}

int image_new(struct partition *partition, struct bridge *bridge, const char *name, int fd,
              int scratch_fd, image_answer_fn *answer_fn, void *context, struct image **ret,
              struct fault *fault)
{
	size_t length = strlen(name);

	if (!partition->driver->disk_attach)
		return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED,
		                 "a %s partition takes no disks", partition->driver->name);
	if (!length || length > NAME_MAX || *name == '.' || strchr(name, '/'))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "image: invalid name");
	struct image *image = calloc(1, sizeof(*image) + length + 1);
	if (!image)
		return fault_errno(fault, -ENOMEM, "image");
	image->partition = partition;
	image->bridge = bridge;
	image->busy = true;
	image->has_scratch = scratch_fd >= 0;
	image->fd[SCRATCH] = -1;
	memcpy(image->name, name, length);
	int r = keep_fd(image, ROOT, fd);
	if (r >= 0)
		r = keep_fd(image, SCRATCH, scratch_fd);
	r = r < 0 ? fault_errno(fault, r, "image") : move_disk(image, ROOT, true, fault);
	if (r < 0) {
		release(image);
		return r;
	}
	image->answer = answer_fn;
	image->context = context;
	*ret = image;
	return 0;
}

static void let_go(struct image *image)
{
	image->unneeded = true;
	if (!image->busy)
		move(image);
}

void image_free(struct image *image)
{
	if (!image)
		return;
	image->gone = NULL;
	let_go(image);
}

void image_end(struct image *image, image_gone_fn *gone, void *context)
{
	image->gone = gone;
	image->context = context;
	let_go(image);
}
