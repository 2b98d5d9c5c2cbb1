/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A socket file outlives the shim that was killed. Whoever starts the next one finds out by
 * connecting, and replaces it if that is refused; but a shim between its bind(2) and its listen(2)
 * refuses as well, and would be robbed of its socket by a second start of the same group. So all
 * this happens under a lock on the directory. It is held for some microseconds, and leaves no file
 * behind.
 */

#include "shim/containerd/address.h"

#include "hvsocket/transport.h"
#include "oci/buf.h"
#include "oci/file.h"
#include "oci/path.h"
#include "shim/state.h"

#include <limits.h>
#include <sha2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

_Static_assert(SHA256_DIGEST_STRING_LENGTH == ADDRESS_NAME + 1, "the name is a SHA-256");

/*
 * As Go joins paths: without empty elements, cleaned. Without an address the path is a relative
 * one; a relative address that leaves its directory is nobody's.
 */
static int join(const char *grpc_address, const char *namespace, const char *key,
                struct buf *path)
{
	char clean[PATH_MAX];
	int error = buf_printf(path, "%s/%s/%s", grpc_address, namespace, key);

	if (!error)
		error = buf_append(path, "", 1);
	if (!error)
		error = path_clean(buf_head(path), clean, sizeof(clean));
	if (error < 0)
		return error;
	buf_consume(path, buf_length(path));
	return buf_printf(path, "%s", clean + (*grpc_address != '/'));
}

int address_make(const char *directory, const char *grpc_address, const char *namespace,
                 const char *key, char ret[static ADDRESS_TEXT], struct fault *fault)
{
	char name[SHA256_DIGEST_STRING_LENGTH];
	struct buf path = BUF(PATH_MAX);

	if (!*directory)
		directory = ADDRESS_DIRECTORY;
	if (*directory != '/' || strlen(directory) > ADDRESS_DIRECTORY_MAX)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "directory for sockets \"%s\": is not absolute, or longer than %d "
		                 "characters", directory, ADDRESS_DIRECTORY_MAX);
	int error = join(grpc_address, namespace, key, &path);
	if (error < 0) {
		buf_deinit(&path);
		return fault_errno(fault, error, "address \"%.64s\"", grpc_address);
	}
	SHA256Data((const uint8_t *)buf_head(&path), buf_length(&path), name);
	buf_deinit(&path);
	snprintf(ret, ADDRESS_TEXT, ADDRESS_SCHEME "%s/%s", directory, name);
	return 0;
}

const char *address_path(const char *address)
{
	size_t scheme = strlen(ADDRESS_SCHEME), length = strlen(address);
	const char *name = address + length - min_size(length, ADDRESS_NAME);

	if (length >= ADDRESS_TEXT || length < scheme + 1 + ADDRESS_NAME ||
	    strncmp(address, ADDRESS_SCHEME "/", scheme + 1) != 0 || name[-1] != '/' ||
	    strspn(name, "0123456789abcdef") != ADDRESS_NAME)
		return NULL;
	return address + scheme;
}

/* Opens and locks the directory of the socket; the lock goes with the fd. */
static int hold_directory(const char *path, bool make)
{
	char directory[ADDRESS_TEXT];

	snprintf(directory, sizeof(directory), "%.*s", (int)(strrchr(path, '/') - path), path);
	if (make) {
		int error = state_make_root(directory);
		if (error < 0)
			return error;
	}
	return unix_hold_directory(directory);
}

/* With its queue of connections full it is somebody too. */
static bool answers(const char *path)
{
	cleanup_close int fd = unix_connect(path);

	return fd >= 0 || fd == -EAGAIN;
}

int address_listen(const char *address, struct fault *fault)
{
	const struct unix_rules rules = { .private_directory = true, .owner = geteuid() };
	const char *path = address_path(address);
	cleanup_close int lock = path ? hold_directory(path, true) : -EINVAL;

	if (lock < 0)
		return fault_errno(fault, lock, "directory of socket %s", address);
	cleanup_close int fd = unix_listen(path, &rules);
	if (fd == -EADDRINUSE && answers(path))
		return 0;
	if (fd < 0)
		return fault_errno(fault, fd, "listen on %s", address);
	return take_fd(&fd);
}

bool address_answers(const char *address)
{
	const char *path = address_path(address);

	return path && answers(path);
}

void address_leave(const char *address, int *listen_fd)
{
	const char *path = address_path(address);

	if (path && *listen_fd >= 0)
		(void)unlink(path);
	close_fd(listen_fd);
}

void address_remove_stale(const char *address)
{
	const char *path = address_path(address);
	cleanup_close int lock = path ? hold_directory(path, false) : -1;
	struct stat st;

	/* Whatever is no socket refuses connections too. */
	if (lock < 0 || lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	cleanup_close int fd = unix_connect(path);
	if (fd == -ECONNREFUSED)
		(void)unlink(path);
}

int address_save(int bundle_fd, const char *address)
{
	return state_write_file(bundle_fd, ADDRESS_FILE, address, strlen(address));
}

int address_load(int bundle_fd, char ret[static ADDRESS_TEXT])
{
	int error = file_read_line(bundle_fd, ADDRESS_FILE, ret, ADDRESS_TEXT);

	if (!error && !address_path(ret))
		error = -EINVAL;
	return error;
}
