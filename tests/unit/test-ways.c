/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Hyperv addresses over unix sockets, for real: the loopback sockets, listeners with several ways
 * in, what the host of a container has mounted. The services are outside the vsock template, so
 * nothing here comes near AF_VSOCK. What needs another user or a /run of its own is skipped for
 * who is not root.
 */

#include "hvsocket/hvsocket.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <cmocka.h>

#define OTHER_USER 65533
#define SERVICE "9866c7bc-0c89-4cb0-9427-5b526d1ae83b"

static char folder[64], place[80];
static const struct hv_machine host = { .cid = VMADDR_CID_ANY };

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/hvsocket-ways-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(place, sizeof(place), "%s/hv", folder);
	return setenv("HVSOCKET_LOOPBACK_DIR", place, 1);
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

static struct hv_endpoint at(const char *vm)
{
	char url[128];
	struct hv_endpoint endpoint;
	snprintf(url, sizeof(url), "hyperv://%s/" SERVICE, vm);
	assert_int_equal(hv_endpoint_parse(url, &endpoint, NULL), 0);
	return endpoint;
}

static int dial(const char *vm, const struct hv_machine *machine)
{
	struct hv_endpoint endpoint = at(vm);
	bool pending = true;
	int fd = hv_connect(&endpoint, machine, false, &pending);
	assert_false(pending);
	return fd;
}

/* As the VMM of a child does when its guest dials. */
static int dial_file(const char *path)
{
	struct hv_endpoint endpoint = { .scheme = HV_SCHEME_UNIX };
	bool pending;
	snprintf(endpoint.path, sizeof(endpoint.path), "%s", path);
	return hv_connect(&endpoint, NULL, false, &pending);
}

static int bind_file(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static bool is_ready(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	return poll(&poll_fd, 1, 0) == 1;
}

static unsigned count_files(const char *path)
{
	unsigned count = 0;
	char command[160];
	snprintf(command, sizeof(command), "ls -A %s 2>/dev/null", path);
	FILE *list = popen(command, "r");
	assert_non_null(list);
	for (int c; (c = fgetc(list)) != EOF;)
		count += c == '\n';
	pclose(list);
	return count;
}

static void test_loopback(void **state)
{
	static const char *const listening[] = { "loopback", "any" };
	(void)state;
	for (size_t i = 0; i < array_size(listening); i++) {
		struct hv_endpoint endpoint = at(listening[i]);
		struct hv_listener listener, second;
		struct hv_peer peer;
		struct stat status;
		char path[160], text[8] = "";
		snprintf(path, sizeof(path), "%s/loopback_" SERVICE, place);
		assert_int_equal(dial("loopback", &host), -ECONNREFUSED);
		assert_int_equal(hv_listen(&listener, &endpoint, NULL, &host), 0);
		assert_int_equal(stat(place, &status), 0);
		assert_int_equal(status.st_mode & 07777, 0700);
		assert_int_equal(stat(path, &status), 0);
		assert_int_equal(status.st_mode & 07777, 0600);
		/* One service, one listener; the second has looked whether the first lives. */
		assert_int_equal(hv_listen(&second, &endpoint, NULL, &host), -EADDRINUSE);
		hv_listener_close(&second);
		int probe = hv_accept(&listener, NULL);
		assert_true(probe >= 0);
		close(probe);

		assert_int_equal(hv_accept(&listener, &peer), -EAGAIN);
		int here = dial("loopback", &host);
		assert_true(here >= 0);
		assert_true(is_ready(listener.fd));
		int there = hv_accept(&listener, &peer);
		assert_true(there >= 0);
		assert_int_equal(peer.kind, HV_VM_LOOPBACK);
		assert_true(hv_guid_equal(&peer.address.vm, &hv_guid_loopback));
		assert_true(hv_guid_equal(&peer.address.service, &endpoint.address.service));
		assert_int_equal(peer.identity, HV_IDENTITY_CREDENTIALS);
		assert_int_equal(peer.pid, getpid());

		/* It is a unix socket, but no VMM waits for a CONNECT line there. */
		struct hv_endpoint loopback = at("loopback");
		struct hv_handshake handshake = { 0 };
		assert_int_equal(hv_handshake(here, &loopback, &handshake), 0);
		assert_int_equal(write(here, "hello", 5), 5);
		assert_int_equal(read(there, text, sizeof(text)), 5);
		assert_string_equal(text, "hello");
		close(here);
		close(there);
		hv_listener_close(&listener);
		assert_int_equal(count_files(place), 0);
		hv_listener_close(&listener);
	}
}

/* What the processes of a race share; each says how its hv_listen() ended. */
#define RACERS 4
struct race {
	unsigned ready, done;
	int result[RACERS];
};

static void wait_for(unsigned *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(counter, __ATOMIC_SEQ_CST) < RACERS)
		sched_yield();
}

