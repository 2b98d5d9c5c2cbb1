/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A config.json with every member, as it is written; then every rule, by a document that breaks it
 * and the text that says so.
 */

#include "oci/spec.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

static const char complete[] =
	"{\"ociVersion\":\"1.2.0\",\"process\":{\"terminal\":true,\"consoleSize\":{\"height\":"
	"24,\"width\":80},\"user\":{\"uid\":1000,\"gid\":100,\"umask\":18,\"additionalGids\":"
	"[5,6],\"username\":\"me\"},\"args\":[\"sh\",\"-c\",\"echo \\\"<&>\\\"\"],"
	"\"commandLine\":\"sh\",\"env\":[\"PATH=/bin\",\"EMPTY=\"],\"cwd\":\"/home\","
	"\"capabilities\":{\"bounding\":[\"CAP_CHOWN\",\"CAP_CHECKPOINT_RESTORE\"],"
	"\"effective\":[\"CAP_KILL\"],\"inheritable\":[\"CAP_NET_RAW\",\"CAP_SYS_ADMIN\"],"
	"\"permitted\":[\"CAP_BPF\"],\"ambient\":[\"CAP_SETUID\"]},\"rlimits\":[{\"type\":"
	"\"RLIMIT_CPU\",\"hard\":18446744073709551615,\"soft\":60},{\"type\":"
	"\"RLIMIT_NOFILE\",\"hard\":1024,\"soft\":1024}],\"noNewPrivileges\":true,"
	"\"apparmorProfile\":\"unconfined\",\"oomScoreAdj\":-999,\"scheduler\":{\"policy\":"
	"\"SCHED_DEADLINE\",\"nice\":-5,\"priority\":1,\"flags\":[\"SCHED_FLAG_RECLAIM\","
	"\"SCHED_FLAG_UTIL_CLAMP_MAX\"],\"runtime\":1000000,\"deadline\":2000000,\"period\":"
	"3000000},\"selinuxLabel\":\"system_u:system_r:container_t:s0\",\"ioPriority\":{"
	"\"class\":\"IOPRIO_CLASS_BE\",\"priority\":4},\"execCPUAffinity\":{\"initial\":"
	"\"0-3,7\",\"final\":\"1\"}},\"root\":{\"path\":\"rootfs\",\"readonly\":true},"
	"\"hostname\":\"box\",\"domainname\":\"example.org\",\"mounts\":[{\"destination\":"
	"\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},{\"destination\":\"/data\",\"type\":"
	"\"none\",\"source\":\"/srv/data\",\"options\":[\"rbind\",\"ro\"],\"uidMappings\":[{"
	"\"containerID\":0,\"hostID\":1000,\"size\":1}],\"gidMappings\":[{\"containerID\":0,"
	"\"hostID\":100,\"size\":4294967295}]}],\"hooks\":{\"prestart\":[{\"path\":\"/bin/a\","
	"\"args\":[\"a\",\"1\"],\"env\":[\"K=v\"],\"timeout\":5}],\"createRuntime\":[{"
	"\"path\":\"/bin/b\"},{\"path\":\"/bin/c\"}],\"createContainer\":[{\"path\":\"/bin/d\""
	"}],\"startContainer\":[{\"path\":\"/bin/e\"}],\"poststart\":[{\"path\":\"/bin/f\"}],"
	"\"poststop\":[{\"path\":\"/bin/g\"}]},\"annotations\":{\"empty\":\"\","
	"\"io.kubernetes.cri.container-type\":\"sandbox\"},\"linux\":{\"uidMappings\":[{"
	"\"containerID\":0,\"hostID\":100000,\"size\":65536}],\"gidMappings\":[{"
	"\"containerID\":0,\"hostID\":200000,\"size\":65536}],\"sysctl\":{\"kernel.shmmax\":"
	"\"65536\",\"net.ipv4.ip_forward\":\"1\",\"user/max_user_namespaces\":\"0\"},"
	"\"resources\":{\"devices\":[{\"allow\":false,\"type\":\"a\",\"access\":\"rwm\"},{"
	"\"allow\":true,\"type\":\"c\",\"major\":10,\"minor\":229,\"access\":\"rw\"},{"
	"\"allow\":true,\"type\":\"b\",\"major\":-1,\"access\":\"m\"}],\"memory\":{\"limit\":"
	"536870912,\"reservation\":268435456,\"swap\":-1,\"kernel\":1,\"kernelTCP\":2,"
	"\"swappiness\":0,\"disableOOMKiller\":false,\"useHierarchy\":true,"
	"\"checkBeforeUpdate\":true},\"cpu\":{\"shares\":1024,\"quota\":-1,\"burst\":1000,"
	"\"period\":500000,\"realtimeRuntime\":950000,\"realtimePeriod\":1000000,\"cpus\":"
	"\"2-3\",\"mems\":\"0\",\"idle\":1},\"pids\":{\"limit\":32771},\"blockIO\":{"
	"\"weight\":10,\"leafWeight\":20,\"weightDevice\":[{\"major\":8,\"minor\":0,"
	"\"weight\":500,\"leafWeight\":300}],\"throttleReadBpsDevice\":[{\"major\":8,"
	"\"minor\":0,\"rate\":600}],\"throttleWriteBpsDevice\":[{\"major\":8,\"minor\":1,"
	"\"rate\":601}],\"throttleReadIOPSDevice\":[{\"major\":8,\"minor\":2,\"rate\":602}],"
	"\"throttleWriteIOPSDevice\":[{\"major\":8,\"minor\":16,\"rate\":300}]},"
	"\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":9223372036854772000}],"
	"\"network\":{\"classID\":1048577,\"priorities\":[{\"name\":\"eth0\",\"priority\":"
	"500}]},\"rdma\":{\"mlx5_1\":{\"hcaHandles\":3,\"hcaObjects\":10000},\"rxe3\":{"
	"\"hcaObjects\":1}},\"unified\":{\"hugetlb.1GB.max\":\"1\",\"memory.high\":\"1000000\""
	"}},\"cgroupsPath\":\"/pods/p/c\",\"namespaces\":[{\"type\":\"pid\"},{\"type\":"
	"\"network\",\"path\":\"/run/netns/blue\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},{"
	"\"type\":\"uts\"},{\"type\":\"user\"},{\"type\":\"cgroup\"},{\"type\":\"time\"}],"
	"\"devices\":[{\"type\":\"c\",\"path\":\"/dev/fuse\",\"major\":10,\"minor\":229,"
	"\"fileMode\":438,\"uid\":1,\"gid\":2},{\"type\":\"c\",\"path\":\"/dev/raw\","
	"\"major\":1,\"minor\":2,\"fileMode\":438},{\"type\":\"b\",\"path\":\"/dev/sda\","
	"\"major\":8,\"minor\":0},{\"type\":\"p\",\"path\":\"/dev/pipe\",\"major\":0,"
	"\"minor\":0}],\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":"
	"38,\"architectures\":[\"SCMP_ARCH_X86_64\",\"SCMP_ARCH_X32\"],\"flags\":["
	"\"SECCOMP_FILTER_FLAG_LOG\"],\"listenerPath\":\"/run/seccomp.sock\","
	"\"listenerMetadata\":\"me\",\"syscalls\":[{\"names\":[\"getcwd\",\"read\"],"
	"\"action\":\"SCMP_ACT_ALLOW\"},{\"names\":[\"personality\"],\"action\":"
	"\"SCMP_ACT_ERRNO\",\"errnoRet\":1,\"args\":[{\"index\":5,\"value\":"
	"18446744073709551615,\"valueTwo\":8,\"op\":\"SCMP_CMP_MASKED_EQ\"}]},{\"names\":["
	"\"mount\"],\"action\":\"SCMP_ACT_NOTIFY\"}]},\"rootfsPropagation\":\"rslave\","
	"\"maskedPaths\":[\"/proc/kcore\"],\"readonlyPaths\":[\"/proc/sys\",\"/proc/bus\"],"
	"\"mountLabel\":\"system_u:object_r:container_file_t:s0\",\"intelRdt\":{\"closID\":"
	"\"guaranteed\",\"l3CacheSchema\":\"L3:0=7f0\",\"memBwSchema\":\"MB:0=20\","
	"\"enableCMT\":true,\"enableMBM\":true},\"personality\":{\"domain\":\"LINUX32\"},"
	"\"timeOffsets\":{\"monotonic\":{\"secs\":-172800,\"nanosecs\":1},\"boottime\":{"
	"\"secs\":604800}}},\"windows\":{\"network\":{\"networkNamespace\":\"x\"}}}";

