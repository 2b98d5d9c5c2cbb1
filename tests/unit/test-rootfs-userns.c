/* SPDX-License-Identifier: Apache-2.0 */

/* A root made from inside of a user namespace, where much is not permitted. Needs root. */

#include "tests/unit/rootfs-box.h"

#include <linux/magic.h>
#include <sys/sysmacros.h>

#define BASE 100000     /* what the container's 0 is outside */
#define BASE_MAP "0 100000 65536\n"

static void write_maps(pid_t pid)
{
	static const char *const names[] = { "uid_map", "gid_map" };
	for (size_t i = 0; i < array_size(names); i++) {
		char path[64];
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, names[i]);
		int fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, BASE_MAP, strlen(BASE_MAP)) < 0)
			_exit(1);
		close(fd);
	}
}

static int wait_for(pid_t pid)
{
	int status;
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/*
 * What follows runs as root of new namespaces; the caller's process waits for it and ends as it
 * ends.
 */
static void enter_userns(struct box *box, int flags)
{
	int go[2];
	char byte = 0;
	pid_t parent = getpid();
	check(pipe2(go, O_CLOEXEC) == 0);
	pid_t writer = fork();
	check(writer >= 0);
	if (writer == 0) {
		close(go[1]);
		if (read(go[0], &byte, 1) != 1)
			_exit(1);
		write_maps(parent);
		_exit(0);
	}
	check(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | flags) == 0);
	check(write(go[1], &byte, 1) == 1);
	check(wait_for(writer) == 0);
	check(setresgid(0, 0, 0) == 0 && setresuid(0, 0, 0) == 0);
	pid_t pid = fork();
	check(pid >= 0);
	if (pid > 0)
		_exit(wait_for(pid));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void give_away(struct box *box)
{
	const char *rootfs = box_path(box, "bundle/rootfs");
	check(chmod(box->dir, 0755) == 0);
	check(chown(rootfs, BASE, BASE) == 0);
	check(chown(box_path(box, "bundle/rootfs/etc"), BASE, BASE) == 0);
}

#define MOUNTED(type_, at, ...) \
	{ .destination = at, .type = type_, .source = type_, .options = WORDS(__VA_ARGS__) }

static void body_usual(struct box *box)
{
	const struct oci_spec spec = {
		MOUNTS(MOUNTED("proc", "/proc", "nosuid", "noexec", "nodev"),
		       MOUNTED("tmpfs", "/dev", "nosuid", "mode=755"),
		       MOUNTED("devpts", "/dev/pts", "newinstance", "ptmxmode=0666", "mode=0620"),
		       MOUNTED("mqueue", "/dev/mqueue", "nosuid"),
		       MOUNTED("sysfs", "/sys", "nosuid", "noexec", "nodev", "ro"),
		       MOUNTED("cgroup", "/sys/fs/cgroup", "nosuid", "noexec", "nodev", "ro"),
		       { .destination = "/data", .source = "data",
			 .options = WORDS("rbind", "rw", "suid", "exec") }),
		.root.readonly = true,
		.process = &(struct oci_process){ .terminal = true },
		.linux_ = {
			NAMESPACES(MOUNT_NS),
			.masked_paths = WORDS("/proc/kcore", "/proc/scsi", "/etc"),
			.readonly_paths = WORDS("/proc/sys"),
		},
	};
	int master, slave, fd;
	give_away(box);
	check(sys_mount("data", box_path(box, "bundle/data"), "tmpfs",
	                MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME, NULL) == 0);
	enter_userns(box, 0);
	check(box_mount(box, spec) == 0);
	check(rootfs_enter(&box->rootfs, &box->fault) == 0);
	check(rootfs_open_pty(&master, &slave, &box->fault) == 0);
	check(rootfs_console(slave, &box->fault) == 0);
	check(rootfs_seal(&box->spec, &box->fault) == 0);
	/* Devices are those of the host, bound. */
	check(box_is_device("/dev/null", makedev(1, 3)));
	check(box_is_device("/dev/tty", makedev(5, 0)));
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	check(fd >= 0 && write(fd, "x", 1) == 1);
	fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	check(fd >= 0 && read(fd, &master, 1) == 1);
	check(box_is_fs("/proc", PROC_SUPER_MAGIC) && getpid() == 1);
	/* No network namespace of its own: the sysfs outside, read-only, with all below. */
	check(box_is_fs("/sys", SYSFS_MAGIC) && box_flags("/sys") & ST_RDONLY);
	check(box_flags("/sys/fs/cgroup") & ST_RDONLY);
	/* Locked from outside: they stay. */
	check((box_flags("/data") & (ST_NOSUID | ST_NODEV | ST_NOEXEC)) ==
	      (ST_NOSUID | ST_NODEV | ST_NOEXEC));
	check(mkdir("/x", 0755) < 0 && errno == EROFS);
	check(open("/proc/sys/kernel/hostname", O_WRONLY) < 0);
	check(box_is_device("/proc/kcore", makedev(1, 3)) || access("/proc/kcore", F_OK) < 0);
	check(mkdir("/etc/x", 0755) < 0 && errno == EROFS);
}

/* Nothing of the container's may pass for the host's device. */
static void body_devices(struct box *box)
{
	struct oci_device device = { .type = 'c', .path = "/dev/full", .major = 1, .minor = 5 };
	const struct oci_spec spec = {
		.linux_ = { NAMESPACES(MOUNT_NS), .devices = { 1, &device } },
	};
	const struct oci_mount dev = MOUNTED("tmpfs", "/dev", "nosuid", "mode=755");
	give_away(box);
	enter_userns(box, 0);
	struct oci_spec with_dev = spec;
	with_dev.mounts.count = 1;
	with_dev.mounts.item = (struct oci_mount[]){ dev };
	check(box_mount(box, with_dev) == -ENODEV);
	check(!strcmp(box->fault.text, "device \"/dev/full\": no such device"));
	rootfs_deinit(&box->rootfs);
	device.path = "/dev/no/such";
	check(box_mount(box, with_dev) == -ENOENT);
}

/* Sources that only the agent can reach, and id maps that only it can make. */
static void body_sources(struct box *box)
{
	struct oci_mount mounts[] = {
		{ .destination = "/mapped", .source = "secret/data",
		  .options = WORDS("rbind", "rro"),
		  .uid_mappings = { 1, (struct oci_id_mapping[]){ { 0, BASE, 65536 } } },
		  .gid_mappings = { 1, (struct oci_id_mapping[]){ { 0, BASE, 65536 } } } },
		{ .destination = "/own", .source = "secret/data",
		  .options = WORDS("bind", "idmap") },
		{ .destination = "/plain", .source = "secret/data", .options = WORDS("bind") },
		{ .destination = "/tmp", .type = "tmpfs" },
	};
	struct oci_id_mapping map = { 0, BASE, 65536 };
	struct stat stat;
	give_away(box);
	check(mkdir(box_path(box, "bundle/secret"), 0700) == 0);
	check(mkdir(box_path(box, "bundle/secret/data"), 0755) == 0);
	box_write(box, box_path(box, "bundle/secret/data/file"), "secret");
	box_use(box, (struct oci_spec){
		.mounts = { array_size(mounts), mounts },
		.linux_ = { NAMESPACES(MOUNT_NS), .uid_mappings = { 1, &map },
			    .gid_mappings = { 1, &map } },
	});
	check(rootfs_open_sources(&box->rootfs, &box->spec, box->bundle, &box->fault) == 0);
	enter_userns(box, 0);
	check(access(box_path(box, "bundle/secret/data"), F_OK) < 0 && errno == EACCES);
	check(rootfs_open(&box->rootfs, &box->spec, box->bundle, &box->fault) == 0);
	check(rootfs_mount(&box->rootfs, &box->fault) == 0);
	check(rootfs_enter(&box->rootfs, &box->fault) == 0);
	check(rootfs_seal(&box->spec, &box->fault) == 0);
	check(lstat("/mapped/file", &stat) == 0 && stat.st_uid == 0 && stat.st_gid == 0);
	check(box_flags("/mapped") & ST_RDONLY);
	check(lstat("/own/file", &stat) == 0 && stat.st_uid == 0);
	check(lstat("/plain/file", &stat) == 0 && stat.st_uid == 65534);
	check(box_holds("/plain/file", "secret"));
	rootfs_deinit(&box->rootfs);
}

/* In a cgroup namespace each hierarchy is mounted afresh. */
static void body_cgroups(struct box *box)
{
	const struct oci_spec spec = {
		MOUNTS(MOUNTED("cgroup", "/cgroup", "nosuid", "noexec", "nodev", "relatime")),
		.linux_ = { NAMESPACES(MOUNT_NS, { .type = OCI_NS_CGROUP }) },
	};
	char line[512], path[600];
	give_away(box);
	FILE *file = fopen("/proc/self/cgroup", "re");
	check(file);
	enter_userns(box, CLONE_NEWCGROUP);
	box_enter(box, spec);
	while (fgets(line, sizeof(line), file)) {
		char *text = strchr(line, ':') + 1;
		text[strcspn(text, ":")] = '\0';
		const char *name = !strncmp(text, "name=", 5) ? text + 5 : *text ? text : "unified";
		snprintf(path, sizeof(path), "/cgroup/%s/cgroup.procs", name);
		check(access(path, F_OK) == 0 || access("/cgroup/cgroup.procs", F_OK) == 0);
	}
}

static int setup(void **state)
{
	static struct box box;
	box_init(&box);
	*state = &box;
	return 0;
}

static int teardown(void **state)
{
	box_deinit(*state);
	return 0;
}

#define RUN(name) \
	static void test_##name(void **state) \
	{ \
		box_run(*state, 0, body_##name); \
	}
RUN(usual)
RUN(devices)
RUN(sources)
RUN(cgroups)

int main(void)
{
#define ROW(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
	const struct CMUnitTest tests[] = {
		ROW(usual), ROW(devices), ROW(sources), ROW(cgroups),
	};
	if (!box_possible())
		return 0;
	if (access("/proc/self/ns/user", F_OK) < 0) {
		puts("1..0 # SKIP needs user namespaces");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
