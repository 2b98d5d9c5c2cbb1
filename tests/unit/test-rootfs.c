/* SPDX-License-Identifier: Apache-2.0 */

/* The file system of a container, made for real in a mount namespace. Needs root. */

#include "tests/unit/rootfs-box.h"

#include "agent/mountinfo.h"

#include <dirent.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#define PROC { .destination = "/proc", .type = "proc", .source = "proc" }
#define DEV \
	{ .destination = "/dev", .type = "tmpfs", .source = "tmpfs", \
	  .options = WORDS("nosuid", "strictatime", "mode=755", "size=65536k") }
#define DEVPTS \
	{ .destination = "/dev/pts", .type = "devpts", .source = "devpts", \
	  .options = WORDS("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620") }
#define SYSFS \
	{ .destination = "/sys", .type = "sysfs", .source = "sysfs", \
	  .options = WORDS("nosuid", "noexec", "nodev", "ro") }
#define BIND(from, to, ...) \
	{ .destination = to, .type = "bind", .source = from, .options = WORDS(__VA_ARGS__) }

static bool is_empty(const char *path)
{
	int entries = 0;
	DIR *list = opendir(path);
	while (list && readdir(list))
		entries++;
	if (list)
		closedir(list);
	return entries == 2;
}

static bool is_link(const char *path, const char *want)
{
	char target[256];
	ssize_t n = readlink(path, target, sizeof(target));
	return n == (ssize_t)strlen(want) && !memcmp(target, want, (size_t)n);
}

/* The options of the mount and "shared:N" and so on, as mountinfo has them for a mount point. */
static bool mount_says(const char *point, const char *word)
{
	char line[1024], at[256];
	bool found = false;
	FILE *file = fopen("/proc/self/mountinfo", "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%*s %*s %*s %*s %255s", at) == 1 && !strcmp(at, point))
			found = strstr(line, word);
	if (file)
		fclose(file);
	return found;
}

/* What containerd asks for by default. */
static const struct oci_spec usual = {
	MOUNTS(PROC, DEV, DEVPTS,
	       { .destination = "/dev/shm", .type = "tmpfs", .source = "shm",
		 .options = WORDS("nosuid", "noexec", "nodev", "mode=1777", "size=65536k") },
	       { .destination = "/dev/mqueue", .type = "mqueue", .source = "mqueue",
		 .options = WORDS("nosuid", "noexec", "nodev") },
	       SYSFS,
	       { .destination = "/run", .type = "tmpfs", .source = "tmpfs",
		 .options = WORDS("nosuid", "ro", "mode=755") },
	       BIND("data", "/run/data", "rbind", "rprivate")),
	.root.readonly = true,
	.process = &(struct oci_process){ .terminal = true },
	.linux_ = {
		NAMESPACES(MOUNT_NS),
		.masked_paths = WORDS("/proc/kcore", "/proc/scsi", "/sys/firmware", "/proc/none",
		                      "/etc/secret", "/proc/keys/none"),
		.readonly_paths = WORDS("/proc/sys", "/proc/none", "/proc/irq"),
		.devices = { 1, (struct oci_device[]){
			{ .type = 'c', .path = "/dev/deep/er/full", .major = 1, .minor = 7,
			  .file_mode = { true, 0640 }, .uid = 3, .gid = 4 } } },
	},
};

static void check_usual_devices(struct box *box)
{
	struct stat stat;
	check(box_is_device("/dev/null", makedev(1, 3)));
	check(box_is_device("/dev/zero", makedev(1, 5)));
	check(box_is_device("/dev/full", makedev(1, 7)));
	check(box_is_device("/dev/random", makedev(1, 8)));
	check(box_is_device("/dev/urandom", makedev(1, 9)));
	check(box_is_device("/dev/tty", makedev(5, 0)));
	check(box_is_device("/dev/deep/er/full", makedev(1, 7)));
	check(lstat("/dev/null", &stat) == 0 && stat.st_mode == (S_IFCHR | 0666));
	check(lstat("/dev/deep/er/full", &stat) == 0 && stat.st_mode == (S_IFCHR | 0640));
	check(stat.st_uid == 3 && stat.st_gid == 4);
	check(is_link("/dev/fd", "/proc/self/fd"));
	check(is_link("/dev/stdin", "/proc/self/fd/0"));
	check(is_link("/dev/stdout", "/proc/self/fd/1"));
	check(is_link("/dev/stderr", "/proc/self/fd/2"));
	check(is_link("/dev/ptmx", "pts/ptmx"));
}

