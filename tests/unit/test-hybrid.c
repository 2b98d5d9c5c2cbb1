/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Hybrid and unix sockets for real, in a folder of their own: files, directories, credentials, and
 * the handshake against stand-ins for the VMMs with the habits of each. Everything is non-blocking,
 * so both ends live in this one process. What needs a second user is skipped for who is not root.
 */

#include "hvsocket/hvsocket.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <cmocka.h>

#define OTHER_USER 65533

static char folder[64];

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/hvsocket-test-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
	(void)stat;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int remove_folder(void **state)
{
	(void)state;
	return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

printf_like(2, 3) static void parse(struct hv_endpoint *endpoint, const char *text, ...)
{
	char url[HV_PATH_MAX + 64];
	const char *why = NULL;
	va_list args;
	va_start(args, text);
	vsnprintf(url, sizeof(url), text, args);
	va_end(args);
	if (hv_endpoint_parse(url, endpoint, &why) < 0)
		fail_msg("%s: %s", url, why);
}

/* A VMM that listens on its base path, in its own way. */
static int fake_vmm(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static int dial(const struct hv_endpoint *endpoint, bool as_guest)
{
	bool pending = true;
	int fd = hv_connect(endpoint, NULL, as_guest, &pending);
	assert_false(pending);
	return fd;
}

static void assert_closed(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, 0);
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

static void assert_carries(int a, int b)
{
	char text[8] = { 0 };
	assert_int_equal(write(a, "ping", 4), 4);
	assert_int_equal(read(b, text, sizeof(text)), 4);
	assert_string_equal(text, "ping");
	assert_int_equal(write(b, "pong", 4), 4);
	assert_int_equal(read(a, text, sizeof(text)), 4);
	assert_string_equal(text, "pong");
}

static void test_guest_to_host(void **state)
{
	(void)state;
	struct hv_endpoint endpoint;
	struct hv_listener listener = HV_LISTENER_NULL;
	struct hv_peer peer;
	struct stat status;
	char path[128];
	parse(&endpoint, "hybrid://%s/v.sock:5000", folder);
	snprintf(path, sizeof(path), "%s/v.sock_5000", folder);
	assert_int_equal(dial(&endpoint, true), -ENOENT);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), 0);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	assert_int_equal(fcntl(listener.fd, F_GETFD), FD_CLOEXEC);
	assert_true(fcntl(listener.fd, F_GETFL) & O_NONBLOCK);

	assert_int_equal(hv_accept(&listener, &peer), -EAGAIN);
	int guest = dial(&endpoint, true);
	assert_true(guest >= 0);
	assert_int_equal(hv_connect_finish(guest), 0);
	int accepted = hv_accept(&listener, &peer);
	assert_true(accepted >= 0);
	assert_int_equal(fcntl(accepted, F_GETFD), FD_CLOEXEC);
	assert_true(fcntl(accepted, F_GETFL) & O_NONBLOCK);
	assert_int_equal(peer.kind, HV_VM_LOOPBACK);
	assert_int_equal(peer.uid, geteuid());
	assert_int_equal(peer.pid, getpid());
	assert_true(hv_guid_equal(&peer.address.service, &endpoint.address.service));
	assert_carries(guest, accepted);
	/* A plain unix socket between the two: here a half-close arrives. */
	assert_int_equal(hv_shutdown(guest, SHUT_WR), 0);
	assert_closed(accepted);
	assert_int_equal(write(accepted, "x", 1), 1);
	close(guest);
	close(accepted);

	hv_listener_close(&listener);
	assert_int_equal(stat(path, &status), -1);
	hv_listener_close(&listener);
}

static void test_service_outside_template(void **state)
{
	(void)state;
	struct hv_endpoint endpoint;
	struct hv_listener listener = HV_LISTENER_NULL;
	char path[160];
	parse(&endpoint, "hybrid://%s/v:999E53D4-3D5C-4C3E-8779-BED06EC056E1", folder);
	snprintf(path, sizeof(path), "%s/v_999e53d4-3d5c-4c3e-8779-bed06ec056e1", folder);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), 0);
	assert_int_equal(access(path, F_OK), 0);
	int guest = dial(&endpoint, true);
	assert_true(guest >= 0);
	close(guest);
	hv_listener_close(&listener);
	assert_int_equal(access(path, F_OK), -1);
}

