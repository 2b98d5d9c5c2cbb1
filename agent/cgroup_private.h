/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the files of the cgroup module share: where the controllers are, what a cgroup is made of,
 * and the list of limits between the planners (cgroup_v1.c, cgroup_v2.c) and the writer
 * (cgroup_limits.c).
 */

#include "agent/cgroup.h"
#include "oci/cgroup_path.h"

#include <limits.h>

enum cgroup_controller {
	CGROUP_CPU,
	CGROUP_CPUSET,
	CGROUP_IO,
	CGROUP_MEMORY,
	CGROUP_PIDS,
	CGROUP_HUGETLB,
	CGROUP_RDMA,
	CGROUP_MISC,
	CGROUP_DMEM,
	CGROUP_NET_CLS,
	CGROUP_NET_PRIO,
	CGROUP_CORE,            /* what every v2 cgroup has: cgroup.max.depth and the like */
	CGROUP_CONTROLLERS,
};
#define CGROUP_BIT(controller) (1u << (controller))
/* "cpu", "io", …: the names of version 2, which but for blkio are those of version 1. */
extern const char *const cgroup_controller_names[CGROUP_CONTROLLERS];

#define CGROUP_HIERARCHIES 12   /* one of v2, and a v1 hierarchy has one controller at least */
#define CGROUP_V2 0             /* its place in every list of hierarchies */
#define CGROUP_NOWHERE (-1)

struct cgroup_mounts {
	size_t count;                           /* of hierarchies; the first is v2 */
	int fd[CGROUP_HIERARCHIES];             /* the mount points */
	uint32_t controllers[CGROUP_HIERARCHIES];
	int home[CGROUP_CONTROLLERS];           /* which hierarchy, or CGROUP_NOWHERE */
};
/* cgroup_mounts_probe() on a list of mounts. */
struct mountinfo;
int cgroup_mounts_find(const struct mountinfo *mountinfo, struct cgroup_mounts **ret,
                       struct fault *fault);

/* The cgroup's directory in one hierarchy. */
struct cgroup_dir {
	int fd;         /* -1: not made */
	int tasks_fd;   /* v1: for cgroup_join() */
	unsigned made;  /* the first component of the path that we made, or CGROUP_NOT_MADE */
};
#define CGROUP_NOT_MADE UINT_MAX

struct cgroup {
	const struct cgroup_mounts *mounts;
	char *path;
	bool default_path;              /* our own choice: its parents count as ours */
	struct cgroup_dir dirs[CGROUP_HIERARCHIES];
	int events_fd;
	int filter_fd;                  /* the device filter; -1: everything is allowed */
	int oom_fd;                     /* memory.events, or the v1 eventfd */
	int oom_control_fd;             /* v1: memory.oom_control */
	uint64_t oom_count;             /* v1: as last answered */
	uint64_t oom_announced_ms;      /* v1: since when a kill is not counted yet; 0 = none is */
};
/* The directory of the hierarchy that a controller lives in, -1 when it is not made or nowhere. */
int cgroup_controller_fd(const struct cgroup *cgroup, enum cgroup_controller controller);
/* Makes the directory in a v1 hierarchy, and moves what already runs there. */
int cgroup_dir_add(struct cgroup *cgroup, int hierarchy, struct fault *fault);

/* cgroup_path.c: directories. */
/* Makes path and its parents. enable: controllers of v2 that the parents shall hand down. */
int cgroup_dir_make(const struct cgroup_mounts *mounts, int hierarchy, const char *path,
                    uint32_t enable, struct cgroup_dir *ret, struct fault *fault);
/* With everything below it, and with the parents that are ours and empty. -EBUSY while a process is
 * in it; gone already is success. */
int cgroup_dir_remove(const struct cgroup_mounts *mounts, int hierarchy, const char *path,
                      const struct cgroup_dir *dir);
void cgroup_dir_close(struct cgroup_dir *dir);
/* The numbers in a file such as cgroup.procs, of dir and all below. */
int cgroup_tree_pids(int dir, const char *file, pid_t **ret, size_t *ret_count);

/* cgroup_file.c: one file. */
int cgroup_file_read(int dir, const char *name, char **ret);
int cgroup_file_u64(int dir, const char *name, uint64_t *ret); /* "max" is UINT64_MAX */
/* Takes the next line off the text, NULL at the end. */
char *cgroup_line(char **text);
/* The value of "key value" in a text that was read. */
bool cgroup_text_u64(const char *text, const char *key, uint64_t *ret);
/* Controllers named in a text of words parted by any of " ,\n"; both versions' names count. */
uint32_t cgroup_controller_mask(const char *text);
/* The one of a file such as "memory.max", 0 when it is unknown. */
uint32_t cgroup_controller_of_file(const char *file);

/* cgroup_pressure.c: "cpu.pressure" and the like. Where there is no such file nothing changes. */
void cgroup_pressure_read(const struct cgroup *cgroup, const char *file, struct psi *ret);

/* cgroup_oom.c */
void cgroup_oom_close(struct cgroup *cgroup);

/* cgroup_limits.c: one write per limit. */
struct cgroup_limit {
	struct cgroup_limit *next;
	enum cgroup_controller controller;
	const char *name;       /* the member of linux.resources that asks for it */
	const char *file, *value;
	bool optional;          /* where there is no such file nothing is lost */
	bool written;
};
struct cgroup_plan {
	const struct cgroup *cgroup;
	struct arena arena;
	struct cgroup_limit *first, **end;
	enum cgroup_controller controller;      /* whom the planner plans for */
	int error;                              /* the first one; later calls do nothing */
	struct fault *fault;
};
void cgroup_plan_add(struct cgroup_plan *plan, const char *name, const char *file,
                     const char *format, ...) printf_like(4, 5);
/* For a value that is what holds where the controller is not there: unlimited. */
void cgroup_plan_relax(struct cgroup_plan *plan, const char *name, const char *file,
                       const char *format, ...) printf_like(4, 5);
/* A limit that the machine cannot keep, or a value without sense. */
void cgroup_plan_refuse(struct cgroup_plan *plan, int error, const char *name, const char *format,
                        ...) printf_like(4, 5);
/* checkBeforeUpdate: refuses a memory limit that is exceeded already. file: tells the usage. */
void cgroup_plan_check_usage(struct cgroup_plan *plan, const struct oci_memory *memory,
                             const char *file);
/* Sets the limits of resources; makes v1 directories where they are needed. */
int cgroup_limits_apply(struct cgroup *cgroup, const struct oci_resources *resources,
                        struct fault *fault);

/* One function per controller, NULL where that of the other version serves both. */
typedef void cgroup_planner(struct cgroup_plan *plan, const struct oci_resources *resources);
extern cgroup_planner *const cgroup_v1_planners[CGROUP_CONTROLLERS];
extern cgroup_planner *const cgroup_v2_planners[CGROUP_CONTROLLERS];
/* The throttles of blkio: the same four in both versions. */
struct cgroup_throttle {
	size_t offset;          /* of its oci_throttle_list in struct oci_block_io */
	const char *name, *v1_file, *v2_key;
};
#define CGROUP_THROTTLES 4
extern const struct cgroup_throttle cgroup_throttles[CGROUP_THROTTLES];
/* v1's file for a key of linux.resources.unified, NULL where none means exactly the same. */
const char *cgroup_v1_unified(const char *key);