static void decode_complete(struct arena *arena, struct oci_spec *spec)
{
	struct fault fault = FAULT_NULL;

	if (oci_spec_decode(arena, complete, sizeof(complete) - 1, spec, &fault) < 0)
		fail_msg("%s", fault.text);
}

static void test_round_trip(void **state)
{
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	struct buf out cleanup(buf_deinit) = BUF(JSON_TEXT_MAX);
	struct oci_spec spec = { 0 };

	(void)state;
	decode_complete(&arena, &spec);
	assert_int_equal(json_encode(&oci_spec_type, &spec, &out, false), 0);
	assert_int_equal(buf_length(&out), sizeof(complete) - 1);
	assert_memory_equal(buf_head(&out), complete, sizeof(complete) - 1);
}

static void test_process(void **state)
{
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	struct oci_spec spec = { 0 };

	(void)state;
	decode_complete(&arena, &spec);
	const struct oci_process *process = spec.process;
	assert_true(process->terminal);
	assert_int_equal(process->console_size.width, 80);
	assert_int_equal(process->user.umask.value, 022);
	assert_int_equal(process->user.additional_gids.item[1], 6);
	assert_string_equal(process->args.item[2], "echo \"<&>\"");
	assert_string_equal(process->env.item[1], "EMPTY=");
	assert_true(process->capabilities->bounding == (1 | UINT64_C(1) << 40));
	assert_true(process->capabilities->inheritable == (1 << 13 | 1 << 21));
	assert_int_equal(process->rlimits.count, 2);
	assert_int_equal(process->rlimits.item[0].type, RLIMIT_CPU);
	assert_true(process->rlimits.item[0].hard == UINT64_MAX);
	assert_int_equal(process->rlimits.item[1].type, RLIMIT_NOFILE);
	assert_true(process->no_new_privileges);
	assert_int_equal(process->oom_score_adj.value, -999);
	assert_int_equal(process->scheduler->policy, 6);
	assert_int_equal(process->scheduler->nice, -5);
	assert_int_equal(process->scheduler->flags, 0x42);
	assert_int_equal(process->scheduler->period, 3000000);
	assert_int_equal(process->io_priority->class, 2);
	assert_int_equal(process->io_priority->priority, 4);
	assert_string_equal(process->exec_cpu_affinity->initial, "0-3,7");
}