/* A path may be as long as paths are; its last part has to fit into a socket address. */
static void test_long_paths(void **state)
{
	(void)state;
	char deep[HV_PATH_MAX], name[100];
	size_t length = (size_t)snprintf(deep, sizeof(deep), "%s", folder);
	for (int i = 0; i < 20; i++) {
		length += (size_t)snprintf(deep + length, sizeof(deep) - length, "/%040d", i);
		assert_int_equal(mkdir(deep, 0700), 0);
	}
	static const char *const schemes[] = { "hybrid", "unix" };
	for (size_t i = 0; i < array_size(schemes); i++) {
		bool hybrid = i == 0;
		struct hv_endpoint endpoint;
		struct hv_listener listener = HV_LISTENER_NULL;
		parse(&endpoint, "%s://%s/v%s", schemes[i], deep, hybrid ? ":5000" : "");
		assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), 0);
		int guest = dial(&endpoint, true);
		assert_true(guest >= 0);
		int accepted = hv_accept(&listener, NULL);
		assert_true(accepted >= 0);
		assert_carries(guest, accepted);
		close(guest);
		close(accepted);
		hv_listener_close(&listener);
		assert_int_equal(dial(&endpoint, true), -ENOENT);

		memset(name, 'n', sizeof(name) - 1);
		name[sizeof(name) - 1] = '\0';
		parse(&endpoint, "%s://%s/%s%s", schemes[i], deep, name, hybrid ? ":5000" : "");
		assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), -ENAMETOOLONG);
		assert_int_equal(dial(&endpoint, true), -ENAMETOOLONG);
	}
}

static void test_directory(void **state)
{
	static const struct {
		mode_t mode;
		int result;
	} rows[] = {
		{ 0700, 0 }, { 0750, 0 }, { 0711, 0 }, { 0755, 0 },
		{ 0770, -EACCES }, { 0707, -EACCES }, { 0777, -EACCES }, { 01777, -EACCES },
	};
	(void)state;
	char directory[96], link[96];
	struct hv_endpoint endpoint;
	struct hv_listener listener = HV_LISTENER_NULL;
	snprintf(directory, sizeof(directory), "%s/d", folder);
	snprintf(link, sizeof(link), "%s/link", folder);
	assert_int_equal(mkdir(directory, 0700), 0);
	parse(&endpoint, "hybrid://%s/v:1", directory);
	for (size_t i = 0; i < array_size(rows); i++) {
		assert_int_equal(chmod(directory, rows[i].mode), 0);
		assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), rows[i].result);
		hv_listener_close(&listener);
	}
	/* Where everybody may write, the unix scheme still listens: /tmp is for it. */
	parse(&endpoint, "unix://%s/u", directory);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), 0);
	hv_listener_close(&listener);

	assert_int_equal(chmod(directory, 0700), 0);
	assert_int_equal(symlink(directory, link), 0);
	parse(&endpoint, "hybrid://%s/v:1", link);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), -ENOTDIR);
	parse(&endpoint, "unix://%s/u", link);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), 0);
	hv_listener_close(&listener);
	parse(&endpoint, "hybrid://%s/none/v:1", folder);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), -ENOENT);
}

