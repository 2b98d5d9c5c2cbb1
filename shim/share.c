/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which of the host's files a container gets to see, decided where its caller's mounts are: paths
 * in a config.json mean the caller's mount namespace, and the sandbox process lives in another one.
 * So a command opens each tree as a detached mount and passes that on.
 *
 * A detached mount is ours alone. It is made read-only before anybody in the guest can reach it,
 * and so even a guest whose kernel was taken over cannot write there: with all mounts below it,
 * because that is also what a guest's bind mount does, which cannot tell them apart. And it is cut
 * off from its origin: unmounting the copy must never unmount what it is a copy of. Where the spec
 * wants what is mounted later on the host to appear in the container (rslave, rshared), it stays a
 * slave; the other direction does not exist between two kernels.
 */

#include "shim/share.h"

#include "oci/mountapi.h"
#include "oci/path.h"

#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#define MQUEUE_MAGIC 0x19800202
#define ID_MAX_IN_NAME 200

struct sharing {
	struct oci_spec *spec;
	const char *name;
	struct arena *arena;
	share_fn *give;
	void *context;
	int root_fd;            /* the tree of the root; writable until all is made in it */
};

const char *share_name(struct arena *arena, const char *id)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return arena_printf(arena, "%.*s.%" PRIx64, ID_MAX_IN_NAME, id,
	                    (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

/* What mount options say */

struct bind {
	bool recursive, readonly, follows;      /* follows: what is mounted on the host later */
};

static bool parse_bind(const struct oci_mount *mount, struct bind *ret)
{
	static const struct {
		const char *word;
		size_t offset;
		bool value;
	} words[] = {
		{ "rbind", offsetof(struct bind, recursive), true },
		{ "ro", offsetof(struct bind, readonly), true },
		{ "rro", offsetof(struct bind, readonly), true },
		{ "rw", offsetof(struct bind, readonly), false },
		{ "rrw", offsetof(struct bind, readonly), false },
		{ "slave", offsetof(struct bind, follows), true },
		{ "rslave", offsetof(struct bind, follows), true },
		{ "shared", offsetof(struct bind, follows), true },
		{ "rshared", offsetof(struct bind, follows), true },
		{ "private", offsetof(struct bind, follows), false },
		{ "rprivate", offsetof(struct bind, follows), false },
	};
	bool bind = mount->type && !strcmp(mount->type, "bind");

	*ret = (struct bind){ 0 };
	for (size_t i = 0; i < mount->options.count; i++) {
		const char *option = mount->options.item[i];
		if (!strcmp(option, "remount"))
			return false;
		bind = bind || !strcmp(option, "bind") || !strcmp(option, "rbind");
		for (size_t k = 0; k < array_size(words); k++) {
			if (!strcmp(option, words[k].word))
				*(bool *)((char *)ret + words[k].offset) = words[k].value;
		}
	}
	return bind;
}

/* Trees */

static int open_place(const char *path, struct stat *ret_stat)
{
	cleanup_close int fd = open(path, O_PATH | O_CLOEXEC);

	return fd < 0 || fstat(fd, ret_stat) < 0 ? -errno : take_fd(&fd);
}

static int open_clone(const char *path, bool recursive, struct stat *ret_stat)
{
	cleanup_close int fd = open_place(path, ret_stat);

	if (fd < 0)
		return fd;
	return sys_open_tree(fd, OPEN_TREE_CLONE | (recursive ? AT_RECURSIVE : 0));
}

/*
 * Device nodes and set-user-ID programs are the guest's kernel's affair. Here a guest must not have
 * the use of them whatever its files say, not even by mistake of the daemon that opens them.
 */
static int set_attributes(int fd, bool readonly, bool follows)
{
	const struct mount_attr attributes = {
		.attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID |
		            (readonly ? MOUNT_ATTR_RDONLY : 0),
		.propagation = follows ? MS_SLAVE : MS_PRIVATE,
	};
	return sys_mount_setattr(fd, AT_RECURSIVE, &attributes);
}

static int give(struct sharing *sharing, const char *entry, int fd, bool file, const char **path,
                struct fault *fault)
{
	const struct share_tree tree = { .entry = entry, .fd = fd, .file = file };

	*path = arena_printf(sharing->arena, SHARE_GUEST "/%s/%s", sharing->name, entry);
	return *path ? sharing->give(&tree, sharing->context, fault)
	             : fault_errno(fault, -ENOMEM, "shares");
}

/* Sources */

/* Every kernel has file systems that show itself; the container is to see its own kernel's. */
static bool shows_kernel(const struct statfs *fs)
{
	static const unsigned long types[] = {
		PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
		DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC, SECURITYFS_MAGIC,
		BPF_FS_MAGIC, EFIVARFS_MAGIC, PSTOREFS_MAGIC, BINFMTFS_MAGIC, HUGETLBFS_MAGIC,
		MQUEUE_MAGIC,
	};

	for (size_t i = 0; i < array_size(types); i++) {
		if ((unsigned long)fs->f_type == types[i])
			return true;
	}
	return false;
}

/* Of these there is one in every guest, at the same place. */
static bool is_everywhere(const char *path)
{
	static const char *const paths[] = {
		"/dev", "/dev/shm", "/dev/null", "/dev/zero", "/dev/full", "/dev/random",
		"/dev/urandom", "/dev/tty",
	};

	for (size_t i = 0; i < array_size(paths); i++) {
		if (path_equal(path, paths[i]))
			return true;
	}
	return false;
}

static bool is_the_guests(const char *path)
{
	struct statfs fs;

	return is_everywhere(path) || (statfs(path, &fs) == 0 && shows_kernel(&fs));
}

static int check_kind(size_t index, const char *source, mode_t mode, struct fault *fault)
{
	const char *kind = S_ISSOCK(mode) ? "a socket" : S_ISFIFO(mode) ? "a fifo" : "a device";

	if (S_ISDIR(mode) || S_ISREG(mode))
		return 0;
	return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED,
	                 "mounts[%zu]: source \"%s\" is %s of the host, which does not work from "
	                 "inside of a VM%s", index, source, kind,
	                 S_ISBLK(mode) || S_ISCHR(mode) ? " (linux.devices makes the VM's own)" :
	                                                  "");
}

static int share_source(struct sharing *sharing, size_t index, const struct bind *bind,
                        bool *file, struct fault *fault)
{
	struct oci_mount *mount = &sharing->spec->mounts.item[index];
	struct stat stat;
	char entry[24];
	cleanup_close int fd = open_clone(mount->source, bind->recursive, &stat);

	if (fd < 0)
		return fault_errno(fault, fd, "mounts[%zu]: source \"%s\"", index, mount->source);
	*file = !S_ISDIR(stat.st_mode);
	int r = check_kind(index, mount->source, stat.st_mode, fault);
	if (r < 0)
		return r;
	r = set_attributes(fd, bind->readonly, bind->follows);
	if (r < 0)
		return fault_errno(fault, r, "mounts[%zu]: source \"%s\"", index, mount->source);
	snprintf(entry, sizeof(entry), "%zu", index);
	return give(sharing, entry, fd, *file, &mount->source, fault);
}

/* The root */

/* By name: below a mount of the spec nothing needs to be made in the root. */
static bool is_covered(const struct oci_spec *spec, size_t count, const char *path)
{
	char inner[PATH_MAX], outer[PATH_MAX];

	if (path_clean(path, inner, sizeof(inner)) < 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (path_clean(spec->mounts.item[i].destination, outer, sizeof(outer)) < 0)
			continue;
		size_t length = strlen(outer);
		if (!strncmp(inner, outer, length) && (!inner[length] || inner[length] == '/'))
			return true;
	}
	return false;
}

static int make_place(struct sharing *sharing, size_t count, const char *path, bool file,
                      struct fault *fault)
{
	if (!sharing->spec->root.readonly || sharing->root_fd < 0 ||
	    is_covered(sharing->spec, count, path))
		return 0;
	mode_t mask = umask(0);
	cleanup_close int fd = path_make(sharing->root_fd, path, file ? S_IFREG : S_IFDIR);
	umask(mask);
	return fd < 0 ? fault_errno(fault, fd, "root: make a place for \"%s\"", path) : 0;
}

/* The guest makes device nodes, which are no mounts, where no /dev is mounted. */
static bool needs_writing(const struct oci_spec *spec)
{
	const struct oci_linux *linux_ = &spec->linux_;

	if (!is_covered(spec, spec->mounts.count, "/dev"))
		return true;
	for (size_t i = 0; i < linux_->devices.count; i++) {
		if (!is_covered(spec, spec->mounts.count, linux_->devices.item[i].path))
			return true;
	}
	return false;
}

bool share_is_moot(const struct oci_spec *spec)
{
	const struct oci_namespace *namespace = oci_namespace_find(spec, OCI_NS_MOUNT);
	return namespace && namespace->path;
}

static int open_root(struct sharing *sharing, struct fault *fault)
{
	const char *path = sharing->spec->root.path;
	struct stat stat;

	if (!sharing->spec->has_root)
		return 0;
	sharing->root_fd = open_clone(path, true, &stat);
	if (sharing->root_fd < 0)
		return fault_errno(fault, sharing->root_fd, "root \"%s\"", path);
	return S_ISDIR(stat.st_mode) ? 0 : fault_errno(fault, -ENOTDIR, "root \"%s\"", path);
}

static bool follows_host(const char *propagation)
{
	return propagation && (strstr(propagation, "slave") || strstr(propagation, "shared"));
}

static int finish_root(struct sharing *sharing, struct fault *fault)
{
	struct oci_spec *spec = sharing->spec;
	int r = 0;

	if (sharing->root_fd < 0)
		return 0;
	if (spec->process)
		r = make_place(sharing, spec->mounts.count, spec->process->cwd, false, fault);
	if (r < 0)
		return r;
	r = set_attributes(sharing->root_fd, spec->root.readonly && !needs_writing(spec),
	                   follows_host(spec->linux_.rootfs_propagation));
	if (r < 0)
		return fault_errno(fault, r, "root \"%s\"", spec->root.path);
	return give(sharing, SHARE_ROOT, sharing->root_fd, false, &spec->root.path, fault);
}

static int share_mount(struct sharing *sharing, size_t index, struct fault *fault)
{
	const struct oci_mount *mount = &sharing->spec->mounts.item[index];
	struct bind bind;
	struct stat st;
	bool file = false;
	int r = 0;

	if (parse_bind(mount, &bind) && mount->source) {
		if (is_the_guests(mount->source))
			file = stat(mount->source, &st) == 0 && !S_ISDIR(st.st_mode);
		else
			r = share_source(sharing, index, &bind, &file, fault);
	}
	return r < 0 ? r : make_place(sharing, index, mount->destination, file, fault);
}

static int check_mount(const struct oci_spec *spec, size_t index, struct fault *fault)
{
	const struct oci_mount *mount = &spec->mounts.item[index];
	struct bind bind;
	struct stat st;

	if (mount->type && !strcmp(mount->type, "overlay"))
		return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED,
		                 "mounts[%zu]: an overlay of the host's directories cannot be "
		                 "mounted inside of a VM", index);
	if (!parse_bind(mount, &bind) || !mount->source || is_the_guests(mount->source))
		return 0;
	cleanup_close int fd = open_place(mount->source, &st);
	return fd < 0 ? fault_errno(fault, fd, "mounts[%zu]: source \"%s\"", index, mount->source)
	              : check_kind(index, mount->source, st.st_mode, fault);
}

int share_check(const struct oci_spec *spec, struct fault *fault)
{
	struct stat st;
	int r = 0;

	if (share_is_moot(spec))
		return 0;
	if (spec->has_root && stat(spec->root.path, &st) < 0)
		r = fault_errno(fault, -errno, "root \"%s\"", spec->root.path);
	for (size_t i = 0; r >= 0 && i < spec->mounts.count; i++)
		r = check_mount(spec, i, fault);
	return r;
}

int share_spec(struct oci_spec *spec, const char *name, struct arena *arena, share_fn *fn,
               void *context, struct fault *fault)
{
	struct sharing sharing = {
		.spec = spec,
		.name = name,
		.arena = arena,
		.give = fn,
		.context = context,
		.root_fd = -1,
	};
	int r = name ? open_root(&sharing, fault) : fault_errno(fault, -ENOMEM, "shares");

	for (size_t i = 0; r >= 0 && i < spec->mounts.count; i++)
		r = share_mount(&sharing, i, fault);
	if (r >= 0)
		r = finish_root(&sharing, fault);
	close_fd(&sharing.root_fd);
	return r;
}
