/* SPDX-License-Identifier: Apache-2.0 */

/* The "linux" object of the runtime specification, with the resources that `update` takes alone. */

#include "oci/spec_codec.h"

#include <linux/personality.h>
#include <string.h>

static const struct spec_range unsigned32 = { 0, UINT32_MAX };
static const struct spec_range from_minus_one = { -1, INT64_MAX }; /* -1: without a limit */

/* Namespaces and mappings */

static const struct json_name namespace_names[] = {
	{ "cgroup", OCI_NS_CGROUP },
	{ "ipc", OCI_NS_IPC },
	{ "mount", OCI_NS_MOUNT },
	{ "network", OCI_NS_NETWORK },
	{ "pid", OCI_NS_PID },
	{ "time", OCI_NS_TIME },
	{ "user", OCI_NS_USER },
	{ "uts", OCI_NS_UTS },
	{ NULL },
};
static const struct json_field namespace_fields[] = {
	JSON_FIELD(struct oci_namespace, type, "type", enum, JSON_REQUIRED, namespace_names),
	SPEC_FIELD(struct oci_namespace, path, "path", path),
	{ NULL },
};
static const struct json_type namespace_type = JSON_TYPE(struct oci_namespace, namespace_fields);

static const struct spec_range mapping_size = { 1, UINT32_MAX };
static const struct json_field id_mapping_fields[] = {
	JSON_FIELD(struct oci_id_mapping, container_id, "containerID", u32, JSON_ALWAYS),
	JSON_FIELD(struct oci_id_mapping, host_id, "hostID", u32, JSON_ALWAYS),
	SPEC_FIELD(struct oci_id_mapping, size, "size", u32_range, JSON_REQUIRED, &mapping_size),
	{ NULL },
};
const struct json_type oci_id_mapping_type = JSON_TYPE(struct oci_id_mapping, id_mapping_fields);

static const struct spec_range below_second = { 0, 999999999 };
static const struct json_field time_offset_fields[] = {
	JSON_FIELD(struct oci_time_offset, secs, "secs", i64),
	SPEC_FIELD(struct oci_time_offset, nanosecs, "nanosecs", u32_range, 0, &below_second),
	{ NULL },
};
static const struct json_type time_offset_type =
	JSON_TYPE(struct oci_time_offset, time_offset_fields);

static const struct json_field time_offsets_fields[] = {
	JSON_FIELD(struct oci_time_offsets, monotonic, "monotonic", pointer, 0, &time_offset_type),
	JSON_FIELD(struct oci_time_offsets, boottime, "boottime", pointer, 0, &time_offset_type),
	{ NULL },
};
static const struct json_type time_offsets_type =
	JSON_TYPE(struct oci_time_offsets, time_offsets_fields);

/* Devices */

static bool absent_letter(const struct json_field *field, const void *from)
{
	(void)field;
	return !*(const char *)from;
}

/* One of the letters in .of; "" is absence. */
static int get_letter(struct json_reader *reader, const struct json *value,
                      const struct json_field *field, void *to)
{
	const char *text;
	int r = json_str.get(reader, value, field, &text);

	if (r < 0)
		return r;
	if (!*text && !(field->flags & JSON_REQUIRED))
		return 0;
	if (strlen(text) != 1 || !strchr(field->of, *text))
		return json_refuse(reader, "unknown value \"%.64s\"", text);
	*(char *)to = *text == 'u' ? 'c' : *text; /* an unbuffered device is a character device */
	return 0;
}

static int put_letter(struct json_writer *writer, const struct json_field *field, const void *from)
{
	char text[2] = { *(const char *)from };

	(void)field;
	return json_put_string(writer, text);
}
static const struct json_codec letter = { absent_letter, get_letter, put_letter };

static bool absent_mode(const struct json_field *field, const void *from)
{
	return json_opt_i64.absent(field, from);
}

/* Some writers leave the type of the file in: st_mode as stat(2) returned it, or Go's FileMode. */
static int get_mode(struct json_reader *reader, const struct json *value,
                    const struct json_field *field, void *to)
{
	struct opt_i64 *mode = to;
	uint32_t bits;
	int r = json_u32.get(reader, value, field, &bits);

	if (r < 0)
		return r;
	mode->set = true;
	mode->value = bits & 07777;
	return 0;
}

