/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Steps up, each of which is undone by one down: a disk in the machine, its file system in the
 * guest, the layers on top. It is alone with its callbacks: whoever does not need it any more
 * lets go of it at once, and it looks after the rest of its life itself. When the VM has ended
 * every step down fails at once, and that is as good.
 */

#include "shim/image.h"

#include "oci/log.h"
#include "oci/settings.h"
#include "shim/forms.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

struct image {
	struct partition *partition;
	struct bridge *bridge;
	image_answer_fn *answer;        /* NULL: nobody waits */
	void *context;
	bool unneeded;
	bool busy;                      /* a step is under way */
	bool descending;
	size_t step;                    /* how many are done */
	struct fault failure;           /* why it descends */
	struct partition_call disk;
	struct bridge_call call;
	char name[];
};

static void move(struct image *image);

static void stepped(struct image *image, const struct fault *fault)
{
	image->busy = false;
	if (fault && !image->descending) {
		image->failure = *fault;
		image->descending = true;
	} else if (image->descending) {
		if (fault)
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

static int move_disk(struct image *image, bool up, int fd, struct fault *fault)
{
	const struct partition_driver *driver = image->partition->driver;

	image->disk.answer = on_disk;
	return up ? driver->disk_attach(image->partition, fd, true, &image->disk, fault)
		  : driver->disk_detach(image->partition, image->disk.lun, &image->disk, fault);
}

/* The guest finds a disk by itself, but has to be told to let go of it. */
static int move_device(struct image *image, bool up, int fd, struct fault *fault)
{
	const struct scsi_device device = { .disk.lun = (uint8_t)image->disk.lun };

	(void)fd;
	return up ? 1 : form_modify(image->bridge, &image->call, "Remove", "SCSIDevice",
	                            &scsi_device_type, &device, on_modified, fault);
}

static int move_mount(struct image *image, bool up, int fd, struct fault *fault)
{
	char path[PATH_MAX];
	const struct mapped_virtual_disk disk = {
		.mount_path = path,
		.disk.lun = (uint8_t)image->disk.lun,
		.read_only = true,
	};

	(void)fd;
	snprintf(path, sizeof(path), IMAGE_ROOT "-disk", image->name);
	return form_modify(image->bridge, &image->call, up ? "Add" : "Remove",
	                   "MappedVirtualDisk", &mapped_virtual_disk_type, &disk, on_modified,
	                   fault);
}

static int move_layers(struct image *image, bool up, int fd, struct fault *fault)
{
	char lower[PATH_MAX], root[PATH_MAX];
	struct combined_layer layer = { .id = "0", .path = lower };
	const struct combined_layers layers = {
		.container_root_path = root,
		.layers = { 1, &layer },
		.scratch_type = "tmpfs",
	};

	(void)fd;
	snprintf(lower, sizeof(lower), IMAGE_ROOT "-disk", image->name);
	snprintf(root, sizeof(root), IMAGE_ROOT, image->name);
	return form_modify(image->bridge, &image->call, up ? "Add" : "Remove", "CombinedLayers",
	                   &combined_layers_type, &layers, on_modified, fault);
}

/* Positive: there is nothing to do. */
static int (*const steps[])(struct image *image, bool up, int fd, struct fault *fault) = {
	move_disk, move_device, move_mount, move_layers,
};

static void answer(struct image *image, const struct fault *fault)
{
	image_answer_fn *fn = image->answer;

	image->answer = NULL;
	if (fn)
		fn(image->context, fault);
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
			free(image);
		return;
	}
	size_t index = image->descending ? image->step - 1 : image->step;
	int r = steps[index](image, !image->descending, -1, &fault);
	if (r)
		stepped(image, r < 0 ? &fault : NULL);
}

int image_new(struct partition *partition, struct bridge *bridge, const char *name, int fd,
              image_answer_fn *answer_fn, void *context, struct image **ret,
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
	memcpy(image->name, name, length);
	int r = move_disk(image, true, fd, fault);
	if (r < 0) {
		free(image);
		return r;
	}
	image->answer = answer_fn;
	image->context = context;
	*ret = image;
	return 0;
}

void image_free(struct image *image)
{
	if (!image)
		return;
	image->unneeded = true;
	if (!image->busy)
		move(image);
}
