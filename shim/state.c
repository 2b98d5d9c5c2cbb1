/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The state directory. It is the meeting place of processes that know nothing of each other but
 * an id, so mkdir(2) decides who creates, rename(2) makes a record appear whole, and a process is
 * known by its pid and start time, because a pid alone may be somebody else's tomorrow.
 *
 * It lies on a tmpfs and what it describes does not outlive the machine: nothing is synced.
 */

#include "shim/state.h"

#include "oci/file.h"
#include "oci/spec.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define RECORD_MAX (1u << 20)
#define REMOVE_TRIES 20

static const struct json_field container_fields[] = {
	JSON_FIELD(struct container_record, id, "Id", str, JSON_REQUIRED),
	JSON_FIELD(struct container_record, partition, "Partition", str, JSON_REQUIRED),
	JSON_FIELD(struct container_record, bundle, "Bundle", str, JSON_REQUIRED),
	JSON_FIELD(struct container_record, rootfs, "Rootfs", str),
	JSON_FIELD(struct container_record, created, "Created", str),
	JSON_FIELD(struct container_record, owner, "Owner", str),
	JSON_FIELD(struct container_record, log_path, "LogPath", str),
	JSON_FIELD(struct container_record, log_files, "LogFiles", u32),
	JSON_FIELD(struct container_record, cgroups_path, "CgroupsPath", str),
	JSON_FIELD(struct container_record, vm, "Vm", bool),
	JSON_FIELD(struct container_record, terminal, "Terminal", bool),
	JSON_FIELD(struct container_record, annotations, "Annotations", str_map),
	JSON_FIELD(struct container_record, oci_version, "OciVersion", str),
	{ NULL },
};
static const struct json_type container_record_type =
	JSON_TYPE(struct container_record, container_fields);

static const struct json_field partition_fields[] = {
	JSON_FIELD(struct partition_record, driver, "Driver", str, JSON_REQUIRED),
	JSON_FIELD(struct partition_record, pid, "Pid", u32, JSON_REQUIRED),
	JSON_FIELD(struct partition_record, start_time, "StartTime", u64),
	JSON_FIELD(struct partition_record, agent_pid, "AgentPid", u32),
	JSON_FIELD(struct partition_record, agent_start_time, "AgentStartTime", u64),
	{ NULL },
};
static const struct json_type partition_record_type =
	JSON_TYPE(struct partition_record, partition_fields);

/* The root */

int state_make_root(const char *path)
{
	char part[PATH_MAX];
	size_t length = strlen(path);

	if (!length || length >= sizeof(part))
		return length ? -ENAMETOOLONG : -ENOENT;
	for (size_t i = 1; i <= length; i++) {
		if (path[i] != '/' && path[i])
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		/* Parents may be read-only file systems, as long as they exist. */
		if (mkdir(part, i == length ? 0700 : 0755) < 0 && errno != EEXIST &&
		    (i == length || errno != EROFS))
			return -errno;
	}
	return 0;
}

static int default_root(char *path, size_t size, struct fault *fault)
{
	if (!geteuid()) {
		snprintf(path, size, "/run/hvrun");
		return 0;
	}
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	if (!runtime || runtime[0] != '/')
		return fault_set(fault, -ENOENT, HRESULT_FAIL,
		                 "XDG_RUNTIME_DIR is not set: --root says where state is kept");
	int n = snprintf(path, size, "%s/hvrun", runtime);
	if (n < 0 || (size_t)n >= size)
		return fault_errno(fault, -ENAMETOOLONG, "XDG_RUNTIME_DIR");
	return 0;
}

/* Whoever can write here can make us talk to a socket of his. */
static int check_private(int fd, const char *path, struct fault *fault)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fault_errno(fault, -errno, "state directory \"%s\"", path);
	if ((st.st_uid != geteuid() && st.st_uid) || st.st_mode & (S_IWGRP | S_IWOTH))
		return fault_set(fault, -EPERM, HRESULT_FAIL,
		                 "state directory \"%s\": others can write to it", path);
	return 0;
}