static int put_mode(struct json_writer *writer, const struct json_field *field, const void *from)
{
	return json_opt_i64.put(writer, field, from);
}
static const struct json_codec file_mode = { absent_mode, get_mode, put_mode };

static const struct json_field device_fields[] = {
	JSON_FIELD_WITH(struct oci_device, type, "type", letter, JSON_REQUIRED, "cubp"),
	SPEC_FIELD(struct oci_device, path, "path", path, JSON_REQUIRED),
	SPEC_FIELD(struct oci_device, major, "major", i64_range, JSON_ALWAYS, &unsigned32),
	SPEC_FIELD(struct oci_device, minor, "minor", i64_range, JSON_ALWAYS, &unsigned32),
	JSON_FIELD_WITH(struct oci_device, file_mode, "fileMode", file_mode),
	JSON_FIELD(struct oci_device, uid, "uid", u32),
	JSON_FIELD(struct oci_device, gid, "gid", u32),
	{ NULL },
};
static const struct json_type device_type = JSON_TYPE(struct oci_device, device_fields);

static const struct {
	char letter;
	unsigned bit;
} accesses[] = {
	{ 'r', OCI_DEVICE_READ },
	{ 'w', OCI_DEVICE_WRITE },
	{ 'm', OCI_DEVICE_MKNOD },
};

static bool absent_access(const struct json_field *field, const void *from)
{
	(void)field;
	return !*(const unsigned *)from;
}

static int get_access(struct json_reader *reader, const struct json *value,
                      const struct json_field *field, void *to)
{
	const char *text;
	unsigned *bits = to;
	int r = json_str.get(reader, value, field, &text);

	if (r < 0)
		return r;
	for (const char *c = text; *c; c++) {
		size_t i = 0;
		while (i < array_size(accesses) && accesses[i].letter != *c)
			i++;
		if (i == array_size(accesses))
			return json_refuse(reader, "is not made of r, w and m: \"%.64s\"", text);
		*bits |= accesses[i].bit;
	}
	return 0;
}

static int put_access(struct json_writer *writer, const struct json_field *field, const void *from)
{
	char text[array_size(accesses) + 1] = "", *end = text;

	(void)field;
	for (size_t i = 0; i < array_size(accesses); i++) {
		if (*(const unsigned *)from & accesses[i].bit)
			*end++ = accesses[i].letter;
	}
	return json_put_string(writer, text);
}
static const struct json_codec access_bits = { absent_access, get_access, put_access };

static const struct spec_range device_number = { -1, UINT32_MAX };
static const struct json_field device_rule_fields[] = {
	JSON_FIELD(struct oci_device_rule, allow, "allow", bool, JSON_ALWAYS),
	JSON_FIELD_WITH(struct oci_device_rule, type, "type", letter, 0, "acb"),
	SPEC_FIELD(struct oci_device_rule, major, "major", opt_i64_range, 0, &device_number),
	SPEC_FIELD(struct oci_device_rule, minor, "minor", opt_i64_range, 0, &device_number),
	JSON_FIELD_WITH(struct oci_device_rule, access, "access", access_bits),
	{ NULL },
};
static const struct json_type device_rule_type =
	JSON_TYPE(struct oci_device_rule, device_rule_fields);

static bool absent_device_rules(const struct json_field *field, const void *from)
{
	return json_list.absent(field, from);
}

/* What a rule does not name it does not restrict: any type, every access. */
static int get_device_rules(struct json_reader *reader, const struct json *value,
                            const struct json_field *field, void *to)
{
	struct oci_resources *resources = container_of(to, struct oci_resources, devices);
	int r = json_list.get(reader, value, field, to);

	for (size_t i = 0; r >= 0 && i < resources->devices.count; i++) {
		struct oci_device_rule *rule = &resources->devices.item[i];
		if (!rule->type)
			rule->type = 'a';
		if (!rule->access)
			rule->access = OCI_DEVICE_READ | OCI_DEVICE_WRITE | OCI_DEVICE_MKNOD;
	}
	return r;
}

static int put_device_rules(struct json_writer *writer, const struct json_field *field,
                            const void *from)
{
	return json_list.put(writer, field, from);
}
static const struct json_codec device_rules = {
	absent_device_rules, get_device_rules, put_device_rules
};

/* Resources */