static void check_usual_mounts(struct box *box)
{
	char cwd[16];
	check(getcwd(cwd, sizeof(cwd)) && !strcmp(cwd, "/"));
	check(box_is_fs("/proc", PROC_SUPER_MAGIC));
	check(box_is_fs("/sys", SYSFS_MAGIC) && box_flags("/sys") & ST_RDONLY);
	check(box_is_fs("/dev", TMPFS_MAGIC) && !(box_flags("/dev") & ST_RDONLY));
	check((box_flags("/dev") & (ST_NOSUID | ST_NOEXEC)) == ST_NOSUID);
	check(box_is_fs("/dev/pts", DEVPTS_SUPER_MAGIC));
	check(box_is_fs("/dev/mqueue", 0x19800202));
	check(box_flags("/dev/shm") & ST_NODEV && box_flags("/dev/shm") & ST_NOEXEC);
	struct stat stat;
	check(lstat("/dev/shm", &stat) == 0 && stat.st_mode == (S_IFDIR | 01777));
	check(mount_says("/dev/shm", "size=65536k"));
	/* Read-only, although a mount point was made in it. */
	check(mkdir("/run/x", 0755) < 0 && errno == EROFS);
	check(box_holds("/run/data/file", "data"));
	check(mkdir("/x", 0755) < 0 && errno == EROFS);
	check(mkdir("/dev/shm/x", 0755) == 0);
}

static void check_usual_masks(struct box *box)
{
	check(box_is_device("/proc/kcore", makedev(1, 3)) || access("/proc/kcore", F_OK) < 0);
	check(box_is_device("/etc/secret", makedev(1, 3)));
	check(is_empty("/sys/firmware") && mkdir("/sys/firmware/x", 0755) < 0 && errno == EROFS);
	int fd = open("/proc/sys/kernel/hostname", O_WRONLY);
	check(fd < 0 && errno == EROFS);
	check(box_flags("/proc/irq") & ST_RDONLY && !(box_flags("/proc") & ST_RDONLY));
}

static void body_usual(struct box *box)
{
	int master, slave, number;
	char name[32];
	struct stat by_name, by_fd;
	box_write(box, box_path(box, "bundle/rootfs/etc/secret"), "secret");
	check(box_mount(box, usual) == 0);
	check(rootfs_enter(&box->rootfs, &box->fault) == 0);
	check(rootfs_open_pty(&master, &slave, &box->fault) == 0);
	check(rootfs_console(slave, &box->fault) == 0);
	check(rootfs_seal(&box->spec, &box->fault) == 0);
	rootfs_deinit(&box->rootfs);
	check_usual_mounts(box);
	check_usual_devices(box);
	check_usual_masks(box);
	/* The terminal is one of the container's own. */
	check(ioctl(master, TIOCGPTN, &number) == 0 && number == 0);
	snprintf(name, sizeof(name), "/dev/pts/%d", number);
	check(fstat(slave, &by_fd) == 0 && stat(name, &by_name) == 0);
	check(by_fd.st_rdev == by_name.st_rdev);
	check(stat("/dev/console", &by_name) == 0 && by_fd.st_rdev == by_name.st_rdev);
}

static const struct oci_spec binds = {
	MOUNTS(PROC,
	       BIND("data", "/made/for/it", "bind", "ro", "nosuid", "nodev", "noexec", "noatime"),
	       BIND("data/file", "/etc/file", "rbind", "rro"),
	       BIND("data", "/plain", "bind"),
	       BIND("tight", "/kept", "bind", "nosymfollow"),
	       BIND("tight", "/loose", "bind", "rw", "suid", "exec"),
	       BIND("tight", "/ro", "rbind", "ro"),
	       BIND("tight", "/rro", "rbind", "rro", "rnoexec", "rstrictatime"),
	       { .destination = "relative", .source = "data", .options = WORDS("bind") },
	       { .destination = "/plain", .options = WORDS("remount", "bind", "ro") }),
	.linux_ = { NAMESPACES(MOUNT_NS) },
};