static void run_racer(struct race *race, unsigned i)
{
	struct hv_endpoint endpoint = at("loopback");
	struct hv_listener listener;
	alarm(10);
	wait_for(&race->ready);
	race->result[i] = hv_listen(&listener, &endpoint, NULL, &host);
	wait_for(&race->done);
	_exit(0);
}

/* Several begin at once where somebody has died: one of them gets the service. */
static void test_race(void **state)
{
	(void)state;
	struct race *race = mmap(NULL, sizeof(*race), PROT_READ | PROT_WRITE,
	                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(race, MAP_FAILED);
	for (unsigned round = 0; round < 100; round++) {
		unsigned winners = 0;
		memset(race, 0, sizeof(*race));
		for (unsigned i = 0; i < RACERS; i++) {
			pid_t pid = fork();
			assert_true(pid >= 0);
			if (pid == 0)
				run_racer(race, i);
		}
		for (unsigned i = 0; i < RACERS; i++)
			assert_true(wait(NULL) > 0);
		for (unsigned i = 0; i < RACERS; i++) {
			winners += race->result[i] == 0;
			if (race->result[i])
				assert_int_equal(race->result[i], -EADDRINUSE);
		}
		assert_int_equal(winners, 1);
	}
	munmap(race, sizeof(*race));
}

/* Where others could put a socket, or have. */
static void test_loopback_of_others(void **state)
{
	(void)state;
	struct hv_endpoint endpoint = at("loopback"), any = at("any");
	struct hv_listener listener;
	char path[160];
	snprintf(path, sizeof(path), "%s/loopback_" SERVICE, place);
	assert_int_equal(mkdir(place, 0700), 0);
	assert_int_equal(chmod(place, 0777), 0);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, &host), -EACCES);
	assert_int_equal(hv_listen(&listener, &any, NULL, &host), -EACCES);
	/* No place at all: then there is no such way, and here no other. */
	assert_int_equal(setenv("HVSOCKET_LOOPBACK_DIR", "relative", 1), 0);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, &host), -EADDRNOTAVAIL);
	assert_int_equal(dial("loopback", &host), -EADDRNOTAVAIL);
	assert_non_null(hv_refusal(&endpoint, false, &host));
	assert_int_equal(setenv("HVSOCKET_LOOPBACK_DIR", "/proc/none/hv", 1), 0);
	assert_int_equal(hv_listen(&listener, &endpoint, NULL, &host), -EADDRNOTAVAIL);
	assert_int_equal(dial("loopback", &host), -ECONNREFUSED);
	assert_int_equal(setenv("HVSOCKET_LOOPBACK_DIR", place, 1), 0);
	if (geteuid() != 0)
		skip();
	/* Whoever listens there is asked who he is. */
	assert_int_equal(chmod(folder, 0711), 0);
	assert_int_equal(seteuid(OTHER_USER), 0);
	int stranger = bind_file(path);
	assert_int_equal(chmod(path, 0777), 0);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(dial("loopback", &host), -EACCES);
	close(stranger);
}

/* Two VMs with hybrid sockets, and the loopback socket. */
static char bases[2][96];
static struct hv_child vms[2];
static struct hv_children children;

static void make_children(void)
{
	children = (struct hv_children){ 0 };
	for (unsigned i = 0; i < 2; i++) {
		snprintf(bases[i], sizeof(bases[i]), "%s/vm%u", folder, i);
		vms[i] = (struct hv_child){
			.vm = { { (uint8_t)(i + 1) } },
			.base = bases[i],
			.uid = geteuid(),
			.running = true,
		};
		assert_int_equal(hv_children_add(&children, &vms[i]), 0);
	}
}

static int dial_vm(unsigned i, const char *service)
{
	char path[160];
	snprintf(path, sizeof(path), "%s_%s", bases[i], service);
	return dial_file(path);
}

/* Which way somebody came: 0 and 1 the VMs, 2 loopback. */
static int way_of(const struct hv_peer *peer)
{
	if (peer->kind == HV_VM_LOOPBACK)
		return 2;
	assert_int_equal(peer->kind, HV_VM_ONE);
	int i = hv_guid_equal(&peer->address.vm, &vms[1].vm);
	assert_true(hv_guid_equal(&peer->address.vm, &vms[i].vm));
	return i;
}