static const struct spec_range percent = { 0, 100 };
static const struct json_field memory_fields[] = {
	SPEC_FIELD(struct oci_memory, limit, "limit", opt_i64_range, 0, &from_minus_one),
	SPEC_FIELD(struct oci_memory, reservation, "reservation", opt_i64_range, 0,
	           &from_minus_one),
	SPEC_FIELD(struct oci_memory, swap, "swap", opt_i64_range, 0, &from_minus_one),
	SPEC_FIELD(struct oci_memory, kernel, "kernel", opt_i64_range, 0, &from_minus_one),
	SPEC_FIELD(struct oci_memory, kernel_tcp, "kernelTCP", opt_i64_range, 0, &from_minus_one),
	SPEC_FIELD(struct oci_memory, swappiness, "swappiness", opt_u64_range, 0, &percent),
	JSON_FIELD(struct oci_memory, disable_oom_killer, "disableOOMKiller", opt_bool),
	JSON_FIELD(struct oci_memory, use_hierarchy, "useHierarchy", opt_bool),
	JSON_FIELD(struct oci_memory, check_before_update, "checkBeforeUpdate", opt_bool),
	{ NULL },
};
static const struct json_type memory_type = JSON_TYPE(struct oci_memory, memory_fields);

static const struct spec_range zero_or_one = { 0, 1 };
static const struct json_field cpu_fields[] = {
	JSON_FIELD(struct oci_cpu, shares, "shares", opt_u64),
	SPEC_FIELD(struct oci_cpu, quota, "quota", opt_i64_range, 0, &from_minus_one),
	JSON_FIELD(struct oci_cpu, burst, "burst", opt_u64),
	JSON_FIELD(struct oci_cpu, period, "period", opt_u64),
	SPEC_FIELD(struct oci_cpu, realtime_runtime, "realtimeRuntime", opt_i64_range, 0,
	           &from_minus_one),
	JSON_FIELD(struct oci_cpu, realtime_period, "realtimePeriod", opt_u64),
	SPEC_FIELD(struct oci_cpu, cpus, "cpus", cpu_list),
	SPEC_FIELD(struct oci_cpu, mems, "mems", cpu_list),
	SPEC_FIELD(struct oci_cpu, idle, "idle", opt_i64_range, 0, &zero_or_one),
	{ NULL },
};
static const struct json_type cpu_type = JSON_TYPE(struct oci_cpu, cpu_fields);

static const struct json_field pids_fields[] = {
	JSON_FIELD(struct oci_pids, limit, "limit", opt_i64),
	{ NULL },
};
static const struct json_type pids_type = JSON_TYPE(struct oci_pids, pids_fields);

static const struct spec_range block_weight = { 0, 1000 }; /* 0: not set, as Docker writes it */
static const struct json_field weight_device_fields[] = {
	SPEC_FIELD(struct oci_weight_device, major, "major", i64_range, JSON_REQUIRED | JSON_ALWAYS,
	           &unsigned32),
	SPEC_FIELD(struct oci_weight_device, minor, "minor", i64_range, JSON_REQUIRED | JSON_ALWAYS,
	           &unsigned32),
	SPEC_FIELD(struct oci_weight_device, weight, "weight", opt_u64_range, 0, &block_weight),
	SPEC_FIELD(struct oci_weight_device, leaf_weight, "leafWeight", opt_u64_range, 0,
	           &block_weight),
	{ NULL },
};
static const struct json_type weight_device_type =
	JSON_TYPE(struct oci_weight_device, weight_device_fields);

static const struct json_field throttle_device_fields[] = {
	SPEC_FIELD(struct oci_throttle_device, major, "major", i64_range,
	           JSON_REQUIRED | JSON_ALWAYS, &unsigned32),
	SPEC_FIELD(struct oci_throttle_device, minor, "minor", i64_range,
	           JSON_REQUIRED | JSON_ALWAYS, &unsigned32),
	JSON_FIELD(struct oci_throttle_device, rate, "rate", u64, JSON_ALWAYS),
	{ NULL },
};
static const struct json_type throttle_type =
	JSON_TYPE(struct oci_throttle_device, throttle_device_fields);