static void test_directory_of_others(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	char directory[96], base[128], path[160];
	struct hv_endpoint endpoint;
	struct hv_listener listener = HV_LISTENER_NULL;
	struct stat status;
	snprintf(directory, sizeof(directory), "%s/jail", folder);
	snprintf(base, sizeof(base), "%s/v", directory);
	snprintf(path, sizeof(path), "%s_1", base);
	assert_int_equal(mkdir(directory, 0700), 0);
	assert_int_equal(chown(directory, OTHER_USER, (gid_t)-1), 0);
	parse(&endpoint, "hybrid://%s:1", base);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), -EACCES);

	/* The VMM's own folder will do, and the VMM gets to connect. */
	struct hv_children children = { 0 };
	struct hv_child child = { .vm = { { 1 } }, .base = base, .uid = OTHER_USER, .running = true };
	assert_int_equal(hv_children_add(&children, &child), 0);
	assert_int_equal(hv_listen(&listener, &endpoint, &children, NULL), 0);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_uid, OTHER_USER);
	assert_int_equal(status.st_mode & 07777, 0600);

	/* Root is not the VMM. */
	int stranger = dial(&endpoint, true);
	assert_true(stranger >= 0);
	assert_int_equal(hv_accept(&listener, NULL), -EAGAIN);
	assert_int_equal(listener.refused, 1);
	assert_closed(stranger);
	close(stranger);

	assert_int_equal(chmod(folder, 0711), 0);
	assert_int_equal(seteuid(OTHER_USER), 0);
	int guest = dial(&endpoint, true);
	assert_int_equal(seteuid(0), 0);
	assert_true(guest >= 0);
	struct hv_peer peer;
	int accepted = hv_accept(&listener, &peer);
	assert_true(accepted >= 0);
	assert_int_equal(peer.kind, HV_VM_ONE);
	assert_true(hv_guid_equal(&peer.address.vm, &child.vm));
	assert_int_equal(peer.uid, OTHER_USER);
	close(guest);
	close(accepted);
	hv_listener_close(&listener);
}

/* The VMM's user, who may rename what he likes in his own folder, but not own it. */
static void swap_files(const char *secret, const char *socket)
{
	struct stat status;
	alarm(10);
	if (setuid(OTHER_USER) < 0)
		_exit(1);
	for (;;) {
		if (lstat(socket, &status) == 0 && S_ISSOCK(status.st_mode))
			(void)rename(secret, socket);
	}
}

/* A socket becomes the VMM's, but never what the VMM has put in its place. */
static void test_no_gift(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	char directory[96], base[128], path[160], secret[160];
	struct hv_endpoint endpoint;
	struct hv_children children = { 0 };
	struct stat status;
	snprintf(directory, sizeof(directory), "%s/jail", folder);
	snprintf(base, sizeof(base), "%s/v", directory);
	snprintf(path, sizeof(path), "%s_1", base);
	snprintf(secret, sizeof(secret), "%s/secret", directory);
	assert_int_equal(mkdir(directory, 0700), 0);
	assert_int_equal(chown(directory, OTHER_USER, (gid_t)-1), 0);
	assert_int_equal(chmod(folder, 0711), 0);
	struct hv_child child = { .vm = { { 1 } }, .base = base, .uid = OTHER_USER, .running = true };
	assert_int_equal(hv_children_add(&children, &child), 0);
	parse(&endpoint, "hybrid://%s:1", base);
	pid_t vmm = fork();
	if (vmm == 0)
		swap_files(secret, path);
	assert_true(vmm > 0);
	bool given = false;
	for (unsigned round = 0; round < 500 && !given; round++) {
		struct hv_listener listener;
		int fd = open(secret, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		(void)hv_listen(&listener, &endpoint, &children, NULL);
		given = fstat(fd, &status) < 0 || status.st_uid != 0;
		hv_listener_close(&listener);
		(void)unlink(path);
		close(fd);
	}
	assert_int_equal(kill(vmm, SIGKILL), 0);
	assert_int_equal(waitpid(vmm, NULL, 0), vmm);
	assert_false(given);
}

/* Somebody has removed our file, and another has taken the name: it is his to remove. */
static void test_lost_name(void **state)
{
	(void)state;
	char path[96];
	snprintf(path, sizeof(path), "%s/v_7", folder);
	for (int i = 0; i < 2; i++) {
		struct hv_endpoint endpoint;
		struct hv_listener first, second;
		parse(&endpoint, i ? "unix://%s/v_7" : "hybrid://%s/v:7", folder);
		assert_int_equal(hv_listen(&first, &endpoint, NULL, NULL), 0);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(hv_listen(&second, &endpoint, NULL, NULL), 0);
		hv_listener_close(&first);
		assert_int_equal(access(path, F_OK), 0);
		int guest = dial(&endpoint, true);
		assert_true(guest >= 0);
		close(guest);
		hv_listener_close(&second);
		assert_int_equal(access(path, F_OK), -1);
	}
}

/* What stands in the way is removed only if it is a socket that nobody listens on. */
static void test_stale(void **state)
{
	(void)state;
	struct hv_endpoint endpoint;
	struct hv_listener listener = HV_LISTENER_NULL, second = HV_LISTENER_NULL;
	struct stat before, after;
	char path[96];
	parse(&endpoint, "hybrid://%s/v:7", folder);
	snprintf(path, sizeof(path), "%s/v_7", folder);

	close(fake_vmm(path));
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), 0);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(hv_listen(&second, &endpoint, NULL, NULL), -EADDRINUSE);
	assert_int_equal(second.fd, -1);
	hv_listener_close(&second);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	hv_listener_close(&listener);

	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), -EADDRINUSE);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/nowhere", path), 0);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), -EADDRINUSE);
	assert_int_equal(lstat(path, &after), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), -EADDRINUSE);
}

