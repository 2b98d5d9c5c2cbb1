/* SPDX-License-Identifier: Apache-2.0 */

/*
 * kill, pause, resume, update: one request each. Callers search the text of a failure for
 * "container not running" and "does not exist", and take the container for stopped or deleted then.
 */

#include "oci/spec.h"
#include "shim/verbs.h"
#include "shim/view.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>

#define RESOURCES_MAX (1u << 20)

struct vm_options {
	bool vm;
};
static const struct option_row vm_rows[] = {
	{ "vm", 0, OPTION_FLAG, offsetof(struct vm_options, vm), NULL,
	  "the whole VM of that container, or of that partition" },
	{ NULL },
};

struct kill_options {
	bool all;
};
static const struct option_row kill_rows[] = {
	{ "all", 'a', OPTION_FLAG, offsetof(struct kill_options, all), NULL,
	  "every process of the container, not just its first" },
	{ NULL },
};

/* Signal 0 reaches nobody: it asks whether there is somebody. On the bridge 0 would mean
 * SIGKILL. */
static int probe(struct cli *cli, const char *id, struct fault *fault)
{
	struct view view;
	int error = view_open(&view, &cli->state, id, ANSWER_LIMIT, fault);
	if (!error && view_stopped(&view))
		error = fault_set(fault, -ESRCH, HRESULT_CONTAINER_NOT_RUNNING,
		                  "container not running");
	view_close(&view);
	return error;
}

static int verb_kill(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	bool all = ((struct kill_options *)options)->all;
	int signal = SIGTERM;
	if (argc > 1 && !strcmp(argv[1], "0"))
		return probe(cli, argv[0], fault);
	if (argc > 1 && oci_signal_parse(argv[1], &signal) < 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "unknown signal \"%s\"",
		                 argv[1]);
	const struct control_request request = {
		.id = argv[0],
		.signal = signal,
		.scope = all ? SCOPE_CONTAINER : SCOPE_PROCESS,
	};
	struct client client;
	int error = running_call(&cli->state, &client, argv[0], CONTROL_SIGNAL, &request, NULL,
	                         fault);
	client_close(&client);
	return error;
}

static int call(struct cli *cli, const struct vm_options *options, const char *id,
                enum control_type type, struct fault *fault)
{
	const struct control_request request = { .id = id, .vm = options->vm };
	struct client client = CLIENT_NULL;
	const char *partition;
	int error;
	if (options->vm) {
		error = client_connect_vm(&client, &cli->state, id, &partition, fault);
		if (!error)
			error = client_call(&client, type, &request, NULL, 0, NULL, fault);
	} else {
		error = running_call(&cli->state, &client, id, type, &request, NULL, fault);
	}
	client_close(&client);
	return error;
}

static int verb_pause(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)argc;
	return call(cli, options, argv[0], CONTROL_PAUSE, fault);
}

static int verb_resume(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)argc;
	return call(cli, options, argv[0], CONTROL_RESUME, fault);
}

struct update_options {
	bool vm;
	const char *file, *cpus, *mems, *refused[4];
	struct opt_i64 memory, reservation, swap, period, quota, shares, burst, idle, rt_period,
		rt_runtime, weight, pids;
};
#define AT(member) offsetof(struct update_options, member)
static const struct option_row update_rows[] = {
	{ "vm", 0, OPTION_FLAG, AT(vm), NULL,
	  "the VM of that container, or that partition; only its --memory" },
	{ "resources", 'r', OPTION_STRING, AT(file), "FILE",
	  "linux.resources in JSON; - reads standard input" },
	{ "memory", 'm', OPTION_NUMBER, AT(memory), "BYTES", "memory limit; -1: none" },
	{ "memory-reservation", 0, OPTION_NUMBER, AT(reservation), "BYTES", "soft limit" },
	{ "memory-swap", 0, OPTION_NUMBER, AT(swap), "BYTES",
	  "memory and swap together; -1: no limit" },
	{ "cpu-period", 0, OPTION_NUMBER, AT(period), "USEC", "of the CPU quota" },
	{ "cpu-quota", 0, OPTION_NUMBER, AT(quota), "USEC", "CPU time in a period; -1: no limit" },
	{ "cpu-share", 0, OPTION_NUMBER, AT(shares), "N", "weight among containers, 2 to 262144" },
	{ "cpu-shares", 0, OPTION_NUMBER, AT(shares), "N" },
	{ "cpu-burst", 0, OPTION_NUMBER, AT(burst), "USEC", "unused quota that may be saved up" },
	{ "cpu-idle", 0, OPTION_NUMBER, AT(idle), "0|1", "1: only when nobody else wants the CPU" },
	{ "cpu-rt-period", 0, OPTION_NUMBER, AT(rt_period), "USEC", "of real-time scheduling" },
	{ "cpu-rt-runtime", 0, OPTION_NUMBER, AT(rt_runtime), "USEC", "real-time CPU in a period" },
	{ "cpuset-cpus", 0, OPTION_STRING, AT(cpus), "LIST", "CPUs, such as 0-3,7" },
	{ "cpuset-mems", 0, OPTION_STRING, AT(mems), "LIST", "memory nodes" },
	{ "blkio-weight", 0, OPTION_NUMBER, AT(weight), "N", "weight of block I/O, 10 to 1000" },
	{ "pids-limit", 0, OPTION_NUMBER, AT(pids), "N", "processes and threads; -1: no limit" },
	{ "kernel-memory", 0, OPTION_STRING, AT(refused[0]), "BYTES" },
	{ "kernel-memory-tcp", 0, OPTION_STRING, AT(refused[1]), "BYTES" },
	{ "l3-cache-schema", 0, OPTION_STRING, AT(refused[2]), "TEXT" },
	{ "mem-bw-schema", 0, OPTION_STRING, AT(refused[3]), "TEXT" },
	{ NULL },
};

