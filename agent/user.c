/* SPDX-License-Identifier: Apache-2.0 */

/*
 * /etc/passwd and /etc/group belong to the container, so they are whatever an image makes of them:
 * symbolic links out of the rootfs, devices, pipes, gigabytes. They are opened beneath the
 * container's root without following magic links, must be plain files of a bearable size, and a
 * line that does not look like an entry is passed over. A user or group of digits alone is a
 * number, also where the files have an entry of that name: `1000` must never become root because an
 * image says so.
 */

#include "agent/user.h"

#include "oci/file.h"
#include "oci/path.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX (8u << 20)
#define FIELDS 7

enum { PASSWD_NAME, PASSWD_UID = 2, PASSWD_GID = 3, PASSWD_HOME = 5 };
enum { GROUP_NAME, GROUP_GID = 2, GROUP_MEMBERS = 3 };

/* A database in memory, taken apart line by line. */
struct entries {
	char *text;             /* owned, NUL-ended */
	char *next;
	char *field[FIELDS];    /* of the current line; "" when it has fewer */
};

static void entries_deinit(struct entries *entries)
{
	free_pointer(&entries->text);
}

/* An absent file is an empty one. */
static int entries_open(int root_fd, const char *path, struct entries *ret)
{
	cleanup_close int fd = path_open(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st = { 0 };
	if (fd < 0 && fd != -ENOENT && fd != -ENOTDIR)
		return fd;
	if (fd >= 0) {
		if (fstat(fd, &st) < 0)
			return -errno;
		if (!S_ISREG(st.st_mode))
			return -EINVAL;
		if (st.st_size > FILE_MAX)
			return -EFBIG;
	}
	ret->text = malloc((size_t)st.st_size + 1);
	if (!ret->text)
		return -ENOMEM;
	ssize_t length = fd >= 0 ? file_read_at(fd, ret->text, (size_t)st.st_size, 0) : 0;
	ret->text[length > 0 ? length : 0] = '\0';
	ret->next = ret->text;
	return length < 0 ? (int)length : 0;
}

static bool entries_next(struct entries *entries)
{
	char *line = entries->next;
	if (!*line)
		return false;
	char *end = strchrnul(line, '\n');
	entries->next = *end ? end + 1 : end;
	*end = '\0';
	for (size_t i = 0; i < FIELDS; i++) {
		entries->field[i] = line;
		line = strchrnul(line, ':');
		if (*line)
			*line++ = '\0';
	}
	return true;
}

/* Decimal digits alone, below the "no id" of the kernel. */
static bool parse_id(const char *text, uint32_t *ret)
{
	uint64_t id = 0;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		id = id * 10 + (uint64_t)(*text - '0');
		if (id >= UINT32_MAX)
			return false;
	}
	*ret = (uint32_t)id;
	return true;
}

static bool all_digits(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0';
}

static int add_group(struct user *user, size_t *size, gid_t gid)
{
	if (user->group_count == USER_GROUPS_MAX)
		return -E2BIG;
	if (user->group_count == *size) {
		size_t more = *size ? *size * 2 : 16;
		gid_t *groups = realloc(user->groups, more * sizeof(*groups));
		if (!groups)
			return -ENOMEM;
		user->groups = groups;
		*size = more;
	}
	user->groups[user->group_count++] = gid;
	return 0;
}

static int compare_groups(const void *a, const void *b)
{
	gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;
	return x < y ? -1 : x > y;
}

/* In order, each once, as the kernel keeps them. */
static void sort_groups(struct user *user)
{
	size_t kept = 0;
	if (user->group_count == 0)
		return;
	qsort(user->groups, user->group_count, sizeof(*user->groups), compare_groups);
	for (size_t i = 1; i < user->group_count; i++) {
		if (user->groups[i] != user->groups[kept])
			user->groups[++kept] = user->groups[i];
	}
	user->group_count = kept + 1;
}

/* Fills uid and gid; name becomes that of the entry, for the groups it is a member of. */
static int resolve_user(int root_fd, const char *asked, struct user *user, char **name,
                        struct fault *fault)
{
	bool number = all_digits(asked);
	if (number && !parse_id(asked, &user->uid))
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "user \"%s\": not a user id", asked);
	cleanup(entries_deinit) struct entries passwd = { 0 };
	int r = entries_open(root_fd, "etc/passwd", &passwd);
	if (r < 0)
		return fault_errno(fault, r, "user \"%s\": the container's /etc/passwd", asked);
	while (entries_next(&passwd)) {
		uint32_t uid, gid;
		if (!parse_id(passwd.field[PASSWD_UID], &uid) ||
		    !parse_id(passwd.field[PASSWD_GID], &gid))
			continue;
		if (number ? uid != user->uid : strcmp(passwd.field[PASSWD_NAME], asked) != 0)
			continue;
		user->uid = uid;
		user->gid = gid;
		*name = strdup(passwd.field[PASSWD_NAME]);
		return *name ? 0 : -ENOMEM;
	}
	if (number)
		return 0;
	return fault_set(fault, -ENOENT, HRESULT_NOT_FOUND,
	                 "user \"%s\": not in the container's /etc/passwd", asked);
}