static void test_registry(void **state)
{
	(void)state;
	char base[96];
	struct hv_endpoint endpoint;
	struct hv_listener listener = HV_LISTENER_NULL;
	struct hv_children children = { 0 };
	struct hv_peer peer;
	snprintf(base, sizeof(base), "%s/v", folder);
	struct hv_child child = { .vm = { { 1 } }, .base = base, .uid = geteuid() };
	parse(&endpoint, "hybrid://%s:9", base);
	assert_int_equal(hv_listen(&listener, &endpoint, &children, NULL), 0);

	/* Before its row exists, and before it runs. */
	for (int i = 0; i < 2; i++) {
		int guest = dial(&endpoint, true);
		assert_int_equal(hv_accept(&listener, &peer), -EAGAIN);
		assert_int_equal(listener.refused, i + 1);
		assert_closed(guest);
		close(guest);
		if (i == 0)
			assert_int_equal(hv_children_add(&children, &child), 0);
	}
	child.running = true;
	int guest = dial(&endpoint, true);
	int accepted = hv_accept(&listener, &peer);
	assert_true(accepted >= 0);
	assert_int_equal(peer.kind, HV_VM_ONE);
	assert_true(hv_guid_equal(&peer.address.vm, &child.vm));
	close(guest);
	close(accepted);
	hv_listener_close(&listener);

	/* The same by GUID: listening and dialling lead to the sockets of this child. */
	struct hv_machine machine = { .children = &children };
	bool pending;
	parse(&endpoint, "hyperv://00000001-0000-0000-0000-000000000000/9");
	assert_int_equal(hv_listen(&listener, &endpoint, &children, &machine), 0);
	assert_int_equal(listener.endpoint.scheme, HV_SCHEME_HYBRID);
	guest = hv_connect(&listener.endpoint, &machine, true, &pending);
	assert_true(guest >= 0);
	accepted = hv_accept(&listener, &peer);
	assert_true(accepted >= 0);
	close(guest);
	close(accepted);
	hv_listener_close(&listener);

	int vmm = fake_vmm(base);
	int host = hv_connect(&endpoint, &machine, false, &pending);
	assert_true(host >= 0);
	struct hv_handshake handshake = { 0 };
	char line[32] = { 0 };
	assert_int_equal(hv_handshake(host, &endpoint, &handshake), -EAGAIN);
	accepted = accept(vmm, NULL, NULL);
	assert_int_equal(read(accepted, line, sizeof(line)), 10);
	assert_string_equal(line, "CONNECT 9\n");
	close(accepted);
	assert_int_equal(hv_handshake(host, &endpoint, &handshake), -ECONNREFUSED);
	close(host);
	close(vmm);
	hv_children_remove(&children, &child);
}