static int refuse(const struct update_options *options, struct fault *fault)
{
	static const char *const reasons[] = {
		"--kernel-memory: kernels do not limit it any more; --memory counts it",
		"--kernel-memory-tcp: is not supported; --memory counts it",
		"--l3-cache-schema: a partition has no access to cache allocation",
		"--mem-bw-schema: a partition has no access to memory bandwidth allocation",
	};
	for (size_t i = 0; i < array_size(reasons); i++) {
		if (options->refused[i])
			return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED, "update: %s",
			                 reasons[i]);
	}
	return 0;
}

/* Numbers of flags go into members of either sign. */
static int set_unsigned(const char *name, const struct opt_i64 *from, struct opt_u64 *to,
                        struct fault *fault)
{
	if (!from->set)
		return 0;
	if (from->value < 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "update: --%s %lld is negative", name, (long long)from->value);
	*to = (struct opt_u64){ .set = true, .value = (uint64_t)from->value };
	return 0;
}

static void set_signed(const struct opt_i64 *from, struct opt_i64 *to)
{
	if (from->set)
		*to = *from;
}

static int apply_flags(const struct update_options *options, struct oci_resources *resources,
                       struct fault *fault)
{
	const struct {
		const char *name;
		const struct opt_i64 *from;
		struct opt_u64 *to;
	} rows[] = {
		{ "cpu-period", &options->period, &resources->cpu.period },
		{ "cpu-share", &options->shares, &resources->cpu.shares },
		{ "cpu-burst", &options->burst, &resources->cpu.burst },
		{ "cpu-rt-period", &options->rt_period, &resources->cpu.realtime_period },
		{ "blkio-weight", &options->weight, &resources->block_io.weight },
	};
	int error = 0;
	for (size_t i = 0; !error && i < array_size(rows); i++)
		error = set_unsigned(rows[i].name, rows[i].from, rows[i].to, fault);
	set_signed(&options->memory, &resources->memory.limit);
	set_signed(&options->reservation, &resources->memory.reservation);
	set_signed(&options->swap, &resources->memory.swap);
	set_signed(&options->quota, &resources->cpu.quota);
	set_signed(&options->idle, &resources->cpu.idle);
	set_signed(&options->rt_runtime, &resources->cpu.realtime_runtime);
	set_signed(&options->pids, &resources->pids.limit);
	if (options->cpus)
		resources->cpu.cpus = options->cpus;
	if (options->mems)
		resources->cpu.mems = options->mems;
	return error;
}

static int read_resources(const char *file, struct buf *text, struct fault *fault)
{
	cleanup_close int fd = -1;
	bool standard = !strcmp(file, "-");
	int error = 0;
	if (!standard && (fd = open(file, O_RDONLY | O_CLOEXEC)) < 0)
		error = -errno;
	if (!error)
		error = buf_read_all(text, standard ? STDIN_FILENO : fd);
	return error < 0 ? fault_errno(fault, error, "--resources \"%s\"", file) : 0;
}

