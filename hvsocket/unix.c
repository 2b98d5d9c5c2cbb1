/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Unix sockets by path: the unix scheme, and the files below the hybrid one.
 *
 * A socket address holds 108 bytes, a path 4096, and the folders of container runtimes are deep. So
 * the directory is opened and the address goes through /proc/self/fd/<directory>/<name>; only the
 * name has to fit. Listening always takes this way, because the directory that was checked is then
 * the directory that is used.
 *
 * A socket file outlives its process, and bind(2) refuses what exists. Whether anybody still
 * listens there is asked with connect(2): refused means nobody. But between its bind and its listen
 * a starting peer looks the same. A base path belongs to one partition, so there is no such peer;
 * who shares a directory with others that start as he does holds it meanwhile.
 */

#include "hvsocket/transport.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG SOMAXCONN

/* A path whose directory is open, and its address for bind(2) and connect(2). */
struct place {
	int directory;
	const char *name;
	struct sockaddr_un address;
};

#define PLACE_NULL { .directory = -1 }

static void place_close(struct place *place)
{
	close_fd(&place->directory);
}

static int place_open(struct place *place, const char *path, int flags)
{
	char directory[HV_PATH_MAX];
	const char *slash = strrchr(path, '/');
	if (!slash || !slash[1])
		return -EINVAL;
	size_t length = slash == path ? 1 : (size_t)(slash - path);
	if (length >= sizeof(directory))
		return -ENAMETOOLONG;
	memcpy(directory, path, length);
	directory[length] = '\0';

	cleanup_close int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC | flags);
	if (fd < 0)
		return -errno;
	*place = (struct place){ .name = slash + 1, .address.sun_family = AF_UNIX };
	int n = snprintf(place->address.sun_path, sizeof(place->address.sun_path),
	                 "/proc/self/fd/%d/%s", fd, place->name);
	if ((size_t)n >= sizeof(place->address.sun_path))
		return -ENAMETOOLONG;
	place->directory = take_fd(&fd);
	return 0;
}

static int unix_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int connect_to(const struct sockaddr_un *address)
{
	cleanup_close int fd = unix_socket();
	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return -errno;
	return take_fd(&fd);
}

int unix_connect(const char *path)
{
	struct sockaddr_un direct = { .sun_family = AF_UNIX };
	size_t length = strlen(path);
	if (length < sizeof(direct.sun_path)) {
		memcpy(direct.sun_path, path, length);
		return connect_to(&direct);
	}
	cleanup(place_close) struct place place = PLACE_NULL;
	int r = place_open(&place, path, 0);
	return r < 0 ? r : connect_to(&place.address);
}

static int check_directory(int directory, const struct unix_rules *rules)
{
	struct stat stat;
	if (fstat(directory, &stat) < 0)
		return -errno;
	bool trusted = stat.st_uid == geteuid() || stat.st_uid == 0 || stat.st_uid == rules->owner;
	bool shared = stat.st_mode & (S_IWGRP | S_IWOTH);
	return trusted && !shared ? 0 : -EACCES;
}

