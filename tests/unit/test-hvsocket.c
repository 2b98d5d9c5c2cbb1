/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The semantics of the VM wildcards, row by row, with made-up machines and peers: nothing here
 * reaches an AF_VSOCK connect, because what would is asked at the functions that decide it.
 */

#include "hvsocket/transport.h"
#include "tests/unit/children.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define NO (-EADDRNOTAVAIL)

static const struct hv_guid foreign = { { 9, 9, 9 } };

/* What an accepted CID is called. */
static void test_label(void **state)
{
	static const struct {
		uint32_t cid;
		bool is_guest;
		enum hv_vm_kind kind;
		const struct hv_guid *vm;
	} rows[] = {
		{ 1, false, HV_VM_LOOPBACK, &hv_guid_loopback },
		{ 1, true, HV_VM_LOOPBACK, &hv_guid_loopback },
		{ 2, true, HV_VM_PARENT, &hv_guid_parent },
		{ 2, false, HV_VM_ANY, &hv_guid_zero },
		{ 3, false, HV_VM_ONE, &vm_one },
		{ 4, true, HV_VM_ONE, &vm_two },
		{ 5, false, HV_VM_ONE, &vm_dead },
		{ 6, false, HV_VM_ANY, &hv_guid_zero },
		{ 0, false, HV_VM_ANY, &hv_guid_zero },
		/* hv_sock before Linux 5.5: not known, so not let in by PARENT. */
		{ VMADDR_CID_ANY, true, HV_VM_ANY, &hv_guid_zero },
	};
	(void)state;
	struct hv_children children = registry();
	for (size_t i = 0; i < array_size(rows); i++) {
		struct sockaddr_vm from = { .svm_cid = rows[i].cid, .svm_port = 0x12345678 };
		struct hv_guid service = hv_guid_from_port(0x12345678);
		struct hv_peer peer;
		vsock_label(&from, rows[i].is_guest, &children, &peer);
		assert_int_equal(peer.kind, rows[i].kind);
		assert_int_equal(peer.cid, rows[i].cid);
		assert_true(hv_guid_equal(&peer.address.vm, rows[i].vm));
		assert_true(hv_guid_equal(&peer.address.service, &service));
	}
}

static const struct hv_machine host = { .cid = 2 };
static const struct hv_machine host_with_loopback = { .cid = 2, .has_loopback = true };
static const struct hv_machine guest = { .is_guest = true, .cid = 8 };
static const struct hv_machine guest_with_loopback = {
	.is_guest = true, .has_loopback = true, .cid = 8,
};
static const struct hv_machine hv_sock_guest = { .is_guest = true, .cid = VMADDR_CID_ANY };

/* The kernel would route most of these somewhere. */
static void test_dial_vsock(void **state)
{
	static const struct {
		uint32_t cid;
		const struct hv_machine *machine;
		int result;
	} rows[] = {
		{ 2, &host, NO },
		{ 2, &host_with_loopback, NO },
		{ 2, NULL, NO },
		{ 2, &guest, 0 },
		{ 2, &hv_sock_guest, 0 },
		{ 1, &host, NO },
		{ 1, &guest, NO },
		{ 1, NULL, NO },
		{ 1, &host_with_loopback, 0 },
		{ 1, &guest_with_loopback, 0 },
		{ 8, &guest, NO },
		{ 8, &guest_with_loopback, 0 },
		{ 0, &guest_with_loopback, NO },
		{ VMADDR_CID_ANY, &host, NO },
		{ VMADDR_CID_ANY, &guest_with_loopback, NO },
		{ VMADDR_CID_ANY, &hv_sock_guest, NO },
		{ 3, &host, 0 },
	};
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		assert_int_equal(vsock_check_dial(rows[i].cid, rows[i].machine), rows[i].result);
		if (!rows[i].result)
			continue;
		struct hv_endpoint endpoint = {
			.scheme = HV_SCHEME_VSOCK, .cid = rows[i].cid, .port = 1024, .has_port = true,
		};
		bool pending = true;
		assert_int_equal(hv_connect(&endpoint, rows[i].machine, false, &pending),
		                 rows[i].result);
		assert_false(pending);
	}
}