/* Many on one way do not keep those of another waiting. */
static void test_fairness(void **state)
{
	(void)state;
	struct hv_endpoint any = at("any");
	struct hv_listener listener;
	int fds[24], count = 0, came[3] = { 0 };
	make_children();
	assert_int_equal(hv_listen(&listener, &any, &children, &host), 0);
	assert_int_equal(listener.way_count, 3);
	assert_int_equal(fcntl(listener.fd, F_GETFD), FD_CLOEXEC);
	assert_false(is_ready(listener.fd));
	for (int i = 0; i < 8; i++)
		fds[count++] = dial_vm(0, SERVICE);
	for (int i = 0; i < 8; i++)
		fds[count++] = dial_vm(1, SERVICE);
	for (int i = 0; i < 8; i++)
		fds[count++] = dial("loopback", &host);
	assert_true(is_ready(listener.fd));
	for (int i = 0; i < count; i++) {
		struct hv_peer peer;
		int fd = hv_accept(&listener, &peer);
		assert_true(fd >= 0);
		came[way_of(&peer)]++;
		close(fd);
		for (int way = 0; i % 3 == 2 && way < 3; way++)
			assert_int_equal(came[way], i / 3 + 1);
	}
	assert_int_equal(hv_accept(&listener, NULL), -EAGAIN);
	assert_false(is_ready(listener.fd));
	assert_int_equal(listener.refused, 0);
	while (count)
		close(fds[--count]);
	hv_listener_close(&listener);
	assert_int_equal(count_files(folder), 1);
	assert_int_equal(count_files(place), 0);
}

/* The registry counts when somebody comes; CHILDREN is nobody else. */
static void test_children(void **state)
{
	static const char *const listening[] = { "children", "any" };
	(void)state;
	for (size_t i = 0; i < array_size(listening); i++) {
		struct hv_endpoint endpoint = at(listening[i]);
		struct hv_listener listener;
		struct hv_peer peer;
		make_children();
		assert_int_equal(hv_listen(&listener, &endpoint, &children, &host), 0);
		assert_int_equal(listener.way_count, 2 + i);
		if (i == 0)
			assert_int_equal(dial("loopback", &host), -ECONNREFUSED);
		/* Stopped; run by somebody else; no more known. */
		for (int round = 0; round < 3; round++) {
			vms[0].running = round != 0;
			vms[0].uid = geteuid() + (round == 1);
			if (round == 2)
				hv_children_remove(&children, &vms[0]);
			int refused = dial_vm(0, SERVICE), friend = dial_vm(1, SERVICE);
			int fd = hv_accept(&listener, &peer);
			assert_true(fd >= 0);
			assert_int_equal(way_of(&peer), 1);
			assert_int_equal(hv_accept(&listener, &peer), -EAGAIN);
			assert_int_equal(listener.refused, round + 1);
			close(fd);
			close(friend);
			close(refused);
		}
		hv_listener_close(&listener);
	}
}

/* One of the ways is taken: none stays open, and what was there is there still. */
static void test_all_or_none(void **state)
{
	(void)state;
	struct hv_endpoint any = at("any");
	struct hv_listener listener;
	char taken[160];
	make_children();
	/* The registry's first row is the last that was added. */
	snprintf(taken, sizeof(taken), "%s_" SERVICE, bases[0]);
	int other = bind_file(taken);
	unsigned before = count_files("/proc/self/fd");
	assert_int_equal(hv_listen(&listener, &any, &children, &host), -EADDRINUSE);
	assert_int_equal(listener.fd, -1);
	assert_null(listener.ways);
	assert_int_equal(count_files("/proc/self/fd"), before);
	assert_int_equal(access(taken, F_OK), 0);
	assert_int_equal(count_files(folder), 2);
	assert_int_equal(count_files(place), 0);
	hv_listener_close(&listener);
	assert_int_equal(chmod(folder, 0777), 0);
	assert_int_equal(hv_listen(&listener, &any, &children, &host), -EACCES);
	assert_int_equal(count_files(place), 0);
	close(other);
}

/* What has one way only is that listener. */
static void test_one_way(void **state)
{
	(void)state;
	struct hv_endpoint endpoint = at("children");
	struct hv_listener listener;
	struct hv_peer peer;
	make_children();
	hv_children_remove(&children, &vms[1]);
	assert_int_equal(hv_listen(&listener, &endpoint, &children, &host), 0);
	assert_null(listener.ways);
	assert_int_equal(listener.endpoint.scheme, HV_SCHEME_HYBRID);
	int guest = dial_vm(0, SERVICE), fd = hv_accept(&listener, &peer);
	assert_true(fd >= 0);
	assert_int_equal(way_of(&peer), 0);
	close(fd);
	close(guest);
	hv_listener_close(&listener);
	assert_int_equal(count_files(folder), 0);
	/* No children, no way. */
	children = (struct hv_children){ 0 };
	assert_int_equal(hv_listen(&listener, &endpoint, &children, &host), -EADDRNOTAVAIL);
}

