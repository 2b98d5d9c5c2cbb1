/* SPDX-License-Identifier: Apache-2.0 */

/* Where a shim listens: the name, and who gets it. */

#include "shim/containerd/address.h"

#include "hvsocket/transport.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#define STARTS 16

struct box {
	char directory[32], address[ADDRESS_TEXT];
};

static int setup(void **state)
{
	static struct box box;

	strcpy(box.directory, "/tmp/hvaddress-XXXXXX");
	*state = &box;
	if (!mkdtemp(box.directory))
		return -1;
	strcat(box.directory, "/s");
	return address_make(box.directory, "/run/c.sock", "n", "k", box.address, NULL);
}

static int teardown(void **state)
{
	struct box *box = *state;
	(void)unlink(address_path(box->address));
	(void)rmdir(box->directory);
	*strrchr(box->directory, '/') = '\0';
	return rmdir(box->directory);
}

static void test_names(void **state)
{
	/* By sha256sum. */
	static const struct {
		const char *directory, *grpc, *namespace, *key, *address;
	} rows[] = {
		{ "", "/run/containerd/containerd.sock", "default", "c1",
		  "unix:///run/containerd/s/"
		  "d25aa4ef11a84e954e74a5bcff06557d0b6ea8d0c00243896f29826694bbd888" },
		/* default/c1 */
		{ "", "", "default", "c1",
		  "unix:///run/containerd/s/"
		  "3a4ba0ad328f407b30cccb555302fc1c4c73e1d92d16d2583787f9faddf320ca" },
		{ "/run/x", "", "k8s.io", "4a1b",
		  "unix:///run/x/"
		  "ae29ff07d6d3217071ab11b06d8e90b22ee76ec8adcb7d64219bb07da27cbe94" },
		/* /run/a/containerd.sock/n/k */
		{ "/run/x", "/run//b/../a/./containerd.sock/", "n", "k",
		  "unix:///run/x/"
		  "0a010339520792bdb74e038e3d94a6a868c8dcd31a2a16fb4c6e8757abcf20bf" },
		/* run/c/n/k */
		{ "/run/x", "run/c", "n", "k",
		  "unix:///run/x/"
		  "81d34a7f7b5816ae9c91dec3b04e595ea646985e17bf7d865cd3fca4dfdb2e52" },
	};
	char address[ADDRESS_TEXT], large[5000];
	struct fault fault = FAULT_NULL;

	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		assert_int_equal(address_make(rows[i].directory, rows[i].grpc, rows[i].namespace,
		                              rows[i].key, address, &fault), 0);
		assert_string_equal(address, rows[i].address);
		assert_string_equal(address_path(address), rows[i].address + strlen("unix://"));
	}
	/* The longest directory there can be. */
	assert_int_equal(address_make("/23456789a123456789b123456789c123456789d12", "", "n", "k",
	                              address, &fault), 0);
	assert_int_equal(strlen(address_path(address)), 107);
	assert_int_equal(address_make("/23456789a123456789b123456789c123456789d123", "", "n", "k",
	                              address, &fault), -EINVAL);
	assert_int_equal(address_make("run", "", "n", "k", address, &fault), -EINVAL);
	memset(large, 'x', sizeof(large));
	large[sizeof(large) - 1] = '\0';
	assert_true(address_make("/r", large, "n", "k", address, &fault) < 0);
}

static void test_foreign(void **state)
{
	static const char *const bad[] = {
		"", "unix://", "/run/containerd/s/x", "unix:///run/containerd/s/x",
		"vsock://2:1024",
		"unix://run/d25aa4ef11a84e954e74a5bcff06557d0b6ea8d0c00243896f29826694bbd888",
		"unix:///run/d25aa4ef11a84e954e74a5bcff06557d0b6ea8d0c00243896f29826694bbd88/",
		"unix:///run/D25aa4ef11a84e954e74a5bcff06557d0b6ea8d0c00243896f29826694bbd888",
	};

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++)
		assert_null(address_path(bad[i]));
}