/* Turned away in numbers: what comes behind them is let in by a later call. */
static void test_refusals_are_bounded(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	char path[96];
	struct hv_endpoint endpoint;
	struct hv_listener listener = HV_LISTENER_NULL;
	int strangers[40];
	snprintf(path, sizeof(path), "%s/u", folder);
	parse(&endpoint, "unix://%s", path);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), 0);
	assert_int_equal(chmod(folder, 0711), 0);
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(seteuid(OTHER_USER), 0);
	for (size_t i = 0; i < array_size(strangers); i++)
		strangers[i] = dial(&endpoint, false);
	assert_int_equal(seteuid(0), 0);
	int friend = dial(&endpoint, false);

	assert_int_equal(hv_accept(&listener, NULL), -EAGAIN);
	assert_in_range(listener.refused, 1, 39);
	int accepted = hv_accept(&listener, NULL);
	assert_true(accepted >= 0);
	assert_int_equal(listener.refused, 40);
	assert_carries(friend, accepted);
	for (size_t i = 0; i < array_size(strangers); i++) {
		assert_closed(strangers[i]);
		close(strangers[i]);
	}
	close(friend);
	close(accepted);
	hv_listener_close(&listener);
}

/* A socket that somebody else has put where the VMM's should be. */
static void test_vmm_of_others(void **state)
{
	static const struct {
		uid_t directory_owner;
		mode_t mode;
		bool registered;
		uid_t child;
		int result;
	} rows[] = {
		{ 0, 0777, false, 0, -EACCES },
		{ OTHER_USER, 0700, false, 0, 0 },
		{ 0, 0777, true, OTHER_USER, 0 },
		{ OTHER_USER, 0700, true, 0, -EACCES },
	};
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(folder, 0711), 0);
	for (size_t i = 0; i < array_size(rows); i++) {
		char directory[96], base[128];
		struct hv_endpoint endpoint;
		struct hv_children children = { 0 };
		bool pending;
		snprintf(directory, sizeof(directory), "%s/d%zu", folder, i);
		snprintf(base, sizeof(base), "%s/v", directory);
		assert_int_equal(mkdir(directory, 0700), 0);
		assert_int_equal(chmod(directory, rows[i].mode), 0);
		assert_int_equal(chown(directory, rows[i].directory_owner, (gid_t)-1), 0);
		assert_int_equal(seteuid(OTHER_USER), 0);
		int vmm = fake_vmm(base);
		assert_int_equal(seteuid(0), 0);

		struct hv_machine machine = { .children = &children };
		struct hv_child child = { .vm = { { 1 } }, .base = base, .uid = rows[i].child };
		if (rows[i].registered)
			assert_int_equal(hv_children_add(&children, &child), 0);
		parse(&endpoint, "hybrid://%s:1", base);
		int fd = hv_connect(&endpoint, &machine, false, &pending);
		assert_int_equal(fd >= 0 ? 0 : fd, rows[i].result);
		close_fd(&fd);
		close(vmm);
	}
}

