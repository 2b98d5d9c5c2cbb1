/* SPDX-License-Identifier: Apache-2.0 */

/*
 * JSON, because whoever configures a runtime writes config.json files already, and because it goes
 * through the tables that everything else goes through. Unlike a spec, which may come from a newer
 * engine, this file is written by hand for this program: a member that nobody knows is a typing
 * error and is refused.
 *
 * Annotations come from whoever may create containers, which is not who owns the machine: memory of
 * a VM is memory of the host. So the file says which of them count, and by default none does.
 */

#include "shim/config.h"

#include "oci/log.h"
#include "shim/partition.h"

#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define CONFIG_SIZE_MAX (1u << 20)
#define PARTITION_DEFAULT "local"
#define MEMORY_DEFAULT 256
#define MEMORY_MAX (16u << 20)
#define CPUS_MAX 255
#define USER_NOBODY 65534

/* Memory: a number of MiB, or a text with a unit */

static int parse_memory(const char *text, uint32_t *ret)
{
	static const struct { const char *suffix; unsigned shift; } units[] = {
		{ "", 0 }, { "M", 0 }, { "MiB", 0 }, { "G", 10 }, { "GiB", 10 },
	};
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno || end == text || *text < '0' || *text > '9')
		return -EINVAL;
	for (size_t i = 0; i < array_size(units); i++) {
		if (strcasecmp(units[i].suffix, end))
			continue;
		if (!value || value > MEMORY_MAX >> units[i].shift)
			return -EINVAL;
		*ret = (uint32_t)(value << units[i].shift);
		return 0;
	}
	return -EINVAL;
}

static int memory_get(struct json_reader *reader, const struct json *value,
                      const struct json_field *field, void *to)
{
	(void)field;
	if ((value->kind != JSON_STRING && value->kind != JSON_NUMBER) ||
	    parse_memory(value->text, to) < 0)
		return json_refuse(reader, "must be a number of MiB, or like \"512M\" or \"2G\"");
	return 0;
}

static bool memory_absent(const struct json_field *field, const void *from)
{
	(void)field;
	return !*(const uint32_t *)from;
}

static int memory_put(struct json_writer *writer, const struct json_field *field, const void *from)
{
	return json_u32.put(writer, field, from);
}

static const struct json_codec memory = { memory_absent, memory_get, memory_put };

/* Members */

static const struct json_name accelerator_names[] = {
	{ "auto", ACCELERATOR_AUTO },
	{ "kvm", ACCELERATOR_KVM },
	{ "tcg", ACCELERATOR_TCG },
	{ NULL },
};

static const struct json_field qemu_fields[] = {
	JSON_FIELD(struct qemu_config, path, "path", str),
	JSON_FIELD(struct qemu_config, kernel, "kernel", str),
	JSON_FIELD(struct qemu_config, image, "image", str),
	JSON_FIELD_WITH(struct qemu_config, memory, "memory", memory),
	JSON_FIELD(struct qemu_config, cpus, "cpus", u32),
	JSON_FIELD(struct qemu_config, kernel_arguments, "kernelArguments", str),
	JSON_FIELD(struct qemu_config, accelerator, "accelerator", enum, 0, accelerator_names),
	JSON_FIELD(struct qemu_config, virtiofsd, "virtiofsd", str),
	JSON_FIELD(struct qemu_config, vhost_device_vsock, "vhostDeviceVsock", str),
	JSON_FIELD(struct qemu_config, user, "user", u32),
	{ NULL },
};
static const struct json_type qemu_type = JSON_TYPE(struct qemu_config, qemu_fields);

static const struct json_field config_fields[] = {
	JSON_FIELD(struct config, partition, "partition", str),
	JSON_FIELD(struct config, qemu, "qemu", object, 0, &qemu_type),
	JSON_FIELD(struct config, annotations, "annotations", str_list),
	{ NULL },
};
static const struct json_type config_type = JSON_TYPE(struct config, config_fields);

