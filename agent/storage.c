/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A request is a task: it waits for its turn, for its disk, for its child, and is answered. The
 * loop never waits for any of them. Order matters only between tasks that touch: a host may send
 * disks, layers and what is mounted in them in one go, and each waits for what it builds on; two
 * requests for one place are done in the order of their coming.
 *
 * What the host was not told of does not stay: if the answer to an addition cannot be delivered, or
 * said that it took too long, the addition is undone when it is there. What the host was told of
 * is in the kernel's mounts and nowhere else, so that it can be removed by an agent that knows
 * nothing of it. The exception are bundle directories, which go with their container.
 */

#include "agent/storage_private.h"

#include "agent/agent.h"
#include "agent/modules.h"
#include "agent/mountpoint.h"
#include "oci/log.h"

#include <stdio.h>
#include <string.h>

#define WORKERS_MAX 16

enum task_state {
	TASK_QUEUED,    /* behind others */
	TASK_LOADING,   /* the modules without which no disk can appear */
	TASK_WAITING,   /* for its disk */
	TASK_WORKING,
	TASK_UNDOING,
	TASK_DONE,      /* to be freed */
};

struct storage_task {
	struct storage *storage;
	const struct storage_resource *resource;
	bool remove;
	bool makes_bundle;              /* its work, if it succeeds */
	bool given_up;                  /* whatever becomes of it, nobody is told */
	enum task_state state;
	struct arena arena;             /* of settings */
	const void *settings;
	struct request request;
	struct timer limit;
	struct worker worker;
	struct storage_task *next;
};

static const struct storage_resource *const resources[] = {
	&storage_layers,
	&storage_directory,
	&storage_entry,
	&storage_disk,
	&storage_device,
	&(const struct storage_resource){ .name = "VPMemDevice" },
	&(const struct storage_resource){ .name = "VPCIDevice" },
	&(const struct storage_resource){ .name = "Network" },
	&(const struct storage_resource){ .name = "SecurityPolicy" },
	&(const struct storage_resource){ .name = "SecurityPolicyFragment" },
	&(const struct storage_resource){ .name = "PodCgroupMemoryLimit" },
};

static const struct storage_resource *find_resource(const char *name)
{
	for (size_t i = 0; i < array_size(resources); i++) {
		if (!strcmp(resources[i]->name, name))
			return resources[i];
	}
	return NULL;
}

bool storage_knows(const char *resource_type)
{
	return find_resource(resource_type) != NULL;
}

/* Bundles */

/* NULL: it is not about the root of a container. */
static const struct combined_layers *layers_of(const struct storage_task *task)
{
	return task->resource == &storage_layers ? task->settings : NULL;
}

/* Whether the removal, or undoing, of a root leaves the directory above it alone. */
static bool keeps_bundle(const struct storage_task *task, const char *path)
{
	if (task->remove)
		return storage_bundle_stays(task->storage, path);
	return storage_bundle_known(task->storage, path) ||
	       !(task->makes_bundle || layers_bind_bundle(task->settings));
}

/* Order */

static const struct scsi_disk *disk_of(const struct storage_task *task)
{
	uint64_t partition;
	return task->resource->disk ? task->resource->disk(task->settings, &partition) : NULL;
}

static bool same_disk(const struct storage_task *a, const struct storage_task *b)
{
	const struct scsi_disk *x = disk_of(a), *y = disk_of(b);
	return x && y && x->controller == y->controller && x->lun == y->lun;
}

/*
 * Does one of them use a path that leads to, or through, one of the other's, or take away what the
 * other uses?
 */
static bool touch(const struct storage_task *a, const struct storage_task *b)
{
	const char *x, *y;
	for (size_t i = 0; (x = a->resource->path(a->settings, i)); i++) {
		for (size_t k = 0; (y = b->resource->path(b->settings, k)); k++) {
			if (mountpoint_is_below(x, y) || mountpoint_is_below(y, x))
				return true;
		}
	}
	return (a->remove || b->remove) && same_disk(a, b);
}

static bool may_begin(const struct storage_task *task)
{
	unsigned busy = 0;
	for (const struct storage_task *t = task->storage->tasks; t != task; t = t->next) {
		busy += worker_busy(&t->worker);
		if (t->state != TASK_DONE && touch(t, task))
			return false;
	}
	for (const struct storage_task *t = task->next; t; t = t->next)
		busy += worker_busy(&t->worker);
	return busy < WORKERS_MAX;
}