static void body_binds(struct box *box)
{
	const unsigned long all = ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC;
	check(mkdir(box_path(box, "bundle/tight"), 0755) == 0);
	check(sys_mount("tight", box_path(box, "bundle/tight"), "tmpfs",
	                MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0);
	check(mkdir(box_path(box, "bundle/tight/sub"), 0755) == 0);
	check(sys_mount("sub", box_path(box, "bundle/tight/sub"), "tmpfs", 0, NULL) == 0);
	box_enter(box, binds);
	check((box_flags("/made/for/it") & all) == all);
	check(mount_says("/made/for/it", "noatime"));
	check(box_holds("/made/for/it/file", "data") && box_holds("/relative/file", "data"));
	check(box_holds("/etc/file", "data"));
	check(open("/etc/file", O_WRONLY) < 0 && errno == EROFS);
	check((box_flags("/plain") & all) == ST_RDONLY);
	check(!(box_flags("/relative") & all));
	/* What nobody spoke of stays as it was. */
	check((box_flags("/kept") & all) == (ST_NOSUID | ST_NODEV | ST_NOEXEC));
	check(mount_says("/kept", "nosymfollow"));
	check((box_flags("/loose") & all) == ST_NODEV);
	check(is_empty("/kept/sub"));
	check(box_flags("/ro") & ST_RDONLY && !(box_flags("/ro/sub") & ST_RDONLY));
	check(box_flags("/rro/sub") & ST_RDONLY && box_flags("/rro/sub") & ST_NOEXEC);
	check(!mount_says("/rro/sub", "relatime"));
}

static const struct oci_spec copies = {
	MOUNTS(PROC, { .destination = "/tree", .type = "tmpfs", .source = "tmpfs",
		       .options = WORDS("tmpcopyup", "ro", "nodev") },
	       { .destination = "/mode", .type = "tmpfs", .source = "tmpfs" },
	       { .destination = "/fresh", .type = "tmpfs", .source = "tmpfs",
		 .options = WORDS("size=4096") }),
	.linux_ = { NAMESPACES(MOUNT_NS) },
};

static void body_copies(struct box *box)
{
	struct stat stat;
	check(mkdir(box_path(box, "bundle/rootfs/mode"), 01750) == 0);
	check(chmod(box_path(box, "bundle/rootfs/mode"), 01750) == 0);
	check(mkdir(box_path(box, "bundle/rootfs/tree"), 0711) == 0);
	check(mkdir(box_path(box, "bundle/rootfs/tree/sub"), 02770) == 0);
	check(chmod(box_path(box, "bundle/rootfs/tree/sub"), 02770) == 0);
	box_write(box, box_path(box, "bundle/rootfs/tree/sub/file"), "text");
	check(chown(box_path(box, "bundle/rootfs/tree/sub/file"), 7, 8) == 0);
	check(chmod(box_path(box, "bundle/rootfs/tree/sub/file"), 04755) == 0);
	check(symlink(box_path(box, "host"), box_path(box, "bundle/rootfs/tree/link")) == 0);
	check(mkfifo(box_path(box, "bundle/rootfs/tree/fifo"), 0600) == 0);
	box_enter(box, copies);
	check(box_is_fs("/tree", TMPFS_MAGIC) && box_flags("/tree") & ST_RDONLY);
	check(lstat("/tree", &stat) == 0 && stat.st_mode == (S_IFDIR | 0711));
	check(lstat("/tree/sub", &stat) == 0 && stat.st_mode == (S_IFDIR | 02770));
	check(box_holds("/tree/sub/file", "text"));
	check(lstat("/tree/sub/file", &stat) == 0 && stat.st_mode == (S_IFREG | 04755));
	check(stat.st_uid == 7 && stat.st_gid == 8);
	check(lstat("/tree/fifo", &stat) == 0 && S_ISFIFO(stat.st_mode));
	check(is_link("/tree/link", box_path(box, "host")));
	check(lstat("/mode", &stat) == 0 && stat.st_mode == (S_IFDIR | 01750));
	check(lstat("/fresh", &stat) == 0 && stat.st_mode == (S_IFDIR | 01777));
	check(mount_says("/fresh", "size=4k"));
}

static const struct oci_spec mapped = {
	MOUNTS(BIND("data", "/plain", "bind"),
	       { .destination = "/mapped", .source = "data", .options = WORDS("bind", "idmap"),
		 .uid_mappings = { 1, (struct oci_id_mapping[]){ { 0, 1000, 10 } } },
		 .gid_mappings = { 1, (struct oci_id_mapping[]){ { 0, 2000, 10 } } } }),
	.linux_ = { NAMESPACES(MOUNT_NS) },
};

static void body_idmap(struct box *box)
{
	struct stat stat;
	box_enter(box, mapped);
	check(lstat("/plain/file", &stat) == 0 && stat.st_uid == 0 && stat.st_gid == 0);
	check(lstat("/mapped/file", &stat) == 0 && stat.st_uid == 1000 && stat.st_gid == 2000);
}

static const struct {
	const char *rootfs, *bind;      /* propagation of each */
	const char *root_says, *bind_says;
} propagations[] = {
	{ NULL, "rslave", NULL, "master:" },
	{ "rslave", "slave", NULL, "master:" },
	{ "shared", "rshared", "shared:", "shared:" },
	{ "rshared", "private", "shared:", "shared:" }, /* the root has the last word */
	{ "private", "runbindable", NULL, "unbindable" },
	{ "unbindable", "rprivate", "unbindable", NULL },
};
static size_t propagation_turn;

static void body_propagation(struct box *box)
{
	const char *data = box_path(box, "bundle/data");
	const char *root = propagations[propagation_turn].root_says;
	const char *bind = propagations[propagation_turn].bind_says;
	check(sys_mount(data, data, NULL, MS_BIND, NULL) == 0);
	check(sys_mount(NULL, data, NULL, MS_SHARED, NULL) == 0);
	/* Somebody must be there to share with: this namespace lives on behind its fd. */
	check(open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC) >= 0 && unshare(CLONE_NEWNS) == 0);
	const struct oci_spec spec = {
		MOUNTS(PROC, BIND("data", "/data", "bind",
		                  propagations[propagation_turn].bind)),
		.linux_ = { NAMESPACES(MOUNT_NS),
			    .rootfs_propagation = propagations[propagation_turn].rootfs },
	};
	box_enter(box, spec);
	if (root)
		check(mount_says("/", root));
	else
		check(!mount_says("/", "shared:"));
	if (bind)
		check(mount_says("/data", bind));
	else
		check(!mount_says("/data", "shared:") && !mount_says("/data", "master:"));
}