static int check_names(const struct json *object, const struct json_type *type, const char *where,
                       struct fault *fault)
{
	for (size_t i = 0; object && object->kind == JSON_OBJECT && i < object->length; i++) {
		const struct json_member *member = &object->members[i];
		const struct json_field *field = type->fields;
		while (field->name && strcasecmp(field->name, member->name))
			field++;
		if (!field->name)
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "%s%s: unknown member", where, member->name);
	}
	return 0;
}

static int check_path(const char *member, const char *path, struct fault *fault)
{
	return !path || path[0] == '/' ? 0 :
		fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		          "qemu.%s: must be an absolute path", member);
}

/* What stands behind "--" on a kernel's command line belongs to its first process. */
static bool arguments_are_clean(const char *text)
{
	for (const char *at = text; *at; at++) {
		if ((unsigned char)*at < ' ')
			return false;
	}
	const char *found = strstr(text, "--");
	return !found || ((found > text && found[-1] != ' ') || (found[2] && found[2] != ' '));
}

static bool is_partition(const char *kind)
{
	const char *argument;
	return partition_driver_find(kind, &argument) != NULL;
}

static int check(const struct config *config, struct fault *fault)
{
	const struct qemu_config *qemu = &config->qemu;
	int r = check_path("path", qemu->path, fault);

	if (config->partition && !is_partition(config->partition))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "partition: unknown kind \"%s\"", config->partition);
	if (r >= 0)
		r = check_path("kernel", qemu->kernel, fault);
	if (r >= 0)
		r = check_path("image", qemu->image, fault);
	if (r >= 0)
		r = check_path("virtiofsd", qemu->virtiofsd, fault);
	if (r >= 0)
		r = check_path("vhostDeviceVsock", qemu->vhost_device_vsock, fault);
	if (r < 0)
		return r;
	if (qemu->cpus < 1 || qemu->cpus > CPUS_MAX)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "qemu.cpus: must be from 1 to %d", CPUS_MAX);
	if (!qemu->user)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "qemu.user: must not be root");
	if (qemu->kernel_arguments && !arguments_are_clean(qemu->kernel_arguments))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "qemu.kernelArguments: must not hold \"--\" or control "
		                 "characters");
	return 0;
}

static void set_defaults(struct qemu_config *qemu)
{
	qemu->memory = qemu->memory ? qemu->memory : MEMORY_DEFAULT;
}

int config_parse(struct config *ret, const char *name, const char *text, size_t size,
                 struct fault *fault)
{
	struct fault inner = FAULT_NULL;
	struct json tree;

	*ret = (struct config){ .arena = ARENA(JSON_ARENA) };
	struct config read = { .qemu = { .cpus = 1, .user = USER_NOBODY } };
	int r = json_parse(&ret->arena, text, size, &tree, &inner);
	if (r >= 0)
		r = check_names(&tree, &config_type, "", &inner);
	if (r >= 0)
		r = check_names(json_get(&tree, "qemu"), &qemu_type, "qemu.", &inner);
	if (r >= 0)
		r = json_decode_tree(&ret->arena, &config_type, &tree, &read, &inner);
	if (r >= 0) {
		set_defaults(&read.qemu);
		r = check(&read, &inner);
	}
	if (r < 0)
		return fault_set(fault, r, HRESULT_INVALID_ARGUMENT, "%s: %s", name, inner.text);
	read.arena = ret->arena;
	*ret = read;
	return 0;
}

int config_load(struct config *ret, const char *path, struct fault *fault)
{
	const char *name = path ? path : CONFIG_PATH;
	struct buf text = BUF(CONFIG_SIZE_MAX);

	*ret = (struct config){ .arena = ARENA(JSON_ARENA) };
	/* Of a pipe that nobody writes to, nothing is waited for. */
	cleanup_close int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int r = fd < 0 ? -errno : buf_read_all(&text, fd);
	if (r == -ENOENT && !path)
		r = buf_append(&text, "{}", 2);
	r = r < 0 ? fault_errno(fault, r, "%s", name) :
		config_parse(ret, name, buf_head(&text), buf_length(&text), fault);
	buf_deinit(&text);
	return r;
}

