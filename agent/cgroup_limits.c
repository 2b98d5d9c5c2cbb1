/* SPDX-License-Identifier: Apache-2.0 */

/*
 * linux.resources in three steps: the planner of each controller, of the version that this machine
 * has it in, says which files shall hold what; what cannot be kept anywhere is refused, by the
 * name that it has in config.json; only then is anything made or written.
 *
 * The order of two writes can matter, and which order is right depends on what is in force: memory
 * and memory+swap, burst and quota, weight and idle each refuse a value that contradicts the other.
 * So there is no order: what is refused is tried again for as long as something else succeeds.
 */

#include "agent/cgroup_private.h"

#include "oci/file.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PLAN_ARENA (1u << 20)

static void plan_fail(struct cgroup_plan *plan, int error, const char *text)
{
	if (plan->error == 0)
		plan->error = fault_set(plan->fault, error, HRESULT_INVALID_ARGUMENT, "%s", text);
}

static void printf_like(5, 0)
plan_append(struct cgroup_plan *plan, bool optional, const char *name, const char *file,
            const char *format, va_list args)
{
	if (plan->error < 0)
		return;
	va_list again;
	va_copy(again, args);
	int length = vsnprintf(NULL, 0, format, again);
	va_end(again);
	struct cgroup_limit *limit = arena_alloc(&plan->arena, sizeof(*limit));
	char *value = length < 0 ? NULL : arena_alloc(&plan->arena, (size_t)length + 1);
	if (!limit || !value || !name || !file) {
		plan_fail(plan, -ENOMEM, "linux.resources: out of memory");
		return;
	}
	vsnprintf(value, (size_t)length + 1, format, args);
	*limit = (struct cgroup_limit) {
		.controller = plan->controller,
		.name = name,
		.file = file,
		.value = value,
		.optional = optional,
	};
	*plan->end = limit;
	plan->end = &limit->next;
}

void cgroup_plan_add(struct cgroup_plan *plan, const char *name, const char *file,
                     const char *format, ...)
{
	va_list args;
	va_start(args, format);
	plan_append(plan, false, name, file, format, args);
	va_end(args);
}

void cgroup_plan_relax(struct cgroup_plan *plan, const char *name, const char *file,
                       const char *format, ...)
{
	va_list args;
	va_start(args, format);
	plan_append(plan, true, name, file, format, args);
	va_end(args);
}

void cgroup_plan_refuse(struct cgroup_plan *plan, int error, const char *name, const char *format,
                        ...)
{
	struct fault detail;
	va_list args;
	va_start(args, format);
	fault_vset(&detail, error, HRESULT_INVALID_ARGUMENT, format, args);
	va_end(args);
	if (plan->error == 0)
		plan->error = fault_set(plan->fault, error, HRESULT_INVALID_ARGUMENT,
		                        "linux.resources.%s: %s", name, detail.text);
}

void cgroup_plan_check_usage(struct cgroup_plan *plan, const struct oci_memory *memory,
                             const char *file)
{
	uint64_t usage;
	if (memory->check_before_update.value && memory->limit.set && memory->limit.value > 0 &&
	    cgroup_file_u64(cgroup_controller_fd(plan->cgroup, CGROUP_MEMORY), file, &usage) == 0 &&
	    usage > (uint64_t)memory->limit.value)
		cgroup_plan_refuse(plan, -EBUSY, "memory.limit", "%" PRIu64 " bytes are in use",
		                   usage);
}

/*
 * unified holds v2 files by name. One line is one request, also where the kernel takes only one per
 * write (io.max). What cgroup core offers beyond its two ceilings would move processes or take the
 * cgroup out of our hands.
 */
static void plan_unified(struct cgroup_plan *plan, const struct str_pair *pair)
{
	const char *name = arena_printf(&plan->arena, "unified.%s", pair->name);
	if (!name) {
		plan_fail(plan, -ENOMEM, "linux.resources: out of memory");
		return;
	}
	uint32_t mask = cgroup_controller_of_file(pair->name);
	if (mask == 0 || (mask == CGROUP_BIT(CGROUP_CORE) &&
	                  strncmp(pair->name, "cgroup.max.", strlen("cgroup.max.")))) {
		cgroup_plan_refuse(plan, -ENOTSUP, name, "there is no such limit");
		return;
	}
	plan->controller = __builtin_ctz(mask);
	const char *file = pair->name, *text = pair->value;
	if (plan->cgroup->mounts->home[plan->controller] > CGROUP_V2) {
		file = cgroup_v1_unified(pair->name);
		if (!file) {
			cgroup_plan_refuse(plan, -ENOTSUP, name,
			                   "the %s controller of this machine is cgroup v1",
			                   cgroup_controller_names[plan->controller]);
			return;
		}
		if (plan->controller == CGROUP_MEMORY && !strcmp(text, "max"))
			text = "-1";
	}
	do {
		size_t length = strcspn(text, "\n");
		cgroup_plan_add(plan, name, file, "%.*s", (int)min_size(length, INT_MAX), text);
		text += length + (text[length] == '\n');
	} while (*text);
}