/* How each VMM answers; '|' = a pause, after which the handshake is called again. */
static const struct {
	const char *what;
	const char *service;
	const char *request;
	const char *reply;
	bool closes;
	int result;
	const char *rest; /* what the guest has sent, left for the caller */
} habits[] = {
	{ "Firecracker", "1024", "CONNECT 1024\n", "OK 1073741824\n", false, 0, "" },
	{ "vhost-device-vsock", "5000", "CONNECT 5000\n", "OK 5000\n", false, 0, "" },
	{ "OpenVMM, port", "1", "CONNECT 1\n", "OK 1\n", false, 0, "" },
	{ "OpenVMM, GUID", "999e53d4-3d5c-4c3e-8779-bed06ec056e1",
	  "CONNECT 999e53d4-3d5c-4c3e-8779-bed06ec056e1\n",
	  "OK 00001234-facb-11e6-bd58-64006a7986d3\n", false, 0, "" },
	{ "largest port", "4294967294", "CONNECT 4294967294\n", "OK 4294967295\n", false, 0, "" },
	{ "byte by byte", "1", "CONNECT 1\n", "O|K| |1|0|7|3|7|4|1|8|2|4|\n", false, 0, "" },
	{ "guest speaks at once", "1", "CONNECT 1\n", "OK 1\nhello", false, 0, "hello" },
	{ "guest speaks a line at once", "1", "CONNECT 1\n", "OK |1\n\nOK 2\n", false, 0, "\nOK 2\n" },
	{ "guest speaks and closes", "1", "CONNECT 1\n", "OK 1\nbye", true, 0, "bye" },
	{ "any token", "1", "CONNECT 1\n", "OK what-ever it is\n", false, 0, "" },
	{ "nobody listens", "1", "CONNECT 1\n", "", true, -ECONNREFUSED, NULL },
	{ "closes in the middle", "1", "CONNECT 1\n", "OK 10", true, -ECONNREFUSED, NULL },
	{ "closes after a pause", "1", "CONNECT 1\n", "OK|", true, -ECONNREFUSED, NULL },
	{ "no answer", "1", "CONNECT 1\n", "", false, -EAGAIN, NULL },
	{ "half an answer", "1", "CONNECT 1\n", "OK 1", false, -EAGAIN, NULL },
	{ "no token", "1", "CONNECT 1\n", "OK\n", false, -EPROTO, NULL },
	{ "empty token", "1", "CONNECT 1\n", "OK \n", false, -EPROTO, NULL },
	{ "another word", "1", "CONNECT 1\n", "OKAY 1\n", false, -EPROTO, NULL },
	{ "an error", "1", "CONNECT 1\n", "ERROR no such port\n", false, -EPROTO, NULL },
	{ "an empty line", "1", "CONNECT 1\n", "\n", false, -EPROTO, NULL },
	{ "no end of the line", "1", "CONNECT 1\n",
	  "OK 0000000000000000000000000000000000000000000000000000000000000000000000000000000", false,
	  -EPROTO, NULL },
	{ "not its protocol", "1", "CONNECT 1\n", "HTTP/1.1 400 Bad Request\r\n\r\n", true, -EPROTO,
	  NULL },
};

static void run_habit(size_t i, const char *base, int vmm)
{
	struct hv_endpoint endpoint;
	struct hv_handshake handshake = { 0 };
	char got[128] = { 0 };
	parse(&endpoint, "hybrid://%s:%s", base, habits[i].service);
	int host = dial(&endpoint, false);
	assert_true(host >= 0);
	int r = hv_handshake(host, &endpoint, &handshake);
	assert_int_equal(r, -EAGAIN);
	int accepted = accept(vmm, NULL, NULL);
	/* The request is there in one piece, and nothing behind it. */
	assert_int_equal(recv(accepted, got, sizeof(got) - 1, 0), strlen(habits[i].request));
	assert_string_equal(got, habits[i].request);

	for (const char *at = habits[i].reply; *at && r == -EAGAIN;) {
		size_t piece = strcspn(at, "|");
		if (piece)
			assert_int_equal(write(accepted, at, piece), piece);
		at += piece;
		if (*at == '|') {
			r = hv_handshake(host, &endpoint, &handshake);
			at++;
		}
	}
	if (habits[i].closes)
		close_fd(&accepted);
	if (r == -EAGAIN)
		r = hv_handshake(host, &endpoint, &handshake);
	if (r != habits[i].result)
		fail_msg("%s: %d", habits[i].what, r);
	if (habits[i].rest) {
		ssize_t n = recv(host, got, sizeof(got) - 1, MSG_DONTWAIT);
		got[n > 0 ? n : 0] = '\0';
		assert_string_equal(got, habits[i].rest);
		if (!habits[i].closes)
			assert_carries(host, accepted);
	}
	close(host);
	close_fd(&accepted);
}