static void test_life(void **state)
{
	const struct box *box = *state;
	const char *address = box->address, *path = address_path(address);
	struct fault fault = FAULT_NULL;
	struct stat st;

	assert_false(address_answers(address));
	address_remove_stale(address);
	int fd = address_listen(address, &fault);
	assert_true(fd > 0);
	assert_int_equal(stat(box->directory, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);

	assert_true(address_answers(address));
	assert_int_equal(address_listen(address, &fault), 0);
	address_remove_stale(address);
	assert_true(address_answers(address));

	/* Killed: the file stays, and the next one takes its place. */
	close(fd);
	assert_false(address_answers(address));
	assert_int_equal(access(path, F_OK), 0);
	fd = address_listen(address, &fault);
	assert_true(fd > 0);
	address_leave(address, &fd);
	assert_int_equal(fd, -1);
	assert_int_equal(access(path, F_OK), -1);

	fd = address_listen(address, &fault);
	close(fd);
	address_remove_stale(address);
	assert_int_equal(access(path, F_OK), -1);
}

/* More connections than the queue takes. */
static void test_full(void **state)
{
	const struct box *box = *state;
	int fds[300], count = 0;
	int fd = address_listen(box->address, NULL);

	assert_true(fd > 0);
	assert_int_equal(listen(fd, 100), 0);
	while (count < 300 && (fds[count] = unix_connect(address_path(box->address))) >= 0)
		count++;
	assert_in_range(count, 1, 299);
	assert_true(address_answers(box->address));
	assert_int_equal(address_listen(box->address, NULL), 0);
	while (count)
		close(fds[--count]);
	address_leave(box->address, &fd);
}

static void test_in_the_way(void **state)
{
	const struct box *box = *state;
	const char *path = address_path(box->address);
	struct fault fault = FAULT_NULL;

	assert_int_equal(mkdir(box->directory, 0700), 0);
	assert_true(close(open(path, O_CREAT | O_WRONLY, 0600)) == 0);
	assert_int_equal(address_listen(box->address, &fault), -EADDRINUSE);
	assert_non_null(strstr(fault.text, "address already in use"));
	address_remove_stale(box->address);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(unlink(path), 0);
	/* Others could replace the socket. */
	assert_int_equal(chmod(box->directory, 0777), 0);
	assert_int_equal(address_listen(box->address, &fault), -EACCES);
}

/* Of those who find a stale socket at once, exactly one gets it. */
static void test_race(void **state)
{
	const struct box *box = *state;
	int fd = address_listen(box->address, NULL), go[2], over[2];
	int winners = 0, status;

	assert_true(fd > 0);
	for (int round = 0; round < 20; round++) {
		close(fd);
		assert_int_equal(pipe2(go, O_CLOEXEC) | pipe2(over, O_CLOEXEC), 0);
		for (int i = 0; i < STARTS; i++) {
			if (fork())
				continue;
			char byte;
			close(go[1]);
			close(over[1]);
			(void)!read(go[0], &byte, 1);
			int mine = address_listen(box->address, NULL);
			bool answers = address_answers(box->address);
			/* Who has won is there until all have tried. */
			if (mine > 0)
				(void)!read(over[0], &byte, 1);
			_exit(mine < 0 || !answers ? 2 : mine > 0);
		}
		close(go[0]);
		close(over[0]);
		close(go[1]);
		for (int i = 0; i < STARTS - 1; i++) {
			assert_true(wait(&status) > 0);
			assert_int_equal(status, 0);
		}
		close(over[1]);
		assert_true(wait(&status) > 0);
		assert_int_equal(WEXITSTATUS(status), 1);
		winners++;
		fd = address_listen(box->address, NULL);
		assert_true(fd > 0);
	}
	assert_int_equal(winners, 20);
	address_leave(box->address, &fd);
}

static void test_file(void **state)
{
	const struct box *box = *state;
	char got[ADDRESS_TEXT], text[2 * ADDRESS_TEXT] = "";
	struct stat st;

	assert_int_equal(mkdir(box->directory, 0700), 0);
	cleanup_close int directory = open(box->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(address_load(directory, got), -ENOENT);
	assert_int_equal(address_save(directory, box->address), 0);
	assert_int_equal(address_load(directory, got), 0);
	assert_string_equal(got, box->address);
	assert_int_equal(fstatat(directory, ADDRESS_FILE, &st, 0), 0);
	assert_int_equal(st.st_size, strlen(box->address));
	assert_int_equal(address_save(directory, "vsock://2:1024"), 0);
	assert_int_equal(address_load(directory, got), -EINVAL);
	memset(text, 'a', sizeof(text) - 1);
	assert_int_equal(address_save(directory, text), 0);
	assert_int_equal(address_load(directory, got), -EINVAL);
	assert_int_equal(unlinkat(directory, ADDRESS_FILE, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test_setup_teardown(test_life, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_the_way, setup, teardown),
		cmocka_unit_test_setup_teardown(test_race, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