static void plan_make(struct cgroup_plan *plan, const struct oci_resources *resources)
{
	const struct cgroup_mounts *mounts = plan->cgroup->mounts;
	for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
		bool v1 = mounts->home[c] > CGROUP_V2;
		cgroup_planner *planner = v1 ? cgroup_v1_planners[c] : cgroup_v2_planners[c];
		if (!planner)
			planner = v1 ? cgroup_v2_planners[c] : cgroup_v1_planners[c];
		plan->controller = c;
		if (planner && plan->error == 0)
			planner(plan, resources);
	}
	for (size_t i = 0; i < resources->unified.count && plan->error == 0; i++)
		plan_unified(plan, &resources->unified.item[i]);
}

/* Refuses what has no home before anything is written, and makes the v1 directories. */
static int plan_settle(struct cgroup_plan *plan, struct cgroup *cgroup)
{
	for (struct cgroup_limit *limit = plan->first; limit; limit = limit->next) {
		int home = cgroup->mounts->home[limit->controller];
		bool there = home >= 0 && cgroup->dirs[home].fd >= 0;
		if (there)
			continue;
		if (limit->optional)
			limit->written = true;
		else if (home == CGROUP_NOWHERE)
			return fault_set(plan->fault, -ENOTSUP, HRESULT_FAIL,
			                 "linux.resources.%s: this machine has no %s controller",
			                 limit->name, cgroup_controller_names[limit->controller]);
	}
	for (struct cgroup_limit *limit = plan->first; limit; limit = limit->next) {
		if (limit->written || cgroup_controller_fd(cgroup, limit->controller) >= 0)
			continue;
		int home = cgroup->mounts->home[limit->controller];
		int r = cgroup_dir_add(cgroup, home, plan->fault);
		if (r < 0)
			return r;
	}
	return 0;
}

static int limit_write(struct cgroup_limit *limit, const struct cgroup *cgroup)
{
	int fd = cgroup_controller_fd(cgroup, limit->controller);
	int r = file_write_text(fd, limit->file, limit->value);
	if (r == -ENOENT && limit->optional)
		r = 0;
	limit->written = r == 0;
	return r;
}

static int limit_fault(const struct cgroup_limit *limit, const struct cgroup *cgroup, int error,
                       struct fault *fault)
{
	if (error == -ENOENT)
		return fault_set(fault, -ENOTSUP, HRESULT_FAIL,
		                 "linux.resources.%s: cgroup %s has no %s", limit->name,
		                 cgroup->path, limit->file);
	return fault_errno(fault, error, "linux.resources.%s: writing \"%s\" to %s", limit->name,
	                   limit->value, limit->file);
}

static int plan_write(struct cgroup_plan *plan, const struct cgroup *cgroup)
{
	for (;;) {
		const struct cgroup_limit *refused = NULL;
		int error = 0;
		bool progress = false;
		for (struct cgroup_limit *limit = plan->first; limit; limit = limit->next) {
			if (limit->written)
				continue;
			int r = limit_write(limit, cgroup);
			progress |= r == 0;
			if (r < 0 && !refused) {
				refused = limit;
				error = r;
			}
		}
		if (!refused)
			return 0;
		if (!progress)
			return limit_fault(refused, cgroup, error, plan->fault);
	}
}

int cgroup_limits_apply(struct cgroup *cgroup, const struct oci_resources *resources,
                        struct fault *fault)
{
	struct cgroup_plan plan = {
		.cgroup = cgroup,
		.arena = ARENA(PLAN_ARENA),
		.fault = fault,
	};
	plan.end = &plan.first;
	plan_make(&plan, resources);
	int r = plan.error;
	if (r == 0)
		r = plan_settle(&plan, cgroup);
	if (r == 0)
		r = plan_write(&plan, cgroup);
	arena_free(&plan.arena);
	return r;
}