static int decode(struct arena *arena, const struct buf *text, struct oci_resources *ret,
                  struct fault *fault)
{
	struct fault why = FAULT_NULL;
	*ret = (struct oci_resources){ 0 };
	int error = json_decode(arena, &oci_resources_type, buf_head(text), buf_length(text), ret,
	                        &why);
	return error < 0 ? fault_set(fault, error, why.hresult, "update: %s", why.text) : 0;
}

/* The file first, then flags. What flags say is checked by the tables that check the file. */
static int make_resources(const struct update_options *options, struct arena *arena,
                          struct oci_resources *ret, struct fault *fault)
{
	static const struct update_options none;
	struct buf text = BUF(RESOURCES_MAX);
	int error = refuse(options, fault);
	if (!error && !memcmp(options, &none, sizeof(none)))
		error = fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                  "update: nothing to change; see hvrun update --help");
	if (!error && options->file)
		error = read_resources(options->file, &text, fault);
	if (!error && options->file)
		error = decode(arena, &text, ret, fault);
	if (!error)
		error = apply_flags(options, ret, fault);
	buf_consume(&text, buf_length(&text));
	if (!error && (error = json_encode(&oci_resources_type, ret, &text, false)) < 0)
		error = fault_errno(fault, error, "update");
	if (!error)
		error = decode(arena, &text, ret, fault);
	buf_deinit(&text);
	return error;
}

static int update_vm(struct cli *cli, const struct update_options *options, const char *id,
                     struct fault *fault)
{
	static const struct update_options none;
	struct update_options rest;
	const struct control_request request = {
		.vm = true,
		.memory = (uint64_t)options->memory.value,
	};
	struct client client = CLIENT_NULL;
	const char *partition;
	memcpy(&rest, options, sizeof(rest));
	rest.vm = false;
	memset(&rest.memory, 0, sizeof(rest.memory));
	if (!options->memory.set || memcmp(&rest, &none, sizeof(none)) != 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "update: of a VM its --memory can be changed, and nothing else");
	if (options->memory.value < 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "update: --memory %lld is negative",
		                 (long long)options->memory.value);
	int error = client_connect_vm(&client, &cli->state, id, &partition, fault);
	if (!error)
		error = client_call(&client, CONTROL_UPDATE, &request, NULL, 0, NULL, fault);
	client_close(&client);
	return error;
}

static int verb_update(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	(void)argc;
	if (((struct update_options *)options)->vm)
		return update_vm(cli, options, argv[0], fault);
	struct oci_resources resources = { 0 };
	struct arena arena = ARENA(JSON_ARENA);
	int error = make_resources(options, &arena, &resources, fault);
	if (!error) {
		const struct control_request request = { .id = argv[0], .resources = &resources };
		struct client client;
		error = running_call(&cli->state, &client, argv[0], CONTROL_UPDATE, &request, NULL,
		                     fault);
		client_close(&client);
	}
	arena_free(&arena);
	return error;
}

const struct verb verbs_control[] = {
	{
		.name = "kill",
		.operands = "ID [SIGNAL]",
		.summary = "send a signal to a container's first process",
		.text = "SIGNAL is a name or a number: TERM (the default), SIGTERM, 15, RTMIN+3.",
		.options = kill_rows,
		.options_size = sizeof(struct kill_options),
		.least = 1, .most = 2,
		.run = verb_kill,
	},
	{
		.name = "pause",
		.operands = "ID",
		.summary = "freeze all processes of a container",
		.text = "As long as a VM is paused, whatever needs it is refused, except delete --force.",
		.options = vm_rows,
		.options_size = sizeof(struct vm_options),
		.least = 1, .most = 1,
		.run = verb_pause,
	},
	{
		.name = "resume",
		.operands = "ID",
		.summary = "let a paused container go on",
		.options = vm_rows,
		.options_size = sizeof(struct vm_options),
		.least = 1, .most = 1,
		.run = verb_resume,
	},
	{
		.name = "update",
		.operands = "ID",
		.summary = "change the resource limits of a container",
		.text = "What is not named stays as it is. Numbers take K, M, G and T. A file and\n"
		        "flags may be combined; the flags win. With --vm the VM gives memory back to\n"
		        "the host, or takes it again, up to what it was started with.",
		.options = update_rows,
		.options_size = sizeof(struct update_options),
		.least = 1, .most = 1,
		.run = verb_update,
	},
	{ NULL },
};