static const struct json_field block_io_fields[] = {
	SPEC_FIELD(struct oci_block_io, weight, "weight", opt_u64_range, 0, &block_weight),
	SPEC_FIELD(struct oci_block_io, leaf_weight, "leafWeight", opt_u64_range, 0, &block_weight),
	JSON_FIELD(struct oci_block_io, weight_device, "weightDevice", list, 0,
	           &weight_device_type),
	JSON_FIELD(struct oci_block_io, read_bps, "throttleReadBpsDevice", list, 0, &throttle_type),
	JSON_FIELD(struct oci_block_io, write_bps, "throttleWriteBpsDevice", list, 0,
	           &throttle_type),
	JSON_FIELD(struct oci_block_io, read_iops, "throttleReadIOPSDevice", list, 0,
	           &throttle_type),
	JSON_FIELD(struct oci_block_io, write_iops, "throttleWriteIOPSDevice", list, 0,
	           &throttle_type),
	{ NULL },
};
static const struct json_type block_io_type = JSON_TYPE(struct oci_block_io, block_io_fields);

static const struct json_field hugepage_limit_fields[] = {
	SPEC_FIELD(struct oci_hugepage_limit, page_size, "pageSize", page_size, JSON_REQUIRED),
	JSON_FIELD(struct oci_hugepage_limit, limit, "limit", u64, JSON_REQUIRED | JSON_ALWAYS),
	{ NULL },
};
static const struct json_type hugepage_limit_type =
	JSON_TYPE(struct oci_hugepage_limit, hugepage_limit_fields);

static const struct json_field interface_priority_fields[] = {
	SPEC_FIELD(struct oci_interface_priority, name, "name", text, JSON_REQUIRED),
	JSON_FIELD(struct oci_interface_priority, priority, "priority", u32,
	           JSON_REQUIRED | JSON_ALWAYS),
	{ NULL },
};
static const struct json_type interface_priority_type =
	JSON_TYPE(struct oci_interface_priority, interface_priority_fields);

static const struct json_field network_fields[] = {
	SPEC_FIELD(struct oci_network_resources, class_id, "classID", opt_u64_range, 0,
	           &unsigned32),
	JSON_FIELD(struct oci_network_resources, priorities, "priorities", list, 0,
	           &interface_priority_type),
	{ NULL },
};
static const struct json_type network_type =
	JSON_TYPE(struct oci_network_resources, network_fields);

static const struct json_field rdma_fields[] = {
	SPEC_FIELD(struct oci_rdma, hca_handles, "hcaHandles", opt_u64_range, 0, &unsigned32),
	SPEC_FIELD(struct oci_rdma, hca_objects, "hcaObjects", opt_u64_range, 0, &unsigned32),
	{ NULL },
};
static const struct json_type rdma_type = JSON_TYPE(struct oci_rdma, rdma_fields);
static const struct json_field rdma_limits = { .of = &rdma_type };

static bool absent_rdma(const struct json_field *field, const void *from)
{
	return json_list.absent(field, from);
}

/* A map from device to limits, kept as a list in the order of the text. */
static int get_rdma(struct json_reader *reader, const struct json *value,
                    const struct json_field *field, void *to)
{
	struct oci_resources *resources = container_of(to, struct oci_resources, rdma);
	int r = 0;

	(void)field;
	if (value->kind != JSON_OBJECT)
		return json_refuse(reader, "is not an object");
	resources->rdma.item = arena_array(json_reader_arena(reader), value->length,
	                                   sizeof(*resources->rdma.item));
	if (!resources->rdma.item)
		return json_no_memory(reader);
	for (size_t i = 0; r >= 0 && i < value->length; i++) {
		const struct json_member *member = &value->members[i];
		struct oci_rdma_entry *entry = &resources->rdma.item[resources->rdma.count];
		struct json_step step = { .key = member->name };

		if (member->value.kind == JSON_NULL)
			continue;
		entry->device = member->name;
		resources->rdma.count++;
		json_enter(reader, &step);
		r = json_object.get(reader, &member->value, &rdma_limits, &entry->limits);
		json_leave(reader);
	}
	return r;
}

static int put_rdma(struct json_writer *writer, const struct json_field *field, const void *from)
{
	const struct oci_resources *resources =
		(const void *)((const char *)from - offsetof(struct oci_resources, rdma));
	int r = json_put_raw(writer, "{");

	(void)field;
	for (size_t i = 0; r >= 0 && i < resources->rdma.count; i++) {
		const struct oci_rdma_entry *entry = &resources->rdma.item[i];
		if (i)
			r = json_put_raw(writer, ",");
		if (r >= 0)
			r = json_put_string(writer, entry->device);
		if (r >= 0)
			r = json_put_raw(writer, ":");
		if (r >= 0)
			r = json_object.put(writer, &rdma_limits, &entry->limits);
	}
	return r < 0 ? r : json_put_raw(writer, "}");
}
static const struct json_codec rdma = { absent_rdma, get_rdma, put_rdma };