static void test_handshake(void **state)
{
	(void)state;
	char base[96];
	snprintf(base, sizeof(base), "%s/v", folder);
	int vmm = fake_vmm(base);
	for (size_t i = 0; i < array_size(habits); i++)
		run_habit(i, base, vmm);

	/* Gone before it was asked. */
	struct hv_endpoint endpoint;
	struct hv_handshake handshake = { 0 };
	parse(&endpoint, "hybrid://%s:1", base);
	int host = dial(&endpoint, false);
	close(accept(vmm, NULL, NULL));
	assert_int_equal(hv_handshake(host, &endpoint, &handshake), -ECONNREFUSED);
	close(host);
	close(vmm);
	/* A file without a VMM behind it, and no file. */
	assert_int_equal(dial(&endpoint, false), -ECONNREFUSED);
	assert_int_equal(unlink(base), 0);
	assert_int_equal(dial(&endpoint, false), -ENOENT);
}

/* A VMM that does not take the call: its backlog is full. */
static void test_full_backlog(void **state)
{
	(void)state;
	char path[96];
	struct hv_endpoint endpoint;
	int fds[200], count = 0, r = 0;
	snprintf(path, sizeof(path), "%s/u", folder);
	int vmm = fake_vmm(path);
	parse(&endpoint, "unix://%s", path);
	while (count < 200 && (r = dial(&endpoint, false)) >= 0)
		fds[count++] = r;
	assert_int_equal(r, -EAGAIN);
	assert_true(hv_error_retryable(hv_error_from_errno(HV_SCHEME_UNIX, r)));
	while (count)
		close(fds[--count]);
	close(vmm);
}

static void test_no_handshake(void **state)
{
	static const enum hv_scheme schemes[] = { HV_SCHEME_UNIX, HV_SCHEME_VSOCK };
	(void)state;
	int pair[2];
	char byte;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	for (size_t i = 0; i < array_size(schemes); i++) {
		struct hv_endpoint endpoint = { .scheme = schemes[i], .port = 1, .has_port = true };
		struct hv_handshake handshake = { 0 };
		assert_int_equal(hv_handshake(pair[0], &endpoint, &handshake), 0);
		assert_int_equal(recv(pair[1], &byte, 1, MSG_DONTWAIT), -1);
	}
	close(pair[0]);
	close(pair[1]);
}

/* Without descriptors a peer is turned away, and does not keep the loop busy. */
static void test_no_descriptors(void **state)
{
	(void)state;
	struct hv_endpoint endpoint;
	struct hv_listener listener = HV_LISTENER_NULL;
	struct rlimit before, none;
	parse(&endpoint, "hybrid://%s/v.sock:5000", folder);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, NULL), 0);
	int guests[2] = { dial(&endpoint, true), dial(&endpoint, true) };
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	int unused = dup(guests[0]);
	none = (struct rlimit){ .rlim_cur = (rlim_t)unused, .rlim_max = before.rlim_max };
	close(unused);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(hv_accept(&listener, NULL), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(hv_accept(&listener, NULL), -EAGAIN);
	assert_int_equal(listener.refused, 2);
	for (int i = 0; i < 2; i++) {
		assert_closed(guests[i]);
		close(guests[i]);
	}
	int guest = dial(&endpoint, true);
	int accepted = hv_accept(&listener, NULL);
	assert_carries(guest, accepted);
	close(guest);
	close(accepted);
	hv_listener_close(&listener);
}

#define in_folder(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_folder(test_guest_to_host),
		in_folder(test_service_outside_template),
		in_folder(test_long_paths),
		in_folder(test_directory),
		in_folder(test_directory_of_others),
		in_folder(test_no_gift),
		in_folder(test_stale),
		in_folder(test_lost_name),
		in_folder(test_registry),
		in_folder(test_refusals_are_bounded),
		in_folder(test_vmm_of_others),
		in_folder(test_handshake),
		in_folder(test_full_backlog),
		in_folder(test_no_descriptors),
		cmocka_unit_test(test_no_handshake),
	};
	alarm(30);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