static void test_linux(void **state)
{
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	struct oci_spec spec = { 0 };

	(void)state;
	decode_complete(&arena, &spec);
	const struct oci_linux *linux_ = &spec.linux_;
	assert_true(spec.has_root && spec.root.readonly);
	assert_int_equal(spec.mounts.item[1].gid_mappings.item[0].size, UINT32_MAX);
	assert_int_equal(spec.hooks.prestart.item[0].timeout.value, 5);
	assert_string_equal(spec.hooks.create_runtime.item[1].path, "/bin/c");
	assert_string_equal(spec.hooks.poststop.item[0].path, "/bin/g");
	assert_string_equal(oci_annotation(&spec, "empty"), "");
	assert_null(oci_annotation(&spec, "none"));
	assert_non_null(json_get(&spec.windows, "network"));

	for (int type = OCI_NS_PID; type < OCI_NS_COUNT; type++)
		assert_non_null(oci_namespace_find(&spec, type));
	assert_string_equal(oci_namespace_find(&spec, OCI_NS_NETWORK)->path, "/run/netns/blue");
	assert_null(oci_namespace_find(&spec, OCI_NS_PID)->path);

	assert_int_equal(linux_->devices.item[0].type, 'c');
	assert_int_equal(linux_->devices.item[0].file_mode.value, 0666);
	assert_int_equal(linux_->devices.item[3].type, 'p');
	assert_int_equal(linux_->personality->domain, 8);
	assert_int_equal(linux_->time_offsets->monotonic->secs, -172800);
	assert_int_equal(linux_->time_offsets->boottime->nanosecs, 0);
	assert_true(linux_->intel_rdt->enable_mbm);
	assert_string_equal(linux_->seccomp->syscalls.item[1].args.item[0].op,
	                    "SCMP_CMP_MASKED_EQ");
	assert_int_equal(linux_->seccomp->syscalls.item[1].errno_ret.value, 1);

	const struct oci_resources *resources = linux_->resources;
	assert_int_equal(resources->devices.item[1].access, OCI_DEVICE_READ | OCI_DEVICE_WRITE);
	assert_int_equal(resources->devices.item[2].major.value, -1);
	assert_false(resources->devices.item[2].minor.set);
	assert_int_equal(resources->memory.swap.value, -1);
	assert_true(resources->memory.swappiness.set);
	assert_int_equal(resources->memory.swappiness.value, 0);
	assert_true(resources->memory.disable_oom_killer.set);
	assert_int_equal(resources->cpu.quota.value, -1);
	assert_int_equal(resources->cpu.idle.value, 1);
	assert_int_equal(resources->block_io.write_iops.item[0].rate, 300);
	assert_int_equal(resources->rdma.count, 2);
	assert_string_equal(resources->rdma.item[0].device, "mlx5_1");
	assert_int_equal(resources->rdma.item[1].limits.hca_objects.value, 1);
	assert_false(resources->rdma.item[1].limits.hca_handles.set);
}

/* The documents below are written with ' for ". */
static size_t document(const char *process, const char *rest, const char *linux_, char out[4096])
{
	int length = snprintf(out, 4096,
	                      "{'ociVersion':'1.2.0','process':{'cwd':'/'%s},'root':{'path':'r'}"
	                      "%s,'linux':{%s}}", process, rest, linux_);

	assert_in_range(length, 1, 4095);
	for (char *c = out; *c; c++) {
		if (*c == '\'')
			*c = '"';
	}
	return (size_t)length;
}