/* Annotations */

static int annotate_partition(struct config *config, const char *value)
{
	if (!is_partition(value))
		return -EINVAL;
	config->partition = arena_copy(&config->arena, value, strlen(value));
	return config->partition ? 0 : -ENOMEM;
}

static int annotate_memory(struct config *config, const char *value)
{
	return parse_memory(value, &config->qemu.memory);
}

static int annotate_cpus(struct config *config, const char *value)
{
	char *end;

	errno = 0;
	unsigned long cpus = strtoul(value, &end, 10);
	if (errno || *end || *value < '0' || *value > '9' || !cpus || cpus > CPUS_MAX)
		return -EINVAL;
	config->qemu.cpus = (uint32_t)cpus;
	return 0;
}

/* Besides those of the file: the last one of a name counts. */
static int annotate_arguments(struct config *config, const char *value)
{
	const char *given = config->qemu.kernel_arguments;

	if (!arguments_are_clean(value))
		return -EINVAL;
	config->qemu.kernel_arguments = arena_printf(&config->arena, "%s%s%s", given ? given : "",
	                                             given ? " " : "", value);
	return config->qemu.kernel_arguments ? 0 : -ENOMEM;
}

static const struct {
	const char *name;
	int (*take)(struct config *config, const char *value);
} annotations[] = {
	{ CONFIG_ANNOTATION "partition", annotate_partition },
	{ CONFIG_ANNOTATION "memory", annotate_memory },
	{ CONFIG_ANNOTATION "cpus", annotate_cpus },
	{ CONFIG_ANNOTATION "kernel-arguments", annotate_arguments },
};

bool config_allows(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->annotations.count; i++) {
		if (!strcmp(config->annotations.item[i], name))
			return true;
	}
	return false;
}

bool config_knows(const char *name)
{
	for (size_t i = 0; i < array_size(annotations); i++) {
		if (!strcmp(annotations[i].name, name))
			return true;
	}
	return false;
}

int config_annotate(struct config *config, const char *name, const char *value,
                    struct fault *fault)
{
	for (size_t i = 0; i < array_size(annotations); i++) {
		if (strcmp(annotations[i].name, name))
			continue;
		if (!config_allows(config, name)) {
			log_debug("annotation %s: not allowed by the configuration", name);
			return 0;
		}
		int r = annotations[i].take(config, value);
		return r < 0 ? fault_set(fault, r, HRESULT_INVALID_ARGUMENT,
		                         "annotation %s: bad value \"%s\"", name, value) : 0;
	}
	log_debug("annotation %s: unknown", name);
	return 0;
}

void config_deinit(struct config *config)
{
	arena_free(&config->arena);
	*config = (struct config){ 0 };
}

/* The annotations about the VM are for whoever starts it; this one is wanted before. */
static int choose_partition(struct config *config, const struct str_map *given,
                            struct fault *fault)
{
	for (size_t i = 0; i < given->count; i++) {
		const struct str_pair *pair = &given->item[i];
		int r = strcmp(pair->name, CONFIG_ANNOTATION "partition") ? 0
			: config_annotate(config, pair->name, pair->value, fault);
		if (r < 0)
			return r;
	}
	return 0;
}

int config_partition(const char *asked, const char *path, const struct str_map *given,
                     struct arena *arena, const char **ret, struct fault *fault)
{
	struct config config;
	int r;

	*ret = asked;
	if (asked)
		return 0;
	r = config_load(&config, path, fault);
	if (r >= 0)
		r = choose_partition(&config, given, fault);
	if (r >= 0) {
		const char *kind = config.partition ? config.partition : PARTITION_DEFAULT;
		*ret = arena_copy(arena, kind, strlen(kind));
		if (!*ret)
			r = fault_errno(fault, -ENOMEM, "partition");
	}
	config_deinit(&config);
	return r;
}