int state_open(struct state *ret, const char *root, struct fault *fault)
{
	char path[PATH_MAX];
	int r = 0;

	if (!root) {
		r = default_root(path, sizeof(path), fault);
		if (r < 0)
			return r;
		root = path;
	}
	r = state_make_root(root);
	if (r < 0)
		return fault_errno(fault, r, "state directory \"%s\"", root);
	cleanup_free char *real = realpath(root, NULL);
	if (!real)
		return fault_errno(fault, -errno, "state directory \"%s\"", root);
	cleanup_close int fd = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fault_errno(fault, -errno, "state directory \"%s\"", real);
	r = check_private(fd, real, fault);
	if (r < 0)
		return r;
	if ((mkdirat(fd, "containers", 0700) < 0 && errno != EEXIST) ||
	    (mkdirat(fd, "partitions", 0700) < 0 && errno != EEXIST))
		return fault_errno(fault, -errno, "state directory \"%s\"", real);
	*ret = (struct state){ .root = take_pointer(real), .root_fd = take_fd(&fd) };
	return 0;
}

void state_close(struct state *state)
{
	free(state->root);
	close_fd(&state->root_fd);
	*state = (struct state)STATE_NULL;
}

/* Entries */

/* One of the two folders and what its entries are called in messages. */
struct kind {
	const char *folder, *noun;
	int exists, missing;    /* HRESULTs */
};
static const struct kind container_kind = {
	"containers", "container", HRESULT_CONTAINER_EXISTS, HRESULT_NO_SUCH_CONTAINER,
};
static const struct kind partition_kind = {
	"partitions", "partition", HRESULT_INVALID_STATE, HRESULT_NOT_FOUND,
};

#define ENTRY_PATH (sizeof("containers/") + OCI_ID_MAX)

static int entry_path(const struct kind *kind, const char *id, char path[static ENTRY_PATH],
                      struct fault *fault)
{
	size_t length = 0;

	while (isalnum((unsigned char)id[length]) || (id[length] && strchr("_+-.", id[length])))
		length++;
	if (!length || id[length] || length > OCI_ID_MAX || !strcmp(id, ".") || !strcmp(id, ".."))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "invalid %s id \"%s\"",
		                 kind->noun, id);
	snprintf(path, ENTRY_PATH, "%s/%s", kind->folder, id);
	return 0;
}

static int entry_open(struct state *state, const struct kind *kind, const char *id, int *ret_fd,
                      struct fault *fault)
{
	char path[ENTRY_PATH];
	int r = entry_path(kind, id, path, fault);

	if (r < 0)
		return r;
	*ret_fd = openat(state->root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*ret_fd >= 0)
		return 0;
	if (errno == ENOENT)
		return fault_set(fault, -ENOENT, kind->missing, "%s \"%s\" does not exist",
		                 kind->noun, id);
	return fault_errno(fault, -errno, "%s \"%s\"", kind->noun, id);
}

static bool entry_is(struct state *state, const char *path, int fd)
{
	struct stat ours, there;

	return fstat(fd, &ours) == 0 &&
	       fstatat(state->root_fd, path, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	       ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

/* A lock goes with its process, so what a killed one has made is nobody's. */
static int entry_lock(int fd, int operation)
{
	int r;

	do
		r = flock(fd, operation) < 0 ? -errno : 0;
	while (r == -EINTR);
	return r;
}

static int entry_make(struct state *state, const struct kind *kind, const char *id, int *ret_fd,
                      struct fault *fault)
{
	char path[ENTRY_PATH];
	int r = entry_path(kind, id, path, fault);

	if (r < 0)
		return r;
	if (mkdirat(state->root_fd, path, 0700) < 0) {
		if (errno == EEXIST)
			return fault_set(fault, -EEXIST, kind->exists, "%s \"%s\" exists already",
			                 kind->noun, id);
		return fault_errno(fault, -errno, "%s \"%s\"", kind->noun, id);
	}
	r = entry_open(state, kind, id, ret_fd, fault);
	if (r < 0)
		return r;
	/* Somebody may have taken it for a leftover. */
	if (entry_lock(*ret_fd, LOCK_EX | LOCK_NB) == 0 && entry_is(state, path, *ret_fd))
		return 0;
	close_fd(ret_fd);
	return fault_set(fault, -EBUSY, HRESULT_INVALID_STATE, "%s \"%s\" is being deleted",
	                 kind->noun, id);
}

/*
 * Entries hold files and sockets, and at most folders of such: of one of those a daemon with few
 * rights is the owner, so nothing is followed and nothing that is nested deeper is touched.
 */
static void remove_folder(int parent_fd, const char *name)
{
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);

	if (!directory) {
		close_fd(&fd);
		return;
	}
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			(void)unlinkat(fd, entry->d_name, 0);
	}
	closedir(directory);
	(void)unlinkat(parent_fd, name, AT_REMOVEDIR);
}