#define ARGS ",'args':['sh']"

/* Different ways to say the same, and what need not be said. */
static void test_lenient(void **state)
{
	struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
	struct fault fault = FAULT_NULL;
	struct oci_spec spec = { 0 };
	char text[4096];

	(void)state;
	size_t length = document(
		ARGS ",'user':{'username':''},'apparmorProfile':'','capabilities':{},'New':{}",
		",'hostname':'','mounts':[{'destination':'x','source':''}],'hooks':null,'vm':1",
		"'cgroupsPath':'','namespaces':[{'type':'network','path':''},{'type':'uts'},"
		"{'type':'ipc'}],'rootfsPropagation':'',"
		"'personality':{'domain':'LINUX','flags':[]},"
		"'devices':[{'type':'u','path':'/dev/x','fileMode':8630}],"
		"'sysctl':{'net/ipv4/x':'1','kernel/hostname':'h','fs.mqueue.msg_max':'2'},"
		"'resources':{'devices':[{'allow':true},{'allow':false,'type':'','access':''}],"
		"'cpu':{'cpus':''},'rdma':{'a':null,'b':{}},'blockIO':{'weight':0}}", text);
	if (oci_spec_decode(&arena, text, length, &spec, &fault) < 0)
		fail_msg("%s", fault.text);
	assert_null(spec.process->user.username);
	assert_null(spec.process->apparmor_profile);
	assert_non_null(spec.process->capabilities);
	assert_null(spec.hostname);
	assert_null(spec.mounts.item[0].source);
	assert_null(spec.linux_.cgroups_path);
	assert_null(spec.linux_.namespaces.item[0].path);
	assert_null(spec.linux_.rootfs_propagation);
	assert_int_equal(spec.linux_.personality->domain, 0);
	assert_int_equal(spec.linux_.devices.item[0].type, 'c');
	assert_int_equal(spec.linux_.devices.item[0].file_mode.value, 0666);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(spec.linux_.resources->devices.item[i].type, 'a');
		assert_int_equal(spec.linux_.resources->devices.item[i].access, 7);
	}
	assert_null(spec.linux_.resources->cpu.cpus);
	assert_int_equal(spec.linux_.resources->rdma.count, 1);

	static const char least[] = "{\"ociVersion\":\"1.0.2-dev\",\"root\":{\"path\":\"/\"},"
				    "\"process\":{\"cwd\":\"/\",\"args\":[\"a\"]}}";
	assert_int_equal(oci_spec_decode(&arena, least, sizeof(least) - 1, &spec, &fault), 0);
	assert_null(oci_namespace_find(&spec, OCI_NS_PID));
}