/* Answers */

/* "MappedDirectory "/run/x"", "disk controller 0, lun 5" */
static void task_name(const struct storage_task *task, char *ret, size_t size)
{
	char disk[DISK_TEXT] = "";
	uint64_t partition = 0;
	const char *path = task->resource->path(task->settings, 0);
	if (task->resource->disk)
		disk_text(task->resource->disk(task->settings, &partition), disk);
	if (*disk && partition)
		snprintf(ret, size, "%s, partition %llu", disk, (unsigned long long)partition);
	else if (*disk)
		snprintf(ret, size, "%s", disk);
	else
		snprintf(ret, size, "%s \"%s\"", task->resource->name, path ? path : "");
}

static void task_fail(struct storage_task *task, const struct fault *fault)
{
	log_debug("storage: %s", fault->text);
	bridge_fail(&task->storage->agent->bridge, &task->request, fault);
	task->given_up = true;
}

static void task_end(struct storage_task *task)
{
	timer_set(&task->limit, 0);
	task->state = TASK_DONE;
}

/* True: whoever asked has been told. */
static bool task_succeed(struct storage_task *task)
{
	struct base_reply reply = { 0 };
	if (task->given_up)
		return false;
	task->given_up = true;
	return bridge_reply(&task->storage->agent->bridge, &task->request, &reply);
}

static void task_free(struct storage_task *task)
{
	struct storage_task **at = &task->storage->tasks;
	while (*at != task)
		at = &(*at)->next;
	*at = task->next;
	task->storage->task_count--;
	timer_deinit(&task->limit);
	worker_deinit(&task->worker);
	arena_free(&task->arena);
	free(task);
}

/* Work */

struct work {
	storage_fn *fn;
	struct storage_job job;
};

static int run_work(const void *data, struct fault *fault)
{
	const struct work *work = data;
	return work->fn(&work->job, fault);
}

static void settle(struct storage *storage);

static void work_done(struct worker *worker, int error, const struct fault *fault);

static void start_work(struct storage_task *task, const char *device, bool remove)
{
	struct storage *storage = task->storage;
	struct work work = {
		.fn = remove ? task->resource->remove : task->resource->add,
		.job = { .storage = storage, .settings = task->settings },
	};
	const struct combined_layers *layers = layers_of(task);
	char bundle[PATH_MAX];
	snprintf(work.job.device, sizeof(work.job.device), "%s", device);
	if (layers && layers_bundle_path(layers, bundle) == 0) {
		if (!remove)
			task->makes_bundle = access(bundle, F_OK) < 0;
		work.job.keep_bundle = remove && keeps_bundle(task, bundle);
	}
	/* Nobody waits for the undoing: it has all the time. */
	timer_set(&task->limit, task->state == TASK_UNDOING ? STORAGE_WORK_LIMIT :
	                                                      storage->work_limit);
	int error = worker_start(&task->worker, &storage->agent->loop, run_work, &work, work_done);
	if (error < 0) {
		struct fault fault;
		fault_errno(&fault, error, "%s", task->resource->name);
		task_fail(task, &fault);
		task_end(task);
	}
}

static void undo(struct storage_task *task)
{
	char name[PATH_MAX];
	task_name(task, name, sizeof(name));
	log_info("storage: %s: undone, nobody knows of it", name);
	task->state = TASK_UNDOING;
	start_work(task, "", true);
}

static void add_done(struct storage_task *task, int error)
{
	bool there = !error || (error == -ECANCELED && worker_had_begun(&task->worker));
	if (!error && task_succeed(task)) {
		if (layers_of(task))
			storage_bundle_added(task->storage, layers_of(task), task->makes_bundle);
		task_end(task);
	} else if (there) {
		undo(task);
	} else {
		task_end(task);
	}
}

static void remove_done(struct storage_task *task, int error)
{
	if (!error) {
		if (layers_of(task))
			storage_bundle_removed(task->storage, layers_of(task));
		task_succeed(task);
	}
	task_end(task);
}

/* Disks */

static void task_look(struct storage_task *task);

static void look_all(struct storage *storage)
{
	for (struct storage_task *t = storage->tasks; t; t = t->next) {
		if (t->state == TASK_WAITING)
			task_look(t);
	}
}