static unsigned count_mounts(void)
{
	char line[1024];
	unsigned count = 0;
	FILE *file = fopen("/proc/self/mountinfo", "re");
	while (file && fgets(line, sizeof(line), file))
		count++;
	if (file)
		fclose(file);
	return count;
}

/* On a host that shares all its mounts, none of ours appears there and none of its own goes. */
static void body_no_leak(struct box *box)
{
	struct oci_spec spec = usual;
	spec.linux_.rootfs_propagation = propagations[propagation_turn].rootfs;
	check(sys_mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL) == 0);
	unsigned before = count_mounts();
	pid_t pid = fork();
	if (pid == 0) {
		check(unshare(CLONE_NEWNS) == 0);
		box_enter(box, spec);
		raise(SIGSTOP);
		_exit(0);
	}
	int status;
	check(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	check(before > 0 && count_mounts() == before);
	check(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
}

static const struct oci_spec cgroups = {
	MOUNTS(PROC, SYSFS, { .destination = "/sys/fs/cgroup", .type = "cgroup", .source = "cgroup",
			      .options = WORDS("nosuid", "noexec", "nodev", "relatime", "ro") }),
	.linux_ = { NAMESPACES(MOUNT_NS) },
};

/* Each hierarchy of this machine is there, and read-only. */
static void body_cgroups(struct box *box)
{
	char line[512], path[600];
	box_enter(box, cgroups);
	FILE *file = fopen("/proc/self/cgroup", "re");
	check(file);
	check(box_flags("/sys/fs/cgroup") & ST_RDONLY);
	if (box_is_fs("/sys/fs/cgroup", CGROUP2_SUPER_MAGIC))
		return;
	while (fgets(line, sizeof(line), file)) {
		char *text = strchr(line, ':') + 1;
		text[strcspn(text, ":")] = '\0';
		const char *name = text;
		name = !*name ? "unified" : !strncmp(name, "name=", 5) ? name + 5 : name;
		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", name);
		check(box_is_fs(path, strcmp(name, "unified") != 0 ? CGROUP_SUPER_MAGIC :
		                CGROUP2_SUPER_MAGIC));
		check(box_flags(path) & ST_RDONLY && box_flags(path) & ST_NOEXEC);
		strcat(path, "/cgroup.procs");
		check(access(path, F_OK) == 0);
	}
	fclose(file);
}

static void body_sysctl(struct box *box)
{
	struct oci_spec spec = {
		MOUNTS(PROC),
		.linux_ = {
			NAMESPACES(MOUNT_NS),
			.sysctl = { 2, (struct str_pair[]){
				{ "kernel.domainname", "one.example" },
				{ "kernel/hostname", "box" } } },
			.readonly_paths = WORDS("/proc/sys"),
		},
	};
	box_enter(box, spec);
	check(box_holds("/proc/sys/kernel/domainname", "one.example\n"));
	check(box_holds("/proc/sys/kernel/hostname", "box\n"));
	spec.linux_.sysctl.item[1].name = "kernel.no_such";
	check(rootfs_sysctl(&spec, &box->fault) == -EROFS);
	spec.linux_.sysctl.item[0].name = "kernel.no_such";
	check(rootfs_sysctl(&spec, &box->fault) == -ENOENT);
	check(!strcmp(box->fault.text, "linux.sysctl[\"kernel.no_such\"]: "
	              "no such file or directory"));
}

/* A file system that only passes for /proc is not written to, and not taken for masked. */
static void body_false_proc(struct box *box)
{
	const struct oci_spec spec = {
		.linux_ = { NAMESPACES(MOUNT_NS),
			    .sysctl = { 1, (struct str_pair[]){ { "kernel.hostname", "x" } } } },
	};
	check(mkdir(box_path(box, "bundle/rootfs/proc"), 0755) == 0);
	check(mkdir(box_path(box, "bundle/rootfs/proc/sys"), 0755) == 0);
	check(box_mount(box, spec) == 0 && rootfs_enter(&box->rootfs, &box->fault) == 0);
	check(rootfs_sysctl(&box->spec, &box->fault) == -ENODEV);
	box->spec = usual;
	check(rootfs_seal(&box->spec, &box->fault) == -ENODEV);
}

/* From now on the system call fails. */
static void spoil(struct box *box, unsigned number, unsigned error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog filter = { array_size(code), code };
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

/* Linux 5.10 and 5.11 have no mount_setattr(2). */
static void body_old_usual(struct box *box)
{
	spoil(box, SYS_mount_setattr, ENOSYS);
	body_usual(box);
}

static void body_old_propagation(struct box *box)
{
	spoil(box, SYS_mount_setattr, ENOSYS);
	body_propagation(box);
}

static void body_old_binds(struct box *box)
{
	const struct oci_spec spec = {
		MOUNTS(PROC, BIND("data", "/a", "bind", "ro", "nosuid", "noatime"),
		       BIND("tight", "/b", "bind", "suid", "strictatime"),
		       BIND("data", "/c", "rbind", "rro")),
		.linux_ = { NAMESPACES(MOUNT_NS) },
	};
	spoil(box, SYS_mount_setattr, ENOSYS);
	check(mkdir(box_path(box, "bundle/tight"), 0755) == 0);
	check(sys_mount("tight", box_path(box, "bundle/tight"), "tmpfs",
	                MS_NOSUID | MS_NODEV | MS_NOATIME, NULL) == 0);
	check(box_mount(box, spec) == -ENOTSUP);
	check(strstr(box->fault.text, "on \"/c\": "));
	check(rootfs_enter(&box->rootfs, &box->fault) == 0);
	check((box_flags("/a") & (ST_RDONLY | ST_NOSUID | ST_NODEV)) == (ST_RDONLY | ST_NOSUID));
	check(mount_says("/a", "noatime"));
	check((box_flags("/b") & (ST_RDONLY | ST_NOSUID | ST_NODEV)) == ST_NODEV);
	check(!mount_says("/b", "noatime") && !mount_says("/b", "relatime"));
}

/*
 * As in an initramfs: "/" is a tmpfs that pivot_root(2) refuses to leave. The mounts that stood
 * beside the root must be gone afterwards.
 */
static void body_initramfs(struct box *box)
{
	const struct oci_spec spec = {
		MOUNTS(PROC, DEV),
		.linux_ = { NAMESPACES(MOUNT_NS), .masked_paths = WORDS("/proc/keys") },
	};
	const char *top = box_path(box, "host");
	check(sys_mount("top", top, "tmpfs", 0, NULL) == 0 && chdir(top) == 0);
	check(mkdir("proc", 0755) == 0 && mkdir("run", 0755) == 0 && mkdir("a b", 0755) == 0);
	check(sys_mount("proc", "proc", "proc", 0, NULL) == 0);
	check(sys_mount("proc", "proc", "proc", 0, NULL) == 0);
	check(sys_mount("run", "run", "tmpfs", 0, NULL) == 0);
	check(sys_mount("sys", "a b", "sysfs", 0, NULL) == 0);
	check(mkdir("run/b", 0755) == 0 && mkdir("run/b/rootfs", 0755) == 0);
	int top_fd = open(".", O_PATH | O_DIRECTORY);
	check(top_fd >= 0 && chroot(".") == 0);
	snprintf(box->bundle, sizeof(box->bundle), "/run/b");
	spoil(box, SYS_pivot_root, EINVAL);
	box_enter(box, spec);
	check(box_is_fs("/proc", PROC_SUPER_MAGIC) && box_is_fs("/dev", TMPFS_MAGIC));
	check(access("/run", F_OK) < 0);
	check(faccessat(top_fd, "proc", F_OK, 0) == 0);
	check(faccessat(top_fd, "proc/self", F_OK, 0) < 0);
	check(faccessat(top_fd, "a b/kernel", F_OK, 0) < 0);
	check(faccessat(top_fd, "run/b", F_OK, 0) < 0);
}

/* No mount namespace: a root directory, and no mounts. */
static void body_shared(struct box *box)
{
	const struct oci_spec plain = { 0 }, with_mounts = { MOUNTS(PROC) };
	check(box_mount(box, with_mounts) == -EINVAL);
	box_enter(box, plain);
	check(access("/etc", F_OK) == 0 && access("/tmp", F_OK) < 0 && access("/dev", F_OK) < 0);
}

/* A /dev that is bound from outside stays as it is. */
static void body_bound_dev(struct box *box)
{
	const struct oci_spec spec = {
		MOUNTS(BIND(box_path(box, "host"), "/dev", "rbind", "ro")),
		.linux_ = { NAMESPACES(MOUNT_NS) },
	};
	box_enter(box, spec);
	check(box_holds("/dev/canary", "canary") && access("/dev/null", F_OK) < 0);
}

/* Values that fsconfig(2) has no room for go by mount(2). */
static void body_oversized(struct box *box)
{
	char lower[1024] = "lowerdir=", name[300];
	struct oci_spec spec = {
		MOUNTS(PROC, { .destination = "/merged", .type = "overlay", .source = "overlay",
			       .options = WORDS("nodev", lower, "rprivate") }),
		.linux_ = { NAMESPACES(MOUNT_NS) },
	};
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "%s/bundle/layer-of-quite-a-long-name-%d", box->dir,
		         i);
		check(mkdir(name, 0755) == 0);
		strcat(strcat(lower, i ? ":" : ""), name);
	}
	strcat(name, "/file");
	box_write(box, name, "overlay");
	box_enter(box, spec);
	check(box_holds("/merged/file", "overlay") && box_flags("/merged") & ST_NODEV);
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

static void test_propagation(void **state)
{
	for (propagation_turn = 0; propagation_turn < array_size(propagations); propagation_turn++)
		box_run(*state, 0, body_propagation);
	for (propagation_turn = 0; propagation_turn < array_size(propagations); propagation_turn++)
		box_run(*state, 0, body_old_propagation);
}

static void test_no_leak(void **state)
{
	for (propagation_turn = 0; propagation_turn < array_size(propagations); propagation_turn++)
		box_run(*state, 0, body_no_leak);
}

#define RUN(name, flags) \
	static void test_##name(void **state) \
	{ \
		box_run(*state, flags, body_##name); \
	}
RUN(usual, 0)
RUN(binds, 0)
RUN(copies, 0)
RUN(idmap, 0)
RUN(cgroups, 0)
RUN(sysctl, CLONE_NEWUTS)
RUN(false_proc, CLONE_NEWUTS)
RUN(old_usual, 0)
RUN(old_binds, 0)
RUN(initramfs, 0)
RUN(shared, 0)
RUN(bound_dev, 0)
RUN(oversized, 0)

int main(void)
{
#define ROW(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
	const struct CMUnitTest tests[] = {
		ROW(usual), ROW(binds), ROW(copies), ROW(idmap), ROW(propagation),
		ROW(no_leak), ROW(cgroups),
		ROW(sysctl), ROW(false_proc), ROW(old_usual), ROW(old_binds), ROW(initramfs),
		ROW(shared), ROW(bound_dev), ROW(oversized),
	};
	if (!box_possible())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