/* A service with a row goes by its port where VMMs are, and by its GUID also. */
static void test_services(void **state)
{
	(void)state;
	struct hv_service row = { .port = 7777 };
	struct hv_machine machine = { .cid = VMADDR_CID_ANY, .services = &row,
		                      .children = &children };
	struct hv_endpoint endpoint = at("children");
	struct hv_listener listener;
	struct hv_peer peer;
	row.guid = endpoint.address.service;
	make_children();
	assert_int_equal(hv_listen(&listener, &endpoint, &children, &machine), 0);
	assert_int_equal(listener.way_count, 4);
	static const char *const names[] = { SERVICE, "7777" };
	for (size_t i = 0; i < array_size(names); i++) {
		int guest = dial_vm(0, names[i]), fd = hv_accept(&listener, &peer);
		assert_true(fd >= 0);
		assert_true(hv_guid_equal(&peer.address.service, &row.guid));
		close(fd);
		close(guest);
	}
	hv_listener_close(&listener);
	assert_int_equal(count_files(folder), 0);

	int vmm = bind_file(bases[0]);
	for (size_t i = 0; i < array_size(names); i++) {
		struct hv_handshake handshake = { .services = i ? &row : NULL };
		char line[64] = "", expected[64];
		struct hv_endpoint child = at("00000001-0000-0000-0000-000000000000");
		int fd = dial("00000001-0000-0000-0000-000000000000", &machine);
		assert_true(fd >= 0);
		assert_int_equal(hv_handshake(fd, &child, &handshake), -EAGAIN);
		int accepted = accept(vmm, NULL, NULL);
		assert_true(read(accepted, line, sizeof(line) - 1) > 0);
		snprintf(expected, sizeof(expected), "CONNECT %s\n", names[i]);
		assert_string_equal(line, expected);
		close(accepted);
		close(fd);
	}
	close(vmm);
}

/* In a /run of its own, without a network; the status is the first line that went wrong. */
#define CHECK(condition) \
	do { \
		if (!(condition)) \
			_exit(__LINE__ & 255 ? __LINE__ & 255 : 1); \
	} while (0)

static void in_private_run(void)
{
	static const struct hv_machine container = { .cid = VMADDR_CID_ANY, .in_container = true };
	static const char *const vms_of_container[] = { "parent", "silohost" };
	struct hv_endpoint endpoint;
	struct hv_listener listener;
	struct stat status;
	char byte;
	CHECK(unshare(CLONE_NEWNS | CLONE_NEWNET) == 0);
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(mount("run", "/run", "tmpfs", 0, NULL) == 0);
	CHECK(unsetenv("HVSOCKET_LOOPBACK_DIR") == 0);

	endpoint = at("loopback");
	CHECK(hv_listen(&listener, &endpoint, NULL, &host) == 0);
	CHECK(stat("/run/hvrun/hv", &status) == 0 && (status.st_mode & 07777) == 0700);
	CHECK(stat("/run/hvrun", &status) == 0 && (status.st_mode & 07777) == 0700);
	CHECK(access("/run/hvrun/hv/loopback_" SERVICE, F_OK) == 0);
	int here = dial("loopback", &host), there = hv_accept(&listener, NULL);
	CHECK(here >= 0 && there >= 0 && write(here, "x", 1) == 1 && read(there, &byte, 1) == 1);
	close(here);
	close(there);
	hv_listener_close(&listener);

	for (size_t i = 0; i < array_size(vms_of_container); i++) {
		struct hv_handshake handshake = { 0 };
		endpoint = at(vms_of_container[i]);
		CHECK(dial(vms_of_container[i], &container) == -EADDRNOTAVAIL);
		CHECK(strstr(hv_refusal(&endpoint, false, &container), "/run/hvrun/silohost"));
		CHECK(hv_listen(&listener, &endpoint, NULL, &container) == -EADDRNOTAVAIL);
		CHECK(hv_refusal(&endpoint, true, &container));
		int host_fd = bind_file("/run/hvrun/silohost_" SERVICE);
		CHECK(!hv_refusal(&endpoint, false, &container));
		int fd = dial(vms_of_container[i], &container);
		CHECK(fd >= 0);
		CHECK(hv_handshake(fd, &endpoint, &handshake) == 0);
		close(fd);
		close(host_fd);
		CHECK(dial(vms_of_container[i], &container) == -ECONNREFUSED);
		CHECK(unlink("/run/hvrun/silohost_" SERVICE) == 0);
	}
	_exit(0);
}

static void test_private_run(void **state)
{
	int status;
	(void)state;
	if (geteuid() != 0)
		skip();
	pid_t pid = fork();
	if (pid == 0)
		in_private_run();
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define in_folder(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_folder(test_loopback),
		in_folder(test_race),
		in_folder(test_loopback_of_others),
		in_folder(test_fairness),
		in_folder(test_children),
		in_folder(test_all_or_none),
		in_folder(test_one_way),
		in_folder(test_services),
		in_folder(test_private_run),
	};
	alarm(30);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