static int empty_and_remove(struct state *state, const char *path, DIR *directory)
{
	rewinddir(directory);
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (unlinkat(dirfd(directory), entry->d_name, 0) < 0 && errno == EISDIR)
			remove_folder(dirfd(directory), entry->d_name);
	}
	/* Somebody else may have removed it meanwhile, and a third one made it anew. */
	if (!entry_is(state, path, dirfd(directory)))
		return -ENOENT;
	return unlinkat(state->root_fd, path, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static int entry_remove(struct state *state, const struct kind *kind, const char *id)
{
	char path[ENTRY_PATH];
	int fd = -1;
	int r = entry_path(kind, id, path, NULL);

	if (r >= 0)
		r = entry_open(state, kind, id, &fd, NULL);
	if (r < 0)
		return r;
	DIR *directory = fdopendir(fd);
	if (!directory) {
		r = -errno;
		close(fd);
		return r;
	}
	/* Those who look whether it is a leftover wait, if they have not just found that. */
	(void)entry_lock(fd, LOCK_EX | LOCK_NB);
	/* A process whose starter was killed may still be putting its files there. */
	r = -ENOTEMPTY;
	for (int tries = REMOVE_TRIES; r == -ENOTEMPTY && tries; tries--)
		r = empty_and_remove(state, path, directory);
	closedir(directory);
	return r;
}

/* Records */

int state_write_file(int directory_fd, const char *name, const char *text, size_t size)
{
	char temporary[NAME_MAX + 1];
	int n = snprintf(temporary, sizeof(temporary), ".%s.%d", name, (int)getpid());

	if (n < 0 || (size_t)n >= sizeof(temporary))
		return -ENAMETOOLONG;
	cleanup_close int fd = openat(directory_fd, temporary,
	                              O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int r = 0;
	for (size_t done = 0; r == 0 && done < size;) {
		ssize_t written = write(fd, text + done, size - done);
		if (written > 0)
			done += (size_t)written;
		else if (errno != EINTR)
			r = written < 0 ? -errno : -EIO;
	}
	if (r == 0 && renameat(directory_fd, temporary, directory_fd, name) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(directory_fd, temporary, 0);
	return r;
}

int state_read_file(int directory_fd, const char *name, struct arena *arena, size_t limit,
                    const char **ret_text, size_t *ret_size)
{
	cleanup_close int fd = openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size < 0 || (size_t)st.st_size > limit)
		return -EFBIG;
	char *text = arena_alloc(arena, (size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	ssize_t n = file_read_at(fd, text, (size_t)st.st_size, 0);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	*ret_text = text;
	*ret_size = (size_t)n;
	return 0;
}

static int record_save(int directory_fd, const char *name, const struct json_type *type,
                       const void *record)
{
	struct buf text = BUF(RECORD_MAX);
	int r = json_encode(type, record, &text, false);

	if (r >= 0)
		r = buf_append(&text, "\n", 1);
	if (r >= 0)
		r = state_write_file(directory_fd, name, buf_head(&text), buf_length(&text));
	buf_deinit(&text);
	return r;
}

static int record_load(struct state *state, const struct kind *kind, const char *id,
                       const char *name, const struct json_type *type, struct arena *arena,
                       void *ret, struct fault *fault)
{
	cleanup_close int fd = -1;
	const char *text;
	size_t size;
	int r = entry_open(state, kind, id, &fd, fault);

	if (r < 0)
		return r;
	r = state_read_file(fd, name, arena, RECORD_MAX, &text, &size);
	if (r < 0)
		return fault_errno(fault, r, "%s \"%s\": %s", kind->noun, id, name);
	struct fault inner = FAULT_NULL;
	r = json_decode(arena, type, text, size, ret, &inner);
	return r < 0 ? fault_set(fault, r, HRESULT_FAIL, "%s \"%s\": %s: %s", kind->noun, id, name,
	                         inner.text) : 0;
}

/* Containers */

int state_container_make(struct state *state, const char *id, int *ret_fd, struct fault *fault)
{
	return entry_make(state, &container_kind, id, ret_fd, fault);
}

void state_container_made(int directory_fd)
{
	(void)entry_lock(directory_fd, LOCK_UN);
}

int state_container_hold(struct state *state, const char *id, int *ret_fd, struct fault *fault)
{
	int r = entry_open(state, &container_kind, id, ret_fd, fault);

	if (r < 0)
		return r;
	r = entry_lock(*ret_fd, LOCK_SH | LOCK_NB);
	if (r == 0)
		return 0;
	close_fd(ret_fd);
	return r != -EWOULDBLOCK ? fault_errno(fault, r, "container \"%s\"", id) :
		fault_set(fault, -EBUSY, HRESULT_INVALID_STATE,
		          "cannot delete container \"%s\": it is being created", id);
}

static bool named(struct state *state, const struct kind *kind, const char *id, int fd)
{
	char path[ENTRY_PATH];

	return entry_path(kind, id, path, NULL) == 0 && entry_is(state, path, fd);
}

bool state_container_is(struct state *state, const char *id, int directory_fd)
{
	return named(state, &container_kind, id, directory_fd);
}

int state_container_open(struct state *state, const char *id, int *ret_fd, struct fault *fault)
{
	return entry_open(state, &container_kind, id, ret_fd, fault);
}

int state_container_remove(struct state *state, const char *id)
{
	return entry_remove(state, &container_kind, id);
}

int state_container_save(int directory_fd, const struct container_record *record)
{
	return record_save(directory_fd, "state.json", &container_record_type, record);
}

int state_container_load(struct state *state, const char *id, struct arena *arena,
                         struct container_record *ret, struct fault *fault)
{
	return record_load(state, &container_kind, id, "state.json", &container_record_type, arena,
	                   ret, fault);
}

/* Partitions */

int state_partition_make(struct state *state, const char *id, int *ret_fd, struct fault *fault)
{
	return entry_make(state, &partition_kind, id, ret_fd, fault);
}

int state_partition_open(struct state *state, const char *id, int *ret_fd, struct fault *fault)
{
	return entry_open(state, &partition_kind, id, ret_fd, fault);
}

int state_partition_hold(struct state *state, const char *id, int *ret_fd)
{
	int r = entry_open(state, &partition_kind, id, ret_fd, NULL);

	if (r < 0)
		return r;
	r = entry_lock(*ret_fd, LOCK_EX);
	if (r == 0 && !state_partition_is(state, id, *ret_fd))
		r = -ENOENT;
	if (r < 0)
		close_fd(ret_fd);
	return r;
}

bool state_partition_is(struct state *state, const char *id, int directory_fd)
{
	return named(state, &partition_kind, id, directory_fd);
}

int state_partition_remove(struct state *state, const char *id)
{
	return entry_remove(state, &partition_kind, id);
}

int state_partition_save(int directory_fd, const struct partition_record *record)
{
	return record_save(directory_fd, "sandbox.json", &partition_record_type, record);
}

int state_partition_load(struct state *state, const char *id, struct arena *arena,
                         struct partition_record *ret, struct fault *fault)
{
	return record_load(state, &partition_kind, id, "sandbox.json", &partition_record_type,
	                   arena, ret, fault);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int append_name(struct arena *arena, struct str_list *names, size_t *room,
                       const char *name)
{
	if (names->count == *room) {
		*room = *room ? 2 * *room : 16;
		const char **grown = arena_array(arena, *room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		if (names->count)
			memcpy(grown, names->item, names->count * sizeof(*grown));
		names->item = grown;
	}
	names->item[names->count] = arena_copy(arena, name, strlen(name));
	return names->item[names->count++] ? 0 : -ENOMEM;
}

int state_names(struct state *state, const char *kind, struct arena *arena, struct str_list *ret)
{
	struct str_list names = { 0 };
	size_t room = 0;
	int r = 0;
	int fd = openat(state->root_fd, kind, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);

	if (!directory) {
		r = -errno;
		close_fd(&fd);
		return r;
	}
	for (struct dirent *entry; r == 0 && (entry = readdir(directory));) {
		if (entry->d_name[0] != '.')
			r = append_name(arena, &names, &room, entry->d_name);
	}
	closedir(directory);
	if (r < 0)
		return r;
	if (names.count)
		qsort(names.item, names.count, sizeof(*names.item), compare_names);
	*ret = names;
	return 0;
}

uint64_t process_start_time(pid_t pid, bool *ret_zombie)
{
	char path[40], text[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (file_read_text(AT_FDCWD, path, text, sizeof(text)) < 0)
		return 0;
	/* The name may hold anything, also spaces and brackets; fields are counted behind it. */
	const char *at = strrchr(text, ')');
	if (!at || at[1] != ' ')
		return 0;
	at += 2;
	if (ret_zombie)
		*ret_zombie = *at == 'Z' || *at == 'X';
	for (int field = 3; field < 22; field++) {
		at = strchr(at, ' ');
		if (!at)
			return 0;
		at++;
	}
	return strtoull(at, NULL, 10);
}