/* Alone and with the rest of the document right: first what the tables refuse, then the checks. */
static const struct {
	const char *process, *rest, *linux_, *fault;
} refused[] = {
	{ ",'args':'sh'", "", "", "process.args: is not an array" },
	{ ",'args':['sh',null]", "", "", "process.args[1]: is not a string" },
	{ ARGS ",'terminal':1", "", "", "process.terminal: is not true or false" },
	{ ARGS ",'consoleSize':{'height':65536}", "", "",
	  "process.consoleSize.height: is not a whole number from 0 to 65535" },
	{ ARGS ",'user':{'uid':-1}", "", "",
	  "process.user.uid: is not a whole number from 0 to 4294967295" },
	{ ARGS ",'user':{'umask':512}", "", "",
	  "process.user.umask: is not in the range from 0 to 511" },
	{ ARGS ",'user':{'additionalGids':[1,1.5]}", "", "",
	  "process.user.additionalGids[1]: is not a whole number from 0 to 4294967295" },
	{ ARGS ",'capabilities':{'bounding':['CAP_KILL',1]}", "", "",
	  "process.capabilities.bounding[1]: is not a string" },
	{ ARGS ",'capabilities':{'effective':'CAP_KILL'}", "", "",
	  "process.capabilities.effective: is not an array" },
	{ ARGS ",'rlimits':[{'type':'RLIMIT_FOO','hard':1,'soft':1}]", "", "",
	  "process.rlimits[0].type: unknown value \"RLIMIT_FOO\"" },
	{ ARGS ",'rlimits':[{'type':'RLIMIT_CPU','hard':1}]", "", "",
	  "process.rlimits[0].soft: is required" },
	{ ARGS ",'rlimits':[{'type':'RLIMIT_CPU','hard':1,'soft':1},"
	  "{'type':'RLIMIT_CPU','hard':1,'soft':1}]", "", "",
	  "process.rlimits[1].type: \"RLIMIT_CPU\" occurs twice" },
	{ ARGS ",'rlimits':[{'type':'RLIMIT_CPU','hard':18446744073709551616,'soft':1}]", "", "",
	  "process.rlimits[0].hard: is not a whole number from 0 to 18446744073709551615" },
	{ ARGS ",'rlimits':[{'type':'RLIMIT_AS','hard':1,'soft':2}]", "", "",
	  "process.rlimits[0]: soft exceeds hard" },
	{ ARGS ",'oomScoreAdj':-1001", "", "",
	  "process.oomScoreAdj: is not in the range from -1000 to 1000" },
	{ ARGS ",'scheduler':{}", "", "", "process.scheduler.policy: is required" },
	{ ARGS ",'scheduler':{'policy':'SCHED_FAIR'}", "", "",
	  "process.scheduler.policy: unknown value \"SCHED_FAIR\"" },
	{ ARGS ",'scheduler':{'policy':'SCHED_RR','flags':['SCHED_FLAG_X']}", "", "",
	  "process.scheduler.flags[0]: unknown value \"SCHED_FLAG_X\"" },
	{ ARGS ",'scheduler':{'policy':'SCHED_OTHER','nice':20}", "", "",
	  "process.scheduler.nice: is not in the range from -20 to 19" },
	{ ARGS ",'ioPriority':{'class':'IOPRIO_CLASS_NONE'}", "", "",
	  "process.ioPriority.class: unknown value \"IOPRIO_CLASS_NONE\"" },
	{ ARGS ",'ioPriority':{'class':'IOPRIO_CLASS_RT','priority':8}", "", "",
	  "process.ioPriority.priority: is not in the range from 0 to 7" },
	{ ARGS ",'execCPUAffinity':{'final':'3-'}", "", "",
	  "process.execCPUAffinity.final: is not a list such as 0-3,7: \"3-\"" },

	{ ARGS, ",'hostname':5", "", "hostname: is not a string" },
	{ ARGS, ",'annotations':{'a':1}", "", "annotations[\"a\"]: is not a string" },
	{ ARGS, ",'mounts':[{'type':'proc'}]", "", "mounts[0].destination: is required" },
	{ ARGS, ",'mounts':[{'destination':''}]", "",
	  "mounts[0].destination: must not be empty" },
	{ ARGS, ",'mounts':[{'destination':'/','uidMappings':[{'size':1}]}]", "",
	  "mounts[0]: has only one of uidMappings and gidMappings" },
	{ ARGS, ",'hooks':{'poststop':[{'path':'bin/x'}]}", "",
	  "hooks.poststop[0].path: must be an absolute path, not \"bin/x\"" },
	{ ARGS, ",'hooks':{'prestart':[{}]}", "", "hooks.prestart[0].path: is required" },
	{ ARGS, ",'hooks':{'prestart':[{'path':'/x','timeout':0}]}", "",
	  "hooks.prestart[0].timeout: is not in the range from 1 to 2147483647" },

	{ ARGS, "", "'namespaces':[{'type':'mount'},{},{'type':'pidd'}]",
	  "linux.namespaces[1].type: is required" },
	{ ARGS, "", "'namespaces':[{'type':'mount'},{'type':'pid'},{'type':'pidd'}]",
	  "linux.namespaces[2].type: unknown value \"pidd\"" },
	{ ARGS, "", "'namespaces':[{'type':'pid'},{'type':'ipc'},{'type':'pid','path':'/x'}]",
	  "linux.namespaces[2].type: \"pid\" occurs twice" },
	{ ARGS, "", "'namespaces':[{'type':'pid','path':'proc/1'}]",
	  "linux.namespaces[0].path: must be an absolute path, not \"proc/1\"" },
	{ ARGS, "", "'uidMappings':[{'containerID':0,'hostID':0}]",
	  "linux.uidMappings[0].size: is required" },
	{ ARGS, "", "'uidMappings':[{'size':0}]",
	  "linux.uidMappings[0].size: is not in the range from 1 to 4294967295" },
	{ ARGS, "", "'timeOffsets':{'boottime':{'nanosecs':1000000000}}",
	  "linux.timeOffsets.boottime.nanosecs: is not in the range from 0 to 999999999" },
	{ ARGS, "", "'devices':[{'path':'/dev/x'}]", "linux.devices[0].type: is required" },
	{ ARGS, "", "'devices':[{'type':'a','path':'/dev/x'}]",
	  "linux.devices[0].type: unknown value \"a\"" },
	{ ARGS, "", "'devices':[{'type':'','path':'/dev/x'}]",
	  "linux.devices[0].type: unknown value \"\"" },
	{ ARGS, "", "'devices':[{'type':'c','path':'dev/x'}]",
	  "linux.devices[0].path: must be an absolute path, not \"dev/x\"" },
	{ ARGS, "", "'devices':[{'type':'c','path':'/dev/x','minor':-1}]",
	  "linux.devices[0].minor: is not in the range from 0 to 4294967295" },
	{ ARGS, "", "'rootfsPropagation':'public'",
	  "linux.rootfsPropagation: unknown value \"public\"" },
	{ ARGS, "", "'maskedPaths':['/a','b']",
	  "linux.maskedPaths[1]: must be an absolute path, not \"b\"" },
	{ ARGS, "", "'readonlyPaths':['']",
	  "linux.readonlyPaths[0]: must be an absolute path, not \"\"" },
	{ ARGS, "", "'personality':{'domain':'BSD'}",
	  "linux.personality.domain: unknown value \"BSD\"" },
	{ ARGS, "", "'personality':{'domain':'LINUX','flags':['X']}",
	  "linux.personality.flags: no value is known" },

	{ ARGS, "", "'resources':{'devices':[{'type':'d'}]}",
	  "linux.resources.devices[0].type: unknown value \"d\"" },
	{ ARGS, "", "'resources':{'devices':[{'access':'rwx'}]}",
	  "linux.resources.devices[0].access: is not made of r, w and m: \"rwx\"" },
	{ ARGS, "", "'resources':{'devices':[{'major':-2}]}",
	  "linux.resources.devices[0].major: is not in the range from -1 to 4294967295" },
	{ ARGS, "", "'resources':{'memory':{'limit':-2}}",
	  "linux.resources.memory.limit: is less than -1" },
	{ ARGS, "", "'resources':{'memory':{'limit':1e9}}",
	  "linux.resources.memory.limit: is not a whole number from -9223372036854775808 to "
	  "9223372036854775807" },
	{ ARGS, "", "'resources':{'memory':{'swappiness':101}}",
	  "linux.resources.memory.swappiness: is not in the range from 0 to 100" },
	{ ARGS, "", "'resources':{'memory':{'swappiness':18446744073709551615}}",
	  "linux.resources.memory.swappiness: is not in the range from 0 to 100" },
	{ ARGS, "", "'resources':{'cpu':{'cpus':'3-1'}}",
	  "linux.resources.cpu.cpus: is not a list such as 0-3,7: \"3-1\"" },
	{ ARGS, "", "'resources':{'cpu':{'mems':'0,,1'}}",
	  "linux.resources.cpu.mems: is not a list such as 0-3,7: \"0,,1\"" },
	{ ARGS, "", "'resources':{'cpu':{'mems':'1234567'}}",
	  "linux.resources.cpu.mems: is not a list such as 0-3,7: \"1234567\"" },
	{ ARGS, "", "'resources':{'cpu':{'idle':2}}",
	  "linux.resources.cpu.idle: is not in the range from 0 to 1" },
	{ ARGS, "", "'resources':{'blockIO':{'weight':1001}}",
	  "linux.resources.blockIO.weight: is not in the range from 0 to 1000" },
	{ ARGS, "", "'resources':{'blockIO':{'throttleReadBpsDevice':[{'major':8}]}}",
	  "linux.resources.blockIO.throttleReadBpsDevice[0].minor: is required" },
	{ ARGS, "", "'resources':{'hugepageLimits':[{'pageSize':'2M','limit':1}]}",
	  "linux.resources.hugepageLimits[0].pageSize: is not a size such as 2MB: \"2M\"" },
	{ ARGS, "", "'resources':{'network':{'classID':4294967296}}",
	  "linux.resources.network.classID: is not in the range from 0 to 4294967295" },
	{ ARGS, "", "'resources':{'rdma':{'mlx':{'hcaHandles':'1'}}}",
	  "linux.resources.rdma[\"mlx\"].hcaHandles: is not a whole number from 0 to "
	  "18446744073709551615" },
	{ ARGS, "", "'resources':{'unified':{'../memory.max':'1'}}",
	  "linux.resources.unified[\"../memory.max\"]: is not the name of a cgroup's file" },
	{ ARGS, "", "'resources':{'unified':{'a/b':'1'}}",
	  "linux.resources.unified[\"a/b\"]: is not the name of a cgroup's file" },

	{ ARGS, "", "'seccomp':{}", "linux.seccomp.defaultAction: is required" },
	{ ARGS, "", "'seccomp':{'defaultAction':'SCMP_ACT_MAYBE'}",
	  "linux.seccomp.defaultAction: unknown value \"SCMP_ACT_MAYBE\"" },
	{ ARGS, "", "'seccomp':{'defaultAction':'SCMP_ACT_NOTIFY'}",
	  "linux.seccomp.defaultAction: must not be SCMP_ACT_NOTIFY" },
	{ ARGS, "", "'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','defaultErrnoRet':1}",
	  "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW has no errno" },
	{ ARGS, "", "'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','architectures':['x86']}",
	  "linux.seccomp.architectures[0]: unknown value \"x86\"" },
	{ ARGS, "", "'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','flags':['LOG']}",
	  "linux.seccomp.flags[0]: unknown value \"LOG\"" },
	{ ARGS, "", "'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':[],"
	  "'action':'SCMP_ACT_KILL'}]}", "linux.seccomp.syscalls[0].names: must not be empty" },
	{ ARGS, "", "'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read'],"
	  "'action':'SCMP_ACT_KILL','errnoRet':1}]}",
	  "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_KILL has no errno" },
	{ ARGS, "", "'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read'],"
	  "'action':'SCMP_ACT_NOTIFY'}]}",
	  "linux.seccomp.listenerPath: is required for SCMP_ACT_NOTIFY" },
	{ ARGS, "", "'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read'],"
	  "'action':'SCMP_ACT_KILL','args':[{'index':6,'value':0,'op':'SCMP_CMP_EQ'}]}]}",
	  "linux.seccomp.syscalls[0].args[0].index: is not in the range from 0 to 5" },
	{ ARGS, "", "'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read'],"
	  "'action':'SCMP_ACT_KILL','args':[{'index':5,'value':0,'op':'=='}]}]}",
	  "linux.seccomp.syscalls[0].args[0].op: unknown value \"==\"" },

	{ "", "", "", "process.args: must not be empty" },
	{ ",'args':[],'terminal':true", "", "", "process.args: must not be empty" },
	{ ARGS, ",'hostname':'h'", "", "hostname: needs a namespace of type uts" },
	{ ARGS, ",'domainname':'d'", "'namespaces':[{'type':'pid'}]",
	  "domainname: needs a namespace of type uts" },
	{ ARGS, "", "'uidMappings':[{'size':1}]",
	  "linux.uidMappings: needs a namespace of type user" },
	{ ARGS, "", "'namespaces':[{'type':'user'}]",
	  "linux.uidMappings: is required for a new user namespace" },
	{ ARGS, "", "'namespaces':[{'type':'user'}],'uidMappings':[{'size':1}]",
	  "linux.gidMappings: is required for a new user namespace" },
	{ ARGS, "", "'timeOffsets':{}", "linux.timeOffsets: needs a namespace of type time" },
	{ ARGS, "", "'timeOffsets':{},'namespaces':[{'type':'time','path':'/x'}]",
	  "linux.timeOffsets: cannot be set in an existing namespace" },
	{ ARGS, "", "'maskedPaths':['/x']", "linux.maskedPaths: needs a namespace of type mount" },
	{ ARGS, "", "'sysctl':{'net.core.somaxconn':'1'}",
	  "linux.sysctl[\"net.core.somaxconn\"]: needs a namespace of type network" },
	{ ARGS, "", "'sysctl':{'kernel/shmmax':'1'}",
	  "linux.sysctl[\"kernel/shmmax\"]: needs a namespace of type ipc" },
	{ ARGS, "", "'sysctl':{'vm.swappiness':'1'}",
	  "linux.sysctl[\"vm.swappiness\"]: belongs to no namespace" },
	{ ARGS, "", "'sysctl':{'kernel.shmmaxx':'1'}",
	  "linux.sysctl[\"kernel.shmmaxx\"]: belongs to no namespace" },
	{ ARGS, "", "'sysctl':{'net.':'1'}", "linux.sysctl[\"net.\"]: belongs to no namespace" },
	{ ARGS, "", "'namespaces':[{'type':'network'}],'sysctl':{'net/../kernel/x':'1'}",
	  "linux.sysctl[\"net/../kernel/x\"]: is not the name of a sysctl" },
};