/* A hyperv address, what carries it, and whether the machine has that. */
static const struct {
	const char *url;
	bool listening;
	const struct hv_machine *machine;
	int result;
	enum hv_scheme scheme;
	uint32_t cid;
} mapped[] = {
	{ "hyperv://any/1024", true, &host, 0, HV_SCHEME_VSOCK, VMADDR_CID_ANY },
	{ "hyperv://any/1024", false, &host_with_loopback, NO, 0, 0 },
	{ "hyperv://children/1024", true, &host, 0, HV_SCHEME_VSOCK, VMADDR_CID_ANY },
	{ "hyperv://children/1024", false, &guest_with_loopback, NO, 0, 0 },
	{ "hyperv://parent/1024", true, &guest, 0, HV_SCHEME_VSOCK, VMADDR_CID_ANY },
	{ "hyperv://parent/1024", true, &host, NO, 0, 0 },
	{ "hyperv://parent/1024", false, &guest, 0, HV_SCHEME_VSOCK, 2 },
	{ "hyperv://parent/1024", false, &hv_sock_guest, 0, HV_SCHEME_VSOCK, 2 },
	{ "hyperv://parent/1024", false, &host, NO, 0, 0 },
	{ "hyperv://parent/1024", false, &host_with_loopback, NO, 0, 0 },
	{ "hyperv://loopback/1024", true, &host_with_loopback, 0, HV_SCHEME_VSOCK, 1 },
	{ "hyperv://loopback/1024", true, &guest, NO, 0, 0 },
	{ "hyperv://loopback/1024", false, &guest_with_loopback, 0, HV_SCHEME_VSOCK, 1 },
	{ "hyperv://loopback/1024", false, &host, NO, 0, 0 },
	{ "hyperv://silohost/1024", true, &guest, NO, 0, 0 },
	{ "hyperv://silohost/1024", false, &guest, NO, 0, 0 },
	{ "hyperv://broadcast/1024", true, &guest_with_loopback, NO, 0, 0 },
	{ "hyperv://broadcast/1024", false, &guest_with_loopback, NO, 0, 0 },
	/* A VM of ours: by CID, or through the sockets of its VMM. */
	{ "hyperv://00000001-0000-0000-0000-000000000000/1024", true, &host, 0, HV_SCHEME_VSOCK,
	  VMADDR_CID_ANY },
	{ "hyperv://00000001-0000-0000-0000-000000000000/1024", false, &host, 0, HV_SCHEME_VSOCK, 3 },
	{ "hyperv://00000004-0000-0000-0000-000000000000/1024", true, &host, 0, HV_SCHEME_HYBRID, 0 },
	{ "hyperv://00000004-0000-0000-0000-000000000000/1024", false, &host, 0, HV_SCHEME_HYBRID, 0 },
	/* One that is not (yet) may be listened for, not dialled. */
	{ "hyperv://00000005-0000-0000-0000-000000000000/1024", true, &host, 0, HV_SCHEME_VSOCK,
	  VMADDR_CID_ANY },
	{ "hyperv://00000005-0000-0000-0000-000000000000/1024", false, &host, NO, 0, 0 },
	/* A service outside the template has no port; hybrid sockets have a name for it. */
	{ "hyperv://parent/999e53d4-3d5c-4c3e-8779-bed06ec056e1", true, &guest, NO, 0, 0 },
	{ "hyperv://parent/999e53d4-3d5c-4c3e-8779-bed06ec056e1", false, &guest, NO, 0, 0 },
	{ "hyperv://parent", false, &guest, NO, 0, 0 },
	{ "hyperv://00000004-0000-0000-0000-000000000000/999e53d4-3d5c-4c3e-8779-bed06ec056e1", true,
	  &host, 0, HV_SCHEME_HYBRID, 0 },
};