/* Unlinks a socket that nobody listens on; everything else stays and is in use. */
static int remove_stale(const struct place *place)
{
	struct stat stat;
	if (fstatat(place->directory, place->name, &stat, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(stat.st_mode))
		return -EADDRINUSE;
	cleanup_close int fd = connect_to(&place->address);
	if (fd != -ECONNREFUSED)
		return -EADDRINUSE;
	return unlinkat(place->directory, place->name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int bind_to(int fd, const struct place *place)
{
	const struct sockaddr *address = (const struct sockaddr *)&place->address;
	if (bind(fd, address, sizeof(place->address)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	int r = remove_stale(place);
	if (r < 0)
		return r;
	return bind(fd, address, sizeof(place->address)) < 0 ? -errno : 0;
}

/*
 * Where the directory is the owner's own, he may have put something else there meanwhile; that
 * would be a gift. So it is looked at, and what was looked at is what he gets.
 */
static int open_to_owner(const struct place *place, const struct unix_rules *rules)
{
	struct stat stat;
	if (rules->owner == geteuid())
		return 0;
	cleanup_close int fd = openat(place->directory, place->name,
	                              O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &stat) < 0)
		return -errno;
	if (!S_ISSOCK(stat.st_mode) || stat.st_uid != geteuid() || stat.st_nlink != 1)
		return -EACCES;
	return fchownat(fd, "", rules->owner, (gid_t)-1, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int listen_at(const struct place *place, const struct unix_rules *rules)
{
	if (rules->private_directory) {
		int r = check_directory(place->directory, rules);
		if (r < 0)
			return r;
	}
	cleanup_close int fd = unix_socket();
	if (fd < 0)
		return fd;
	/* The file gets the mode of the socket's inode, so it is never open to others. */
	if (fchmod(fd, S_IRUSR | S_IWUSR) < 0)
		return -errno;
	int r = bind_to(fd, place);
	if (r < 0)
		return r;
	r = open_to_owner(place, rules);
	if (r >= 0 && listen(fd, BACKLOG) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(place->directory, place->name, 0);
		return r;
	}
	return take_fd(&fd);
}

int unix_listen(const char *path, const struct unix_rules *rules)
{
	cleanup(place_close) struct place place = PLACE_NULL;
	int r = place_open(&place, path, rules->private_directory ? O_NOFOLLOW : 0);
	return r < 0 ? r : listen_at(&place, rules);
}

int unix_listen_as(struct hv_listener *listener, const char *path, const struct unix_rules *rules)
{
	struct stat stat;
	int fd = unix_listen(path, rules);
	if (fd < 0)
		return fd;
	listener->fd = fd;
	listener->owns_path = lstat(path, &stat) == 0;
	if (listener->owns_path) {
		listener->device = stat.st_dev;
		listener->inode = stat.st_ino;
	}
	return 0;
}

/* Somebody may have cleaned up, and somebody else have taken the name. */
void unix_unlisten(const struct hv_listener *listener, const char *path)
{
	struct stat stat;
	if (lstat(path, &stat) == 0 && stat.st_dev == listener->device &&
	    stat.st_ino == listener->inode)
		(void)unlink(path);
}

int unix_hold_directory(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return take_fd(&fd);
}

int unix_label(int fd, struct hv_peer *ret)
{
	struct ucred creds;
	socklen_t size = sizeof(creds);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &creds, &size) < 0)
		return -errno;
	bool ours = creds.uid == geteuid() || creds.uid == 0;
	*ret = (struct hv_peer){
		.kind = ours ? HV_VM_LOOPBACK : HV_VM_ANY,
		.address.vm = ours ? hv_guid_loopback : hv_guid_zero,
		.uid = creds.uid,
		.pid = creds.pid,
		.identity = HV_IDENTITY_CREDENTIALS,
	};
	return 0;
}

static int listen_unix(struct hv_listener *listener, const struct hv_machine *machine)
{
	(void)machine;
	struct unix_rules rules = { .owner = geteuid() };
	return unix_listen_as(listener, listener->endpoint.path, &rules);
}

static int label_unix(const struct hv_listener *listener, int fd,
                      const struct sockaddr_storage *from, struct hv_peer *ret)
{
	(void)listener;
	(void)from;
	return unix_label(fd, ret);
}

static void unlisten_unix(const struct hv_listener *listener)
{
	unix_unlisten(listener, listener->endpoint.path);
}

static int connect_unix(const struct hv_endpoint *endpoint, const struct hv_machine *machine,
                        bool as_guest, bool *ret_pending)
{
	(void)machine;
	(void)as_guest;
	(void)ret_pending;
	return unix_connect(endpoint->path);
}

const struct transport transport_unix = {
	.capabilities = {
		.half_close = true,
		.end_is_safe = true,
		.refuses_fast = true,
		.peek = true,
		.survives_suspend = true, /* there is no VM in between */
		.peer_identity = HV_IDENTITY_CREDENTIALS,
		.write_hint = 65536,
	},
	.listen = listen_unix,
	.label = label_unix,
	.unlisten = unlisten_unix,
	.connect = connect_unix,
};