static void events_changed(struct device_events *events)
{
	struct storage *storage = container_of(events, struct storage, events);
	look_all(storage);
	settle(storage);
}

static int load_modules(const void *data, struct fault *fault)
{
	const char *const *name = data;
	return modules_load(*name, fault);
}

static bool booted_on_hyperv(const struct storage *storage)
{
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "%s/bus/vmbus", storage->roots.sysfs);
	return access(path, F_OK) == 0;
}

static bool is_loading(const struct storage *storage)
{
	for (struct storage_task *t = storage->tasks; t; t = t->next) {
		if (t->state == TASK_LOADING)
			return true;
	}
	return false;
}

static int wait_for_disk(struct storage_task *task)
{
	struct storage *storage = task->storage;
	const char *modules = booted_on_hyperv(storage) ? "scsi-hyperv" : "scsi";
	if (storage->disks_ready || is_loading(storage))
		return 0;
	task->state = TASK_LOADING;
	return worker_start(&task->worker, &storage->agent->loop, load_modules, &modules,
	                    work_done);
}

static void task_look(struct storage_task *task)
{
	char device[PATH_MAX];
	uint64_t partition = 0;
	const struct scsi_disk *disk = task->resource->disk(task->settings, &partition);
	int r = scsi_find(&task->storage->roots, disk, partition, device);
	if (r == -ENOENT)
		r = wait_for_disk(task);
	else if (!r && task->resource->is_nothing(task->settings)) {
		task_succeed(task);
		task_end(task);
	} else if (!r) {
		task->state = TASK_WORKING;
		start_work(task, device, false);
	}
	if (r < 0) {
		struct fault fault;
		char text[DISK_TEXT];
		fault_errno(&fault, r, "%s", disk_text(disk, text));
		task_fail(task, &fault);
		task_end(task);
	}
}

static void work_failed(struct storage_task *task, int error, const struct fault *fault)
{
	char name[PATH_MAX];
	struct fault killed;
	task_name(task, name, sizeof(name));
	fault_set(&killed, error, HRESULT_FAIL, "%s: the work on it was killed", name);
	if (task->given_up)
		log_warning("storage: %s: %s", name, fault->text);
	else
		task_fail(task, error == -ECANCELED ? &killed : fault);
}

static void work_done(struct worker *worker, int error, const struct fault *fault)
{
	struct storage_task *task = container_of(worker, struct storage_task, worker);
	struct storage *storage = task->storage;
	if (error < 0)
		work_failed(task, error, fault);
	if (task->state == TASK_WORKING && !task->remove) {
		add_done(task, error);
	} else if (task->state == TASK_WORKING) {
		remove_done(task, error);
	} else if (task->state == TASK_LOADING && !task->given_up) {
		storage->disks_ready = true;
		task->state = TASK_WAITING;
		look_all(storage);
	} else {
		task_end(task);
	}
	settle(storage);
}

/* Time */

static int limit_reached(struct timer *timer)
{
	struct storage_task *task = container_of(timer, struct storage_task, limit);
	struct storage *storage = task->storage;
	bool disk = task->state == TASK_WAITING || task->state == TASK_LOADING;
	uint64_t limit = disk ? storage->device_limit : storage->work_limit;
	char name[PATH_MAX];
	struct fault fault;
	task_name(task, name, sizeof(name));
	fault_set(&fault, -ETIMEDOUT, HRESULT_FAIL, "%s: %s within %llu s", name,
	          disk                           ? "did not appear"
	          : task->state == TASK_QUEUED   ? "an earlier request did not end"
	                                         : "did not end",
	          (unsigned long long)((limit + 999) / 1000));
	task_fail(task, &fault);
	if (worker_busy(&task->worker))
		worker_kill(&task->worker);
	else
		task_end(task);
	settle(storage);
	return 0;
}

static void task_begin(struct storage_task *task)
{
	struct storage *storage = task->storage;
	char device[PATH_MAX] = "";
	const struct scsi_disk *disk = disk_of(task);
	if (disk && !task->remove) {
		task->state = TASK_WAITING;
		timer_set(&task->limit, storage->device_limit);
		/* First this, or one that comes in between would be missed. */
		if (device_events_open(&storage->events, &storage->agent->loop, &storage->roots,
		                       events_changed) < 0)
			log_warning("storage: no events of devices");
		task_look(task);
		return;
	}
	if (disk && scsi_find(&storage->roots, disk, 0, device) < 0)
		*device = '\0';
	task->state = TASK_WORKING;
	start_work(task, device, task->remove);
}