static bool absent_unified(const struct json_field *field, const void *from)
{
	return json_str_map.absent(field, from);
}

/* The names become files below the container's cgroup and nowhere else. */
static int get_unified(struct json_reader *reader, const struct json *value,
                       const struct json_field *field, void *to)
{
	struct str_map *map = to;
	int r = json_str_map.get(reader, value, field, map);

	for (size_t i = 0; r >= 0 && i < map->count; i++) {
		struct json_step step = { .key = map->item[i].name };

		json_enter(reader, &step);
		if (!*map->item[i].name || *map->item[i].name == '.' ||
		    strpbrk(map->item[i].name, "/") || strstr(map->item[i].name, ".."))
			r = json_refuse(reader, "is not the name of a cgroup's file");
		json_leave(reader);
	}
	return r;
}

static int put_unified(struct json_writer *writer, const struct json_field *field, const void *from)
{
	return json_str_map.put(writer, field, from);
}
static const struct json_codec unified = { absent_unified, get_unified, put_unified };

static const struct json_field resources_fields[] = {
	JSON_FIELD_WITH(struct oci_resources, devices, "devices", device_rules, 0,
	                &device_rule_type),
	JSON_FIELD(struct oci_resources, memory, "memory", object, 0, &memory_type),
	JSON_FIELD(struct oci_resources, cpu, "cpu", object, 0, &cpu_type),
	JSON_FIELD(struct oci_resources, pids, "pids", object, 0, &pids_type),
	JSON_FIELD(struct oci_resources, block_io, "blockIO", object, 0, &block_io_type),
	JSON_FIELD(struct oci_resources, hugepage_limits, "hugepageLimits", list, 0,
	           &hugepage_limit_type),
	JSON_FIELD(struct oci_resources, network, "network", object, 0, &network_type),
	JSON_FIELD_WITH(struct oci_resources, rdma, "rdma", rdma),
	JSON_FIELD_WITH(struct oci_resources, unified, "unified", unified),
	{ NULL },
};
const struct json_type oci_resources_type = JSON_TYPE(struct oci_resources, resources_fields);

/* Seccomp */

static const struct spec_range argument_index = { 0, 5 };
static const struct json_field seccomp_arg_fields[] = {
	SPEC_FIELD(struct oci_seccomp_arg, index, "index", u32_range, JSON_REQUIRED | JSON_ALWAYS,
	           &argument_index),
	JSON_FIELD(struct oci_seccomp_arg, value, "value", u64, JSON_REQUIRED | JSON_ALWAYS),
	JSON_FIELD(struct oci_seccomp_arg, value_two, "valueTwo", u64),
	SPEC_FIELD(struct oci_seccomp_arg, op, "op", name, JSON_REQUIRED, oci_seccomp_operators),
	{ NULL },
};
static const struct json_type seccomp_arg_type =
	JSON_TYPE(struct oci_seccomp_arg, seccomp_arg_fields);

static const struct spec_range return_data = { 0, UINT16_MAX }; /* SECCOMP_RET_DATA */
static const struct json_field syscall_fields[] = {
	JSON_FIELD(struct oci_syscall, names, "names", str_list, JSON_REQUIRED | JSON_ALWAYS),
	SPEC_FIELD(struct oci_syscall, action, "action", name, JSON_REQUIRED, oci_seccomp_actions),
	SPEC_FIELD(struct oci_syscall, errno_ret, "errnoRet", opt_u64_range, 0, &return_data),
	JSON_FIELD(struct oci_syscall, args, "args", list, 0, &seccomp_arg_type),
	{ NULL },
};
static const struct json_type syscall_type = JSON_TYPE(struct oci_syscall, syscall_fields);