static void test_refused(void **state)
{
	static const struct oci_spec zero;

	(void)state;
	for (size_t i = 0; i < array_size(refused); i++) {
		struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
		struct fault fault = FAULT_NULL;
		struct oci_spec spec = { 0 };
		char text[4096];
		size_t length = document(refused[i].process, refused[i].rest, refused[i].linux_,
		                         text);

		assert_int_equal(oci_spec_decode(&arena, text, length, &spec, &fault), -EINVAL);
		assert_string_equal(fault.text, refused[i].fault);
		assert_memory_equal(&spec, &zero, sizeof(spec));
	}
}

static void test_refused_whole(void **state)
{
	static const struct {
		const char *text, *fault;
	} documents[] = {
		{ "[]", "document: is not an object" },
		{ "{}", "ociVersion: is required" },
		{ "{\"ociVersion\":\"\"}", "ociVersion: must not be empty" },
		{ "{\"ociVersion\":\"2.0.0\"}",
		  "ociVersion: \"2.0.0\" is not supported, only 1.x" },
		{ "{\"ociVersion\":\"1.\"}", "ociVersion: \"1.\" is not supported, only 1.x" },
		{ "{\"ociVersion\":\"1.2.0\"}", "process: is required" },
		{ "{\"ociVersion\":\"1.2.0\",\"process\":{\"args\":[\"a\"]}}",
		  "process.cwd: is required" },
		{ "{\"ociVersion\":\"1.2.0\",\"process\":{\"cwd\":\"\"}}",
		  "process.cwd: must not be empty" },
		{ "{\"ociVersion\":\"1.2.0\",\"process\":{\"cwd\":\"tmp\"}}",
		  "process.cwd: must be an absolute path, not \"tmp\"" },
		{ "{\"ociVersion\":\"1.2.0\",\"process\":{\"args\":[\"a\"],\"cwd\":\"/\"}}",
		  "root: is required" },
		{ "{\"ociVersion\":\"1.2.0\",\"root\":{\"readonly\":true}}",
		  "root.path: is required" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(documents); i++) {
		struct arena arena cleanup(arena_free) = ARENA(JSON_ARENA);
		struct fault fault = FAULT_NULL;
		struct oci_spec spec = { 0 };

		assert_int_equal(oci_spec_decode(&arena, documents[i].text,
		                                 strlen(documents[i].text), &spec, &fault),
		                 -EINVAL);
		assert_string_equal(fault.text, documents[i].fault);
	}
}

static void test_names(void **state)
{
	(void)state;
	assert_int_equal(oci_namespace_flag(OCI_NS_MOUNT), 0x00020000);
	assert_int_equal(oci_namespace_flag(OCI_NS_TIME), 0x80);
	assert_string_equal(oci_namespace_file(OCI_NS_NETWORK), "net");
	assert_string_equal(oci_namespace_name(OCI_NS_NETWORK), "network");
	for (int i = 0; i <= 40; i++)
		assert_int_equal(oci_capability_names[i].value, i);
	assert_null(oci_capability_names[41].name);
}

static void test_id(void **state)
{
	char longest[OCI_ID_MAX + 2];
	struct fault fault = FAULT_NULL;

	(void)state;
	memset(longest, 'a', sizeof(longest));
	longest[OCI_ID_MAX + 1] = '\0';
	assert_int_equal(oci_id_check(longest, &fault), -EINVAL);
	assert_string_equal(fault.text, "container id \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…\" is longer than 200 characters");
	longest[OCI_ID_MAX] = '\0';
	assert_int_equal(oci_id_check(longest, &fault), 0);
	assert_int_equal(oci_id_check("a_B+9.-", &fault), 0);
	assert_int_equal(oci_id_check("...", &fault), 0);
	assert_int_equal(oci_id_check("", NULL), -EINVAL);
	assert_int_equal(oci_id_check(".", NULL), -EINVAL);
	assert_int_equal(oci_id_check("..", NULL), -EINVAL);
	assert_int_equal(oci_id_check("a/b", &fault), -EINVAL);
	assert_int_equal(fault.hresult, HRESULT_INVALID_ARGUMENT);
	assert_string_equal(fault.text,
	                    "container id \"a/b\" is not made of letters, digits and _+.-");
}

static void test_signals(void **state)
{
	static const struct {
		const char *text;
		int number;
	} good[] = {
		{ "TERM", SIGTERM }, { "SIGTERM", SIGTERM }, { "sigterm", SIGTERM }, { "15", 15 },
		{ "Kill", SIGKILL }, { "CLD", SIGCHLD }, { "IOT", SIGABRT }, { "POLL", SIGIO },
		{ "SYS", 31 }, { "1", 1 }, { "64", 64 }, { "032", 32 }, { "RTMIN", 34 },
		{ "SIGRTMIN+0", 34 }, { "rtmin+3", 37 }, { "SIGRTMIN+30", 64 }, { "RTMAX", 64 },
		{ "RTMAX-14", 50 }, { "sigrtmax-30", 34 },
	};
	static const char *const bad[] = {
		"", "0", "65", "-1", "+1", " 9", "9 ", "0000000000000009", "SIG", "SIGSIGTERM",
		"TERMX", "TER", "RTMIN-1", "RTMAX+1", "RTMIN+31", "RTMIN+", "RTMIN3", "RTMID",
	};

	(void)state;
	for (size_t i = 0; i < array_size(good); i++) {
		int number = 0;
		assert_int_equal(oci_signal_parse(good[i].text, &number), 0);
		assert_int_equal(number, good[i].number);
	}
	for (size_t i = 0; i < array_size(bad); i++) {
		int number = 99;
		assert_int_equal(oci_signal_parse(bad[i], &number), -EINVAL);
		assert_int_equal(number, 99);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_process),
		cmocka_unit_test(test_linux),
		cmocka_unit_test(test_lenient),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_whole),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_id),
		cmocka_unit_test(test_signals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