/* Frees what is done and begins what may, until nothing changes any more. */
static bool settle_one(struct storage *storage)
{
	for (struct storage_task *t = storage->tasks; t; t = t->next) {
		if (t->state == TASK_DONE) {
			task_free(t);
			return true;
		}
		if (t->state == TASK_QUEUED && may_begin(t)) {
			task_begin(t);
			return true;
		}
	}
	return false;
}

static void settle(struct storage *storage)
{
	bool waiting = false;
	while (settle_one(storage))
		;
	for (struct storage_task *t = storage->tasks; t; t = t->next)
		waiting |= t->state == TASK_WAITING || t->state == TASK_LOADING;
	if (!waiting)
		device_events_close(&storage->events);
}

/* Requests */

static int read_operation(const struct storage_resource *resource, const char *text,
                          bool *ret_remove, struct fault *fault)
{
	bool add = !text || !*text || !strcmp(text, "Add");
	*ret_remove = !add && !strcmp(text, "Remove");
	if (!resource->type)
		return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED,
		                 "ResourceType \"%s\": is not supported by this agent",
		                 resource->name);
	if ((add && resource->add) || (*ret_remove && resource->remove))
		return 0;
	return fault_set(fault, -EINVAL, HRESULT_FAIL, "the RequestType \"%s\" is not supported",
	                 text && *text ? text : "Add");
}

static int add_task(struct storage *storage, const struct storage_task *new, struct arena *arena,
                    struct request *request)
{
	struct storage_task *task = malloc(sizeof(*task)), **at = &storage->tasks;
	if (!task)
		return -ENOMEM;
	*task = *new;
	task->storage = storage;
	task->worker = (struct worker)WORKER_NULL;
	int error = timer_init(&task->limit, &storage->agent->loop, limit_reached);
	if (error < 0) {
		free(task);
		return error;
	}
	timer_set(&task->limit, storage->work_limit);
	task->arena = *arena;
	*arena = (struct arena){ 0 };
	task->request = *request;
	*request = (struct request){ 0 };
	while (*at)
		at = &(*at)->next;
	*at = task;
	storage->task_count++;
	return 0;
}

int storage_modify(struct storage *storage, const struct modify_settings *modify,
                   struct arena *arena, struct request *request, struct fault *fault)
{
	struct storage_task task = { .resource = find_resource(modify->resource_type) };
	int error = read_operation(task.resource, modify->request_type, &task.remove, fault);
	if (error < 0)
		return error;
	if (modify->settings.kind != JSON_OBJECT)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_JSON,
		                 "Request.Settings: is required");
	if (storage->task_count >= STORAGE_TASKS_MAX)
		return fault_set(fault, -EBUSY, HRESULT_FAIL,
		                 "%s: %d requests are under way already", task.resource->name,
		                 STORAGE_TASKS_MAX);
	void *settings = arena_alloc(arena, task.resource->type->size);
	if (!settings)
		return fault_errno(fault, -ENOMEM, "%s", task.resource->name);
	error = json_decode_tree(arena, task.resource->type, &modify->settings, settings, fault);
	if (!error)
		error = task.resource->check(storage, settings, task.remove, fault);
	if (error < 0)
		return error;
	task.settings = settings;
	error = add_task(storage, &task, arena, request);
	if (error < 0)
		return fault_errno(fault, error, "%s", task.resource->name);
	settle(storage);
	return 0;
}

void storage_forget(struct storage *storage)
{
	for (struct storage_task *t = storage->tasks; t; t = t->next) {
		t->given_up = true;
		if (t->state == TASK_QUEUED || t->state == TASK_WAITING)
			task_end(t);
	}
	settle(storage);
}

void storage_init(struct storage *storage, struct agent *agent)
{
	*storage = (struct storage){
		.agent = agent,
		.roots = DEVICE_ROOTS,
		.below = "/run",
		.device_limit = STORAGE_DEVICE_LIMIT,
		.work_limit = STORAGE_WORK_LIMIT,
		.events = DEVICE_EVENTS_NULL,
	};
}

void storage_deinit(struct storage *storage)
{
	while (storage->tasks)
		task_free(storage->tasks);
	storage_bundles_forget(storage);
	device_events_close(&storage->events);
}