static const struct json_field seccomp_fields[] = {
	SPEC_FIELD(struct oci_seccomp, default_action, "defaultAction", name, JSON_REQUIRED,
	           oci_seccomp_actions),
	SPEC_FIELD(struct oci_seccomp, default_errno_ret, "defaultErrnoRet", opt_u64_range, 0,
	           &return_data),
	SPEC_FIELD(struct oci_seccomp, architectures, "architectures", name_list, 0,
	           oci_seccomp_architectures),
	SPEC_FIELD(struct oci_seccomp, flags, "flags", name_list, 0, oci_seccomp_flags),
	SPEC_FIELD(struct oci_seccomp, listener_path, "listenerPath", path),
	SPEC_FIELD(struct oci_seccomp, listener_metadata, "listenerMetadata", text),
	JSON_FIELD(struct oci_seccomp, syscalls, "syscalls", list, 0, &syscall_type),
	{ NULL },
};
static const struct json_type seccomp_type = JSON_TYPE(struct oci_seccomp, seccomp_fields);

/* The rest */

static const struct json_name personality_names[] = {
	{ "LINUX", PER_LINUX },
	{ "LINUX32", PER_LINUX32 },
	{ NULL },
};

static int get_domain(struct json_reader *reader, const struct json *value,
                      const struct json_field *field, void *to)
{
	unsigned long *domain = to;
	int number = 0;
	int r = json_enum.get(reader, value, field, &number);

	*domain = (unsigned long)number;
	return r;
}

static int put_domain(struct json_writer *writer, const struct json_field *field, const void *from)
{
	const unsigned long *domain = from;
	int number = (int)*domain;

	return json_enum.put(writer, field, &number);
}
static const struct json_codec domain = { NULL, get_domain, put_domain };

static const struct json_field personality_fields[] = {
	JSON_FIELD_WITH(struct oci_personality, domain, "domain", domain, JSON_REQUIRED,
	                personality_names),
	{ "flags", &spec_nothing },
	{ NULL },
};
static const struct json_type personality_type =
	JSON_TYPE(struct oci_personality, personality_fields);

static const struct json_field intel_rdt_fields[] = {
	SPEC_FIELD(struct oci_intel_rdt, clos_id, "closID", text),
	SPEC_FIELD(struct oci_intel_rdt, l3_cache_schema, "l3CacheSchema", text),
	SPEC_FIELD(struct oci_intel_rdt, mem_bw_schema, "memBwSchema", text),
	JSON_FIELD(struct oci_intel_rdt, enable_cmt, "enableCMT", bool),
	JSON_FIELD(struct oci_intel_rdt, enable_mbm, "enableMBM", bool),
	{ NULL },
};
static const struct json_type intel_rdt_type = JSON_TYPE(struct oci_intel_rdt, intel_rdt_fields);

static const char *const propagations[] = {
	"shared", "slave", "private", "unbindable",
	"rshared", "rslave", "rprivate", "runbindable", NULL,
};

static const struct json_field linux_fields[] = {
	JSON_FIELD(struct oci_linux, uid_mappings, "uidMappings", list, 0, &oci_id_mapping_type),
	JSON_FIELD(struct oci_linux, gid_mappings, "gidMappings", list, 0, &oci_id_mapping_type),
	JSON_FIELD(struct oci_linux, sysctl, "sysctl", str_map),
	JSON_FIELD(struct oci_linux, resources, "resources", pointer, 0, &oci_resources_type),
	SPEC_FIELD(struct oci_linux, cgroups_path, "cgroupsPath", text),
	SPEC_FIELD(struct oci_linux, namespaces, "namespaces", unique_list, 0, &namespace_type),
	JSON_FIELD(struct oci_linux, devices, "devices", list, 0, &device_type),
	JSON_FIELD(struct oci_linux, seccomp, "seccomp", pointer, 0, &seccomp_type),
	SPEC_FIELD(struct oci_linux, rootfs_propagation, "rootfsPropagation", name, 0,
	           propagations),
	SPEC_FIELD(struct oci_linux, masked_paths, "maskedPaths", path_list),
	SPEC_FIELD(struct oci_linux, readonly_paths, "readonlyPaths", path_list),
	SPEC_FIELD(struct oci_linux, mount_label, "mountLabel", text),
	JSON_FIELD(struct oci_linux, intel_rdt, "intelRdt", pointer, 0, &intel_rdt_type),
	JSON_FIELD(struct oci_linux, personality, "personality", pointer, 0, &personality_type),
	JSON_FIELD(struct oci_linux, time_offsets, "timeOffsets", pointer, 0, &time_offsets_type),
	{ NULL },
};
const struct json_type oci_linux_type = JSON_TYPE(struct oci_linux, linux_fields);