static bool is_member(char *members, const char *name)
{
	char *position;
	for (char *member = strtok_r(members, ",", &position); member;
	     member = strtok_r(NULL, ",", &position)) {
		if (strcmp(member, name) == 0)
			return true;
	}
	return false;
}

static int resolve_group(int root_fd, const char *asked, struct user *user, struct fault *fault)
{
	if (parse_id(asked, &user->gid))
		return 0;
	cleanup(entries_deinit) struct entries group = { 0 };
	int r = entries_open(root_fd, "etc/group", &group);
	if (r < 0)
		return fault_errno(fault, r, "group \"%s\": the container's /etc/group", asked);
	while (!all_digits(asked) && entries_next(&group)) {
		if (strcmp(group.field[GROUP_NAME], asked) == 0 &&
		    parse_id(group.field[GROUP_GID], &user->gid))
			return 0;
	}
	return fault_set(fault, -ENOENT, HRESULT_NOT_FOUND,
	                 "group \"%s\": not in the container's /etc/group", asked);
}

static int add_memberships(int root_fd, const char *name, struct user *user, size_t *size)
{
	cleanup(entries_deinit) struct entries group = { 0 };
	int r = entries_open(root_fd, "etc/group", &group);
	while (r == 0 && entries_next(&group)) {
		uint32_t gid;
		if (parse_id(group.field[GROUP_GID], &gid) &&
		    is_member(group.field[GROUP_MEMBERS], name))
			r = add_group(user, size, gid);
	}
	return r;
}

/* "user", or "user:group", with which the memberships of /etc/group do not count. */
static int resolve_name(int root_fd, const char *asked, struct user *user, size_t *size,
                        struct fault *fault)
{
	cleanup_free char *copy = strdup(asked), *name = NULL;
	if (!copy)
		return -ENOMEM;
	char *group = strchr(copy, ':');
	if (group)
		*group++ = '\0';
	int r = *copy ? resolve_user(root_fd, copy, user, &name, fault) : 0;
	if (r < 0)
		return r;
	if (group && *group)
		return resolve_group(root_fd, group, user, fault);
	r = name ? add_memberships(root_fd, name, user, size) : 0;
	return r < 0 ? fault_errno(fault, r, "user \"%s\": its groups", asked) : 0;
}

int user_resolve(int root_fd, const struct oci_user *asked, struct user *ret, struct fault *fault)
{
	size_t size = 0;
	cleanup(user_deinit) struct user user = { .uid = asked->uid, .gid = asked->gid };
	if (asked->uid == UINT32_MAX || asked->gid == UINT32_MAX)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "user %u:%u: not an id",
		                 asked->uid, asked->gid);
	if (asked->username) {
		user.uid = user.gid = 0;
		int r = resolve_name(root_fd, asked->username, &user, &size, fault);
		if (r < 0)
			return r == -ENOMEM ? fault_errno(fault, r, "user") : r;
	}
	for (size_t i = 0; i < asked->additional_gids.count; i++) {
		int r = add_group(&user, &size, asked->additional_gids.item[i]);
		if (r < 0)
			return fault_errno(fault, r, "user: %zu additional groups",
			                   asked->additional_gids.count);
	}
	sort_groups(&user);
	*ret = user;
	user.groups = NULL;
	return 0;
}

void user_deinit(struct user *user)
{
	free_pointer(&user->groups);
	user->group_count = 0;
}

char *user_home(int root_fd, uid_t uid)
{
	cleanup(entries_deinit) struct entries passwd = { 0 };
	if (entries_open(root_fd, "etc/passwd", &passwd) < 0)
		return strdup("/");
	while (entries_next(&passwd)) {
		uint32_t found;
		if (parse_id(passwd.field[PASSWD_UID], &found) && found == uid &&
		    passwd.field[PASSWD_HOME][0])
			return strdup(passwd.field[PASSWD_HOME]);
	}
	return strdup("/");
}