static void test_map(void **state)
{
	(void)state;
	struct hv_children children = registry();
	for (size_t i = 0; i < array_size(mapped); i++) {
		struct hv_endpoint endpoint, carrier;
		assert_int_equal(hv_endpoint_parse(mapped[i].url, &endpoint, NULL), 0);
		struct hv_machine machine = *mapped[i].machine;
		machine.children = &children;
		carrier = endpoint;
		int r = hv_map_hyperv(&carrier, mapped[i].listening, &children);
		if (r >= 0 && carrier.scheme == HV_SCHEME_VSOCK)
			r = mapped[i].listening ? vsock_check_listen(&carrier.address.vm, &machine)
			                        : vsock_check_dial(carrier.cid, &machine);
		if (r != mapped[i].result)
			fail_msg("%s (row %zu): %d", mapped[i].url, i, r);
		if (r >= 0) {
			assert_int_equal(carrier.scheme, mapped[i].scheme);
			if (carrier.scheme == HV_SCHEME_VSOCK)
				assert_int_equal(carrier.cid, mapped[i].cid);
			else
				assert_string_equal(carrier.path, "/run/vm/v");
			assert_true(hv_address_equal(&carrier.address, &endpoint.address));
			continue;
		}
		/* The verbs refuse the same, without a socket. */
		struct hv_listener listener = HV_LISTENER_NULL;
		bool pending;
		r = mapped[i].listening ? hv_listen(&listener, &endpoint, &children, &machine)
		                        : hv_connect(&endpoint, &machine, false, &pending);
		assert_int_equal(r, mapped[i].result);
		assert_int_equal(listener.fd, -1);
		hv_listener_close(&listener);
	}
}

static void test_no_port(void **state)
{
	static const char *const urls[] = {
		"vsock://17", "vsock://any", "hybrid:///run/x", "hyperv://loopback",
	};
	(void)state;
	for (size_t i = 0; i < array_size(urls); i++) {
		struct hv_endpoint endpoint;
		struct hv_listener listener;
		bool pending;
		assert_int_equal(hv_endpoint_parse(urls[i], &endpoint, NULL), 0);
		assert_int_equal(hv_connect(&endpoint, &guest_with_loopback, false, &pending), NO);
		assert_int_equal(hv_listen(&listener, &endpoint, NULL, &guest_with_loopback), NO);
	}
	struct hv_endpoint endpoint = {
		.scheme = HV_SCHEME_VSOCK, .cid = 17, .has_service = true, .address.service = foreign,
	};
	bool pending;
	assert_int_equal(hv_connect(&endpoint, &guest, false, &pending), NO);
}

static void test_capabilities(void **state)
{
	static const struct {
		enum hv_scheme scheme;
		struct hv_capabilities expected;
	} rows[] = {
#define IDENTITY(kind) .peer_identity = HV_IDENTITY_##kind, .write_hint = 65536
		{ HV_SCHEME_HYPERV, { IDENTITY(CREDENTIALS) } },
		{ HV_SCHEME_VSOCK, { IDENTITY(CID) } },
		{ HV_SCHEME_HYBRID, { .peek = true, IDENTITY(CREDENTIALS) } },
		{ HV_SCHEME_UNIX,
		  { .half_close = true, .end_is_safe = true, .refuses_fast = true, .peek = true,
		    .survives_suspend = true, IDENTITY(CREDENTIALS) } },
	};
	(void)state;
	for (size_t i = 0; i < array_size(rows); i++) {
		const struct hv_capabilities *got = hv_capabilities(rows[i].scheme);
		const struct hv_capabilities *expected = &rows[i].expected;
		assert_int_equal(got->half_close, expected->half_close);
		assert_int_equal(got->end_is_safe, expected->end_is_safe);
		assert_int_equal(got->refuses_fast, expected->refuses_fast);
		assert_int_equal(got->peek, expected->peek);
		assert_int_equal(got->survives_suspend, expected->survives_suspend);
		assert_int_equal(got->service_guid, expected->service_guid);
		assert_int_equal(got->peer_identity, expected->peer_identity);
		assert_int_equal(got->write_hint, expected->write_hint);
	}
}

/* What this machine is cannot be known here; that asking is harmless and consistent can. */
static void test_probe(void **state)
{
	(void)state;
	struct hv_machine machine;
	hv_machine_probe(&machine);
	if (machine.cid > 2 && machine.cid != VMADDR_CID_ANY)
		assert_true(machine.is_guest);
	assert_null(machine.children);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_label),
		cmocka_unit_test(test_dial_vsock),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_no_port),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_probe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
