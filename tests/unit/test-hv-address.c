/* SPDX-License-Identifier: Apache-2.0 */

/* What is said about an address is what would be done with it, on each kind of machine. */

#include "shim/hv/hv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>
#include <cmocka.h>

#define GUID "9866c7bc-0c89-4cb0-9427-5b526d1ae83b"

static const struct hv_machine host = { .cid = 2, .has_vsock = true };
static const struct hv_machine host_with_loopback = {
	.cid = 2, .has_vsock = true, .has_loopback = true,
};
static const struct hv_machine guest = { .cid = 8, .has_vsock = true, .is_guest = true };
static const struct hv_machine container = { .cid = VMADDR_CID_ANY, .in_container = true };

static void test_lines(void **state)
{
	static const struct {
		const char *url;
		const struct hv_machine *machine;
		const char *lines; /* from "dials" on */
	} rows[] = {
		{ "hyperv://any/5", &host,
		  "dials:        refused: any and children are for listeners; nobody can be dialled by "
		  "them\n"
		  "listens:      AF_VSOCK, port 5\n"
		  "and:          /nowhere/loopback_5 (is not there)\n"
		  "and:          the sockets of its VMs' VMMs, which only their starter knows\n" },
		{ "hyperv://loopback/5", &host_with_loopback,
		  "dials:        /nowhere/loopback_5 (is not there)\n"
		  "or:           AF_VSOCK, CID 1, port 5\n"
		  "listens:      AF_VSOCK, CID 1, port 5\n"
		  "and:          /nowhere/loopback_5 (is not there)\n" },
		{ "hyperv://loopback/" GUID, &host_with_loopback,
		  "dials:        /nowhere/loopback_" GUID " (is not there)\n"
		  "listens:      /nowhere/loopback_" GUID " (is not there)\n" },
		{ "hyperv://parent/5", &guest,
		  "dials:        AF_VSOCK, CID 2, port 5\n"
		  "listens:      AF_VSOCK, port 5\n" },
		{ "hyperv://parent/5", &host,
		  "dials:        refused: this machine is no guest, so it has no parent\n"
		  "listens:      refused: this machine is no guest, so it has no parent\n" },
		{ "hyperv://parent/" GUID, &guest,
		  "dials:        refused: a service outside the vsock template has no port on AF_VSOCK "
		  "unless one is given\n"
		  "listens:      refused: a service outside the vsock template has no port on AF_VSOCK "
		  "unless one is given\n" },
		{ "hyperv://parent/" GUID, &container,
		  "dials:        /run/hvrun/silohost_" GUID " (is not there)\n"
		  "but:          the parent of a container is its host, and that has put no socket for "
		  "this service at /run/hvrun/silohost_SERVICE\n"
		  "listens:      refused: nobody can be reached in a container from outside of it\n" },
		{ "hyperv://silohost/5", &guest,
		  "dials:        refused: this machine is no container\n"
		  "listens:      refused: the host of a container has no way into it\n" },
		{ "hyperv://children/5", &container,
		  "dials:        refused: any and children are for listeners; nobody can be dialled by "
		  "them\n"
		  "listens:      the sockets of its VMs' VMMs, which only their starter knows\n"
		  "but:          there is no AF_VSOCK here, and no other way is known\n" },
		{ "hyperv://children/" GUID, &container,
		  "dials:        refused: any and children are for listeners; nobody can be dialled by "
		  "them\n"
		  "listens:      the sockets of its VMs' VMMs, which only their starter knows\n"
		  "but:          a service outside the vsock template has no port on AF_VSOCK unless "
		  "one is given\n" },
		{ "hyperv://broadcast/5", &guest,
		  "dials:        refused: broadcast has no meaning\n"
		  "listens:      refused: broadcast has no meaning\n" },
		{ "hyperv://00000001-0000-0000-0000-000000000000/5", &host,
		  "dials:        its CID or its VMM's socket, which only its starter knows\n"
		  "listens:      AF_VSOCK, port 5\n"
		  "or:           its VMM's socket, which only its starter knows\n" },
		{ "hyperv://any", &host,
		  "dials:        refused: the service is missing\n"
		  "listens:      refused: the service is missing\n" },
		{ "vsock://host:5", &host,
		  "dials:        refused: this machine is no guest, so it has no parent\n" },
		{ "vsock://host:5", &guest, "dials:        AF_VSOCK, CID 2, port 5\n" },
		{ "vsock://local:5", &guest,
		  "dials:        refused: this kernel has no loopback (module vsock_loopback)\n" },
	};
	(void)state;
	assert_int_equal(setenv("HVSOCKET_LOOPBACK_DIR", "/nowhere", 1), 0);
	for (size_t i = 0; i < array_size(rows); i++) {
		struct fault fault = FAULT_NULL;
		char *text = NULL;
		size_t size;
		FILE *out = open_memstream(&text, &size);
		assert_non_null(out);
		assert_int_equal(hv_explain_endpoint(rows[i].url, rows[i].machine, out, &fault), 0);
		fclose(out);
		const char *lines = strstr(text, "\ndials:");
		assert_non_null(lines);
		assert_string_equal(lines + 1, rows[i].lines);
		free(text);
	}
}

/* What a machine is; of transports and the kernel, that they are named. */
static void test_machine(void **state)
{
	static const struct {
		const struct hv_machine *machine;
		const char *line;
	} rows[] = {
		{ &host, "this machine: no guest, CID 2, with AF_VSOCK, without vsock loopback\n" },
		{ &guest, "this machine: a guest, CID 8, with AF_VSOCK, without vsock loopback\n" },
		{ &host_with_loopback, "loopback\nkernel:       " },
		{ &container, "this machine: no guest, in a container, without a CID of its own, "
		              "without AF_VSOCK, without vsock loopback\n" },
	};
	struct utsname system;
	(void)state;
	assert_int_equal(uname(&system), 0);
	for (size_t i = 0; i < array_size(rows); i++) {
		char *text = NULL;
		size_t size;
		FILE *out = open_memstream(&text, &size);
		assert_non_null(out);
		hv_print_machine(out, rows[i].machine);
		fclose(out);
		assert_non_null(strstr(text, rows[i].line));
		assert_non_null(strstr(text, "\ntransports:   "));
		assert_non_null(strstr(text, system.release));
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_machine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
